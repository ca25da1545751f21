//! The spec: every state that the real core can reach within small bounds, and what must hold in
//! each.
//!
//! # The problem
//! A simulator lives long lives, each of them one of too many: it may never meet the one order of
//! three messages that breaks a promise. Most bugs of consensus that anyone ever published show
//! with three nodes, two terms and two entries, if only *every* order is tried.
//!
//! # How
//! [`world`] puts nodes, messages and history side by side; [`explore`] visits all that can become
//! of them, breadth first; [`properties`] judge every state. It is no model of the core that is
//! explored, but the core: [`node`] steps it as a real node would. What is left out of a state, and
//! why that is sound, is said in [`kvraft::consensus::raft::canonical`].
//!
//! Worlds that differ only by the names of the nodes are one: the first to stand for election is
//! node 1. A reply to a term that its receiver has left for good is dropped, as it changes nothing.
//! A crash and the restart are one step: whoever is down says as little as one that is slow.
//!
//! # The adversary
//! One dimension a run ([`runs`]), or there would be no end: crashes that lose what was not
//! synced; loss; duplication with reordering; changes of membership; snapshots; and without any
//! adversary but time, reads and pre-votes. A message that takes for ever is as good as lost, so
//! loss only matters where links keep their order.
//!
//! # Caveats
//! What holds within the bounds may break beyond them; the simulator looks there. Reads by lease
//! rest on clocks, and there are none here. Liveness is not judged.
//!
//! # Mutants
//! A checker that never caught anything proves nothing: with each of the museum's bugs put back
//! ([`mutants`]), the exploration must find the harm, and tells the shortest way to it. The core's
//! own assertions are not asked then, or they would spoil the story by stopping the node.
//!
//! The small runs are part of `cargo nextest run`. The full ones are ignored there, and part of
//! `make soak`: `cargo test --release --test spec -- --ignored --nocapture`.

mod bounds;
mod disk;
mod explore;
mod full;
mod history;
mod mutants;
mod node;
mod properties;
mod runs;
mod small;
mod story;
#[path = "../raft/words.rs"]
mod words;
mod world;

use bounds::Bounds;
use explore::explore;

/// Everything within `bounds` keeps every promise.
fn holds(bounds: Bounds) {
    let (report, mut lab) = explore(bounds);
    println!("{}", report.line());
    if let Some(finding) = &report.finding {
        panic!("{}", story::tell(&mut lab, finding));
    }
    assert!(report.exhausted, "the bounds are too wide to see everything");
}
