//! Alerts, for the cluster's history: which fire, and which are over.
//!
//! Prometheus knows, and is asked while it runs; it pushes to nobody. What fires when it is asked
//! for the first time is not told: whoever was supervisor before has told it, or it began while
//! nobody looked after the cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;

use super::{SideCar, probe};
use crate::control::SideCarState;
use crate::supervisor::daemon::Daemon;
use crate::types::NodeId;

/// Between two questions. Prometheus looks at its rules once a second.
const EVERY: Duration = Duration::from_secs(2);

/// Alerts that are followed at once.
const MAX_ALERTS: usize = 100;

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    alerts: Vec<Alert>,
}

/// An alert of `/api/v1/alerts`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Alert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    state: String,
}

impl Alert {
    fn name(&self) -> &str {
        self.labels.get("alertname").map_or("an alert without a name", String::as_str)
    }

    /// About whom, if it is about one node.
    fn node(&self) -> Option<NodeId> {
        self.labels.get("node")?.parse().ok().map(NodeId)
    }

    fn words(&self) -> String {
        match self.annotations.get("summary") {
            Some(summary) => format!("{}: {summary}", self.name()),
            None => self.name().to_owned(),
        }
    }
}

/// Alerts that fire, each by all of its labels.
type Firing = BTreeMap<BTreeMap<String, String>, Alert>;

fn firing(answer: &[u8]) -> Option<Firing> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let fires = answer.data.alerts.into_iter().filter(|alert| alert.state == "firing");
    Some(fires.take(MAX_ALERTS).map(|alert| (alert.labels.clone(), alert)).collect())
}

impl Daemon {
    /// Tells what fires and what is over, while Prometheus runs.
    pub(in crate::supervisor) async fn keep_hearing_alerts(self: Rc<Self>) {
        let mut known: Option<Firing> = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(at) = self.prometheus() else {
                known = None;
                continue;
            };
            let answer = probe::get(at, "/api/v1/alerts").await;
            // One that does not answer says neither that it fires nor that it is over.
            let Some(now) = answer.and_then(|answer| firing(&answer)) else { continue };
            if let Some(before) = &known {
                for (_, alert) in now.iter().filter(|(labels, _)| !before.contains_key(*labels)) {
                    self.tell(alert.node(), "alert-fires", &alert.words());
                }
                for (_, alert) in before.iter().filter(|(labels, _)| !now.contains_key(*labels)) {
                    self.tell(alert.node(), "alert-over", alert.name());
                }
            }
            known = Some(now);
        }
    }

    /// Where it serves, if it does.
    fn prometheus(&self) -> Option<SocketAddr> {
        let inner = self.inner.borrow();
        let beside = inner.side_cars.get(&SideCar::Prometheus)?;
        let record = inner.state.ops.as_ref()?.record(SideCar::Prometheus)?;
        (beside.state == SideCarState::Running).then_some(record.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fires_is_told_apart_by_its_labels() {
        let answer = br#"{"status": "success", "data": {"alerts": [
            {"labels": {"alertname": "Down", "node": "2"}, "state": "firing",
             "annotations": {"summary": "node 2 is down"}, "activeAt": "x", "value": "1e+00"},
            {"labels": {"alertname": "Down", "node": "3"}, "state": "pending"},
            {"labels": {"alertname": "Slow"}, "annotations": {}, "state": "firing"}]}}"#;
        let firing = firing(answer).unwrap();
        let told: Vec<_> = firing.values().map(|alert| (alert.node(), alert.words())).collect();
        assert_eq!(
            told,
            [(Some(NodeId(2)), "Down: node 2 is down".to_owned()), (None, "Slow".to_owned())]
        );
        assert!(super::firing(b"<html>").is_none());
    }
}
