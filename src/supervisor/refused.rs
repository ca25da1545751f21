//! Why something that was asked for is not done, and whether insisting would help.

use std::fmt;

/// A refusal, in words.
#[derive(Debug)]
pub(super) enum Refused {
    /// It cannot be done, whoever insists.
    Impossible(String),
    /// It could be done, and a guard stands before it: whoever says `yes` is let past.
    Guarded(String),
}

impl Refused {
    /// Whether `yes` would have changed the answer.
    pub fn may_insist(&self) -> bool {
        matches!(self, Refused::Guarded(_))
    }
}

impl From<String> for Refused {
    fn from(why: String) -> Refused {
        Refused::Impossible(why)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refused::Impossible(why) | Refused::Guarded(why)) = self;
        f.write_str(why)
    }
}
