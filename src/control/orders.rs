//! Orders: what an operator wants a node to do for its group, and what became of it.
//!
//! # The problem
//!
//! An order can be refused, carried out, or begun by a leader that loses its leadership before it
//! knows how it ends. An operator's tool does a different thing in each case: *refused* had no
//! effect and may be asked of somebody else, *unknown* must be looked up in the configuration and
//! not repeated blindly. The replica says which it is ([`OrderResult`]); nothing on the way may
//! blur it. So a conversation that breaks after an order was sent is *unknown*, too.
//!
//! Snapshots are read here as well: a file held open by the node, so that a newer snapshot that
//! takes its place does not disturb the reader.

use std::time::Duration;

use bytes::Bytes;

use super::client::NodeClient;
use super::convert::{ControlError, not_in_schema, somebody, text};
use crate::consensus::Change;
use crate::replica::{Order, OrderResult};
use crate::schema::control_capnp as schema;
use crate::types::{LogIndex, Term};

/// Changes in one order.
pub const MAX_CHANGES: usize = 64;

/// Bytes in one answer of a snapshot's reader.
pub const MAX_CHUNK: usize = 1 << 20;

/// What an order gets if no time is named.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time that an order may be given.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// An answer may come so much later than the order's own time is over.
const GRACE: Duration = Duration::from_secs(2);

/// For a chunk of a snapshot, or a description.
const CHUNK_PATIENCE: Duration = Duration::from_secs(30);

/// The time that stands on the wire, within its bounds.
pub fn order_timeout(millis: u32) -> Duration {
    match millis {
        0 => DEFAULT_TIMEOUT,
        millis => Duration::from_millis(millis.into()).min(MAX_TIMEOUT),
    }
}

pub(super) fn wire_millis(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// Writes what became of an order.
pub fn write_outcome(result: &OrderResult, mut to: schema::outcome::Builder<'_>) {
    use schema::outcome::Kind;
    let (kind, message) = match result {
        OrderResult::Done(message) => (Kind::Done, message),
        OrderResult::Refused { leader, message } => {
            to.set_leader(leader.map_or(0, |id| id.0));
            (Kind::Refused, message)
        }
        OrderResult::Unknown(message) => (Kind::Unknown, message),
    };
    to.set_kind(kind);
    to.set_message(message.as_str());
}

fn read_outcome(from: schema::outcome::Reader<'_>) -> Result<OrderResult, ControlError> {
    use schema::outcome::Kind;
    let message = text("outcome", from.get_message())?;
    Ok(match from.get_kind().map_err(not_in_schema("outcome"))? {
        Kind::Done => OrderResult::Done(message),
        Kind::Refused => OrderResult::Refused { leader: somebody(from.get_leader()), message },
        Kind::Unknown => OrderResult::Unknown(message),
    })
}

fn write_changes(
    changes: &[Change],
    mut to: capnp::struct_list::Builder<'_, schema::change::Owned>,
) {
    use schema::change::Kind;
    for (at, change) in (0..).zip(changes) {
        let mut to = to.reborrow().get(at);
        let (node, kind) = match change {
            Change::AddLearner { node, address } => {
                to.set_address(address.as_str());
                (node, Kind::AddLearner)
            }
            Change::Promote { node } => (node, Kind::Promote),
            Change::Demote { node } => (node, Kind::Demote),
            Change::Remove { node } => (node, Kind::Remove),
            Change::Relocate { node, address } => {
                to.set_address(address.as_str());
                (node, Kind::Relocate)
            }
        };
        to.set_node(node.0);
        to.set_kind(kind);
    }
}

/// Reads changes that arrived; at most [`MAX_CHANGES`].
pub fn read_changes(
    from: capnp::struct_list::Reader<'_, schema::change::Owned>,
) -> Result<Vec<Change>, ControlError> {
    use schema::change::Kind;
    if from.len() as usize > MAX_CHANGES {
        let why = format!("{} at once: at most {MAX_CHANGES} are possible", from.len());
        return Err(ControlError::Malformed { field: "changes", why });
    }
    let change = |change: schema::change::Reader<'_>| {
        let node = somebody(change.get_node()).ok_or_else(|| ControlError::Malformed {
            field: "changes",
            why: "node 0 is nobody".into(),
        })?;
        Ok(match change.get_kind().map_err(not_in_schema("changes"))? {
            Kind::AddLearner => {
                Change::AddLearner { node, address: text("address", change.get_address())? }
            }
            Kind::Promote => Change::Promote { node },
            Kind::Demote => Change::Demote { node },
            Kind::Remove => Change::Remove { node },
            Kind::Relocate => {
                Change::Relocate { node, address: text("address", change.get_address())? }
            }
        })
    };
    from.iter().map(change).collect()
}

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// The last entry that it covers…
    pub index: LogIndex,
    /// …and that entry's term.
    pub term: Term,
    /// Of its file.
    pub bytes: u64,
}

impl NodeClient {
    /// Gives an order. A conversation that breaks off meanwhile leaves its outcome unknown.
    pub async fn order(
        &self,
        order: &Order,
        timeout: Duration,
    ) -> Result<OrderResult, ControlError> {
        let millis = wire_millis(timeout);
        let deadline = timeout + GRACE;
        let wrong = ControlError::malformed("outcome");
        match order {
            Order::Transfer { to } => {
                let mut request = self.client().transfer_request();
                request.get().set_to(to.map_or(0, |id| id.0));
                request.get().set_timeout_millis(millis);
                let response = self.call(deadline, request.send().promise).await?;
                read_outcome(response.get().and_then(|it| it.get_outcome()).map_err(&wrong)?)
            }
            Order::ChangeMembership { changes } => {
                let mut request = self.client().change_membership_request();
                write_changes(changes, request.get().init_changes(changes.len() as u32));
                request.get().set_timeout_millis(millis);
                let response = self.call(deadline, request.send().promise).await?;
                read_outcome(response.get().and_then(|it| it.get_outcome()).map_err(&wrong)?)
            }
            Order::TakeSnapshot => {
                let mut request = self.client().take_snapshot_request();
                request.get().set_timeout_millis(millis);
                let response = self.call(deadline, request.send().promise).await?;
                read_outcome(response.get().and_then(|it| it.get_outcome()).map_err(&wrong)?)
            }
        }
    }

    /// Opens the node's newest snapshot; [`ControlError::Refused`] if there is none.
    pub async fn open_snapshot(&self) -> Result<(SnapshotClient<'_>, SnapshotFacts), ControlError> {
        let request = self.client().open_snapshot_request();
        let response = self.call(CHUNK_PATIENCE, request.send().promise).await?;
        let wrong = ControlError::malformed("snapshot");
        let answer = response.get().map_err(&wrong)?;
        let refused = text("refused", answer.get_refused())?;
        if !refused.is_empty() {
            return Err(ControlError::Refused(refused.into()));
        }
        let client = answer.get_snapshot().map_err(&wrong)?;
        let snapshot = SnapshotClient { node: self, client };
        let request = snapshot.client.describe_request();
        let response = self.call(CHUNK_PATIENCE, request.send().promise).await?;
        let facts = response.get().map_err(&wrong)?;
        let facts = SnapshotFacts {
            index: LogIndex(facts.get_index()),
            term: Term(facts.get_term()),
            bytes: facts.get_bytes(),
        };
        Ok((snapshot, facts))
    }
}

/// A snapshot's file, held open by its node.
pub struct SnapshotClient<'a> {
    node: &'a NodeClient,
    client: schema::snapshot::Client,
}

impl SnapshotClient<'_> {
    /// Bytes from `offset` on, at most [`MAX_CHUNK`]; none at the end.
    pub async fn read(&self, offset: u64) -> Result<Bytes, ControlError> {
        let mut request = self.client.read_request();
        request.get().set_offset(offset);
        request.get().set_max_bytes(MAX_CHUNK as u32);
        let response = self.node.call(CHUNK_PATIENCE, request.send().promise).await?;
        let wrong = ControlError::malformed("data");
        let data = response.get().and_then(|it| it.get_data()).map_err(&wrong)?;
        Ok(Bytes::copy_from_slice(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    #[test]
    fn what_became_of_an_order_arrives_as_it_was_said() {
        for result in [
            OrderResult::Done("node 2 leads".into()),
            OrderResult::Refused { leader: Some(NodeId(3)), message: "not me".into() },
            OrderResult::Refused { leader: None, message: String::new() },
            OrderResult::Unknown("begun".into()),
        ] {
            let mut message = capnp::message::Builder::new_default();
            write_outcome(&result, message.init_root());
            let read = message.get_root_as_reader::<schema::outcome::Reader<'_>>().unwrap();
            assert_eq!(read_outcome(read).unwrap(), result);
        }
    }

    #[test]
    fn changes_arrive_whole_and_nobody_is_refused() {
        let all = vec![
            Change::AddLearner { node: NodeId(4), address: "unix:/4".into() },
            Change::Promote { node: NodeId(3) },
            Change::Demote { node: NodeId(2) },
            Change::Remove { node: NodeId(1) },
            Change::Relocate { node: NodeId(5), address: "unix:/5".into() },
        ];
        let round = |changes: &[Change]| {
            let mut message = capnp::message::Builder::new_default();
            let mut root =
                message.init_root::<schema::node::change_membership_params::Builder<'_>>();
            write_changes(changes, root.reborrow().init_changes(changes.len() as u32));
            read_changes(root.into_reader().get_changes().unwrap())
        };
        assert_eq!(round(&all).unwrap(), all);
        let nobody = round(&[Change::Remove { node: NodeId(0) }]).unwrap_err();
        assert!(nobody.to_string().contains("nobody"), "{nobody}");
        let many = vec![Change::Promote { node: NodeId(1) }; MAX_CHANGES + 1];
        assert!(round(&many).unwrap_err().to_string().contains("65 at once"));
    }

    #[test]
    fn times_are_kept_within_bounds() {
        assert_eq!(order_timeout(0), DEFAULT_TIMEOUT);
        assert_eq!(order_timeout(u32::MAX), MAX_TIMEOUT);
        assert_eq!(wire_millis(Duration::ZERO), 1);
        assert_eq!(wire_millis(Duration::MAX), u32::MAX);
    }
}
