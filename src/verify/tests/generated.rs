//! Large histories that are right by construction.

use super::{judged, read, verdicts};
use crate::verify::generate::{Plan, generate};
use crate::verify::history::History;
use crate::verify::judge::{Judged, Limits, judge};

fn history(plan: &Plan) -> History {
    let lines: String = generate(plan).iter().map(|event| event.to_line()).collect();
    read(&lines).unwrap()
}

#[test]
fn what_one_copy_did_is_valid() {
    for seed in 0..40 {
        let plan = Plan {
            seed,
            operations: 400,
            clients: 2 + seed % 15,
            keys: 1 + seed % 3,
            append_percent: seed % 4 * 5,
            revisions: seed % 2 == 0,
            ..Plan::default()
        };
        for verdict in judged(&history(&plan)) {
            assert_eq!(verdict, Judged::Valid, "{plan:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let plan = Plan::default();
    assert_eq!(generate(&plan), generate(&plan));
    assert_ne!(generate(&plan), generate(&Plan { seed: 1, ..plan }));
}

#[test]
fn who_is_stopped_says_so_and_so_does_who_runs_out_of_steps() {
    use crate::verify::judge::Why;
    let history = history(&Plan { keys: 2, ..Plan::default() });
    let stopped = judge(&history, Limits { steps: 1_000_000, go_on: &mut |keys| keys == 0 });
    // The smaller one comes first.
    let stopped = verdicts(stopped);
    assert!(stopped.contains(&Judged::Valid), "{stopped:?}");
    assert!(stopped.contains(&Judged::Unknown(Why::Stopped)), "{stopped:?}");
    let few = judge(&history, Limits { steps: 10, go_on: &mut |_| true });
    assert_eq!(verdicts(few), [Judged::Unknown(Why::Steps), Judged::Unknown(Why::Steps)]);
}
