//! The explorations that take minutes each: part of `make soak`.

use crate::holds;
use crate::runs::{
    crashes, disorder, figure_8, growth, loss, membership, pre_vote, reads, snapshots,
};

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
    full_crashes_and_commands: crashes(2, 2, 1);
    full_two_crashes: crashes(2, 1, 2);
    full_crashes_and_elections: crashes(3, 0, 1);
    full_loss_and_commands: loss(2, 2, 1, 1);
    full_two_losses: loss(2, 1, 2, 1);
    full_loss_and_elections: loss(3, 0, 1, 1);
    full_disorder_and_a_command: disorder(2, 1);
    full_disorder_and_elections: disorder(3, 0);
    full_shrinking_membership_and_a_command: membership(2, 1, 1);
    full_shrinking_membership_twice: membership(2, 0, 2);
    full_shrinking_membership_and_elections: membership(3, 0, 1);
    full_growing_membership_and_elections: growth(2, 0, 1);
    full_growing_membership_twice: growth(1, 0, 2);
    full_snapshots_and_heartbeats: snapshots(2, 2, 1, 1);
    full_two_snapshots: snapshots(2, 2, 2, 0);
    full_two_reads: reads(2, 1, 2);
    full_reads_and_elections: reads(3, 1, 1);
    full_pre_vote: pre_vote(3, 1, 0, 0);
    full_figure_8: figure_8(4, 1, None);
}
