//! A line of a log, as a node or the supervisor wrote it: text, or a JSON object.

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::Level;

use crate::observe::log::in_words;
use crate::types::NodeId;

/// A line, and what can be told from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Who wrote it; `None`: the supervisor.
    pub node: Option<NodeId>,
    /// When (RFC 3339, UTC, so that text in order is time in order); of a line that does not say so
    /// (the rest of a panic, say), that of the line before it.
    pub time: String,
    /// How severe it is, likewise.
    pub level: String,
    /// As it was written.
    #[serde(rename = "line")]
    pub text: String,
    /// What it says, if it was written as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Map<String, Value>>,
}

impl Line {
    /// Reads a line that comes after `last`.
    pub fn read(node: Option<NodeId>, text: &str, last: &Line) -> Line {
        let inherited = Line {
            node,
            time: last.time.clone(),
            level: last.level.clone(),
            text: text.to_owned(),
            fields: None,
        };
        if text.starts_with('{')
            && let Ok(fields) = serde_json::from_str::<Map<String, Value>>(text)
        {
            let word = |name: &str, or: String| {
                fields.get(name).and_then(Value::as_str).map_or(or, str::to_owned)
            };
            let time = word("timestamp", inherited.time);
            let level = word("level", inherited.level);
            return Line { time, level, fields: Some(fields), ..inherited };
        }
        match in_text(text) {
            Some((time, level, _)) => {
                Line { time: time.to_owned(), level: level.to_string(), ..inherited }
            }
            None => inherited,
        }
    }

    /// Whether it is as severe as `level`, or more. What is not known is.
    pub fn is_at_least(&self, level: Level) -> bool {
        // Of levels, the more severe is the lesser.
        self.level.parse::<Level>().is_ok_and(|own| own <= level) || self.level.is_empty()
    }

    /// For people, with colours.
    pub fn shown(&self) -> String {
        let whose = self.node.map_or_else(|| "s".to_owned(), |node| node.to_string());
        let said = match (&self.fields, in_text(&self.text)) {
            (Some(fields), _) => in_words(fields),
            (None, Some((_, _, said))) => said.to_owned(),
            (None, None) => return format!("{whose} │ {}", self.text),
        };
        let colour = match &self.level[..] {
            "ERROR" => Style::new().fg_color(Some(AnsiColor::Red.into())),
            "WARN" => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            _ => Style::new(),
        };
        format!("{whose} │ {} {colour}{:>5}{colour:#} {said}", self.time, self.level)
    }
}

/// Time, level and the rest of a line of text.
fn in_text(line: &str) -> Option<(&str, Level, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let (level, said) = rest.trim_start().split_once(' ')?;
    let is_time = time.len() >= 20 && time.as_bytes()[10] == b'T' && time.ends_with('Z');
    is_time.then_some((time, level.parse().ok()?, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Line {
        Line::read(Some(NodeId(1)), text, &Line::default())
    }

    #[test]
    fn text_and_json_say_the_same() {
        let text = read("2026-11-23T10:00:01.000000Z  INFO leads node=1 term=2");
        let json = concat!(
            r#"{"timestamp":"2026-11-23T10:00:01.000000Z","level":"INFO","message":"leads","#,
            r#""node":1,"term":2,"target":"t"}"#
        );
        let json = read(json);
        assert_eq!((&text.time, &text.level), (&json.time, &json.level));
        assert_eq!(text.shown(), json.shown());
        let shown = anstream::adapter::strip_str(&text.shown()).to_string();
        assert_eq!(shown, "1 │ 2026-11-23T10:00:01.000000Z  INFO leads node=1 term=2");
        assert!(text.fields.is_none() && json.fields.unwrap()["term"] == 2);
    }

    #[test]
    fn what_has_no_time_is_as_its_line_before() {
        let first = read("2026-11-23T10:00:01.000000Z ERROR a panic");
        let rest = Line::read(Some(NodeId(1)), "  at line 3", &first);
        assert_eq!((&rest.time, &rest.level), (&first.time, &first.level));
        assert_eq!(rest.shown(), "1 │   at line 3");
        assert!(rest.is_at_least(Level::ERROR));
    }

    #[test]
    fn what_came_from_outside_cannot_pass_for_anything_else() {
        let line = read(r#"{"timestamp":"t","level":"WARN","message":"a\n2 │ b\u001b[2J"}"#);
        assert!(line.shown().ends_with(r"a\n2 │ b\u{1b}[2J"), "{}", line.shown());
    }

    #[test]
    fn severity_is_compared() {
        let warning = read("2026-11-23T10:00:01.000000Z  WARN x");
        assert!(warning.is_at_least(Level::INFO) && warning.is_at_least(Level::WARN));
        assert!(!warning.is_at_least(Level::ERROR));
        assert!(read("nobody knows").is_at_least(Level::ERROR));
        assert_eq!(read("{not json").shown(), "1 │ {not json");
    }
}
