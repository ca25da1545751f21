//! `kvctl get`: reads a key.

use std::ffi::OsString;

use serde::Serialize;

use super::Global;
use super::bytes::{Encoding, JsonItem};
use super::failure::{Failure, Outcome};
use super::output::{self, Format};
use super::reach::{self, Freshness, Reach};
use crate::types::{NodeId, Revision};

/// Print the value of a key
///
/// Exits with 1 if the key does not exist. A read sees every write that was acknowledged before it
/// began; with --stale it sees the state of one replica as it is, and says which revision that was.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl get greeting
  kvctl get photo --raw > photo.jpg         exactly the value's bytes
  kvctl get greeting --stale --node 3       node 3's own view, possibly old
  kvctl get greeting -o json

JSON fields: schema_version, key (or key_b64), value (or value_b64), create_revision, mod_revision,
version, revision (of the store), stale, node")]
pub struct Get {
    /// The key
    pub key: OsString,
    /// Print exactly the value's bytes, without a line feed after them
    #[arg(long)]
    pub raw: bool,
    #[command(flatten)]
    pub freshness: Freshness,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: Reach,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    item: JsonItem<'a>,
    revision: Revision,
    stale: bool,
    node: Option<NodeId>,
}

pub async fn run(global: &Global, command: Get) -> Outcome {
    let key = command.encoding.parse_key(&command.key)?;
    let Freshness { stale, node } = command.freshness;
    let cluster = reach::connect(global, &command.reach, node).await?;
    let got = match cluster.client.get(key.clone(), command.freshness.consistency()).await {
        Ok(got) => got,
        Err(error) => return Err(cluster.explain(error).await),
    };
    if stale {
        let served = got.node.map_or_else(String::new, |node| format!(" by node {node}"));
        output::note(format!("stale: served at revision {}{served}", got.revision));
    }
    let Some(item) = &got.item else {
        let key = command.encoding.show(&key);
        let revision = got.revision;
        return Err(Failure::failed(format!("there is no key `{key}` (revision {revision})")));
    };
    match global.output {
        Format::Json => output::json(&Printed {
            item: JsonItem { item, key_only: false },
            revision: got.revision,
            stale,
            node: got.node,
        })?,
        Format::Name => output::line(command.encoding.show(&item.key))?,
        Format::Table => {
            let mut bytes = item.value.to_vec();
            if !command.raw {
                bytes.push(b'\n');
            }
            output::write(&bytes)?;
        }
    }
    Ok(0)
}
