//! Messages and entries in words.

use kvraft::consensus::raft::{AppendResult, Message};
use kvraft::consensus::{Entry, Payload};

/// `5/2 x=1`: index, term, what it says.
pub fn entry(entry: &Entry) -> String {
    let says = match &entry.payload {
        Payload::Noop => "no-op".to_owned(),
        Payload::Command(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Payload::Configuration(c) => {
            let voters: Vec<_> = c.voters.iter().map(|id| id.to_string()).collect();
            format!("members {}", voters.join(","))
        }
    };
    format!("{}/{} {says}", entry.index, entry.term)
}

pub fn message(message: &Message) -> String {
    match message {
        Message::RequestVote { term, last_log_index, last_log_term } => {
            format!("RequestVote term {term}, last {last_log_index}/{last_log_term}")
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
