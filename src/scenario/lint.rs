//! What each piece of a scenario says may make sense, and the whole may not.

use std::collections::BTreeSet;
use std::time::Duration;

use super::deed::{Deed, Order};
use super::expectation::{Calls, Expectation};
use super::mistake::Mistake;
use super::moment::Condition;
use super::script::{Expected, Of, Scenario, Step};
use crate::chaos::{FaultId, Injection, View};
use crate::types::NodeId;

/// Notes everything that makes no sense.
pub fn check(scenario: &Scenario, mistakes: &mut Vec<Mistake>) {
    nodes(scenario, mistakes);
    for (place, step) in scenario.steps.iter().enumerate() {
        fault(scenario, step, mistakes);
        end(scenario, place, step, mistakes);
        after(step, mistakes);
    }
    order(scenario, mistakes);
    for (of, expected) in scenario.expected() {
        mistakes.extend(expectation(scenario, of, expected));
    }
}

/// Why it cannot be run on the cluster of these nodes.
pub fn check_cluster(scenario: &Scenario, nodes: &BTreeSet<NodeId>) -> Vec<Mistake> {
    let (wanted, found) = (scenario.nodes, nodes.len());
    let mut mistakes = Vec::new();
    if wanted != found as u64 {
        let what = format!("the scenario is for {wanted} nodes, and the cluster has {found}");
        mistakes.push(Mistake::new(scenario.nodes_at.clone(), what));
    }
    let is_there = |id: &NodeId| nodes.contains(id) || scenario.joins() > 0;
    for (id, at) in scenario.mentions.iter().filter(|(id, _)| !is_there(id)) {
        let known: Vec<_> = nodes.iter().map(NodeId::to_string).collect();
        let what = format!("the cluster has no node {id}; it has {}", known.join(", "));
        mistakes.push(Mistake::new(at.clone(), what));
    }
    mistakes
}

fn nodes(scenario: &Scenario, mistakes: &mut Vec<Mistake>) {
    let most = scenario.nodes + scenario.joins();
    let expected = scenario.expected();
    let named = expected.filter_map(|(_, it)| it.what.node().map(|node| (node, it.at.clone())));
    for (NodeId(id), at) in scenario.mentions.iter().cloned().chain(named) {
        if id > most {
            let mistake = Mistake::new(at, format!("there is no node {id}"));
            let count = scenario.nodes;
            let help = format!("the scenario begins with `nodes = {count}`: 1 to {count}");
            mistakes.push(mistake.help(match most > count {
                true => format!("{help}, and those that join get the numbers up to {most}"),
                false => help,
            }));
        }
    }
}

/// A fault that nobody could inject, whoever led.
fn fault(scenario: &Scenario, step: &Step, mistakes: &mut Vec<Mistake>) {
    let Deed::Fault(wish) = &step.deed else { return };
    let all: BTreeSet<NodeId> = (1..=scenario.nodes + scenario.joins()).map(NodeId).collect();
    let injection = Injection {
        wish: wish.clone(),
        flap: step.flap,
        duration_millis: step.lasts.map(|lasts| lasts.as_millis() as u64),
        by: String::new(),
        blind: false,
    };
    let refusal = |leader: &NodeId| {
        let (all, leader) = (all.clone(), Some(*leader));
        let view = View { voters: all.clone(), all, leader, ..View::default() };
        injection.clone().begin(FaultId(0), &view, 0).err()
    };
    let refusals: Option<Vec<String>> = all.iter().map(refusal).collect();
    let is_named = |(node, at): &(NodeId, _)| !all.contains(node) && within(at, &step.at);
    if let Some(why) = refusals.and_then(|all| all.into_iter().next())
        && !scenario.mentions.iter().any(is_named)
    {
        mistakes.push(Mistake::new(step.at.clone(), why));
    }
}

fn within(inner: &std::ops::Range<usize>, outer: &std::ops::Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Whatever is begun has an end.
fn end(scenario: &Scenario, place: usize, step: &Step, mistakes: &mut Vec<Mistake>) {
    let starts = |step: &Step| matches!(step.deed, Deed::Order(Order::Start { .. }));
    let later = |is: &dyn Fn(&Step) -> bool| scenario.steps[place + 1..].iter().any(is);
    let heals = |step: &Step| step.deed == Deed::Heal;
    let (what, help) = match &step.deed {
        Deed::Fault(_) if step.lasts.is_some() && step.is_momentary() => {
            ("a jump is over once it was made", "leave out its `for`")
        }
        Deed::Fault(wish) if step.lasts.is_none() && !wish.is_momentary() && !later(&heals) => {
            ("this fault has no end", "give it `for = \"5s\"`, or a later step `do = \"heal\"`")
        }
        Deed::Order(Order::Stop { .. }) if !later(&starts) => {
            ("what is stopped is never started", "a later step says `do = \"node start …\"`")
        }
        _ => return,
    };
    mistakes.push(Mistake::new(step.at.clone(), what).help(help));
}

/// `then` is about what comes after an end.
fn after(step: &Step, mistakes: &mut Vec<Mistake>) {
    let lasts = matches!(step.deed, Deed::Fault(_)) && !step.is_momentary();
    if let (Some(first), false) = (step.then.first(), lasts) {
        let what = "`then` is about what comes after a fault that lasts, and this step is none";
        mistakes.push(Mistake::new(first.at.clone(), what).help("write it behind `expect`"));
    }
}

/// Steps begin one after the other, and all of them before the end.
fn order(scenario: &Scenario, mistakes: &mut Vec<Mistake>) {
    let mut earliest = Duration::ZERO;
    let mut faults = false;
    for step in &scenario.steps {
        let before = earliest;
        earliest = match step.moment.condition {
            Condition::At(at) => at + step.moment.wait,
            _ => earliest + step.moment.wait,
        };
        if earliest < before {
            let what = format!(
                "this step is to begin {earliest:?} after the beginning, and the one before it \
                 not sooner than {before:?}"
            );
            mistakes.push(Mistake::new(step.at.clone(), what).help("steps stand in their order"));
            earliest = before;
        }
        if earliest >= scenario.lasts {
            let (sooner, lasts) = (earliest, scenario.lasts);
            let what =
                format!("this step never begins: not before {sooner:?}, and all ends at {lasts:?}");
            mistakes.push(Mistake::new(step.at.clone(), what).help("let the scenario last longer"));
        }
        if step.moment.condition == Condition::FaultsOver && !faults {
            let what = "no earlier step is a fault: there is nothing that could be over";
            mistakes.push(Mistake::new(step.at.clone(), what));
        }
        faults |= matches!(step.deed, Deed::Fault(_));
    }
}

/// What could not be judged, or could not be otherwise.
fn expectation(scenario: &Scenario, of: Of, expected: &Expected) -> Option<Mistake> {
    let wrong = |what: String, help: &str| {
        Some(Mistake::new(expected.at.clone(), what).help(help.to_owned()))
    };
    let reads = scenario.workload.reads;
    match expected.what.calls() {
        Some(Calls::Reads) if reads == 0.0 => {
            return wrong("nobody reads".into(), "see `reads` in the workload");
        }
        Some(Calls::Writes) if reads == 1.0 => {
            return wrong("nobody writes".into(), "see `reads` in the workload");
        }
        _ => {}
    }
    if let Some(within) = expected.what.within()
        && within > scenario.lasts
    {
        let what =
            format!("{within:?} is longer than the scenario, which lasts {:?}", scenario.lasts);
        return wrong(what, "it could never be judged: make it shorter, or the scenario longer");
    }
    if let (Of::Step(step), Some(within)) = (of, expected.what.within())
        && let Some(lasts) = scenario.steps.get(step).and_then(|step| step.lasts)
        && within > lasts
    {
        let what = format!("{within:?} is longer than the fault, which lasts {lasts:?}");
        return wrong(what, "make it shorter; what comes after the fault stands behind `then`");
    }
    if expected.what.is_of_the_whole() && of != Of::Whole {
        let help = "write it at the head of the file, behind its own `expect`";
        return wrong("this can be said of the whole run only".into(), help);
    }
    let span = match of {
        Of::Whole => Some(scenario.lasts),
        Of::Step(step) => scenario.steps.get(step).and_then(|step| step.lasts),
        Of::After(_) => None,
    };
    match (expected.what, span) {
        (Expectation::GoOn { gap, .. }, Some(span)) if gap >= span => {
            let what = format!("in a span of {span:?} nothing can stop for {gap:?}");
            wrong(what, "it could never be broken: make it shorter")
        }
        _ => None,
    }
}
