//! `kvctl del`: removes keys.

use std::ffi::OsString;

use serde::Serialize;

use super::Global;
use super::bytes::{Encoding, JsonKey};
use super::failure::{Failure, Outcome};
use super::output::{self, Format};
use super::reach::{self, Cluster, Reach};
use super::selection::{Breadth, Keys};
use crate::kv::{DeleteRangeRequest, Effect, Operation, RequestOp, ResponseOp, Transaction};
use crate::types::Revision;

/// Delete one or more keys, or a range of them at once
///
/// Exits with 1 if none of them existed. A range goes at one revision: nobody sees half of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl del greeting
  kvctl del a b c
  kvctl del users/ --prefix                 all that begin with it, at once
  kvctl del a --range m                     from a up to m, without m
  kvctl scan tmp/ -o name | xargs -d '\\n' kvctl del

JSON fields: schema_version, deleted (how many existed), keys: key (or key_b64), existed,
revision; of a range: schema_version, deleted, revision")]
pub struct Del {
    /// The keys, deleted one after the other
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<OsString>,
    /// From the one KEY up to this key (exclusive)
    #[arg(long = "range", value_name = "END")]
    pub end: Option<OsString>,
    #[command(flatten)]
    pub breadth: Breadth,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: Reach,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    deleted: usize,
    keys: Vec<PrintedKey<'a>>,
}

#[derive(Serialize)]
struct PrintedKey<'a> {
    #[serde(flatten)]
    key: JsonKey<'a>,
    existed: bool,
    revision: Revision,
}

/// What `-o json` prints of a range.
#[derive(Serialize)]
struct PrintedRange {
    deleted: u64,
    revision: Revision,
}

pub async fn run(global: &Global, command: Del) -> Outcome {
    let Breadth { prefix, from_key } = command.breadth;
    if prefix || from_key || command.end.is_some() {
        let [key] = &command.keys[..] else {
            return Err(Failure::usage("--prefix, --from-key and --range go with one key"));
        };
        let keys = command.breadth.keys(command.encoding, key, command.end.as_ref())?;
        let cluster = reach::connect(global, &command.reach, None).await?;
        return range(global, &cluster, keys).await;
    }
    let keys = command.keys.iter().map(|key| command.encoding.parse_key(key));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let cluster = reach::connect(global, &command.reach, None).await?;
    let mut printed = Vec::new();
    for key in &keys {
        let shown = command.encoding.show(key);
        let deleted = match cluster.client.delete(key.clone()).await {
            Ok(deleted) => deleted,
            Err(error) => {
                let done = printed.len();
                let failure = cluster.explain(error).await.while_doing(format!("key `{shown}`"));
                return Err(match done {
                    0 => failure,
                    _ => failure.next(format!("the {done} keys before it are dealt with")),
                });
            }
        };
        match (global.output, deleted.existed) {
            (Format::Table, true) => {
                output::line(format!("deleted {shown} at revision {}", deleted.revision))?;
            }
            (Format::Table, false) if keys.len() > 1 => {
                output::note(format!("there is no key `{shown}`"));
            }
            (Format::Name, true) => output::line(shown)?,
            _ => {}
        }
        let crate::client::Deleted { existed, revision } = deleted;
        printed.push(PrintedKey { key: JsonKey(key), existed, revision });
    }
    let deleted = printed.iter().filter(|key| key.existed).count();
    if global.output == Format::Json {
        output::json(&Printed { deleted, keys: printed })?;
    }
    match (deleted, &keys[..]) {
        (0, [key]) => {
            let shown = command.encoding.show(key);
            Err(Failure::failed(format!("there is no key `{shown}`")))
        }
        (0, keys) => Err(Failure::failed(format!("none of the {} keys exists", keys.len()))),
        _ => Ok(0),
    }
}

async fn range(global: &Global, cluster: &Cluster<'_>, keys: Keys) -> Outcome {
    let Keys { start, end, .. } = keys;
    let success = vec![RequestOp::DeleteRange(DeleteRangeRequest { start, end, prev_kv: false })];
    let transaction = Transaction { success, ..Transaction::default() };
    let outcome = match cluster.client.write(Operation::Transaction(transaction)).await {
        Ok(outcome) => outcome,
        Err(error) => return Err(cluster.explain(error).await),
    };
    let deleted = match &outcome.effect {
        Effect::Transaction(result) => match &result.responses[..] {
            [ResponseOp::DeleteRange { deleted, .. }] => *deleted,
            _ => return Err(Failure::failed("the answer is not that of a deletion")),
        },
        _ => return Err(Failure::failed("the answer is not that of a deletion")),
    };
    let revision = outcome.revision;
    match global.output {
        Format::Json => output::json(&PrintedRange { deleted, revision })?,
        Format::Name if deleted > 0 => output::line(deleted.to_string())?,
        Format::Table if deleted > 0 => {
            let keys = if deleted == 1 { "key" } else { "keys" };
            output::line(format!("deleted {deleted} {keys} at revision {revision}"))?;
        }
        Format::Name | Format::Table => {}
    }
    match deleted {
        0 => Err(Failure::failed("there is no key in that range")),
        _ => Ok(0),
    }
}
