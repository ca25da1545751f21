//! Onlookers: whoever watches what the clients do, and writes down what it was told.
//!
//! Each node has two at home. The *steady* one watches all keys of the trial from its beginning to
//! its end; the *fickle* one watches a key or some keys that begin alike, from now on or from some
//! revision of the past, and after some seconds something else. When the connection breaks, both go
//! on at another node, from where they were; nothing may be skipped, repeated or go back then.
//!
//! # How far it has come
//!
//! A watch that is told nothing does not know whether nothing happened. So what is written down is
//! *all* up to a certain revision only where the store said so: by the events of a whole revision,
//! or by its answer to a request for progress, which each asks for all the time. What was told
//! after that stands in the next line.
//!
//! # The end
//!
//! When the clients have ended, each onlooker must come to the store's last revision in time. One
//! whose past was compacted goes on from now, as another watch; any other end of a watch by the
//! server is no fault that was injected.

mod line;
mod onlooker;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::onlooker::Onlooker;
use super::generator::Keys;
use super::site::Site;
use super::tape::Tape;
use super::verdict::{Expectation, Unmet};
use crate::types::{NodeId, Random, Revision};

/// Onlookers of each node.
const EACH: u64 = 2;
/// For each to come to the last revision.
const END: Duration = Duration::from_secs(20);

/// A watch that stood at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    pub node: NodeId,
    /// From here, in nanoseconds on the tape.
    pub since: u64,
    /// To here: it ended, or its connection broke.
    pub until: u64,
}

/// What they have seen, all together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    pub watches: u64,
    pub events: u64,
    /// Connections that broke under a watch that stood.
    pub interruptions: u64,
    pub compactions: u64,
    /// The longest time that a steady one was told nothing, neither events nor progress.
    pub longest_silence_seconds: f64,
    #[serde(skip)]
    pub stands: Vec<Stand>,
    /// The first and the last revision that a watch of the past can begin with.
    #[serde(skip)]
    past: Option<(u64, u64)>,
    /// Watches that the server ended, and why.
    #[serde(skip)]
    ended: Vec<String>,
}

impl Seen {
    /// A watch stands at `node` from now on; the place at which that is noted.
    fn stands(&mut self, node: NodeId, now: u64) -> usize {
        self.stands.push(Stand { node, since: now, until: u64::MAX });
        self.stands.len() - 1
    }

    /// It stands no more.
    fn falls(&mut self, place: Option<usize>, now: u64) {
        if let Some(stand) = place.and_then(|place| self.stands.get_mut(place)) {
            stand.until = now;
        }
    }
}

/// All of them. Dropped, they end in the middle of what they do.
pub struct Onlookers {
    last: watch::Sender<Option<(Revision, Instant)>>,
    tasks: Vec<JoinHandle<Result<(), String>>>,
    seen: Rc<RefCell<Seen>>,
}

impl Onlookers {
    /// How many lanes of a tape they take.
    pub fn lanes(nodes: &[Site]) -> u64 {
        EACH * nodes.len() as u64
    }

    /// Begins. On `tape`, they are the lanes from `lane` on. Lives on a `LocalSet`.
    pub fn start(
        seed: u64,
        prefix: &str,
        keys: &Rc<RefCell<Keys>>,
        nodes: &[Site],
        lane: u64,
        tape: &Tape,
    ) -> Onlookers {
        let (last, end) = watch::channel(None);
        let seen = Rc::new(RefCell::new(Seen::default()));
        let onlooker = |number: u64| Onlooker {
            home: (number / EACH) as usize,
            is_steady: number.is_multiple_of(EACH),
            lane: lane + number,
            random: Random::from_seed(seed ^ (number + 1).wrapping_mul(0xd1b5_4a32_d192_ed03)),
            prefix: prefix.to_owned(),
            keys: keys.clone(),
            nodes: nodes.to_vec(),
            tape: tape.clone(),
            seen: seen.clone(),
            end: end.clone(),
            heard: Instant::now(),
        };
        let tasks = (0..Onlookers::lanes(nodes)).map(onlooker);
        let tasks = tasks.map(|it| tokio::task::spawn_local(it.run())).collect();
        Onlookers { last, tasks, seen }
    }

    /// Returns when all have been told everything up to the revision `last`, which is the store's
    /// last one, or when their time is over. If nobody knows that revision, they end at once.
    pub async fn finish(mut self, last: Result<Revision, String>) -> (Seen, Expectation) {
        let last = match last {
            Ok(last) => last,
            Err(why) => {
                let unseen = Unmet::Unseen(format!("the last revision is not known: {why}"));
                return (self.seen.borrow().clone(), Expectation::new("watches", Err(unseen)));
            }
        };
        self.last.send_replace(Some((last, Instant::now() + END)));
        let ended = join_all(self.tasks.drain(..)).await;
        let late = ended.into_iter().filter_map(|it| match it {
            Ok(done) => done.err(),
            Err(error) => Some(error.to_string()),
        });
        let seen = self.seen.borrow().clone();
        let mut wrong: Vec<String> = seen.ended.clone();
        wrong.extend(late);
        let reached = match wrong.is_empty() {
            true => Ok(format!(
                "{} watches were told {} events; all came to revision {last}",
                seen.watches, seen.events
            )),
            false => Err(Unmet::Broken(wrong.join("; "))),
        };
        (seen, Expectation::new("watches", reached))
    }
}

impl Drop for Onlookers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
