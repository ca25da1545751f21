//! What stands beside each exhibit.

use super::Bug;

/// The plate beside an exhibit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// What the bug does, and how it comes to harm.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// Where that rule stands.
    pub section: &'static str,
    /// Where the bug was seen.
    pub seen: &'static str,
}

/// The plate of `bug`.
pub fn text(bug: Bug) -> Text {
    let (what, rule, section, seen) = match bug {
        Bug::CommitOldTerm => (
            "A leader finds that an entry of an earlier term has reached a majority, and calls it \
             committed. A server whose last entry is of a later term than that one, and which \
             lacks it, can still be elected; it removes what clients were told is safe.",
            "a leader commits by counting only entries of its own term",
            "paper, §5.4.2 and figure 8",
            "the paper itself; many first implementations",
        ),
        Bug::SingleServerChange => (
            "Members are changed one at a time and without a joint phase, before the leader has \
             committed anything in its term. Two leaders, each with one change that the other \
             does not know, find majorities that do not overlap.",
            "a leader changes the membership only after it has committed an entry of its own term",
            "dissertation, §4.1, and its errata",
            "Raft's own dissertation (errata, 2015); copycat#23, braft#182",
        ),
        Bug::ReadBeforeNoop => (
            "A new leader serves reads before anything of its own term is committed. Its commit \
             index may lie behind what the leader before it has acknowledged, and so does the \
             read.",
            "a leader answers reads only once it has committed an entry of its own term",
            "paper, §8; dissertation, §6.4",
            "etcd#7331, tikv",
        ),
        Bug::UnconfirmedReads => (
            "A leader answers reads from what it has applied, without asking a majority whether it \
             still leads. Cut off or paused, it does not know of its successor, nor of what that \
             one has acknowledged.",
            "a leader answers a read only after a majority has confirmed, since the read came, \
             that it leads",
            "paper, §8; dissertation, §6.4",
            "etcd and Consul before 2014 (Jepsen: etcd and Consul)",
        ),
        Bug::CommitPastMatch => (
            "A follower takes over the leader's commit index although its log is known to agree \
             with the leader's only up to an earlier entry. It applies entries of its own that \
             were never committed.",
            "a follower commits no further than the last entry that it knows to equal the leader's",
            "paper, figure 2 (AppendEntries, rule 5)",
            "copycat#265, scylladb#9965",
        ),
        Bug::ShortAppendTruncates => (
            "A follower cuts its log after the last entry of every AppendEntries. One that is late \
             and short removes entries that the follower has acknowledged since, and that the \
             leader has counted.",
            "only an entry that conflicts (same index, other term) is removed, with all behind it",
            "paper, §5.3 and figure 2 (AppendEntries, rule 3)",
            "hashicorp/raft PR#113",
        ),
        Bug::VoteBeforeDisk => (
            "A vote leaves before it is on disk. The server crashes, forgets that it voted, and \
             votes for another candidate in the same term: two leaders.",
            "term and vote are on disk before any answer leaves",
            "paper, figure 2 (persistent state) and §5.1",
            "hashicorp/raft#661",
        ),
        Bug::ForgottenTerm => (
            "Term and vote are kept in memory only. After a restart a server votes a second time \
             in a term, and terms that were used are used again.",
            "the current term and the vote are persistent state",
            "paper, figure 2 (persistent state)",
            "PySyncObj PR#202",
        ),
        Bug::StepDownClearsVote => (
            "A candidate that hears of a leader of its own term becomes a follower, and forgets \
             that it voted for itself. It may vote again in the same term.",
            "a vote is cleared only when the term grows",
            "paper, figure 2 and §5.2",
            "CCF PR#8094",
        ),
        Bug::NoCheckQuorum => (
            "A leader that no majority answers any more goes on believing that it leads. Cut off \
             in one direction, it keeps a cluster from electing another, or lets its clients wait \
             for ever.",
            "a leader that has not heard a majority within an election time-out steps down",
            "dissertation, §6.2",
            "etcd#8129; Cloudflare's outage of 2020",
        ),
        Bug::PreVoteRaisesTerm => (
            "The question whether one could win an election raises terms like the election itself. \
             A server that comes back from a partition deposes a working leader.",
            "a pre-vote changes nobody's term",
            "dissertation, §9.6",
            "etcd PR#8334, #8498",
        ),
        Bug::NoPreVote => (
            "A server that hears no leader stands for election at once. One that is cut off from \
             the leader alone cannot win, but raises its term again and again; as soon as its link \
             is mended, that term deposes a leader that everybody else is content with.",
            "a server asks whether it could win before it raises its term",
            "dissertation, §9.6",
            "etcd#9464",
        ),
        Bug::LeaseFromAnswer => (
            "A leader's lease runs from the moment at which an answer to its heartbeat came in, \
             instead of the moment at which it was sent. While the answer was late, followers were \
             free to elect another; the old leader still answers reads.",
            "a lease runs from the sending of the heartbeats that were answered",
            "dissertation, §6.4.1",
            "tikv#964 and others",
        ),
        Bug::SyncRetried => (
            "A sync fails, is tried again, and succeeds. But the kernel has forgotten the pages \
             that it could not write: the second sync proves nothing, and what was acknowledged is \
             gone after a crash.",
            "a failed sync is final",
            "design, section 5; fsyncgate, 2018",
            "PostgreSQL and others (fsyncgate); cockroach PR#37102",
        ),
        Bug::AckBeforeDisk => (
            "Entries are acknowledged while they are on their way to the disk. A power cut of a \
             majority takes what a leader has counted and a client was told.",
            "an acknowledgement leaves when its entries are on disk",
            "paper, figure 2 (persistent state); dissertation, §10.2.1",
            "etcd#14370, #14143",
        ),
        Bug::CorruptionCut => (
            "Damage in the middle of a log is taken for the end that a crash tore off, and cut, \
             with all that follows. Entries that were committed disappear without a word.",
            "what was durable is never cut",
            "Alagappan et al., FAST'18",
            "FAST'18 found it in several systems; etcd#14098",
        ),
        Bug::SnapshotAheadOfState => (
            "A snapshot says that it covers one entry more than the state that it holds. Whoever \
             starts from it never applies that entry.",
            "a snapshot names the last entry that its state has applied",
            "paper, §7 and figure 12",
            "etcd#13766, PR#14685",
        ),
        Bug::SnapshotKeepsSuffix => (
            "A follower installs a snapshot and keeps the entries behind it, although its entry at \
             the snapshot's end is of another term. They were never the leader's.",
            "the suffix stays only if the log has the snapshot's last entry",
            "paper, figure 13 (InstallSnapshot, rules 6 and 7)",
            "hashicorp/raft PR#704",
        ),
        Bug::OldSnapshotInstalled => (
            "A snapshot that was long under way arrives when its receiver is already ahead of it, \
             and takes its state back.",
            "a snapshot that covers no more than what is committed here changes nothing",
            "paper, §7",
            "camunda#6092",
        ),
        Bug::CompactionGap => (
            "Entries are removed from the log before the snapshot that covers them is durable. \
             After a crash there is a gap between the two.",
            "the log is compacted only up to a durable snapshot",
            "paper, §7; dissertation, §5.1",
            "redisraft#43, #44",
        ),
        Bug::LearnerRefusesVote => (
            "A learner was promoted and does not know it yet. It refuses to vote, because it has \
             no vote as far as it knows, and the cluster that counts on it has no majority.",
            "a server answers whoever asks for its vote: its own configuration may be the old one",
            "paper, §6; dissertation, §4.2.2",
            "raft-rs#57",
        ),
        Bug::WipedNodeReturns => (
            "A node lost its disk, and comes back under its old id with an empty log. It has \
             forgotten what it acknowledged and whom it voted for.",
            "a node that lost its data comes back under a new id",
            "paper, figure 2 (persistent state)",
            "redisraft#2, hashicorp/raft PR#477",
        ),
        Bug::TransferToLagging => (
            "A leader hands over to a server that lacks entries, and takes proposals meanwhile. \
             The target cannot win, and the cluster is without a leader for longer than if it had \
             crashed.",
            "the target has the whole log, and proposals wait, before the hand-over",
            "dissertation, §3.10",
            "redpanda#2606, hashicorp/raft PR#487",
        ),
        Bug::TruncationKeepsConfiguration => (
            "A truncation removes two entries that changed the membership, and takes back only \
             one. The server counts majorities of a configuration that no log holds.",
            "the configuration in force is the newest in the log",
            "paper, §6",
            "scylladb PR#30936",
        ),
        Bug::JointIgnoresOld => (
            "During a joint change, only the new configuration's majority is counted. The old one \
             can elect a leader of its own at the same time.",
            "in a joint configuration, agreement needs separate majorities of both",
            "paper, §6",
            "single mistakes in many implementations",
        ),
        Bug::NoSessions => (
            "A client hears nothing, tries its write again, and it takes effect a second time.",
            "the state machine remembers each session's last results",
            "dissertation, §6.3",
            "every system without client sessions",
        ),
        Bug::DivergentApply => (
            "What a command does depends on more than the state and the command. Replicas drift \
             apart, silently: no quorum looks at states.",
            "applying is deterministic",
            "paper, §2",
            "etcd 3.5 (#13766) and others",
        ),
    };
    Text { what, rule, section, seen }
}
