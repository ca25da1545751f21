//! What happened, in the words of the simulator's stories.

use super::moment::Window;
use crate::consensus::raft::{Message, Raft};
use crate::consensus::{Consensus, Effect, Entry, Input, Role};
use crate::record::Seen;
use crate::replica::PeerMessage;
use crate::sim::words;
use crate::types::NodeId;

/// More lines than anybody reads.
const MAX_LINES: usize = 100_000;

/// Characters of a line: values may be large.
const MAX_LINE: usize = 240;

/// Entries of a message or a write that are shown.
const MAX_ENTRIES: usize = 8;

/// Lines of what is worth telling, within a window; without one, none.
pub struct Story {
    window: Option<Window>,
    /// Heartbeats and the node's own housekeeping, too.
    whole: bool,
    pub lines: Vec<Line>,
    /// There was more.
    pub is_cut: bool,
    leader: Option<NodeId>,
}

/// One of them.
pub struct Line {
    /// In nanoseconds of Unix time.
    pub unix: u64,
    pub says: String,
}

impl Story {
    pub fn new(window: Option<Window>, whole: bool) -> Story {
        Story { window, whole, lines: Vec::new(), is_cut: false, leader: None }
    }

    /// Whether anybody listens.
    pub fn is_wanted(&self) -> bool {
        self.window.is_some()
    }

    /// A step was lived again.
    pub fn see(&mut self, seen: &Seen<'_, Raft>) {
        let leader = seen.core.leader();
        let led = std::mem::replace(&mut self.leader, leader);
        if !self.window.is_some_and(|window| window.contains(seen.unix)) {
            return;
        }
        let id = seen.core.status().id;
        let mut told = Vec::new();
        told.extend(self.input(id, seen.input));
        told.extend(change(id, seen, led));
        told.extend(seen.effects.iter().filter_map(|effect| self.effect(id, effect)));
        for says in told {
            match self.lines.len() < MAX_LINES {
                true => self.lines.push(Line { unix: seen.unix, says: shortened(says) }),
                false => self.is_cut = true,
            }
        }
    }

    /// What the core was told.
    fn input(&self, id: NodeId, input: &Input<Raft>) -> Option<String> {
        let whole = self.whole;
        let minor = |says: String| whole.then(|| format!("{id} {says}"));
        let major = |says: String| Some(format!("{id} {says}"));
        match input {
            Input::Receive { from, message } => self.message(*from, id, message, ""),
            Input::Elapsed => minor("looks at its clock".into()),
            Input::Propose(batch) => minor(format!("is asked to write {} commands", batch.len())),
            Input::Read { ticket } => minor(format!("is asked to read (request {ticket})")),
            Input::Campaign => major("is told to stand for election".into()),
            Input::Transfer { to: Some(to), .. } => major(format!("is told to hand over to {to}")),
            Input::Transfer { to: None, .. } => major("is told to hand over".into()),
            Input::ChangeMembership { changes, .. } => {
                major(format!("is told to change the members: {changes:?}"))
            }
            Input::SnapshotSaved { index } => major(format!("has taken a snapshot of {index}")),
            Input::SnapshotReceived { snapshot } => {
                major(format!("has received all of the snapshot of {}", snapshot.index))
            }
            Input::SnapshotRejected { index } => {
                major(format!("cannot keep the snapshot of {index} that it received"))
            }
            Input::SnapshotRead { to, index, offset, .. } => {
                minor(format!("has read its snapshot of {index} from byte {offset}, for {to}"))
            }
            Input::SnapshotWritten { index, bytes } => {
                minor(format!("has written {bytes} bytes of the snapshot of {index}"))
            }
            Input::Persisted { seq } => minor(format!("has write {seq} on its disk")),
            Input::Applied { index } => minor(format!("has applied up to {index}")),
            Input::LogRead { from, entries } => {
                minor(format!("has read {} entries from {from} on", entries.len()))
            }
        }
    }

    /// What it wants done.
    fn effect(&self, id: NodeId, effect: &Effect<Raft>) -> Option<String> {
        let whole = self.whole;
        let minor = |says: String| whole.then(|| format!("{id} {says}"));
        let major = |says: String| Some(format!("{id} {says}"));
        match effect {
            Effect::Persist(persist) => {
                let mut persist = persist.clone();
                let more = cut(&mut persist.entries);
                major(format!("{}{more}", words::write(&persist)))
            }
            Effect::Send { to, message, after } => {
                let waits = after.map(|seq| format!("  (once write {seq} is on its disk)"));
                self.message(id, *to, message, &waits.unwrap_or_default())
            }
            Effect::Apply { entries, .. } => {
                let mut shown = entries.clone();
                let more = cut(&mut shown);
                let shown: Vec<_> = shown.iter().map(words::entry).collect();
                major(format!("applies {}{more}", shown.join(", ")))
            }
            Effect::InstallSnapshot { index } => major(format!("takes over the state of {index}")),
            Effect::Compact { to } => major(format!("may forget its log up to {to}")),
            Effect::Refuse { why, .. } => major(format!("refuses a request: {why:?}")),
            Effect::PeerRejected { from, why } => major(format!("rejects what {from} sent: {why}")),
            Effect::Accepted { index, term, .. } => {
                minor(format!("takes a request in, at {index}/{term}"))
            }
            Effect::ServeRead { ticket, at } => {
                minor(format!("may answer request {ticket} once it has applied {at}"))
            }
            Effect::ReadLog { from, .. } => minor(format!("wants its log from {from} on")),
            Effect::ReadSnapshot { to, index, offset, .. } => {
                minor(format!("wants its snapshot of {index} from byte {offset}, for {to}"))
            }
            Effect::WriteSnapshot { index, offset, chunk, .. } => minor(format!(
                "wants {} bytes of the snapshot of {index} written at byte {offset}",
                chunk.data.len()
            )),
        }
    }

    fn message(&self, from: NodeId, to: NodeId, says: &Message, also: &str) -> Option<String> {
        let mut message = says.clone();
        let mut more = String::new();
        if let Message::AppendEntries { entries, .. } = &mut message {
            more = cut(entries);
        }
        let message = PeerMessage::Consensus(message);
        let wanted = self.whole || words::is_worth_telling(&message);
        wanted.then(|| format!("{from} → {to}: {}{more}{also}", words::letter(&message)))
    }
}

/// What became of the node's place in the group.
fn change(id: NodeId, seen: &Seen<'_, Raft>, led: Option<NodeId>) -> Vec<String> {
    let (before, now) = (seen.before, seen.core.checkpoint());
    let mut told = Vec::new();
    if before.role != now.role || before.term != now.term {
        match now.role {
            Role::Leader => told.push(format!("{id} leads term {}", now.term)),
            Role::Candidate => told.push(format!("{id} stands for election in term {}", now.term)),
            Role::PreCandidate => {
                told.push(format!("{id} asks whether it could win term {}", now.term.next()));
            }
            Role::Follower | Role::Learner if before.role == Role::Leader => {
                told.push(format!("{id} does not lead any more"));
            }
            Role::Follower | Role::Learner => {}
        }
    }
    if let Some(leader) = seen.core.leader().filter(|leader| *leader != id && led != Some(*leader))
    {
        told.push(format!("{id} follows {leader} in term {}", now.term));
    }
    if now.role == Role::Leader && before.commit_index < now.commit_index {
        told.push(format!("{id} commits up to {}", now.commit_index));
    }
    told
}

/// Leaves the first few entries; says how many more there were.
fn cut(entries: &mut Vec<Entry>) -> String {
    let more = entries.len().saturating_sub(MAX_ENTRIES);
    entries.truncate(MAX_ENTRIES);
    if more > 0 { format!(" … and {more} more") } else { String::new() }
}

fn shortened(mut line: String) -> String {
    if let Some((end, _)) = line.char_indices().nth(MAX_LINE) {
        line.truncate(end);
        line.push('…');
    }
    line
}
