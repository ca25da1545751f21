//! A call of one message: its body read, and its answer's body made.
//!
//! The library's own way is that of streams: it copies what arrives into a buffer of eight
//! kilobytes, and boxes each layer of body and codec. Most calls are one small message that lies in
//! one frame; here it is decoded where it lies, and its answer is one allocation.
//!
//! What is refused is what the library refuses, in its words; too large a message in etcd's.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tonic::Status;
use tonic::body::Body;

use super::status;

/// Bytes of a message to the server, as etcd: its limit on a request, and half a mebibyte.
pub const MAX_MESSAGE_BYTES: usize = 2 << 20;

/// Whether it is compressed, and how long it is.
pub const PREFIX_BYTES: usize = 5;

/// The one message of a call.
pub async fn receive<M>(headers: &HeaderMap, mut body: Body) -> Result<M, Status>
where
    M: prost::Message + Default,
{
    // We never say that we can read any; so nobody sends it.
    let encoding = headers.get("grpc-encoding").filter(|it| *it != "identity");
    if let Some(encoding) = encoding {
        let name = String::from_utf8_lossy(encoding.as_bytes());
        return Err(Status::unimplemented(format!(
            "Content is compressed with `{name}` which isn't supported"
        )));
    }
    let mut arrived = Arrived::Nothing;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        arrived = match data.is_empty() {
            true => arrived,
            false => arrived.and(data),
        };
        // Before more of it is taken in.
        if let Some(length) = length(arrived.bytes())?
            && arrived.bytes().len() - PREFIX_BYTES > length
        {
            return Err(Status::internal("more than one message in a call of one"));
        }
    }
    let mut bytes = match arrived {
        Arrived::Nothing => return Err(Status::internal("Missing request message.")),
        Arrived::Frame(bytes) => bytes,
        Arrived::Frames(bytes) => bytes.freeze(),
    };
    let whole = match length(&bytes)? {
        Some(length) if bytes.len() - PREFIX_BYTES == length => bytes.split_off(PREFIX_BYTES),
        _ => return Err(Status::internal("Unexpected EOF decoding stream.")),
    };
    let decoded = M::decode(whole);
    decoded.map_err(|error| Status::internal(format!("grpc: error unmarshalling request: {error}")))
}

/// What there is of a body.
enum Arrived {
    Nothing,
    /// It lies where it was read to.
    Frame(Bytes),
    Frames(BytesMut),
}

impl Arrived {
    fn and(self, data: Bytes) -> Arrived {
        match self {
            Arrived::Nothing => Arrived::Frame(data),
            Arrived::Frame(first) => {
                let mut all = BytesMut::from(&first[..]);
                all.extend_from_slice(&data);
                Arrived::Frames(all)
            }
            Arrived::Frames(mut all) => {
                all.extend_from_slice(&data);
                Arrived::Frames(all)
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Arrived::Nothing => &[],
            Arrived::Frame(bytes) => bytes,
            Arrived::Frames(bytes) => bytes,
        }
    }
}

/// How long the message is, once its prefix has arrived.
fn length(bytes: &[u8]) -> Result<Option<usize>, Status> {
    let Some(mut prefix) = bytes.get(..PREFIX_BYTES) else { return Ok(None) };
    match prefix.get_u8() {
        0 => {}
        1 => {
            return Err(Status::internal(
                "protocol error: received message with compressed-flag but no grpc-encoding was \
                 specified",
            ));
        }
        flag => {
            return Err(Status::internal(format!(
                "protocol error: received message with invalid compression flag: {flag} (valid \
                 flags are 0 and 1), while sending request"
            )));
        }
    }
    let length = prefix.get_u32() as usize;
    match length > MAX_MESSAGE_BYTES {
        true => Err(status::message_too_large(length, MAX_MESSAGE_BYTES)),
        false => Ok(Some(length)),
    }
}

/// What a call may be answered with.
pub trait Reply {
    /// As it goes out.
    fn framed(self) -> Result<Framed, Status>;
}

impl<A: prost::Message> Reply for A {
    fn framed(self) -> Result<Framed, Status> {
        framed(&self).map(Framed)
    }
}

/// A message as it goes out, its prefix before it: made by whoever had the time.
#[derive(Debug)]
pub struct Framed(Bytes);

impl Reply for Framed {
    fn framed(self) -> Result<Framed, Status> {
        Ok(self)
    }
}

impl Framed {
    /// In bytes, as it goes out.
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

/// The answer to a call that went well.
pub fn send(Framed(bytes): Framed) -> http::Response<Body> {
    let whole = Whole { message: Some(bytes), has_ended: false };
    let mut response = http::Response::new(Body::new(whole));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn framed<A: prost::Message>(answer: &A) -> Result<Bytes, Status> {
    let length = answer.encoded_len();
    let told = u32::try_from(length)
        .map_err(|_| Status::resource_exhausted("grpc: message too large to be sent"))?;
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(told);
    answer.encode(&mut bytes).map_err(|error| Status::internal(error.to_string()))?;
    Ok(bytes.freeze())
}

/// One message, and that all went well.
struct Whole {
    message: Option<Bytes>,
    has_ended: bool,
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.has_ended, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::StreamBody;

    use super::*;
    use crate::grpc::pb::etcdserverpb::PutRequest;

    fn put() -> PutRequest {
        PutRequest { key: "k".into(), value: vec![7; 1000].into(), ..PutRequest::default() }
    }

    fn received(frames: Vec<Bytes>) -> Result<PutRequest, Status> {
        let frames = frames.into_iter().map(|it| Ok::<_, Status>(Frame::data(it)));
        let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
        receive(&HeaderMap::new(), body).now_or_never().unwrap()
    }

    #[test]
    fn a_message_arrives_in_however_many_frames() {
        let whole = framed(&put()).unwrap();
        for size in [1, 3, 5, 6, 500, 2000] {
            let frames = whole.chunks(size).map(Bytes::copy_from_slice).collect();
            assert_eq!(received(frames).unwrap(), put(), "frames of {size} bytes");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let whole = framed(&put()).unwrap();
        let large = [&[0][..], &(MAX_MESSAGE_BYTES as u32 + 1).to_be_bytes()].concat();
        let twice = [&whole[..], &whole[..]].concat();
        let compressed = [&[1][..], &whole[1..]].concat();
        for (bytes, code, text) in [
            (vec![], tonic::Code::Internal, "Missing request message."),
            (whole[..700].to_vec(), tonic::Code::Internal, "Unexpected EOF"),
            (whole[..3].to_vec(), tonic::Code::Internal, "Unexpected EOF"),
            (twice, tonic::Code::Internal, "more than one message"),
            (compressed, tonic::Code::Internal, "compressed-flag"),
            (vec![9; 20], tonic::Code::Internal, "invalid compression flag: 9"),
            (large, tonic::Code::ResourceExhausted, "larger than max (2097153 vs. 2097152)"),
            (vec![0, 0, 0, 0, 1, 0xff], tonic::Code::Internal, "error unmarshalling request"),
        ] {
            let refused = received(vec![bytes.into()]).unwrap_err();
            assert_eq!(refused.code(), code, "{refused}");
            assert!(refused.message().contains(text), "{refused}");
        }
    }

    #[test]
    fn an_answer_is_a_message_and_how_it_went() {
        let (head, body) = send(put().framed().unwrap()).into_parts();
        assert_eq!(head.headers["content-type"], "application/grpc");
        let body = body.collect().now_or_never().unwrap().unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(received(vec![body.to_bytes()]).unwrap(), put());
    }
}
