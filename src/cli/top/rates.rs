//! How much a second: from what nodes have counted, between two of their reports.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::{LinkTraffic, NodeState, Served};
use crate::types::NodeId;

/// Of one node, lately.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// A second.
    pub reads: f64,
    pub writes: f64,
    pub failed: f64,
    /// Writes proposed there and applied, a second, and the mean time that one took.
    pub commits: f64,
    pub commit: Duration,
    pub links: BTreeMap<NodeId, LinkRate>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkRate {
    /// Messages a second.
    pub messages: f64,
    /// From a batch's being ready to the peer's having it, on average; `None`: there was none.
    pub delivery: Option<Duration>,
}

/// Remembers the last report of each node.
#[derive(Debug, Default)]
pub struct Meter {
    last: BTreeMap<NodeId, Last>,
}

#[derive(Debug)]
struct Last {
    pid: u32,
    at_millis: u64,
    served: Served,
    links: BTreeMap<NodeId, LinkTraffic>,
    rates: Rates,
}

impl Meter {
    /// Takes in what a node is known to have said.
    pub fn take(&mut self, node: &NodeState) {
        let (Some(report), Some(at_millis)) = (&node.report, node.report_millis) else {
            self.last.remove(&node.node);
            return;
        };
        let links: BTreeMap<_, _> = report.links.iter().map(|it| (it.peer, it.clone())).collect();
        let rates = match self.last.get(&node.node) {
            Some(last) if last.at_millis == at_millis => return,
            // Its counters began anew with its process.
            Some(last) if last.pid == report.pid => {
                let seconds = at_millis.saturating_sub(last.at_millis) as f64 / 1000.0;
                between(last, &report.served, &links, seconds.max(0.001))
            }
            _ => Rates::default(),
        };
        let served = report.served.clone();
        let last = Last { pid: report.pid, at_millis, served, links, rates };
        self.last.insert(node.node, last);
    }

    pub fn of(&self, node: NodeId) -> Rates {
        self.last.get(&node).map(|last| last.rates.clone()).unwrap_or_default()
    }
}

fn between(
    last: &Last,
    served: &Served,
    links: &BTreeMap<NodeId, LinkTraffic>,
    seconds: f64,
) -> Rates {
    let grown = |now: u64, before: u64| now.saturating_sub(before) as f64;
    let mean = |micros: f64, count: f64| Duration::from_micros((micros / count.max(1.0)) as u64);
    let before = &last.served;
    let commits = grown(served.commits, before.commits);
    let link = |(peer, now): (&NodeId, &LinkTraffic)| {
        let before = last.links.get(peer)?;
        let deliveries = grown(now.deliveries, before.deliveries);
        let micros = grown(now.delivery_micros, before.delivery_micros);
        let rate = LinkRate {
            messages: grown(now.sent_messages, before.sent_messages) / seconds,
            delivery: (deliveries > 0.0).then(|| mean(micros, deliveries)),
        };
        Some((*peer, rate))
    };
    Rates {
        reads: grown(served.reads, before.reads) / seconds,
        writes: grown(served.writes, before.writes) / seconds,
        failed: grown(served.failed, before.failed) / seconds,
        commits: commits / seconds,
        commit: mean(grown(served.commit_micros, before.commit_micros), commits),
        links: links.iter().filter_map(link).collect(),
    }
}
