//! A trace, told.

use kvraft::consensus::Change;

use crate::explore::Finding;
use crate::node::Facts;
use crate::words;
use crate::world::{Action, Lab, World};

/// What happened, one step a line, and which promise broke.
pub fn tell(lab: &mut Lab, finding: &Finding) -> String {
    let mut world = lab.beginning();
    let mut told = String::new();
    for (number, action) in finding.trace.iter().enumerate() {
        let what = describe(lab, &world, *action);
        let (next, _) = lab.act(&world, *action);
        told += &format!("{:>3}. {what}\n", number + 1);
        for place in 0..world.nodes.len() {
            let (before, after) = (lab.facts(&world, place).clone(), lab.facts(&next, place));
            for change in changes(&before, after) {
                told += &format!("       {change}\n");
            }
        }
        world = next;
    }
    told + &format!("     {} is broken: {}\n", finding.broken.property, finding.broken.why)
}

fn describe(lab: &Lab, world: &World, action: Action) -> String {
    let node = |place: usize| format!("node {}", place + 1);
    let message = |at: usize| {
        let (from, to, message) = &**lab.messages.get(world.messages[at]);
        format!("{from} → {to}: {}", words::message(message))
    };
    match action {
        Action::Deliver(at) => message(at),
        Action::Lose(at) => format!("lost: {}", message(at)),
        Action::Persist(place) => format!("{}'s disk has done its oldest write", node(place)),
        Action::Crash(place) => format!("{} crashes and starts again", node(place)),
        Action::Campaign(place) => format!("{} stands for election", node(place)),
        Action::TimeOut(place) => format!("{} hears nobody, and asks", node(place)),
        Action::Propose(place) => format!("a client brings {} a command", node(place)),
        Action::Repeat(place) => format!("{} repeats what it says", node(place)),
        Action::Late(place) => format!("{} waits too long for answers", node(place)),
        Action::Lonely(place) => format!("{} has not heard from a quorum", node(place)),
        Action::Read(place) => format!("a client wants to read at {}", node(place)),
        Action::Change(place, change) => {
            let changes: Vec<_> = lab.bounds.menu[change].iter().map(wanted).collect();
            format!("an operator tells {}: {}", node(place), changes.join(", "))
        }
        Action::Snapshot(place) => format!("{} takes a snapshot", node(place)),
    }
}

fn wanted(change: &Change) -> String {
    match change {
        Change::AddLearner { node, .. } => format!("add learner {node}"),
        Change::Promote { node } => format!("promote {node}"),
        Change::Demote { node } => format!("demote {node}"),
        Change::Relocate { node, .. } => format!("relocate {node}"),
        Change::Remove { node } => format!("remove {node}"),
    }
}

fn changes(before: &Facts, after: &Facts) -> Vec<String> {
    let mut changes = Vec::new();
    let id = after.id;
    if (before.role, before.term) != (after.role, after.term) {
        changes.push(format!("node {id} is {} of term {}", after.role, after.term));
    }
    if before.log != after.log {
        let entries: Vec<_> = after.log.entries.iter().map(words::entry).collect();
        changes.push(format!("node {id} has [{}]", entries.join(", ")));
    }
    if before.machine != after.machine {
        let new = after.machine.iter().skip(before.machine.len()).map(words::entry);
        let new: Vec<_> = new.collect();
        let verb =
            if after.machine.len() < before.machine.len() { "starts from" } else { "applies" };
        changes.push(format!("node {id} {verb} [{}]", new.join(", ")));
    }
    changes
}
