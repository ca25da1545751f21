//! The spec.

mod bounds;
mod disk;
mod explore;
mod history;
mod node;
mod properties;
mod runs;
mod story;
#[path = "../raft/words.rs"]
mod words;
mod world;

use bounds::Bounds;
use explore::explore;

fn holds(bounds: Bounds) {
    let (report, mut lab) = explore(bounds);
    println!("{}", report.line());
    if let Some(finding) = &report.finding {
        panic!("{}", story::tell(&mut lab, finding));
    }
}

#[test]
#[ignore = "trial"]
fn trial() {
    let args: Vec<u8> =
        std::env::var("T").unwrap().split(',').skip(1).map(|n| n.parse().unwrap()).collect();
    let a = |i: usize| args.get(i).copied().unwrap_or(0);
    let mut bounds = match std::env::var("T").unwrap().split(',').next().unwrap() {
        "crash" => runs::crashes(a(0), a(1), a(2)),
        "loss" => runs::loss(a(0), a(1), a(2), a(3)),
        "dis" => runs::disorder(a(0), a(1)),
        "mem" => runs::membership(a(0), a(1), a(2)),
        "grow" => runs::growth(a(0), a(1), a(2)),
        "snap" => runs::snapshots(a(0), a(1), a(2), a(3)),
        "reads" => runs::reads(a(0), a(1), a(2)),
        "pre" => runs::pre_vote(a(0), a(1), a(2), a(3)),
        "fig8" => {
            let mut b = runs::loss(a(0), a(1), a(2), a(3));
            b.setup.max_message_bytes = Some(1);
            if a(4) > 0 {
                b.logs = Some("2,2||3");
            }
            b
        }
        "snapdis" => {
            let mut b = runs::snapshots(a(0), a(1), a(2), a(3));
            b.network = bounds::Network::Anything;
            b
        }
        "loss2" => {
            let mut b = runs::loss(a(0), a(1), a(2), a(3));
            b.network = bounds::Network::AnyOrder;
            b
        }
        _ => panic!(),
    };
    bounds.max_states = std::env::var("MAX").map_or(5_000_000, |m| m.parse().unwrap());
    if let Ok(bug) = std::env::var("BUG") {
        bounds.setup.bugs = kvraft::museum::Bugs::only(bug.parse().unwrap());
        bounds.setup.harm_only = true;
    }
    holds(bounds);
}
