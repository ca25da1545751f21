//! Progress: once the faults end and a majority is up and connected, the cluster gets on
//! (paper §5.6; "availability").
//!
//! Why it matters: a cluster that never does anything breaks no safety property. Most bugs that
//! real systems had in elections are of this kind.

use super::Rule;

/// The rule.
pub static RULE: Rule = Rule {
    name: "progress",
    section: "paper, §5.6 and §9.3",
    says: "with a majority up and connected, writes through every live node are acknowledged, and \
           all replicas become equal, within a bounded time",
};
