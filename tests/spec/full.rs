//! The explorations that take minutes each: part of `make soak`.

use crate::holds;
use crate::runs::{crashes, disorder, growth, loss, membership, pre_vote, reads, snapshots};

/// Declares them: a name, and what is explored.
macro_rules! full {
    ($($name:ident: $bounds:expr;)*) => {
        $(
            #[test]
            #[ignore = "takes minutes: make soak"]
            fn $name() {
                holds($bounds);
            }
        )*
    };
}

full! {
    full_crashes: crashes(2, 1, 1);
    full_loss: loss(2, 1, 1, 1);
    full_duplication_and_reordering: disorder(2, 1);
    full_shrinking_membership: membership(2, 1, 1);
    full_joining: growth(1, 0, 2);
    full_growing_membership: growth(2, 0, 2);
    full_snapshots: snapshots(2, 1, 1, 1);
    full_reads: reads(2, 1, 1);
    full_pre_vote: pre_vote(2, 1, 1, 1);
}
