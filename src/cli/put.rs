//! `kvctl put`: sets a key.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use serde::Serialize;

use super::Global;
use super::bytes::{Encoding, JsonKey};
use super::failure::{Failure, Outcome};
use super::output::{self, Format};
use super::reach::{self, Reach};
use crate::kv::limits::MAX_REQUEST_BYTES;
use crate::types::Revision;

/// Set a key to a value
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl put greeting hello
  kvctl put config - < config.json          the value from standard input
  kvctl put --hex 00ff value                a key that is no text
  kvctl put greeting hello -o json

JSON fields: schema_version, key (or key_b64), revision, existed")]
pub struct Put {
    /// The key
    pub key: OsString,
    /// The value; `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub value: OsString,
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
    revision: Revision,
    existed: bool,
}

pub async fn run(global: &Global, command: Put) -> Outcome {
    let key = command.encoding.parse_key(&command.key)?;
    let value = read_value(&command.value)?;
    let cluster = reach::connect(global, &command.reach, None).await?;
    let put = match cluster.client.put(key.clone(), value).await {
        Ok(put) => put,
        Err(error) => return Err(cluster.explain(error).await),
    };
    match global.output {
        Format::Json => output::json(&Printed {
            key: JsonKey(&key),
            revision: put.revision,
            existed: put.existed,
        })?,
        Format::Name => output::line(command.encoding.show(&key))?,
        Format::Table => {
            let what = if put.existed { "replaced" } else { "created" };
            output::line(format!("ok, {what} at revision {}", put.revision))?;
        }
    }
    Ok(0)
}

/// The value given on the command line, or on standard input.
pub fn read_value(argument: &OsString) -> Result<Bytes, Failure> {
    if argument != "-" {
        return Ok(Bytes::copy_from_slice(argument.as_bytes()));
    }
    let mut value = Vec::new();
    let most = MAX_REQUEST_BYTES as u64 + 1;
    std::io::stdin()
        .take(most)
        .read_to_end(&mut value)
        .map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))?;
    if value.len() as u64 == most {
        return Err(Failure::usage(format!(
            "the value on standard input is too large: key and value may have {MAX_REQUEST_BYTES} \
             bytes together"
        )));
    }
    Ok(value.into())
}
