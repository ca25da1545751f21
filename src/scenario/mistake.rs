//! A mistake in a file, shown as compilers show it: where, the line, what is wrong, what to do.

use std::ops::Range;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Bytes of the file.
    pub at: Range<usize>,
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Mistake {
    pub fn new(at: Range<usize>, what: impl Into<String>) -> Mistake {
        Mistake { at, what: what.into(), help: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Mistake {
        self.help = Some(help.into());
        self
    }

    /// Adds what was probably meant, if anything is near.
    #[must_use]
    pub fn near<'w>(self, word: &str, known: impl IntoIterator<Item = &'w str>) -> Mistake {
        match nearest(word, known) {
            Some(meant) => self.help(format!("did you mean `{meant}`?")),
            None => self,
        }
    }
}

/// The word that was probably meant.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(word, known), known));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(score, _)| *score > 0.8).map(|(_, known)| known)
}

/// A file: its name, and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Source<'t> {
    pub name: &'t str,
    pub text: &'t str,
}

/// A place in a file, for people: both numbers count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'t> {
    pub line: usize,
    pub column: usize,
    /// The whole line.
    pub text: &'t str,
}

impl<'t> Source<'t> {
    /// The place of a byte.
    pub fn place(&self, at: usize) -> Place<'t> {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline);
        Place {
            line: before.matches('\n').count() + 1,
            column: self.text[start..at].chars().count() + 1,
            text: self.text[start..end].trim_end_matches('\r'),
        }
    }

    /// A mistake with its line, and a caret under what is wrong.
    pub fn show(&self, mistake: &Mistake) -> String {
        let Place { line, column, text } = self.place(mistake.at.start);
        let rest = text.chars().count().saturating_sub(column - 1);
        let wide = self.text.get(mistake.at.clone()).map_or(1, |marked| marked.chars().count());
        let carets = "^".repeat(wide.min(rest).max(1));
        let (number, margin) = (line.to_string(), " ".repeat(line.to_string().len()));
        // A tab stays one, so that the caret stands where it must, however wide tabs are.
        let skip: String =
            text.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        let mut shown = format!("{}:{line}:{column}: {}\n", self.name, mistake.what);
        shown += &format!("{margin} |\n{number} | {text}\n{margin} | {skip}{carets}\n");
        if let Some(help) = &mistake.help {
            shown += &format!("{margin} = {help}\n");
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_in_its_line() {
        let source = Source { name: "a.toml", text: "nodes = 5\n\tdö = \"x\"\nend = 1" };
        let at = source.text.find("\"x").unwrap();
        let mistake = Mistake::new(at..at + 3, "`x` is nothing").help("write y");
        let shown =
            "a.toml:2:7: `x` is nothing\n  |\n2 | \tdö = \"x\"\n  | \t     ^^^\n  = write y\n";
        assert_eq!(source.show(&mistake), shown);
        assert_eq!(source.place(999).line, 3);
        // What goes over several lines is marked on its first.
        let long = source.show(&Mistake::new(0..source.text.len(), "all of it"));
        assert!(long.contains("1 | nodes = 5\n  | ^^^^^^^^^\n"), "{long}");
        assert!(source.show(&Mistake::new(999..1001, "beyond")).ends_with("^\n"));
    }

    #[test]
    fn the_nearest_word_is_one_that_is_near() {
        let verbs = ["partition", "pause", "isolate"];
        assert_eq!(nearest("partion", verbs), Some("partition"));
        assert_eq!(nearest("paus", verbs), Some("pause"));
        assert_eq!(nearest("xyz", verbs), None);
    }
}
