//! A transaction as people write it.
//!
//! The parts are named (`compare:`, `success:`, `failure:`), in any order, or else parted by empty
//! lines, in that order, as etcdctl has them. A file has one or the other: if any part is named,
//! empty lines mean nothing.

use std::ffi::OsString;

use bytes::Bytes;
use clap::Parser;

use crate::cli::bytes::{Encoding, parse_lease};
use crate::cli::failure::Failure;
use crate::cli::put::How;
use crate::cli::selection::{Selection, Want};
use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, RequestOp, Transaction, after,
};
use crate::types::{LeaseId, Revision};

/// An operation, and how it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub text: String,
    pub operation: RequestOp,
}

/// A transaction in the making.
#[derive(Debug, Default)]
pub struct Parts {
    compare: Vec<Compare>,
    pub success: Vec<Written>,
    pub failure: Vec<Written>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Compare,
    Success,
    Failure,
}

impl Parts {
    pub fn transaction(&self) -> Transaction {
        let all = |list: &[Written]| list.iter().map(|it| it.operation.clone()).collect();
        Transaction {
            compare: self.compare.clone(),
            success: all(&self.success),
            failure: all(&self.failure),
        }
    }

    /// How many its longest part has.
    pub fn longest(&self) -> usize {
        self.compare.len().max(self.success.len()).max(self.failure.len())
    }

    /// Takes one line.
    pub fn add(&mut self, part: Part, line: &str, encoding: Encoding) -> Result<(), String> {
        let words = shlex::split(line).ok_or("a quote is not closed")?;
        if words.is_empty() {
            return Ok(()); // a comment
        }
        match part {
            Part::Compare => self.compare.push(comparison(&words, encoding)?),
            Part::Success => self.success.push(operation(line, &words, encoding)?),
            Part::Failure => self.failure.push(operation(line, &words, encoding)?),
        }
        Ok(())
    }
}

/// Reads a whole transaction.
pub fn parse(text: &[u8], encoding: Encoding) -> Result<Parts, Failure> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::usage(format!("line {line}: not UTF-8; write such keys with --hex or --base64"))
    })?;
    let is_named = text.lines().any(|line| header(line).is_some());
    let mut part = if is_named { None } else { Some(Part::Compare) };
    let mut parts = Parts::default();
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        let wrong = |why: &str| Failure::usage(format!("line {number}: {why}"));
        match (header(line), line.is_empty()) {
            (Some(named), _) => part = Some(named),
            (None, true) if is_named => {}
            (None, true) => {
                part = match part {
                    Some(Part::Compare) => Some(Part::Success),
                    Some(Part::Success) => Some(Part::Failure),
                    Some(Part::Failure) | None => None,
                }
            }
            (None, false) => match part {
                Some(part) => parts.add(part, line, encoding).map_err(|why| wrong(&why))?,
                None if line.starts_with('#') => {}
                None if is_named => return Err(wrong("it stands before `compare:` or any part")),
                None => return Err(wrong("there is nothing after the third part")),
            },
        }
    }
    if parts.longest() == 0 {
        return Err(Failure::usage("the transaction is empty"));
    }
    Ok(parts)
}

fn header(line: &str) -> Option<Part> {
    match line.split('#').next().unwrap_or_default().trim() {
        "compare:" => Some(Part::Compare),
        "success:" => Some(Part::Success),
        "failure:" => Some(Part::Failure),
        _ => None,
    }
}

/// `target(KEY) = WHAT`.
fn comparison(words: &[String], encoding: Encoding) -> Result<Compare, String> {
    const FORM: &str = "write a comparison as `value(KEY) = VALUE`, with blanks around the `=`";
    let [left, relation, right] = words else { return Err(FORM.to_owned()) };
    let (target, key) = left.split_once('(').ok_or(FORM)?;
    let key = key.strip_suffix(')').ok_or(FORM)?;
    let result = match relation.as_str() {
        "=" | "==" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        "<" => CompareResult::Less,
        ">" => CompareResult::Greater,
        other => return Err(format!("`{other}` is no comparison: there are =, !=, < and >")),
    };
    let number = || right.parse::<u64>().map_err(|_| format!("`{right}` is no number"));
    let target = match target {
        "value" | "val" => CompareTarget::Value(Bytes::copy_from_slice(right.as_bytes())),
        "version" | "ver" => CompareTarget::Version(number()?),
        "create" | "c" => CompareTarget::CreateRevision(Revision(number()?)),
        "modify" | "mod" | "m" => CompareTarget::ModRevision(Revision(number()?)),
        "lease" if right == "0" => CompareTarget::Lease(LeaseId(0)),
        "lease" => CompareTarget::Lease(parse_lease(right)?),
        other => {
            return Err(format!(
                "`{other}` cannot be compared: there are value, version, create, modify and lease"
            ));
        }
    };
    let start = encoding.parse_key(&OsString::from(key)).map_err(|failure| failure.message)?;
    Ok(Compare { end: after(&start), start, result, target })
}

/// A line that asks for something.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
enum Line {
    Get {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        want: Want,
    },
    Put {
        key: OsString,
        #[arg(
            allow_hyphen_values = true,
            required_unless_present = "ignore_value",
            conflicts_with = "ignore_value"
        )]
        value: Option<String>,
        #[command(flatten)]
        how: How,
    },
    Del {
        #[command(flatten)]
        selection: Selection,
        #[arg(long)]
        prev_kv: bool,
    },
}

fn operation(text: &str, words: &[String], encoding: Encoding) -> Result<Written, String> {
    let line = Line::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        // What is missing stands on the lines after it.
        let missing = text.lines().skip(1).map_while(|line| line.strip_prefix("  "));
        let missing = missing.map(str::trim).filter(|it| !it.is_empty()).collect::<Vec<_>>();
        format!("{} {}", first.trim_start_matches("error: "), missing.join(" ")).trim().to_owned()
    })?;
    let said = |failure: Failure| failure.message;
    let operation = match line {
        Line::Get { selection, want } => {
            RequestOp::Range(want.request(&selection.keys(encoding).map_err(said)?))
        }
        Line::Put { key, value, how } => {
            let key = encoding.parse_key(&key).map_err(said)?;
            RequestOp::Put(how.request(key, value.unwrap_or_default().into()))
        }
        Line::Del { selection, prev_kv } => {
            let keys = selection.keys(encoding).map_err(said)?;
            let (start, end) = (keys.start, keys.end);
            RequestOp::DeleteRange(DeleteRangeRequest { start, end, prev_kv })
        }
    };
    Ok(Written { text: text.to_owned(), operation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{PutRequest, RangeRequest, SortOrder};

    fn read(text: &str) -> Result<Transaction, String> {
        let parts = parse(text.as_bytes(), Encoding::default());
        parts.map(|parts| parts.transaction()).map_err(|failure| failure.message)
    }

    const NAMED: &str = "\
# moves 30
compare:
  value(\"account/alice smith\") = \"1 00\"   # quotes

  version(b) > 0
success:
  put a -70
  put b '' --prev-kv --lease 1a
failure:
  get b c --limit 3 --keys-only
  del account/ --prefix
";

    #[test]
    fn named_parts_may_have_empty_lines_comments_and_quotes() {
        let read = read(NAMED).unwrap();
        assert_eq!(read.compare.len(), 2);
        assert_eq!(&read.compare[0].start[..], b"account/alice smith");
        assert_eq!(read.compare[0].target, CompareTarget::Value("1 00".into()));
        assert_eq!(read.compare[1].result, CompareResult::Greater);
        let put = PutRequest { key: "a".into(), value: "-70".into(), ..Default::default() };
        assert_eq!(read.success[0], RequestOp::Put(put));
        let put = PutRequest {
            key: "b".into(),
            lease: LeaseId(0x1a),
            prev_kv: true,
            ..Default::default()
        };
        assert_eq!(read.success[1], RequestOp::Put(put));
        let get = RangeRequest {
            start: "b".into(),
            end: "c".into(),
            limit: 3,
            keys_only: true,
            sort_order: SortOrder::Ascend,
            ..Default::default()
        };
        assert_eq!(read.failure[0], RequestOp::Range(get));
        let RequestOp::DeleteRange(del) = &read.failure[1] else { panic!() };
        assert_eq!((&del.start[..], &del.end[..]), (&b"account/"[..], &b"account0"[..]));
    }

    #[test]
    fn what_etcdctl_reads_is_read() {
        let text =
            "mod(\"key1\") > \"0\"\n\nput key1 \"overwrote-key1\"\n\nput key2 \"some extra\"\n";
        let read = read(text).unwrap();
        assert_eq!(read.compare[0].target, CompareTarget::ModRevision(Revision(0)));
        assert_eq!((read.success.len(), read.failure.len()), (1, 1));
        let no_comparison = super::tests::read("\nput a 1\n\n").unwrap();
        assert_eq!((no_comparison.compare.len(), no_comparison.success.len()), (0, 1));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, says) in [
            ("", "is empty"),
            ("compare:\n\n", "is empty"),
            ("compare:\n  value(a)=b\n", "line 2: write a comparison"),
            ("compare:\n  size(a) = 1\n", "line 2: `size` cannot be compared"),
            ("compare:\n  value(a) ~ 1\n", "line 2: `~` is no comparison"),
            ("compare:\n  version(a) = x\n", "line 2: `x` is no number"),
            ("compare:\n  version() = 0\n", "line 2: a key must not be empty"),
            ("compare:\n  lease(a) = x\n", "line 2: the id of a lease"),
            ("success:\n\n  put a 'b\n", "line 3: a quote is not closed"),
            ("success:\n  pit a b\n", "line 2: unrecognized subcommand 'pit'"),
            ("success:\n  put a\n", "line 2: the following required arguments"),
            ("success:\n  get a --depth 1\n", "line 2: unexpected argument '--depth'"),
            ("success:\n  get b a\n", "line 2: the range ends before it begins"),
            ("put a b\nsuccess:\n", "line 1: it stands before"),
            ("\n\n\nget a\n", "line 4: there is nothing after the third part"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(says), "{text:?}: {why}");
        }
        let not_text = parse(b"success:\n  put a \xff\n", Encoding::default()).unwrap_err();
        assert!(not_text.message.contains("line 2"), "{}", not_text.message);
    }
}
