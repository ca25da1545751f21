//! Revisions: of two changes of a key, one after the other, the later has the higher one; and no
//! two changes share one.

use crate::verify::history::{Call, Deed, History, Operation};

/// Two changes of a key whose revisions cannot be, and why.
pub fn contradiction(
    history: &History,
    key: usize,
    places: &[usize],
) -> Option<(Vec<usize>, &'static str)> {
    let mut changes: Vec<(u64, usize, Change)> = Vec::new();
    for &place in places {
        let operation = &history.operations[place];
        if let (Some(rev), Some(change)) = (operation.outcome.rev(), change(operation, key)) {
            changes.push((rev, place, change));
        }
    }
    disorder(history, &changes).or_else(|| twins(changes))
}

/// What an operation that is done did to a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Something is otherwise than before, and it took a revision.
    Sure,
    /// A delete of nothing changes nothing, and need not make a revision.
    Perhaps,
}

fn change(operation: &Operation, key: usize) -> Option<Change> {
    match &operation.call {
        _ if !operation.outcome.is_ok() => None,
        Call::Cas { old: None, new: None } | Call::Delete => Some(Change::Perhaps),
        Call::Write(_)
        | Call::Append(_)
        | Call::Cas { .. }
        | Call::Acquire(_)
        | Call::Release(_) => Some(Change::Sure),
        Call::Txn(steps) => {
            let last = steps.iter().filter(|step| step.key == key).filter_map(|it| match it.deed {
                Deed::Write(_) | Deed::Append(_) => Some(Change::Sure),
                Deed::Delete => Some(Change::Perhaps),
                Deed::Check(_) | Deed::Read => None,
            });
            last.last()
        }
        Call::Read | Call::Grant(_) | Call::KeepAlive | Call::Revoke | Call::Watch { .. } => None,
    }
}

/// One that began after the other had ended, and is not higher.
fn disorder(
    history: &History,
    changes: &[(u64, usize, Change)],
) -> Option<(Vec<usize>, &'static str)> {
    let ended =
        |place: usize| history.operations[place].ended.map_or(u64::MAX, |moment| moment.line);
    let mut by_end: Vec<_> = changes.to_vec();
    by_end.sort_by_key(|(_, place, _)| ended(*place));
    let mut by_end = by_end.into_iter().peekable();
    let mut highest: Option<(u64, usize)> = None;
    for (rev, place, change) in changes {
        let called = history.operations[*place].called.line;
        while let Some((rev, place, _)) = by_end.next_if(|(_, place, _)| ended(*place) < called) {
            highest = highest.filter(|highest| highest.0 >= rev).or(Some((rev, place)));
        }
        let is_wrong = |highest: &(u64, usize)| match change {
            Change::Sure => highest.0 >= *rev,
            Change::Perhaps => highest.0 > *rev,
        };
        if let Some((_, before)) = highest.filter(is_wrong) {
            let why = "The second began after the first had ended, and its revision is not higher.";
            return Some((vec![before, *place], why));
        }
    }
    None
}

/// Two that share a revision.
fn twins(mut changes: Vec<(u64, usize, Change)>) -> Option<(Vec<usize>, &'static str)> {
    changes.retain(|(.., change)| *change == Change::Sure);
    changes.sort_unstable_by_key(|(rev, place, _)| (*rev, *place));
    let pair = changes.windows(2).find(|pair| pair[0].0 == pair[1].0)?;
    let why = "Each changed the key, and both were told the same revision.";
    Some((vec![pair[0].1, pair[1].1], why))
}
