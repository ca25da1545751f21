//! `kvctl chaos status`.

use std::time::Duration;

use serde::Serialize;

use crate::chaos::Fault;
use crate::cli::failure::Outcome;
use crate::cli::output::{self, Format};
use crate::cli::units::{short_duration, since, unix_millis};
use crate::cli::{Global, cluster};

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    faults: Vec<Fault>,
}

pub async fn run(global: &Global) -> Outcome {
    let faults = cluster::supervisor(global).await?.faults().await?;
    match global.output {
        Format::Json => output::json(&Printed { faults })?,
        Format::Name => {
            for fault in &faults {
                output::line(fault.id.to_string())?;
            }
        }
        Format::Table if faults.is_empty() => output::line("no fault is in force")?,
        Format::Table => {
            let mut table = output::table(&["id", "fault", "links", "since", "ends in", "by"]);
            for fault in &faults {
                let left = fault.until_millis.map(|until| until.saturating_sub(unix_millis()));
                let left = left.map_or("when healed".to_owned(), |millis| {
                    short_duration(Duration::from_millis(millis))
                });
                table.add_row([
                    fault.id.to_string(),
                    fault.to_string(),
                    match fault.links.len() {
                        0 => "-".to_owned(),
                        links => links.to_string(),
                    },
                    format!("{} ago", short_duration(since(fault.since_millis))),
                    left,
                    fault.by.clone(),
                ]);
            }
            output::print_table(&mut table)?;
        }
    }
    Ok(0)
}
