//! Raft, chapter by chapter.
//!
//! A group of servers keeps copies of one log. As long as a majority of them is up and can talk,
//! the log grows; and no entry that was ever reported committed is lost or changed, whatever
//! crashes, delays and restarts happen. Raft (Ongaro & Ousterhout, "In Search of an Understandable
//! Consensus Algorithm", extended version; cited here as *paper*, and Ongaro's thesis as
//! *dissertation*) reaches this by electing one leader and letting only it extend the log.
//!
//! Read the chapters in this order; each begins with the problem, then what can go wrong, then the
//! rule, then the code:
//!
//! 1. [`state`] — figure 2's state, and the one door through which everything comes in.
//! 2. [`election`] — how a leader is chosen, and why there is never a second one in its term.
//! 3. [`replication`] — how the leader makes other logs equal to its own.
//! 4. [`progress`] — what it believes of each follower meanwhile.
//! 5. [`safety`] — when an entry is committed, which is subtler than it looks.
//! 6. [`membership`] — who has a vote, since when, and how that changes.
//! 7. [`snapshot`] — how the log stays short, and what a follower gets that needs what is gone.
//! 8. [`reads`] — how to answer a read without writing to the log, and yet never a stale one.
//! 9. [`transfer`] — how a leader hands over.
//!
//! Beside them: [`message`] (what is said), [`intake`] (what is refused), [`log`] (the log as terms
//! and a cached tail), [`durability`] (what the disk has), [`applying`] (what the state machine
//! has), [`quorum`] (majorities) and [`canonical`] (what a model checker may take for the same).
//!
//! Each chapter ends with what breaks when its rule is removed. The stories are golden scripts in
//! `tests/raft/scripts`; the bugs are exhibits of the [`museum`](crate::museum), which the
//! simulator finds and tells: `kvctl sim --bug NAME`.
//!
//! Two things differ from the paper's figure 2. Requests and replies are separate messages, because
//! a reply can be lost as well as a request. And storage takes time: a write is asked for and later
//! reported done, and every promise to another server waits for the write that it rests on, while
//! nothing else does (dissertation §10.2.1).

pub mod applying;
pub mod canonical;
pub mod durability;
pub mod election;
pub mod intake;
pub mod log;
pub mod membership;
pub mod message;
pub mod progress;
pub mod quorum;
pub mod reads;
pub mod replication;
pub mod safety;
pub mod snapshot;
pub mod state;
pub mod transfer;

pub use message::{AppendResult, Message, ReadContext, SnapshotResult};
pub use state::{HardState, Raft};
