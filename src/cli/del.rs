//! `kvctl del`: removes keys.

use std::ffi::OsString;

use serde::Serialize;

use super::Global;
use super::bytes::{Encoding, JsonKey};
use super::failure::{Failure, Outcome};
use super::output::{self, Format};
use super::reach::{self, Reach};
use crate::types::Revision;

/// Delete one or more keys
///
/// Exits with 1 if none of them existed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl del greeting
  kvctl del a b c
  kvctl scan tmp/ -o name | xargs -d '\\n' kvctl del

JSON fields: schema_version, deleted (how many existed), keys: key (or key_b64), existed,
revision")]
pub struct Del {
    /// The keys, deleted one after the other
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<OsString>,
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

pub async fn run(global: &Global, command: Del) -> Outcome {
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
