//! `kvctl get`: reads a key, or a range of keys, as they are or as they were.

use serde::Serialize;

use super::Global;
use super::bytes::{Encoding, JsonItem};
use super::failure::{Failure, Outcome};
use super::listing::Listing;
use super::output::{self, Format};
use super::reach::{self, Cluster, Freshness, Reach};
use super::scan::print_count;
use super::selection::{Keys, Selection, Want};
use crate::kv::{Answer, Query, RangeRequest, SortOrder, SortTarget, after};
use crate::replica::Consistency;
use crate::types::{NodeId, Revision};

/// Print the value of a key, or a range of keys with their values
///
/// One key: its value, and exit code 1 if it does not exist. With END, --prefix, --from-key or any
/// option about a list: a line for each key, all of them as of one revision. A read sees every
/// write that was acknowledged before it began; with --stale it sees the state of one replica as it
/// is, and says which revision that was.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl get greeting
  kvctl get greeting --rev 17               as it was at revision 17
  kvctl get users/ --prefix --sort-by modify --order descend --limit 10
  kvctl get a m --keys-only                 from a up to m, without m
  kvctl get users/ --prefix --count-only
  kvctl get photo --raw > photo.jpg         exactly the value's bytes
  kvctl get greeting --stale --node 3       node 3's own view, possibly old
  kvctl get greeting -o json

JSON fields: schema_version, key (or key_b64), value (or value_b64), create_revision, mod_revision,
version, lease (left out if there is none), revision (of the store), stale, node; of a list:
schema_version, items (with those fields), revision (of the store, at the first page), count (keys in
the range), more (there are further keys: --limit cut them off)")]
pub struct Get {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub want: Want,
    /// Print exactly the value's bytes, without a line feed after them
    #[arg(long, conflicts_with_all = [
        "end", "prefix", "from_key", "sort_by", "order", "limit", "keys_only", "count_only",
    ])]
    pub raw: bool,
    #[command(flatten)]
    pub freshness: Freshness,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: Reach,
}

/// What `-o json` prints of one key.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    item: JsonItem<'a>,
    revision: Revision,
    stale: bool,
    node: Option<NodeId>,
}

pub async fn run(global: &Global, command: Get) -> Outcome {
    let keys = command.selection.keys(command.encoding)?;
    let cluster = reach::connect(global, &command.reach, command.freshness.node).await?;
    let consistency = command.freshness.consistency();
    match (keys.is_one && !command.want.is_of_a_list(), command.want.count_only) {
        (true, _) => one(global, &cluster, &command, keys, consistency).await,
        (false, true) => {
            let query = Query::Range(command.want.request(&keys));
            let (answer, node) = ask(&cluster, &query, consistency).await?;
            let Answer { count, revision, .. } = answer;
            print_count(global, count, revision, command.freshness.stale, node)
        }
        (false, false) => list(global, &cluster, &command, &keys, consistency).await,
    }
}

async fn ask(
    cluster: &Cluster<'_>,
    query: &Query,
    consistency: Consistency,
) -> Result<(Answer, Option<NodeId>), Failure> {
    match cluster.client.query(query, consistency).await {
        Ok(answered) => Ok(answered),
        Err(error) => Err(cluster.explain(error).await),
    }
}

async fn one(
    global: &Global,
    cluster: &Cluster<'_>,
    command: &Get,
    keys: Keys,
    consistency: Consistency,
) -> Outcome {
    let query = match command.want.rev {
        // Known to every version of the state machine.
        None => Query::Get { key: keys.start.clone() },
        Some(_) => Query::Range(command.want.request(&keys)),
    };
    let (answer, node) = ask(cluster, &query, consistency).await?;
    let (revision, stale) = (answer.revision, command.freshness.stale);
    if stale {
        let served = node.map_or_else(String::new, |node| format!(" by node {node}"));
        output::note(format!("stale: served at revision {revision}{served}"));
    }
    let Some(item) = answer.items.first() else {
        let key = command.encoding.show(&keys.start);
        return Err(Failure::failed(match command.want.rev {
            Some(then) => format!("there was no key `{key}` at revision {then}"),
            None => format!("there is no key `{key}` (revision {revision})"),
        }));
    };
    match global.output {
        Format::Json => output::json(&Printed {
            item: JsonItem { item, key_only: false },
            revision,
            stale,
            node,
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

async fn list(
    global: &Global,
    cluster: &Cluster<'_>,
    command: &Get,
    keys: &Keys,
    consistency: Consistency,
) -> Outcome {
    let mut request = command.want.request(keys);
    request.keys_only |= global.output == Format::Name;
    let Freshness { stale, .. } = command.freshness;
    let mut listing = Listing::new(global.output, command.encoding, command.want.keys_only, stale);
    // Nothing is printed before it is known that there is an answer.
    let (mut answer, _) = ask(cluster, &Query::Range(request.clone()), consistency).await?;
    let (revision, count) = (answer.revision, answer.count);
    listing.begin()?;
    loop {
        for item in &answer.items {
            listing.item(item)?;
        }
        listing.flush()?;
        if !advance(&mut request, &answer, revision) {
            break;
        }
        (answer, _) = ask(cluster, &Query::Range(request.clone()), consistency).await?;
    }
    listing.end(revision, count, answer.more)?;
    Ok(0)
}

/// Makes the request for what comes after `answer`, as of the same revision; false: nothing does,
/// or nothing more is wanted.
fn advance(request: &mut RangeRequest, answer: &Answer, first: Revision) -> bool {
    let came = answer.items.len() as u64;
    let Some(last) = answer.items.last().filter(|_| answer.more) else { return false };
    if request.limit > 0 {
        request.limit = request.limit.saturating_sub(came);
        if request.limit == 0 {
            return false;
        }
    }
    if request.revision == Revision(0) {
        request.revision = first;
    }
    match (request.sort_target, request.sort_order) {
        (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => request.start = after(&last.key),
        _ => request.skip += came,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::KeyValue;

    fn answer(key: &'static str, more: bool) -> Answer {
        let item = KeyValue {
            key: key.into(),
            value: "".into(),
            create_revision: Revision(2),
            mod_revision: Revision(2),
            version: 1,
            lease: Default::default(),
        };
        Answer { items: vec![item], more, ..Answer::default() }
    }

    #[test]
    fn pages_are_of_one_revision_and_end_with_the_limit() {
        let mut request = RangeRequest { limit: 2, ..RangeRequest::default() };
        assert!(advance(&mut request, &answer("k", true), Revision(9)));
        assert_eq!((&request.start[..], request.limit, request.skip), (&b"k\0"[..], 1, 0));
        assert_eq!(request.revision, Revision(9));
        assert!(!advance(&mut request, &answer("l", true), Revision(9)));
        assert!(!advance(&mut RangeRequest::default(), &answer("k", false), Revision(9)));
    }

    #[test]
    fn in_any_other_order_what_came_is_skipped() {
        let newest = (SortTarget::Mod, SortOrder::Descend);
        let mut request = RangeRequest {
            sort_target: newest.0,
            sort_order: newest.1,
            revision: Revision(5),
            ..RangeRequest::default()
        };
        assert!(advance(&mut request, &answer("k", true), Revision(9)));
        assert_eq!((request.skip, &request.start[..]), (1, &b""[..]));
        assert_eq!(request.revision, Revision(5));
    }
}
