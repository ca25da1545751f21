//! Messages that nobody sent: what a script may put into a core's way.

use std::error::Error;

use kvraft::consensus::raft::{AppendResult, Message, SnapshotResult};
use kvraft::consensus::{Entry, Payload};
use kvraft::types::{LogIndex, Term};

/// The message that `words` describe: its kind, and its numbers in the order of its fields.
pub fn message(words: &[&str]) -> Result<Message, Box<dyn Error>> {
    let (kind, numbers) = words.split_first().ok_or("forge what?")?;
    let number = |place: usize| -> Result<u64, Box<dyn Error>> {
        let word = numbers.get(place).ok_or_else(|| format!("forge {kind}: number {place}?"))?;
        Ok(word.parse()?)
    };
    let term = |place| number(place).map(Term);
    let index = |place| number(place).map(LogIndex);
    let reply = |round, result| -> Result<Message, Box<dyn Error>> {
        Ok(Message::AppendEntriesReply { term: term(0)?, round, result })
    };
    Ok(match *kind {
        "append" => Message::AppendEntries {
            term: term(0)?,
            prev_log_index: index(1)?,
            prev_log_term: term(2)?,
            entries: vec![Entry { index: index(3)?, term: term(4)?, payload: Payload::Noop }],
            leader_commit: LogIndex(0),
            round: 0,
        },
        "matched" => reply(0, AppendResult::Matched(index(1)?))?,
        "confirmed" => reply(number(2)?, AppendResult::Matched(index(1)?))?,
        "conflict" => {
            let (rejected, index) = (index(1)?, index(2)?);
            reply(0, AppendResult::Conflict { rejected, term: Term(0), index })?
        }
        "vote" => Message::RequestVoteReply { term: term(0)?, granted: true },
        "received" => Message::InstallSnapshotReply {
            term: term(0)?,
            snapshot_index: index(1)?,
            result: SnapshotResult::Received { bytes: number(2)? },
        },
        "timeout-now" => Message::TimeoutNow { term: term(0)? },
        other => return Err(format!("{other} cannot be forged").into()),
    })
}
