//! The links to and from the other members, and the sockets.
//!
//! The series of a peer exist from when it is a member.

use prometheus::{GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::metrics::{Seen, catch_up, metrics};
use crate::observe::{LATENCY_BUCKETS, MetricError, Registry};

metrics! {
    /// Of the links to and from the other members, and of the sockets.
    LinkMetrics {
        match_index: IntGaugeVec = gauges("kvraft_peer_match_index",
            "On a leader: last entry durable on the peer; else 0.", &["peer"]);
        lag: IntGaugeVec = gauges("kvraft_peer_lag_entries",
            "On a leader: entries that the peer is behind; else 0.", &["peer"]);
        lag_seconds: GaugeVec = float_gauges("kvraft_peer_lag_seconds",
            "On a leader: for how long the peer has lacked an entry, at least; else 0.", &["peer"]);
        in_flight: IntGaugeVec = gauges("kvraft_peer_in_flight_messages",
            "On a leader: messages with entries not answered by the peer; else 0.", &["peer"]);
        in_flight_bytes: IntGaugeVec = gauges("kvraft_peer_in_flight_bytes",
            "On a leader: bytes of entries that the peer has not answered; else 0.", &["peer"]);
        connected: IntGaugeVec = gauges("kvraft_peer_connected",
            "1 while messages to the peer are taken.", &["peer"]);
        sent: IntCounterVec = counters("kvraft_peer_sent_messages_total",
            "Messages sent to the peer.", &["peer"]);
        sent_bytes: IntCounterVec = counters("kvraft_peer_sent_bytes_total",
            "Bytes sent to the peer, about.", &["peer"]);
        received: IntCounterVec = counters("kvraft_peer_received_messages_total",
            "Messages received from the peer.", &["peer"]);
        received_bytes: IntCounterVec = counters("kvraft_peer_received_bytes_total",
            "Bytes received from the peer, about.", &["peer"]);
        delivery: HistogramVec = histograms("kvraft_peer_delivery_duration_seconds",
            "From a message's being ready, what a fault holds back included, to its being taken in \
             by the peer and its saying so.", &["peer"], &LATENCY_BUCKETS);
        dropped: IntCounterVec = counters("kvraft_peer_dropped_messages_total",
            "Messages to the peer dropped: the queue was full, or nobody listened.", &["peer"]);
        failures: IntCounterVec = counters("kvraft_peer_connection_failures_total",
            "Connections to the peer that failed or ended.", &["peer"]);
        queued: IntGaugeVec = gauges("kvraft_peer_queued_bytes",
            "Bytes waiting to be sent to the peer.", &["peer"]);
        faulted: IntCounterVec = counters("kvraft_link_fault_messages_total",
            "Messages to the peer that a fault met, by what it did.", &["peer", "effect"]);
        faults: IntGaugeVec = gauges("kvraft_link_fault_active",
            "1 while an injected fault is in force on the link to the peer.", &["peer"]);
        refused_batches: IntCounter = counter("kvraft_peer_batches_refused_total",
            "Batches refused: malformed, or not for this node.");
        unroutable: IntCounter = counter("kvraft_peer_messages_unroutable_total",
            "Messages to somebody who is no member or has no address.");
        rejected: IntCounter = counter("kvraft_peer_messages_rejected_total",
            "Messages that no correct member sends.");
        open: IntGaugeVec = gauges("kvraft_connections",
            "Open connections, by socket.", &["socket"]);
        accepted: IntCounterVec = counters("kvraft_connections_accepted_total",
            "Connections accepted, by socket.", &["socket"]);
        refused: IntCounterVec = counters("kvraft_connections_refused_total",
            "Connections closed because too many were open, by socket.", &["socket"]);
        malformed: IntCounterVec = counters("kvraft_connections_malformed_total",
            "Connections ended because of what they sent, by socket.", &["socket"]);
    }
}

impl LinkMetrics {
    /// Measures by peer how long messages take.
    pub fn delivery(&self) -> &HistogramVec {
        &self.delivery
    }

    /// Copies what others know.
    pub fn refresh(&self, seen: &Seen<'_>) {
        self.refresh_peers(seen);
        catch_up(&self.rejected, seen.status.counters.peers_rejected);
        catch_up(&self.refused_batches, seen.refused_batches);
        catch_up(&self.unroutable, seen.peers.unroutable());
        for (socket, counters) in seen.sockets {
            self.open.with_label_values(&[socket]).set(counters.open.get() as i64);
            let totals = [
                (&self.accepted, &counters.accepted),
                (&self.refused, &counters.refused),
                (&self.malformed, &counters.malformed),
            ];
            for (metric, total) in totals {
                catch_up(&metric.with_label_values(&[socket]), total.get());
            }
        }
    }

    fn refresh_peers(&self, seen: &Seen<'_>) {
        let core = &seen.status.consensus;
        for (id, link) in seen.peers.links() {
            let label: &[&str] = &[&id.to_string()];
            let progress = core.peers.get(&id);
            let matched = progress.map_or(0, |progress| progress.match_index.0);
            let lag = progress.map_or(0, |_| core.last_index.0.saturating_sub(matched));
            self.match_index.with_label_values(label).set(matched as i64);
            self.lag.with_label_values(label).set(lag as i64);
            let since = progress.and_then(|progress| progress.behind_since);
            let lag = since.map_or(0.0, |since| seen.now.since(since).as_secs_f64());
            self.lag_seconds.with_label_values(label).set(lag);
            let (messages, bytes) = progress.map_or((0, 0), |progress| progress.in_flight);
            self.in_flight.with_label_values(label).set(messages as i64);
            self.in_flight_bytes.with_label_values(label).set(bytes as i64);
            self.connected.with_label_values(label).set(link.connected.get().into());
            self.queued.with_label_values(label).set(link.queued_bytes() as i64);
            let received = seen.received.get(&id).copied().unwrap_or_default();
            let totals = [
                (&self.sent, link.sent_messages.get()),
                (&self.sent_bytes, link.sent_bytes.get()),
                (&self.received, received.messages),
                (&self.received_bytes, received.bytes),
                (&self.dropped, link.dropped()),
                (&self.failures, link.failures.get()),
            ];
            for (metric, total) in totals {
                catch_up(&metric.with_label_values(label), total);
            }
        }
        for (id, policy, counters) in seen.peers.faults() {
            let peer = id.to_string();
            self.faults.with_label_values(&[&peer]).set((!policy.is_empty()).into());
            for (effect, total) in counters.by_effect() {
                catch_up(&self.faulted.with_label_values(&[peer.as_str(), effect]), total);
            }
        }
    }
}
