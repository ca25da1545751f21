//! `kvctl console`: the page on which the cluster is watched and broken.

use std::env;
use std::io::IsTerminal;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::process::Command;

use super::failure::{Failure, Outcome};
use super::output::{self, Format};
use super::{Global, cluster, reach};
use crate::config::replace_file;
use crate::supervisor::console::Token;

/// Open the live console in the browser
///
/// The supervisor serves it on this machine alone: nodes in a ring, what they replicate, what is
/// broken on purpose and what that costs, and what happened. Nodes and links can be broken and
/// healed from the picture. The address holds the token that it takes to do so: whoever has it may
/// do all that you may.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl console
  kvctl console --no-open                   print the address only

JSON fields: schema_version, url")]
pub struct Console {
    /// Print the address, and open nothing
    #[arg(long)]
    pub no_open: bool,
}

/// A browser that cannot be opened says so within this time.
const REFUSES_WITHIN: Duration = Duration::from_secs(2);

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'u> {
    url: &'u str,
}

pub async fn run(global: &Global, command: Console) -> Outcome {
    let directory = reach::directory(global)?;
    let status = cluster::status(global).await?;
    let token = Token::read(&directory.console_token())
        .map_err(|error| Failure::failed(error.to_string()))?;
    let url = format!("http://{}/console#token={}", status.http_address, token.as_str());
    match global.output {
        Format::Json => output::json(&Printed { url: &url })?,
        Format::Name | Format::Table => output::line(&url)?,
    }
    if !command.no_open && global.output == Format::Table && is_at_a_screen() {
        open(&url, &directory.path().join("console.html")).await;
    }
    Ok(0)
}

/// Whether a person sits there who sees what a browser shows.
fn is_at_a_screen() -> bool {
    let has = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && (has("DISPLAY") || has("WAYLAND_DISPLAY"))
}

/// Opens the page by way of a file that only its owner can read: the arguments of a program, and
/// with them the token, can be read by everybody on this machine.
async fn open(url: &str, by: &Path) {
    let page = format!("<!doctype html><meta http-equiv=\"refresh\" content=\"0; url={url}\">\n");
    let opened = match replace_file(by, page.as_bytes()) {
        Ok(()) => show(by).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = opened {
        output::note(format!("no browser could be opened ({why}): open the address yourself"));
    }
}

/// Shows a file in the person's browser. `xdg-open` ends at once when it hands the file to one that
/// is open already, and with the browser when it starts one.
async fn show(file: &Path) -> Result<(), String> {
    let mut opener = Command::new("xdg-open");
    opener.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut opener = opener.spawn().map_err(|error| format!("xdg-open: {error}"))?;
    match tokio::time::timeout(REFUSES_WITHIN, opener.wait()).await {
        Ok(Ok(status)) if !status.success() => Err(format!("xdg-open: {status}")),
        Ok(Err(error)) => Err(format!("xdg-open: {error}")),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}
