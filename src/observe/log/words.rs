//! What was written as JSON, for people.

use serde_json::{Map, Value};

/// As the text of the same event would have been.
pub fn in_words(fields: &Map<String, Value>) -> String {
    let mut words = fields.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    let told = |name: &str| matches!(name, "timestamp" | "level" | "message" | "target");
    for (name, value) in fields.iter().filter(|(name, _)| !told(name)) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        words.push_str(&format!(" {name}={value}"));
    }
    printable(&words)
}

/// What came from outside is not to move the cursor of whoever reads, nor to pass for lines.
fn printable(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// A line of a log as it would have been as text, in whichever format it was written.
pub fn readable(line: &str) -> String {
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(line) else {
        return line.to_owned();
    };
    let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (time, level) = (word("timestamp"), word("level"));
    format!("{time} {level:>5} {}", in_words(&fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_reads_like_one_of_text() {
        let json = r#"{"timestamp":"T","level":"WARN","message":"a disk is slow","node":1}"#;
        assert_eq!(readable(json), "T  WARN a disk is slow node=1");
        assert_eq!(readable("T  WARN a disk is slow node=1"), "T  WARN a disk is slow node=1");
        assert_eq!(readable("{not json"), "{not json");
    }
}
