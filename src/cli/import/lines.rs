//! The lines of an import file.
//!
//! Each is a JSON object with `key` and `value`, or `key_b64` and `value_b64` for bytes that are no
//! UTF-8. A field that is not known is an error, not ignored: it is a misspelt one more often than
//! not. Empty lines are skipped. A line has a bound, so that a file without line feeds cannot eat
//! the memory.

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::cli::bytes::{JsonPairRead, from_base64};

/// The longest line. A record may have 1.5 MiB; JSON may write each byte with six.
pub const MAX_LINE_BYTES: u64 = 12 << 20;

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: Bytes,
    pub value: Bytes,
}

/// What a line holds; `None`: nothing.
pub fn parse(line: &[u8]) -> Result<Option<Pair>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let read: JsonPairRead = serde_json::from_slice(line).map_err(|error| {
        let column = error.column();
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        format!("{text} (column {column})")
    })?;
    let key = bytes("key", read.key, read.key_b64)?;
    let value = bytes("value", read.value, read.value_b64)?;
    if key.is_empty() {
        return Err("the key is empty".to_owned());
    }
    Ok(Some(Pair { key, value }))
}

fn bytes(name: &str, text: Option<String>, base64: Option<String>) -> Result<Bytes, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(text)) => from_base64(&text)
            .map(Bytes::from)
            .map_err(|error| format!("`{name}_b64` is no base64: {error}")),
        (None, None) => Err(format!("there is no `{name}` (or `{name}_b64`)")),
        (Some(_), Some(_)) => Err(format!("there are both `{name}` and `{name}_b64`")),
    }
}

/// The lines of a file, with their numbers from 1.
pub struct Lines<R> {
    from: R,
    number: u64,
    /// Bytes read so far.
    position: u64,
}

/// One line, or why it is none.
pub struct Line {
    pub number: u64,
    pub pair: Result<Option<Pair>, String>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub fn new(from: R) -> Lines<R> {
        Lines { from, number: 0, position: 0 }
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next line, if there is one.
    pub async fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut line = Vec::new();
        let read = (&mut self.from).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(None);
        }
        self.position += read as u64;
        self.number += 1;
        let number = self.number;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() as u64 > MAX_LINE_BYTES {
            self.skip_line().await?;
            let pair = Err(format!("the line is longer than {MAX_LINE_BYTES} bytes"));
            return Ok(Some(Line { number, pair }));
        }
        Ok(Some(Line { number, pair: parse(&line) }))
    }

    /// Reads on to the end of a line that is too long, keeping nothing of it.
    async fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let buffer = self.from.fill_buf().await?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(buffer.len(), |at| at + 1);
            self.from.consume(count);
            self.position += count as u64;
            if end.is_some() || count == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &'static [u8], value: &'static [u8]) -> Pair {
        Pair { key: Bytes::from_static(key), value: Bytes::from_static(value) }
    }

    #[test]
    fn text_and_base64_are_read_and_blank_lines_are_nothing() {
        assert_eq!(parse(br#"{"key":"a","value":"b"}"#), Ok(Some(pair(b"a", b"b"))));
        assert_eq!(parse(br#" {"value":"","key":"a\n"} "#), Ok(Some(pair(b"a\n", b""))));
        let bytes = br#"{"key_b64":"/w==","value_b64":"AAE="}"#;
        assert_eq!(parse(bytes), Ok(Some(pair(b"\xff", b"\0\x01"))));
        assert_eq!(parse(b" \r"), Ok(None));
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        for (line, says) in [
            (&br#"{"key":"a""#[..], "EOF while parsing"),
            (br#"{"key":"a","valeu":"b"}"#, "unknown field `valeu`"),
            (br#"{"key":"a"}"#, "there is no `value`"),
            (br#"{"value":"a"}"#, "there is no `key`"),
            (br#"{"key":"","value":"b"}"#, "the key is empty"),
            (br#"{"key":"a","key_b64":"YQ==","value":"b"}"#, "both `key` and `key_b64`"),
            (br#"{"key_b64":"?","value":"b"}"#, "no base64"),
            (br#"{"key":1,"value":"b"}"#, "invalid type"),
            (b"\xff\xfe", "expected value"),
            (br#"[]"#, "invalid length"),
            (br#"{"key":"a","value":"b"} x"#, "trailing characters"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{}: {error}", String::from_utf8_lossy(line));
            assert!(!error.contains(" at line "), "{error}");
        }
    }

    #[tokio::test]
    async fn lines_are_numbered_and_a_long_one_is_skipped_whole() {
        let mut text = b"\n{\"key\":\"a\",\"value\":\"b\"}\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', MAX_LINE_BYTES as usize + 100_000));
        text.extend_from_slice(b"\n{\"key\":\"c\",\"value\":\"d\"}");
        let length = text.len() as u64;
        let mut lines = Lines::new(tokio::io::BufReader::new(&text[..]));
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            seen.push((line.number, line.pair));
        }
        assert_eq!(lines.position(), length);
        assert_eq!(seen.len(), 4);
        assert_eq!(seen[0], (1, Ok(None)));
        assert_eq!(seen[1], (2, Ok(Some(pair(b"a", b"b")))));
        assert!(seen[2].1.as_ref().unwrap_err().contains("longer than"));
        assert_eq!(seen[3], (4, Ok(Some(pair(b"c", b"d")))));
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_bound_is_not_too_long() {
        let mut text = vec![b' '; MAX_LINE_BYTES as usize];
        text.push(b'\n');
        let mut lines = Lines::new(&text[..]);
        assert_eq!(lines.next().await.unwrap().unwrap().pair, Ok(None));
        assert!(lines.next().await.unwrap().is_none());
    }
}
