//! `kvctl cluster events`: what happened.

use std::time::Duration;

use serde::Serialize;

use crate::cli::Global;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::cli::units::timestamp;
use crate::control::Event;

/// How long the supervisor may hold back an answer when there is nothing new.
const WAIT: Duration = Duration::from_secs(20);
/// How many events are asked for at once.
const PAGE: u32 = 500;

/// Show what happened: starts, deaths, new leaders, what was done on purpose
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster events
  kvctl cluster events -f               and go on as they happen
  kvctl cluster events -n 5 -o json

JSON fields: schema_version, events: sequence, time_millis (Unix time), node (null: the cluster),
kind, detail, fault (of fault-began and fault-ended, as in 'kvctl chaos status -o json'; what a
drill hides is told when it ends); with -f, one event a line with the same fields and
schema_version")]
pub struct Events {
    /// Go on, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// The newest so many
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub lines: u32,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    events: Vec<Event>,
}

pub async fn run(global: &Global, command: Events) -> Outcome {
    let supervisor = super::supervisor(global).await?;
    let events = supervisor.events(0, command.lines, Duration::ZERO).await?;
    let mut last = events.last().map_or(0, |event| event.sequence);
    if global.output == Format::Json && !command.follow {
        output::json(&Printed { events })?;
        return Ok(0);
    }
    events.iter().try_for_each(|event| print(global, event))?;
    if !command.follow {
        return Ok(0);
    }
    loop {
        for event in supervisor.events(last, PAGE, WAIT).await? {
            print(global, &event)?;
            last = last.max(event.sequence);
        }
    }
}

fn print(global: &Global, event: &Event) -> Result<(), Failure> {
    match global.output {
        Format::Json => output::json_line(event),
        Format::Name => output::line(&event.kind),
        Format::Table => {
            let node = event.node.map_or_else(|| "-".to_owned(), |node| format!("node {node}"));
            let time = timestamp(event.time_millis);
            let (kind, detail) = (&event.kind, &event.detail);
            output::line(format!("{time}  {node:<8} {kind:<22} {detail}").trim_end())
        }
    }
}
