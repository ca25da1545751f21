//! How people write groups of nodes and links between them.
//!
//! ```text
//! groups = group { ("|" | "/" | space) group }        1,2|3,4,5    1,2/3,4,5    1,2 3,4,5
//! group  = who { "," who }                            leader       1,followers
//! links  = link { "," link }                          1:2,2-3      leader:followers
//! link   = who ":" who | who "-" who                  one way, from left to right | both ways
//! ```
//!
//! `|` is what everybody writes and also the shell's pipe, so `/` and a space mean the same. Spaces
//! around `,` and `|` mean nothing. No `>` for a direction: it is the shell's, too.
//!
//! A mistake is shown where it stands: [`Pointed`].

use std::collections::BTreeSet;
use std::fmt;

use super::LinkWish;
use super::who::Who;
use crate::types::NodeId;

/// A mistake in a text, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointed {
    pub text: String,
    /// Characters before it.
    pub at: usize,
    pub why: String,
}

impl fmt::Display for Pointed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pointed { text, at, why } = self;
        write!(f, "{why}\n  {text}\n  {:at$}^", "")
    }
}

impl std::error::Error for Pointed {}

/// Somebody, and where in the text it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub who: Who,
    /// Characters before it.
    pub at: usize,
}

impl Named {
    /// Refuses a node that is not one of `members`.
    pub fn check(&self, text: &str, members: &BTreeSet<NodeId>) -> Result<(), Pointed> {
        match self.who {
            Who::Node(id) if !members.contains(&id) => {
                let known: Vec<_> = members.iter().map(NodeId::to_string).collect();
                let why = format!("there is no node {id}; there are {}", known.join(", "));
                Err(Pointed { text: text.to_owned(), at: self.at, why })
            }
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// Between groups.
    Bar,
    Comma,
    /// Between the ends of a link: whether both ways.
    Arrow(bool),
    End,
}

/// The tokens of a text with their places; a space between two words is a bar.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut tokens: Vec<(usize, Token)> = Vec::new();
    let mut space = None;
    for (at, character) in text.chars().enumerate() {
        let token = match character {
            _ if character.is_whitespace() => {
                space = space.or(Some(at));
                continue;
            }
            '|' | '/' => Token::Bar,
            ',' => Token::Comma,
            ':' => Token::Arrow(false),
            '-' => Token::Arrow(true),
            other => Token::Word(other.to_string()),
        };
        match (tokens.last_mut(), token) {
            (Some((_, Token::Word(word))), Token::Word(more)) if space.is_none() => {
                word.push_str(&more);
            }
            (last, token) => {
                let apart = matches!((&last, &token), (Some((_, Token::Word(_))), Token::Word(_)));
                tokens.extend(space.filter(|_| apart).map(|place| (place, Token::Bar)));
                tokens.push((at, token));
            }
        }
        space = None;
    }
    tokens.push((text.chars().count(), Token::End));
    tokens
}

struct Parser<'t> {
    text: &'t str,
    tokens: std::iter::Peekable<std::vec::IntoIter<(usize, Token)>>,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Parser<'t> {
        Parser { text, tokens: tokens(text).into_iter().peekable() }
    }

    fn next(&mut self) -> (usize, Token) {
        self.tokens.next().unwrap_or((self.text.chars().count(), Token::End))
    }

    fn fail<T>(&self, at: usize, why: impl Into<String>) -> Result<T, Pointed> {
        Err(Pointed { text: self.text.to_owned(), at, why: why.into() })
    }

    fn who(&mut self) -> Result<Named, Pointed> {
        match self.next() {
            (at, Token::Word(word)) => match word.parse() {
                Ok(who) => Ok(Named { who, at }),
                Err(why) => self.fail(at, why),
            },
            (at, _) => self.fail(at, "a node is missing here: its number, or a role"),
        }
    }
}

/// Groups of nodes, none of which stands in two.
pub fn groups(text: &str) -> Result<Vec<Vec<Named>>, Pointed> {
    let mut parser = Parser::new(text);
    let mut groups = vec![vec![parser.who()?]];
    loop {
        match parser.next() {
            (_, Token::End) => break,
            (_, Token::Bar) => groups.push(vec![parser.who()?]),
            (_, Token::Comma) => {
                let named = parser.who()?;
                groups.last_mut().into_iter().for_each(|group| group.push(named));
            }
            (at, Token::Arrow(_)) => {
                return parser.fail(at, "this is a link; groups are written 1,2|3,4,5");
            }
            (at, Token::Word(_)) => return parser.fail(at, "`,` or `|` is missing here"),
        }
    }
    let mut seen = BTreeSet::new();
    for named in groups.iter().flatten() {
        if !seen.insert(named.who) {
            return parser.fail(named.at, format!("{} stands here a second time", named.who));
        }
    }
    Ok(groups)
}

/// Links, each with the places of its two ends.
pub fn links(text: &str) -> Result<Vec<(LinkWish, [Named; 2])>, Pointed> {
    let mut parser = Parser::new(text);
    let mut links = Vec::new();
    loop {
        let from = parser.who()?;
        let both = match parser.next() {
            (_, Token::Arrow(both)) => both,
            (at, _) => return parser.fail(at, "`:` (one way) or `-` (both ways) is missing here"),
        };
        let to = parser.who()?;
        if let (Who::Node(a), Who::Node(b)) = (from.who, to.who)
            && a == b
        {
            return parser.fail(to.at, format!("node {a} has no link to itself"));
        }
        links.push((LinkWish { from: from.who, to: to.who, both }, [from, to]));
        match parser.next() {
            (_, Token::End) => return Ok(links),
            (_, Token::Comma | Token::Bar) => {}
            (at, _) => return parser.fail(at, "`,` is missing here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Vec<Vec<String>> {
        let word = |named: &Named| named.who.to_string();
        let groups = groups(text).unwrap_or_else(|error| panic!("{error}"));
        groups.iter().map(|group| group.iter().map(word).collect()).collect()
    }

    fn mistake(text: &str) -> String {
        groups(text).unwrap_err().to_string()
    }

    #[test]
    fn all_ways_to_write_two_groups_mean_the_same() {
        for text in ["1,2|3,4,5", "1,2 3,4,5", "1,2/3,4,5", " 1, 2 |3 ,4,5 ", "1,2\t| 3,4,5"] {
            assert_eq!(plain(text), [vec!["1", "2"], vec!["3", "4", "5"]], "{text}");
        }
        assert_eq!(plain("leader|followers"), [["leader"], ["followers"]]);
        assert_eq!(plain("12"), [["12"]]);
    }

    #[test]
    fn a_mistake_is_pointed_at() {
        assert_eq!(mistake("1,2|2,3"), "2 stands here a second time\n  1,2|2,3\n      ^");
        assert_eq!(mistake("1,,2"), "a node is missing here: its number, or a role\n  1,,2\n    ^");
        assert!(mistake("1,2|").ends_with("  1,2|\n      ^"));
        assert!(mistake("").ends_with("\n  \n  ^"));
        assert!(mistake("1,0").starts_with("nodes are numbered from 1"));
        assert!(mistake("1|chief").starts_with("`chief` is no node: write its number, or leader"));
        assert!(mistake("1-2").starts_with("this is a link"));
        assert!(mistake("99999999999999999999").starts_with("`99999999999999999999` is no node"));
    }

    #[test]
    fn links_have_a_direction_or_two() {
        let links = links("1:2, 2-3,leader:followers").unwrap();
        let plain: Vec<_> = links.iter().map(|(link, _)| link.to_string()).collect();
        assert_eq!(plain, ["1:2", "2-3", "leader:followers"]);
        let mistake = |text| super::links(text).unwrap_err().to_string();
        assert!(mistake("1").starts_with("`:` (one way) or `-` (both ways) is missing"));
        assert!(mistake("1:2:3").starts_with("`,` is missing here"));
        assert!(mistake("3-3").starts_with("node 3 has no link to itself"));
        assert_eq!(
            mistake("1>2").lines().next(),
            Some(
                "`1>2` is no node: write its number, or \
            leader, followers, majority, minority, all"
            )
        );
    }

    #[test]
    fn unknown_nodes_are_pointed_at() {
        let members = [1, 2, 3].map(NodeId).into();
        let text = "1,2|7";
        let groups = groups(text).unwrap();
        let why = groups[1][0].check(text, &members).unwrap_err().to_string();
        assert_eq!(why, "there is no node 7; there are 1, 2, 3\n  1,2|7\n      ^");
        assert_eq!(groups[0][0].check(text, &members), Ok(()));
    }
}
