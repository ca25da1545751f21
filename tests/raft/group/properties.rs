//! What must hold of the whole group: the safety properties of figure 3 that no core can see alone.
//! (Election Safety, State Machine Safety and "no read is stale" are checked where a leader
//! appears, an entry is applied and a read is served.)

use kvraft::consensus::{Configuration, Payload};
use kvraft::types::{LogIndex, NodeId};

use super::Group;
use crate::disk::Log;

impl Group {
    /// If two logs hold an entry of the same index and term, they are equal up to it (figure 3).
    pub(super) fn assert_log_matching(&self) {
        let logs: Vec<&Log> = self.nodes.values().map(|node| &node.disk.log).collect();
        for (i, a) in logs.iter().enumerate() {
            for b in &logs[i + 1..] {
                let mut agree = false;
                for entry in a.entries.iter().rev() {
                    let Some(other) = b.get(entry.index) else { continue };
                    agree |= other.term == entry.term;
                    assert!(!agree || entry == other, "Log Matching at {}", entry.index);
                }
            }
        }
    }

    /// A new leader has every entry that was ever committed (figure 3).
    pub(super) fn assert_leader_completeness(&self, id: NodeId) {
        let log = self.nodes[&id].disk.effective_log();
        for (index, entry) in self.applied.range(log.start.0.next()..) {
            assert_eq!(log.get(*index), Some(entry), "Leader Completeness: node {id}");
        }
    }

    /// A server's members are what its log says, and nothing else (section 6).
    pub(super) fn assert_members_stand_in_the_log(&self, id: NodeId, members: &Configuration) {
        let log = self.nodes[&id].disk.effective_log();
        let newest = log.entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Configuration(configuration) => Some(configuration),
            _ => None,
        });
        let said = newest.unwrap_or(&log.snapshot.configuration);
        assert!(members == said, "the members in force are those of the log (section 6)");
    }

    /// What a server holds as committed is what was applied by all (State Machine Safety).
    pub(super) fn assert_committed_is_in_the_log(&self, id: NodeId, committed: LogIndex) {
        let log = self.nodes[&id].disk.effective_log();
        let committed =
            self.applied.range(log.start.0.next()..).take_while(|it| *it.0 <= committed);
        for (index, entry) in committed {
            if let Some(ours) = log.get(*index) {
                assert!(ours == entry, "node {id} holds another entry {index} as committed");
            }
        }
    }
}
