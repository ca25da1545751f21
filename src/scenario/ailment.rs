//! What can be wrong with nodes themselves, in the words of `kvctl chaos`.

use super::line::{Line, Reader};
use super::mistake::Mistake;
use super::words::Word;
use crate::chaos::{ClockFault, NodeFault, Wish};
use crate::storage::Trouble;
use crate::units::{parse_duration, parse_jump, parse_positive_duration, parse_share, parse_size};

/// What such a fault begins with.
pub const VERBS: &[&str] =
    &["pause", "kill", "terminate", "crash-loop", "slow-cpu", "memory", "clock", "disk", "corrupt"];

/// Reads one whose verb is known.
pub fn parse(verb: Word<'_>, mut line: Line<'_>, reader: &mut Reader) -> Result<Wish, Mistake> {
    let kind = match verb.text {
        "clock" => line.second("clock", &["jump", "drift", "stop", "strobe"])?.text,
        "disk" => {
            let kinds =
                ["slow", "full", "read-errors", "write-errors", "sync-error", "forget", "tear"];
            line.second("disk", &kinds)?.text
        }
        _ => "",
    };
    let nodes = match (verb.text, kind) {
        ("clock", "jump" | "drift" | "strobe") | ("disk", "slow") => line.expect("a node")?,
        _ => line.rest("a node")?,
    };
    let nodes = reader.nodes(nodes)?;
    let fault = match verb.text {
        "pause" => NodeFault::Pause,
        "kill" => NodeFault::Kill,
        "terminate" => NodeFault::Terminate,
        "crash-loop" => NodeFault::CrashLoop { every_millis: every(&mut line, 1000)? },
        "slow-cpu" => {
            let share = line.must("--to", "a share, as in `--to 20%`,")?;
            NodeFault::SlowCpu { share: share.parse(parse_share)? }
        }
        "memory" => {
            let limit = line.must("--limit", "a size, as in `--limit 64MiB`,")?;
            NodeFault::Memory { bytes: limit.parse(parse_size)? as u64 }
        }
        "corrupt" => {
            let segment = line.option("--segment")?;
            let segment = segment.map(|word| word.parse(parse_whole)).transpose()?;
            NodeFault::Corrupt { segment }
        }
        "clock" => NodeFault::Clock(clock(kind, &mut line)?),
        _ => NodeFault::Disk(disk(kind, &mut line)?),
    };
    line.finish()?;
    Ok(Wish::Node { nodes, fault })
}

fn clock(kind: &str, line: &mut Line<'_>) -> Result<ClockFault, Mistake> {
    Ok(match kind {
        "jump" => ClockFault::Jump { millis: line.expect("how far")?.parse(parse_jump)? },
        "drift" => {
            let rate = line.expect("how many times as fast")?;
            ClockFault::Drift { rate: rate.parse(parse_rate)? }
        }
        "stop" => ClockFault::Stop,
        _ => {
            let far = line.expect("how far")?.parse(parse_positive_duration)?;
            let every_millis = every(line, 100)?;
            ClockFault::Strobe { millis: far.as_millis() as u64, every_millis }
        }
    })
}

fn disk(kind: &str, line: &mut Line<'_>) -> Result<Trouble, Mistake> {
    let well = Trouble::default();
    let share = |line: &mut Line<'_>| match line.option("--share")? {
        Some(word) => word.parse(parse_share),
        None => Ok(1.0),
    };
    Ok(match kind {
        "slow" => {
            let delay = line.expect("how much longer")?.parse(parse_positive_duration)?;
            let jitter = line.option("--jitter")?;
            let jitter = jitter.map(|word| word.parse(parse_duration)).transpose()?;
            let jitter_millis = jitter.unwrap_or_default().as_millis() as u64;
            Trouble { delay_millis: delay.as_millis() as u64, jitter_millis, ..well }
        }
        "full" => Trouble { full: true, ..well },
        "read-errors" => Trouble { read_errors: share(line)?, ..well },
        "write-errors" => Trouble { write_errors: share(line)?, ..well },
        "sync-error" => Trouble { sync_error: true, ..well },
        "forget" => Trouble { lose_unsynced: true, ..well },
        _ => Trouble { torn: true, ..well },
    })
}

fn every(line: &mut Line<'_>, usual: u64) -> Result<u64, Mistake> {
    match line.option("--every")? {
        Some(word) => Ok(word.parse(parse_positive_duration)?.as_millis() as u64),
        None => Ok(usual),
    }
}

fn parse_whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no whole number"))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is no rate: write `1.5` or `0.5`"))
}
