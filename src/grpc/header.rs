//! The header of nearly every answer. Which ones have what: `schema/etcd/README.md`.

use super::backend::Backend;
use super::convert::signed;
use super::pb::etcdserverpb::ResponseHeader;
use crate::types::Revision;

/// A header with a revision of the store.
pub fn header(backend: &dyn Backend, revision: Revision) -> ResponseHeader {
    let identity = backend.identity();
    ResponseHeader {
        cluster_id: identity.cluster.0,
        member_id: identity.node.0,
        revision: signed(revision.0),
        raft_term: backend.term().0,
    }
}
