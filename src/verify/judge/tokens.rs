//! Fencing tokens: who holds a lock later has the higher one.
//!
//! Whoever waits for a lock may have asked for it long ago, and so the calls say little of who came
//! before whom. But whoever was told that it released the lock held it until then: all who had been
//! told that they have it, before that release was called, had it before.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::verify::history::{Call, History, Operation};

/// One who was told that it holds the lock, with a token.
struct Turn {
    place: usize,
    token: u64,
    /// It had the lock by this line.
    by: u64,
    /// And held it, or got it, after this one.
    until: u64,
    /// The release that says so, if that does.
    release: Option<usize>,
}

/// Two who held a lock one after the other, and whose tokens say otherwise.
pub fn contradiction(
    history: &History,
    key: usize,
    places: &[usize],
) -> Option<(Vec<usize>, String)> {
    let mut turns = turns(history, key, places);
    turns.sort_by_key(|turn| turn.by);
    let mut later: Vec<&Turn> = turns.iter().collect();
    later.sort_by_key(|turn| turn.until);
    let mut before = turns.iter().peekable();
    let mut highest: Option<&Turn> = None;
    for turn in later {
        while let Some(other) = before.next_if(|other| other.by < turn.until) {
            highest = highest.filter(|highest| highest.token >= other.token).or(Some(other));
        }
        if let Some(other) = highest.filter(|it| it.token >= turn.token && it.place != turn.place) {
            let mut part: Vec<usize> =
                [other.place, turn.place].into_iter().chain(turn.release).collect();
            part.sort_unstable();
            let why = format!(
                "Whoever was told token {} held the lock after whoever was told token {}.",
                turn.token, other.token
            );
            return Some((part, why));
        }
    }
    None
}

fn turns(history: &History, key: usize, places: &[usize]) -> Vec<Turn> {
    let about = places.iter().map(|place| (*place, &history.operations[*place]));
    let about: Vec<(usize, &Operation)> = about.filter(|(_, it)| it.key == key).collect();
    let mut acquired: BTreeMap<&Bytes, u32> = BTreeMap::new();
    let mut released: BTreeMap<&Bytes, usize> = BTreeMap::new();
    for (place, operation) in &about {
        match &operation.call {
            Call::Acquire(holder) => *acquired.entry(holder).or_default() += 1,
            Call::Release(holder) if operation.outcome.is_ok() => {
                released.insert(holder, *place);
            }
            _ => {}
        }
    }
    let turn = |(place, it): &(usize, &Operation)| {
        let Call::Acquire(holder) = &it.call else { return None };
        // Of a name that several had, nobody knows whose release it was.
        let release = released.get(holder).filter(|_| acquired[holder] == 1).copied();
        let last = release.map_or(*it, |place| &history.operations[place]);
        let (token, by, until) = (it.outcome.rev()?, it.ended?.line, last.called.line);
        Some(Turn { place: *place, token, by, until, release })
    };
    about.iter().filter_map(turn).collect()
}
