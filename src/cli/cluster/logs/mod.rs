//! `kvctl cluster logs`: the logs of the nodes and of their supervisor as one.
//!
//! Each program writes and rotates its own log file: for each event a line of text or a JSON
//! object, which begins with the time. Here the files are read (from their directories: that works
//! when nothing runs), merged by time and marked with who wrote them.

mod line;
mod merge;
mod tail;

use std::time::Duration;

use tokio::time::sleep;
use tracing::Level;

use self::line::Line;
use self::merge::Merge;
use self::tail::Tail;
use crate::cli::Global;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::cli::reach;
use crate::config::ClusterDirectory;
use crate::types::NodeId;

/// How often the files are looked at with `-f`.
const POLL: Duration = Duration::from_millis(100);

/// After so many looks, who has a file is looked at, too: members come and go.
const LOOKS: u32 = 10;

/// Show the logs of the nodes and of their supervisor, merged by time
///
/// Each line bears who wrote it (`s`: the supervisor), and a node's line where the node stood:
/// its term and its commit index. They are shown in the same form however they were written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster logs
  kvctl cluster logs --node 3 -n 100
  kvctl cluster logs -f                 and go on as they are written, until Ctrl-C
  kvctl cluster logs -f --level warn    only what is not as it should be
  kvctl cluster up --log-format json    and the files hold an object a line, for other programs

JSON fields, one line each: schema_version, node (null: the supervisor), time, level, line (as it
was written), fields (what it says, if it was written as JSON)")]
pub struct Logs {
    /// Go on as they are written, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Only of this node
    #[arg(long, value_name = "ID", value_parser = reach::parse_node)]
    pub node: Option<NodeId>,
    /// Only what is as severe as this, or more
    #[arg(long, value_name = "error|warn|info|debug|trace", default_value = "trace",
          hide_default_value = true, value_parser = parse_level)]
    pub level: Level,
    /// The newest so many lines
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub lines: u32,
}

fn parse_level(text: &str) -> Result<Level, String> {
    text.parse().map_err(|_| format!("`{text}` is none of error, warn, info, debug, trace"))
}

pub async fn run(global: &Global, command: Logs) -> Outcome {
    let directory = reach::directory(global)?;
    let mut files = Files::default();
    files.update(global, &directory, command.node)?;
    if let (true, Some(node)) = (files.0.is_empty(), command.node) {
        return Err(Failure::usage(format!("there is no node {node}")));
    }
    let mut merge = Merge::default();
    merge.looked(files.more(command.level).await?);
    let mut newest = merge.rest();
    newest.drain(..newest.len().saturating_sub(command.lines as usize));
    if !command.follow {
        newest.iter().try_for_each(|line| print(global, line))?;
        return Ok(0);
    }
    let mut merge = Merge::default();
    merge.looked(newest);
    for look in 1_u32.. {
        sleep(POLL).await;
        if look.is_multiple_of(LOOKS) {
            files.update(global, &directory, command.node)?;
        }
        let lines = merge.looked(files.more(command.level).await?);
        lines.iter().try_for_each(|line| print(global, line))?;
    }
    Ok(0)
}

/// The files, each as far as it was read.
#[derive(Default)]
struct Files(Vec<Tail>);

impl Files {
    /// Adds those that are new, of `only` if somebody is named.
    fn update(
        &mut self,
        global: &Global,
        directory: &ClusterDirectory,
        only: Option<NodeId>,
    ) -> Result<(), Failure> {
        let nodes = reach::endpoints(global, directory)?.into_iter().map(|(node, _)| node);
        let nodes = nodes.map(|node| (Some(node), directory.node(node).log_file()));
        let all = nodes.chain([(None, directory.supervisor_log())]);
        for (whose, path) in all.filter(|(whose, _)| only.is_none() || *whose == only) {
            if !self.0.iter().any(|file| file.whose == whose) {
                self.0.push(Tail::new(whose, path));
            }
        }
        Ok(())
    }

    /// What was written since the last time, and is severe enough.
    async fn more(&mut self, level: Level) -> Result<Vec<Line>, Failure> {
        let mut lines = Vec::new();
        for file in &mut self.0 {
            lines.extend(file.more().await?);
        }
        lines.retain(|line| line.is_at_least(level));
        Ok(lines)
    }
}

fn print(global: &Global, line: &Line) -> Result<(), Failure> {
    match global.output {
        Format::Json => output::json_line(line),
        Format::Table | Format::Name => output::line(line.shown()),
    }
}
