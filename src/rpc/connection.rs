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
//! An outbox that holds [`Limits::max_outbox_bytes`] takes no more. The library would then queue
//! behind it without bound; on the serving side the connection therefore also stops *reading*, and
//! what can still pile up are the answers to requests already let in, which the server behind it
//! limits in number. On the calling side reading goes on (both sides holding back would be a
//! deadlock), and the caller bounds its calls under way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use capnp::capability::FromClientHook;
use capnp::message::ReaderOptions;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use futures::{AsyncRead, AsyncWrite};
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
    writer: Option<Waker>,
    reader: Option<Waker>,
}

impl Outbox {
    fn is_full(&self) -> bool {
        self.bytes.len() - self.written >= self.limit
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
            self.writer.take().into_iter().chain(self.reader.take()).for_each(Waker::wake);
        }
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
        outbox.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
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
    /// Present on the serving side: do not read while this is full.
    held_by: Option<Rc<RefCell<Outbox>>>,
    buffer: Box<[u8]>,
    /// What of `buffer` was read and not yet handed on.
    filled: std::ops::Range<usize>,
}

/// Reads what is there, or arranges to be woken.
fn poll_read(stream: &Stream, cx: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match stream.try_read(to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return Poll::Ready(other),
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.filled.is_empty() {
            if let Some(outbox) = &this.held_by {
                let mut outbox = outbox.borrow_mut();
                if outbox.is_full() {
                    outbox.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            if to.len() >= this.buffer.len() {
                return poll_read(&this.stream, cx, to);
            }
            let count = ready!(poll_read(&this.stream, cx, &mut this.buffer))?;
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
            held_by: (side == Side::Server).then(|| outbox.clone()),
            buffer: vec![0; READ_BUFFER].into(),
            filled: 0..0,
        };
        let writer = Writer { outbox: outbox.clone() };
        let network = VatNetwork::new(reader, writer, side, limits.reader_options());
        let system = RpcSystem::new(Box::new(network), bootstrap);
        Served { system, stream, outbox }
    }

    /// Writes what the kernel takes.
    fn poll_empty_outbox(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = self.outbox.borrow_mut();
        while !outbox.bytes.is_empty() {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(&outbox.bytes[outbox.written..]) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => outbox.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Future for Served {
    type Output = Result<(), capnp::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let ended = Pin::new(&mut this.system).poll(cx);
        // At the end one last try, for the message that says why; nobody waits for it.
        match this.poll_empty_outbox(cx) {
            Poll::Ready(Err(error)) if ended.is_pending() => Poll::Ready(Err(error.into())),
            _ => ended,
        }
    }
}

/// Serves `bootstrap` over `stream`: the future drives the conversation and ends with it, with an
/// error if the other side sent what is no Cap'n Proto. Its own answers under way are dropped with
/// it.
pub fn serve(stream: Stream, bootstrap: capnp::capability::Client, limits: Limits) -> Served {
    Served::new(stream, Side::Server, Some(bootstrap), limits)
}

/// The calling side of a conversation. It ends when this is dropped.
#[derive(Debug)]
pub struct Connection {
    task: JoinHandle<Result<(), capnp::Error>>,
}

impl Connection {
    /// What the other side of `stream` offers, as a client of type `C`. Wants a `LocalSet`.
    pub fn open<C: FromClientHook>(stream: Stream, limits: Limits) -> (C, Connection) {
        let mut served = Served::new(stream, Side::Client, None, limits);
        let client = served.system.bootstrap(Side::Server);
        (client, Connection { task: tokio::task::spawn_local(served) })
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

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
