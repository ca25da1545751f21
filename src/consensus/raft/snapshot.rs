//! Snapshots: a log that does not grow for ever (§7; dissertation chapter 5).
//!
//! # The problem
//! The log grows with every command, while the state that the commands amount to may stay small.
//! Without an end, disks fill up and a restart replays years. So each server writes the *state* as
//! of some index to disk from time to time, and forgets the entries up to there.
//!
//! # What can go wrong
//! - A follower needs an entry that the leader has forgotten. Then the leader sends its snapshot
//!   instead.
//! - The snapshot is large, and the connection breaks, or the leader's other followers wait. So it
//!   goes in bounded chunks, one at a time, each acknowledged; after a break the transfer goes on
//!   where it stopped.
//! - A snapshot that was delayed arrives late:
//!   1. S1 sends S2 a snapshot of 1–100. The network holds it back.
//!   2. S2 gets there otherwise, and applies and acknowledges entries 101–120.
//!   3. The snapshot arrives. If S2 installed it, entries 101–120 would be gone, and its state
//!      would go back in time.
//!
//!   So a snapshot that ends at or before the commit index changes nothing.
//! - The follower's log does not end before the snapshot's index, but *differs* there: its entries
//!   are of a deposed leader. To keep what comes after the snapshot would be to keep a suffix that
//!   does not continue it. So the suffix stays only if the log has the snapshot's very last entry,
//!   by index and term (figure 13, step 6).
//! - Entries are forgotten before the snapshot that covers them is on disk, and the power fails:
//!   there is a gap that nothing fills.
//! - The snapshot holds an entry that the server's own disk does not have yet. After a crash its
//!   log would end before its state.
//!
//! # The rule
//! A server takes a snapshot of what it has applied *and* what is durable in its log. Once the
//! snapshot is durable under its name, its mark goes into the log; once the mark is durable, the
//! entries before it may go. Some are kept all the same, for followers that are only a little
//! behind: sending a few entries beats sending the whole state.
//!
//! ```text
//!   state machine ──(clone)──► snapshot.tmp ──sync, rename──► mark in the log ──sync──► compaction
//!
//!   leader                              follower
//!   InstallSnapshot 100/3, bytes 0– ──► writes…           ┐
//!   ◄────── has 65536 bytes ────────────                  │ again and again
//!   InstallSnapshot …, the end ────────► verifies, names  ┘
//!                                        mark + log reset, one write
//!   ◄────── has all of 100 ─────────────
//! ```
//!
//! # Caveats
//! A leader begins to send only to a follower that answers; a dead one would keep the snapshot's
//! file, and the log behind it, from being removed.
//!
//! A follower that crashes loses the chunks that it has, says so, and gets them anew. The leader
//! cannot tell that from an answer that is merely old, so it goes back in either case; and believes
//! any later answer up to the most that it ever sent, or an old answer would stop the transfer.
//!
//! Figure 13 sends the members with each chunk; here they are part of the snapshot.
//!
//! # When the rule is removed
//! - The suffix: `a_snapshot_replaces_a_diverged_log`; `museum_snapshot_keeps_suffix` goes on with
//!   entries of a deposed leader.
//! - Never back: `a_late_snapshot_changes_nothing`; `museum_old_snapshot_installed`.
//! - Chunks: `a_snapshot_goes_on_after_a_break`,
//!   `a_late_snapshot_answer_does_not_stop_the_transfer`. The tail:
//!   `the_log_keeps_a_tail_for_slow_followers`.
//! - Durable first: the museum's `compaction-gap` and `snapshot-ahead-of-state` need a disk and a
//!   state machine; the simulator has them.

use serde::{Deserialize, Serialize};

use super::applying::Applying;
use super::message::{Message, SnapshotResult};
use super::progress::{Progress, State};
use super::state::{Raft, RoleState};
use crate::consensus::{Chunk, Effect, SnapshotMark};
use crate::museum::Bug;
use crate::types::{Instant, LogIndex, NodeId, Seq, Term};

/// A snapshot on its way to a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sending {
    pub index: LogIndex,
    term: Term,
    /// The follower has so many bytes of it.
    bytes: u64,
    /// The chunk from `bytes` on: where it is.
    chunk: Stage,
    /// Since when it is there.
    pub(super) since: Instant,
}

/// Where the next chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Stage {
    /// Being read from the disk.
    Reading,
    /// Under way to the follower.
    Sent,
}

/// A snapshot on its way from a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Receiving {
    from: NodeId,
    index: LogIndex,
    term: Term,
    /// So many bytes are written.
    bytes: u64,
    /// A chunk is being written, or the whole is being verified.
    busy: bool,
}

/// Taking snapshots, and forgetting what they cover.
impl Raft {
    /// A snapshot taken here is durable under its name.
    pub(super) fn snapshot_saved(&mut self, index: LogIndex) {
        assert!(index <= self.applying.applied, "a snapshot of what is not applied");
        assert!(index <= self.durability.index, "a snapshot of what is not durable");
        if index <= self.log.snapshot().index {
            return;
        }
        let mark = self.log.cover(index);
        let draft = self.draft();
        draft.snapshot = Some(mark);
        let seq = draft.seq;
        let keep = self.config.keep_entries;
        self.compactions.push_back((seq, LogIndex(index.0.saturating_sub(keep))));
    }

    /// What waited for the write `seq` may be forgotten, as far as no snapshot on its way to a
    /// follower will need it.
    pub(super) fn compact(&mut self, seq: Seq) {
        while let Some((_, to)) = self.compactions.pop_front_if(|(after, _)| *after <= seq) {
            let sending = self.leading().into_iter().flat_map(|l| l.progress.values());
            let needed = sending.filter_map(Progress::snapshot).min().unwrap_or(to);
            let to = to.min(needed);
            // A log that was reset holds none of them, but its files may.
            if to > LogIndex(0) {
                self.log.compact(to);
                self.effect(Effect::Compact { to });
            }
        }
    }
}

/// The leader's side.
impl Raft {
    /// The follower `id` needs entries that are gone: it gets the snapshot, if it answers at all.
    pub(super) fn begin_snapshot(&mut self, now: Instant, id: NodeId) {
        let patience = self.config.election_timeout.end;
        let Raft { role: RoleState::Leader(leader), log, .. } = self else { return };
        let Some(progress) = leader.progress.get_mut(&id) else { return };
        let SnapshotMark { index, term, .. } = *log.snapshot();
        if progress.last_heard.is_none_or(|heard| now.since(heard) > patience) {
            return;
        }
        let chunk = Stage::Reading;
        progress.state = State::Snapshot(Sending { index, term, bytes: 0, chunk, since: now });
        self.read_chunk(id);
    }

    /// Asks the disk for the next chunk for `id`.
    fn read_chunk(&mut self, to: NodeId) {
        let max_bytes = self.config.snapshot_chunk_bytes;
        if let Some((_, sending)) = self.sending(to) {
            let (index, offset) = (sending.index, sending.bytes);
            self.effect(Effect::ReadSnapshot { to, index, offset, max_bytes });
        }
    }

    fn sending(&mut self, to: NodeId) -> Option<(&mut LogIndex, &mut Sending)> {
        let progress = self.leading_mut()?.progress.get_mut(&to)?;
        let Progress { state: State::Snapshot(sending), match_index, .. } = progress else {
            return None;
        };
        Some((match_index, sending))
    }

    /// The disk has read a chunk.
    pub(super) fn snapshot_read(
        &mut self,
        now: Instant,
        to: NodeId,
        (index, offset): (LogIndex, u64),
        chunk: Option<Chunk>,
    ) {
        let term = self.term();
        let Some((_, sending)) = self.sending(to) else { return };
        if (sending.index, sending.bytes, sending.chunk) != (index, offset, Stage::Reading) {
            return;
        }
        let Some(Chunk { data, done }) = chunk else {
            // It was removed: there is a newer one.
            self.restart_from_probe(to);
            return;
        };
        sending.chunk = Stage::Sent;
        sending.since = now;
        let snapshot_term = sending.term;
        let snapshot_index = index;
        self.send(
            to,
            Message::InstallSnapshot { term, snapshot_index, snapshot_term, offset, data, done },
        );
    }

    fn restart_from_probe(&mut self, id: NodeId) {
        let Some(leader) = self.leading_mut() else { return };
        if let Some(progress) = leader.progress.get_mut(&id) {
            progress.probe_from(progress.match_index.next());
        }
    }

    /// With each heartbeat: sends again what nobody answered, gives up on who is silent.
    pub(super) fn look_after_snapshots(&mut self, now: Instant) {
        let patience = self.config.election_timeout.end;
        let Some(leader) = self.leading_mut() else { return };
        let mut again = Vec::new();
        for (id, progress) in &mut leader.progress {
            let silent = progress.last_heard.is_none_or(|heard| now.since(heard) > patience * 4);
            let State::Snapshot(sending) = &mut progress.state else { continue };
            if silent {
                progress.probe_from(progress.match_index.next());
            } else if sending.chunk == Stage::Sent && now.since(sending.since) > patience {
                sending.chunk = Stage::Reading;
                sending.since = now;
                again.push(*id);
            }
        }
        again.into_iter().for_each(|id| self.read_chunk(id));
    }

    /// A follower says how far it has come (figure 13).
    pub(super) fn install_snapshot_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        index: LogIndex,
        result: SnapshotResult,
    ) {
        let (own_term, timeout) = (self.term(), self.config.election_timeout.end);
        let Some(leader) = self.leading_mut().filter(|_| term == own_term) else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.last_heard = Some(now);
        match result {
            SnapshotResult::Installed => {
                progress.matched(now, index, timeout);
                self.advance_commit(now);
                self.replicate_to(now, from);
            }
            SnapshotResult::Received { bytes } => {
                let Some((_, sending)) = self.sending(from) else { return };
                // What it had already is an old answer; the one to this chunk is still to come.
                // Anything else is believed: it may have more than was sent, from this leader's
                // last try or its last term.
                let answers = sending.index == index && sending.chunk == Stage::Sent;
                if answers && bytes != sending.bytes {
                    sending.bytes = bytes;
                    sending.chunk = Stage::Reading;
                    sending.since = now;
                    self.read_chunk(from);
                }
            }
        }
    }
}

/// The follower's side.
impl Raft {
    /// A leader sends a part of its snapshot (figure 13, InstallSnapshot RPC, receiver).
    pub(super) fn install_snapshot(&mut self, now: Instant, from: NodeId, message: Message) {
        let Message::InstallSnapshot {
            term,
            snapshot_index: index,
            snapshot_term,
            offset,
            data,
            done,
        } = message
        else {
            return;
        };
        if term < self.term() {
            // Its time is over; this server's term in the reply tells it so.
            self.reply_received(from, index, 0);
            return;
        }
        self.follow(now, term, Some(from));
        let has_it = self.log.term(index) == Some(snapshot_term);
        if index <= self.commit_index && !self.has(Bug::OldSnapshotInstalled) || has_it {
            // What a snapshot covers is committed.
            self.commit_up_to(index);
            self.reply_installed(from, index);
            return;
        }
        let known = Receiving { from, index, term: snapshot_term, bytes: 0, busy: false };
        let receiving = match &mut self.receiving {
            Some(it) if (it.from, it.index, it.term) == (from, index, snapshot_term) => it,
            other => other.insert(known),
        };
        if receiving.busy {
            return;
        }
        if offset != receiving.bytes {
            let bytes = receiving.bytes;
            self.reply_received(from, index, bytes);
            return;
        }
        receiving.busy = true;
        let chunk = Chunk { data, done };
        self.effect(Effect::WriteSnapshot { index, term: snapshot_term, offset, chunk });
    }

    fn reply_received(&mut self, to: NodeId, snapshot_index: LogIndex, bytes: u64) {
        let result = SnapshotResult::Received { bytes };
        let term = self.term();
        self.send_durably(to, Message::InstallSnapshotReply { term, snapshot_index, result }, None);
    }

    /// Tells the leader, once it is true on disk.
    fn reply_installed(&mut self, to: NodeId, snapshot_index: LogIndex) {
        let (term, result) = (self.term(), SnapshotResult::Installed);
        let awaited = self.durability.awaited_for(snapshot_index);
        let reply = Message::InstallSnapshotReply { term, snapshot_index, result };
        self.send_durably(to, reply, awaited);
    }

    /// A chunk is written.
    pub(super) fn snapshot_written(&mut self, index: LogIndex, bytes: u64) {
        let Some(receiving) = self.receiving.as_mut().filter(|it| it.index == index) else {
            return;
        };
        receiving.bytes = bytes;
        receiving.busy = false;
        let from = receiving.from;
        self.reply_received(from, index, bytes);
    }

    /// What came is not in order: from the beginning.
    pub(super) fn snapshot_rejected(&mut self, index: LogIndex) {
        if let Some(receiving) = self.receiving.take_if(|receiving| receiving.index == index) {
            self.reply_received(receiving.from, index, 0);
        }
    }

    /// A whole snapshot is there, in order and durable: the state becomes what it holds, and the
    /// log goes on from it (figure 13, steps 5–8).
    pub(super) fn snapshot_received(&mut self, mark: SnapshotMark) {
        let expected = |it: &mut Receiving| (it.index, it.term) == (mark.index, mark.term);
        let Some(Receiving { from, index, .. }) = self.receiving.take_if(expected) else { return };
        if index <= self.commit_index && !self.has(Bug::OldSnapshotInstalled) {
            self.reply_installed(from, index);
            return;
        }
        let continues = self.log.term(index) == Some(mark.term)
            || self.has(Bug::SnapshotKeepsSuffix) && index <= self.log.last_index();
        let draft = self.draft();
        draft.snapshot = Some(mark.clone());
        draft.discard_log = !continues;
        let seq = draft.seq;
        if continues {
            self.log.cover(index);
        } else {
            // Until the mark is durable, the disk has what is committed of the old log, no more.
            self.durability.truncate_from(self.commit_index.next());
            self.log.reset(mark);
        }
        self.commit_index = index;
        self.applying = Applying::starting_from(index);
        self.compactions.push_back((seq, index));
        self.effect(Effect::InstallSnapshot { index });
        self.reply_installed_after(from, index, seq);
        self.apply_committed();
    }

    fn reply_installed_after(&mut self, to: NodeId, snapshot_index: LogIndex, seq: Seq) {
        let (term, result) = (self.term(), SnapshotResult::Installed);
        let reply = Message::InstallSnapshotReply { term, snapshot_index, result };
        self.send_durably(to, reply, Some(seq));
    }
}
