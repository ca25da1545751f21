//! Cut: nothing gets through, in this direction.
//!
//! A partition is a set of cut links. Cutting i→j alone makes the one-way kind, in which j's
//! messages still reach i: the kind that systems which test their network with a ping get wrong.
//!
//! A cut begins at once. What a delay still held back is dropped too, by
//! [`Link::set_policy`](super::Link::set_policy), so that nothing sent before arrives within the
//! partition. What has left this link already is the network's, and will arrive.

use super::Policy;

/// Whether everything is dropped.
pub fn cuts(policy: &Policy) -> bool {
    policy.cut
}
