//! Making a failure small.
//!
//! # The problem
//! A life that went wrong has a hundred faults, five clients and seven nodes, and almost all of
//! that has nothing to do with it. Nobody reads such a story.
//!
//! # The rule
//! Leave out a piece of the schedule and live it again. If the same property breaks, the piece did
//! not matter; if not, put it back. Large pieces first, then smaller ones, until no single piece
//! can go (Zeller's delta debugging). Another property that breaks instead does not count: that
//! would be another story.
//!
//! # Caveats
//! The result is small, not smallest: a piece that is left out shifts what chance does to the rest.
//! The number of lives is bounded.
//!
//! A scenario is what was asked for: its steps and its length stay, and only its clients and the
//! circumstances are made smaller. Its expectations are one property; so there, the same
//! expectation (by its line) has to be broken.

use std::time::Duration;

use super::schedule::Schedule;
use super::{Report, live};
use crate::types::Instant;

/// Lives that are spent on one failure at most.
pub const MAX_LIVES: usize = 600;

struct Shrinking<'a> {
    best: Schedule,
    report: Report,
    what: (&'static str, Option<String>),
    lives: usize,
    progress: &'a mut dyn FnMut(usize),
}

/// A schedule, as small as was found, in which the same property breaks as in `schedule`; and its
/// report. `None` if nothing breaks. `progress` is told how many lives were spent.
pub fn shrink(schedule: Schedule, progress: &mut dyn FnMut(usize)) -> Option<(Schedule, Report)> {
    let report = live(schedule.clone(), false);
    let what = what_broke(&schedule, &report)?;
    let mut shrinking = Shrinking { best: schedule, report, what, lives: 0, progress };
    loop {
        let before = shrinking.best.clone();
        shrinking.shorten();
        shrinking.drop_faults();
        shrinking.drop_clients();
        shrinking.drop_nodes();
        shrinking.calm_down();
        if shrinking.best == before || shrinking.lives >= MAX_LIVES {
            let told = live(shrinking.best.clone(), true);
            return Some((shrinking.best, told));
        }
    }
}

/// The property that broke, and in a scenario whereabouts.
fn what_broke(schedule: &Schedule, report: &Report) -> Option<(&'static str, Option<String>)> {
    let (broken, _) = report.broken.as_ref()?;
    let place = |how: &str| how.split(": ").next().unwrap_or_default().to_owned();
    Some((broken.rule.name, schedule.scenario.is_some().then(|| place(&broken.how))))
}

impl Shrinking<'_> {
    /// Whether the same still breaks; if so, this is the best so far.
    fn accept(&mut self, candidate: Schedule) -> bool {
        if candidate == self.best || self.lives >= MAX_LIVES {
            return false;
        }
        self.lives += 1;
        (self.progress)(self.lives);
        let report = live(candidate.clone(), false);
        let same = what_broke(&candidate, &report).as_ref() == Some(&self.what);
        if same {
            self.best = candidate;
            self.report = report;
        }
        same
    }

    /// Nothing that comes after the breach matters to it.
    fn shorten(&mut self) {
        if self.best.scenario.is_some() {
            return;
        }
        let Some((_, Instant(at))) = &self.report.broken else { return };
        let at = *at + Duration::from_millis(1);
        if at < self.best.duration {
            let candidate = Schedule { duration: at, ..self.best.clone() };
            self.accept(candidate);
        }
        for share in [2, 4, 8] {
            let duration = self.best.duration * (share - 1) / share;
            let candidate = Schedule { duration, ..self.best.clone() };
            self.accept(candidate);
        }
    }

    fn drop_faults(&mut self) {
        let mut size = self.best.faults.len().div_ceil(2);
        while size > 0 && self.lives < MAX_LIVES {
            let mut from = 0;
            while from < self.best.faults.len() {
                let mut candidate = self.best.clone();
                let to = (from + size).min(candidate.faults.len());
                candidate.faults.drain(from..to);
                if !self.accept(candidate) {
                    from += size;
                }
            }
            size /= 2;
        }
    }

    fn drop_clients(&mut self) {
        for place in (0..self.best.clients.len()).rev() {
            let mut candidate = self.best.clone();
            candidate.clients.remove(place);
            self.accept(candidate);
        }
        for place in 0..self.best.clients.len() {
            for operations in [1, 2, 5, 20, 100] {
                let mut candidate = self.best.clone();
                if candidate.clients[place].operations <= operations {
                    break;
                }
                candidate.clients[place].operations = operations;
                if self.accept(candidate) {
                    break;
                }
            }
        }
    }

    fn drop_nodes(&mut self) {
        while self.best.nodes > 3 && self.best.scenario.is_none() {
            let candidate = Schedule { nodes: self.best.nodes - 1, ..self.best.clone() };
            if !self.accept(candidate) {
                break;
            }
        }
    }

    /// Circumstances without surprises, where they do not matter.
    fn calm_down(&mut self) {
        let mut candidate = self.best.clone();
        candidate.setting.network.jitter = Duration::ZERO;
        self.accept(candidate);
        let mut candidate = self.best.clone();
        candidate.setting.value_bytes = 0;
        candidate.setting.keys = 1;
        self.accept(candidate);
        for place in 0..self.best.faults.len() {
            let mut candidate = self.best.clone();
            if candidate.faults[place].lasts < Duration::from_millis(2) {
                continue;
            }
            candidate.faults[place].lasts /= 2;
            self.accept(candidate);
        }
    }
}
