//! Texts in words, each of which knows where in the file it stands; and phrases, which are matched
//! against them.
//!
//! A phrase is written as people read it: `writes resume within TIME`. Words in capitals stand for
//! something, all others for themselves; a plural is as good as a singular. What matches none is
//! pointed at where it first departs from the phrase that it is most like.

use std::ops::Range;

use super::mistake::Mistake;

/// A text, and where in the file it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'t> {
    pub text: &'t str,
    pub at: usize,
}

impl<'t> Word<'t> {
    /// Its bytes in the file.
    pub fn span(&self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    /// What is between its white space.
    pub fn split(self) -> Vec<Word<'t>> {
        let offset = |word: &str| word.as_ptr() as usize - self.text.as_ptr() as usize;
        let words = self.text.split_whitespace();
        words.map(|text| Word { text, at: self.at + offset(text) }).collect()
    }

    /// Something is wrong with it.
    pub fn wrong(&self, what: impl Into<String>) -> Mistake {
        Mistake::new(self.span(), what)
    }

    /// What `parse` makes of it.
    pub fn parse<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Mistake> {
        parse(self.text).map_err(|what| self.wrong(what))
    }
}

fn is_hole(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_uppercase())
}

fn is_same(word: &str, pattern: &str) -> bool {
    word.trim_end_matches('s') == pattern.trim_end_matches('s')
}

/// How many words agree with a phrase from the beginning on, and how many of them literally.
fn likeness(words: &[Word<'_>], phrase: &str) -> (usize, usize) {
    let pairs = words.iter().zip(phrase.split(' '));
    let agree = pairs.take_while(|(word, part)| is_hole(part) || is_same(word.text, part));
    agree.fold((0, 0), |(all, literal), (_, part)| (all + 1, literal + usize::from(!is_hole(part))))
}

/// The phrase that a text is, and what stands in its holes.
pub fn phrase<'t, T: Copy>(
    text: Word<'t>,
    what: &str,
    phrases: &[(&'static str, T)],
) -> Result<(T, Vec<Word<'t>>), Mistake> {
    let words = text.split();
    let length = |phrase: &str| phrase.split(' ').count();
    let whole = phrases.iter().filter(|(phrase, _)| {
        words.len() == length(phrase) && likeness(&words, phrase).0 == words.len()
    });
    if let Some((phrase, is)) = whole.max_by_key(|(phrase, _)| likeness(&words, phrase).1) {
        let pairs = words.iter().zip(phrase.split(' '));
        return Ok((*is, pairs.filter(|(_, part)| is_hole(part)).map(|(word, _)| *word).collect()));
    }
    let like = |(phrase, _): &&(&str, T)| {
        let (all, literal) = likeness(&words, phrase);
        (literal, all)
    };
    let best = phrases.iter().max_by_key(like).filter(|phrase| like(phrase).0 > 0);
    let Some((phrase, _)) = best else {
        let all: Vec<_> = phrases.iter().map(|(phrase, _)| format!("`{phrase}`")).collect();
        let mistake = text.wrong(format!("`{}` is no {what}", text.text));
        return Err(mistake.help(format!("write one of {}", all.join(", "))));
    };
    let agree = likeness(&words, phrase).0;
    let mistake = match (words.get(agree), phrase.split(' ').nth(agree)) {
        (Some(word), Some(part)) => {
            word.wrong(format!("`{}` stands where `{part}` is expected", word.text))
        }
        (Some(word), None) => word.wrong(format!("`{}` is too much", word.text)),
        (None, part) => {
            let end = text.span().end;
            Mistake::new(end..end, format!("`{}` is missing here", part.unwrap_or_default()))
        }
    };
    Err(mistake.help(format!("write `{phrase}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHRASES: &[(&str, u8)] = &[
        ("writes resume within TIME", 1),
        ("no election", 2),
        ("at most N elections", 3),
        ("N writes", 4),
    ];

    type Wrong = (Range<usize>, String, String);

    fn choose(text: &str) -> Result<(u8, Vec<String>), Wrong> {
        let found = phrase(Word { text, at: 10 }, "expectation", PHRASES);
        let plain = |words: Vec<Word<'_>>| words.iter().map(|word| word.text.to_owned()).collect();
        found
            .map(|(is, holes)| (is, plain(holes)))
            .map_err(|mistake| (mistake.at, mistake.what, mistake.help.unwrap_or_default()))
    }

    #[test]
    fn a_phrase_is_found_with_what_it_names() {
        assert_eq!(choose("writes resume within 2s"), Ok((1, vec!["2s".to_owned()])));
        assert_eq!(choose("  no  elections "), Ok((2, vec![])));
        assert_eq!(choose("at most 1 election"), Ok((3, vec!["1".to_owned()])));
        assert_eq!(choose("1 write"), Ok((4, vec!["1".to_owned()])));
    }

    #[test]
    fn a_departure_is_pointed_at() {
        let (at, what, help) = choose("writes resume in 2s").unwrap_err();
        assert_eq!(at, 24..26);
        assert_eq!(what, "`in` stands where `within` is expected");
        assert_eq!(help, "write `writes resume within TIME`");
        let (at, what, _) = choose("writes resume within").unwrap_err();
        assert_eq!((at, what.as_str()), (30..30, "`TIME` is missing here"));
        let (at, what, _) = choose("no election ever").unwrap_err();
        assert_eq!((at, what.as_str()), (22..26, "`ever` is too much"));
        let (_, what, help) = choose("all is well").unwrap_err();
        assert_eq!(what, "`all is well` is no expectation");
        assert!(help.starts_with("write one of `writes resume within TIME`, `no election`"));
    }
}
