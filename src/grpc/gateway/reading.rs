//! A message's JSON becomes its bytes on the wire.
//!
//! # The rule
//! What etcd's own parser takes is taken, and what it refuses is refused, mostly in its words; the
//! table stands in `schema/etcd/gateway.md`. It is Go's parser, so the words name Go's types.
//!
//! # Why straight to bytes
//! A message of three bytes of JSON can be hundreds of bytes in memory, and there may be a million
//! of them in one request. Here each is turned into its few bytes on the wire as it is read, and
//! only those of one path through the message are open at a time.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, error::Category};

use super::catalog::{Catalog, Enumeration, Field, Kind, MessageIndex};

/// Padding must be right; bits of the last digit that say nothing may say anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The first JSON value of `text` as a message on the wire; nothing is an empty message.
///
/// # Errors
/// What is wrong with it, in a parser's words.
pub fn read(catalog: &Catalog, message: MessageIndex, text: &[u8]) -> Result<Vec<u8>, String> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let mut parser = serde_json::Deserializer::from_slice(text);
    let read = Slot { catalog, place: Place::Whole(message) }.deserialize(&mut parser);
    read.map(Option::unwrap_or_default).map_err(|error| in_words(&error))
}

fn in_words(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => "unexpected EOF".to_owned(),
        // Our own words; where in the text it was is the library's addition.
        Category::Data => {
            let place = format!(" at line {} column {}", error.line(), error.column());
            error.to_string().trim_end_matches(&place).to_owned()
        }
        Category::Syntax | Category::Io => error.to_string(),
    }
}

/// Where a value is to go. It gives the bytes that go there, or `None` where it was left out.
struct Slot<'a> {
    catalog: &'a Catalog,
    place: Place<'a>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    /// All of the text.
    Whole(MessageIndex),
    Field(&'a Field),
    /// One of a list.
    Element(&'a Field),
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = Option<Vec<u8>>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl Slot<'_> {
    /// What Go says of a value of another kind.
    fn mismatch<E: Error>(&self, found: impl fmt::Display) -> E {
        let wanted = match self.place {
            Place::Whole(_) => "map[string]json.RawMessage",
            Place::Field(field) if field.is_list => "[]json.RawMessage",
            Place::Field(field) | Place::Element(field) => match &field.kind {
                Kind::Bool => "bool",
                Kind::Int32 => "int32",
                Kind::Int64 => "int64",
                Kind::Uint32 => "uint32",
                Kind::Uint64 => "uint64",
                Kind::Text => "string",
                Kind::Bytes => "[]uint8",
                Kind::Enum(it) => &it.go_name,
                Kind::Message(_) => "map[string]json.RawMessage",
            },
        };
        E::custom(format!("json: cannot unmarshal {found} into Go value of type {wanted}"))
    }

    /// The field that a single value goes to.
    fn field(&self) -> Option<&Field> {
        match self.place {
            Place::Whole(_) => None,
            Place::Field(field) => (!field.is_list).then_some(field),
            Place::Element(field) => Some(field),
        }
    }

    fn number<E: Error>(&self, number: &Number) -> Result<Option<Vec<u8>>, E> {
        let Some(field) = self.field() else { return Err(self.mismatch("number")) };
        let signed = number.as_i64();
        let bits = match field.kind {
            Kind::Int64 => signed.map(i64::cast_unsigned),
            Kind::Uint64 => number.as_u64(),
            Kind::Uint32 => number.as_u64().filter(|it| u32::try_from(*it).is_ok()),
            Kind::Int32 | Kind::Enum(_) => {
                signed.filter(|it| i32::try_from(*it).is_ok()).map(i64::cast_unsigned)
            }
            Kind::Bool | Kind::Text | Kind::Bytes | Kind::Message(_) => {
                return Err(self.mismatch("number"));
            }
        };
        let bits = bits.ok_or_else(|| self.mismatch::<E>(format!("number {number}")))?;
        Ok(Some(varint(field, bits)))
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = Option<Vec<u8>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    /// `null` is as good as nothing; in a list, it is a value of zero.
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(match self.place {
            Place::Whole(_) | Place::Field(_) => None,
            Place::Element(field) => Some(match field.kind {
                Kind::Text | Kind::Bytes | Kind::Message(_) => delimited(field, &[]),
                _ => varint(field, 0),
            }),
        })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        match self.field() {
            Some(field) if matches!(field.kind, Kind::Bool) => {
                Ok(Some(varint(field, u64::from(value))))
            }
            _ => Err(self.mismatch("bool")),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.number(&Number::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.number(&Number::from(value))
    }

    /// With a fraction, an exponent, or too large for any number of ours.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(&number),
            None => Err(self.mismatch("number")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let Some(field) = self.field() else { return Err(self.mismatch("string")) };
        Ok(Some(match &field.kind {
            Kind::Text => delimited(field, text.as_bytes()),
            Kind::Bytes => delimited(field, &base64(text).map_err(E::custom)?),
            Kind::Enum(it) => {
                let number = number_of(it, text).map_err(E::custom)?;
                varint(field, i64::from(number).cast_unsigned())
            }
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => {
                let number: Number =
                    serde_json::from_str(text).map_err(|error| E::custom(in_words(&error)))?;
                return self.number(&number);
            }
            Kind::Bool | Kind::Message(_) => return Err(self.mismatch("string")),
        }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let field = match self.place {
            Place::Field(field) if field.is_list => field,
            _ => return Err(self.mismatch("array")),
        };
        let mut all = Vec::new();
        let element = || Slot { catalog: self.catalog, place: Place::Element(field) };
        while let Some(one) = list.next_element_seed(element())? {
            all.extend(one.unwrap_or_default());
        }
        Ok(Some(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let index = match (self.place, self.field().map(|field| &field.kind)) {
            (Place::Whole(index), _) => index,
            (_, Some(Kind::Message(index))) => *index,
            _ => return Err(self.mismatch("object")),
        };
        let message = self.catalog.message(index);
        // By number. Of the same one twice, the last counts.
        let mut fields: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        while let Some(name) = members.next_key::<std::borrow::Cow<'_, str>>()? {
            let Some(field) = message.field_named(&name) else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let slot = Slot { catalog: self.catalog, place: Place::Field(field) };
            match members.next_value_seed(slot)? {
                Some(bytes) => {
                    if field.oneof.is_some() {
                        let rivals = message.fields.iter().filter(|it| it.oneof == field.oneof);
                        rivals.for_each(|rival| drop(fields.remove(&rival.number)));
                    }
                    fields.insert(field.number, bytes);
                }
                None => drop(fields.remove(&field.number)),
            }
        }
        let bytes = fields.into_values().collect::<Vec<_>>().concat();
        Ok(Some(match self.field() {
            Some(field) => delimited(field, &bytes),
            None => bytes,
        }))
    }
}

fn varint(field: &Field, bits: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8);
    encode_key(field.number, WireType::Varint, &mut bytes);
    encode_varint(bits, &mut bytes);
    bytes
}

fn delimited(field: &Field, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 8);
    encode_key(field.number, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    let broken_lines = text.contains(['\r', '\n']);
    let joined = broken_lines.then(|| text.replace(['\r', '\n'], ""));
    let text = joined.as_deref().unwrap_or(text);
    BASE64.decode(text).map_err(|error| {
        use base64::DecodeError as E;
        let place = match error {
            E::InvalidByte(place, _) => place,
            // The four digits that are not four.
            E::InvalidLength(_) | E::InvalidPadding | E::InvalidLastSymbol(..) => {
                text.len() / 4 * 4
            }
        };
        format!("illegal base64 data at input byte {place}")
    })
}

fn number_of(enumeration: &Enumeration, name: &str) -> Result<i32, String> {
    let unknown = || format!("unknown value {name:?} for enum {}", enumeration.go_name);
    enumeration.number_of(name).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::grpc::gateway::catalog::catalog;
    use crate::grpc::pb::etcdserverpb as pb;
    use crate::grpc::pb::etcdserverpb::{compare::TargetUnion, request_op::Request};

    fn raw(method: &str, text: &str) -> Result<Vec<u8>, String> {
        read(catalog(), catalog().method(method).unwrap().input, text.as_bytes())
    }

    fn range(text: &str) -> Result<pb::RangeRequest, String> {
        raw("/etcdserverpb.KV/Range", text).map(|it| pb::RangeRequest::decode(&it[..]).unwrap())
    }

    fn txn(text: &str) -> Result<pb::TxnRequest, String> {
        raw("/etcdserverpb.KV/Txn", text).map(|it| pb::TxnRequest::decode(&it[..]).unwrap())
    }

    #[test]
    fn both_names_of_a_field_are_known_and_others_ignored() {
        let all = pb::RangeRequest { key: "foo".into(), range_end: "fop".into(), ..<_>::default() };
        for text in [
            r#"{"key":"Zm9v","range_end":"Zm9w"}"#,
            r#" {"rangeEnd" : "Zm9w", "key":"Zm9v"} and the rest does not count"#,
            r#"{"key":"Zm9v","rangeEnd":"Zm9w","nobody":{"knows":[1,"2",{}]},"Key":1}"#,
            r#"{"key":"eA==","key":"Zm9v","range_end":"Zm9w","limit":null}"#,
            r#"{"key":"Zm\n9v","rangeEnd":"\u005am9w"}"#,
        ] {
            assert_eq!(range(text), Ok(all.clone()), "{text}");
        }
        for nothing in ["", "  \n", "{}", "null", r#"{"key":null,"limit":null}"#] {
            assert_eq!(range(nothing), Ok(pb::RangeRequest::default()), "{nothing}");
        }
        let nulled = range(r#"{"limit":"5","limit":null}"#).unwrap();
        assert_eq!(nulled.limit, 0, "the last one counts");
    }

    #[test]
    fn numbers_come_as_numbers_or_text_and_enums_as_names_too() {
        for text in [
            r#"{"limit":5,"revision":"-9223372036854775808","sort_order":"DESCEND"}"#,
            r#"{"limit":" 5","revision":-9223372036854775808,"sortOrder":2}"#,
        ] {
            let read = range(text).unwrap();
            assert_eq!((read.limit, read.revision, read.sort_order), (5, i64::MIN, 2), "{text}");
        }
        assert_eq!(range(r#"{"sort_order":77}"#).unwrap().sort_order, 77);
        let id = "18446744073709551615";
        for text in [format!("{{\"ID\":{id}}}"), format!("{{\"ID\":\"{id}\"}}")] {
            let bytes = raw("/etcdserverpb.Cluster/MemberRemove", &text).unwrap();
            assert_eq!(pb::MemberRemoveRequest::decode(&bytes[..]).unwrap().id, u64::MAX);
        }
    }

    #[test]
    fn lists_and_messages_nest_and_of_a_oneof_one_wins() {
        let read = txn(concat!(
            r#"{"compare":[{"key":"Zm9v","target":"VERSION","version":"1","result":"EQUAL"}],"#,
            r#""success":[{"requestPut":{"key":"Zm9v","value":"YmFy"}},{"request_range":{}},"#,
            r#"null,{"request_range":{},"request_txn":{"failure":[{"request_put":{}}]}}]}"#
        ))
        .unwrap();
        assert_eq!(read.compare[0].target_union, Some(TargetUnion::Version(1)));
        let kinds: Vec<_> = read.success.iter().map(|it| it.request.as_ref()).collect();
        assert_eq!(kinds.len(), 4);
        let Some(Request::RequestPut(put)) = kinds[0] else { panic!("{kinds:?}") };
        assert_eq!((&put.key[..], &put.value[..]), (&b"foo"[..], &b"bar"[..]));
        assert!(matches!(kinds[1], Some(Request::RequestRange(_))) && kinds[2].is_none());
        let Some(Request::RequestTxn(inner)) = kinds[3] else { panic!("{kinds:?}") };
        assert_eq!(inner.failure.len(), 1);
        let two = r#"{"compare":[{"version":"0","create_revision":0}]}"#;
        let two = txn(two).unwrap().compare[0].target_union.clone();
        assert_eq!(two, Some(TargetUnion::CreateRevision(0)));
        let urls = raw("/etcdserverpb.Cluster/MemberAdd", r#"{"peerURLs":["http://a","b"]}"#);
        let urls = pb::MemberAddRequest::decode(&urls.unwrap()[..]).unwrap().peer_ur_ls;
        assert_eq!(urls, ["http://a", "b"]);
    }

    #[test]
    fn what_etcd_refuses_is_refused_in_its_words() {
        let go = |found: &str, wanted: &str| {
            format!("json: cannot unmarshal {found} into Go value of type {wanted}")
        };
        let object = "map[string]json.RawMessage";
        for (text, words) in [
            (r#"{"key":"Zm9"#, "unexpected EOF".to_owned()),
            ("{", "unexpected EOF".to_owned()),
            (r#"{"key":"Zm9"}"#, "illegal base64 data at input byte 0".to_owned()),
            (r#"{"key":"Zm9vY"}"#, "illegal base64 data at input byte 4".to_owned()),
            (r#"{"key":"Zm9v$mFy"}"#, "illegal base64 data at input byte 4".to_owned()),
            (r#"{"key":"-_-_"}"#, "illegal base64 data at input byte 0".to_owned()),
            (
                r#"{"sort_order":"NOPE"}"#,
                r#"unknown value "NOPE" for enum etcdserverpb.RangeRequest_SortOrder"#.to_owned(),
            ),
            (r#"{"sort_order":true}"#, go("bool", "etcdserverpb.RangeRequest_SortOrder")),
            (r#"{"serializable":"true"}"#, go("string", "bool")),
            (r#"{"serializable":1}"#, go("number", "bool")),
            (r#"{"key":5}"#, go("number", "[]uint8")),
            (r#"{"limit":1.5}"#, go("number 1.5", "int64")),
            (r#"{"limit":"1.5"}"#, go("number 1.5", "int64")),
            (r#"{"limit":9223372036854775808}"#, go("number 9223372036854775808", "int64")),
            (r#"{"limit":true}"#, go("bool", "int64")),
            (r#"{"limit":{}}"#, go("object", "int64")),
            (r#"{"limit":[]}"#, go("array", "int64")),
            ("[]", go("array", object)),
            ("\"x\"", go("string", object)),
            ("7", go("number", object)),
        ] {
            assert_eq!(range(text), Err(words), "{text}");
        }
        assert_eq!(txn(r#"{"success":{}}"#), Err(go("object", "[]json.RawMessage")));
        assert_eq!(txn(r#"{"success":[7]}"#), Err(go("number", object)));
        for nonsense in [r#"{"key" "Zm9v"}"#, r#"{"key":"Zm9v",}"#, "nonsense", r#"{"limit":"x"}"#]
        {
            assert!(range(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn what_is_nested_without_end_is_refused_and_not_followed() {
        let deep = r#"{"success":[{"request_txn":"#.repeat(100_000);
        assert!(txn(&deep).unwrap_err().contains("recursion"));
        let ignored = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(txn(&ignored), Ok(pb::TxnRequest::default()));
    }
}
