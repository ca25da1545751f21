//! What goes into a replica, what comes out, and what replicas say to each other.

use std::time::Duration;

use super::{Request, Response};
use crate::consensus::{Change, Chunk, Configuration, Entry};
use crate::types::{LogIndex, NodeId, Term, Ticket, TraceContext};

/// What happened, seen from outside a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<M> {
    /// Time has passed; a deadline may have come.
    Elapsed,
    /// The disk has completions waiting.
    Disk,
    /// A message arrived; the transport vouches for `from`.
    Peer { from: NodeId, message: PeerMessage<M> },
    /// A client asks. It is answered once, by [`Output::Reply`], within about `timeout`.
    /// `trace`: what it is a part of, if somebody follows its path.
    Client { ticket: Ticket, request: Request, timeout: Duration, trace: Option<TraceContext> },
    /// The client has gone: nobody waits for `ticket` any more.
    Forget { ticket: Ticket },
    /// An operator asks. Answered once, by [`Output::OrderDone`], within about `timeout`.
    Order { ticket: Ticket, order: Order, timeout: Duration },
    /// Stand for election now.
    Campaign,
    /// Take no new request; those under way are answered.
    Stop,
}

/// What must be done outside a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<M> {
    /// Hand to the link to `to`. It may be lost.
    Send { to: NodeId, message: PeerMessage<M> },
    /// Answer a client.
    Reply { ticket: Ticket, response: Response },
    /// Answer an operator.
    OrderDone { ticket: Ticket, result: OrderResult },
    /// The members, or where they listen, are now these.
    Configuration(Configuration),
    /// `from` sent something that no correct member sends.
    PeerRejected { from: NodeId, why: String },
}

/// What an operator asks of one replica. It is not handed on: the leader must be asked itself,
/// where only it can do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Hand the leadership to `to`, or to whoever is furthest. Of the leader.
    Transfer { to: Option<NodeId> },
    /// Change who the members are. Of the leader.
    ChangeMembership { changes: Vec<Change> },
    /// Take a snapshot now, and let the log be compacted.
    TakeSnapshot,
}

/// What became of an [`Order`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderResult {
    /// It is done; says what is now, for people.
    Done(String),
    /// Certainly no effect. If only the leader can do it, `leader` is who leads, if that is known.
    Refused { leader: Option<NodeId>, message: String },
    /// It was begun; whether it takes effect is unknown.
    Unknown(String),
}

/// What replicas say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerMessage<M> {
    /// Between the consensus cores.
    Consensus(M),
    /// A client's request, handed on to the leader, who answers once. Nobody sends it twice.
    /// `term` is the one in which its receiver leads, as the sender knows.
    /// `trace`: the sender's part of the path, if somebody follows it.
    Relay {
        ticket: Ticket,
        term: Term,
        request: Request,
        timeout: Duration,
        trace: Option<TraceContext>,
    },
    /// The answer to a relay.
    RelayReply { ticket: Ticket, response: Response },
    /// The sender's state at `index`: see [`agreement`](super::agreement).
    StateHash { index: LogIndex, hash: u128 },
    /// The newest version of the state machine that the sender's program knows: see
    /// [`upgrade`](super::upgrade).
    Supports { version: u16 },
    /// The sender's entry at `index` is damaged; its term is known or not. Who has it?
    RepairRequest { index: LogIndex, term: Option<Term> },
    /// The answer to it.
    RepairReply { index: LogIndex, verdict: RepairVerdict },
    /// The sender's entry at `covers` is damaged, and compacted elsewhere. It wants what a snapshot
    /// that covers it is made of, from `offset` on: of the newest, or of the one that it has begun
    /// to receive.
    SnapshotRequest { covers: LogIndex, snapshot: Option<LogIndex>, offset: u64 },
    /// Some of a snapshot whose last entry is this.
    SnapshotReply { index: LogIndex, term: Term, offset: u64, chunk: Chunk },
}

/// What a replica has where another one's log is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RepairVerdict {
    /// This entry, undamaged.
    Entry(Entry),
    /// Certainly not such an entry: the log is undamaged there, and ends before it or has an entry
    /// of another term.
    Lacks,
    /// It is damaged here as well, or a snapshot covers it: up to `compacted_to`; zero without one.
    CannotTell { compacted_to: LogIndex },
}
