//! State: figure 2, and the one door through which everything comes in.
//!
//! # The problem
//! A server must remember some things across a crash and may forget others, and must do no more
//! than one thing at a time, or nobody could say what it would do next.
//!
//! # What can go wrong
//! 1. S1 votes for S2 in term 5 and crashes before the vote reaches its disk.
//! 2. S1 restarts, knows of no vote, and votes for S3 in the same term 5.
//! 3. S2 and S3 both have a majority: two leaders in one term, and two truths.
//!
//! # The rule
//! Figure 2's persistent state (the current term, the vote, the log) is on disk *before* any
//! message that rests on it leaves; term and vote are written as one record. Everything else is
//! volatile and starts from nothing. One input is handled at a time, wholly, by [`Raft::step`].
//!
//! | figure 2 | here | survives a crash |
//! |---|---|---|
//! | currentTerm, votedFor | [`HardState`] | yes |
//! | log\[\] | [`Log`], on disk in `storage` | yes |
//! | commitIndex | `commit_index` | no: learnt again from the leader |
//! | lastApplied | [`Applying`] | no: the state machine starts from its snapshot |
//! | nextIndex\[\], matchIndex\[\] | [`Progress`] | no: a new leader begins anew |
//!
//! # What a server is
//!
//! ```text
//!                time-out:                  a quorum would       a quorum
//!                could I win?               vote for it          votes for it
//!  ┌──────────┐ ────────────► ┌───────────────┐ ────► ┌───────────┐ ────► ┌────────┐
//!  │ follower │               │ pre-candidate │       │ candidate │       │ leader │
//!  └──────────┘ ◄──────────── └───────────────┘ ◄──── └───────────┘       └────────┘
//!       ▲        a leader speaks,             time-out                         │
//!       │        or a newer term                                               │
//!       └──────────────────────────────────────────────────────────────────────┘
//!                       a newer term, or no quorum answers any more
//! ```
//!
//! Figure 4, with pre-vote, check-quorum (dissertation §9.6, §6.2): [`election`](super::election).
//!
//! # When the rule is removed
//! `a_vote_waits_for_the_disk` shows the vote waiting. `museum_vote_before_disk` sends it at once,
//! and `museum_forgotten_term` writes neither term nor vote: two leaders in one term.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::applying::Applying;
use super::durability::Durability;
use super::log::Log;
use super::message::Message;
use super::progress::Progress;
use super::reads::{Questions, Reads};
use super::snapshot::Receiving;
use super::transfer::Transfer;
use crate::consensus::{
    Checkpoint, Config, Consensus, Effect, Entry, Input, PeerStatus, Persist, Refusal, Role, Saved,
    Status, ToBytes,
};
use crate::museum::Bug;
use crate::types::{Instant, LogIndex, NodeId, Random, Seq, Term, Ticket};

/// What a server writes down before it promises anything (figure 2, persistent state).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term this server has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub voted_for: Option<NodeId>,
}

impl ToBytes for HardState {
    fn to_bytes(&self) -> Vec<u8> {
        let vote = self.voted_for.map_or(0, |id| id.0);
        [self.term.0.to_le_bytes(), vote.to_le_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<HardState> {
        let (term, vote) = bytes.split_first_chunk::<8>()?;
        let vote = u64::from_le_bytes(vote.try_into().ok()?);
        let voted_for = (vote != 0).then_some(NodeId(vote));
        Some(HardState { term: Term(u64::from_le_bytes(*term)), voted_for })
    }
}

/// One member of a Raft group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Raft {
    pub(super) config: Config,
    pub(super) random: Random,
    pub(super) hard_state: HardState,
    pub(super) log: Log,
    /// Everything up to here is committed: on a majority's disks, for ever.
    pub(super) commit_index: LogIndex,
    pub(super) applying: Applying,
    pub(super) durability: Durability,
    pub(super) role: RoleState,
    /// Until then it helps nobody else to win: it has heard of a leader just now.
    pub(super) loyal_until: Instant,
    /// Reads that wait here for a leader's word.
    pub(super) questions: Questions,
    /// The snapshot that a leader is sending.
    pub(super) receiving: Option<Receiving>,
    /// Compactions that wait for a snapshot's mark to be durable.
    pub(super) compactions: VecDeque<(Seq, LogIndex)>,
    pub(super) elections_started: u64,
    pub(super) elections_won: u64,
    /// What this step has to write so far, and the effects it has so far; empty between steps.
    #[serde(skip)]
    pub(super) draft: Option<Persist<HardState>>,
    #[serde(skip)]
    pub(super) effects: Vec<Effect<Raft>>,
}

/// What a server is, and what it knows only while it is that (§5.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RoleState {
    /// Answers leaders and candidates; wants to be a candidate when `deadline` passes.
    Follower { leader: Option<NodeId>, deadline: Instant },
    /// Asks whether it could win, again at `retry`; asks anew when `deadline` passes.
    PreCandidate { votes: BTreeMap<NodeId, bool>, retry: Instant, deadline: Instant },
    /// Asks for votes, again at `retry`; gives up when `deadline` passes. `transfer`: the leader
    /// itself wanted it.
    Candidate { votes: BTreeMap<NodeId, bool>, retry: Instant, deadline: Instant, transfer: bool },
    /// Extends the log.
    Leader(Box<Leader>),
}

/// What only a leader knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leader {
    /// Since when it leads.
    pub since: Instant,
    /// Every other member.
    pub progress: BTreeMap<NodeId, Progress>,
    /// The no-op that opened the term.
    pub first_of_term: LogIndex,
    pub heartbeat_due: Instant,
    pub reads: Reads,
    /// Bytes of each batch of proposals not yet applied: the last index, and the bytes.
    pub proposed: VecDeque<(LogIndex, usize)>,
    pub proposed_bytes: usize,
    /// The leadership is being handed over.
    pub transfer: Option<Transfer>,
}

impl Consensus for Raft {
    type Message = Message;
    type HardState = HardState;
    type Proof = ();

    fn recover(now: Instant, config: Config, saved: Saved<Raft>) -> Raft {
        let start = saved.snapshot.index;
        let log = Log::recover(
            saved.log_start,
            saved.snapshot,
            saved.configurations,
            saved.term_runs,
            saved.last_index,
        );
        // The entry that a cluster is born with belongs to term 1, which nobody campaigned in.
        let mut hard_state = saved.hard_state;
        if hard_state.term < log.last_term() {
            hard_state = HardState { term: log.last_term(), voted_for: None };
        }
        let mut random = Random::from_seed(config.seed);
        let deadline = now + random.duration(config.election_timeout.clone());
        // A leader may serve reads by a lease that this server granted before it stopped, and has
        // forgotten: see `reads`.
        let loyal = config.lease.map_or_else(Default::default, |_| config.election_timeout.start);
        Raft {
            random,
            hard_state,
            commit_index: start,
            applying: Applying::starting_from(start),
            durability: Durability::recover(log.last_index()),
            log,
            role: RoleState::Follower { leader: None, deadline },
            loyal_until: now + loyal,
            questions: Questions::new(config.seed),
            receiving: None,
            compactions: VecDeque::new(),
            elections_started: 0,
            elections_won: 0,
            draft: None,
            effects: Vec::new(),
            config,
        }
    }

    fn step(&mut self, now: Instant, input: Input<Raft>) -> Vec<Effect<Raft>> {
        match input {
            Input::Elapsed => self.elapsed(now),
            Input::Receive { from, message } => self.receive(now, from, message),
            Input::Propose(proposals) => self.propose(now, proposals),
            Input::Read { ticket } => self.read(now, ticket),
            Input::Campaign => self.campaign_on_request(now),
            Input::Transfer { ticket, to } => self.transfer(now, ticket, to),
            Input::ChangeMembership { ticket, changes } => {
                self.change_membership(now, ticket, &changes);
            }
            Input::SnapshotSaved { index } => self.snapshot_saved(index),
            Input::SnapshotRead { to, index, offset, chunk } => {
                self.snapshot_read(now, to, (index, offset), chunk);
            }
            Input::SnapshotWritten { index, bytes } => self.snapshot_written(index, bytes),
            Input::SnapshotReceived { snapshot } => self.snapshot_received(snapshot),
            Input::SnapshotRejected { index } => self.snapshot_rejected(index),
            Input::Persisted { seq } => self.persisted(now, seq),
            Input::Applied { index } => self.applied(index),
            Input::LogRead { from, entries } => self.log_read(now, from, entries),
        }
        self.take_effects()
    }

    fn log_bytes(message: &Message) -> usize {
        match message {
            Message::AppendEntries { entries, .. } => entries.iter().map(Entry::size).sum(),
            _ => 0,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let role = match &self.role {
            RoleState::Follower { deadline, .. } => self.may_campaign().then_some(*deadline),
            RoleState::PreCandidate { retry, deadline, .. }
            | RoleState::Candidate { retry, deadline, .. } => Some(*retry.min(deadline)),
            RoleState::Leader(leader) => Some(leader.heartbeat_due),
        };
        [role, self.questions.ask_again_at()].into_iter().flatten().min()
    }

    fn leader(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Leader(_) => Some(self.config.id),
            RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => None,
            RoleState::Follower { leader, .. } => *leader,
        }
    }

    fn snapshots_in_use(&self) -> BTreeSet<LogIndex> {
        let leader = self.leading();
        leader.iter().flat_map(|l| l.progress.values()).filter_map(Progress::snapshot).collect()
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            role: self.role(),
            term: self.term(),
            voted_for: self.hard_state.voted_for,
            commit_index: self.commit_index,
            applied_index: self.applying.applied,
            last_index: self.log.last_index(),
        }
    }

    fn status(&self) -> Status {
        let leader = self.leading();
        Status {
            id: self.config.id,
            role: self.role(),
            term: self.term(),
            voted_for: self.hard_state.voted_for,
            leader: self.leader(),
            commit_index: self.commit_index,
            applied_index: self.applying.applied,
            first_index: self.log.first_index(),
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
            durable_index: self.durability.index,
            snapshot_index: self.log.snapshot().index,
            configuration: self.log.configuration().clone(),
            peers: leader.map(|l| l.peers(self.log.last_index())).unwrap_or_default(),
            pending_reads: leader.map_or(self.questions.pending(), |l| l.reads.pending()),
            transfer_to: leader.and_then(|l| l.transfer.as_ref()).map(|transfer| transfer.to),
            uncommitted_bytes: leader.map_or(0, |leader| leader.proposed_bytes),
            elections_started: self.elections_started,
            elections_won: self.elections_won,
        }
    }

    fn assert_invariants(&self, before: &Checkpoint) {
        super::safety::assert_state(self);
        super::safety::assert_step(before, self);
    }
}

impl Leader {
    fn peers(&self, last: LogIndex) -> BTreeMap<NodeId, PeerStatus> {
        self.progress.iter().map(|(id, progress)| (*id, progress.status(last))).collect()
    }
}

/// What every chapter uses.
impl Raft {
    pub(super) fn id(&self) -> NodeId {
        self.config.id
    }

    pub(super) fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Whether a bug of the museum is in force: never, but in the simulator.
    pub(super) fn has(&self, bug: Bug) -> bool {
        self.config.bugs.has(bug)
    }

    pub(super) fn role(&self) -> Role {
        match &self.role {
            RoleState::Leader(_) => Role::Leader,
            RoleState::PreCandidate { .. } => Role::PreCandidate,
            RoleState::Candidate { .. } => Role::Candidate,
            RoleState::Follower { .. } if self.may_campaign() => Role::Follower,
            RoleState::Follower { .. } => Role::Learner,
        }
    }

    pub(super) fn leading(&self) -> Option<&Leader> {
        if let RoleState::Leader(leader) = &self.role { Some(leader) } else { None }
    }

    pub(super) fn leading_mut(&mut self) -> Option<&mut Leader> {
        if let RoleState::Leader(leader) = &mut self.role { Some(leader) } else { None }
    }

    /// Every other member of the configuration in force.
    pub(super) fn others(&self) -> BTreeSet<NodeId> {
        let mut members = self.log.configuration().members();
        members.remove(&self.id());
        members
    }

    /// Time has come for whatever this role waits for.
    fn elapsed(&mut self, now: Instant) {
        match &self.role {
            RoleState::Follower { deadline, .. } if now >= *deadline && self.may_campaign() => {
                self.ask_whether_it_could_win(now);
            }
            RoleState::PreCandidate { deadline, .. } | RoleState::Candidate { deadline, .. }
                if now >= *deadline =>
            {
                self.ask_whether_it_could_win(now);
            }
            RoleState::PreCandidate { retry, .. } | RoleState::Candidate { retry, .. }
                if now >= *retry =>
            {
                self.ask_for_votes(now);
            }
            RoleState::Leader(leader) if now >= leader.heartbeat_due => self.heartbeat(now),
            _ => {}
        }
        self.ask_again(now);
    }

    /// A message came in: first what holds for all of them, then each kind's own chapter.
    fn receive(&mut self, now: Instant, from: NodeId, message: Message) {
        if let Err(why) = super::intake::check_message(self, from, &message) {
            self.effect(Effect::PeerRejected { from, why });
            return;
        }
        if self.is_disturbed_by(now, &message) {
            return;
        }
        // "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert
        // to follower" (figure 2, rules for all servers). A pre-vote only asks what would be.
        let term = match &message {
            Message::PreVote { next_term, .. } if self.has(Bug::PreVoteRaisesTerm) => *next_term,
            Message::PreVote { .. } => self.term(),
            message => message.term(),
        };
        if term > self.term() {
            self.follow(now, term, None);
        }
        match message {
            Message::PreVote { next_term, last_log_index, last_log_term } => {
                self.pre_vote(now, from, next_term, (last_log_term, last_log_index));
            }
            Message::PreVoteReply { next_term, granted, .. } => {
                self.pre_vote_reply(now, from, next_term, granted);
            }
            Message::RequestVote { term, last_log_index, last_log_term, .. } => {
                self.request_vote(now, from, term, (last_log_term, last_log_index));
            }
            Message::RequestVoteReply { term, granted } => {
                self.request_vote_reply(now, from, term, granted);
            }
            Message::AppendEntries { .. } => self.append_entries(now, from, message),
            Message::AppendEntriesReply { term, round, result } => {
                self.append_entries_reply(now, from, term, round, result);
            }
            Message::InstallSnapshot { .. } => self.install_snapshot(now, from, message),
            Message::InstallSnapshotReply { term, snapshot_index, result } => {
                self.install_snapshot_reply(now, from, term, snapshot_index, result);
            }
            Message::TimeoutNow { term } => self.timeout_now(now, from, term),
            Message::ReadIndex { term, context } => self.read_index(now, from, term, context),
            Message::ReadIndexReply { term, context, at } => {
                self.read_index_reply(now, from, term, context, at);
            }
        }
    }

    /// The disk has finished the writes up to `seq`.
    fn persisted(&mut self, now: Instant, seq: Seq) {
        self.durability.persisted(seq);
        self.own_vote_is_durable(now);
        self.advance_commit(now);
        self.compact(seq);
        self.shrink_cache();
    }

    /// Notes an effect of this step.
    pub(super) fn effect(&mut self, effect: Effect<Raft>) {
        self.effects.push(effect);
    }

    /// Sends at once.
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.effect(Effect::Send { to, message, after: None });
    }

    /// Sends once the current hard state, and the write `also` if any, are durable.
    pub(super) fn send_durably(&mut self, to: NodeId, message: Message, also: Option<Seq>) {
        let after = also.unwrap_or_default().max(self.durability.hard_state);
        let after = (after > self.durability.done).then_some(after);
        self.effect(Effect::Send { to, message, after });
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, why: Refusal) {
        self.effect(Effect::Refuse { ticket, why });
    }

    /// Sets term and vote, as one write.
    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state.clone();
        if self.has(Bug::ForgottenTerm) {
            return;
        }
        self.draft().hard_state = Some(hard_state);
        self.durability.hard_state = self.durability.asked;
    }

    /// Removes every entry from `index` on. Must come before this step's appends.
    pub(super) fn truncate_from(&mut self, index: LogIndex) {
        assert!(index > self.commit_index, "a committed entry is never removed");
        let removed = self.log.truncate_from(index);
        if self.has(Bug::TruncationKeepsConfiguration) {
            removed.into_iter().take(1).for_each(|it| self.log.keep_configuration(it));
        }
        self.durability.truncate_from(index);
        let draft = self.draft();
        assert!(draft.entries.is_empty() && draft.truncate_from.is_none());
        draft.truncate_from = Some(index);
    }

    /// Appends one entry.
    pub(super) fn append(&mut self, entry: Entry) {
        self.log.append(entry.clone());
        self.draft().entries.push(entry);
    }

    /// This step's write.
    pub(super) fn draft(&mut self) -> &mut Persist<HardState> {
        self.draft.get_or_insert_with(|| {
            self.durability.asked = self.durability.asked.next();
            Persist {
                seq: self.durability.asked,
                snapshot: None,
                discard_log: false,
                truncate_from: None,
                entries: Vec::new(),
                hard_state: None,
            }
        })
    }

    /// The write first, then everything that may rest on it.
    fn take_effects(&mut self) -> Vec<Effect<Raft>> {
        let Some(draft) = self.draft.take() else {
            return std::mem::take(&mut self.effects);
        };
        if let Some(last) = draft.entries.last() {
            self.durability.vouch(draft.seq, last.index);
        } else if let Some(snapshot) = draft.snapshot.as_ref().filter(|_| draft.discard_log) {
            self.durability.vouch(draft.seq, snapshot.index);
        }
        let mut effects = Vec::with_capacity(1 + self.effects.len());
        effects.push(Effect::Persist(draft));
        effects.append(&mut self.effects);
        effects
    }
}
