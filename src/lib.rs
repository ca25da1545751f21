//! # kvraft
//!
//! A replicated key-value store on Raft that a person starts with one command on one machine,
//! breaks on purpose, and then gets proof of what held.
//!
//! # Reading order
//! An afternoon, from the outside in:
//!
//! 1. `bin/` — three thin mains: `kvctl` (what people type), `kvsupd` (starts and watches the
//!    nodes of a cluster), `kvnode` (one node).
//! 2. [`node`] — the shell around a replica: sockets, a clock, a disk thread. It decides nothing.
//! 3. [`replica`] — consensus, log and state machine composed into one deterministic value.
//! 4. [`consensus`] — the boundary: what a consensus algorithm is told, and what it answers.
//! 5. [`consensus::raft`] — the course: Raft, chapter by chapter.
//! 6. [`storage`] — the log on disk, and what a crash may do to it.
//! 7. [`kv`] — the state machine, and how a retried write is applied once.
//! 8. [`link`] — what may happen to a message on its way; [`chaos`] — who made it happen, and until
//!    when.
//! 9. [`record`] — a node's life, kept, and lived again.
//!
//! Beside them stand the toolkit ([`supervisor`], [`control`], [`observe`], [`cli`]), the
//! conversations ([`rpc`], [`client`], [`grpc`], [`etcd_client`]) and [`testing`], a real cluster for
//! tests, this project's and yours.
//!
//! # The house
//! An arrow only ever points down: a layer uses those below it and never those above. Whatever
//! lies at or below [`replica`] holds no clock, thread, socket or global randomness (the real disk
//! aside); a test reads the imports and enforces it.
//!
//! ```text
//!   bin/
//!   cli
//!   testing   trial
//!   supervisor
//!   node   client   etcd_client   control   observe
//!   rpc   grpc
//!   sim
//!   replica   verify   chaos   scenario
//!   record
//!   consensus   kv   storage   link
//!   codec   schema   types   units   retention   config   museum
//! ```
//!
//! # Glossary
//! The field's words, as the Raft paper and etcd use them.
//!
//! - **Term** — Raft's logical clock: a number, at most one leader each ([`types::Term`]).
//! - **Index** — an entry's place in the log, from 1 ([`types::LogIndex`]).
//! - **Entry** — a command, a configuration or nothing (a *no-op*), with its term and index.
//! - **Committed** — on a majority's disks, in such a way that no later leader can lack it. *Commit
//!   index*: the last entry known to be.
//! - **Applied** — executed by the state machine; only committed entries are.
//! - **Hard state** — term and vote: what must be on disk before a promise leaves.
//! - **Match index, next index** — what a leader knows of a follower, and what it sends next.
//! - **Quorum** — a majority of the voters; any two share a member.
//! - **Voter, learner** — a member that counts towards quorums; one that only receives the log.
//! - **Linearizable** — as if there were one copy: a read sees every write acknowledged before it
//!   began. **Stale** — one replica's state as it is, possibly old.
//! - **Revision** — the version of the whole key space; each change to keys consumes one, and a
//!   transaction one for all that it changes.
//! - **Compaction** — of keys: what was before a revision is forgotten, and can neither be read nor
//!   watched any more. (Of the log: what a snapshot covers goes.)
//! - **Lease** — of keys: they go when it ends. (Of a leader: the time in which nobody else can
//!   lead.)
//! - **Session** — a client's identity for exactly-once writes.
//! - **Segment** — one file of the log. **Group commit** — many writes, one fdatasync.
//! - **Tear** — the end of a log that a crash cut off: never durable, never acknowledged.
//!   **Corruption** — damage to what was durable.

pub mod chaos;
pub mod cli;
pub mod client;
pub mod codec;
pub mod config;
pub mod consensus;
pub mod control;
pub mod etcd_client;
pub mod grpc;
pub mod kv;
pub mod link;
pub mod museum;
pub mod node;
pub mod observe;
pub mod quota;
pub mod record;
pub mod replica;
pub mod retention;
pub mod rpc;
pub mod scenario;
pub mod schema;
pub mod sim;
pub mod storage;
pub mod supervisor;
pub mod testing;
pub mod trial;
pub mod types;
pub mod units;
pub mod verify;
