//! Where everything that happened waits for the next turn of the event loop.
//!
//! Connections put events in, the loop takes them out, many at a time: this is where batches come
//! from. The loop is woken once however many arrive.
//!
//! It is bounded without ever losing an event. Clients' requests are limited where they come in
//! ([`Desk`](super::desk::Desk)). What peers deliver is counted in bytes: beyond the bound,
//! [`Inbox::room`] lets a `deliver` wait, and its sender has only so many under way.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::consensus::raft::Message;
use crate::replica::{Event, PeerMessage};
use crate::rpc::peer;
use crate::types::NodeId;

/// Bytes of peers' messages that may wait.
const MAX_PEER_BYTES: usize = 16 << 20;

/// Events on their way to the replica.
#[derive(Debug, Default)]
pub struct Inbox {
    events: RefCell<VecDeque<Event<Message>>>,
    peer_bytes: Cell<usize>,
    emptied: Notify,
    /// Shared with other threads: the disk's too.
    bell: Arc<Notify>,
}

impl Inbox {
    /// Rings when there is work for the event loop.
    pub fn bell(&self) -> &Arc<Notify> {
        &self.bell
    }

    /// Puts in an event.
    pub fn push(&self, event: Event<Message>) {
        self.events.borrow_mut().push_back(event);
        self.bell.notify_one();
    }

    /// Puts in what a peer delivered; about how many bytes it is.
    pub fn deliver(&self, from: NodeId, messages: Vec<PeerMessage<Message>>) -> usize {
        let bytes: usize = messages.iter().map(peer::size).sum();
        self.peer_bytes.set(self.peer_bytes.get() + bytes);
        let messages = messages.into_iter().map(|message| Event::Peer { from, message });
        self.events.borrow_mut().extend(messages);
        self.bell.notify_one();
        bytes
    }

    /// Waits until there is room for what a peer delivers.
    pub async fn room(&self) {
        while self.peer_bytes.get() >= MAX_PEER_BYTES {
            self.emptied.notified().await;
        }
    }

    /// Takes out the oldest event.
    pub fn pop(&self) -> Option<Event<Message>> {
        let event = self.events.borrow_mut().pop_front()?;
        if let Event::Peer { message, .. } = &event {
            let before = self.peer_bytes.get();
            let after = before - peer::size(message);
            self.peer_bytes.set(after);
            if before >= MAX_PEER_BYTES && after < MAX_PEER_BYTES {
                self.emptied.notify_waiters();
            }
        }
        Some(event)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.events.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::replica::Response;
    use crate::types::Ticket;

    #[test]
    fn a_flood_from_a_peer_waits_outside() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let inbox = Inbox::default();
            let response = Response::Written(Bytes::from(vec![0; 1 << 20]));
            let flood = PeerMessage::RelayReply { ticket: Ticket(1), response };
            inbox.deliver(NodeId(2), vec![flood; 16]);
            let brief = Duration::from_millis(20);
            assert!(tokio::time::timeout(brief, inbox.room()).await.is_err());
            let taken = async {
                tokio::task::yield_now().await;
                inbox.pop().unwrap();
            };
            tokio::join!(inbox.room(), taken);
            while inbox.pop().is_some() {}
            assert_eq!(inbox.peer_bytes.get(), 0);
        });
    }
}
