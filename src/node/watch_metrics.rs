//! Of those who watch: under our names, and under etcd's, so that its dashboards work.

use prometheus::{IntCounter, IntGauge};

use crate::grpc::watch::HubFigures;
use crate::observe::{MetricError, Registry};

/// See the [module](self).
#[derive(Debug)]
pub struct WatchMetrics {
    watches: [IntGauge; 2],
    feeds: [IntGauge; 2],
    behind: [IntGauge; 2],
    events: [IntCounter; 2],
}

impl WatchMetrics {
    pub fn new(registry: &Registry) -> Result<WatchMetrics, MetricError> {
        let gauges = |ours: &str, etcds: &str, help: &str| -> Result<_, MetricError> {
            Ok([registry.gauge(ours, help)?, registry.gauge(etcds, help)?])
        };
        let events = "Events told to clients that watch.";
        Ok(WatchMetrics {
            watches: gauges(
                "kvraft_watch_watches",
                "etcd_debugging_mvcc_watcher_total",
                "Watches.",
            )?,
            feeds: gauges(
                "kvraft_watch_streams",
                "etcd_debugging_mvcc_watch_stream_total",
                "Streams of clients that watch, and services here that wait for a change.",
            )?,
            behind: gauges(
                "kvraft_watch_behind",
                "etcd_debugging_mvcc_slow_watcher_total",
                "Watches that are catching up with what has changed.",
            )?,
            events: [
                registry.counter("kvraft_watch_events_total", events)?,
                registry.counter("etcd_debugging_mvcc_events_total", events)?,
            ],
        })
    }

    /// Copies what the hub knows.
    pub fn refresh(&self, seen: &HubFigures) {
        let figures =
            [(&self.watches, seen.watches), (&self.feeds, seen.feeds), (&self.behind, seen.behind)];
        for (gauges, value) in figures {
            gauges.iter().for_each(|gauge| gauge.set(value as i64));
        }
        for counter in &self.events {
            counter.inc_by(seen.events.saturating_sub(counter.get()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_show_the_same() {
        let registry = Registry::new("kvtest").unwrap();
        let metrics = WatchMetrics::new(&registry).unwrap();
        metrics.refresh(&HubFigures { watches: 3, feeds: 2, behind: 1, events: 4 });
        metrics.refresh(&HubFigures { watches: 5, feeds: 2, behind: 0, events: 7 });
        let text = registry.render().unwrap();
        for line in [
            "kvraft_watch_watches 5",
            "kvraft_watch_streams 2",
            "kvraft_watch_behind 0",
            "kvraft_watch_events_total 7",
            "etcd_debugging_mvcc_watcher_total 5",
            "etcd_debugging_mvcc_watch_stream_total 2",
            "etcd_debugging_mvcc_slow_watcher_total 0",
            "etcd_debugging_mvcc_events_total 7",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
        }
    }
}
