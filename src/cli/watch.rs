//! `kvctl watch`: what becomes of keys, as it happens.

use serde::Serialize;

use super::Global;
use super::bytes::{Encoding, JsonItem, JsonKey, printable};
use super::etcd::{self, EtcdReach, key_value};
use super::failure::{Failure, Outcome};
use super::interrupt::Interrupt;
use super::output::{self, Format};
use super::selection::Selection;
use crate::etcd_client::{Event, Told, WatchOptions, is_delete};
use crate::types::Revision;

/// Print each change of a key, or of a range of keys, as it happens
///
/// One line an event, in order: the revision, put or delete, the key, the value. If the connection
/// breaks, another node is asked for what came since; that is said on standard error, and nothing is
/// skipped or printed twice. Ends with Ctrl-C (exit code 0), or with 1 if what was to come next is
/// compacted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl watch greeting
  kvctl watch users/ --prefix --prev-kv
  kvctl watch a m --rev 17                  from a up to m, from revision 17 on
  kvctl watch a --from-key -o json | jq -r 'select(.type == \"delete\").key'

JSON fields, an event a line: schema_version, type (put, delete, progress), revision, key (or
key_b64); of a put: value (or value_b64), create_revision, mod_revision, version, lease (left out if
there is none); with --prev-kv: prev (null, or the same fields of what was there before). A progress
line has only its revision: everything up to it was printed")]
pub struct Watch {
    #[command(flatten)]
    pub selection: Selection,
    /// From this revision on [default: from now on]
    #[arg(long, value_name = "REV", value_parser = clap::value_parser!(u64).range(1..))]
    pub rev: Option<u64>,
    /// With what was there before
    #[arg(long)]
    pub prev_kv: bool,
    /// Say now and then how far the watch has come when nothing happens (on standard error, or as a
    /// line of JSON)
    #[arg(long)]
    pub progress: bool,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: EtcdReach,
}

/// What `-o json` prints of an event.
#[derive(Serialize)]
struct Printed<'a> {
    r#type: &'static str,
    revision: Revision,
    #[serde(flatten)]
    key: Option<JsonKey<'a>>,
    #[serde(flatten)]
    item: Option<JsonItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<Option<JsonItem<'a>>>,
}

pub async fn run(global: &Global, command: Watch) -> Outcome {
    let keys = command.selection.keys(command.encoding)?;
    let mut interrupt = Interrupt::new()?;
    let etcd = etcd::client(global, &command.reach)?;
    let (key, range_end) = keys.of_etcd();
    let mut watcher = etcd.client.watch(WatchOptions {
        key,
        range_end,
        start: command.rev.map(Revision),
        prev_kv: command.prev_kv,
        progress: command.progress,
        filters: Vec::new(),
    });
    let mut interrupted = false;
    loop {
        let told = tokio::select! {
            told = watcher.next() => told,
            () = interrupt.signalled() => return Ok(0),
        };
        match told {
            Ok(Told::Events { events, .. }) => print(global, &command, events)?,
            Ok(Told::Progress(revision)) => progress(global, &command, revision)?,
            Ok(Told::Standing { from, endpoint }) if std::mem::take(&mut interrupted) => {
                output::note(format!("goes on at {endpoint}, from revision {from}"));
            }
            Ok(Told::Standing { .. }) => {}
            Ok(Told::Interrupted { endpoint, why }) => {
                interrupted = true;
                output::warn(format!("{endpoint} is lost: {why}; looking for another"));
            }
            Err(error) => return Err(etcd.explain_watch(error).await),
        }
    }
}

/// Prints events at once, so that whoever reads a pipe sees them when they happen.
fn print(global: &Global, command: &Watch, events: Vec<Event>) -> Result<(), Failure> {
    let mut text = Vec::new();
    for event in events {
        let is_delete = is_delete(&event);
        let item = key_value(event.kv.unwrap_or_default());
        let prev = event.prev_kv.map(key_value);
        let (revision, what) = (item.mod_revision, if is_delete { "delete" } else { "put" });
        match global.output {
            Format::Json => {
                let show = |item| JsonItem { item, key_only: false };
                let printed = Printed {
                    r#type: what,
                    revision,
                    key: is_delete.then_some(JsonKey(&item.key)),
                    item: (!is_delete).then_some(show(&item)),
                    prev: command.prev_kv.then_some(prev.as_ref().map(show)),
                };
                text.extend_from_slice(output::json_text(&printed)?.as_bytes());
            }
            Format::Name => text.extend_from_slice(command.encoding.show(&item.key).as_bytes()),
            Format::Table => {
                let key = command.encoding.show(&item.key);
                text.extend_from_slice(format!("{revision}\t{what}\t{key}").as_bytes());
                if !is_delete {
                    text.extend_from_slice(format!("\t{}", printable(&item.value)).as_bytes());
                }
                if let Some(prev) = prev {
                    let before = printable(&prev.value);
                    text.extend_from_slice(format!("\t(before: {before})").as_bytes());
                }
            }
        }
        text.push(b'\n');
    }
    output::write(&text)
}

fn progress(global: &Global, command: &Watch, revision: Revision) -> Result<(), Failure> {
    if !command.progress {
        return Ok(());
    }
    match global.output {
        Format::Json => {
            let (key, item, prev) = (None, None, None);
            output::json_line(&Printed { r#type: "progress", revision, key, item, prev })
        }
        Format::Table | Format::Name => {
            output::note(format!("everything up to revision {revision} was printed"));
            Ok(())
        }
    }
}
