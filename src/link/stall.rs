//! Stall: the connection stays open and nothing comes through; nothing is lost, either.
//!
//! What a full receive window, a swamped proxy or a firewall in between does. Whoever only looks
//! whether the connection is there takes the other side for well. What is sent meanwhile waits
//! behind it, as far as there is room, and arrives in order when the stall is over.

use super::Policy;

/// Whether what waits must go on waiting.
pub fn stalls(policy: &Policy) -> bool {
    policy.stall
}
