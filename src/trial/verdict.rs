//! What a trial saw, and what follows from it.

use std::time::Duration;

use serde::Serialize;

use super::casualties::Casualties;
use super::nemesis::Injury;
use super::onlookers::Seen;
use super::recorder::Recording;
use super::watch::Leadership;
use super::workload::Workload;
use crate::control::{ClusterStatus, ControlError};
use crate::scenario::Held;
use crate::supervisor::launch::LaunchError;
use crate::verify::history::History;
use crate::verify::judge::{Judged, Limits, Subject, judge};

/// Something that must be so, besides that the history makes sense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expectation {
    pub name: &'static str,
    pub held: Held,
    /// What was seen.
    pub detail: String,
}

/// Why something is not known to have held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// It did not.
    Broken(String),
    /// Nobody could look.
    Unseen(String),
}

impl From<ControlError> for Unmet {
    /// A supervisor that is gone or does not answer says nothing of the store.
    fn from(error: ControlError) -> Unmet {
        match error {
            ControlError::Refused(_) | ControlError::Unfinished(_) => {
                Unmet::Broken(error.to_string())
            }
            error => Unmet::Unseen(error.to_string()),
        }
    }
}

impl From<LaunchError> for Unmet {
    fn from(error: LaunchError) -> Unmet {
        match error {
            LaunchError::Control(error) => error.into(),
            error => Unmet::Broken(error.to_string()),
        }
    }
}

impl Expectation {
    pub fn new(name: &'static str, seen: Result<String, Unmet>) -> Expectation {
        let (held, detail) = match seen {
            Ok(seen) => (Held::Yes, seen),
            Err(Unmet::Broken(why)) => (Held::No, why),
            Err(Unmet::Unseen(why)) => (Held::Unknown, why),
        };
        Expectation { name, held, detail }
    }
}

/// The cluster of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    pub name: String,
    pub nodes: usize,
    pub transport: String,
    pub durability: String,
    /// Version of the programs.
    pub build: String,
}

impl About {
    /// As its supervisor says.
    pub fn of(status: &ClusterStatus) -> About {
        About {
            name: status.name.clone(),
            nodes: status.nodes.len(),
            transport: status.transport.as_str().to_owned(),
            durability: status.durability.as_str().to_owned(),
            build: status.build.clone(),
        }
    }
}

/// All that a trial saw.
#[derive(Clone, Debug)]
pub struct Record {
    pub seed: u64,
    pub workload: Workload,
    /// Kinds of faults that were allowed.
    pub faults: Vec<String>,
    pub about: About,
    /// Unix time of moment 0 of the history.
    pub began_unix_millis: u64,
    /// From the beginning until the clients were stopped; what comes after that is the final reads.
    pub worked: Duration,
    pub lanes: u64,
    /// So many of them are those of the onlookers, after those of the clients.
    pub onlookers: u64,
    /// What the onlookers saw.
    pub seen: Option<Seen>,
    pub recording: Recording,
    pub injuries: Vec<Injury>,
    pub leaderships: Vec<Leadership>,
    /// What befell the nodes.
    pub casualties: Casualties,
    pub expectations: Vec<Expectation>,
}

impl Record {
    pub fn history(&self) -> &History {
        &self.recording.history
    }

    /// Looks for contradictions. Takes a while: not for an event loop.
    pub fn judge(&self, limits: Limits<'_>) -> Judgement {
        let subjects = judge(self.history(), limits);
        let verdict = Verdict::of(&subjects, &self.expectations);
        Judgement { subjects, verdict }
    }
}

/// What a trial proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing speaks against the store.
    Valid,
    /// A contradiction, or something that must be and was not.
    Violation,
    /// Some keys or expectations could not be judged, and nothing else speaks against the store.
    Unknown,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Valid => "valid",
            Verdict::Violation => "violation",
            Verdict::Unknown => "unknown",
        }
    }

    /// One violated key, or one broken expectation, is enough; what is unknown is never valid.
    pub fn of(subjects: &[Subject], expectations: &[Expectation]) -> Verdict {
        let any = |is: fn(&Judged) -> bool| subjects.iter().any(|it| is(&it.verdict));
        let some = |held| expectations.iter().any(|it| it.held == held);
        if any(|it| matches!(it, Judged::Violated(_))) || some(Held::No) {
            return Verdict::Violation;
        }
        match any(|it| matches!(it, Judged::Unknown(_))) || some(Held::Unknown) {
            true => Verdict::Unknown,
            false => Verdict::Valid,
        }
    }
}

/// The verdict on each subject, and on the whole.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub subjects: Vec<Subject>,
    pub verdict: Verdict,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::judge::Why;

    #[test]
    fn a_broken_expectation_is_a_violation_and_what_is_unknown_is_not_valid() {
        let held = || Expectation::new("recovery", Ok(String::new()));
        let broken = || Expectation::new("recovery", Err(Unmet::Broken(String::new())));
        let unseen = || Expectation::new("recovery", Err(Unmet::Unseen(String::new())));
        let subject = |verdict| Subject { keys: vec![0], verdict };
        let valid = || subject(Judged::Valid);
        let unknown = || subject(Judged::Unknown(Why::Stopped));
        assert_eq!(Verdict::of(&[valid()], &[held()]), Verdict::Valid);
        assert_eq!(Verdict::of(&[valid(), unknown()], &[held()]), Verdict::Unknown);
        assert_eq!(Verdict::of(&[unknown()], &[held(), broken()]), Verdict::Violation);
        assert_eq!(Verdict::of(&[valid()], &[held(), unseen()]), Verdict::Unknown);
        assert_eq!(Verdict::of(&[valid()], &[broken(), unseen()]), Verdict::Violation);
    }
}
