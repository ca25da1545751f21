//! Faults that people inject on purpose: how they are asked for, what they come to, and when they
//! end.
//!
//! ```text
//!   kvctl ──► Wish ──► supervisor: resolve (who is the leader now?) ──► Fault, in force until…
//!  (grammar)            │                                                 │
//!                       └── chaos status, heal, receipts      for each node its Table
//!                                                                         │
//!                               node: policy of each of its links, now ◄──┘
//! ```
//!
//! # The problem
//!
//! A fault that outlives its purpose is worse than none: somebody else finds a cluster that
//! misbehaves for no reason. So a fault is a *lease*: it has a number, somebody who wanted it, a
//! beginning, and mostly an end.
//!
//! # The rules
//!
//! - *Who enforces.* What is wrong with the link from i to j is enforced by i, where the message
//!   leaves ([`link`](crate::link)). So each node needs to know only its own part of every fault,
//!   its [`Table`].
//! - *Who breaks a node.* Its clock and its disk misbehave in the node itself, which is told in the
//!   same table. Its process is stopped, killed or starved by the supervisor ([`NodeFault`]).
//! - *Who ends it.* The node itself, by its own clock, when the time of a fault is over: the
//!   supervisor may be gone by then. `heal` ends it earlier.
//! - *Who remembers.* The supervisor, in its state file, and the node, in `faults.json` in its
//!   directory, which is written before the node runs: so it comes up inside its partition.
//! - *Who is meant.* Roles (`leader`, `followers`, `majority`, `minority`) are looked up once, when
//!   the fault begins: a partition that followed the leader around would be another fault.
//!
//! Faults add up: a link that two of them concern is cut if either cuts it, as slow as both make
//! it together, and so on ([`Table`]).
//!
//! Nothing here knows a clock or a socket. Time comes in as Unix milliseconds, because faults
//! outlive processes.

mod clock;
mod clock_fault;
mod fault;
mod grammar;
mod kind;
mod node_fault;
mod shape;
mod table;
mod who;

pub use clock::Clock;
pub use clock_fault::ClockFault;
pub use fault::{Fault, FaultId, Flap, Healed, Injection, LinkWish, Links, Standing, View, Wish};
pub use grammar::{Named, Pointed, groups, links};
pub use kind::{HIDDEN, LINK_KINDS, NODE_KINDS};
pub use node_fault::NodeFault;
pub use table::{Table, TableFault};
pub use who::Who;

/// A link in one direction: from, to.
pub type Directed = (crate::types::NodeId, crate::types::NodeId);
