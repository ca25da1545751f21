//! The history of a store: who asked for what, when, and what they were told. JSON Lines.
//!
//! # The format
//! ```json
//! {"process":3,"type":"invoke","f":"write","key":"k","value":"a","time":1200,"node":2}
//! {"process":3,"type":"ok","f":"write","key":"k","time":1900,"rev":17}
//! ```
//! A *process* does one thing after the other: a line with `invoke`, and then one with `ok` (it is
//! done), `fail` (it certainly had no effect) or `info` (nobody knows whether it took effect, or
//! will). A process whose operation ended in `info` never returns: whoever goes on after that is a
//! new process. What is under way when the file ends ends in `info`, too.
//!
//! | `f` | `value` |
//! |---|---|
//! | `read` | in the `ok`: the string that was read, `null` for an absent key |
//! | `write` | in the `invoke`: a string |
//! | `cas` | in the `invoke`: `[old, new]`, each a string, or `null` for absent |
//! | `append` | in the `invoke`: the string that is added to the end; absent is as good as empty |
//! | `delete` | none |
//! | `txn` | a list of steps that take effect together: see below |
//! | `lease` | `["grant", milliseconds]`, `["keep-alive"]` or `["revoke"]`; the key is its name |
//! | `lock` | `["acquire", holder]` or `["release", holder]`; the key is the lock's name |
//! | `watch` | what was asked for, and in the `ok` what was seen: see below |
//!
//! A `cas` that found something else is `fail` with `"error":"mismatch"`. That is an answer, too:
//! at some moment meanwhile the value was *not* `old`.
//!
//! `time` (nanoseconds), `node` and `rev` (of an `ok`: the store's revision) may be left out, and
//! fields that nobody knows are skipped. The order of the *lines* is the order in which things
//! happened; times are for people, and may not go back. Keys and values are UTF-8. Leases apart:
//! how long they must live is judged by `time`.
//!
//! ## Transactions
//! (Each of these on one line.)
//! ```json
//! {"process":1,"type":"invoke","f":"txn",
//!  "value":[["check","a","1"],["read","b"],["write","a","2"]]}
//! {"process":1,"type":"ok","f":"txn",
//!  "value":[["check","a","1"],["read","b",null],["write","a","2"]]}
//! ```
//! Steps are `["check",key,value]` (`null`: absent), `["read",key]` (in the `ok` with what it
//! found), `["write",key,string]`, `["append",key,string]` and `["delete",key]`. Checks stand
//! first, and see what was there before; each other step sees those before it. If a check did not
//! hold, the whole is `fail` with `"error":"mismatch"`. A `txn` has no `key`.
//!
//! ## Leases
//! `"lease":NAME` beside a `write`, a `cas`, an `append` or a `lock` attaches the key to a lease:
//! it goes when the lease goes. Each other write of the key detaches it. A lease is granted once;
//! another one has another name. To keep alive or revoke a
//! lease that is gone is `fail` with `"error":"mismatch"`; to attach something to it is a plain
//! `fail`. The `ok` of a grant may say another time than was asked for.
//!
//! ## Locks
//! A lock is a key with the holder's name in it: to acquire it is to write that while the key is
//! absent, to release it is to delete it while it is one's own (else `mismatch`). Holders' names
//! are unique. The `rev` of an acquired lock is its fencing token.
//!
//! A lock of a service (etcd's `v3lockpb.Lock`) is written down the same way, under a name that no
//! `watch` covers: what keys the service makes of it is not told. To acquire it may take as long as
//! others hold it; a release whose answer does not say whether the lock was its own until then is
//! `info`.
//!
//! ## Watches
//! ```json
//! {"process":9,"type":"invoke","f":"watch","key":"a/","value":{"from":7,"prefix":true}}
//! {"process":9,"type":"ok","f":"watch","key":"a/",
//!  "value":{"events":[[8,"a/x","1"],[9,"a/x",null]],"upto":9}}
//! ```
//! It was asked for changes from the revision `from` on, of the key or of all that begin with it,
//! and from there to the revision `upto` these are *all* that it was told: each with its revision,
//! its key, and its value (`null`: it was deleted). Whoever watches for long writes a `watch` now
//! and then, and goes on with the next from `upto` + 1 on.
//!
//! # Bounds
//! A line has at most [`MAX_LINE`] bytes and a history at most [`MAX_OPERATIONS`] operations.

mod call;
mod count;
mod event;
mod reader;
mod types;

pub use count::Count;
pub use event::{Event, Type};
pub use reader::{BadLine, Reader};
pub use types::*;

/// Bytes of a line, without its end.
pub const MAX_LINE: usize = 1 << 20;
/// Operations of a history.
pub const MAX_OPERATIONS: usize = 10_000_000;
/// What can be done.
pub const FUNCTIONS: [&str; 9] =
    ["read", "write", "cas", "append", "delete", "txn", "lease", "lock", "watch"];
