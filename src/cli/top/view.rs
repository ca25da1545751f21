//! What is known of the cluster, and what of it is on the screen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::deed::{Deed, Said};
use super::rates::{Meter, Rates};
use crate::chaos::Fault;
use crate::control::{ClusterStatus, Event, NodeState, State, unix_millis};
use crate::types::NodeId;

/// A report that is older says nothing of how a node is now.
const STALE: Duration = Duration::from_secs(2);

/// Events kept.
const MAX_EVENTS: usize = 1000;

/// Of a log, as indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub committed: u64,
    /// On this node.
    pub durable: u64,
    /// The leader's last entry.
    pub last: u64,
}

impl Extent {
    /// Entries that are not durable here.
    pub fn behind(&self) -> u64 {
        self.last.saturating_sub(self.durable)
    }
}

/// The lower half of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    /// Links where there is room for both, and events.
    #[default]
    Both,
    Links,
    Events,
}

/// See the [module](self).
#[derive(Debug)]
pub struct View {
    pub ascii: bool,
    pub status: Option<ClusterStatus>,
    pub faults: Vec<Fault>,
    pub events: VecDeque<Event>,
    pub meter: Meter,
    /// The node that keys are about.
    pub chosen: Option<NodeId>,
    pub panel: Panel,
    /// How far events are scrolled back.
    pub back: usize,
    pub help: bool,
    /// What was said last of something that was done.
    pub message: Option<String>,
    /// What a guard refused, and can be done all the same.
    pub guarded: Option<Deed>,
    /// When the supervisor answered last, and what is the matter if that is known.
    heard: Instant,
    silence: Option<String>,
}

impl View {
    pub fn new(ascii: bool) -> View {
        View {
            ascii,
            status: None,
            faults: Vec::new(),
            events: VecDeque::new(),
            meter: Meter::default(),
            chosen: None,
            panel: Panel::default(),
            back: 0,
            help: false,
            message: None,
            guarded: None,
            heard: Instant::now(),
            silence: None,
        }
    }

    /// The supervisor has answered.
    pub fn heard(&mut self, status: ClusterStatus, faults: Vec<Fault>, events: Vec<Event>) {
        status.nodes.iter().for_each(|node| self.meter.take(node));
        if self.back > 0 {
            // Whoever reads is not to lose the place.
            self.back += events.len();
        }
        self.events.extend(events);
        let surplus = self.events.len().saturating_sub(MAX_EVENTS);
        self.events.drain(..surplus);
        self.back = self.back.min(self.events.len());
        let there = |id| status.nodes.iter().any(|node| node.node == id);
        if !self.chosen.is_some_and(there) {
            self.chosen = status.nodes.first().map(|node| node.node);
        }
        (self.status, self.faults) = (Some(status), faults);
        (self.heard, self.silence) = (Instant::now(), None);
    }

    /// The supervisor does not answer.
    pub fn silent(&mut self, why: String) {
        self.silence = Some(why);
    }

    /// For how long the supervisor has not answered, if it does not.
    pub fn unheard_for(&self) -> Option<Duration> {
        let silence = self.heard.elapsed();
        (self.silence.is_some() || silence > STALE).then_some(silence)
    }

    /// What is the matter with the supervisor, if something is.
    pub fn trouble(&self) -> Option<&str> {
        self.unheard_for()?;
        Some(self.silence.as_deref().unwrap_or("the supervisor runs, and does not answer"))
    }

    pub fn nodes(&self) -> &[NodeState] {
        self.status.as_ref().map_or(&[], |status| &status.nodes)
    }

    pub fn node(&self, id: NodeId) -> Option<&NodeState> {
        self.nodes().iter().find(|node| node.node == id)
    }

    /// Whether what is shown of a node is how it is now; if not, for how long it has not been.
    pub fn unknown_for(&self, node: &NodeState) -> Option<Duration> {
        let since = node.report_millis.unwrap_or(node.since_millis);
        let age = Duration::from_millis(unix_millis().saturating_sub(since));
        let runs = node.state == State::Running && self.unheard_for().is_none();
        (!runs || node.report.is_none() || age > STALE).then_some(age)
    }

    /// How far a node's log is, beside the leader's. Reports are of different moments, and under
    /// load a node would seem to lead or to lag by what came in between: so the leader's own report
    /// says it of everybody, and a node's own only if no leader does.
    pub fn extent(&self, node: &NodeState) -> Option<Extent> {
        let own = node.report.as_ref()?;
        let leader = self.status.as_ref().and_then(|status| self.node(status.leader?));
        let leader = leader.and_then(|leader| leader.report.as_ref());
        let seen = leader.and_then(|leader| {
            let peer = leader.peers.iter().find(|peer| peer.node == node.node)?;
            Some((leader, peer.match_index.0))
        });
        Some(match seen {
            Some((leader, durable)) => {
                Extent { committed: leader.commit_index.0, durable, last: leader.last_index.0 }
            }
            None => Extent {
                committed: own.commit_index.0,
                durable: own.durable_index.0,
                last: own.last_index.0,
            },
        })
    }

    /// All nodes together.
    pub fn total(&self) -> Rates {
        let mut total = Rates::default();
        let mut micros = 0.0;
        for node in self.nodes() {
            let rates = self.meter.of(node.node);
            total.reads += rates.reads;
            total.writes += rates.writes;
            total.failed += rates.failed;
            total.commits += rates.commits;
            micros += rates.commits * rates.commit.as_micros() as f64;
        }
        if total.commits > 0.0 {
            total.commit = Duration::from_micros((micros / total.commits) as u64);
        }
        total
    }

    /// Chooses the node so many places further.
    pub fn choose(&mut self, steps: isize) {
        let ids: Vec<NodeId> = self.nodes().iter().map(|node| node.node).collect();
        let at = ids.iter().position(|id| Some(*id) == self.chosen).unwrap_or(0);
        if !ids.is_empty() {
            let next = (at as isize + steps).rem_euclid(ids.len() as isize);
            self.chosen = ids.get(next as usize).copied();
        }
    }

    pub fn deed_begun(&mut self, deed: &Deed) {
        self.message = Some(format!("{} …", deed.what));
        self.guarded = None;
    }

    pub fn deed_done(&mut self, said: Said) {
        match said {
            Said::Done(words) => self.message = Some(words),
            Said::Refused(why) => self.message = Some(why),
            Said::Guarded(why, deed) => {
                self.message = Some(format!("{why}  (y: all the same)"));
                self.guarded = Some(deed);
            }
        }
    }
}
