//! What nodes say to each other when one [repairs](crate::replica::repair) its log, to and from
//! plain Rust.

use bytes::Bytes;

use super::peer::{index, number, term, write_entry};
use crate::codec::{CodecError, decode_payload};
use crate::consensus::raft::Message;
use crate::consensus::{Chunk, Entry};
use crate::replica::{PeerMessage, RepairVerdict};
use crate::schema::peer_capnp as schema;
use crate::types::{LogIndex, Term};

pub fn write_request(
    at: LogIndex,
    its_term: Option<Term>,
    mut to: schema::repair_request::Builder<'_>,
) {
    to.set_index(at.0);
    to.set_term(its_term.map_or(0, |term| term.0));
}

pub fn read_request(
    request: schema::repair_request::Reader<'_>,
) -> Result<PeerMessage<Message>, CodecError> {
    let its_term = term(request.get_term())?;
    Ok(PeerMessage::RepairRequest {
        index: index(request.get_index())?,
        term: (its_term != Term(0)).then_some(its_term),
    })
}

pub fn write_reply(
    at: LogIndex,
    verdict: &RepairVerdict,
    mut to: schema::repair_reply::Builder<'_>,
) {
    to.set_index(at.0);
    match verdict {
        RepairVerdict::Entry(entry) => write_entry(entry, to.init_entry()),
        RepairVerdict::Lacks => to.set_lacks(()),
        RepairVerdict::CannotTell { compacted_to } => to.set_cannot_tell(compacted_to.0),
    }
}

pub fn read_reply(
    reply: schema::repair_reply::Reader<'_>,
) -> Result<PeerMessage<Message>, CodecError> {
    use schema::repair_reply::Which;
    let verdict = match reply.which()? {
        Which::Entry(entry) => {
            let entry = entry?;
            let payload = Bytes::copy_from_slice(entry.get_payload()?);
            RepairVerdict::Entry(Entry {
                term: term(entry.get_term())?,
                index: index(entry.get_index())?,
                payload: decode_payload(entry.get_kind()?, payload)?,
            })
        }
        Which::Lacks(()) => RepairVerdict::Lacks,
        Which::CannotTell(to) => RepairVerdict::CannotTell { compacted_to: index(to)? },
    };
    Ok(PeerMessage::RepairReply { index: index(reply.get_index())?, verdict })
}

pub fn write_snapshot_request(
    covers: LogIndex,
    snapshot: Option<LogIndex>,
    offset: u64,
    mut to: schema::snapshot_request::Builder<'_>,
) {
    to.set_covers(covers.0);
    to.set_snapshot(snapshot.map_or(0, |index| index.0));
    to.set_offset(offset);
}

pub fn read_snapshot_request(
    request: schema::snapshot_request::Reader<'_>,
) -> Result<PeerMessage<Message>, CodecError> {
    let snapshot = index(request.get_snapshot())?;
    Ok(PeerMessage::SnapshotRequest {
        covers: index(request.get_covers())?,
        snapshot: (snapshot != LogIndex(0)).then_some(snapshot),
        offset: number("offset", request.get_offset())?,
    })
}

pub fn write_snapshot_reply(
    last: (LogIndex, Term),
    offset: u64,
    chunk: &Chunk,
    mut to: schema::snapshot_reply::Builder<'_>,
) {
    to.set_index(last.0.0);
    to.set_term(last.1.0);
    to.set_offset(offset);
    to.set_data(&chunk.data);
    to.set_done(chunk.done);
}

pub fn read_snapshot_reply(
    reply: schema::snapshot_reply::Reader<'_>,
) -> Result<PeerMessage<Message>, CodecError> {
    let data = Bytes::copy_from_slice(reply.get_data()?);
    Ok(PeerMessage::SnapshotReply {
        index: index(reply.get_index())?,
        term: term(reply.get_term())?,
        offset: number("offset", reply.get_offset())?,
        chunk: Chunk { data, done: reply.get_done() },
    })
}
