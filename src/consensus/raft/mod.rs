//! Raft, chapter by chapter.
//!
//! A group of servers keeps copies of one log. As long as a majority of them is up and can talk,
//! the log grows; and no entry that was ever reported committed is lost or changed, whatever
//! crashes, delays and restarts happen. Raft (Ongaro & Ousterhout, "In Search of an Understandable
//! Consensus Algorithm", extended version; cited here as *paper*, and Ongaro's thesis as
//! *dissertation*) reaches this by electing one leader and letting only it extend the log.
//!
//! # The course
//! Read the chapters in this order; each begins with the problem, then what can go wrong, then the
//! rule, then the code, and ends with what breaks when its rule is removed:
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
//! # Stories and bugs
//! The names in `code` at a chapter's end are *stories*: golden scripts in `tests/raft/scripts`,
//! each a few servers on a table, every message and every write moved by hand. In them, `3/2 x=1`
//! is the command `x=1` at index 3, of term 2, and `disk [1 2 2]` are the terms of a log's entries;
//! `last 3` and `commit 2` are indexes. The first leader leads term 2: term 1 has none, but one
//! entry, `1/1`, the members that a cluster is born with.
//! A story whose name begins with *museum* puts a bug back (an exhibit of the
//! [`museum`](crate::museum)) and ends with `BROKEN:` and the property that broke, or with a group
//! that goes nowhere. The simulator finds such bugs by chance, in whole clusters, and tells what
//! happened: `kvctl sim --bug figure-8`.
//!
//! Begin with the usual life: `a_leader_is_elected`, `a_split_vote_is_settled_by_time`,
//! `entries_are_replicated_and_committed`, `a_minority_commits_nothing`,
//! `all_restart_and_nothing_is_lost`.
//!
//! What the paper claims, section by section, `tests/paper` asks of one server at a time.
//!
//! # Where this differs from the paper
//! - Requests and replies are separate messages, because a reply can be lost as well as a request.
//! - Storage takes time: a write is asked for and later reported done, and every promise to another
//!   server waits for the write that it rests on, while nothing else does (dissertation §10.2.1).
//! - A server asks before it raises its term (pre-vote), who hears a leader is loyal to it, and a
//!   leader that hears no quorum steps down ([`election`]). The dissertation has all three as
//!   options; each alone has holes that the others fill, so here they are always on.
//! - Members change by joint consensus, as in the paper, not one at a time as in the dissertation;
//!   and a change waits for the term's first commit all the same ([`membership`]).
//! - A snapshot goes in chunks that are acknowledged and resume, and carries its configuration
//!   inside, not in each message ([`snapshot`]).
//! - Nothing ticks: a core says when it next wants to be woken.

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
