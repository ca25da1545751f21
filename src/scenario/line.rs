//! What a step does, in words as on the command line: a verb, what it is about, options.
//!
//! ```text
//! line   = verb { word } { "--" option [ value ] }         delay 100ms --jitter 20ms --links 1-2
//! ```

use super::mistake::Mistake;
use super::words::Word;
use crate::chaos::{self, Links, Named, Pointed, Who};
use crate::types::NodeId;

/// A line, of which something is left to be read.
#[derive(Clone, Debug)]
pub struct Line<'t> {
    /// The words before the options, without those that were read.
    pub words: Vec<Word<'t>>,
    options: Vec<(Word<'t>, Option<Word<'t>>)>,
    /// Those that were asked for.
    known: Vec<&'static str>,
    text: Word<'t>,
}

impl<'t> Line<'t> {
    pub fn new(text: Word<'t>) -> Line<'t> {
        let mut words = Vec::new();
        let mut options: Vec<(Word<'t>, Option<Word<'t>>)> = Vec::new();
        for word in text.split() {
            match options.last_mut() {
                _ if word.text.starts_with("--") => options.push((word, None)),
                None => words.push(word),
                Some((_, value @ None)) => *value = Some(word),
                Some(_) => words.push(word),
            }
        }
        let options = options.into_iter().map(|(name, value)| match name.text.split_once('=') {
            Some((key, after)) if value.is_none() => {
                let at = name.at + key.len() + 1;
                (Word { text: key, at: name.at }, Some(Word { text: after, at }))
            }
            _ => (name, value),
        });
        Line { words, options: options.collect(), known: Vec::new(), text }
    }

    /// The next word.
    pub fn next(&mut self) -> Option<Word<'t>> {
        (!self.words.is_empty()).then(|| self.words.remove(0))
    }

    /// The next word, which must be there.
    pub fn expect(&mut self, what: &str) -> Result<Word<'t>, Mistake> {
        let end = self.text.span().end;
        self.next().ok_or_else(|| Mistake::new(end..end, format!("{what} is missing here")))
    }

    /// All words that are left, with what is between them.
    pub fn rest(&mut self, what: &str) -> Result<Word<'t>, Mistake> {
        let first = self.expect(what)?;
        let last = self.words.pop().unwrap_or(first);
        self.words.clear();
        let from = first.at - self.text.at;
        let text = &self.text.text[from..last.span().end - self.text.at];
        Ok(Word { text, at: first.at })
    }

    /// The value of an option, if it stands there.
    pub fn option(&mut self, name: &'static str) -> Result<Option<Word<'t>>, Mistake> {
        self.known.push(name);
        let Some(place) = self.options.iter().position(|(word, _)| word.text == name) else {
            return Ok(None);
        };
        match self.options.remove(place) {
            (_, Some(value)) => Ok(Some(value)),
            (word, None) => Err(word.wrong(format!("`{name}` wants a value behind it"))),
        }
    }

    /// The value of an option that must stand there.
    pub fn must(&mut self, name: &'static str, what: &str) -> Result<Word<'t>, Mistake> {
        let end = self.text.span().end;
        let missing = || Mistake::new(end..end, format!("{what} is missing here"));
        self.option(name)?.ok_or_else(missing)
    }

    /// The verb behind a noun.
    pub fn second(&mut self, noun: &str, verbs: &[&str]) -> Result<Word<'t>, Mistake> {
        let verb = self.expect(&format!("what becomes of the {noun}"))?;
        if verbs.contains(&verb.text) {
            return Ok(verb);
        }
        let mistake = verb.wrong(format!("`{noun} {}` is nothing to do", verb.text));
        let help = format!("it is one of: {noun} {}", verbs.join(&format!(", {noun} ")));
        Err(mistake.help(help))
    }

    /// Whether an option without a value stands there.
    pub fn flag(&mut self, name: &'static str) -> bool {
        self.known.push(name);
        let place = self.options.iter().position(|(word, _)| word.text == name);
        let Some(place) = place else { return false };
        // What follows a flag is no value of it.
        let (_, after) = self.options.remove(place);
        self.words.extend(after);
        true
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), Mistake> {
        if let Some((option, _)) = self.options.first() {
            let mistake = option.wrong(format!("`{}` is no option of this", option.text));
            return Err(match option.text {
                "--for" | "--flap" => {
                    let key = option.text.trim_start_matches('-');
                    mistake.help(format!("it is a key of the step: {key} = \"…\""))
                }
                "--by" | "--yes" => mistake.help("a scenario always says who it is; leave it out"),
                _ if self.known.is_empty() => mistake.help("it has none"),
                text => {
                    let guess = mistake.near(text, self.known.iter().copied());
                    let all = format!("its options are {}", self.known.join(", "));
                    Mistake { help: guess.help.clone().or(Some(all)), ..guess }
                }
            });
        }
        match self.words.first() {
            Some(word) => Err(word.wrong(format!("`{}` is too much", word.text))),
            None => Ok(()),
        }
    }
}

/// A mistake that the grammar of nodes and links found in `word`.
fn pointed(word: Word<'_>, Pointed { at, why, .. }: Pointed) -> Mistake {
    let from = word.text.char_indices().nth(at).map_or(word.text.len(), |(byte, _)| byte);
    let parts = |c: char| c.is_whitespace() || matches!(c, ',' | '|' | '/' | ':' | '-');
    let long = word.text[from..].find(parts).unwrap_or(word.text.len() - from);
    Mistake::new(word.at + from..word.at + from + long, why)
}

/// The nodes that a scenario names, by number, with their places.
pub type Mentions = Vec<(NodeId, std::ops::Range<usize>)>;

/// Reads nodes and links, and notes whom they name.
#[derive(Debug, Default)]
pub struct Reader {
    pub mentions: Mentions,
}

impl Reader {
    fn note<'n>(&mut self, word: Word<'_>, named: impl IntoIterator<Item = &'n Named>) {
        for named in named {
            if let Who::Node(id) = named.who {
                let here = Pointed { text: String::new(), at: named.at, why: String::new() };
                self.mentions.push((id, pointed(word, here).at));
            }
        }
    }

    /// `1,2|3,4,5`; `| the rest` may be said at the end.
    pub fn groups(&mut self, word: Word<'_>) -> Result<Vec<Vec<Who>>, Mistake> {
        let without = word.text.strip_suffix("the rest").map(str::trim_end);
        let text = without.and_then(|text| text.strip_suffix(['|', '/'])).unwrap_or(word.text);
        let groups = chaos::groups(text).map_err(|mistake| pointed(word, mistake))?;
        self.note(word, groups.iter().flatten());
        let whos = |group: &Vec<Named>| group.iter().map(|named| named.who).collect();
        Ok(groups.iter().map(whos).collect())
    }

    /// Nodes, however they are parted.
    pub fn nodes(&mut self, word: Word<'_>) -> Result<Vec<Who>, Mistake> {
        Ok(self.groups(word)?.concat())
    }

    /// One node, or one role.
    pub fn who(&mut self, word: Word<'_>) -> Result<Who, Mistake> {
        match self.nodes(word)?.as_slice() {
            [who] => Ok(*who),
            _ => Err(word.wrong("one node is meant here")),
        }
    }

    /// `2-3,1:2`.
    pub fn links(&mut self, word: Word<'_>) -> Result<Links, Mistake> {
        let links = chaos::links(word.text).map_err(|mistake| pointed(word, mistake))?;
        self.note(word, links.iter().flat_map(|(_, ends)| ends));
        Ok(Links::These(links.into_iter().map(|(link, _)| link).collect()))
    }
}
