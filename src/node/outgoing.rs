//! What waits to be sent to one peer.
//!
//! # The problem
//!
//! A follower that is paused for ten minutes must not cost its leader ten minutes of log in memory;
//! and once it answers again, a heartbeat must not arrive after eight megabytes of entries.
//!
//! # The rule
//!
//! Two queues with one bound. *Urgent* is what is small and what others wait for: votes, replies,
//! heartbeats; it is taken first. *Bulk* carries entries or clients' requests. When the
//! bound is reached, the oldest bulk goes, then the oldest of the rest: every message between nodes
//! may be lost, Raft sends entries again, and a request that was relayed has a deadline where it
//! came from. What is dropped is counted.
//!
//! Overtaking is harmless: a heartbeat asks only about what its receiver surely has.

use std::collections::VecDeque;
use std::time::Instant;

use crate::consensus::raft::Message;
use crate::link::Class;
use crate::replica::PeerMessage;
use crate::rpc::peer;

/// What may wait for one peer.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingLimits {
    pub messages: usize,
    pub bytes: usize,
}

impl Default for OutgoingLimits {
    fn default() -> OutgoingLimits {
        OutgoingLimits { messages: 4096, bytes: 16 << 20 }
    }
}

/// How much to take at once.
#[derive(Clone, Copy, Debug)]
pub struct Take {
    pub messages: usize,
    /// At most, unless a single message is larger.
    pub bytes: usize,
    pub urgent_only: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Outgoing {
    limits: OutgoingLimits,
    urgent: VecDeque<Measured>,
    bulk: VecDeque<Measured>,
    bytes: usize,
    dropped: u64,
}

/// A message, about how many bytes it takes, measured once, and when it was ready to go. (How long
/// it takes from there counts what a fault holds back, too.)
#[derive(Clone, Debug)]
pub struct Measured {
    pub size: usize,
    pub since: Instant,
    pub message: PeerMessage<Message>,
}

impl From<PeerMessage<Message>> for Measured {
    fn from(message: PeerMessage<Message>) -> Measured {
        Measured { size: peer::size(&message), since: Instant::now(), message }
    }
}

/// What is sent at once.
#[derive(Debug, Default)]
pub struct Taken {
    pub bytes: usize,
    /// When the first of it was ready; `None`: it is empty.
    pub since: Option<Instant>,
    pub messages: Vec<PeerMessage<Message>>,
}

/// A reply to a relayed request that is no larger does not wait behind entries: a client waits for
/// it, and on a slow link it would come after its deadline.
const SMALL_REPLY: usize = 1024;

impl Measured {
    /// How urgent it is for the link.
    pub fn class(&self) -> Class {
        if is_urgent(self) { Class::Control } else { Class::Bulk }
    }
}

/// Whether a message is small, and others wait for it.
fn is_urgent(Measured { size, message, .. }: &Measured) -> bool {
    match message {
        PeerMessage::Consensus(Message::AppendEntries { entries, .. }) => entries.is_empty(),
        PeerMessage::Consensus(Message::InstallSnapshot { .. }) => false,
        PeerMessage::Consensus(_) => true,
        PeerMessage::RelayReply { .. } => *size <= SMALL_REPLY,
        PeerMessage::Relay { .. }
        | PeerMessage::StateHash { .. }
        | PeerMessage::Supports { .. }
        | PeerMessage::SnapshotRequest { .. }
        | PeerMessage::SnapshotReply { .. }
        | PeerMessage::RepairRequest { .. }
        | PeerMessage::RepairReply { .. } => false,
    }
}

impl Outgoing {
    /// A queue with bounds of its own.
    pub fn with_limits(limits: OutgoingLimits) -> Outgoing {
        Outgoing { limits, ..Outgoing::default() }
    }

    /// Puts in a message, and makes room for it if need be.
    pub fn push(&mut self, measured: Measured) {
        self.bytes += measured.size;
        match is_urgent(&measured) {
            true => self.urgent.push_back(measured),
            false => self.bulk.push_back(measured),
        }
        while self.len() > 1
            && (self.len() > self.limits.messages || self.bytes > self.limits.bytes)
        {
            let oldest = self.bulk.pop_front().or_else(|| self.urgent.pop_front());
            self.gone(oldest.map_or(0, |message| message.size));
        }
    }

    /// Takes what is to be sent next, oldest first, the urgent before the rest.
    pub fn take(&mut self, limit: Take) -> Taken {
        let mut taken = Taken::default();
        let queues = [&mut self.urgent, &mut self.bulk];
        for queue in queues.into_iter().take(if limit.urgent_only { 1 } else { 2 }) {
            while let Some(Measured { size, .. }) = queue.front() {
                let messages = taken.messages.len();
                let full = messages >= limit.messages || taken.bytes + size > limit.bytes;
                if full && messages > 0 {
                    break;
                }
                let Some(Measured { size, since, message }) = queue.pop_front() else { break };
                taken.bytes += size;
                taken.since = Some(taken.since.map_or(since, |first| first.min(since)));
                taken.messages.push(message);
            }
        }
        self.bytes -= taken.bytes;
        taken
    }

    /// Nobody is there to send to: entries that wait will be stale by the time somebody is.
    pub fn drop_bulk(&mut self) {
        while let Some(message) = self.bulk.pop_front() {
            self.gone(message.size);
        }
    }

    fn gone(&mut self, size: usize) {
        self.bytes -= size;
        self.dropped += 1;
    }

    /// Messages dropped, ever.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.urgent.len() + self.bulk.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::consensus::{Entry, Payload};
    use crate::types::{LogIndex, Term};

    fn vote(term: u64) -> PeerMessage<Message> {
        PeerMessage::Consensus(Message::RequestVoteReply { term: Term(term), granted: true })
    }

    fn entries(index: u64, bytes: usize) -> PeerMessage<Message> {
        let payload = Payload::Command(Bytes::from(vec![0; bytes]));
        PeerMessage::Consensus(Message::AppendEntries {
            term: Term(1),
            prev_log_index: LogIndex(index - 1),
            prev_log_term: Term(1),
            entries: vec![Entry { term: Term(1), index: LogIndex(index), payload }],
            leader_commit: LogIndex(0),
            round: 0,
        })
    }

    const ALL: Take = Take { messages: 100, bytes: 1 << 20, urgent_only: false };

    #[test]
    fn the_urgent_overtakes_bulk() {
        let mut queue = Outgoing::default();
        queue.push(entries(1, 10).into());
        queue.push(vote(1).into());
        queue.push(entries(2, 10).into());
        queue.push(vote(2).into());
        let urgent = queue.take(Take { urgent_only: true, messages: 1, ..ALL });
        assert_eq!(urgent.messages, [vote(1)]);
        assert_eq!(queue.take(ALL).messages, [vote(2), entries(1, 10), entries(2, 10)]);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_bulk_and_stays_full() {
        let limits = OutgoingLimits { messages: 1000, bytes: 10_000 };
        let mut queue = Outgoing::with_limits(limits);
        queue.push(vote(1).into());
        for index in 1..=1000 {
            queue.push(entries(index, 1000).into());
            assert!(queue.bytes() <= 10_000);
        }
        let left = queue.take(ALL).messages;
        assert_eq!(left.first(), Some(&vote(1)));
        assert_eq!(left.last(), Some(&entries(1000, 1000)));
        assert_eq!(queue.dropped() as usize, 1001 - left.len());
    }

    #[test]
    fn without_bulk_the_oldest_urgent_goes() {
        let limits = OutgoingLimits { messages: 3, bytes: 1 << 20 };
        let mut queue = Outgoing::with_limits(limits);
        (1..=5).for_each(|term| queue.push(vote(term).into()));
        assert_eq!(queue.take(ALL).messages, [vote(3), vote(4), vote(5)]);
    }

    #[test]
    fn a_message_larger_than_a_batch_goes_alone() {
        let mut queue = Outgoing::default();
        queue.push(entries(1, 5000).into());
        queue.push(entries(2, 5000).into());
        let taken = queue.take(Take { bytes: 100, ..ALL });
        assert_eq!(taken.messages, [entries(1, 5000)]);
        assert!(taken.bytes > 5000);
    }
}
