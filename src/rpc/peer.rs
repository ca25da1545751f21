//! `schema/peer.capnp` to and from plain Rust.
//!
//! A batch is all that one node has for another at the end of a turn. Every number in it comes from
//! outside: those that arithmetic is done on (terms, indexes, rounds) are refused beyond
//! [`MAX_NUMBER`], so that no sum can overflow. Whether a message *makes sense* is for the core to
//! judge.
//!
//! # Copies
//!
//! The payloads of one message's entries are copied out into one piece of memory and then shared:
//! a thousand small entries cost one allocation. They live and die together, in the core's cache.

use bytes::Bytes;

use super::client::{self, Asked, node};
use super::repair;
use crate::codec::{CodecError, decode_payload, encode_payload};
use crate::consensus::raft::{AppendResult, Message, ReadContext, SnapshotResult};
use crate::consensus::{Entry, Payload};
use crate::replica::{PeerMessage, RepairVerdict};
use crate::schema::{log_capnp, peer_capnp as schema};
use crate::types::{ClusterId, LogIndex, NodeId, Term, Ticket};

/// Messages in one batch.
pub const MAX_MESSAGES: usize = 4096;

/// Entries in one message.
pub const MAX_ENTRIES: usize = 65_536;

/// No term, index or round is larger: ten a nanosecond for three years.
pub const MAX_NUMBER: u64 = 1 << 60;

/// All that one node has to say to another at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub cluster: ClusterId,
    pub from: NodeId,
    pub to: NodeId,
    pub messages: Vec<PeerMessage<Message>>,
}

/// About how many bytes a message takes in a batch; never too few.
pub fn size(message: &PeerMessage<Message>) -> usize {
    const FRAME: usize = 128;
    const ENTRY: usize = 48;
    FRAME
        + match message {
            PeerMessage::Consensus(Message::AppendEntries { entries, .. }) => {
                entries.iter().map(|entry| ENTRY + payload_size(&entry.payload)).sum()
            }
            PeerMessage::Consensus(Message::InstallSnapshot { data, .. }) => data.len(),
            PeerMessage::Consensus(_) => 0,
            PeerMessage::Relay { request, .. } => client::request_size(request),
            PeerMessage::RelayReply { response, .. } => client::response_size(response),
            PeerMessage::RepairReply { verdict: RepairVerdict::Entry(entry), .. } => {
                ENTRY + payload_size(&entry.payload)
            }
            PeerMessage::SnapshotReply { chunk, .. } => chunk.data.len(),
            PeerMessage::StateHash { .. }
            | PeerMessage::Supports { .. }
            | PeerMessage::SnapshotRequest { .. }
            | PeerMessage::RepairRequest { .. }
            | PeerMessage::RepairReply { .. } => 0,
        }
}

fn payload_size(payload: &Payload) -> usize {
    /// A member of a configuration: in three lists at most, with an address's frame.
    const MEMBER: usize = 64;
    match payload {
        Payload::Noop => 0,
        Payload::Command(bytes) => bytes.len(),
        Payload::Configuration(configuration) => {
            let addresses = configuration.addresses.values().map(|it| it.len() + MEMBER);
            let members = configuration.voters.len()
                + configuration.outgoing.len()
                + configuration.learners.len();
            MEMBER + members * 8 + addresses.sum::<usize>()
        }
    }
}

/// Writes a batch of `messages`.
pub fn write_batch<'m>(
    (cluster, from, to): (ClusterId, NodeId, NodeId),
    messages: impl ExactSizeIterator<Item = &'m PeerMessage<Message>>,
    mut batch: schema::batch::Builder<'_>,
) {
    batch.set_cluster(cluster.0);
    batch.set_from(from.0);
    batch.set_to(to.0);
    let mut list = batch.init_messages(messages.len() as u32);
    for (at, message) in messages.enumerate() {
        write_message(message, list.reborrow().get(at as u32));
    }
}

fn write_message(message: &PeerMessage<Message>, to: schema::message::Builder<'_>) {
    match message {
        PeerMessage::Consensus(message) => write_consensus(message, to),
        PeerMessage::Relay { ticket, term, request, timeout, trace } => {
            let mut relay = to.init_relay();
            relay.set_ticket(ticket.0);
            relay.set_term(term.0);
            client::write_request(request, *timeout, *trace, relay.init_request());
        }
        PeerMessage::RelayReply { ticket, response } => {
            let mut reply = to.init_relay_reply();
            reply.set_ticket(ticket.0);
            client::write_response(response, reply.init_response());
        }
        PeerMessage::StateHash { index, hash } => {
            let mut state = to.init_state_hash();
            state.set_index(index.0);
            state.set_high((hash >> 64) as u64);
            state.set_low(*hash as u64);
        }
        PeerMessage::Supports { version } => {
            let mut to = to;
            to.set_supports(*version);
        }
        PeerMessage::RepairRequest { index, term } => {
            repair::write_request(*index, *term, to.init_repair_request());
        }
        PeerMessage::RepairReply { index, verdict } => {
            repair::write_reply(*index, verdict, to.init_repair_reply());
        }
        PeerMessage::SnapshotRequest { covers, snapshot, offset } => {
            let to = to.init_snapshot_request();
            repair::write_snapshot_request(*covers, *snapshot, *offset, to);
        }
        PeerMessage::SnapshotReply { index, term, offset, chunk } => {
            let to = to.init_snapshot_reply();
            repair::write_snapshot_reply((*index, *term), *offset, chunk, to);
        }
    }
}

fn write_consensus(message: &Message, to: schema::message::Builder<'_>) {
    match message {
        Message::PreVote { next_term, last_log_index, last_log_term } => {
            let mut vote = to.init_pre_vote();
            vote.set_next_term(next_term.0);
            vote.set_last_log_index(last_log_index.0);
            vote.set_last_log_term(last_log_term.0);
        }
        Message::PreVoteReply { term, next_term, granted } => {
            let mut reply = to.init_pre_vote_reply();
            reply.set_term(term.0);
            reply.set_next_term(next_term.0);
            reply.set_granted(*granted);
        }
        Message::RequestVote { term, last_log_index, last_log_term, transfer } => {
            let mut vote = to.init_request_vote();
            vote.set_term(term.0);
            vote.set_last_log_index(last_log_index.0);
            vote.set_last_log_term(last_log_term.0);
            vote.set_transfer(*transfer);
        }
        Message::RequestVoteReply { term, granted } => {
            let mut reply = to.init_request_vote_reply();
            reply.set_term(term.0);
            reply.set_granted(*granted);
        }
        Message::AppendEntries {
            term,
            prev_log_index,
            prev_log_term,
            entries,
            leader_commit,
            round,
        } => {
            let mut append = to.init_append_entries();
            append.set_term(term.0);
            append.set_prev_log_index(prev_log_index.0);
            append.set_prev_log_term(prev_log_term.0);
            append.set_leader_commit(leader_commit.0);
            append.set_round(*round);
            if !entries.is_empty() {
                write_entries(entries, append.init_entries(entries.len() as u32));
            }
        }
        Message::AppendEntriesReply { term, round, result } => {
            let mut reply = to.init_append_entries_reply();
            reply.set_term(term.0);
            reply.set_round(*round);
            match result {
                AppendResult::Matched(index) => reply.set_matched(index.0),
                AppendResult::Stale => reply.set_stale(()),
                AppendResult::Conflict { rejected, term, index } => {
                    let mut conflict = reply.init_conflict();
                    conflict.set_rejected(rejected.0);
                    conflict.set_term(term.0);
                    conflict.set_index(index.0);
                }
            }
        }
        Message::InstallSnapshot { term, snapshot_index, snapshot_term, offset, data, done } => {
            let mut install = to.init_install_snapshot();
            install.set_term(term.0);
            install.set_snapshot_index(snapshot_index.0);
            install.set_snapshot_term(snapshot_term.0);
            install.set_offset(*offset);
            install.set_data(data);
            install.set_done(*done);
        }
        Message::InstallSnapshotReply { term, snapshot_index, result } => {
            let mut reply = to.init_install_snapshot_reply();
            reply.set_term(term.0);
            reply.set_snapshot_index(snapshot_index.0);
            match result {
                SnapshotResult::Received { bytes } => reply.set_received(*bytes),
                SnapshotResult::Installed => reply.set_installed(()),
            }
        }
        Message::TimeoutNow { term } => {
            let mut to = to;
            to.set_timeout_now(term.0);
        }
        Message::ReadIndex { term, context } => {
            let mut question = to.init_read_index();
            question.set_term(term.0);
            question.set_incarnation(context.incarnation);
            question.set_counter(context.counter);
        }
        Message::ReadIndexReply { term, context, at } => {
            let mut reply = to.init_read_index_reply();
            reply.set_term(term.0);
            reply.set_incarnation(context.incarnation);
            reply.set_counter(context.counter);
            reply.set_at(at.0);
        }
    }
}

fn write_entries(
    entries: &[Entry],
    mut list: capnp::struct_list::Builder<'_, log_capnp::entry::Owned>,
) {
    for (at, entry) in entries.iter().enumerate() {
        write_entry(entry, list.reborrow().get(at as u32));
    }
}

pub(super) fn write_entry(entry: &Entry, mut to: log_capnp::entry::Builder<'_>) {
    to.set_term(entry.term.0);
    to.set_index(entry.index.0);
    let (kind, payload) = encode_payload(&entry.payload);
    to.set_kind(kind);
    if !payload.is_empty() {
        to.set_payload(&payload);
    }
}

/// Reads a batch.
pub fn read_batch(batch: schema::batch::Reader<'_>) -> Result<Batch, CodecError> {
    let list = batch.get_messages()?;
    if list.len() as usize > MAX_MESSAGES {
        return Err(CodecError(format!(
            "a batch of {} messages; at most {MAX_MESSAGES}",
            list.len()
        )));
    }
    Ok(Batch {
        cluster: ClusterId(batch.get_cluster()),
        from: node(batch.get_from())?,
        to: node(batch.get_to())?,
        messages: list.iter().map(read_message).collect::<Result<_, _>>()?,
    })
}

fn read_message(from: schema::message::Reader<'_>) -> Result<PeerMessage<Message>, CodecError> {
    use schema::message::Which;
    Ok(match from.which()? {
        Which::RequestVote(vote) => {
            let vote = vote?;
            PeerMessage::Consensus(Message::RequestVote {
                term: term(vote.get_term())?,
                last_log_index: index(vote.get_last_log_index())?,
                last_log_term: term(vote.get_last_log_term())?,
                transfer: vote.get_transfer(),
            })
        }
        Which::RequestVoteReply(reply) => {
            let reply = reply?;
            PeerMessage::Consensus(Message::RequestVoteReply {
                term: term(reply.get_term())?,
                granted: reply.get_granted(),
            })
        }
        Which::PreVote(vote) => {
            let vote = vote?;
            PeerMessage::Consensus(Message::PreVote {
                next_term: term(vote.get_next_term())?,
                last_log_index: index(vote.get_last_log_index())?,
                last_log_term: term(vote.get_last_log_term())?,
            })
        }
        Which::PreVoteReply(reply) => {
            let reply = reply?;
            PeerMessage::Consensus(Message::PreVoteReply {
                term: term(reply.get_term())?,
                next_term: term(reply.get_next_term())?,
                granted: reply.get_granted(),
            })
        }
        Which::InstallSnapshot(install) => PeerMessage::Consensus(read_install(install?)?),
        Which::InstallSnapshotReply(reply) => {
            use schema::install_snapshot_reply::Which;
            let reply = reply?;
            let result = match reply.which()? {
                Which::Received(bytes) => {
                    SnapshotResult::Received { bytes: number("count of bytes", bytes)? }
                }
                Which::Installed(()) => SnapshotResult::Installed,
            };
            PeerMessage::Consensus(Message::InstallSnapshotReply {
                term: term(reply.get_term())?,
                snapshot_index: index(reply.get_snapshot_index())?,
                result,
            })
        }
        Which::TimeoutNow(value) => {
            PeerMessage::Consensus(Message::TimeoutNow { term: term(value)? })
        }
        Which::ReadIndex(question) => {
            let question = question?;
            let (incarnation, counter) = (question.get_incarnation(), question.get_counter());
            PeerMessage::Consensus(Message::ReadIndex {
                term: term(question.get_term())?,
                context: ReadContext { incarnation, counter },
            })
        }
        Which::ReadIndexReply(reply) => {
            let reply = reply?;
            let (incarnation, counter) = (reply.get_incarnation(), reply.get_counter());
            PeerMessage::Consensus(Message::ReadIndexReply {
                term: term(reply.get_term())?,
                context: ReadContext { incarnation, counter },
                at: index(reply.get_at())?,
            })
        }
        Which::AppendEntries(append) => PeerMessage::Consensus(read_append(append?)?),
        Which::AppendEntriesReply(reply) => PeerMessage::Consensus(read_append_reply(reply?)?),
        Which::Relay(relay) => {
            let relay = relay?;
            let Asked { request, timeout, trace } = client::read_request(relay.get_request()?)?;
            let (ticket, term) = (Ticket(relay.get_ticket()), term(relay.get_term())?);
            PeerMessage::Relay { ticket, term, request, timeout, trace }
        }
        Which::RelayReply(reply) => {
            let reply = reply?;
            let response = client::read_response(reply.get_response()?)?;
            PeerMessage::RelayReply { ticket: Ticket(reply.get_ticket()), response }
        }
        Which::StateHash(state) => {
            let state = state?;
            let hash = u128::from(state.get_high()) << 64 | u128::from(state.get_low());
            PeerMessage::StateHash { index: index(state.get_index())?, hash }
        }
        Which::Supports(version) => PeerMessage::Supports { version },
        Which::RepairRequest(request) => repair::read_request(request?)?,
        Which::RepairReply(reply) => repair::read_reply(reply?)?,
        Which::SnapshotRequest(request) => repair::read_snapshot_request(request?)?,
        Which::SnapshotReply(reply) => repair::read_snapshot_reply(reply?)?,
    })
}

fn read_append(append: schema::append_entries::Reader<'_>) -> Result<Message, CodecError> {
    Ok(Message::AppendEntries {
        term: term(append.get_term())?,
        prev_log_index: index(append.get_prev_log_index())?,
        prev_log_term: term(append.get_prev_log_term())?,
        entries: read_entries(append.get_entries()?)?,
        leader_commit: index(append.get_leader_commit())?,
        round: number("round", append.get_round())?,
    })
}

fn read_install(install: schema::install_snapshot::Reader<'_>) -> Result<Message, CodecError> {
    Ok(Message::InstallSnapshot {
        term: term(install.get_term())?,
        snapshot_index: index(install.get_snapshot_index())?,
        snapshot_term: term(install.get_snapshot_term())?,
        offset: number("offset", install.get_offset())?,
        data: Bytes::copy_from_slice(install.get_data()?),
        done: install.get_done(),
    })
}

fn read_append_reply(
    reply: schema::append_entries_reply::Reader<'_>,
) -> Result<Message, CodecError> {
    let result = match reply.which()? {
        schema::append_entries_reply::Matched(matched) => AppendResult::Matched(index(matched)?),
        schema::append_entries_reply::Stale(()) => AppendResult::Stale,
        schema::append_entries_reply::Conflict(conflict) => AppendResult::Conflict {
            rejected: index(conflict.get_rejected())?,
            term: term(conflict.get_term())?,
            index: index(conflict.get_index())?,
        },
    };
    Ok(Message::AppendEntriesReply {
        term: term(reply.get_term())?,
        round: number("round", reply.get_round())?,
        result,
    })
}

fn read_entries(
    list: capnp::struct_list::Reader<'_, log_capnp::entry::Owned>,
) -> Result<Vec<Entry>, CodecError> {
    if list.len() as usize > MAX_ENTRIES {
        let text = format!("a message of {} entries; at most {MAX_ENTRIES}", list.len());
        return Err(CodecError(text));
    }
    let mut entries = Vec::with_capacity(list.len() as usize);
    let mut total = 0;
    for entry in list.iter() {
        let payload = entry.get_payload()?;
        total += payload.len();
        let kind = entry.get_kind()?;
        entries.push((term(entry.get_term())?, index(entry.get_index())?, kind, payload));
    }
    let mut arena = Vec::with_capacity(total);
    entries.iter().for_each(|(_, _, _, payload)| arena.extend_from_slice(payload));
    let mut arena = Bytes::from(arena);
    let read = entries.into_iter().map(|(term, index, kind, payload)| {
        let payload = decode_payload(kind, arena.split_to(payload.len()))?;
        Ok(Entry { term, index, payload })
    });
    read.collect()
}

pub(super) fn term(value: u64) -> Result<Term, CodecError> {
    number("term", value).map(Term)
}

pub(super) fn index(value: u64) -> Result<LogIndex, CodecError> {
    number("index", value).map(LogIndex)
}

pub(super) fn number(what: &str, value: u64) -> Result<u64, CodecError> {
    if value > MAX_NUMBER {
        return Err(CodecError(format!("a {what} of {value}, which no cluster reaches")));
    }
    Ok(value)
}
