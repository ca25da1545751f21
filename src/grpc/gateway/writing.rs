//! A message's bytes on the wire become its JSON, piece by piece.
//!
//! # Why in pieces
//! A range may be gigabytes, and a node is one thread. So whoever writes says how much it wants
//! now; what is still to do waits on a stack of ours. Nothing is decoded ahead of its turn: of a
//! message only the places of its fields are known.
//!
//! # The rule
//! What is on the wire is written, and what is not (zeros, mostly) is left out: the same rule as
//! etcd's. Fields come in the order of the schema's text.

use std::fmt::Write as _;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::catalog::{Catalog, Field, Kind, MessageIndex};

/// The bytes are no message of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer that the schema does not describe")]
pub struct Malformed;

/// Writes one message.
pub struct Writer {
    catalog: &'static Catalog,
    wire: Bytes,
    /// From the whole message to the one that is being written.
    open: Vec<Open>,
}

/// A message that is being written.
struct Open {
    message: MessageIndex,
    /// In the order in which they are written.
    values: std::vec::IntoIter<Placed>,
    /// The list that the last value was in.
    list: Option<usize>,
    is_first: bool,
}

/// A value, and the place of its field in the schema's text.
#[derive(Clone)]
struct Placed {
    field: usize,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Number(u64),
    /// Where it stands on the wire.
    Stretch(Range<usize>),
}

impl Writer {
    pub fn new(
        catalog: &'static Catalog,
        message: MessageIndex,
        wire: Bytes,
    ) -> Result<Writer, Malformed> {
        let whole = open(catalog, message, &wire, 0..wire.len())?;
        Ok(Writer { catalog, wire, open: vec![whole] })
    }

    /// Writes on, until `out` has `enough` bytes or somewhat more, or all is written; whether it
    /// is.
    pub fn write(&mut self, out: &mut String, enough: usize) -> Result<bool, Malformed> {
        while let Some(innermost) = self.open.last_mut() {
            if out.len() >= enough {
                return Ok(false);
            }
            let fields = &self.catalog.message(innermost.message).fields;
            let next = innermost.values.next();
            if let Some(list) = innermost.list
                && next.as_ref().is_none_or(|next| next.field != list)
            {
                out.push(']');
                innermost.list = None;
            }
            if std::mem::take(&mut innermost.is_first) {
                out.push('{');
            } else if next.is_some() {
                out.push(',');
            }
            let Some(Placed { field, value }) = next else {
                out.push('}');
                self.open.pop();
                continue;
            };
            let (place, field) = (field, &fields[field]);
            if innermost.list.is_none() {
                out.push('"');
                out.push_str(&field.name);
                out.push_str("\":");
                if field.is_list {
                    out.push('[');
                    innermost.list = Some(place);
                }
            }
            match (&field.kind, value) {
                (Kind::Message(message), Value::Stretch(stretch)) => {
                    self.open.push(open(self.catalog, *message, &self.wire, stretch)?);
                }
                (_, value) => self.scalar(out, field, value)?,
            }
        }
        Ok(true)
    }

    fn scalar(&self, out: &mut String, field: &Field, value: Value) -> Result<(), Malformed> {
        match (&field.kind, value) {
            (Kind::Bool, Value::Number(bits)) => {
                out.push_str(if bits == 0 { "false" } else { "true" });
            }
            (Kind::Int32, Value::Number(bits)) => number(out, bits.cast_signed()),
            (Kind::Uint32, Value::Number(bits)) => number(out, bits),
            (Kind::Int64, Value::Number(bits)) => number_as_text(out, bits.cast_signed()),
            (Kind::Uint64, Value::Number(bits)) => number_as_text(out, bits),
            (Kind::Enum(it), Value::Number(bits)) => {
                // Numbers below zero are written in 64 bits.
                let it_is = i32::try_from(bits.cast_signed()).map_err(|_| Malformed)?;
                match it.name_of(it_is) {
                    Some(name) => {
                        out.push('"');
                        out.push_str(name);
                        out.push('"');
                    }
                    None => number(out, it_is),
                }
            }
            (Kind::Bytes, Value::Stretch(stretch)) => {
                out.push('"');
                STANDARD.encode_string(&self.wire[stretch], out);
                out.push('"');
            }
            (Kind::Text, Value::Stretch(stretch)) => {
                let text = std::str::from_utf8(&self.wire[stretch]).map_err(|_| Malformed)?;
                out.push_str(&serde_json::to_string(text).map_err(|_| Malformed)?);
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

fn number(out: &mut String, number: impl std::fmt::Display) {
    // Into a string, this cannot fail.
    let _ = write!(out, "{number}");
}

fn number_as_text(out: &mut String, number: impl std::fmt::Display) {
    let _ = write!(out, "\"{number}\"");
}

/// The fields of the message that stands at `stretch`.
fn open(
    catalog: &Catalog,
    message: MessageIndex,
    wire: &[u8],
    stretch: Range<usize>,
) -> Result<Open, Malformed> {
    let fields = &catalog.message(message).fields;
    let mut values = Vec::new();
    let whole = wire.get(stretch.clone()).ok_or(Malformed)?;
    let mut rest = whole;
    while !rest.is_empty() {
        let (number, wire_type) = decode_key(&mut rest).map_err(|_| Malformed)?;
        let field = fields.iter().position(|it| it.number == number).ok_or(Malformed)?;
        match wire_type {
            WireType::Varint => {
                let value = Value::Number(decode_varint(&mut rest).map_err(|_| Malformed)?);
                values.push(Placed { field, value });
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(|_| Malformed)?;
                let length = usize::try_from(length).map_err(|_| Malformed)?;
                let (mut content, after) = rest.split_at_checked(length).ok_or(Malformed)?;
                let start = stretch.start + whole.len() - rest.len();
                rest = after;
                if matches!(fields[field].kind, Kind::Bytes | Kind::Text | Kind::Message(_)) {
                    let value = Value::Stretch(start..start + length);
                    values.push(Placed { field, value });
                    continue;
                }
                // A list of numbers, packed into one.
                if !fields[field].is_list {
                    return Err(Malformed);
                }
                while !content.is_empty() {
                    let value = Value::Number(decode_varint(&mut content).map_err(|_| Malformed)?);
                    values.push(Placed { field, value });
                }
            }
            _ => return Err(Malformed),
        }
    }
    // Those of a list stay in their order.
    values.sort_by_key(|placed| placed.field);
    let twice = |pair: &[Placed]| pair[0].field == pair[1].field && !fields[pair[0].field].is_list;
    if values.windows(2).any(twice) {
        return Err(Malformed);
    }
    Ok(Open { message, values: values.into_iter(), list: None, is_first: true })
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::grpc::gateway::catalog::catalog;
    use crate::grpc::pb::etcdserverpb as pb;
    use crate::grpc::pb::etcdserverpb::response_op::Response;
    use crate::grpc::pb::{authpb, mvccpb};

    fn writer(method: &str, message: &impl Message) -> Result<Writer, Malformed> {
        let output = catalog().method(method).unwrap().output;
        Writer::new(catalog(), output, message.encode_to_vec().into())
    }

    /// However it is cut, the pieces are the same text.
    fn json(method: &str, message: &impl Message) -> String {
        let mut whole = String::new();
        assert_eq!(writer(method, message).unwrap().write(&mut whole, usize::MAX), Ok(true));
        let (mut pieces, mut writer) = (String::new(), writer(method, message).unwrap());
        loop {
            let mut piece = String::new();
            let is_done = writer.write(&mut piece, 1).unwrap();
            pieces.push_str(&piece);
            if is_done {
                break;
            }
        }
        assert_eq!(pieces, whole);
        whole
    }

    fn header() -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { cluster_id: 32, member_id: u64::MAX, revision: 2, raft_term: 2 })
    }

    const HEADER: &str = concat!(
        r#""header":{"cluster_id":"32","member_id":"18446744073709551615","#,
        r#""revision":"2","raft_term":"2"}"#
    );

    #[test]
    fn answers_look_as_in_the_specification() {
        let kv = |key: &'static str, value: &'static str| mvccpb::KeyValue {
            key: key.into(),
            value: value.into(),
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            lease: 0,
        };
        let foo = concat!(
            r#"{"key":"Zm9v","create_revision":"2","mod_revision":"2","#,
            r#""version":"1","value":"YmFy"}"#
        );
        let range = pb::RangeResponse {
            header: header(),
            kvs: vec![kv("foo", "bar"), kv("foo", "bar")],
            more: true,
            count: 7,
        };
        let expected = format!(r#"{{{HEADER},"kvs":[{foo},{foo}],"more":true,"count":"7"}}"#);
        assert_eq!(json("/etcdserverpb.KV/Range", &range), expected);
        let empty = pb::RangeResponse { header: header(), ..Default::default() };
        assert_eq!(json("/etcdserverpb.KV/Range", &empty), format!("{{{HEADER}}}"));
        let inner = |revision| Some(pb::ResponseHeader { revision, ..Default::default() });
        let put = pb::PutResponse { header: inner(3), prev_kv: None };
        let nothing = pb::TxnResponse { header: inner(0), succeeded: false, responses: vec![] };
        let op = |response| pb::ResponseOp { response };
        let txn = pb::TxnResponse {
            header: header(),
            succeeded: true,
            responses: vec![
                op(Some(Response::ResponsePut(put))),
                op(Some(Response::ResponseTxn(nothing))),
                op(None),
            ],
        };
        let expected = format!(
            "{{{HEADER},\"succeeded\":true,\"responses\":[\
             {{\"response_put\":{{\"header\":{{\"revision\":\"3\"}}}}}},\
             {{\"response_txn\":{{\"header\":{{}}}}}},{{}}]}}"
        );
        assert_eq!(json("/etcdserverpb.KV/Txn", &txn), expected);
        let nothing = pb::DefragmentResponse::default();
        assert_eq!(json("/etcdserverpb.Maintenance/Defragment", &nothing), "{}");
    }

    #[test]
    fn enums_are_names_and_text_is_text() {
        let watch = pb::WatchResponse {
            watch_id: -1,
            canceled: true,
            cancel_reason: "a \"reason\"\n".into(),
            events: vec![
                mvccpb::Event { kv: Some(mvccpb::KeyValue::default()), ..Default::default() },
                mvccpb::Event { r#type: 1, ..Default::default() },
            ],
            ..Default::default()
        };
        assert_eq!(
            json("/etcdserverpb.Watch/Watch", &watch),
            concat!(
                r#"{"watch_id":"-1","canceled":true,"cancel_reason":"a \"reason\"\n","#,
                r#""events":[{"kv":{}},{"type":"DELETE"}]}"#
            )
        );
        let alarm = |alarm| pb::AlarmMember { member_id: 9, alarm };
        let alarms = pb::AlarmResponse { header: None, alarms: vec![alarm(1), alarm(-3)] };
        assert_eq!(
            json("/etcdserverpb.Maintenance/Alarm", &alarms),
            r#"{"alarms":[{"memberID":"9","alarm":"NOSPACE"},{"memberID":"9","alarm":-3}]}"#
        );
        let members = pb::MemberListResponse {
            members: vec![pb::Member {
                id: 1,
                client_ur_ls: vec!["http://a".into(), "b".into()],
                is_learner: true,
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(
            json("/etcdserverpb.Cluster/MemberList", &members),
            r#"{"members":[{"ID":"1","clientURLs":["http://a","b"],"isLearner":true}]}"#
        );
        let hash = pb::HashResponse { header: None, hash: u32::MAX };
        assert_eq!(json("/etcdserverpb.Maintenance/Hash", &hash), r#"{"hash":4294967295}"#);
        let role = pb::AuthRoleGetResponse {
            perm: vec![authpb::Permission { perm_type: 2, ..Default::default() }],
            ..Default::default()
        };
        let role = json("/etcdserverpb.Auth/RoleGet", &role);
        assert_eq!(role, r#"{"perm":[{"permType":"READWRITE"}]}"#);
    }

    #[test]
    fn what_is_no_such_message_is_an_error_and_no_text() {
        let output = catalog().method("/etcdserverpb.KV/Put").unwrap().output;
        let new = |wire: &'static [u8]| Writer::new(catalog(), output, Bytes::from_static(wire));
        for wire in [&b"\x0a\x7f"[..], b"\x0a", b"\xff", b"\x78\x01", b"\x0a\x00\x0a\x00"] {
            assert_eq!(new(wire).err(), Some(Malformed), "{wire:?}");
        }
        let mut inside = new(b"\x0a\x02\x0a\x00").unwrap();
        assert_eq!(inside.write(&mut String::new(), usize::MAX), Err(Malformed));
    }
}
