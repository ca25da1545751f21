//! From the file's text to a scenario.

use std::ops::Range;
use std::time::Duration;

use toml::de::DeTable;

use super::deed::{self, Deed};
use super::expectation;
use super::fields::{Fields, Placed, Text};
use super::line::Reader;
use super::lint;
use super::mistake::{Mistake, Source};
use super::moment::{self, Condition, Moment};
use super::script::{Expected, Scenario, Step, Workload};

/// A client that waits for longer sees nothing.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that does less is none.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Longer than anybody waits.
const MAX_LASTS: Duration = Duration::from_secs(3_600);

/// Reads a scenario. The error is everything that is wrong with it, in the order of the file.
pub fn read(source: Source<'_>) -> Result<Scenario, Vec<Mistake>> {
    let (table, errors) = DeTable::parse_recoverable(source.text);
    let mut mistakes: Vec<Mistake> = errors.iter().map(no_toml).collect();
    if mistakes.is_empty() {
        let scenario = whole(source, table.get_ref(), &mut mistakes);
        lint::check(&scenario, &mut mistakes);
        if mistakes.is_empty() {
            return Ok(scenario);
        }
    }
    mistakes.sort_by_key(|mistake| (mistake.at.start, mistake.at.end));
    mistakes.dedup();
    Err(mistakes)
}

fn no_toml(error: &toml::de::Error) -> Mistake {
    let at = error.span().unwrap_or(0..0);
    Mistake::new(at, format!("this is no TOML: {}", error.message().trim_end()))
}

fn whole<'t>(source: Source<'t>, table: &DeTable<'t>, mistakes: &mut Vec<Mistake>) -> Scenario {
    let mut below = Vec::new();
    let mut reader = Reader::default();
    let mut fields = Fields::new(source.text, "scenario", table, 0..0, mistakes);
    let name = fields.text("name").map(|text| text.text);
    let teaches = fields.text("teaches").map(|text| text.text);
    let lasts = fields.time("lasts");
    for (is_missing, key, example) in [
        (name.is_none(), "name", "name = \"half-dead-leader\""),
        (teaches.is_none(), "teaches", "teaches = \"What one sees, and why.\""),
        (lasts.is_none(), "lasts", "lasts = \"20s\""),
    ] {
        if is_missing && !table.contains_key(key) {
            fields.missing(key, example);
        }
    }
    if let Some((long, at)) = lasts.clone().filter(|(lasts, _)| *lasts > MAX_LASTS) {
        fields.note(Mistake::new(at, format!("{long:?} is longer than an hour")));
    }
    let (nodes, nodes_at) = fields.number("nodes", 1..=31).unwrap_or((5, 0..0));
    let seed = fields.number("seed", 0..=u64::MAX).map_or(0, |(seed, _)| seed);
    let lease = fields.switch("lease").unwrap_or(false);
    let workload = fields
        .table("workload")
        .map(|(table, at)| workload(Fields::new(source.text, "workload", table, at, &mut below)));
    let texts = fields.texts("expect");
    let expect = expected(source, texts, &mut below);
    let steps = fields
        .tables("step")
        .into_iter()
        .map(|(table, at)| step(source, (table, at), &mut reader, &mut below));
    let steps = steps.collect();
    fields.finish();
    mistakes.append(&mut below);
    Scenario {
        file: source.name.to_owned(),
        name: name.unwrap_or_default(),
        teaches: teaches.unwrap_or_default().trim().to_owned(),
        nodes,
        nodes_at,
        seed,
        lasts: lasts.map_or(MAX_LASTS, |(lasts, _)| lasts),
        lease,
        workload: workload.unwrap_or_default(),
        steps,
        expect,
        mentions: reader.mentions,
    }
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            clients: 4,
            keys: 5,
            reads: 0.5,
            pause: Duration::from_millis(25),
            timeout: Duration::from_millis(500),
        }
    }
}

/// A time that is no longer than `most`.
fn short(fields: &mut Fields<'_, '_>, key: &'static str, most: Duration) -> Option<Duration> {
    let (time, at) = fields.time(key)?;
    if time > most {
        fields.note(Mistake::new(at, format!("{time:?} is too long: at most {most:?}")));
    }
    Some(time)
}

fn workload(mut fields: Fields<'_, '_>) -> Workload {
    let usual = Workload::default();
    let workload = Workload {
        clients: fields.number("clients", 1..=64).map_or(usual.clients, |(n, _)| n),
        keys: fields.number("keys", 1..=10_000).map_or(usual.keys, |(n, _)| n),
        reads: fields.share("reads").map_or(usual.reads, |(share, _)| share),
        pause: short(&mut fields, "pause", MAX_PAUSE).unwrap_or(usual.pause),
        timeout: short(&mut fields, "timeout", MAX_TIMEOUT).unwrap_or(usual.timeout),
    };
    fields.finish();
    workload
}

fn step<'t>(
    source: Source<'t>,
    (table, at): Placed<&DeTable<'t>>,
    reader: &mut Reader,
    mistakes: &mut Vec<Mistake>,
) -> Step {
    let mut below = Vec::new();
    let mut fields = Fields::new(source.text, "step", table, at.clone(), mistakes);
    let moment = moment(&mut fields);
    let text = fields.text("do");
    let deed = text.as_ref().map(|text| {
        deed::parse(text.word(), reader).unwrap_or_else(|mistake| {
            below.push(text.mistake(mistake));
            Deed::Nothing
        })
    });
    let lasts = fields.time("for");
    let flap = fields.parsed("flap", "two times, as in \"2s/500ms\"", str::parse);
    let texts = fields.texts("expect");
    let expect = expected(source, texts, &mut below);
    let texts = fields.texts("then");
    let then = expected(source, texts, &mut below);
    let deed = deed.unwrap_or(Deed::Nothing);
    if below.is_empty() {
        only_faults_last(
            &mut fields,
            &deed,
            [&lasts.clone().map(|it| it.1), &flap.clone().map(|it| it.1)],
        );
    }
    fields.finish();
    mistakes.append(&mut below);
    Step {
        line: source.place(at.start).line,
        at: text.as_ref().map_or(at, Text::span),
        moment,
        deed,
        text: text.map_or_else(String::new, |text| text.text),
        lasts: lasts.map(|(lasts, _)| lasts),
        flap: flap.map(|(flap, _)| flap),
        expect,
        then,
    }
}

/// Whatever is no fault has no duration.
fn only_faults_last(fields: &mut Fields<'_, '_>, deed: &Deed, keys: [&Option<Range<usize>>; 2]) {
    if matches!(deed, Deed::Fault(_)) {
        return;
    }
    for (key, at) in ["for", "flap"].iter().zip(keys) {
        if let Some(at) = at {
            let what = format!("only a fault has a `{key}`, and this step is none");
            let help = "leave it out; `wait` in the next step makes that one begin later";
            fields.note(Mistake::new(at.clone(), what).help(help));
        }
    }
}

fn moment(fields: &mut Fields<'_, '_>) -> Moment {
    let at = fields.any_time("at");
    let when = fields.text("when");
    let wait = fields.any_time("wait");
    if let (Some((_, span)), Some(_)) = (&at, &when) {
        let mistake = Mistake::new(span.clone(), "a step has `at` or `when`, not both");
        fields.note(mistake.help("`wait` is added to either"));
    }
    let condition = match (at, when) {
        (Some((at, _)), _) => Condition::At(at),
        (None, Some(text)) => moment::parse(text.word()).unwrap_or_else(|mistake| {
            fields.note(text.mistake(mistake));
            Condition::Next
        }),
        (None, None) => Condition::Next,
    };
    Moment { condition, wait: wait.map_or(Duration::ZERO, |(wait, _)| wait) }
}

fn expected(source: Source<'_>, texts: Vec<Text>, mistakes: &mut Vec<Mistake>) -> Vec<Expected> {
    let read = |text: Text| match expectation::parse(text.word()) {
        Ok(what) => {
            let (at, line) = (text.span(), source.place(text.span().start).line);
            Some(Expected { at, line, text: text.text, what })
        }
        Err(mistake) => {
            mistakes.push(text.mistake(mistake));
            None
        }
    };
    texts.into_iter().filter_map(read).collect()
}
