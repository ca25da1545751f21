//! The record of a node's core: what it was told, step by step, so that it can be lived again.
//!
//! # The problem
//! Something happened in a cluster last night. Its nodes' logs tell what each thought of note;
//! what a core *saw* and *did* they do not. But a core is a value ([`Consensus`]): the same state
//! and the same inputs give the same effects, wherever and whenever. So it is enough to keep where
//! it stood once, and each input since; [`replay()`] does the rest, on the very code that a node,
//! the simulator and a test by hand run.
//!
//! # What can go wrong
//! - *The core is not as deterministic as it says*, or a record is of another build's core: the
//!   replay would tell a life that nobody lived. So each step's effects are recorded too, as a
//!   [`digest`], and now and then the digest of the whole state; the replay compares all of them,
//!   and names the first step that differs. A file names the core's very source, and another's is
//!   refused.
//! - *A record grows for ever.* It is a ring of files, of which the oldest go. So each file begins
//!   with a checkpoint, the whole core, and can be replayed without the others.
//! - *Its node is killed.* The last moments may be missing, and the last block be half there: a
//!   replay says so, and goes as far as it can.
//! - *The core itself ends the node*, by a broken invariant: the most interesting step of all. Its
//!   input is recorded although no effects follow; the replay meets the same end.
//! - *Steps are lost*, because a disk is full or slow (a record must never hold up consensus). The
//!   next file begins with a checkpoint and says how many steps came before it: what is missing
//!   is known exactly.
//!
//! # The format
//!
//! ```text
//! <sequence, 20 digits>.rec:
//!   "kvrafrec" · format version (u32) · block: Header · block: records… · block: records… · …
//!
//! block:    length (u32) · CRC-32C of the bytes (u32) · bytes        little-endian throughout
//! records:  Checkpoint, then for each step: Step · Effects; now and then: State; at the end: End
//! ```
//!
//! [`Header`] and [`Record`] are written by `postcard`, whose format is specified and stable: what
//! serde sees, numbers as varints, an enum's variant by its place. A change to what a core's types
//! hold changes the core's source, and with it [`CORE`]; a change of the rest [`FORMAT`].
//!
//! # The caveats
//! A record holds what clients wrote, as the log does. A core's moments are its node's own; they
//! are told as times of day by the last state that was noted before, so a clock that runs wrong on
//! purpose makes them wrong by what it gained since.
//!
//! [`Consensus`]: crate::consensus::Consensus

pub mod digest;
mod format;
mod reader;
mod replay;
#[cfg(test)]
mod tests;

pub use format::{CORE, FORMAT, Header, MAX_FILE, Record, State, begin_file, block, write_record};
pub use reader::{Damage, Reader, Unreadable};
pub use replay::{Divergence, Ending, Replayed, Seen, replay};
