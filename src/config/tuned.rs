//! The settings of one node: the cluster's, with its own in their place.

use super::{Durability, NodeConfig};
use crate::quota::Quota;
use crate::retention::Retention;

/// The settings of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuned {
    pub durability: Durability,
    pub election_timeout_min_millis: u64,
    pub election_timeout_max_millis: u64,
    pub heartbeat_millis: u64,
    /// How long each message's way takes on top, in slow motion.
    pub link_delay_millis: u64,
    pub lease_clock_error_millis: Option<u64>,
    pub segment_bytes: u64,
    pub snapshot_log_bytes: u64,
    pub keep_entries: u64,
    pub history: Retention,
    pub quota: Quota,
}

impl Tuned {
    pub(super) fn validate(&self) -> Result<(), String> {
        let (min, max) = (self.election_timeout_min_millis, self.election_timeout_max_millis);
        if min == 0 || min >= max {
            return Err(format!(
                "the election time-out is drawn from {min} to {max} ms: the first must be above 0 \
                 and below the second, or elections tie again and again"
            ));
        }
        if self.heartbeat_millis == 0 || self.heartbeat_millis >= min {
            return Err(format!(
                "`heartbeat_millis` is {}: it must be above 0 and below the shortest election \
                 time-out ({min} ms), or followers stand for election although there is a leader",
                self.heartbeat_millis
            ));
        }
        if self.link_delay_millis * 2 >= min {
            return Err(format!(
                "`link_delay_millis` is {}: an answer must be back well before the shortest \
                 election time-out ({min} ms)",
                self.link_delay_millis
            ));
        }
        if let Some(error) = self.lease_clock_error_millis.filter(|error| *error >= min) {
            return Err(format!(
                "`lease_clock_error_millis` is {error}: it must be below the shortest election \
                 time-out ({min} ms), or no lease lasts; leave it out for reads without leases"
            ));
        }
        if self.segment_bytes < 4 << 20 {
            return Err(format!(
                "`segment_bytes` is {}: a segment holds at least 4194304",
                self.segment_bytes
            ));
        }
        if self.snapshot_log_bytes < 64 << 10 {
            return Err(format!(
                "`snapshot_log_bytes` is {}: a snapshot is taken every 65536 bytes of log at most",
                self.snapshot_log_bytes
            ));
        }
        Ok(())
    }

    /// Puts these settings into a node's configuration.
    pub fn apply_to(&self, config: &mut NodeConfig) {
        config.durability = self.durability;
        config.election_timeout_min_millis = self.election_timeout_min_millis;
        config.election_timeout_max_millis = self.election_timeout_max_millis;
        config.heartbeat_millis = self.heartbeat_millis;
        config.link_delay_millis = self.link_delay_millis;
        config.lease_clock_error_millis = self.lease_clock_error_millis;
        config.segment_bytes = self.segment_bytes;
        config.snapshot_log_bytes = self.snapshot_log_bytes;
        config.keep_entries = self.keep_entries;
        config.history = self.history;
        config.quota = self.quota;
    }
}
