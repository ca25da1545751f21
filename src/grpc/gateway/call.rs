//! One call through the gateway: a message in, and one out.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::Stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method as Verb, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::Frame;
use tonic::body::Body;
use tonic::codec::{DecodeBuf, Decoder};
use tonic::{Status, Streaming};

use super::catalog::{Method, catalog};
use super::values::{MAX_VALUE_BYTES, too_large};
use super::writing::Writer;
use super::{Answer, Gateway, reading, success};
use crate::grpc::bounds::Claim;
use crate::grpc::message::PREFIX_BYTES;
use crate::grpc::status;

/// Bytes of JSON that are written in one go. Longer answers leave in pieces of that size, and
/// others have their turn in between.
pub const PIECE: usize = 256 << 10;

impl Gateway {
    pub async fn unary(
        &self,
        method: &Method,
        request: Request<Body>,
        claim: Arc<Claim>,
    ) -> Result<Answer, Status> {
        let (parts, body) = request.into_parts();
        let message = message(method, body, self.limit).await?;
        let body = Body::new(Full::new(framed(&message)?));
        let answer = self.call(method, &parts.headers, body, Arc::clone(&claim)).await?;
        let (output, is_long) = (method.output, answer.len() > PIECE);
        let open = move || Writer::new(catalog(), output, answer);
        // All of it is looked through: what is long, beside the node's thread.
        let writer = match is_long {
            true => tokio::task::spawn_blocking(open).await.map_err(internal)?,
            false => open(),
        };
        let mut writer = writer.map_err(internal)?;
        let mut text = String::new();
        Ok(success(match writer.write(&mut text, PIECE).map_err(internal)? {
            true => Body::new(Full::from(text)),
            false => Body::new(StreamBody::new(pieces(text, writer, claim))),
        }))
    }

    /// Calls a method of the services that has one answer: its message, where it lies.
    pub async fn call(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Body,
        claim: Arc<Claim>,
    ) -> Result<Bytes, Status> {
        let answer = self.respond(method, headers, body, claim).await?.collect().await?.to_bytes();
        match answer.len() < PREFIX_BYTES {
            true => Err(internal("a call without an answer")),
            false => Ok(answer.slice(PREFIX_BYTES..)),
        }
    }

    /// Calls a method of the services; what they send back, message by message.
    pub async fn open(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Body,
        claim: Arc<Claim>,
    ) -> Result<Streaming<Bytes>, Status> {
        let body = self.respond(method, headers, body, claim).await?;
        Ok(Streaming::new_response(Raw, body, StatusCode::OK, None, Some(usize::MAX)))
    }

    async fn respond(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Body,
        claim: Arc<Claim>,
    ) -> Result<Body, Status> {
        let mut request = Request::new(body);
        *request.method_mut() = Verb::POST;
        *request.uri_mut() = Uri::try_from(&method.path).map_err(|e| internal(&e))?;
        *request.headers_mut() = metadata(headers);
        let response = (self.calls)(request, self.limit, claim).await;
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != tonic::Code::Ok => Err(status),
            _ => Ok(response.into_body()),
        }
    }
}

/// The message that is all of a request's body.
pub async fn message(method: &Method, body: Body, limit: Duration) -> Result<Vec<u8>, Status> {
    let whole = tokio::time::timeout(limit, Limited::new(body, MAX_VALUE_BYTES).collect()).await;
    let whole = whole.map_err(|_| status::timed_out())?.map_err(|error| {
        match error.is::<LengthLimitError>() {
            true => too_large(),
            // The client went away.
            false => Status::invalid_argument("unexpected EOF"),
        }
    })?;
    let whole = whole.to_bytes();
    reading::read(catalog(), method.input, &whole).map_err(Status::invalid_argument)
}

/// A message as gRPC sends it: not compressed, its length, itself.
pub fn framed(message: &[u8]) -> Result<Bytes, Status> {
    let length = u32::try_from(message.len()).map_err(|_| too_large())?;
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    Ok(frame.freeze())
}

/// What of HTTP's headers a service gets to see.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    const PREFIX: &str = "grpc-metadata-";
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        // These are the gateway's own, and the protocol's.
        let is_ours = name == "content-type" || name == "te" || name.starts_with("grpc-");
        if let Ok(name) = HeaderName::try_from(name)
            && !is_ours
        {
            metadata.append(name, value.clone());
        }
    }
    if let Some(token) = headers.get(AUTHORIZATION) {
        metadata.insert(HeaderName::from_static("token"), token.clone());
    }
    // How long it may take, and whose path it is a part of, is said alike in both.
    for name in ["grpc-timeout", "traceparent"] {
        if let Some(value) = headers.get(name) {
            metadata.insert(HeaderName::from_static(name), value.clone());
        }
    }
    metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(TE, HeaderValue::from_static("trailers"));
    metadata
}

/// The rest of an answer that has begun. It is held until the last piece is asked for.
fn pieces(
    begun: String,
    writer: Writer,
    claim: Arc<Claim>,
) -> impl Stream<Item = Result<Frame<Bytes>, Status>> {
    futures::stream::try_unfold((begun, Some(writer), claim), async |(piece, writer, claim)| {
        if piece.is_empty() {
            return Ok(None);
        }
        let (mut next, mut is_done) = (String::new(), true);
        let mut writer = writer;
        if let Some(writer) = &mut writer {
            tokio::task::yield_now().await;
            is_done = writer.write(&mut next, PIECE).map_err(internal)?;
        }
        let writer = writer.filter(|_| !is_done);
        Ok(Some((Frame::data(Bytes::from(piece)), (next, writer, claim))))
    })
}

pub fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(format!("etcdserver: {error}"))
}

/// Messages as they are.
struct Raw;

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_from_headers_and_cannot_pass_for_the_gateways_own() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-content-type", "application/evil"),
            ("grpc-metadata-grpc-encoding", "gzip"),
            ("grpc-timeout", "3S"),
            ("authorization", "secret"),
            ("traceparent", "00-1-2-01"),
            ("cookie", "x"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let metadata = metadata(&headers);
        let value = |name: &str| metadata.get(name).map(|it| it.to_str().unwrap());
        assert_eq!(value("hasleader"), Some("true"));
        assert_eq!(value("content-type"), Some("application/grpc"));
        assert_eq!((value("grpc-encoding"), value("cookie")), (None, None));
        assert_eq!((value("grpc-timeout"), value("token")), (Some("3S"), Some("secret")));
        assert_eq!(value("traceparent"), Some("00-1-2-01"));
    }
}
