//! What came of a scenario.

use super::Stage;
use crate::scenario::expectation::Calls;
use crate::scenario::{Answered, Finding, Held, judge};
use crate::sim::properties::{Checked, expectation};
use crate::sim::world::World;
use crate::types::Instant;

impl World {
    /// Judges what the scenario expects, once everything else has been judged.
    pub fn judge_scenario(&mut self) -> Checked {
        let Some(mut stage) = self.stage.take() else { return Ok(()) };
        let began = stage.began.unwrap_or_default();
        let since = |at: &Instant| at.0.checked_sub(began.0);
        let answered = self.clients.answered.iter().filter_map(|(called, answered, write)| {
            let calls = if *write { Calls::Writes } else { Calls::Reads };
            Some(Answered { calls, called: since(called)?, answered: since(answered)? })
        });
        let timeline = &mut stage.timeline;
        timeline.answered = answered.collect();
        let elections = self.elected.iter().filter_map(|(at, id)| Some((since(at)?, *id)));
        timeline.elections = elections.filter(|(at, _)| *at <= timeline.lasted).collect();
        // Peace has shown the one; the other was judged just now.
        timeline.replicas_equal = Some(true);
        timeline.verdict = (self.clients.undecided == 0).then_some(true);
        stage.findings = judge(&stage.scenario, timeline);
        let checked = verdict(&stage);
        self.stage = Some(stage);
        checked
    }
}

/// The first thing that is not as expected.
fn verdict(stage: &Stage) -> Checked {
    let Stage { scenario, director, findings, .. } = stage;
    if let Some((step, why)) = director.waits_for(scenario) {
        let step = &scenario.steps[step];
        let (file, line) = (&scenario.file, step.line);
        return expectation::disappointed(format!("{file}:{line}: this step never began: {why}"));
    }
    match findings.iter().find(|finding| finding.held != Held::Yes) {
        Some(Finding { text, line, held, measured }) => {
            let file = &scenario.file;
            let not = if *held == Held::No { "" } else { "cannot be judged: " };
            expectation::disappointed(format!("{file}:{line}: `{text}`: {not}{measured}"))
        }
        None => Ok(()),
    }
}
