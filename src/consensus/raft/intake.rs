//! Intake: what no correct member sends.
//!
//! The paper assumes servers that stop, not servers that lie. But a bug, a mixed-up address or a
//! damaged message may say anything, and a core that believed it could break its promises or
//! overflow. So every message is looked at before it changes anything: numbers within bounds,
//! entries that follow each other, one leader a term, nothing that contradicts what is committed.
//! What fails is refused, counted and named ([`Effect::PeerRejected`]); the sender is not punished.
//!
//! Stories: `bad_messages_are_refused`; `a_forged_conflict_stops_nobody` (it had brought the leader
//! down) and `a_forged_confirmation_is_refused` (it would have confirmed every read to come).
//!
//! [`Effect::PeerRejected`]: crate::consensus::Effect::PeerRejected

use super::message::{AppendResult, Message, SnapshotResult};
use super::state::Raft;
use crate::consensus::{Consensus, Entry, Payload};
use crate::types::{LogIndex, NodeId, Term};

/// Terms and indexes from other servers end here, far beyond what any cluster will see, so that
/// arithmetic on them cannot overflow.
const LARGEST: u64 = 1 << 62;

/// Why no correct member sends `message`, if none does.
pub(super) fn check_message(raft: &Raft, from: NodeId, message: &Message) -> Result<(), String> {
    let within = |what: &str, value: u64| match value {
        0..=LARGEST => Ok(()),
        _ => Err(format!("{what} {value} is out of range")),
    };
    if from == raft.id() || from == NodeId(0) {
        return Err(format!("a message claims to come from node {from}"));
    }
    within("term", message.term().0)?;
    match message {
        Message::PreVote { next_term, last_log_index, last_log_term } => {
            within("next term", next_term.0)?;
            within("last log index", last_log_index.0)?;
            ordered("last log term", *last_log_term, *next_term)
        }
        Message::PreVoteReply { next_term, .. } => within("next term", next_term.0),
        Message::RequestVote { term, last_log_index, last_log_term, .. } => {
            within("last log index", last_log_index.0)?;
            ordered("last log term", *last_log_term, *term)
        }
        Message::RequestVoteReply { .. } => Ok(()),

        Message::AppendEntries { term, prev_log_index, prev_log_term, entries, .. } => {
            within("previous log index", prev_log_index.0)?;
            ordered("previous log term", *prev_log_term, *term)?;
            let mut previous = (*prev_log_index, *prev_log_term);
            for entry in entries {
                if entry.index != previous.0.next() || entry.term < previous.1 {
                    return Err(format!("entry {} does not follow {}", entry.index, previous.0));
                }
                previous = (entry.index, entry.term);
            }
            ordered("an entry's term", previous.1, *term)?;
            if entries.iter().any(is_nobody) {
                return Err("a configuration without voters".into());
            }
            check_leader(raft, from, *term)?;
            check_against_log(raft, *term, (*prev_log_index, *prev_log_term), entries)
        }
        Message::AppendEntriesReply { term, round, result } => {
            check_round(raft, *term, *round)?;
            let index = match *result {
                AppendResult::Stale => return Ok(()),
                AppendResult::Matched(index) => index,
                AppendResult::Conflict { rejected, index, .. } => {
                    within("index", index.0)?;
                    // It is what this leader named, so this leader has it, too.
                    rejected
                }
            };
            within("index", index.0)?;
            check_acknowledged(raft, *term, index)
        }
        Message::InstallSnapshot { term, snapshot_index, snapshot_term, offset, data, .. } => {
            within("snapshot's index", snapshot_index.0)?;
            within("offset", offset.saturating_add(data.len() as u64))?;
            ordered("the snapshot's term", *snapshot_term, *term)?;
            if *snapshot_index == LogIndex(0) {
                return Err("a snapshot of nothing".into());
            }
            check_leader(raft, from, *term)?;
            check_against_log(raft, *term, (*snapshot_index, *snapshot_term), &[])
        }
        Message::InstallSnapshotReply { term, snapshot_index, result } => {
            within("snapshot's index", snapshot_index.0)?;
            match result {
                SnapshotResult::Installed => check_acknowledged(raft, *term, *snapshot_index),
                SnapshotResult::Received { bytes } => within("count of bytes", *bytes),
            }
        }
        Message::TimeoutNow { term } => check_leader(raft, from, *term),
        Message::ReadIndex { .. } => Ok(()),
        Message::ReadIndexReply { term, at, .. } => {
            within("index", at.0)?;
            check_leader(raft, from, *term)
        }
    }
}

fn is_nobody(entry: &Entry) -> bool {
    matches!(&entry.payload, Payload::Configuration(c) if c.voters.is_empty())
}

/// Nobody can have more than its leader.
fn check_acknowledged(raft: &Raft, term: Term, index: LogIndex) -> Result<(), String> {
    let leads = raft.leading().is_some() && term == raft.term();
    if leads && index > raft.log.last_index() {
        return Err(format!("it acknowledges entry {index}, which does not exist"));
    }
    Ok(())
}

/// Nobody answers a round that has not begun: it would confirm every read to come.
fn check_round(raft: &Raft, term: Term, round: u64) -> Result<(), String> {
    match raft.leading().filter(|_| term == raft.term()) {
        Some(leader) if round > leader.reads.newest_round() => {
            Err(format!("it confirms round {round}, which has not begun"))
        }
        _ => Ok(()),
    }
}

/// A term has one leader.
fn check_leader(raft: &Raft, from: NodeId, term: Term) -> Result<(), String> {
    match raft.leader().filter(|leader| *leader != from && term == raft.term()) {
        Some(leader) => Err(format!("node {leader} leads term {term}, and {from} claims to")),
        None => Ok(()),
    }
}

/// What no leader of its term can have sent, given what this server knows.
fn check_against_log(
    raft: &Raft,
    term: Term,
    previous: (LogIndex, Term),
    entries: &[Entry],
) -> Result<(), String> {
    if term < raft.term() {
        return Ok(());
    }
    let positions = entries.iter().map(|entry| (entry.index, entry.term));
    for (index, its_term) in std::iter::once(previous).chain(positions) {
        let ours = raft.log.term(index);
        if index <= raft.commit_index && ours.is_some_and(|ours| ours != its_term) {
            return Err(format!("it contradicts committed entry {index}"));
        }
    }
    Ok(())
}

fn ordered(what: &str, earlier: Term, later: Term) -> Result<(), String> {
    if earlier <= later { Ok(()) } else { Err(format!("{what} {earlier} is after term {later}")) }
}
