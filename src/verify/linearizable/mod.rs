//! Is a history linearizable? (Herlihy & Wing 1990; the search is Wing & Gong's, with Lowe's memory
//! of states seen.)
//!
//! # The problem
//! Each operation took some time, and took effect at one moment within it, if the store keeps its
//! promise. Nobody saw those moments. So a history is right if *some* order of its operations, each
//! between its call and its return, explains every answer.
//!
//! # The rule
//! Take any operation that was called before the first return among those not yet taken, let the
//! model do it, and go on if the model answers the same; else take it back and try another. What
//! was tried is remembered as (set of operations taken, state): to come there twice by two orders
//! brings nothing new.
//!
//! An operation whose outcome nobody knows may take effect at any time after its call, or never.
//!
//! # What need not be tried
//! The search is exponential in the worst case. A model that gives the hints of [`Model`] spares it
//! most of that. Each rule leaves out orders only where, if any order works, so does one that is
//! left:
//!
//! 1. *A look costs nothing.* An answered operation that changes no state and fits the present one
//!    is taken at once, and nothing else is tried. Whatever order works with it later works with it
//!    now: it was called, and the others do not notice.
//! 2. *No way back.* If an answered operation that is left needs a state that is gone and that
//!    nothing left can make, this branch is dead, however many orders it still has.
//! 3. *Twins.* Of unknown operations that do the same, the one called first is taken first: swap
//!    them in any order that works, and it still does.
//! 4. *Junk.* A state that nobody ever needs is as good as any other such state. An unknown
//!    operation that leads there is worth taking only for an answer that the present state refuses
//!    ("it was something else"), and that comes before the next operation that forgets the state:
//!    if there is none, leave the unknown one out, and nobody notices. Where nothing *grows* a
//!    state (as an append does), what comes between changes nothing, and the unknown operation may
//!    as well be put off until right before that answer.
//!
//! 5. *In vain.* An unknown operation need not be taken if nobody who is left looks for what it
//!    makes: leave it out, and nobody notices.
//! 6. *Not yet.* Nor need it be taken before something that it can be exchanged with: exchange the
//!    two, again and again, and it comes right before one that looks for what it makes, or that
//!    spoils what it does (or among other unknown ones that do). It may always be put off, for it
//!    never returned. So there must be such a one among those that were called.
//!
//! Besides, each operation may bring a *witness*, such as the revision that its answer carried: the
//! search tries candidates in the order of the witnesses, and for a right history hardly ever has
//! to go back.
//!
//! # Caveats
//! It gives up after so many steps, or when it is told to ([`Verdict::Undecided`]): giving up is
//! not an answer. A set of operations is remembered by the sum of its members' 128-bit hashes: that
//! two sets met in one search share it is less likely (10⁻²⁴ for ten million) than that the memory
//! which holds them errs.

mod search;

use self::search::Search;
pub use super::model::{Model, Operation};

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains everything.
    Linearizable,
    /// There is none. The longest order that could be found stopped before the operation at this
    /// place returned.
    Violated { stuck: usize },
    /// Too many orders to try them all.
    Undecided,
}

/// How long a search may take. Each step is one state remembered, some 64 bytes.
pub struct Budget<'a> {
    /// Steps that are left; searches that share a budget share them.
    pub steps: u64,
    /// Asked now and then, with the steps that are left: false ends the search.
    pub go_on: &'a mut dyn FnMut(u64) -> bool,
}

impl Budget<'_> {
    fn spend(&mut self) -> bool {
        let asks = self.steps.is_multiple_of(1024);
        if self.steps == 0 || (asks && !(self.go_on)(self.steps)) {
            return false;
        }
        self.steps -= 1;
        true
    }
}

/// Judges a history, giving up as `budget` says. Operations may stand in any order.
pub fn check_within<M: Model>(
    model: &M,
    history: &[Operation<M::Action, M::Result>],
    budget: &mut Budget<'_>,
) -> Verdict {
    let mut search = Search::new(model, history);
    match search.never_possible() {
        Some(stuck) => Verdict::Violated { stuck },
        None => search.run(budget),
    }
}
