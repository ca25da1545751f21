//! Configurations and log entries' payloads as bytes, for the log on disk and the wire.
//!
//! A command is opaque and stays as it is; a configuration is a Cap'n Proto message
//! (`schema/log.capnp`), which may grow fields without breaking old logs.

use bytes::Bytes;
use capnp::message::{Builder, ReaderOptions};
use capnp::serialize;

use crate::consensus::{Configuration, Payload};
use crate::schema::log_capnp::{configuration, entry::Kind};
use crate::types::NodeId;

/// A text or bytes from outside that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

impl From<capnp::Error> for CodecError {
    fn from(error: capnp::Error) -> CodecError {
        CodecError(error.to_string())
    }
}

impl From<capnp::NotInSchema> for CodecError {
    fn from(error: capnp::NotInSchema) -> CodecError {
        CodecError(format!("a choice that this version does not know: {error}"))
    }
}

/// A payload's kind and bytes.
pub fn encode_payload(payload: &Payload) -> (Kind, Bytes) {
    match payload {
        Payload::Noop => (Kind::Noop, Bytes::new()),
        Payload::Command(bytes) => (Kind::Command, bytes.clone()),
        Payload::Configuration(c) => (Kind::Configuration, encode_configuration(c)),
    }
}

/// The payload that `kind` and `bytes` stand for.
pub fn decode_payload(kind: Kind, bytes: Bytes) -> Result<Payload, CodecError> {
    match kind {
        Kind::Noop if bytes.is_empty() => Ok(Payload::Noop),
        Kind::Noop => Err(CodecError("a no-op entry with a payload".into())),
        Kind::Command => Ok(Payload::Command(bytes)),
        Kind::Configuration => decode_configuration(&bytes).map(Payload::Configuration),
    }
}

/// A configuration as a Cap'n Proto message.
pub fn encode_configuration(c: &Configuration) -> Bytes {
    let mut message = Builder::new_default();
    let mut root = message.init_root::<configuration::Builder<'_>>();
    let ids = |mut list: capnp::primitive_list::Builder<'_, u64>,
               from: &mut dyn Iterator<Item = NodeId>| {
        for (i, id) in from.enumerate() {
            list.set(i as u32, id.0);
        }
    };
    ids(root.reborrow().init_voters(c.voters.len() as u32), &mut c.voters.iter().copied());
    ids(root.reborrow().init_outgoing(c.outgoing.len() as u32), &mut c.outgoing.iter().copied());
    ids(root.reborrow().init_learners(c.learners.len() as u32), &mut c.learners.iter().copied());
    let mut addresses = root.init_addresses(c.addresses.len() as u32);
    for (i, (node, address)) in c.addresses.iter().enumerate() {
        let mut item = addresses.reborrow().get(i as u32);
        item.set_node(node.0);
        item.set_address(address);
    }
    serialize::write_message_to_words(&message).into()
}

/// The configuration that `bytes` stand for.
pub fn decode_configuration(bytes: &[u8]) -> Result<Configuration, CodecError> {
    let mut slice = bytes;
    // Each word is read once. A few bytes could otherwise claim to be a list of millions of
    // elements of no size, and cost a quarter of a second, in each entry of a message.
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(bytes.len() / 8)).nesting_limit(8);
    let message = serialize::read_message_from_flat_slice(&mut slice, options)?;
    let root = message.get_root::<configuration::Reader<'_>>()?;
    let ids =
        |list: capnp::primitive_list::Reader<'_, u64>| {
            list.iter()
                .map(|id| {
                    if id == 0 {
                        Err(CodecError("node 0 is nobody".into()))
                    } else {
                        Ok(NodeId(id))
                    }
                })
                .collect::<Result<_, _>>()
        };
    let mut addresses = std::collections::BTreeMap::new();
    for item in root.get_addresses()? {
        let address = item.get_address()?.to_string();
        let address = address.map_err(|_| CodecError("an address that is not UTF-8".into()))?;
        addresses.insert(NodeId(item.get_node()), address);
    }
    Ok(Configuration {
        voters: ids(root.get_voters()?)?,
        outgoing: ids(root.get_outgoing()?)?,
        learners: ids(root.get_learners()?)?,
        addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Configuration {
        Configuration {
            voters: [NodeId(1), NodeId(2)].into(),
            outgoing: [NodeId(3)].into(),
            learners: [NodeId(4)].into(),
            addresses: [(NodeId(1), "unix:/tmp/ä".to_owned())].into(),
        }
    }

    #[test]
    fn a_configuration_survives_its_bytes() {
        let configuration = sample();
        assert_eq!(decode_configuration(&encode_configuration(&configuration)), Ok(configuration));
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let bytes = encode_configuration(&sample());
        for length in 0..bytes.len() - 8 {
            assert!(decode_configuration(&bytes[..length]).is_err(), "cut to {length}");
        }
        for byte in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.to_vec();
                damaged[byte] ^= 1 << bit;
                let _ = decode_configuration(&damaged);
            }
        }
    }

    /// Eight bytes of addresses that say that they are a million, none of which takes any space.
    #[test]
    fn a_list_is_no_longer_than_its_bytes() {
        let nobody = Configuration { addresses: [].into(), ..sample() };
        let mut bytes = encode_configuration(&nobody).to_vec();
        // The frame: one segment, its length in words. Then the root's pointer: one word of offset
        // and kind, and its pointers after that.
        let pointer = bytes.len();
        let (root, words) = (8 + 8 + 8 * 3, bytes.len() / 8 - 1);
        bytes.extend_from_slice(&((1_u64 << 20) << 2).to_le_bytes());
        bytes[4..8].copy_from_slice(&(words as u32 + 1).to_le_bytes());
        let offset = (pointer - root) / 8 - 1;
        bytes[root..root + 8].copy_from_slice(&((offset as u64) << 2 | 1 | 7 << 32).to_le_bytes());
        let error = decode_configuration(&bytes).map(|it| it.addresses.len());
        assert!(error.as_ref().is_err_and(|e| e.0.contains("limit")), "{error:?}");
    }

    #[test]
    fn a_noop_carries_nothing() {
        assert!(decode_payload(Kind::Noop, Bytes::from_static(b"x")).is_err());
        assert_eq!(decode_payload(Kind::Noop, Bytes::new()), Ok(Payload::Noop));
    }
}
