//! The JSON values of a request's body, one after the other, as they arrive.
//!
//! Where a value ends can be told without understanding it: quotes and brackets suffice. So each
//! byte is looked at once, however the network cuts them, and only whole values are parsed.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};

/// Bytes of one value. A message of two mebibytes, the most that is taken, is two thirds of this in
/// base64.
pub const MAX_VALUE_BYTES: usize = 4 << 20;

/// A value that is larger.
pub fn too_large() -> Status {
    let text = format!("JSON larger than max (more than {MAX_VALUE_BYTES} bytes)");
    Status::new(Code::ResourceExhausted, text)
}

/// See the [module](self).
pub struct Values {
    body: Body,
    buffer: BytesMut,
    end: End,
}

impl Values {
    pub fn new(body: Body) -> Values {
        Values { body, buffer: BytesMut::new(), end: End::default() }
    }

    /// The next value, or `None` at the end of the body. What is left at the end and not whole is a
    /// value, too: the parser will say what it lacks.
    ///
    /// # Errors
    /// If it is too large, or the client went away.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(end) = self.end.find(&self.buffer) {
                self.end = End::default();
                return Ok(Some(self.buffer.split_to(end).freeze()));
            }
            if self.buffer.len() > MAX_VALUE_BYTES {
                return Err(too_large());
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None => {
                    let rest = self.buffer.split().freeze();
                    self.end = End::default();
                    return Ok((!rest.trim_ascii().is_empty()).then_some(rest));
                }
            }
        }
    }
}

/// Looks for the end of the first value of a text that grows.
#[derive(Default)]
struct End {
    /// How far it has looked.
    position: usize,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// Whether a number or a word has begun, which only something else ends.
    in_word: bool,
}

impl End {
    /// Where it ends. `text` is the same as the last time, with more behind it.
    fn find(&mut self, text: &[u8]) -> Option<usize> {
        while let Some(&byte) = text.get(self.position) {
            if self.in_word && matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'[' | b'"') {
                return Some(self.position);
            }
            self.position += 1;
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                if self.in_string || self.depth > 0 {
                    continue;
                }
                return Some(self.position);
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.position);
                    }
                }
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => self.in_word = self.depth == 0,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::StreamExt;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// The values of a body that comes in pieces of `size` bytes.
    fn values(text: &str, size: usize) -> Vec<String> {
        let pieces: Vec<Bytes> = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
        let pieces =
            futures::stream::iter(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        let mut values = Values::new(Body::new(StreamBody::new(pieces)));
        let mut all = Vec::new();
        futures::executor::block_on(async {
            while let Some(value) = values.next().await.unwrap() {
                all.push(String::from_utf8(value.trim_ascii().to_vec()).unwrap());
            }
        });
        all
    }

    #[test]
    fn values_are_told_apart_however_they_are_cut() {
        for (text, expected) in [
            ("", &[][..]),
            (" \n ", &[]),
            ("{}", &["{}"]),
            ("{}{} {}\n", &["{}", "{}", "{}"]),
            (r#"{"a":"}\"{"}[1,[2]]"#, &[r#"{"a":"}\"{"}"#, "[1,[2]]"]),
            (r#"{"a":"\\"} {"b":{"c":[{}]}}"#, &[r#"{"a":"\\"}"#, r#"{"b":{"c":[{}]}}"#]),
            ("null{} 12 \"x\\\" y\"true", &["null", "{}", "12", "\"x\\\" y\"", "true"]),
            ("garbage {", &["garbage", "{"]),
            ("}{}", &["}", "{}"]),
        ] {
            for size in 1..=text.len().max(1) {
                assert_eq!(values(text, size), expected, "{text} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_value_without_end_is_refused() {
        let body = Body::new(http_body_util::Full::new(Bytes::from(vec![b'['; 5 << 20])));
        let refused = futures::executor::block_on(Values::new(body).next()).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
    }
}
