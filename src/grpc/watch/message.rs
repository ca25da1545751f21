//! Messages of a watch's stream.

use std::rc::Rc;

use prost::Message;

use super::hub::Hub;
use crate::grpc::backend::Backend;
use crate::grpc::convert::{key_value, signed};
use crate::grpc::header::header;
use crate::grpc::pb::etcdserverpb as pb;
use crate::grpc::pb::mvccpb;
use crate::kv::{Change, Machine};
use crate::types::Revision;

/// A message from this size on comes in pieces, if the client can put them together: etcd's limit
/// on a request, and half a mebibyte.
pub const FRAGMENT_BYTES: usize = 2 << 20;

/// For no watch, or all of the stream's.
pub const NO_ID: i64 = -1;

/// A message without anything in it, as of now.
pub fn empty(backend: &dyn Backend, id: i64) -> pb::WatchResponse {
    let revision = backend.hub().peek(Machine::revision).unwrap_or_default();
    of_revision(backend, id, revision)
}

/// A message without anything in it, with a revision in its header, or zero.
pub fn of_revision(backend: &dyn Backend, id: i64, revision: Revision) -> pb::WatchResponse {
    pb::WatchResponse {
        header: Some(header(backend, revision)),
        watch_id: id,
        ..pb::WatchResponse::default()
    }
}

/// There is no watch, and why.
pub fn refused(backend: &dyn Backend, why: &str) -> pb::WatchResponse {
    pb::WatchResponse {
        created: true,
        canceled: true,
        cancel_reason: why.to_owned(),
        ..empty(backend, NO_ID)
    }
}

/// Changes as the client sees them, with what they replaced, if it asked for that.
pub fn events(hub: &Hub, changes: &[Rc<Change>], prev_kv: bool) -> Vec<mvccpb::Event> {
    let look = |machine: &Machine| changes.iter().map(|it| event(machine, it, prev_kv)).collect();
    hub.peek(look).unwrap_or_default()
}

fn event(machine: &Machine, change: &Change, prev_kv: bool) -> mvccpb::Event {
    use mvccpb::event::EventType;
    // A version that was replaced right at the compacted revision cannot be read any more, although
    // it may not have been swept.
    let is_kept = change.item.mod_revision > machine.compacted_revision();
    let previous = (prev_kv && is_kept).then(|| machine.previous(change)).flatten();
    let (kind, kv) = match change.is_delete {
        false => (EventType::Put, key_value(change.item.clone())),
        true => {
            let mod_revision = signed(change.item.mod_revision.0);
            let key = change.item.key.clone();
            (EventType::Delete, mvccpb::KeyValue { key, mod_revision, ..Default::default() })
        }
    };
    mvccpb::Event { r#type: kind as i32, kv: Some(kv), prev_kv: previous.map(key_value) }
}

/// The message, cut where it is too large: as many events in each piece as stay below the limit,
/// and at least one.
pub fn fragments(whole: pb::WatchResponse, limit: usize) -> Vec<pb::WatchResponse> {
    if whole.events.len() < 2 || whole.encoded_len() < limit {
        return vec![whole];
    }
    let frame = pb::WatchResponse { events: Vec::new(), fragment: true, ..whole };
    let frame_bytes = frame.encoded_len();
    let mut pieces = vec![frame.clone()];
    let mut bytes = frame_bytes;
    for event in whole.events {
        let length = event.encoded_len();
        // The field's tag takes one byte.
        let length = 1 + prost::length_delimiter_len(length) + length;
        let is_full = bytes + length >= limit;
        if let Some(last) = pieces.last_mut()
            && (last.events.is_empty() || !is_full)
        {
            last.events.push(event);
            bytes += length;
        } else {
            pieces.push(pb::WatchResponse { events: vec![event], ..frame.clone() });
            bytes = frame_bytes + length;
        }
    }
    if let Some(last) = pieces.last_mut() {
        last.fragment = false;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn message(sizes: &[usize]) -> pb::WatchResponse {
        let event = |(number, size): (usize, &usize)| mvccpb::Event {
            kv: Some(mvccpb::KeyValue {
                key: Bytes::from(number.to_string()),
                value: Bytes::from(vec![7; *size]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let events = sizes.iter().enumerate().map(event).collect();
        pb::WatchResponse { watch_id: 3, events, ..Default::default() }
    }

    proptest! {
        #[test]
        fn pieces_have_all_events_in_order_and_are_as_large_as_can_be(
            sizes in proptest::collection::vec(0_usize..300, 0..40),
            limit in 20_usize..1000,
        ) {
            let whole = message(&sizes);
            let pieces = fragments(whole.clone(), limit);
            let events: Vec<_> = pieces.iter().flat_map(|it| it.events.clone()).collect();
            prop_assert_eq!(events, whole.events.clone());
            for (number, piece) in pieces.iter().enumerate() {
                prop_assert_eq!(piece.fragment, number + 1 < pieces.len());
                prop_assert_eq!(piece.watch_id, 3);
                if pieces.len() > 1 && piece.events.len() > 1 {
                    let marked = pb::WatchResponse { fragment: true, ..piece.clone() };
                    prop_assert!(marked.encoded_len() < limit);
                }
                if let Some(next) = pieces.get(number + 1) {
                    let mut more = piece.clone();
                    more.events.push(next.events[0].clone());
                    prop_assert!(more.encoded_len() >= limit, "one more would have fit");
                }
            }
            if whole.encoded_len() < limit {
                prop_assert_eq!(pieces.len(), 1);
            }
        }
    }
}
