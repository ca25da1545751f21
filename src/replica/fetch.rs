//! Fetching a snapshot, while this replica [repairs](super::repair) its log: where every peer has
//! compacted what is damaged here, the entry itself is in nobody's log any more. What it did is in
//! their snapshots, and that it was committed is certain, for only that is ever summed up.
//!
//! ```text
//!   here                          a peer
//!    │ SnapshotRequest, newest, 0    │
//!    ├──────────────────────────────►│
//!    │ SnapshotReply 93/4, 0, bytes  │   written, and durable, before the next is asked for
//!    │◄──────────────────────────────┤
//!    │ SnapshotRequest, 93, 1 MiB    │
//!    ├──────────────────────────────►│
//! ```
//!
//! Every message may be lost, doubled or late: what does not continue what is there is ignored, and
//! a question is repeated. A peer that does not answer is left for another, and what came from it
//! is begun anew: two members' snapshots of one entry say the same, though not in the same bytes.

use super::repair::Repairing;
use super::{Output, PeerMessage, RepairVerdict};
use crate::consensus::{Chunk, Consensus, SnapshotMark};
use crate::storage::Disk;
use crate::types::{LogIndex, NodeId, Term};

/// What is being fetched.
#[derive(Debug, Default)]
pub struct Fetch {
    coming: Option<Coming>,
    /// Whose turn it is.
    turn: usize,
}

#[derive(Debug)]
struct Coming {
    from: NodeId,
    index: LogIndex,
    term: Term,
    /// What was taken of it.
    bytes: u64,
    /// All of it was taken: the log says what it is worth.
    whole: bool,
    /// How often the question was repeated since it last grew.
    repeats: u32,
}

/// After so many repetitions in vain, another peer is asked: what has come is not thrown away
/// lightly.
const PATIENCE: u32 = 10;

impl Fetch {
    /// Repeats the question for a snapshot that covers `covers`, of one that may have one.
    pub fn ask<M>(
        &mut self,
        covers: LogIndex,
        able: &[NodeId],
    ) -> Option<(NodeId, PeerMessage<M>)> {
        match &mut self.coming {
            Some(coming) if coming.whole => None,
            Some(coming) if coming.index >= covers && coming.repeats < PATIENCE => {
                coming.repeats += 1;
                self.go_on(covers)
            }
            _ => {
                self.coming = None;
                self.turn += 1;
                let to = *able.get(self.turn % able.len().max(1))?;
                let question = PeerMessage::SnapshotRequest { covers, snapshot: None, offset: 0 };
                Some((to, question))
            }
        }
    }

    /// Asks for the next part of what is coming.
    fn go_on<M>(&self, covers: LogIndex) -> Option<(NodeId, PeerMessage<M>)> {
        let coming = self.coming.as_ref().filter(|coming| !coming.whole)?;
        let (snapshot, offset) = (Some(coming.index), coming.bytes);
        Some((coming.from, PeerMessage::SnapshotRequest { covers, snapshot, offset }))
    }

    /// A part has come from a peer: whether it is to be written.
    pub fn takes(
        &mut self,
        from: NodeId,
        (index, term): (LogIndex, Term),
        offset: u64,
        chunk: &Chunk,
    ) -> bool {
        let is_same = |it: &Coming| (it.from, it.index, it.term) == (from, index, term);
        if offset == 0 && !self.coming.as_ref().is_some_and(is_same) {
            self.coming = Some(Coming { from, index, term, bytes: 0, whole: false, repeats: 0 });
        }
        let follows = |it: &&mut Coming| is_same(it) && it.bytes == offset && !it.whole;
        let Some(coming) = self.coming.as_mut().filter(follows) else { return false };
        if chunk.data.is_empty() {
            return false;
        }
        coming.bytes += chunk.data.len() as u64;
        coming.whole = chunk.done;
        coming.repeats = 0;
        true
    }

    /// The log has `bytes` of it, durable: what to ask for next.
    pub fn written<M>(
        &mut self,
        covers: LogIndex,
        index: LogIndex,
        bytes: u64,
    ) -> Option<(NodeId, PeerMessage<M>)> {
        let coming = self.coming.as_mut().filter(|coming| coming.index == index)?;
        coming.bytes = bytes;
        self.go_on(covers)
    }

    /// It is there whole, or was no good.
    pub fn over(&mut self) {
        self.coming = None;
    }

    /// For people: from whom, of which entry, how many bytes so far.
    pub fn progress(&self) -> Option<(NodeId, LogIndex, u64)> {
        self.coming.as_ref().map(|it| (it.from, it.index, it.bytes))
    }
}

/// While this replica repairs.
impl<C: Consensus, D: Disk> Repairing<C, D> {
    /// Whether somebody has said that a snapshot covers `index`.
    fn is_compacted(&self, index: LogIndex) -> bool {
        self.said.get(&index).into_iter().flatten().any(|(_, verdict)| {
            matches!(verdict, RepairVerdict::CannotTell { compacted_to } if *compacted_to >= index)
        })
    }

    /// Asks for a snapshot, if the first damaged entry is in one and in nobody's log.
    pub(super) fn fetch_what_is_compacted(&mut self) {
        let Some(first) = self.log.damaged().first().map(|damaged| damaged.index) else { return };
        if !self.is_compacted(first) {
            return;
        }
        // Others may have one as well, and a newer one.
        let able: Vec<NodeId> = self.peers().into_iter().collect();
        if let Some((to, message)) = self.fetch.ask(first, &able) {
            self.outputs.push(Output::Send { to, message });
        }
    }

    /// Part of a snapshot has come.
    pub(super) fn part_comes(
        &mut self,
        from: NodeId,
        of: (LogIndex, Term),
        offset: u64,
        chunk: Chunk,
    ) {
        let first = self.log.damaged().first().map(|damaged| damaged.index);
        let is_wanted = first.is_some_and(|first| of.0 >= first) && self.peers().contains(&from);
        if is_wanted && self.fetch.takes(from, of, offset, &chunk) {
            self.log.receive_snapshot(of.0, of.1, offset, chunk);
        }
    }

    /// So much of it is on the disk.
    pub(super) fn part_is_written(&mut self, index: LogIndex, bytes: u64) {
        let Some(first) = self.log.damaged().first().map(|damaged| damaged.index) else { return };
        if let Some((to, message)) = self.fetch.written(first, index, bytes) {
            self.outputs.push(Output::Send { to, message });
        }
    }

    /// A snapshot is there: it stands for what it covers. If it cannot be relied upon, a newer one
    /// may be, or another member comes back.
    pub(super) fn adopt(&mut self, mark: SnapshotMark) {
        self.fetch.over();
        if self.log.adopt_snapshot(&mark).is_ok() {
            (self.log_start, self.term_runs) = self.log.terms();
            let kept = mark.index.next()..=self.log.status().last_index;
            self.configurations.retain(|(at, _)| kept.contains(at));
            self.repaired.retain(|index, _| kept.contains(index));
            self.said.clear();
            self.snapshot = mark;
            self.outputs.push(Output::Configuration(self.newest_configuration().clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const PEERS: [NodeId; 2] = [NodeId(1), NodeId(2)];
    const OF: (LogIndex, Term) = (LogIndex(9), Term(3));

    fn chunk(done: bool) -> Chunk {
        Chunk { data: Bytes::from_static(b"part"), done }
    }

    /// Who is asked next, and from which byte on.
    fn asks(fetch: &mut Fetch) -> Option<(NodeId, u64)> {
        match fetch.ask::<()>(LogIndex(5), &PEERS) {
            Some((to, PeerMessage::SnapshotRequest { offset, .. })) => Some((to, offset)),
            _ => None,
        }
    }

    #[test]
    fn a_doubled_part_is_taken_once_and_a_whole_snapshot_is_not_asked_for() {
        let mut fetch = Fetch::default();
        let (from, _) = asks(&mut fetch).expect("somebody is asked");
        assert!(!fetch.takes(from, OF, 4, &chunk(false)), "it has not begun");
        assert!(fetch.takes(from, OF, 0, &chunk(false)));
        assert!(!fetch.takes(from, OF, 0, &chunk(false)), "doubled");
        assert!(!fetch.takes(NodeId(7), OF, 4, &chunk(false)), "of another's");
        assert_eq!(asks(&mut fetch), Some((from, 4)));
        assert!(fetch.takes(from, OF, 4, &chunk(true)));
        assert_eq!(asks(&mut fetch), None, "the log verifies it");
        fetch.over();
        assert!(asks(&mut fetch).is_some());
    }

    #[test]
    fn a_silent_peer_is_left_for_another_but_not_at_once() {
        let mut fetch = Fetch::default();
        let (from, _) = asks(&mut fetch).expect("somebody is asked");
        assert!(fetch.takes(from, OF, 0, &chunk(false)));
        for _ in 0..PATIENCE {
            assert_eq!(asks(&mut fetch), Some((from, 4)));
        }
        let (other, offset) = asks(&mut fetch).expect("another");
        assert!(other != from && offset == 0);
    }
}
