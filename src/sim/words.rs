//! Messages, entries and requests in words.

use std::time::Duration;

use std::collections::BTreeSet;

use crate::consensus::raft::{AppendResult, HardState, Message, Raft, SnapshotResult};
use crate::consensus::{Configuration, Entry, Payload, Persist};
use crate::kv::{
    AlarmOrder, Answer, Command, Effect, Expected, Operation, Outcome, Query, RequestOp,
    Transaction, after,
};
use crate::link::Class;
use crate::replica::{Observation, PeerMessage, Request, Response};
use crate::types::NodeId;

/// `5/2 put k1 = c1-3`: index, term, what it says.
pub fn entry(entry: &Entry) -> String {
    format!("{}/{} {}", entry.index, entry.term, payload(&entry.payload))
}

/// What an entry says.
pub fn payload(payload: &Payload) -> String {
    match payload {
        Payload::Noop => "no-op".to_owned(),
        Payload::Command(bytes) => command(bytes),
        Payload::Configuration(c) => configuration(c),
    }
}

/// Keys and values; values are padded with dots.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('.').to_owned()
}

/// What a command does.
pub fn command(bytes: &[u8]) -> String {
    match Command::decode(bytes).map(|command| command.operation) {
        Ok(Operation::Put { key, value }) => format!("{} := {}", text(&key), text(&value)),
        Ok(Operation::Delete { key }) => format!("delete {}", text(&key)),
        Ok(Operation::CompareAndSwap { key, expected, value }) => {
            let expected = match expected {
                Expected::Absent => "absent".to_owned(),
                Expected::Value(value) => text(&value),
                Expected::ModRevision(revision) => format!("revision {revision}"),
            };
            format!("{} := {} if {expected}", text(&key), text(&value))
        }
        Ok(Operation::RaiseVersion { to }) => format!("state machine version {to}"),
        Ok(Operation::Transaction(transaction)) => self::transaction(&transaction),
        Ok(Operation::Compact { revision }) => format!("compact to revision {revision}"),
        Ok(Operation::LeaseGrant { id, ttl }) => format!("lease {id} for {ttl} s"),
        Ok(Operation::LeaseRevoke { id }) => format!("lease {id} ends"),
        Ok(Operation::LeaseCheckpoint(leases)) => format!("what {} leases have left", leases.len()),
        Ok(Operation::Alarm(AlarmOrder { alarm, is_on })) => {
            format!(
                "alarm {:?} of node {} {}",
                alarm.kind,
                alarm.member,
                if is_on { "on" } else { "off" }
            )
        }
        Ok(Operation::Announce(it)) => format!("node {} is called {}", it.node, it.name),
        Ok(Operation::Enlist { node }) => format!("node {node} is to vote"),
        Err(_) => "a command that nobody understands".to_owned(),
    }
}

/// `{k1 := c1-3, k1?}`; with comparisons `if all 2 hold {…} else {…}`.
fn transaction(transaction: &Transaction) -> String {
    let list = |operations: &[RequestOp]| {
        let words: Vec<_> = operations.iter().map(operation).collect();
        format!("{{{}}}", words.join(", "))
    };
    let (success, failure) = (list(&transaction.success), list(&transaction.failure));
    match transaction.compare.len() {
        0 => success,
        count => format!("if all {count} hold {success} else {failure}"),
    }
}

fn operation(operation: &RequestOp) -> String {
    match operation {
        RequestOp::Range(range) => format!("{}?", span_of_keys(&range.start, &range.end)),
        RequestOp::Put(put) => format!("{} := {}", text(&put.key), text(&put.value)),
        RequestOp::DeleteRange(it) => format!("delete {}", span_of_keys(&it.start, &it.end)),
        RequestOp::Transaction(inner) => transaction(inner),
    }
}

/// One key, or from the first to the one behind the last.
fn span_of_keys(start: &[u8], end: &[u8]) -> String {
    if *end == after(start)[..] { text(start) } else { format!("{}..{}", text(start), text(end)) }
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

/// A change of a log, if it is worth telling.
pub fn observation(observation: &Observation<Raft>) -> Option<String> {
    match observation {
        Observation::Asked(persist) => Some(write(persist)),
        Observation::Durable(_) | Observation::ReadLog { .. } => None,
        Observation::SnapshotSaved { index } => Some(format!("has taken a snapshot of {index}")),
        Observation::Compacted { to } => Some(format!("may forget its log up to {to}")),
        Observation::Installed { index } => Some(format!("has the state of {index} now")),
        Observation::Applied { index, term, payload: says, .. } => {
            Some(format!("applies {index}/{term} {}", payload(says)))
        }
    }
}

/// What a write puts into the log.
pub fn write(persist: &Persist<HardState>) -> String {
    let mut words = Vec::new();
    if let Some(mark) = &persist.snapshot {
        let log = if persist.discard_log { ", and drops its log" } else { "" };
        words.push(format!("begins its log with snapshot {}/{}{log}", mark.index, mark.term));
    }
    if let Some(from) = persist.truncate_from {
        words.push(format!("removes its entries from {from} on"));
    }
    if !persist.entries.is_empty() {
        let entries: Vec<_> = persist.entries.iter().map(entry).collect();
        words.push(format!("appends {}", entries.join(", ")));
    }
    if let Some(hard) = &persist.hard_state {
        words.push(match hard.voted_for {
            Some(candidate) => format!("is in term {} and votes for {candidate}", hard.term),
            None => format!("is in term {}", hard.term),
        });
    }
    words.join(", ")
}

/// A time, as exactly as anybody wants it.
pub fn span(time: Duration) -> String {
    match time.as_secs_f64() * 1e3 {
        millis if millis < 1.0 => "less than 1 ms".to_owned(),
        millis if millis < 1e3 => format!("{millis:.0} ms"),
        millis => format!("{:.1} s", millis / 1e3),
    }
}

/// Whether a message says anything new. Heartbeats and their answers do not.
pub fn is_worth_telling(message: &PeerMessage<Message>) -> bool {
    match message {
        PeerMessage::Consensus(Message::AppendEntries { entries, .. }) => !entries.is_empty(),
        PeerMessage::Consensus(Message::AppendEntriesReply { result, .. }) => {
            matches!(result, AppendResult::Conflict { .. })
        }
        PeerMessage::Consensus(_) => true,
        _ => false,
    }
}

/// A message in words.
pub fn letter(message: &PeerMessage<Message>) -> String {
    match message {
        PeerMessage::Consensus(message) => consensus(message),
        PeerMessage::Relay { request, .. } => format!("for a client: {}", self::request(request)),
        PeerMessage::RelayReply { response, .. } => {
            format!("to a client: {}", self::response(response))
        }
        PeerMessage::StateHash { index, hash } => format!("state {hash:x} at {index}"),
        PeerMessage::Supports { version } => format!("knows version {version}"),
        PeerMessage::RepairRequest { index, .. } => format!("who has entry {index}?"),
        PeerMessage::RepairReply { index, .. } => format!("about entry {index}"),
        PeerMessage::SnapshotRequest { covers, offset, .. } => {
            format!("who has a snapshot that covers {covers}? from byte {offset}")
        }
        PeerMessage::SnapshotReply { index, offset, .. } => {
            format!("of the snapshot of {index}, from byte {offset}")
        }
    }
}

/// A request in words.
pub fn request(request: &Request) -> String {
    match request {
        Request::Write { command } => self::command(command),
        Request::Member(order) => format!("{order:?}"),
        Request::Read { consistency, query } => {
            let key = match Query::decode(query) {
                Ok(Query::Get { key }) => text(&key),
                _ => "many keys".to_owned(),
            };
            format!("{key}? ({})", format!("{consistency:?}").to_lowercase())
        }
    }
}

/// An answer in words.
pub fn response(response: &Response) -> String {
    match response {
        Response::Written(outcome) => match Outcome::decode(outcome) {
            Ok(Outcome { revision, effect: Effect::Unchanged { found } }) => {
                let found = found.map_or("absent".to_owned(), |found| text(&found.value));
                format!("unchanged: it is {found} (revision {revision})")
            }
            Ok(Outcome { revision, effect: Effect::Refused(why) }) => {
                format!("not done: {why} (revision {revision})")
            }
            Ok(outcome) => format!("written (revision {})", outcome.revision),
            Err(_) => "written".to_owned(),
        },
        Response::Member(result) => format!("{result:?}"),
        Response::Answer(answer) => match Answer::decode(answer) {
            Ok(answer) => {
                let item = answer.items.first();
                let value = item.map_or("absent".to_owned(), |item| text(&item.value));
                format!("{value} (revision {})", answer.revision)
            }
            Err(_) => "answered".to_owned(),
        },
        Response::Refused { message, .. } => format!("refused: {message}"),
        Response::Unknown(why) => format!("unknown: {why}"),
    }
}

/// A message of Raft in words.
pub fn consensus(message: &Message) -> String {
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
        Message::RequestVoteReply { term, granted } => {
            format!("vote {} in term {term}", if *granted { "granted" } else { "denied" })
        }
        Message::AppendEntries { term, prev_log_index, prev_log_term, entries, .. } => {
            let entries: Vec<_> = entries.iter().map(entry).collect();
            let after = format!("after {prev_log_index}/{prev_log_term}");
            format!("AppendEntries term {term}, {after} [{}]", entries.join(", "))
        }
        Message::AppendEntriesReply { term, result, .. } => match result {
            AppendResult::Stale => format!("stale: it is term {term}"),
            AppendResult::Matched(index) => format!("matched {index} in term {term}"),
            AppendResult::Conflict { rejected, term: theirs, index } if theirs.0 > 0 => {
                format!("conflict at {rejected} in term {term}: term {theirs} there since {index}")
            }
            AppendResult::Conflict { rejected, index, .. } => {
                format!("conflict at {rejected} in term {term}: log ends before {index}")
            }
        },
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
    }
}

/// How a message counts on a link: as the real node counts it (`node::outgoing`), but for its size,
/// which is about what the wire takes.
pub fn class_and_size(message: &PeerMessage<Message>) -> (Class, usize) {
    match message {
        PeerMessage::Consensus(Message::AppendEntries { entries, .. }) => {
            match entries.is_empty() {
                true => (Class::Control, 80),
                false => (Class::Bulk, 80 + entries.iter().map(|e| 40 + e.size()).sum::<usize>()),
            }
        }
        PeerMessage::Consensus(Message::InstallSnapshot { data, .. }) => {
            (Class::Bulk, 80 + data.len())
        }
        PeerMessage::Consensus(_) => (Class::Control, 64),
        PeerMessage::Relay { request, .. } => {
            let bytes = match request {
                Request::Write { command: bytes } | Request::Read { query: bytes, .. } => {
                    bytes.len()
                }
                Request::Member(_) => 64,
            };
            (Class::Bulk, 64 + bytes)
        }
        PeerMessage::RelayReply { response, .. } => match response {
            Response::Written(bytes) | Response::Answer(bytes) => (Class::Bulk, 64 + bytes.len()),
            Response::Refused { .. } | Response::Unknown(_) | Response::Member(_) => {
                (Class::Bulk, 128)
            }
        },
        PeerMessage::SnapshotReply { chunk, .. } => (Class::Bulk, 80 + chunk.data.len()),
        PeerMessage::StateHash { .. }
        | PeerMessage::Supports { .. }
        | PeerMessage::SnapshotRequest { .. }
        | PeerMessage::RepairRequest { .. }
        | PeerMessage::RepairReply { .. } => (Class::Bulk, 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{PutRequest, RangeRequest, Refusal};
    use crate::types::Revision;

    #[test]
    fn a_transaction_tells_its_operations() {
        let put = |key: &'static str| {
            let (key, value) = (key.into(), "1..".into());
            RequestOp::Put(PutRequest { key, value, ..PutRequest::default() })
        };
        let (start, end) = ("k1".into(), after(b"k1"));
        let range = RequestOp::Range(RangeRequest { start, end, ..RangeRequest::default() });
        let success = vec![put("k1"), range, put("k2")];
        let operation = Operation::Transaction(Transaction { success, ..Transaction::default() });
        let bytes = Command { session: None, operation }.encode();
        assert_eq!(command(&bytes), "{k1 := 1, k1?, k2 := 1}");
    }

    #[test]
    fn what_is_refused_is_not_told_as_written() {
        let effect = Effect::Refused(Refusal::UnknownVersion);
        let outcome = Outcome { revision: Revision(7), effect };
        let told = response(&Response::Written(outcome.encode()));
        assert!(told.starts_with("not done: "), "{told}");
    }
}
