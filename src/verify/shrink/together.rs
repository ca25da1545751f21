//! What can be left out of a history of several keys that are changed together.
//!
//! In an order that explains the whole, take out something that changes keys: until each of them is
//! changed by another, it holds what it held before. Nobody who stays notices if, of each of those
//! keys,
//!
//! - nobody looks for the value that is gone, and nothing is appended; and what is set belongs to
//!   no lease, nor could be told apart by a mismatch;
//! - or nobody looks at the key at all.
//!
//! The end of a lease changes the lease and whatever is ever attached to it.

use std::collections::BTreeSet;

use super::{Item, Part};
use crate::verify::cells::{Cells, Step, Told, check_within};
use crate::verify::linearizable::{Budget, Verdict};

impl Part for Vec<Step> {
    type Told = Told;

    fn check(history: &[Cells], budget: &mut Budget<'_>) -> Verdict {
        check_within(history, budget)
    }

    fn looks(item: &Item<Self>) -> bool {
        let is_mismatch = matches!(item.operation.returned, Some((_, Told::Mismatch)));
        is_mismatch || item.operation.action.iter().all(|step| matches!(step, Step::Look { .. }))
    }

    fn is_honest(gone: &[Item<Self>], rest: &[Item<Self>]) -> bool {
        let seen = Seen::by(gone, rest);
        let steps =
            gone.iter().filter(|item| !Self::looks(item)).flat_map(|it| &it.operation.action);
        steps.into_iter().all(|step| seen.misses_nothing(step))
    }
}

/// What those who stay can tell.
struct Seen<'a> {
    looked_at: BTreeSet<usize>,
    values: BTreeSet<(usize, Option<&'a [u8]>)>,
    mismatched: BTreeSet<usize>,
    appended: BTreeSet<usize>,
    /// Leases, and whatever is ever attached to them.
    attached: BTreeSet<(usize, usize)>,
}

impl<'a> Seen<'a> {
    fn by(gone: &'a [Item<Vec<Step>>], rest: &'a [Item<Vec<Step>>]) -> Seen<'a> {
        let mut seen = Seen {
            looked_at: BTreeSet::new(),
            values: BTreeSet::new(),
            mismatched: BTreeSet::new(),
            appended: BTreeSet::new(),
            attached: BTreeSet::new(),
        };
        for item in gone.iter().chain(rest) {
            for step in &item.operation.action {
                match step {
                    Step::Append { cell, lease, .. } => {
                        seen.appended.insert(*cell);
                        seen.attached.extend(lease.map(|lease| (lease, *cell)));
                    }
                    Step::Set { cell, lease, .. } => {
                        seen.attached.extend(lease.map(|lease| (lease, *cell)));
                    }
                    Step::Look { .. } | Step::End { .. } => {}
                }
            }
        }
        for item in rest {
            let is_mismatch = matches!(item.operation.returned, Some((_, Told::Mismatch)));
            for step in &item.operation.action {
                if let Step::Look { cell, value } = step {
                    seen.looked_at.insert(*cell);
                    seen.values.insert((*cell, value.as_deref()));
                    if is_mismatch {
                        seen.mismatched.insert(*cell);
                    }
                }
            }
        }
        seen
    }

    fn misses_nothing(&self, gone: &Step) -> bool {
        match gone {
            Step::Look { .. } => true,
            Step::Set { cell, .. } | Step::Append { cell, .. }
                if !self.looked_at.contains(cell) =>
            {
                true
            }
            Step::Set { cell, value, lease: None } => {
                !self.values.contains(&(*cell, value.as_deref()))
                    && !self.mismatched.contains(cell)
                    && !self.appended.contains(cell)
            }
            Step::Set { .. } | Step::Append { .. } => false,
            Step::End { lease } => {
                let attached = self.attached.range((*lease, 0)..=(*lease, usize::MAX));
                !self.looked_at.contains(lease)
                    && attached.into_iter().all(|(_, cell)| !self.looked_at.contains(cell))
            }
        }
    }
}
