//! What a node has sent, and what it has answered, since its process began.

use serde::{Deserialize, Serialize};

use super::convert::ControlError;
use crate::schema::control_capnp as schema;
use crate::types::NodeId;

/// Of the link to one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkTraffic {
    pub peer: NodeId,
    /// Messages to it are taken.
    pub connected: bool,
    pub sent_messages: u64,
    /// About.
    pub sent_bytes: u64,
    /// Batches that the peer has taken, and how long that took from when the first message of each
    /// was ready, all together; what a fault held back is in it.
    pub deliveries: u64,
    pub delivery_micros: u64,
    /// The queue was full, or nobody listened.
    pub dropped: u64,
    /// A fault met them.
    pub faulted: u64,
    /// Held back now, by a fault or by slow motion. Not yet among those sent.
    #[serde(default)]
    pub under_way: u64,
}

/// Of clients' requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Served {
    pub reads: u64,
    pub writes: u64,
    /// Refused, or of unknown outcome; what could not be read is not counted.
    pub failed: u64,
    /// Writes proposed here, and how long they took until they were applied, all together.
    pub commits: u64,
    pub commit_micros: u64,
}

impl LinkTraffic {
    pub(super) fn write(&self, mut to: schema::link_traffic::Builder<'_>) {
        to.set_peer(self.peer.0);
        to.set_connected(self.connected);
        to.set_sent_messages(self.sent_messages);
        to.set_sent_bytes(self.sent_bytes);
        to.set_deliveries(self.deliveries);
        to.set_delivery_micros(self.delivery_micros);
        to.set_dropped(self.dropped);
        to.set_faulted(self.faulted);
        to.set_under_way(self.under_way);
    }

    fn read(from: schema::link_traffic::Reader<'_>) -> LinkTraffic {
        LinkTraffic {
            peer: NodeId(from.get_peer()),
            connected: from.get_connected(),
            sent_messages: from.get_sent_messages(),
            sent_bytes: from.get_sent_bytes(),
            deliveries: from.get_deliveries(),
            delivery_micros: from.get_delivery_micros(),
            dropped: from.get_dropped(),
            faulted: from.get_faulted(),
            under_way: from.get_under_way(),
        }
    }
}

impl Served {
    pub(super) fn write(&self, mut to: schema::served::Builder<'_>) {
        to.set_reads(self.reads);
        to.set_writes(self.writes);
        to.set_failed(self.failed);
        to.set_commits(self.commits);
        to.set_commit_micros(self.commit_micros);
    }

    fn read(from: schema::served::Reader<'_>) -> Served {
        Served {
            reads: from.get_reads(),
            writes: from.get_writes(),
            failed: from.get_failed(),
            commits: from.get_commits(),
            commit_micros: from.get_commit_micros(),
        }
    }
}

/// Both, out of what a node says of itself.
pub(super) fn read(
    from: schema::node_status::Reader<'_>,
) -> Result<(Vec<LinkTraffic>, Served), ControlError> {
    let links = from.get_links().map_err(ControlError::malformed("links"))?;
    let served = from.get_served().map_err(ControlError::malformed("served"))?;
    Ok((links.iter().map(LinkTraffic::read).collect(), Served::read(served)))
}
