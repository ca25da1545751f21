//! `kvctl cas`: sets a key if it is as expected.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use serde::Serialize;

use super::Global;
use super::bytes::{Encoding, JsonItem, JsonKey, printable};
use super::failure::{Exit, Failure, Outcome};
use super::output::{self, Format};
use super::put::read_value;
use super::reach::{self, Reach};
use crate::client::Swap;
use crate::kv::{Expected, KeyValue};
use crate::types::Revision;

/// Set a key only if it is as you expect (compare and swap)
///
/// Exits with 4, and prints what is there instead, if it is not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cas lock alice --expect-absent
  kvctl cas counter 42 --expect 41
  kvctl cas config - --expect-revision 17 < config.json

JSON fields: schema_version, key (or key_b64), swapped, revision (of the store), found (null, or
key, value, create_revision, mod_revision, version of what is there instead)")]
#[command(group = clap::ArgGroup::new("expectation").required(true))]
pub struct Cas {
    /// The key
    pub key: OsString,
    /// The new value; `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub new: OsString,
    /// Its value must be this
    #[arg(long, group = "expectation", value_name = "VALUE", allow_hyphen_values = true)]
    pub expect: Option<OsString>,
    /// It must not exist
    #[arg(long, group = "expectation")]
    pub expect_absent: bool,
    /// It must have been changed last at this revision
    #[arg(long, group = "expectation", value_name = "N")]
    pub expect_revision: Option<u64>,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: Reach,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    key: JsonKey<'a>,
    swapped: bool,
    revision: Revision,
    found: Option<JsonItem<'a>>,
}

pub async fn run(global: &Global, command: Cas) -> Outcome {
    let key = command.encoding.parse_key(&command.key)?;
    let value = read_value(&command.new)?;
    let expected = match (&command.expect, command.expect_revision) {
        (Some(value), _) => Expected::Value(Bytes::copy_from_slice(value.as_bytes())),
        (None, Some(revision)) => Expected::ModRevision(Revision(revision)),
        (None, None) => Expected::Absent,
    };
    let cluster = reach::connect(global, &command.reach, None).await?;
    let swap = match cluster.client.compare_and_swap(key.clone(), expected, value).await {
        Ok(swap) => swap,
        Err(error) => return Err(cluster.explain(error).await),
    };
    let (swapped, revision, found) = match &swap {
        Swap::Swapped { revision } => (true, *revision, None),
        Swap::Unchanged { revision, found } => (false, *revision, found.as_ref()),
    };
    let shown = command.encoding.show(&key);
    match global.output {
        Format::Json => {
            let found = found.map(|item| JsonItem { item, key_only: false });
            output::json(&Printed { key: JsonKey(&key), swapped, revision, found })?;
        }
        Format::Name if swapped => output::line(&shown)?,
        Format::Table if swapped => output::line(format!("ok, swapped at revision {revision}"))?,
        Format::Name | Format::Table => {}
    }
    match swapped {
        true => Ok(0),
        false => Err(unchanged(&shown, found)),
    }
}

fn unchanged(key: &str, found: Option<&KeyValue>) -> Failure {
    let instead = match found {
        None => "it does not exist".to_owned(),
        Some(item) => {
            format!("found `{}` (revision {})", printable(&item.value), item.mod_revision)
        }
    };
    Failure::new(
        Exit::Violated,
        format!("`{key}` is not as expected and was not changed: {instead}"),
    )
}
