//! Keys and values on the command line and in JSON.
//!
//! A key is bytes. On the command line it is taken as it is typed (which is UTF-8 nearly always,
//! and need not be), or in hexadecimal (`--hex`) or base64 (`--base64`). In JSON, bytes that are
//! UTF-8 are a string under their own name, and others base64 under that name with `_b64`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::kv::KeyValue;
use crate::types::LeaseId;

/// How keys are written on the command line and shown in tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Encoding {
    /// Keys are written, and shown in tables, in hexadecimal.
    #[arg(long, conflicts_with = "base64")]
    pub hex: bool,
    /// Keys are written, and shown in tables, in base64.
    #[arg(long)]
    pub base64: bool,
}

impl Encoding {
    /// The bytes that `text` stands for.
    pub fn parse(self, what: &str, text: &OsStr) -> Result<Bytes, Failure> {
        let raw = text.as_bytes();
        let decoded = if self.hex {
            hex::decode(raw).map_err(|error| ("hexadecimal", error.to_string()))
        } else if self.base64 {
            BASE64_STANDARD.decode(raw).map_err(|error| ("base64", error.to_string()))
        } else {
            Ok(raw.to_vec())
        };
        decoded.map(Bytes::from).map_err(|(form, error)| {
            Failure::usage(format!("the {what} `{}` is no {form}: {error}", text.display()))
        })
    }

    /// A key, which must not be empty.
    pub fn parse_key(self, text: &OsStr) -> Result<Bytes, Failure> {
        let key = self.parse("key", text)?;
        if key.is_empty() {
            return Err(Failure::usage("a key must not be empty"));
        }
        Ok(key)
    }

    /// `bytes` as they are shown to people: on one line, and never able to steer the terminal.
    pub fn show(self, bytes: &[u8]) -> String {
        if self.hex {
            hex::encode(bytes)
        } else if self.base64 {
            BASE64_STANDARD.encode(bytes)
        } else {
            printable(bytes)
        }
    }
}

/// UTF-8 as it is, except that backslashes, control characters and bytes that are no UTF-8 are
/// escaped (`\\`, `\n`, `\x1b`).
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                c if c.is_control() => {
                    for byte in c.to_string().bytes() {
                        text.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Reads the id of a lease: hexadecimal, as everybody prints it.
pub fn parse_lease(text: &str) -> Result<LeaseId, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match u64::from_str_radix(digits, 16) {
        Ok(0) => Err("0 is no lease".to_owned()),
        Ok(id) if !digits.starts_with('+') => Ok(LeaseId(id)),
        _ => Err("the id of a lease is hexadecimal, as `694d77aa9e38260f`".to_owned()),
    }
}

/// The id of a lease, as etcd's programs print it.
pub fn show_lease(id: LeaseId) -> String {
    format!("{:016x}", id.0)
}

/// Base64, as JSON carries bytes that are no UTF-8.
pub fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|error| error.to_string())
}

/// Puts `bytes` into a JSON object under `name` or `name_b64`.
pub fn entry<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    name_b64: &'static str,
    bytes: &[u8],
) -> Result<(), M::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry(name, text),
        Err(_) => map.serialize_entry(name_b64, &BASE64_STANDARD.encode(bytes)),
    }
}

/// A key alone, as JSON: `key` or `key_b64`.
pub struct JsonKey<'a>(pub &'a [u8]);

impl Serialize for JsonKey<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        entry(&mut map, "key", "key_b64", self.0)?;
        map.end()
    }
}

/// A key with its value and history, as JSON: `key`, `value` (or `…_b64`), `create_revision`,
/// `mod_revision`, `version`, and `lease` if it is attached to one.
pub struct JsonItem<'a> {
    pub item: &'a KeyValue,
    /// Without the value.
    pub key_only: bool,
}

impl Serialize for JsonItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "key", "key_b64", &self.item.key)?;
        if !self.key_only {
            entry(&mut map, "value", "value_b64", &self.item.value)?;
        }
        map.serialize_entry("create_revision", &self.item.create_revision)?;
        map.serialize_entry("mod_revision", &self.item.mod_revision)?;
        map.serialize_entry("version", &self.item.version)?;
        if self.item.lease != LeaseId(0) {
            map.serialize_entry("lease", &show_lease(self.item.lease))?;
        }
        map.end()
    }
}

/// A key with its value alone, as `export` writes and `import` reads it.
pub struct JsonPair<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
}

impl Serialize for JsonPair<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        entry(&mut map, "key", "key_b64", self.key)?;
        entry(&mut map, "value", "value_b64", self.value)?;
        map.end()
    }
}

/// A line of `import`, before it is known to be complete.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonPairRead {
    pub key: Option<String>,
    pub key_b64: Option<String>,
    pub value: Option<String>,
    pub value_b64: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Revision;

    const HEX: Encoding = Encoding { hex: true, base64: false };
    const BASE64: Encoding = Encoding { hex: false, base64: true };

    fn parse(encoding: Encoding, text: &[u8]) -> Result<Bytes, Failure> {
        encoding.parse_key(OsStr::from_bytes(text))
    }

    #[test]
    fn keys_are_bytes_however_they_are_written() {
        assert_eq!(parse(Encoding::default(), "grüße".as_bytes()).unwrap(), "grüße");
        assert_eq!(parse(Encoding::default(), b"\xff\x00").unwrap()[..], [0xff, 0]);
        assert_eq!(parse(HEX, b"ff00").unwrap()[..], [0xff, 0]);
        assert_eq!(parse(BASE64, b"/wA=").unwrap()[..], [0xff, 0]);
    }

    #[test]
    fn what_is_no_key_says_why() {
        for (encoding, text) in [(Encoding::default(), &b""[..]), (HEX, b"f"), (BASE64, b"a b")] {
            let failure = parse(encoding, text).unwrap_err();
            assert_eq!(failure.exit, super::super::failure::Exit::Usage);
        }
        assert!(parse(HEX, b"zz").unwrap_err().message.contains("hexadecimal"));
    }

    #[test]
    fn a_lease_is_read_as_it_is_printed() {
        for (text, id) in [("694d77aa9e38260f", 0x694d_77aa_9e38_260f), ("0x1a", 0x1a)] {
            assert_eq!(parse_lease(text), Ok(LeaseId(id)));
            assert_eq!(parse_lease(&show_lease(LeaseId(id))), Ok(LeaseId(id)));
        }
        for wrong in ["", "0", "0x", "+1", "-1", "lease", "1694d77aa9e38260f"] {
            assert!(parse_lease(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_printed_steers_the_terminal() {
        assert_eq!(printable("plain ü".as_bytes()), "plain ü");
        assert_eq!(printable(b"a\nb\x1b[31m\\\xff"), r"a\nb\x1b[31m\\\xff");
        assert_eq!(printable("\u{9b}".as_bytes()), r"\xc2\x9b");
        assert_eq!(HEX.show(b"\x01"), "01");
        assert_eq!(BASE64.show(b"\x01"), "AQ==");
    }

    #[test]
    fn json_carries_text_as_text_and_bytes_as_base64() {
        let item = KeyValue {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"\xff"),
            create_revision: Revision(2),
            mod_revision: Revision(u64::MAX),
            version: 3,
            lease: Default::default(),
        };
        let json = serde_json::to_string(&JsonItem { item: &item, key_only: false }).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"key":"k","value_b64":"/w==","create_revision":2,"#,
                r#""mod_revision":18446744073709551615,"version":3}"#
            )
        );
        let json = serde_json::to_string(&JsonItem { item: &item, key_only: true }).unwrap();
        assert!(!json.contains("value"));
    }
}
