//! Whether what was expected came true, with the number that was measured.

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use super::expectation::{Calls, Expectation};
use super::script::{Expected, Of, Scenario};
use super::timeline::{Answered, Timeline};
use crate::units::short_duration;

/// What became of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    Yes,
    No,
    /// What was seen does not decide it.
    Unknown,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Held::Yes => "yes",
            Held::No => "NO",
            Held::Unknown => "unknown",
        })
    }
}

/// An expectation, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// As it is written, and in which line.
    pub text: String,
    pub line: usize,
    pub held: Held,
    /// What was measured.
    pub measured: String,
}

/// Judges all that a scenario expects.
pub fn judge(scenario: &Scenario, timeline: &Timeline) -> Vec<Finding> {
    let one = |(of, expected): (Of, &Expected)| {
        let (held, measured) = match timeline.span(of) {
            Some(span) => of_span(&expected.what, span, timeline),
            None => (Held::Unknown, "it did not come to that".to_owned()),
        };
        Finding { text: expected.text.clone(), line: expected.line, held, measured }
    };
    scenario.expected().map(one).collect()
}

fn when(is: bool) -> Held {
    if is { Held::Yes } else { Held::No }
}

fn of_span(what: &Expectation, span: Range<Duration>, seen: &Timeline) -> (Held, String) {
    match *what {
        Expectation::Resume { calls, within } => {
            let (one, answered) = calls.words();
            // What is answered after the end is answered in peace.
            let since = |it: &Answered| {
                it.calls == calls && it.called >= span.start && it.answered <= seen.lasted
            };
            let first = seen.answered.iter().filter(|it| since(it)).map(|it| it.answered).min();
            in_time(first, within, &span, seen, &format!("the first {one} was {answered}"))
        }
        Expectation::NewLeader { within } => {
            let mut elections = seen.elections.iter().filter(|(at, _)| *at >= span.start);
            let first = elections.next().map(|(at, _)| *at);
            in_time(first, within, &span, seen, "the election was won")
        }
        Expectation::Ready { within } => {
            let at_once = seen.ready.iter().rev().find(|(at, _)| *at <= span.start);
            let first = match at_once {
                Some((_, true)) => Some(span.start),
                _ => seen.ready.iter().find(|(at, is)| *is && *at > span.start).map(|(at, _)| *at),
            };
            in_time(first, within, &span, seen, "everybody followed closely")
        }
        Expectation::GoOn { calls, gap } => {
            let longest = longest_gap(calls, &span, seen);
            let (one, answered) = calls.words();
            let told = short_duration(longest);
            let held = match longest <= gap {
                // In so short a time nothing could have stopped for so long.
                true if span.end - span.start <= gap => Held::Unknown,
                held => when(held),
            };
            (held, format!("the longest time in which no {one} was {answered}: {told}"))
        }
        Expectation::Cease { calls } => {
            let inside = |it: &&Answered| {
                it.calls == calls && it.called >= span.start && it.answered < span.end
            };
            let count = seen.answered.iter().filter(inside).count();
            let (one, answered) = calls.words();
            (when(count == 0), format!("{count} {one}s called in that time were {answered}"))
        }
        Expectation::Some { calls, least } => {
            let inside = |it: &&Answered| it.calls == calls && span.contains(&it.answered);
            let count = seen.answered.iter().filter(inside).count() as u64;
            let (one, answered) = calls.words();
            (when(count >= least), format!("{count} {one}s were {answered}"))
        }
        Expectation::Elections { least, most } => {
            let count = seen.elections.iter().filter(|(at, _)| span.contains(at)).count() as u64;
            let s = if count == 1 { "" } else { "s" };
            (when((least..=most).contains(&count)), format!("{count} election{s}"))
        }
        Expectation::NotElected { node } => {
            let mut won = seen.elections.iter().filter(|(at, by)| span.contains(at) && *by == node);
            match won.next() {
                Some((at, _)) => (Held::No, format!("it was elected at {}", short_duration(*at))),
                None => (Held::Yes, "it was not elected".to_owned()),
            }
        }
        Expectation::Leads { node } => {
            match seen.leaders.iter().rev().find(|(at, _)| *at <= span.end) {
                Some((_, Some(leader))) => (when(*leader == node), format!("node {leader} leads")),
                Some((_, None)) => (Held::No, "nobody leads".to_owned()),
                None => (Held::Unknown, "nobody looked".to_owned()),
            }
        }
        Expectation::Voters { count } => {
            match seen.voters.iter().rev().find(|(at, _)| *at <= span.end) {
                Some((_, voters)) => (when(*voters == count), format!("{voters} voters")),
                None => (Held::Unknown, "nobody knows the voters".to_owned()),
            }
        }
        Expectation::ReplicasEqual => told(seen.replicas_equal, "equal", "different"),
        Expectation::Verdict => told(seen.verdict, "linearizable, nothing lost", "violated"),
    }
}

fn told(is: Option<bool>, yes: &str, no: &str) -> (Held, String) {
    match is {
        Some(true) => (Held::Yes, yes.to_owned()),
        Some(false) => (Held::No, no.to_owned()),
        None => (Held::Unknown, "undecided".to_owned()),
    }
}

/// Something was to happen within a time after the beginning of a span.
fn in_time(
    first: Option<Duration>,
    within: Duration,
    span: &Range<Duration>,
    seen: &Timeline,
    what: &str,
) -> (Held, String) {
    match first.map(|first| first.saturating_sub(span.start)) {
        Some(after) => (when(after <= within), format!("{what} after {}", short_duration(after))),
        None => {
            let watched = seen.lasted.saturating_sub(span.start);
            let held = if watched < within { Held::Unknown } else { Held::No };
            (held, format!("not in the {} until the end", short_duration(watched)))
        }
    }
}

fn longest_gap(calls: Calls, span: &Range<Duration>, seen: &Timeline) -> Duration {
    let answers = seen.answered.iter().filter(|it| it.calls == calls).map(|it| it.answered);
    let mut times: Vec<Duration> = answers.filter(|at| span.contains(at)).collect();
    times.push(span.start);
    times.push(span.end);
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    gaps.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Ten seconds; a fault from 2 to 6, during which nothing is acknowledged until 4.
    fn seen() -> Timeline {
        let write = |at| Answered { calls: Calls::Writes, called: secs(at), answered: secs(at) };
        Timeline {
            lasted: secs(10),
            steps: vec![(Some(secs(2)), Some(secs(6)))],
            answered: [0, 1, 4, 5, 6, 7, 8, 9].map(write).into(),
            elections: vec![(secs(3), NodeId(2))],
            leaders: vec![
                (secs(0), Some(NodeId(1))),
                (secs(2), None),
                (secs(3), Some(NodeId(2))),
                (secs(8), None),
            ],
            ready: vec![(secs(0), true), (secs(2), false), (secs(7), true)],
            voters: vec![(secs(0), 5)],
            momentary: Default::default(),
            replicas_equal: Some(true),
            verdict: None,
        }
    }

    fn check(text: &str, of: Of) -> (Held, String) {
        let word = crate::scenario::words::Word { text, at: 0 };
        let what = crate::scenario::expectation::parse(word).unwrap();
        let seen = seen();
        of_span(&what, seen.span(of).unwrap(), &seen)
    }

    #[test]
    fn what_comes_after_the_end_decides_nothing() {
        let late = Answered { calls: Calls::Reads, called: secs(5), answered: secs(11) };
        let mut seen = Timeline { answered: vec![late], ..seen() };
        let resume = Expectation::Resume { calls: Calls::Reads, within: secs(9) };
        assert_eq!(of_span(&resume, secs(4)..secs(6), &seen).0, Held::Unknown);
        let resume = Expectation::Resume { calls: Calls::Reads, within: secs(5) };
        assert_eq!(of_span(&resume, secs(4)..secs(6), &seen).0, Held::No);
        // A fault that outlasts the run, and what would come after it.
        seen.steps = vec![(Some(secs(9)), Some(secs(12)))];
        assert_eq!(seen.span(Of::Step(0)), Some(secs(9)..secs(10)));
        assert_eq!(seen.span(Of::After(0)), None);
    }

    #[test]
    fn each_expectation_is_judged_of_its_span() {
        let (whole, during, after) = (Of::Whole, Of::Step(0), Of::After(0));
        for (text, of, held, measured) in [
            (
                "writes resume within 2s",
                during,
                Held::Yes,
                "the first write was acknowledged after 2.0s",
            ),
            (
                "writes resume within 1s",
                during,
                Held::No,
                "the first write was acknowledged after 2.0s",
            ),
            ("reads resume within 9s", during, Held::Unknown, "not in the 8.0s until the end"),
            ("reads resume within 3s", during, Held::No, "not in the 8.0s until the end"),
            ("writes never stop for 2s", during, Held::Yes, "acknowledged: 2.0s"),
            ("writes never stop for 2s", whole, Held::No, "acknowledged: 3.0s"),
            ("no write is acknowledged", during, Held::No, "2 writes called in that time"),
            ("no read is answered", whole, Held::Yes, "0 reads called in that time"),
            ("at least 3 writes", after, Held::Yes, "4 writes were acknowledged"),
            ("no election", whole, Held::No, "1 election"),
            ("no election", after, Held::Yes, "0 elections"),
            ("a new leader within 1s", during, Held::Yes, "after 1.0s"),
            ("node 2 leads", during, Held::Yes, "node 2 leads"),
            ("node 1 leads", during, Held::No, "node 2 leads"),
            ("node 2 leads", whole, Held::No, "nobody leads"),
            ("writes never stop for 4s", during, Held::Unknown, "acknowledged: 2.0s"),
            ("node 2 is not elected", whole, Held::No, "it was elected at 3.0s"),
            ("node 2 is not elected", after, Held::Yes, "it was not elected"),
            ("ready within 1s", after, Held::Yes, "after 1.0s"),
            ("ready within 4s", during, Held::No, "after 5.0s"),
            ("5 voters", whole, Held::Yes, "5 voters"),
            ("all replicas are equal", whole, Held::Yes, "equal"),
            ("the verdict holds", whole, Held::Unknown, "undecided"),
        ] {
            let found = check(text, of);
            assert!(found.0 == held && found.1.contains(measured), "{text} {of:?}: {found:?}");
        }
    }
}
