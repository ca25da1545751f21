//! The verdict on a whole history.
//!
//! Linearizability is *local*: a history is linearizable if that of each key is (Herlihy & Wing
//! 1990, theorem 1). So each key is judged alone, and one that is violated is enough for the whole,
//! whatever is unknown of the others. Keys that are changed together, by a transaction or by the
//! end of a lease, form one *subject* and are judged together; so does what is watched.
//!
//! Properties are told apart, since they point at different faults:
//!
//! - *linearizability*: some order explains all answers;
//! - *durability*, a special case: an acknowledged write that a later read, and every one after it,
//!   lacks. It is named so when the smallest contradiction says no more than that;
//! - *revisions*: of two changes of a key, the one that began after the other had ended has the
//!   higher revision, and no two have the same. An order that explains the values may exist, and
//!   the numbers still lie;
//! - *transactions*, *leases*, *locks*: linearizability again, where the contradiction has one in
//!   it: what takes effect together; what lives for as long as it was kept alive, and no key that
//!   outlives its lease; no two who hold a lock at once, and tokens that grow from one to the next;
//! - *watches*: every change, once, in order, and nothing that never was.

mod durability;
mod leases;
mod revisions;
mod steps;
mod subject;
mod tokens;
mod watches;

pub use self::leases::Expiry;
use self::leases::expiries;
use super::history::{History, Kind};
use super::story::Story;

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    Linearizability,
    Durability,
    Revisions,
    Transactions,
    Leases,
    Locks,
    Watches,
}

impl Property {
    pub const ALL: [Property; 7] = [
        Property::Linearizability,
        Property::Durability,
        Property::Revisions,
        Property::Transactions,
        Property::Leases,
        Property::Locks,
        Property::Watches,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Property::Linearizability => "linearizability",
            Property::Durability => "durability",
            Property::Revisions => "revisions",
            Property::Transactions => "transactions",
            Property::Leases => "leases",
            Property::Locks => "locks",
            Property::Watches => "watches",
        }
    }

    /// The function that a history must have for it to say anything of this; `None`: any has.
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Property::Linearizability | Property::Durability | Property::Revisions => None,
            Property::Transactions => Some("txn"),
            Property::Leases => Some("lease"),
            Property::Locks => Some("lock"),
            Property::Watches => Some("watch"),
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub property: Property,
    /// The smallest contradictory part that was found: places in the history, by call.
    pub part: Vec<usize>,
    pub story: Story,
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It took more steps, or more memory, than allowed.
    Steps,
    /// Whoever asked wants no more: the time is up.
    Stopped,
}

/// The verdict on a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    Valid,
    Violated(Box<Violation>),
    Unknown(Why),
}

/// What can only be judged as a whole, with the verdict on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Places among [`History::keys`]: mostly one.
    pub keys: Vec<usize>,
    pub verdict: Judged,
}

impl Subject {
    /// What it is called: the names of its keys, or the first of them.
    pub fn name(&self, history: &History) -> String {
        /// So many keys of one subject are named.
        const MAX_NAMED: usize = 3;
        let names: Vec<String> =
            self.keys.iter().map(|key| history.keys[*key].to_string()).collect();
        match names.len() {
            0..=MAX_NAMED => names.join(", "),
            more => format!("{} and {} more", names[..MAX_NAMED].join(", "), more - MAX_NAMED),
        }
    }
}

/// Bounds of a judgement.
pub struct Limits<'a> {
    /// Steps of the search for each subject; each is remembered, in some 64 bytes.
    pub steps: u64,
    /// Asked now and then, with the keys that are done: false ends the work.
    pub go_on: &'a mut dyn FnMut(usize) -> bool,
}

/// Contradictions of so many subjects are made small; that others are violated, too, is only said.
const MAX_SHRUNK: usize = 10;

/// Judges all that a history is about; each of its keys belongs to one subject. They stand in the
/// order of their first keys.
pub fn judge(history: &History, limits: Limits<'_>) -> Vec<Subject> {
    let expiries = expiries(history);
    let watches = watches::Told::of(history);
    let Limits { steps, go_on } = limits;
    let (mut stopped, mut done, mut violated) = (false, 0, 0);
    let mut judged = Vec::new();
    let mut subjects = subject::subjects(history);
    // The small ones first: one that is too hard holds up nothing that can be decided.
    subjects.sort_by_key(|(_, places)| places.len());
    for (keys, places) in subjects {
        let mut ask = |_| {
            stopped = stopped || !go_on(done);
            !stopped
        };
        let mut verdict = Judged::Unknown(Why::Stopped);
        if ask(0) {
            verdict = match history.keys[keys[0]].kind {
                Kind::Watched { .. } => watches::judge(history, &watches, &places, &mut ask),
                Kind::Data | Kind::Lease => subject::Judge {
                    history,
                    keys: &keys,
                    places: &places,
                    expiries: &expiries,
                    small: violated < MAX_SHRUNK,
                }
                .judge(steps, &mut ask),
            };
        }
        if stopped && matches!(verdict, Judged::Unknown(_)) {
            verdict = Judged::Unknown(Why::Stopped);
        }
        done += keys.len();
        violated += usize::from(matches!(verdict, Judged::Violated(_)));
        judged.push(Subject { keys, verdict });
    }
    judged.sort_by_key(|subject| subject.keys[0]);
    judged
}
