//! One conversation: Cap'n Proto over one stream.
//!
//! # Few system calls
//!
//! The library writes every message by itself and flushes it. A node that answers forty requests in
//! one turn of its event loop would make forty system calls on a connection where one is enough. So
//! what is written lands in an *outbox* first, flushing does nothing, and the task that drives the
//! connection empties the outbox at the end of each of its turns: everything that became ready
//! together leaves together.
//!
//! # Bounds
//!
//! An outbox holds no more than [`Limits::max_outbox_bytes`]; a larger message goes through it in
//! pieces. When it is full, the library queues behind it without bound; on the serving side the
//! connection therefore also stops *reading*, and what can still pile up are the answers to
//! requests already let in, which the server behind it limits in number. On the calling side
//! reading goes on (both sides holding back would be a deadlock), and the caller bounds its calls
//! under way.
//!
//! # How it ends
//!
//! The library fails the calls under way when it *reads* the end of the stream, and at no other
//! time: a conversation that is merely dropped leaves its callers waiting for ever. Two stories:
//!
//! 1. The other side answers and closes; we write one more call and get "broken pipe" before we
//!    have read the answers. So a failed write ends nothing: from then on writes vanish, and what
//!    can still be read is read, up to the end.
//! 2. The owner drops the [`Connection`] and keeps a clone of the client. So dropping it says
//!    "disconnect" to the library first, which fails what is under way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use capnp::capability::FromClientHook;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{Disconnector, RpcSystem};
use futures::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Stream;

/// Bytes read from a stream at once, if a message does not want more by itself.
const READ_BUFFER: usize = 16 << 10;

/// Room of an outbox that is kept when it is empty.
const KEPT_OUTBOX: usize = 64 << 10;

/// What one connection may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A message that says it is larger is refused before anything is allocated for it.
    pub max_message_bytes: usize,
    /// Bytes written and not yet taken by the kernel, before the connection holds back.
    pub max_outbox_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_message_bytes: 4 << 20, max_outbox_bytes: 256 << 10 }
    }
}

impl Limits {
    fn reader_options(&self) -> ReaderOptions {
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(Some(self.max_message_bytes / 8));
        options.nesting_limit(16);
        options
    }
}

/// Bytes on their way out, and who waits for them.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    /// So many of them are gone.
    written: usize,
    limit: usize,
    /// Writing has failed: what comes now vanishes, and reading will find the end.
    failed: Option<io::ErrorKind>,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

impl Outbox {
    fn is_full(&self) -> bool {
        self.bytes.len() - self.written >= self.limit
    }

    /// Takes as many of `bytes` as there is room for; how many.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let room = self.limit - (self.bytes.len() - self.written);
        let count = bytes.len().min(room);
        if self.written > 0 && self.bytes.len() + count > self.limit {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        self.bytes.extend_from_slice(&bytes[..count]);
        count
    }

    /// Some bytes left: whoever waited for room may look again.
    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_OUTBOX);
            self.written = 0;
        }
        if !self.is_full() {
            self.wake();
        }
    }

    /// The other side takes no more.
    fn fail(&mut self, kind: io::ErrorKind) {
        self.failed = Some(kind);
        self.bytes = Vec::new();
        self.written = 0;
        self.wake();
    }

    fn wake(&mut self) {
        self.writer.take().into_iter().chain(self.reader.take()).for_each(Waker::wake);
    }
}

struct Writer {
    outbox: Rc<RefCell<Outbox>>,
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_full() {
            outbox.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = if outbox.failed.is_none() { outbox.take(bytes) } else { bytes.len() };
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Reader {
    stream: Rc<Stream>,
    outbox: Rc<RefCell<Outbox>>,
    /// On the serving side: do not read while the outbox is full.
    held_back: bool,
    buffer: Box<[u8]>,
    /// What of `buffer` was read and not yet handed on.
    filled: std::ops::Range<usize>,
}

impl Reader {
    /// Reads what is there, or arranges to be woken.
    fn poll_stream(&mut self, cx: &mut Context<'_>, to: Target<'_>) -> Poll<io::Result<usize>> {
        let to = match to {
            Target::Caller(to) => to,
            Target::Buffer => &mut self.buffer,
        };
        loop {
            if self.stream.poll_read_ready(cx)?.is_pending() {
                let mut outbox = self.outbox.borrow_mut();
                if let Some(kind) = outbox.failed {
                    return Poll::Ready(Err(kind.into()));
                }
                outbox.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            match self.stream.try_read(to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Whether to wait until the other side has taken more of our answers.
    fn waits_for_outbox(&self, cx: &mut Context<'_>) -> bool {
        let mut outbox = self.outbox.borrow_mut();
        let waits = self.held_back && outbox.is_full();
        if waits {
            outbox.reader = Some(cx.waker().clone());
        }
        waits
    }
}

/// Where to read to.
enum Target<'t> {
    Caller(&'t mut [u8]),
    Buffer,
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.filled.is_empty() {
            if this.waits_for_outbox(cx) {
                return Poll::Pending;
            }
            if to.len() >= this.buffer.len() {
                return this.poll_stream(cx, Target::Caller(to));
            }
            let count = ready!(this.poll_stream(cx, Target::Buffer))?;
            this.filled = 0..count;
        }
        let count = to.len().min(this.filled.len());
        to[..count].copy_from_slice(&this.buffer[this.filled.start..this.filled.start + count]);
        this.filled.start += count;
        Poll::Ready(Ok(count))
    }
}

/// A conversation under way: a future that drives it, and ends with it.
#[must_use = "a conversation stands still unless it is polled"]
pub struct Served {
    system: RpcSystem<Side>,
    disconnector: Disconnector<Side>,
    /// On the calling side: ready when the owner of the conversation has gone.
    owner: Option<oneshot::Receiver<()>>,
    stream: Rc<Stream>,
    outbox: Rc<RefCell<Outbox>>,
}

impl Served {
    fn new(
        stream: Stream,
        side: Side,
        bootstrap: Option<capnp::capability::Client>,
        limits: Limits,
    ) -> Served {
        let stream = Rc::new(stream);
        let outbox = Outbox { limit: limits.max_outbox_bytes, ..Outbox::default() };
        let outbox = Rc::new(RefCell::new(outbox));
        let reader = Reader {
            stream: stream.clone(),
            outbox: outbox.clone(),
            held_back: side == Side::Server,
            buffer: vec![0; READ_BUFFER].into(),
            filled: 0..0,
        };
        let writer = Writer { outbox: outbox.clone() };
        let network = VatNetwork::new(reader, writer, side, limits.reader_options());
        let system = RpcSystem::new(Box::new(network), bootstrap);
        let disconnector = system.get_disconnector();
        Served { system, disconnector, owner: None, stream, outbox }
    }

    /// Writes what the kernel takes.
    fn empty_outbox(&self, cx: &mut Context<'_>) {
        let mut outbox = self.outbox.borrow_mut();
        while !outbox.bytes.is_empty() {
            let written = match self.stream.poll_write_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) => self.stream.try_write(&outbox.bytes[outbox.written..]),
            };
            match written {
                Ok(0) => outbox.fail(io::ErrorKind::WriteZero),
                Ok(count) => outbox.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => outbox.fail(error.kind()),
            }
        }
    }

    /// Whether the owner has gone.
    fn is_abandoned(&mut self, cx: &mut Context<'_>) -> bool {
        self.owner.as_mut().is_some_and(|owner| Pin::new(owner).poll(cx).is_ready())
    }
}

impl Future for Served {
    type Output = Result<(), capnp::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut ended = Poll::Pending;
        if this.is_abandoned(cx) {
            // Its first poll fails every call under way; nobody is left to wait for the rest.
            let _ = Pin::new(&mut this.disconnector).poll(cx);
            ended = Poll::Ready(Ok(()));
        }
        if let Poll::Ready(result) = Pin::new(&mut this.system).poll(cx) {
            ended = Poll::Ready(result);
        }
        // At the end one last try, for the message that says why; nobody waits for it.
        this.empty_outbox(cx);
        ended
    }
}

/// Serves `bootstrap` over `stream`: the future drives the conversation and ends with it, with an
/// error if the other side sent what is no Cap'n Proto. Its own answers under way are dropped with
/// it.
pub fn serve(stream: Stream, bootstrap: capnp::capability::Client, limits: Limits) -> Served {
    Served::new(stream, Side::Server, Some(bootstrap), limits)
}

/// The calling side of a conversation. It ends when this is dropped, and calls under way fail.
#[derive(Debug)]
pub struct Connection {
    task: JoinHandle<Result<(), capnp::Error>>,
    /// Dropped with this.
    _owner: oneshot::Sender<()>,
}

impl Connection {
    /// What the other side of `stream` offers, as a client of type `C`. Wants a `LocalSet`.
    pub fn open<C: FromClientHook>(stream: Stream, limits: Limits) -> (C, Connection) {
        let mut served = Served::new(stream, Side::Client, None, limits);
        let client = served.system.bootstrap(Side::Server);
        let (owner, gone) = oneshot::channel();
        served.owner = Some(gone);
        (client, Connection { task: tokio::task::spawn_local(served), _owner: owner })
    }

    /// Waits for the end, and says what it was.
    pub async fn closed(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Ok(())) => "the other side closed the connection".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => format!("the conversation failed: {error}"),
        }
    }

    /// Whether the conversation is over.
    pub fn is_closed(&self) -> bool {
        self.task.is_finished()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_keeps_its_bound_and_the_order_however_much_comes_and_goes() {
        let mut outbox = Outbox { limit: 1000, ..Outbox::default() };
        let message: Vec<u8> = (0..10_000).map(|i: u32| (i % 251) as u8).collect();
        let (mut given, mut left) = (0, Vec::new());
        let mut step = 1;
        while left.len() < message.len() {
            given += outbox.take(&message[given..]);
            assert!(outbox.bytes.len() <= 1000, "{}", outbox.bytes.len());
            let waiting = outbox.bytes.len() - outbox.written;
            assert_eq!(outbox.is_full(), given < message.len(), "{waiting} wait");
            step = step * 7 % 503;
            let count = waiting.min(step);
            left.extend_from_slice(&outbox.bytes[outbox.written..outbox.written + count]);
            outbox.advance(count);
        }
        assert!(left == message);
    }
}
