//! One call, from its first try to its end.
//!
//! # The rule
//! A call has one deadline over all its tries. What only reads is tried again, elsewhere, until
//! then. What may write is tried again only if the try before was certainly not done: etcd's API
//! has no sessions, so a write that is sent twice may happen twice. Whoever needs to know reads, or
//! writes in a transaction that can tell.

use std::error::Error as _;
use std::time::Duration;

use futures::Stream;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Client;
use super::error::{self, Error, Fate, Kind};
use super::pool::Place;

/// Between two tries, at first and at most: about the time in which a new leader may be found.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(10)..Duration::from_millis(100);

/// How long opening a stream may take.
const STREAM_LIMIT: Duration = Duration::from_secs(2);

/// A method of a service, and what may be done with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) path: &'static str,
    pub(super) nature: Nature,
    /// Without a leader it is refused at once, which is certain and leaves time for another try.
    pub(super) needs_leader: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// May be done twice.
    Read,
    Write,
    /// A write that may wait for others without end.
    Wait,
}

impl Method {
    /// What changes nothing, or nothing more when it is done again.
    pub(super) const fn read(path: &'static str) -> Method {
        Method { path, nature: Nature::Read, needs_leader: false }
    }

    pub(super) const fn write(path: &'static str) -> Method {
        Method { path, nature: Nature::Write, needs_leader: true }
    }

    pub(super) const fn wait(path: &'static str) -> Method {
        Method { path, nature: Nature::Wait, needs_leader: true }
    }

    pub(super) const fn with_leader(self, needs_leader: bool) -> Method {
        Method { needs_leader, ..self }
    }
}

impl Client {
    /// A message for a message.
    pub(super) async fn call<Q, A>(&self, method: Method, message: Q) -> Result<A, Error>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut tries = Tries::new(self.options.timeout);
        let mut limit = self.options.attempt_timeout;
        loop {
            let place = self.pool.pick().clone();
            let sent = unary(&place, method, message.clone(), tries.left());
            let tried = match method.nature {
                Nature::Wait => Ok(sent.await),
                Nature::Write => timeout(tries.left(), sent).await,
                Nature::Read => timeout(limit.min(tries.left()), sent).await,
            };
            limit = limit.saturating_mul(2);
            let status = match tried {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("it did not answer in time"),
            };
            let fate = match error::fate(&status) {
                // What waits has put a key before, and its clean-up may still be under way there:
                // asked again elsewhere, it could lose what it was just told it holds.
                Fate::Untouched if is_from_within(method, &status) => Fate::InDoubt,
                fate => fate,
            };
            if fate != Fate::Refused {
                self.pool.failed(&place.name);
            }
            match (fate, method.nature) {
                (Fate::Untouched, _) | (Fate::InDoubt, Nature::Read) => {
                    if !tries.pause().await {
                        return Err(tries.error(Kind::Unavailable, &place.name, &status));
                    }
                }
                (Fate::InDoubt, _) => return Err(tries.error(Kind::Unknown, &place.name, &status)),
                (Fate::Refused, _) => return Err(tries.error(Kind::Refused, &place.name, &status)),
            }
        }
    }

    /// Messages for messages. Whoever opens it has its first message ready: etcd says nothing at
    /// all before its first answer, so that what may have to wait for that is given no limit here.
    /// Tried once.
    pub(super) async fn stream<Q, A>(
        &self,
        place: &Place,
        method: Method,
        messages: impl Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let opened = async {
            let (mut grpc, path) = ready(place, method).await?;
            let request = request(method, messages);
            grpc.streaming(request, path, ProstCodec::<Q, A>::default()).await
        };
        let opened = match method.nature {
            Nature::Wait => Ok(opened.await),
            Nature::Read | Nature::Write => timeout(STREAM_LIMIT, opened).await,
        };
        let late = |_| Err(Status::deadline_exceeded("it did not answer in time"));
        opened.unwrap_or_else(late).map(tonic::Response::into_inner)
    }
}

async fn unary<Q, A>(place: &Place, method: Method, message: Q, left: Duration) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let (mut grpc, path) = ready(place, method).await?;
    let mut request = request(method, message);
    if method.nature != Nature::Wait {
        request.set_timeout(left);
    }
    let answer = grpc.unary(request, path, ProstCodec::<Q, A>::default()).await?;
    Ok(answer.into_inner())
}

/// The connection, once it takes another call.
async fn ready(place: &Place, method: Method) -> Result<(Grpc<Channel>, PathAndQuery), Status> {
    // A range may be as large as all that is stored, and is asked for by whoever can hold it.
    let mut grpc = Grpc::new(place.channel.clone()).max_decoding_message_size(usize::MAX);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    Ok((grpc, PathAndQuery::from_static(method.path)))
}

fn request<M>(method: Method, message: M) -> Request<M> {
    let mut request = Request::new(message);
    if method.needs_leader {
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    }
    request
}

/// The tries of something that has a deadline.
#[derive(Debug)]
pub(super) struct Tries {
    began: Instant,
    end: Instant,
    pause: Duration,
}

impl Tries {
    pub(super) fn new(timeout: Duration) -> Tries {
        let began = Instant::now();
        Tries { began, end: began + timeout, pause: PAUSE.start }
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Waits before the next try, each time longer; false: there is no time for one.
    pub(super) async fn pause(&mut self) -> bool {
        let next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE.end);
        sleep_until(next.min(self.end)).await;
        next < self.end
    }

    pub(super) fn error(&self, kind: Kind, endpoint: &str, status: &Status) -> Error {
        let code = match error::is_our_timeout(status) {
            true => Code::DeadlineExceeded,
            false => status.code(),
        };
        let (endpoint, text) = (endpoint.to_owned(), error::words(status));
        Error { kind, endpoint, code, text, waited: self.began.elapsed() }
    }
}
/// Whether a call that waits said so once it had begun: all that goes wrong within has this code.
fn is_from_within(method: Method, status: &Status) -> bool {
    method.nature == Nature::Wait && status.code() == Code::Unknown && status.source().is_none()
}
