//! `kvctl put`: sets a key.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use serde::Serialize;

use super::Global;
use super::bytes::{Encoding, JsonItem, JsonKey, parse_lease, printable};
use super::failure::{Failure, Outcome};
use super::output::{self, Format};
use super::reach::{self, Reach};
use crate::kv::limits::MAX_REQUEST_BYTES;
use crate::kv::{Effect, KeyValue, Operation, PutRequest, RequestOp, ResponseOp, Transaction};
use crate::types::{LeaseId, Revision};

/// Set a key to a value
///
/// A put takes the key off the lease that it is attached to, unless --lease or --ignore-lease says
/// otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl put greeting hello
  kvctl put config - < config.json          the value from standard input
  kvctl put --hex 00ff value                a key that is no text
  kvctl put node/7 up --lease 694d77aa9e38260f
  kvctl put node/7 --ignore-value --lease 694d77aa9e38260f
  kvctl put greeting hi --prev-kv           and print what was there before
  kvctl put greeting hello -o json

JSON fields: schema_version, key (or key_b64), revision, existed; with --prev-kv also prev (null, or
key, value, create_revision, mod_revision, version, lease of what was there before)")]
pub struct Put {
    /// The key
    pub key: OsString,
    /// The value; `-` reads it from standard input
    #[arg(
        allow_hyphen_values = true,
        required_unless_present = "ignore_value",
        conflicts_with = "ignore_value"
    )]
    pub value: Option<OsString>,
    #[command(flatten)]
    pub how: How,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: Reach,
}

/// What else becomes of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct How {
    /// Attach the key to this lease
    #[arg(long, value_name = "ID", value_parser = parse_lease, conflicts_with = "ignore_lease")]
    pub lease: Option<LeaseId>,
    /// Print what was there before
    #[arg(long)]
    pub prev_kv: bool,
    /// Keep the value that is there; the key must exist
    #[arg(long)]
    pub ignore_value: bool,
    /// Keep the lease that is there; the key must exist
    #[arg(long)]
    pub ignore_lease: bool,
}

impl How {
    pub fn request(self, key: Bytes, value: Bytes) -> PutRequest {
        let How { lease, prev_kv, ignore_value, ignore_lease } = self;
        let lease = lease.unwrap_or_default();
        PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
    }
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    key: JsonKey<'a>,
    revision: Revision,
    existed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<Option<JsonItem<'a>>>,
}

/// What a put did.
struct Done {
    revision: Revision,
    existed: bool,
    prev: Option<KeyValue>,
}

pub async fn run(global: &Global, command: Put) -> Outcome {
    let key = command.encoding.parse_key(&command.key)?;
    let value = command.value.as_ref().map(read_value).transpose()?.unwrap_or_default();
    let shown = command.encoding.show(&key);
    let cluster = reach::connect(global, &command.reach, None).await?;
    let operation = match command.how == How::default() {
        true => Operation::Put { key: key.clone(), value },
        false => {
            // Asked for in any case: it says whether the key existed.
            let put = PutRequest { prev_kv: true, ..command.how.request(key.clone(), value) };
            let success = vec![RequestOp::Put(put)];
            Operation::Transaction(Transaction { success, ..Transaction::default() })
        }
    };
    let outcome = match cluster.client.write(operation).await {
        Ok(outcome) => outcome,
        Err(error) => {
            return Err(cluster.explain(error).await.while_doing(format!("key `{shown}`")));
        }
    };
    let put = done(outcome)?;
    match global.output {
        Format::Json => {
            let item = |item| JsonItem { item, key_only: false };
            output::json(&Printed {
                key: JsonKey(&key),
                revision: put.revision,
                existed: put.existed,
                prev: command.how.prev_kv.then_some(put.prev.as_ref().map(item)),
            })?;
        }
        Format::Name => output::line(shown)?,
        Format::Table => {
            let what = if put.existed { "replaced" } else { "created" };
            output::line(format!("ok, {what} at revision {}", put.revision))?;
            if let Some(prev) = put.prev.filter(|_| command.how.prev_kv) {
                output::line(format!("before: {}", printable(&prev.value)))?;
            }
        }
    }
    Ok(0)
}

fn done(outcome: crate::kv::Outcome) -> Result<Done, Failure> {
    let revision = outcome.revision;
    match outcome.effect {
        Effect::Put { existed } => Ok(Done { revision, existed, prev: None }),
        Effect::Transaction(result) => match &result.responses[..] {
            [ResponseOp::Put { prev }] => {
                Ok(Done { revision, existed: prev.is_some(), prev: prev.clone() })
            }
            _ => Err(Failure::failed("the answer is not that of a put")),
        },
        _ => Err(Failure::failed("the answer is not that of a put")),
    }
}

/// The value given on the command line, or on standard input.
pub fn read_value(argument: &OsString) -> Result<Bytes, Failure> {
    if argument != "-" {
        return Ok(Bytes::copy_from_slice(argument.as_bytes()));
    }
    read_input("the value on standard input", std::io::stdin()).map(Bytes::from)
}

/// All of a source, which must fit a request.
pub fn read_input(what: &str, source: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = MAX_REQUEST_BYTES as u64 + 1;
    source
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::failed(format!("cannot read {what}: {error}")))?;
    if bytes.len() as u64 == most {
        return Err(Failure::usage(format!(
            "{what} is too large: a request may have {MAX_REQUEST_BYTES} bytes in all"
        )));
    }
    Ok(bytes)
}
