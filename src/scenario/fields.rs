//! A table of the file: its keys, each read as what it must be. What is wrong is noted, and the
//! rest read all the same, so that all mistakes are told at once.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::Mistake;
use super::words::Word;
use crate::units;

/// A table, and what is wrong so far.
pub struct Fields<'a, 't> {
    /// The whole file.
    file: &'t str,
    /// What the table is, for messages.
    what: &'static str,
    table: &'a DeTable<'t>,
    at: Range<usize>,
    known: Vec<&'static str>,
    mistakes: &'a mut Vec<Mistake>,
}

/// A string of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    /// Where what is between its quotes begins, if every byte there is one of the string's.
    at: usize,
    /// All of it, with its quotes.
    whole: Range<usize>,
    plain: bool,
}

impl Text {
    fn new(file: &str, text: &str, whole: Range<usize>) -> Text {
        let raw = file.get(whole.clone()).unwrap_or_default();
        let plain = raw.len() == text.len() + 2 && raw.get(1..raw.len() - 1) == Some(text);
        Text { text: text.to_owned(), at: whole.start + 1, whole, plain }
    }

    /// It as a word, whose parts know their places.
    pub fn word(&self) -> Word<'_> {
        Word { text: &self.text, at: self.at }
    }

    /// All of it, with its quotes.
    pub fn span(&self) -> Range<usize> {
        self.whole.clone()
    }

    /// A mistake in it: where escapes shift the places of words, in the whole of it.
    pub fn mistake(&self, mistake: Mistake) -> Mistake {
        if self.plain { mistake } else { Mistake { at: self.span(), ..mistake } }
    }
}

/// What a time is written like.
const TIME: &str = "a time, as in \"5s\"";

/// Something with its place in the file.
pub type Placed<T> = (T, Range<usize>);

impl<'a, 't> Fields<'a, 't> {
    /// The table at `at`, which is a `what`.
    pub fn new(
        file: &'t str,
        what: &'static str,
        table: &'a DeTable<'t>,
        at: Range<usize>,
        mistakes: &'a mut Vec<Mistake>,
    ) -> Fields<'a, 't> {
        Fields { file, what, table, at, known: Vec::new(), mistakes }
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Notes that a value is not what it must be.
    fn wrong<T>(&mut self, key: &str, value: &Spanned<DeValue<'t>>, must: &str) -> Option<T> {
        let is = value.get_ref().type_str();
        let what = format!("`{key}` must be {must}, and this is {}", with_article(is));
        self.mistakes.push(Mistake::new(value.span(), what));
        None
    }

    /// A key that must be there is not.
    pub fn missing(&mut self, key: &str, example: &str) {
        let what = format!("this {} has no `{key}`", self.what);
        let mistake = Mistake::new(self.at.clone(), what);
        self.mistakes.push(mistake.help(format!("write, for example, `{example}`")));
    }

    /// A string.
    pub fn text(&mut self, key: &'static str) -> Option<Text> {
        self.text_like(key, "a text")
    }

    fn text_like(&mut self, key: &'static str, must: &str) -> Option<Text> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Text::new(self.file, text, value.span())),
            _ => self.wrong(key, value, must),
        }
    }

    /// A string that `parse` understands.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        must: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let text = self.text_like(key, must)?;
        match parse(&text.text) {
            Ok(value) => Some((value, text.span())),
            Err(what) => {
                self.mistakes.push(Mistake::new(text.span(), format!("`{key}`: {what}")));
                None
            }
        }
    }

    /// A time above zero.
    pub fn time(&mut self, key: &'static str) -> Option<Placed<Duration>> {
        self.parsed(key, TIME, units::parse_positive_duration)
    }

    /// A time, or none.
    pub fn any_time(&mut self, key: &'static str) -> Option<Placed<Duration>> {
        self.parsed(key, TIME, units::parse_duration)
    }

    /// A share.
    pub fn share(&mut self, key: &'static str) -> Option<Placed<f64>> {
        self.parsed(key, "a share, as in \"5%\"", units::parse_share)
    }

    /// A whole number.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Placed<u64>> {
        let value = self.value(key)?;
        let (least, most) = (*range.start(), *range.end());
        let DeValue::Integer(integer) = value.get_ref() else {
            return self.wrong(key, value, "a whole number");
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some((number, value.span())),
            None => {
                let to = if most == u64::MAX { String::new() } else { format!(" to {most}") };
                let what = format!("`{key}` must be a whole number from {least}{to}");
                self.mistakes.push(Mistake::new(value.span(), what));
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn switch(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(switch) => Some(*switch),
            _ => self.wrong(key, value, "true or false"),
        }
    }

    /// A list of strings, or one string alone.
    pub fn texts(&mut self, key: &'static str) -> Vec<Text> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let one = std::slice::from_ref(value);
        let list: &[Spanned<DeValue<'t>>] = match value.get_ref() {
            DeValue::Array(list) => list,
            _ => one,
        };
        let mut texts = Vec::new();
        for value in list {
            match value.get_ref() {
                DeValue::String(text) => texts.push(Text::new(self.file, text, value.span())),
                _ => drop::<Option<()>>(self.wrong(key, value, "a text, or a list of texts")),
            }
        }
        texts
    }

    /// A table.
    pub fn table(&mut self, key: &'static str) -> Option<Placed<&'a DeTable<'t>>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some((table, value.span())),
            _ => self.wrong(key, value, &format!("a table, `[{key}]`")),
        }
    }

    /// A list of tables.
    pub fn tables(&mut self, key: &'static str) -> Vec<Placed<&'a DeTable<'t>>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let must = format!("a list of tables, each under its own `[[{key}]]`");
        let DeValue::Array(list) = value.get_ref() else {
            self.wrong::<()>(key, value, &must);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for value in list.iter() {
            match value.get_ref() {
                DeValue::Table(table) => tables.push((table, value.span())),
                _ => drop::<Option<()>>(self.wrong(key, value, &must)),
            }
        }
        tables
    }

    /// Notes a mistake.
    pub fn note(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Nobody asked for the keys that are left.
    pub fn finish(self) {
        for (key, _) in self.table {
            let word = key.get_ref().as_ref();
            if self.known.contains(&word) {
                continue;
            }
            let what = format!("`{word}` is no key of {}", with_article(self.what));
            let mistake = Mistake::new(key.span(), what);
            let guess = mistake.near(word, self.known.iter().copied());
            let all = || format!("its keys are {}", self.known.join(", "));
            let help = guess.help.clone().unwrap_or_else(all);
            self.mistakes.push(guess.help(help));
        }
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
