//! What is printed, and how.
//!
//! Results go to standard output, everything else (progress, hints, errors) to standard error, so
//! that a pipe carries results only. `-o json` prints one JSON document a command (`logs -f`,
//! `watch` and `export`: one a line) with `"schema_version": 1`; its fields are documented in the command's
//! help and only ever grow. `-o name` prints bare names, one a line, for shells. Colours appear on
//! a terminal only (and follow `NO_COLOR` and `CLICOLOR_FORCE`).

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::failure::Failure;

/// The version of the JSON documents. It grows when a field is removed or changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: documented, stable fields.
    Json,
    /// Bare names, one a line, for shells.
    Name,
}

/// A JSON document with its version in front.
#[derive(Serialize)]
struct Document<'a, T> {
    schema_version: u32,
    #[serde(flatten)]
    content: &'a T,
}

/// Prints `content` (a struct or a map) as a document.
pub fn json<T: Serialize>(content: &T) -> Result<(), Failure> {
    let document = Document { schema_version: SCHEMA_VERSION, content };
    let mut text = serde_json::to_string_pretty(&document)
        .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
    text.push('\n');
    write(text.as_bytes())
}

/// Prints `content` as a document on one line.
pub fn json_line<T: Serialize>(content: &T) -> Result<(), Failure> {
    let mut text = json_text(content)?;
    text.push('\n');
    write(text.as_bytes())
}

/// `content` as a document, without an end of line.
pub fn json_text<T: Serialize>(content: &T) -> Result<String, Failure> {
    let document = Document { schema_version: SCHEMA_VERSION, content };
    serde_json::to_string(&document)
        .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))
}

/// Prints one line of text, with colours if it has some and the terminal shows them.
pub fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()).map_err(|e| Failure::output(&e))
}

/// Prints bytes as they are.
pub fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| Failure::output(&e))
}

/// Says something on standard error that is no error.
pub fn note(text: impl AsRef<str>) {
    anstream::eprintln!("{}", text.as_ref());
}

/// Warns on standard error.
pub fn warn(text: impl AsRef<str>) {
    let yellow = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Yellow.into()));
    anstream::eprintln!("{yellow}warning:{yellow:#} {}", text.as_ref());
}

/// A table with a head and no frame.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|title| title.to_uppercase()));
    table
}

/// Prints a table; two blanks part the columns, none ends a line.
pub fn print_table(table: &mut Table) -> Result<(), Failure> {
    let columns = table.column_count();
    for index in 0..columns {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
        }
    }
    for row in table.lines() {
        line(row.trim_end())?;
    }
    Ok(())
}

/// Quicker than this, nothing is shown.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often what is shown moves.
const TICK: Duration = Duration::from_millis(100);

/// A line on standard error that moves while something takes its time; it shows itself after half a
/// second, on a terminal only, and goes when it is dropped.
pub struct Progress {
    bar: ProgressBar,
    /// Shows the bar when it is time, and moves it.
    task: JoinHandle<()>,
}

impl Progress {
    /// One of unknown length.
    pub fn spinner(what: impl Into<String>) -> Progress {
        let progress = Progress::new(None, "{spinner} {msg} ({elapsed})");
        progress.bar.set_message(what.into());
        progress
    }

    /// One whose length in bytes may be known.
    pub fn bytes(what: impl Into<String>, total: Option<u64>) -> Progress {
        let template = match total {
            Some(_) => "{prefix} {bar:30} {bytes}/{total_bytes} {msg} (eta {eta})",
            None => "{spinner} {prefix} {bytes} {msg} ({elapsed})",
        };
        let progress = Progress::new(total, template);
        progress.bar.set_prefix(what.into());
        progress
    }

    /// One whose length is a number of things.
    pub fn count(what: impl Into<String>, total: u64) -> Progress {
        let template = "{prefix} {bar:30} {pos}/{len} {msg} (eta {eta})";
        let progress = Progress::new(Some(total), template);
        progress.bar.set_prefix(what.into());
        progress
    }

    fn new(total: Option<u64>, template: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let task = tokio::task::spawn_local(async move {
            sleep(PATIENCE).await;
            shown.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            loop {
                shown.tick();
                sleep(TICK).await;
            }
        });
        Progress { bar, task }
    }

    pub fn message(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    pub fn position(&self, position: u64) {
        self.bar.set_position(position);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}
