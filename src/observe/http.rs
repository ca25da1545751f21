//! The small HTTP server behind `/metrics`, `/health` and `/ready`.
//!
//! ```text
//! client ── connect ──► accept, if fewer than `connections` are open; else it waits in the
//!    │                  kernel's backlog
//!    ├──── GET … ─────► must be complete within `request`
//!    ◄──── answer ────  the whole conversation ends within `conversation`, read or not
//! ```
//!
//! One request a connection: watchers come every few seconds, so keeping connections open saves
//! nothing and would let a handful of idle ones lock out the next.
//!
//! A program may let a [`Guest`] serve paths of its own here. Such a conversation lasts as long as
//! its answer goes on and is taken, so guests have room of their own: however many there are, there
//! is as much left for watchers.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio_io_timeout::TimeoutWriter;

use super::Registry;
use super::registry::CONTENT_TYPE as METRICS_TYPE;

const TEXT: &str = "text/plain; charset=utf-8";

/// What the server asks of the program around it. Called on the server's own thread, so the
/// answers must be at hand: nothing here may wait.
pub trait Observed {
    /// Copies figures that are kept elsewhere into their gauges; called before each scrape.
    fn refresh(&self);

    /// Whether the program can do its work now; if not, why, in words for a person.
    fn ready(&self) -> Result<(), String>;
}

/// What a guest answers with; it may come in pieces, and may break off.
pub type GuestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Somebody else with paths on this server.
pub trait Guest {
    /// Whether the path is one of its own.
    fn has(&self, path: &str) -> bool;

    fn answer(&self, request: Request<Incoming>) -> LocalBoxFuture<'static, Response<GuestBody>>;
}

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Open connections, besides those of the guest; more wait to be accepted.
    pub connections: usize,
    /// Requests to the guest that are under way; more are refused.
    pub guests: usize,
    /// For a request's head to arrive.
    pub request: Duration,
    /// For a connection from its beginning to its end; with the guest, for a client to take more of
    /// its answer.
    pub conversation: Duration,
    /// For open connections to end once the server is told to stop.
    pub grace: Duration,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            connections: 32,
            guests: 64,
            request: Duration::from_secs(2),
            conversation: Duration::from_secs(10),
            grace: Duration::from_millis(500),
        }
    }
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(
        "will not serve metrics on {0}: only loopback addresses are allowed, such as 127.0.0.1:0"
    )]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address} for metrics: {source}")]
    Listen { address: SocketAddr, source: io::Error },
}

/// A server that runs until it is stopped; dropped, it ends at once.
pub struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Listens on `address` (port 0: the system chooses) and answers from local tasks. Must be
    /// called inside a [`tokio::task::LocalSet`].
    pub fn start(
        address: SocketAddr,
        limits: HttpLimits,
        registry: Rc<Registry>,
        observed: Rc<dyn Observed>,
        guest: Option<Rc<dyn Guest>>,
    ) -> Result<HttpServer, HttpError> {
        if !address.ip().is_loopback() {
            return Err(HttpError::NotLoopback(address));
        }
        let failed = |source| HttpError::Listen { address, source };
        let listener = listen(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::task::spawn_local(serve(
            listener,
            limits,
            Rc::new(Answers { registry, observed, guest }),
            stopped,
        ));
        Ok(HttpServer { address, stop: Some(stop), task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, lets open conversations end within the grace, and returns when the port is
    /// free.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // Only a panic in it or its abort can make this an error, and either way it has ended.
        let _ = (&mut self.task).await;
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds so that a restart gets its port back although connections of the last life linger.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(64)
}

async fn serve(
    listener: TcpListener,
    limits: HttpLimits,
    answers: Rc<Answers>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut open = JoinSet::new();
    let most = limits.connections + limits.guests;
    let room = Arc::new(Semaphore::new(limits.guests));
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            _ = open.join_next(), if !open.is_empty() => {}
            accepted = listener.accept(), if open.len() < most => match accepted {
                Ok((stream, _)) => {
                    let (answers, room) = (Rc::clone(&answers), Arc::clone(&room));
                    open.spawn_local(converse(stream, limits, answers, room));
                }
                Err(error) => {
                    // Out of descriptors, mostly: those who hold them must get a chance to end.
                    tracing::warn!(%error, "cannot accept a connection to the metrics");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while open.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(limits.grace, drained).await;
}

/// One request and its answer. What goes wrong here (the client left, or was too slow) is the
/// client's affair.
async fn converse(
    stream: TcpStream,
    limits: HttpLimits,
    answers: Rc<Answers>,
    room: Arc<Semaphore>,
) {
    // Held to the end of the conversation, if it turns out to be one with the guest.
    let place: RefCell<Option<OwnedSemaphorePermit>> = RefCell::default();
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let (answers, room, place) = (&answers, &room, &place);
        async move {
            let guest = answers.guest.as_ref().filter(|guest| guest.has(request.uri().path()));
            let Some(guest) = guest else {
                return Ok::<_, Infallible>(answers.to(&request).map(whole));
            };
            let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
                let why = "too many requests are under way\n";
                return Ok(reply(StatusCode::TOO_MANY_REQUESTS, TEXT, why).map(whole));
            };
            place.replace(Some(permit));
            Ok(guest.answer(request).await)
        }
    });
    let (reader, writer) = stream.into_split();
    let mut writer = TimeoutWriter::new(writer);
    writer.set_timeout(Some(limits.conversation));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request)
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(tokio::io::join(reader, Box::pin(writer))), service);
    let is_over = async {
        tokio::time::sleep(limits.conversation).await;
        if place.borrow().is_some() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = connection => tracing::trace!(?ended, "a conversation about metrics ended"),
        () = is_over => tracing::trace!("a conversation about metrics was cut"),
    }
}

fn whole(body: Full<Bytes>) -> GuestBody {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// The page behind `/metrics`, as of now.
pub fn metrics(registry: &Registry, observed: &dyn Observed) -> Response<Full<Bytes>> {
    observed.refresh();
    match registry.render() {
        Ok(text) => reply(StatusCode::OK, METRICS_TYPE, text),
        Err(error) => {
            let why = format!("the metrics cannot be rendered: {error}\n");
            reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, why)
        }
    }
}

struct Answers {
    registry: Rc<Registry>,
    observed: Rc<dyn Observed>,
    guest: Option<Rc<dyn Guest>>,
}

impl Answers {
    fn to(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let answer = match request.uri().path() {
            "/metrics" => Answers::metrics,
            "/health" => |_: &Answers| reply(StatusCode::OK, TEXT, "live\n"),
            "/ready" => Answers::ready,
            _ => {
                let paths = "not found; there are /metrics, /health and /ready\n";
                return reply(StatusCode::NOT_FOUND, TEXT, paths);
            }
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        answer(self)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        metrics(&self.registry, &*self.observed)
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        match self.observed.ready() {
            Ok(()) => reply(StatusCode::OK, TEXT, "ready\n"),
            Err(why) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {why}\n")),
        }
    }
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
