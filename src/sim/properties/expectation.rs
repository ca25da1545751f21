//! Expectation: what the author of a scenario wrote down came true.
//!
//! Why it matters: the properties say that nothing went wrong; a scenario also says how long it may
//! take, and what must not work. A cluster that refuses everything for a minute breaks no property.

use super::{Checked, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "expectation",
    section: "the scenario",
    says: "every step of the scenario begins, and what it expects comes true",
};

/// An expectation did not come true.
pub fn disappointed(how: impl Into<String>) -> Checked {
    RULE.broken(how)
}
