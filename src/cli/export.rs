//! `kvctl export`: writes JSON Lines.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use super::Global;
use super::bytes::JsonPair;
use super::failure::{Failure, Outcome};
use super::output;
use super::reach::{self, Freshness, Reach};
use super::scan::Pages;

/// Write all records as JSON Lines, in order of their keys
///
/// Nodes with equal state give byte-for-byte the same export. A large store is read page by page:
/// export while nobody writes, if it must be one moment's state.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl export > all.jsonl
  kvctl export --file all.jsonl --prefix users/
  kvctl export --node 3 --stale | sha256sum     one node's own state

Each line: {\"key\": …, \"value\": …}, or key_b64 and value_b64 in base64, as `kvctl import` reads
it.")]
pub struct Export {
    /// Write to this file instead of standard output; it appears when it is complete
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only keys that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prefix: String,
    #[command(flatten)]
    pub freshness: Freshness,
    #[command(flatten)]
    pub reach: Reach,
}

pub async fn run(global: &Global, command: Export) -> Outcome {
    let cluster = reach::connect(global, &command.reach, command.freshness.node).await?;
    let mut sink = Sink::open(command.file)?;
    let mut pages = Pages::of_prefix(command.prefix.into_bytes().into());
    let mut text = Vec::new();
    let (mut records, mut revision) = (0, None);
    while let Some(page) = pages.next(&cluster, command.freshness.consistency()).await? {
        text.clear();
        for item in &page.items {
            let pair = JsonPair { key: &item.key, value: &item.value };
            serde_json::to_writer(&mut text, &pair)
                .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
            text.push(b'\n');
        }
        sink.write(&text)?;
        records += page.items.len();
        revision = Some(page.revision);
    }
    sink.finish()?;
    if let Some(revision) = revision {
        output::note(format!("exported {records} records at revision {revision}"));
    }
    Ok(0)
}

/// Standard output, or a file that gets its name when it is complete.
enum Sink {
    Stdout,
    File { file: File, temporary: PathBuf, path: PathBuf, complete: bool },
}

impl Sink {
    fn open(path: Option<PathBuf>) -> Result<Sink, Failure> {
        let Some(path) = path else { return Ok(Sink::Stdout) };
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary).map_err(|error| cannot(&temporary, &error))?;
        Ok(Sink::File { file, temporary, path, complete: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Sink::Stdout => output::write(bytes),
            Sink::File { file, temporary, .. } => {
                file.write_all(bytes).map_err(|error| cannot(temporary, &error))
            }
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        if let Sink::File { file, temporary, path, complete } = &mut self {
            file.sync_all().map_err(|error| cannot(temporary, &error))?;
            std::fs::rename(&*temporary, &*path).map_err(|error| cannot(path, &error))?;
            *complete = true;
        }
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Sink::File { temporary, complete: false, .. } = self {
            // Half an export is worse than none; if it cannot be removed, its name says what it is.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

fn cannot(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write {}: {error}", path.display()))
}
