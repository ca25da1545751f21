//! Messages and entries in words.

use std::collections::BTreeSet;

use kvraft::consensus::raft::{AppendResult, Message, SnapshotResult};
use kvraft::consensus::{Configuration, Entry, Payload};
use kvraft::types::NodeId;

/// `5/2 x=1`: index, term, what it says.
pub fn entry(entry: &Entry) -> String {
    let says = match &entry.payload {
        Payload::Noop => "no-op".to_owned(),
        Payload::Command(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Payload::Configuration(c) => configuration(c),
    };
    format!("{}/{} {says}", entry.index, entry.term)
}

/// `members 1,2,3`, and in a change `members 1,2,3,4 and 1,2,3`; learners behind a plus.
pub fn configuration(c: &Configuration) -> String {
    let ids =
        |ids: &BTreeSet<NodeId>| ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let mut words = format!("members {}", ids(&c.voters));
    if !c.outgoing.is_empty() {
        words += &format!(" and {}", ids(&c.outgoing));
    }
    if !c.learners.is_empty() {
        words += &format!(" + learners {}", ids(&c.learners));
    }
    words
}

pub fn message(message: &Message) -> String {
    match message {
        Message::PreVote { next_term, last_log_index, last_log_term } => {
            format!("PreVote for term {next_term}, last {last_log_index}/{last_log_term}")
        }
        Message::PreVoteReply { term, next_term, granted } => {
            let said = if *granted { "granted" } else { "denied" };
            format!("pre-vote for term {next_term} {said} in term {term}")
        }
        Message::RequestVote { term, last_log_index, last_log_term, transfer } => {
            let transfer = if *transfer { ", on request" } else { "" };
            format!("RequestVote term {term}, last {last_log_index}/{last_log_term}{transfer}")
        }
        Message::InstallSnapshot { term, snapshot_index, snapshot_term, offset, data, done } => {
            let end = if *done { ", the end" } else { "" };
            format!(
                "InstallSnapshot {snapshot_index}/{snapshot_term} term {term}, bytes {offset} to \
                 {}{end}",
                offset + data.len() as u64
            )
        }
        Message::InstallSnapshotReply { term, snapshot_index, result } => match result {
            SnapshotResult::Received { bytes } => {
                format!("has {bytes} bytes of snapshot {snapshot_index} in term {term}")
            }
            SnapshotResult::Installed => format!("has all of {snapshot_index} in term {term}"),
        },
        Message::TimeoutNow { term } => format!("TimeoutNow term {term}"),
        Message::ReadIndex { term, context } => {
            format!("ReadIndex question {} in term {term}", context.counter)
        }
        Message::ReadIndexReply { term, context, at } => {
            format!("ReadIndex question {}: {at} in term {term}", context.counter)
        }
        Message::RequestVoteReply { term, granted } => {
            format!("vote {} in term {term}", if *granted { "granted" } else { "denied" })
        }
        Message::AppendEntries {
            term,
            prev_log_index,
            prev_log_term,
            entries,
            leader_commit,
            round,
        } => {
            let entries: Vec<_> = entries.iter().map(entry).collect();
            let round = if *round > 0 { format!(", round {round}") } else { String::new() };
            format!(
                "AppendEntries term {term}, after {prev_log_index}/{prev_log_term} [{}], commit \
                 {leader_commit}{round}",
                entries.join(", ")
            )
        }
        Message::AppendEntriesReply { term, round, result } => {
            let round = if *round > 0 { format!(", round {round}") } else { String::new() };
            match result {
                AppendResult::Stale => format!("stale: it is term {term}"),
                AppendResult::Matched(index) => format!("matched {index} in term {term}{round}"),
                AppendResult::Conflict { rejected, term: theirs, index } if theirs.0 > 0 => {
                    format!(
                        "conflict at {rejected} in term {term}: term {theirs} there since \
                         {index}{round}"
                    )
                }
                AppendResult::Conflict { rejected, index, .. } => {
                    format!("conflict at {rejected} in term {term}: log ends before {index}{round}")
                }
            }
        }
    }
}
