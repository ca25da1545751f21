//! `kvctl defrag`: gives space back to the disk.

use std::time::Instant;

use serde::Serialize;

use super::Global;
use super::etcd::{self, EtcdReach};
use super::failure::{Failure, Outcome};
use super::output::{self, Format, Progress};

/// Give the space back to the disk that compaction has freed, node by node
///
/// Goes on to the next node if one fails, and then exits with 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl defrag
  kvctl defrag --timeout 60s -o json

JSON fields: schema_version, endpoints: endpoint, seconds, error (null: done)")]
pub struct Defrag {
    #[command(flatten)]
    pub reach: EtcdReach,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    endpoints: Vec<One>,
}

#[derive(Serialize)]
struct One {
    endpoint: String,
    seconds: f64,
    error: Option<String>,
}

pub async fn run(global: &Global, command: Defrag) -> Outcome {
    let etcd = etcd::client(global, &command.reach)?;
    let mut endpoints = Vec::new();
    let mut failed = None;
    for client in etcd.client.each() {
        let endpoint = client.endpoint().to_owned();
        let progress = Progress::spinner(format!("defragmenting {endpoint}"));
        let began = Instant::now();
        let done = client.defragment().await;
        let seconds = began.elapsed().as_secs_f64();
        drop(progress);
        let error = done.as_ref().err().map(ToString::to_string);
        match (global.output, &error) {
            (Format::Table, None) => output::line(format!("{endpoint} done in {seconds:.1} s"))?,
            (Format::Name, None) => output::line(&endpoint)?,
            (Format::Table | Format::Name, Some(error)) => output::warn(error),
            (Format::Json, _) => {}
        }
        failed = done.err().or(failed);
        endpoints.push(One { endpoint, seconds, error });
    }
    let (all, bad) = (endpoints.len(), endpoints.iter().filter(|it| it.error.is_some()).count());
    if global.output == Format::Json {
        output::json(&Printed { endpoints })?;
    }
    match failed {
        None => Ok(0),
        Some(error) => {
            let Failure { next, .. } = etcd.explain(error).await;
            let failure = Failure::failed(format!("{bad} of {all} nodes were not defragmented"));
            Err(Failure { next, ..failure })
        }
    }
}
