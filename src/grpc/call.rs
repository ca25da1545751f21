//! One call, on its way to whoever answers it: a message for a message, or streams of them.
//!
//! # The rule
//! A call counts against its server's bounds until its answer is taken, a stream until its last
//! message is ([`Claim`]). At most 20,000 do, and more are refused. What they keep of answers:
//!
//! - an answer of up to 16 KiB each, or
//! - of larger ones, 256 MiB in all, handed out and not taken, and as much that waits to be handed
//!   out; in either, one that is larger may be alone (`bounds.rs`);
//! - of a stream, [`REPLIES`] messages and the one that is being handed on, and in the libraries
//!   two more and 128 KiB. How large these are is its service's affair, and over all streams
//!   nothing bounds the sum but their number.
//!
//! The connection of a client that takes nothing of an answer for a minute ends within the next. A
//! stream's client may take its time.
//!
//! Who serves a stream hands its answers to a [`Replies`], which takes a few and then makes it wait
//! for the client: a client that does not read holds up its own stream and no more. When the client
//! goes away, serving ends where it stands.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use http::{HeaderMap, Request};
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Code, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::backend::Backend;
use super::bounds::Claim;
use super::message::{self, MAX_MESSAGE_BYTES, Reply};
use super::meter::Counted;
use super::status;

/// A call that sets no time for itself is answered within this; etcd's own limit.
pub(super) const TIMEOUT: Duration = Duration::from_secs(7);

/// Messages of a stream that wait for their client.
const REPLIES: usize = 4;

/// How often a stream that wants a leader looks for one, and for how long it does without.
const LOOK_FOR_A_LEADER: Duration = Duration::from_millis(100);
const WITHOUT_A_LEADER: Duration = Duration::from_secs(3);

/// A call, and what it holds.
pub struct Call {
    pub request: Request<Body>,
    pub backend: Rc<dyn Backend>,
    pub counted: Counted,
    /// From its first byte to its answer. Whoever sends half a message is not waited for.
    pub limit: Duration,
    pub claim: Arc<Claim>,
}

/// Where a stream's answers go.
pub type Replies<A> = mpsc::Sender<Result<A, Status>>;

/// The client has gone away: nobody needs an answer any more.
pub struct Gone;

/// Hands one answer of a stream out, as soon as the client takes it.
pub async fn reply<A>(replies: &Replies<A>, answer: A) -> Result<(), Gone> {
    replies.send(Ok(answer)).await.map_err(|_| Gone)
}

impl Call {
    /// How long the caller waits: its `grpc-timeout`, never longer than etcd would.
    pub fn timeout(&self) -> Duration {
        timeout(self.request.headers()).map_or(TIMEOUT, |time| time.min(TIMEOUT))
    }

    /// Whether the caller would rather hear that there is no leader than wait for one.
    pub fn wants_leader(&self) -> bool {
        self.request.headers().get("hasleader").is_some_and(|it| it == "true")
    }

    /// The answer to a call that is not looked at.
    pub fn refuse(self, status: Status) -> http::Response<Body> {
        self.counted.ends(status.code());
        status.into_http()
    }

    /// One message in, one out, within the call's limit.
    pub async fn unary<M, A>(
        self,
        answer: impl AsyncFnOnce(M, Duration) -> Result<A, Status> + 'static,
    ) -> http::Response<Body>
    where
        M: prost::Message + Default + 'static,
        A: Reply + 'static,
    {
        let limit = self.limit;
        let mut answered = pin!(self.patient(answer));
        // Much is there and answered at once, and needs no timer.
        if let Poll::Ready(response) = futures::poll!(&mut answered) {
            return response;
        }
        let answered = tokio::time::timeout(limit, answered).await;
        answered.unwrap_or_else(|_| status::timed_out().into_http())
    }

    /// The same, of an answer that may be waited for without end: only its message may not.
    pub async fn patient<M, A>(
        self,
        answer: impl AsyncFnOnce(M, Duration) -> Result<A, Status> + 'static,
    ) -> http::Response<Body>
    where
        M: prost::Message + Default + 'static,
        A: Reply + 'static,
    {
        let timeout = self.timeout();
        let (head, body) = self.request.into_parts();
        let received =
            tokio::time::timeout(self.limit, message::receive(&head.headers, body)).await;
        let answered = async {
            let message = received.unwrap_or_else(|_| Err(status::timed_out()))?;
            let answer = answer(message, timeout).await?.framed()?;
            self.claim.answer(answer.length(), timeout).await?;
            Ok(message::send(answer))
        };
        let answered = answered.await;
        self.counted.ends(answered.as_ref().map_or_else(Status::code, |_| Code::Ok));
        answered.unwrap_or_else(Status::into_http)
    }

    /// Messages in, messages out, until `serve` is done or the client has gone away.
    pub async fn stream<M, A>(
        self,
        serve: impl AsyncFnOnce(Streaming<M>, Replies<A>) -> Result<(), Status> + 'static,
    ) -> http::Response<Body>
    where
        M: prost::Message + Default + 'static,
        A: prost::Message + 'static,
    {
        let wants_leader = self.wants_leader();
        let Call { request, backend, counted, claim, .. } = self;
        let (incoming, accepted) = oneshot::channel();
        let (replies, outgoing) = mpsc::channel(REPLIES);
        let ends = Ends { incoming: Some(incoming), outgoing: Some(Outgoing(outgoing)) };
        let response = grpc::<M, A>().streaming(ends, request).await;
        let Ok(incoming) = accepted.await else {
            counted.ends(Code::Internal);
            return response;
        };
        tokio::task::spawn_local(async move {
            let served = tokio::select! {
                served = serve(incoming, replies.clone()) => served,
                () = leaderless(&*backend), if wants_leader => Err(status::no_leader()),
                () = replies.closed() => Err(Status::cancelled("the client has gone away")),
            };
            counted.ends(served.as_ref().map_or_else(Status::code, |()| Code::Ok));
            if let Err(status) = served {
                let _ = replies.send(Err(status)).await;
            }
            drop(claim);
        });
        response
    }

    /// One message in, many out.
    pub async fn answers<M, A>(
        self,
        serve: impl AsyncFnOnce(M, Replies<A>) -> Result<(), Status> + 'static,
    ) -> http::Response<Body>
    where
        M: prost::Message + Default + 'static,
        A: prost::Message + 'static,
    {
        let limit = self.limit;
        self.stream(async move |mut incoming: Streaming<M>, replies| {
            let message = tokio::time::timeout(limit, incoming.message()).await;
            let message = message.map_err(|_| status::timed_out())??;
            let message = message.ok_or_else(|| Status::internal("Missing request message."))?;
            serve(message, replies).await
        })
        .await
    }
}

fn grpc<M, A>() -> Grpc<ProstCodec<A, M>>
where
    M: prost::Message + Default + 'static,
    A: prost::Message + 'static,
{
    Grpc::new(ProstCodec::default())
        .apply_max_message_size_config(Some(MAX_MESSAGE_BYTES), Some(usize::MAX))
}

/// Ends when there was no leader for too long.
async fn leaderless(backend: &dyn Backend) {
    let mut since = None;
    loop {
        tokio::time::sleep(LOOK_FOR_A_LEADER).await;
        match backend.leader() {
            Some(_) => since = None,
            None => {
                let since = *since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() >= WITHOUT_A_LEADER {
                    return;
                }
            }
        }
    }
}

/// Both ends of a stream, to be parted: the library wants to move what serves it between threads,
/// and these may be; what truly serves stays where it is.
struct Ends<M, A> {
    incoming: Option<oneshot::Sender<Streaming<M>>>,
    outgoing: Option<Outgoing<A>>,
}

impl<M, A> StreamingService<M> for Ends<M, A> {
    type Response = A;
    type ResponseStream = Outgoing<A>;
    type Future = std::future::Ready<Result<Response<Outgoing<A>>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<M>>) -> Self::Future {
        let parted = (self.incoming.take(), self.outgoing.take());
        let (Some(incoming), Some(outgoing)) = parted else {
            return std::future::ready(Err(Status::internal("a call is answered once")));
        };
        let _ = incoming.send(request.into_inner());
        std::future::ready(Ok(Response::new(outgoing)))
    }
}

struct Outgoing<A>(mpsc::Receiver<Result<A, Status>>);

impl<A> Stream for Outgoing<A> {
    type Item = Result<A, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// What a caller says of its patience, `grpc-timeout`: a number and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_callers_patience_is_read() {
        for (text, time) in [
            ("500m", Some(Duration::from_millis(500))),
            ("3S", Some(Duration::from_secs(3))),
            ("250000u", Some(Duration::from_millis(250))),
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999999999999999S", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("5ü", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_bytes(text.as_bytes()).unwrap());
            assert_eq!(timeout(&headers), time, "{text}");
        }
    }
}
