//! Reads Rust source for the paths it names; comments, strings and literals are passed over.
//!
//! No parser: a path is an identifier followed by `::` and more, wherever it stands, and a group
//! in braces after `::` can only be a `use`. That is enough to see every `use` and every
//! qualified name, and nothing that is not one can look like it.

/// A path as if it had been written out from the crate's root, and where it begins.
#[derive(Debug, PartialEq)]
pub struct Reference {
    pub line: usize,
    /// At least one segment; `crate` first if it leads into this crate. `*` for a glob.
    pub path: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Other(char),
}

/// Every path in `text`, which stands in `module` (its names from the crate's root).
pub fn references(module: &[String], text: &str) -> Vec<Reference> {
    let tokens = tokens(text);
    let mut reader = Reader { tokens: &tokens, at: 0, found: Vec::new() };
    // The modules around the place we read at: those of the file, then those written inline, each
    // with the depth of braces inside which it holds.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut depth = 0;
    while let Some((token, line)) = tokens.get(reader.at) {
        match token {
            Token::Word(word) if word == "mod" && reader.opens_inline_module() => {
                if let Some((Token::Word(name), _)) = tokens.get(reader.at + 1) {
                    inline.push((depth, name.clone()));
                }
                depth += 1;
                reader.at += 3;
            }
            Token::Word(_) => {
                let mark = reader.found.len();
                // A field or method (`x.tokio`) is no path, unless it is a range (`0..x`).
                if reader.follows('.') && !reader.follows_range() {
                    reader.at += 1;
                    continue;
                }
                reader.tree(Vec::new(), *line);
                let mut around = module.to_vec();
                around.extend(inline.iter().map(|(_, name)| name.clone()));
                for reference in &mut reader.found[mark..] {
                    resolve(&around, &mut reference.path);
                }
            }
            Token::Other('{') => {
                depth += 1;
                reader.at += 1;
            }
            Token::Other('}') => {
                depth = depth.saturating_sub(1);
                inline.retain(|(opened, _)| *opened < depth);
                reader.at += 1;
            }
            _ => reader.at += 1,
        }
    }
    // A single word is a local name or a keyword, not a path; `use tokio;` is caught where used.
    let mut found = reader.found;
    found.retain(|reference| reference.path.len() > 1);
    found
}

/// Turns `self::` and `super::` into a path from the crate's root.
fn resolve(module: &[String], path: &mut Vec<String>) {
    let mut base = module.to_vec();
    let mut taken = 0;
    for segment in path.iter() {
        match segment.as_str() {
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        taken += 1;
    }
    if taken > 0 && path.len() > 1 {
        let rest = path.split_off(taken);
        *path = std::iter::once("crate".to_owned()).chain(base).chain(rest).collect();
    }
}

struct Reader<'a> {
    tokens: &'a [(Token, usize)],
    at: usize,
    found: Vec<Reference>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(token, _)| token)
    }

    fn follows(&self, mark: char) -> bool {
        self.at > 0 && self.tokens[self.at - 1].0 == Token::Other(mark)
    }

    fn follows_range(&self) -> bool {
        self.at > 1 && self.tokens[self.at - 2].0 == Token::Other('.')
    }

    /// `mod name {`
    fn opens_inline_module(&self) -> bool {
        matches!(self.peek(1), Some(Token::Word(_))) && self.peek(2) == Some(&Token::Other('{'))
    }

    /// Reads `a::b::c`, `a::{b, c::d}` or `a::*` from here, and stops after it.
    fn tree(&mut self, prefix: Vec<String>, line: usize) {
        let mut path = prefix;
        loop {
            match self.peek(0) {
                // `a::b::{self}` is `a::b` itself.
                Some(Token::Word(word)) if word == "self" && !path.is_empty() => self.at += 1,
                Some(Token::Word(word)) => {
                    path.push(word.clone());
                    self.at += 1;
                }
                Some(Token::Other('*')) if !path.is_empty() => {
                    path.push("*".to_owned());
                    self.at += 1;
                }
                Some(Token::Other('{')) if !path.is_empty() => return self.group(&path),
                _ => break,
            }
            if self.peek(0) != Some(&Token::Colons) {
                break;
            }
            self.at += 1;
        }
        if !path.is_empty() {
            self.found.push(Reference { line, path });
        }
    }

    /// Reads `{a, b::c, …}`; every member begins with `prefix`.
    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while let Some((token, line)) = self.tokens.get(self.at) {
            match token {
                Token::Other('}') => {
                    self.at += 1;
                    return;
                }
                Token::Word(word) if word == "as" => self.at += 2,
                Token::Word(_) | Token::Other('*' | '{') => self.tree(prefix.to_vec(), *line),
                _ => self.at += 1,
            }
        }
    }
}

/// Splits `text`, each token with its line, from 1.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let began = at;
        let c = chars[at];
        let next = chars.get(at + 1).copied();
        if c == '/' && next == Some('/') {
            at += chars[at..].iter().take_while(|c| **c != '\n').count();
        } else if c == '/' && next == Some('*') {
            at = after_comment(&chars, at);
        } else if let Some(end) = after_string(&chars, at) {
            at = end;
        } else if c == '\'' {
            at = after_quote(&chars, at);
        } else if c.is_alphanumeric() || c == '_' {
            at += chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
            if !c.is_ascii_digit() {
                tokens.push((Token::Word(chars[began..at].iter().collect()), line));
            }
        } else if c == ':' && next == Some(':') {
            at += 2;
            tokens.push((Token::Colons, line));
        } else {
            at += 1;
            if !c.is_whitespace() {
                tokens.push((Token::Other(c), line));
            }
        }
        line += chars[began..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

/// Block comments nest.
fn after_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The place after the string literal that begins at `at`, of any kind, if one does.
fn after_string(chars: &[char], at: usize) -> Option<usize> {
    let mut quote = at;
    if matches!(chars[quote], 'b' | 'c') && matches!(chars.get(quote + 1), Some('r' | '"')) {
        quote += 1;
    }
    let raw = chars[quote] == 'r' && matches!(chars.get(quote + 1), Some('#' | '"'));
    if raw {
        let hashes = chars[quote + 1..].iter().take_while(|c| **c == '#').count();
        let open = quote + 1 + hashes;
        if chars.get(open) != Some(&'"') {
            return None; // r#name
        }
        let closes =
            |i: &usize| chars[*i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'));
        return Some((open + 1..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes));
    }
    if chars[quote] != '"' {
        return None;
    }
    let mut end = quote + 1;
    while end < chars.len() && chars[end] != '"' {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    Some(end + 1)
}

/// After a character literal or a lifetime, which begin alike.
fn after_quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let rest = chars.get(at + 3..).unwrap_or_default();
            at + 4 + rest.iter().take_while(|c| **c != '\'').count()
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}
