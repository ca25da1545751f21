//! The task that speaks to one peer.
//!
//! ```text
//!   event loop ──push──► Outgoing ──take──► deliver ┬─► at most WINDOW under way, each with a
//!                        (bounded)                  │   deadline; one more for the urgent
//!                                                   └─► returns: flow control, never evidence
//! ```
//!
//! All that waits when a turn ends goes into one `deliver`. The peer returns it when it has taken
//! the messages in; until then they count as under way. A peer that is paused returns nothing: the
//! window fills, the queue fills, the queue drops, and memory stays where it is.
//!
//! # Connecting
//!
//! While the peer cannot be reached, tries follow each other after 10 ms, then twice as long each
//! time, up to half a second; a peer that speaks to us is there, and is tried at once. So that one
//! which has just started need not wait for its turn, every connection begins with an empty batch,
//! which says nothing but who is there. (No fault of the link keeps it back: faults are about
//! messages.) And it begins with a window of one, until the first return shows that somebody reads:
//! a process that is stopped still has a kernel that accepts connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use prometheus::Histogram;
use tokio::sync::Notify;

use super::outgoing::{Measured, Outgoing, Take, Taken};
use crate::config::Address;
use crate::rpc::{Connection, Limits, Seldom, connect, peer};
use crate::schema::peer_capnp::peer as schema;
use crate::types::{ClusterId, NodeId};

/// Bytes in one batch, unless a single message is larger.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// `deliver` calls under way with bulk in them.
const WINDOW: usize = 16;

/// Bytes under way.
const WINDOW_BYTES: usize = 4 << 20;

/// A `deliver` that is not returned within this time ends the connection.
const DELIVER_DEADLINE: Duration = Duration::from_secs(5);

const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Between two log lines about the same peer.
const SELDOM: Duration = Duration::from_secs(5);

/// A message to a peer may be as large as a batch, and a single entry may be larger.
pub const PEER_LIMITS: Limits = Limits { max_message_bytes: 16 << 20, max_outbox_bytes: 256 << 10 };

/// What is kept for one peer, shared by the event loop and the task.
#[derive(Debug, Default)]
pub struct PeerLink {
    queue: RefCell<Outgoing>,
    /// Something was put into the queue.
    filled: Notify,
    /// The peer is there: no need to wait any longer.
    hurry: Notify,
    pub connected: Cell<bool>,
    pub sent_messages: Cell<u64>,
    pub sent_bytes: Cell<u64>,
    pub failures: Cell<u64>,
    /// Seconds from a message's being ready to the peer's having taken it in.
    delivery: Option<Histogram>,
}

impl PeerLink {
    /// A link whose queue has bounds of its own.
    pub fn with_queue(queue: Outgoing) -> PeerLink {
        PeerLink { queue: RefCell::new(queue), ..PeerLink::default() }
    }

    /// A link whose deliveries are measured by `delivery`.
    pub fn measured_by(delivery: Histogram) -> PeerLink {
        PeerLink { delivery: Some(delivery), ..PeerLink::default() }
    }

    /// Puts a message into the queue.
    pub fn push(&self, message: Measured) {
        self.queue.borrow_mut().push(message);
        self.filled.notify_one();
    }

    /// The peer was heard of.
    pub fn is_there(&self) {
        if !self.connected.get() {
            self.hurry.notify_waiters();
        }
    }

    /// Messages dropped because the queue was full, or nobody listened.
    pub fn dropped(&self) -> u64 {
        self.queue.borrow().dropped()
    }

    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        self.queue.borrow().bytes()
    }
}

/// Speaks to one peer until dropped.
pub struct Sender {
    pub link: Rc<PeerLink>,
    pub cluster: ClusterId,
    pub from: NodeId,
    pub to: NodeId,
    pub address: Address,
}

impl Sender {
    /// Connects, speaks, and connects again. Wants a `LocalSet`.
    pub async fn run(self) {
        let complaint = Seldom::new(SELDOM);
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = match tokio::time::timeout(CONNECT_DEADLINE, connect(&self.address)).await {
                Ok(Ok(stream)) => {
                    let (client, mut connection) = Connection::open(stream, PEER_LIMITS);
                    let ended = Conversation::new(&self, client).run(&mut connection).await;
                    if self.link.connected.replace(false) {
                        pause = FIRST_PAUSE;
                    }
                    ended
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("cannot connect to {}: no answer", self.address),
            };
            self.link.failures.set(self.link.failures.get() + 1);
            self.link.queue.borrow_mut().drop_bulk();
            if let Some(held_back) = complaint.speak() {
                tracing::info!(peer = %self.to, held_back, "not connected: {ended}");
            }
            // The peer may be there before the time is up.
            let _ = tokio::time::timeout(pause, self.link.hurry.notified()).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// One connection's worth of speaking.
struct Conversation<'s> {
    sender: &'s Sender,
    client: schema::Client,
    window: usize,
    bytes_under_way: usize,
}

impl<'s> Conversation<'s> {
    fn new(sender: &'s Sender, client: schema::Client) -> Conversation<'s> {
        Conversation { sender, client, window: 1, bytes_under_way: 0 }
    }

    /// Speaks until the conversation ends; the reason in words.
    async fn run(mut self, connection: &mut Connection) -> String {
        let link = &self.sender.link;
        let mut under_way = FuturesUnordered::from_iter([self.deliver(Taken::default())]);
        loop {
            while let Some(batch) = self.next_batch(under_way.len()) {
                self.bytes_under_way += batch.bytes;
                under_way.push(self.deliver(batch));
            }
            tokio::select! {
                Some(returned) = under_way.next() => match returned {
                    Ok((bytes, since)) => {
                        self.bytes_under_way -= bytes;
                        if let (Some(since), Some(delivery)) = (since, &link.delivery) {
                            delivery.observe(since.elapsed().as_secs_f64());
                        }
                        self.window = WINDOW;
                        if !link.connected.replace(true) {
                            tracing::info!(peer = %self.sender.to, "connected");
                        }
                    }
                    Err(why) => return why,
                },
                () = link.filled.notified() => {}
                why = connection.closed() => return why,
            }
        }
    }

    /// What to send now, if there is anything and it may be under way.
    fn next_batch(&self, under_way: usize) -> Option<Taken> {
        if under_way > self.window {
            return None;
        }
        let urgent_only = under_way == self.window || self.bytes_under_way >= WINDOW_BYTES;
        let limit = Take { messages: peer::MAX_MESSAGES, bytes: MAX_BATCH_BYTES, urgent_only };
        let batch = self.sender.link.queue.borrow_mut().take(limit);
        (!batch.messages.is_empty()).then_some(batch)
    }

    /// Sends a batch now; the future is its return.
    fn deliver(
        &self,
        Taken { bytes, since, messages }: Taken,
    ) -> impl Future<Output = Result<(usize, Option<Instant>), String>> + use<> {
        let Sender { link, cluster, from, to, .. } = self.sender;
        let mut request = deliver_request(&self.client, bytes);
        let route = (*cluster, *from, *to);
        peer::write_batch(route, messages.iter(), request.get().init_batch());
        link.sent_messages.set(link.sent_messages.get() + messages.len() as u64);
        link.sent_bytes.set(link.sent_bytes.get() + bytes as u64);
        let returned = tokio::time::timeout(DELIVER_DEADLINE, request.send().promise);
        async move {
            match returned.await {
                Ok(Ok(_)) => Ok((bytes, since)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("a message was not taken within {DELIVER_DEADLINE:?}")),
            }
        }
    }
}

/// Like the generated `deliver_request`, with memory for the whole message at once.
fn deliver_request(
    client: &schema::Client,
    bytes: usize,
) -> capnp::capability::Request<schema::deliver_params::Owned, schema::deliver_results::Owned> {
    use capnp::traits::HasTypeId;
    const FRAME_WORDS: u64 = 64;
    const DELIVER: u16 = 0;
    let size = capnp::MessageSize { word_count: bytes as u64 / 8 + FRAME_WORDS, cap_count: 0 };
    client.client.new_call(schema::Client::TYPE_ID, DELIVER, Some(size))
}
