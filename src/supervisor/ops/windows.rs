//! Rules and alerts whose windows are seconds instead of minutes.
//!
//! A rehearsal lasts a minute, and an alert that waits for five of them is never seen. So each time
//! in `for:` and in a range (`[5m]`) can be made a sixtieth of itself; a range never so short that
//! too few scrapes fall into it for a rate.

use std::time::Duration;

/// The shortest range: at one scrape a second a rate needs two, and one may be late.
const SHORTEST_RANGE: Duration = Duration::from_secs(5);

/// How many times shorter.
const SHORTER: u32 = 60;

/// The same rules with short windows.
pub fn shortened(rules: &str) -> String {
    let mut text = String::with_capacity(rules.len());
    for line in rules.split_inclusive('\n') {
        let trimmed = line.trim_start();
        match trimmed.strip_prefix("for:").and_then(|time| parse(time.trim())) {
            Some(time) => {
                text.push_str(&line[..line.len() - trimmed.len()]);
                text.push_str(&format!("for: {}\n", written(time / SHORTER)));
            }
            None => shorten_ranges(line, &mut text),
        }
    }
    text
}

fn shorten_ranges(mut line: &str, text: &mut String) {
    while let Some((before, rest)) = line.split_once('[') {
        text.push_str(before);
        text.push('[');
        line = rest;
        if let Some((range, _)) = rest.split_once(']')
            && let Some(time) = parse(range)
        {
            text.push_str(&written((time / SHORTER).max(SHORTEST_RANGE)));
            line = &rest[range.len()..];
        }
    }
    text.push_str(line);
}

/// As Prometheus writes times, of one unit.
fn parse(text: &str) -> Option<Duration> {
    let seconds = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        _ => return None,
    };
    let count: u32 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(seconds) * count)
}

fn written(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}ms", time.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_become_seconds_and_nothing_else_changes() {
        let rules = "\
      - alert: A  # for: whoever looks
        expr: rate(a_total[5m]) > 0.5 and b{x=\"[5m\"} > 1 and increase(c[10m]) > 2
        for: 1m
        annotations:
          summary: \"for [ever]\"
      - alert: B
        expr: sum(rate(c[30m]))
        for: 30s
";
        let short = "\
      - alert: A  # for: whoever looks
        expr: rate(a_total[5s]) > 0.5 and b{x=\"[5m\"} > 1 and increase(c[10s]) > 2
        for: 1s
        annotations:
          summary: \"for [ever]\"
      - alert: B
        expr: sum(rate(c[30s]))
        for: 500ms
";
        assert_eq!(shortened(rules), short);
    }
}
