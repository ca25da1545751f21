//! A stream through the gateway: a line of JSON for each answer.
//!
//! Nothing runs here by itself. Answers are asked for when the connection has taken the last one,
//! and messages of the client when the service wants them; so whoever is slow holds up itself.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use http::Request;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use tonic::body::Body;
use tonic::{Status, Streaming};

use super::call::{PIECE, framed, internal, message};
use super::catalog::{MessageIndex, Method, catalog};
use super::values::Values;
use super::writing::Writer;
use super::{Answer, Gateway, JSON, errors, of_body, reading, success};
use crate::grpc::bounds::Claim;
use crate::grpc::status;

impl Gateway {
    /// The answer begins when the service's first message is there. What goes wrong before the
    /// service was asked is an error of the call, and all else one of the stream.
    pub async fn stream(
        &self,
        method: &Method,
        request: Request<Body>,
        claim: Arc<Claim>,
    ) -> Result<Answer, Status> {
        let (parts, body) = request.into_parts();
        let body = match method.takes_many {
            true => {
                let mut values = Values::new(body);
                let first = tokio::time::timeout(self.limit, values.next()).await;
                match first.map_err(|_| status::timed_out())?? {
                    Some(first) => {
                        let first = reading::read(catalog(), method.input, &first);
                        let first = framed(&first.map_err(Status::unknown)?)?;
                        Body::new(StreamBody::new(messages(first, values, method.input)))
                    }
                    None => Body::empty(),
                }
            }
            false => Body::new(Full::new(framed(&message(method, body, self.limit).await?)?)),
        };
        let first = match self.open(method, &parts.headers, body, Arc::clone(&claim)).await {
            Ok(mut answers) => answers.message().await.map(|first| (first, answers)),
            Err(status) => Err(status),
        };
        Ok(match first {
            Ok((first, answers)) => {
                let lines = Lines {
                    is_over: first.is_none(),
                    first,
                    answers,
                    output: method.output,
                    unfinished: None,
                    _claim: claim,
                };
                success(Body::new(StreamBody::new(lines.stream())))
            }
            Err(status) => {
                let text = errors::in_stream(&status);
                let status = errors::http_status(status.code());
                of_body(status, JSON, Body::new(Full::from(text)))
            }
        })
    }
}

/// The client's messages. One that cannot be read ends them, as the end of the body does: the
/// service goes on with what it has.
fn messages(
    first: Bytes,
    values: Values,
    input: MessageIndex,
) -> impl Stream<Item = Result<Frame<Bytes>, Status>> {
    futures::stream::try_unfold((Some(first), values), move |(first, mut values)| async move {
        let message = match first {
            Some(first) => first,
            None => {
                let Some(value) = values.next().await? else { return Ok(None) };
                match reading::read(catalog(), input, &value) {
                    Ok(message) => framed(&message)?,
                    Err(_) => return Ok(None),
                }
            }
        };
        Ok(Some((Frame::data(message), (None, values))))
    })
}

struct Lines {
    first: Option<Bytes>,
    answers: Streaming<Bytes>,
    output: MessageIndex,
    /// An answer of which only the beginning has left.
    unfinished: Option<Writer>,
    is_over: bool,
    _claim: Arc<Claim>,
}

impl Lines {
    fn stream(self) -> impl Stream<Item = Result<Frame<Bytes>, Status>> {
        futures::stream::try_unfold(self, |mut lines| async move {
            let piece = lines.piece().await?;
            Ok(piece.map(|piece| (Frame::data(Bytes::from(piece)), lines)))
        })
    }

    async fn piece(&mut self) -> Result<Option<String>, Status> {
        let mut piece = String::new();
        let mut writer = match self.unfinished.take() {
            Some(writer) => {
                tokio::task::yield_now().await;
                writer
            }
            None => {
                let answer = match self.first.take() {
                    Some(first) => Ok(Some(first)),
                    None if self.is_over => Ok(None),
                    None => self.answers.message().await,
                };
                match answer {
                    Ok(Some(answer)) => {
                        piece.push_str("{\"result\":");
                        Writer::new(catalog(), self.output, answer).map_err(internal)?
                    }
                    Ok(None) => return Ok(None),
                    Err(status) => {
                        self.is_over = true;
                        return Ok(Some(errors::in_stream(&status)));
                    }
                }
            }
        };
        match writer.write(&mut piece, PIECE).map_err(internal)? {
            true => piece.push_str("}\n"),
            false => self.unfinished = Some(writer),
        }
        Ok(Some(piece))
    }
}
