//! Who led, and when: as the supervisor sees it, looked at ten times a second. And what befell the
//! nodes meanwhile: see [`casualties`](super::casualties).
//!
//! And whether a term had one leader only (Election Safety, paper, figure 3): the one property of
//! figure 3 that shows from outside, for each node says of itself which term it leads. Two leaders
//! of a term may lead at different times and never meet; nothing else needs to be wrong then, yet.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::casualties::Casualties;
use super::tape::Tape;
use super::verdict::{Expectation, Unmet};
use crate::config::Address;
use crate::control::{ClusterStatus, ControlError, Event, Role, SupervisorClient};
use crate::types::{NodeId, Term};

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(100);
/// Events that are taken at a time.
const EVENTS: u32 = 1_000;

/// From a moment on, this node led, or nobody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Leadership {
    /// Nanoseconds on the tape.
    pub since: u64,
    pub leader: Option<NodeId>,
    pub term: u64,
}

/// All that was seen.
#[derive(Debug, Default)]
struct Seen {
    leaderships: Vec<Leadership>,
    claims: Claims,
    casualties: Casualties,
    /// The last of the supervisor's events that is known.
    last_event: Option<u64>,
}

/// Who said of itself that it led a term.
#[derive(Debug, Default)]
struct Claims {
    first: BTreeMap<Term, NodeId>,
    /// The first two that said so of the same.
    broken: Option<(Term, [NodeId; 2])>,
}

impl Claims {
    fn note(&mut self, node: NodeId, term: Term) {
        let first = *self.first.entry(term).or_insert(node);
        if first != node && self.broken.is_none() {
            self.broken = Some((term, [first, node]));
        }
    }

    fn one_leader_a_term(&self) -> Result<String, Unmet> {
        match self.broken {
            None => Ok(format!("leaders were seen in {} terms, one in each", self.first.len())),
            Some((term, [one, other])) => {
                let both =
                    format!("node {one} and node {other} both said that they led term {term}");
                Err(Unmet::Broken(both))
            }
        }
    }
}

/// Looks on until it is dropped.
pub struct Watch {
    seen: Rc<RefCell<Seen>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins. Lives on a `LocalSet`.
    pub fn start(supervisor: &Address, tape: &Tape) -> Watch {
        let seen = Rc::default();
        let look = look(supervisor.clone(), tape.clone(), Rc::clone(&seen));
        let task = tokio::task::spawn_local(look);
        Watch { seen, task }
    }

    /// Every change that was seen so far.
    pub fn seen(&self) -> Vec<Leadership> {
        self.seen.borrow().leaderships.clone()
    }

    /// What befell the nodes so far.
    pub fn casualties(&self) -> Casualties {
        self.seen.borrow().casualties.clone()
    }

    /// Whether each term that was seen so far had one leader.
    pub fn one_leader_a_term(&self) -> Expectation {
        Expectation::new("one leader a term", self.seen.borrow().claims.one_leader_a_term())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(address: Address, tape: Tape, seen: Rc<RefCell<Seen>>) {
    loop {
        // A supervisor that does not answer is asked again: this is a spectator.
        let _: Result<(), ControlError> = follow(&address, &tape, &seen).await;
        sleep(GLANCE).await;
    }
}

async fn follow(address: &Address, tape: &Tape, seen: &RefCell<Seen>) -> Result<(), ControlError> {
    let supervisor = SupervisorClient::connect(address).await?;
    loop {
        let status = supervisor.status().await?;
        seen.borrow_mut().note(&status, tape.now());
        seen.borrow_mut().hear(&status, tape.began_unix_millis());
        let last = seen.borrow().last_event;
        let events = match last {
            // The newest there was before.
            None => supervisor.events(0, 1, Duration::ZERO).await?,
            Some(last) => supervisor.events(last, EVENTS, Duration::ZERO).await?,
        };
        seen.borrow_mut().events(&events);
        sleep(GLANCE).await;
    }
}

impl Seen {
    /// What the nodes say of themselves.
    fn hear(&mut self, status: &ClusterStatus, began_unix_millis: u64) {
        for state in &status.nodes {
            if let (Some(report), Some(millis)) = (&state.report, state.report_millis) {
                let since = millis.saturating_sub(began_unix_millis);
                self.casualties.heard(report, since.saturating_mul(1_000_000));
            }
        }
    }

    fn events(&mut self, events: &[Event]) {
        let is_first = self.last_event.is_none();
        let newest = events.iter().map(|event| event.sequence).max();
        self.last_event = newest.max(self.last_event).or(Some(0));
        if !is_first {
            events.iter().for_each(|event| self.casualties.happened(event));
        }
    }

    fn note(&mut self, status: &ClusterStatus, since: u64) {
        let now = Leadership { since, leader: status.leader, term: status.term.0 };
        let is_new = |last: &Leadership| (last.leader, last.term) != (now.leader, now.term);
        if self.leaderships.last().is_none_or(is_new) {
            self.leaderships.push(now);
        }
        let reports = status.nodes.iter().filter_map(|state| state.report.as_ref());
        for report in reports.filter(|report| report.role == Role::Leader) {
            self.claims.note(report.node, report.term);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happens_from_now_on_is_taken_note_of() {
        let mut seen = Seen::default();
        let event = |sequence| Event {
            sequence,
            time_millis: 0,
            node: Some(NodeId(1)),
            kind: "node-started".to_owned(),
            detail: String::new(),
            fault: None,
        };
        seen.events(&[event(7)]);
        seen.events(&[]);
        seen.events(&[event(8), event(9)]);
        assert_eq!((seen.casualties.node_starts, seen.last_event), (2, Some(9)));
    }

    #[test]
    fn two_that_say_that_they_led_the_same_term_are_one_too_many() {
        let mut claims = Claims::default();
        for (node, term) in [(1, 2), (2, 3), (2, 3), (1, 4)] {
            claims.note(NodeId(node), Term(term));
        }
        assert_eq!(
            claims.one_leader_a_term().unwrap(),
            "leaders were seen in 3 terms, one in each"
        );
        for (node, term) in [(3, 3), (1, 5), (2, 5)] {
            claims.note(NodeId(node), Term(term));
        }
        let broken = claims.one_leader_a_term().unwrap_err();
        let words = "node 2 and node 3 both said that they led term 3";
        assert_eq!(broken, Unmet::Broken(words.to_owned()));
    }
}
