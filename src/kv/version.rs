//! The state machine's version: part of the state, raised by an entry of the log.
//!
//! # The problem
//!
//! A cluster is updated one node at a time. For a while old and new programs apply the same log,
//! and they must make the same state of it. So a new behaviour must not begin when a program
//! *starts* that has it, nor when some clock says so: it must begin at the same entry everywhere.
//!
//! # The rule
//!
//! The version is replicated state. [`Operation::RaiseVersion`](super::Operation::RaiseVersion)
//! raises it by exactly one, and every behaviour that came later asks for it. Any other raise
//! (back, to the same, over one) is refused, alike on every replica, so two leaders that both
//! propose it raise it once. Nothing lowers it.
//!
//! A leader proposes a raise only once every member has told it lately that its program supports
//! the next version. Should a member all the same meet a raise that its program does not know (it
//! was exchanged for an older one meanwhile), it cannot go on: whatever it did, the others would do
//! something else. It says so ([`Machine::outgrown`](super::Machine::outgrown)) and its node stops,
//! until it is started with a program that knows more.
//!
//! # The versions
//!
//! 1. Sessions are bounded in number and bytes; the least recently used ones go.
//! 2. Besides, a session goes when it was not used for
//!    [`idle_entries`](super::limits::SessionLimits::idle_entries) entries of the log: what one
//!    burst of clients left behind does not stay until as many others came. Counted in entries, not
//!    in time, because replicas share a log and no clock.
//! 3. Keys have a past: etcd's data model. There are transactions, leases, reads at a revision of
//!    the past, a log of changes, and compaction. A command of it that is applied before is
//!    refused, in the words of a program that does not know it. Queries are no part of the log, and
//!    are answered as well as can be: of the present, with any filter; there are no leases.
//! 4. There are alarms, which make all replicas refuse what takes room, and members announce what
//!    they are called and where they serve clients ([`roster`](super::roster)). Compaction
//!    drops, besides, what was replaced at the very revision that it goes to.

/// Of a machine before its log says anything else.
pub const FIRST_VERSION: u16 = 1;

/// The newest that this program knows.
pub const LATEST_VERSION: u16 = 4;

/// From this version on, sessions that are not used expire.
pub(super) const IDLE_SESSIONS_EXPIRE: u16 = 2;

/// From this version on, there is a history, and whatever builds on it.
pub const KEYS_HAVE_A_PAST: u16 = 3;

/// From this version on, there are alarms and announcements.
pub const MEMBERS_ARE_KNOWN: u16 = 4;
