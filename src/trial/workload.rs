//! What the clients of a trial do, and how much of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::replica::Consistency;

/// A way to use keys. Each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Reads and writes: the classic register.
    Register,
    /// Mostly compare-and-swap: no update may be lost.
    #[serde(rename = "cas")]
    CompareAndSwap,
    /// Appends, reads and deletes on several keys by turns. A value shows all its history, so that
    /// little stays unseen.
    MultiKey,
    /// Transactions of some steps over several keys at once: what is read together was there
    /// together.
    #[serde(rename = "txn")]
    Transaction,
    /// Leases that are kept alive, revoked, or left to end; keys go with them, and not before.
    Lease,
    /// Locks under leases, wanted by several at once; some holders die.
    Lock,
    /// The same by the service that etcd has for it: whoever wants one waits for its turn.
    LockService,
    /// Onlookers who watch what the others do, through every node. No client does this.
    Watch,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Register,
        Kind::CompareAndSwap,
        Kind::MultiKey,
        Kind::Transaction,
        Kind::Lease,
        Kind::Lock,
        Kind::LockService,
        Kind::Watch,
    ];

    /// Those that the native client does.
    pub const NATIVE: [Kind; 3] = [Kind::Register, Kind::CompareAndSwap, Kind::MultiKey];

    /// Whether it goes in by etcd's API, over gRPC.
    pub fn is_etcd(self) -> bool {
        !Kind::NATIVE.contains(&self)
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Register => "register",
            Kind::CompareAndSwap => "cas",
            Kind::MultiKey => "multi-key",
            Kind::Transaction => "txn",
            Kind::Lease => "lease",
            Kind::Lock => "lock",
            Kind::LockService => "lock-service",
            Kind::Watch => "watch",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::name).join(", ");
            format!("`{text}` is no workload: there are {known}")
        })
    }
}

/// How the clients read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    #[default]
    Linearizable,
    /// A replica's state as it is. This is *not* linearizable, and a trial shows it.
    Stale,
}

impl From<Reads> for Consistency {
    fn from(reads: Reads) -> Consistency {
        match reads {
            Reads::Linearizable => Consistency::Linearizable,
            Reads::Stale => Consistency::Stale,
        }
    }
}

/// What the clients do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// How many work at the same time.
    pub clients: u32,
    /// Each operation is of one of these, all alike often; watches come besides.
    pub kinds: Vec<Kind>,
    /// Operations a second, of all clients together, that are begun at most.
    pub rate: u32,
    /// Keys of each kind in use at the same time.
    pub keys: u32,
    /// After so many operations a key is left alone, and another takes its place; keys that are
    /// tied together go together, and sooner.
    pub operations_per_key: u32,
    /// For an operation with all tries of its client, at most; after it, a write is unknown.
    /// Each client is as patient as that, or up to four times less.
    pub timeout_millis: u64,
    pub reads: Reads,
    /// Of a hundred operations on a register, so many are reads.
    pub read_percent: u64,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            clients: 10,
            kinds: Kind::NATIVE.to_vec(),
            rate: 500,
            keys: 3,
            operations_per_key: 300,
            timeout_millis: 1_000,
            reads: Reads::Linearizable,
            read_percent: 50,
        }
    }
}

impl Workload {
    pub fn is_watched(&self) -> bool {
        self.kinds.contains(&Kind::Watch)
    }

    pub fn has_leases(&self) -> bool {
        let has_leases = |kind: &Kind| matches!(kind, Kind::Lease | Kind::Lock | Kind::LockService);
        self.kinds.iter().any(has_leases)
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_millis)
    }

    /// What of it makes no sense.
    pub fn validate(&self) -> Result<(), String> {
        let counts = [
            ("clients", self.clients.into(), 1..=1_000),
            ("rate", self.rate.into(), 1..=1_000_000),
            ("keys", self.keys.into(), 1..=10_000),
            ("operations_per_key", self.operations_per_key.into(), 1..=1_000_000),
            ("timeout_millis", self.timeout_millis, 1..=60_000),
            ("read_percent", self.read_percent, 0..=100),
        ];
        for (name, count, range) in counts {
            if !range.contains(&count) {
                let (least, most) = range.into_inner();
                return Err(format!("{name} is {least} to {most}, and cannot be {count}"));
            }
        }
        if self.kinds.is_empty() {
            return Err("a workload is of at least one kind".to_owned());
        }
        let is_watchable = |kind: &Kind| !matches!(kind, Kind::Watch | Kind::LockService);
        match self.is_watched() && !self.kinds.iter().any(is_watchable) {
            true => {
                let why = "watches need something to watch: name another kind beside them";
                let but = "; what is beneath the locks of lock-service is the service's own";
                let but = if self.kinds.contains(&Kind::LockService) { but } else { "" };
                Err(format!("{why}{but}"))
            }
            false => Ok(()),
        }
    }
}
