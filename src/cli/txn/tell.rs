//! What a transaction did, as it is printed.

use serde::Serialize;

use super::read::Parts;
use crate::cli::Global;
use crate::cli::bytes::{Encoding, JsonItem};
use crate::cli::failure::Failure;
use crate::cli::listing::line;
use crate::cli::output::{self, Format};
use crate::kv::{KeyValue, RequestOp, ResponseOp, TransactionResult};
use crate::types::Revision;

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    succeeded: bool,
    revision: Revision,
    responses: Vec<Response<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
enum Response<'a> {
    Get { items: Vec<JsonItem<'a>>, count: u64, more: bool },
    Put { prev: Option<JsonItem<'a>> },
    Del { deleted: u64, prev: Vec<JsonItem<'a>> },
}

pub fn print(
    global: &Global,
    encoding: Encoding,
    parts: &Parts,
    revision: Revision,
    result: &TransactionResult,
) -> Result<(), Failure> {
    let succeeded = result.succeeded;
    let asked = if succeeded { &parts.success } else { &parts.failure };
    if asked.len() != result.responses.len() {
        return Err(Failure::failed("the answer has not as many parts as there were operations"));
    }
    let both = || asked.iter().zip(&result.responses);
    match global.output {
        Format::Json => {
            let responses = both().map(|(asked, it)| response(&asked.operation, it));
            let responses = responses.collect::<Result<_, _>>()?;
            output::json(&Printed { succeeded, revision, responses })
        }
        Format::Name => output::line(if succeeded { "success" } else { "failure" }),
        Format::Table => {
            let what = match succeeded {
                true => "the comparisons hold; done",
                false => "the comparisons do not hold; done instead",
            };
            output::line(format!("{what}, at revision {revision}:"))?;
            both().try_for_each(|(asked, it)| lines(encoding, &asked.text, &asked.operation, it))
        }
    }
}

/// None is ever asked for: the format has no transaction within a transaction.
fn nested() -> Failure {
    Failure::failed("the answer has a transaction within, which nobody asked for")
}

fn response<'a>(asked: &RequestOp, response: &'a ResponseOp) -> Result<Response<'a>, Failure> {
    let keys_only = matches!(asked, RequestOp::Range(range) if range.keys_only);
    let item = |item: &'a KeyValue| JsonItem { item, key_only: keys_only };
    Ok(match response {
        ResponseOp::Range { items, more, count } => {
            Response::Get { items: items.iter().map(item).collect(), count: *count, more: *more }
        }
        ResponseOp::Put { prev } => Response::Put { prev: prev.as_ref().map(item) },
        ResponseOp::DeleteRange { deleted, prev } => {
            Response::Del { deleted: *deleted, prev: prev.iter().map(item).collect() }
        }
        ResponseOp::Transaction(_) => return Err(nested()),
    })
}

/// One operation: how it was written, and what it found, indented.
fn lines(
    encoding: Encoding,
    text: &str,
    asked: &RequestOp,
    response: &ResponseOp,
) -> Result<(), Failure> {
    let counted =
        |count: u64| if count == 1 { "1 key".to_owned() } else { format!("{count} keys") };
    let (result, items): (String, &[KeyValue]) = match response {
        ResponseOp::Range { items, count, .. } => (counted(*count), items),
        ResponseOp::Put { prev } => ("ok".to_owned(), prev.as_slice()),
        ResponseOp::DeleteRange { deleted, prev } => {
            (format!("{} deleted", counted(*deleted)), prev)
        }
        ResponseOp::Transaction(_) => return Err(nested()),
    };
    let before = match response {
        ResponseOp::Put { .. } | ResponseOp::DeleteRange { .. } => "before: ",
        _ => "",
    };
    let keys_only = matches!(asked, RequestOp::Range(range) if range.keys_only);
    output::line(format!("{}: {result}", crate::cli::bytes::printable(text.as_bytes())))?;
    items.iter().try_for_each(|item| {
        output::line(format!("  {before}{}", line(encoding, item, !keys_only)))
    })
}
