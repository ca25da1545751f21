//! `kvctl txn`: compares, and then does one thing or the other, at one revision.

mod read;
mod tell;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use super::Global;
use super::bytes::Encoding;
use super::failure::{Failure, Outcome};
use super::output;
use super::put::read_input;
use super::reach::{self, Reach};
use crate::kv::limits::{MAX_REQUEST_BYTES, MAX_TRANSACTION_OPS};
use crate::kv::{Effect, Operation};
use read::{Part, Parts};

/// Compare keys, then do one list of operations or the other, at one revision
///
/// The transaction is read from FILE, from standard input, or, on a terminal, asked for line by
/// line. It has three parts: comparisons, what is done if all of them hold, and what is done if not.
/// Either name the parts, or part them by an empty line, as etcdctl does. Lines are split into
/// words as a shell does: quotes hold together what has blanks, `#` begins a comment.
///
/// A comparison is `value(KEY)`, `version(KEY)`, `create(KEY)`, `modify(KEY)` or `lease(KEY)`, then
/// `=`, `!=`, `<` or `>`, then what to compare with. A key that does not exist has zero for all but
/// its value, so `version(KEY) = 0` asks whether it is absent. Operations are `get`, `put` and `del`
/// with the options that kvctl's own commands have for keys, and END after KEY for a range.
///
/// Which list was done is no failure: the exit code is 0 for both.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl txn transfer.txt
  kvctl txn                                 on a terminal: asks
  kvctl txn - -o json < transfer.txt

A file, transfer.txt:
  compare:
    value(\"account/alice\") = 100            # quotes where a word has blanks
    version(account/bob) > 0
  success:
    put account/alice 70
    put account/bob 30 --prev-kv
  failure:
    get account/ --prefix

JSON fields: schema_version, succeeded (the comparisons held), revision (of the store, right after),
responses, one for each operation that was done: operation (get, put, del); of a get: items, count,
more; of a put: prev (null, or what was there before); of a del: deleted, prev (a list)")]
pub struct Txn {
    /// The file; `-`, or none, is standard input
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub encoding: Encoding,
    #[command(flatten)]
    pub reach: Reach,
}

pub async fn run(global: &Global, command: Txn) -> Outcome {
    let parts = match command.file.filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            let what = format!("`{}`", file.display());
            let source = std::fs::File::open(&file)
                .map_err(|error| Failure::usage(format!("cannot read {what}: {error}")))?;
            read::parse(&read_input(&what, source)?, command.encoding)
                .map_err(|failure| failure.while_doing(what))?
        }
        None if std::io::stdin().is_terminal() => ask(command.encoding)?,
        None => {
            let what = "standard input";
            read::parse(&read_input(what, std::io::stdin())?, command.encoding)
                .map_err(|failure| failure.while_doing(what))?
        }
    };
    let cluster = reach::connect(global, &command.reach, None).await?;
    let operation = Operation::Transaction(parts.transaction());
    let outcome = match cluster.client.write(operation).await {
        Ok(outcome) => outcome,
        Err(error) => return Err(cluster.explain(error).await),
    };
    match &outcome.effect {
        Effect::Transaction(result) => {
            tell::print(global, command.encoding, &parts, outcome.revision, result)?;
        }
        _ => return Err(Failure::failed("the answer is not that of a transaction")),
    }
    Ok(0)
}

/// Asks for a transaction line by line; an empty line ends a part. A line that makes no sense is
/// asked for again.
fn ask(encoding: Encoding) -> Result<Parts, Failure> {
    let mut parts = Parts::default();
    let mut input = std::io::stdin().lock();
    let mut taken = 0;
    for (part, what) in [
        (Part::Compare, "comparisons, as: value(KEY) = VALUE (an empty line ends them)"),
        (Part::Success, "if they hold: get, put, del (an empty line ends them)"),
        (Part::Failure, "if not: get, put, del (an empty line ends them)"),
    ] {
        output::note(what);
        loop {
            // A prompt is no result: it goes where the questions go.
            eprint!("> ");
            let _ = std::io::stderr().flush();
            let mut line = String::new();
            let most = (MAX_REQUEST_BYTES - taken) as u64;
            let read = std::io::Read::take(&mut input, most).read_line(&mut line);
            taken += read.map_err(|error| Failure::failed(format!("cannot read: {error}")))?;
            if taken >= MAX_REQUEST_BYTES {
                return Err(Failure::usage("that is more than a request may have"));
            }
            if line.trim().is_empty() {
                break;
            }
            match parts.add(part, line.trim(), encoding) {
                Ok(()) => {}
                Err(why) => output::warn(format!("{why}; once more")),
            }
            if parts.longest() > MAX_TRANSACTION_OPS {
                return Err(Failure::usage(format!("at most {MAX_TRANSACTION_OPS} of each")));
            }
        }
    }
    match parts.longest() {
        0 => Err(Failure::usage("the transaction is empty")),
        _ => Ok(parts),
    }
}
