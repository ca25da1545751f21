//! What goes into a replica, what comes out, and what replicas say to each other.

use std::time::Duration;

use super::{Request, Response};
use crate::consensus::Configuration;
use crate::types::{NodeId, Ticket};

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
    Client { ticket: Ticket, request: Request, timeout: Duration },
    /// The client has gone: nobody waits for `ticket` any more.
    Forget { ticket: Ticket },
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
    /// The members, or where they listen, are now these.
    Configuration(Configuration),
    /// `from` sent something that no correct member sends.
    PeerRejected { from: NodeId, why: String },
}

/// What replicas say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerMessage<M> {
    /// Between the consensus cores.
    Consensus(M),
    /// A client's request, handed on to the leader, who answers once. Nobody sends it twice.
    Relay { ticket: Ticket, request: Request, timeout: Duration },
    /// The answer to a relay.
    RelayReply { ticket: Ticket, response: Response },
}
