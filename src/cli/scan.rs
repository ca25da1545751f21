//! `kvctl scan`: lists keys in order.

use std::ffi::OsString;

use bytes::Bytes;
use serde::Serialize;

use super::Global;
use super::bytes::Encoding;
use super::failure::{Failure, Outcome};
use super::listing::Listing;
use super::output::{self, Format};
use super::reach::{self, Cluster, Freshness, Reach};
use crate::client::{Range, prefix_end};
use crate::kv::Answer;
use crate::replica::Consistency;
use crate::types::{NodeId, Revision};

/// List keys and values in order of their keys
///
/// Large ranges are read page by page. Each page is a state that the cluster was in; writes that
/// happen meanwhile may show in a later page and not in an earlier one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl scan                                everything
  kvctl scan users/ --limit 10
  kvctl scan --start a --end b --keys-only
  kvctl scan users/ --count-only
  kvctl scan users/ -o json | jq '.items[].key'

JSON fields: schema_version, items: key (or key_b64), value (or value_b64; not with --keys-only),
create_revision, mod_revision, version; then revision (of the store, at the last page), count (keys
in the range at the first page), more (there are further keys: --limit cut them off)")]
pub struct Scan {
    /// Only keys that begin with this
    #[arg(conflicts_with_all = ["start", "end"])]
    pub prefix: Option<OsString>,
    /// From this key on (inclusive)
    #[arg(long, value_name = "KEY")]
    pub start: Option<OsString>,
    /// Up to this key (exclusive)
    #[arg(long, value_name = "KEY")]
    pub end: Option<OsString>,
    /// At most so many keys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Without the values
    #[arg(long)]
    pub keys_only: bool,
    /// Only how many keys there are
    #[arg(long, conflicts_with_all = ["keys_only", "limit"])]
    pub count_only: bool,
    #[command(flatten)]
    pub freshness: Freshness,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: Reach,
}

/// What `--count-only -o json` prints.
#[derive(Serialize)]
struct Counted {
    count: u64,
    revision: Revision,
    stale: bool,
    node: Option<NodeId>,
}

pub async fn run(global: &Global, command: Scan) -> Outcome {
    let mut range = range(&command)?;
    let cluster = reach::connect(global, &command.reach, command.freshness.node).await?;
    let consistency = command.freshness.consistency();
    if command.count_only {
        return count(global, &cluster, range, consistency).await;
    }
    range.keys_only = command.keys_only || global.output == Format::Name;
    let Freshness { stale, .. } = command.freshness;
    let mut listing = Listing::new(global.output, command.encoding, command.keys_only, stale);
    let mut pages = Pages::new(range, command.limit);
    let mut count = None;
    let mut last = (Revision(0), false);
    listing.begin()?;
    while let Some(page) = pages.next(&cluster, consistency).await? {
        count.get_or_insert(page.count);
        last = (page.revision, page.more);
        for item in &page.items {
            listing.item(item)?;
        }
        listing.flush()?;
    }
    listing.end(last.0, count.unwrap_or_default(), last.1)?;
    Ok(0)
}

async fn count(
    global: &Global,
    cluster: &Cluster<'_>,
    range: Range,
    consistency: Consistency,
) -> Outcome {
    let range = Range { count_only: true, ..range };
    let ranged = match cluster.client.range(range, consistency).await {
        Ok(ranged) => ranged,
        Err(error) => return Err(cluster.explain(error).await),
    };
    let Answer { count, revision, .. } = ranged.answer;
    let stale = consistency == Consistency::Stale;
    print_count(global, count, revision, stale, ranged.node)
}

/// Prints how many keys there are.
pub fn print_count(
    global: &Global,
    count: u64,
    revision: Revision,
    stale: bool,
    node: Option<NodeId>,
) -> Outcome {
    match global.output {
        Format::Json => output::json(&Counted { count, revision, stale, node })?,
        Format::Table | Format::Name => output::line(count.to_string())?,
    }
    Ok(0)
}

fn range(command: &Scan) -> Result<Range, Failure> {
    let parse = |what, text: &Option<OsString>| match text {
        Some(text) => command.encoding.parse(what, text),
        None => Ok(Bytes::new()),
    };
    let mut range = Range::default();
    if command.prefix.is_some() {
        range = Range::prefix(parse("prefix", &command.prefix)?);
    } else {
        range.start = parse("start", &command.start)?;
        range.end = parse("end", &command.end)?;
    }
    if !range.end.is_empty() && range.start > range.end {
        return Err(Failure::usage("--start lies after --end"));
    }
    Ok(range)
}

/// A range, page by page.
pub struct Pages {
    range: Range,
    /// How many keys are still wanted; `None`: all.
    left: Option<u64>,
    done: bool,
}

impl Pages {
    pub fn new(range: Range, limit: Option<u64>) -> Pages {
        Pages { range, left: limit, done: false }
    }

    /// All keys with `prefix`.
    pub fn of_prefix(prefix: Bytes) -> Pages {
        let end = prefix_end(&prefix);
        Pages::new(Range { start: prefix, end, ..Range::default() }, None)
    }

    /// The next page, if there is one.
    pub async fn next(
        &mut self,
        cluster: &Cluster<'_>,
        consistency: Consistency,
    ) -> Result<Option<Answer>, Failure> {
        if self.done || self.left == Some(0) {
            return Ok(None);
        }
        let range = Range { limit: self.left.unwrap_or(0), ..self.range.clone() };
        let answer = match cluster.client.range(range, consistency).await {
            Ok(ranged) => ranged.answer,
            Err(error) => return Err(cluster.explain(error).await),
        };
        self.left = self.left.map(|left| left.saturating_sub(answer.items.len() as u64));
        match answer.items.last() {
            Some(item) if answer.more => {
                // The smallest key after it.
                let mut start = item.key.to_vec();
                start.push(0);
                self.range.start = start.into();
            }
            _ => self.done = true,
        }
        Ok(Some(answer))
    }
}
