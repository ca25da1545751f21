//! The socket: HTTP/2 without TLS, and HTTP/1.1 for the gateway, on the node's own thread.
//!
//! What strangers can make it hold is bounded: connections, calls on each and on all, bytes of
//! each message and of all answers that nobody takes (`bounds.rs`), how long a call takes, how
//! long an answer may stand still, and how long a connection may say nothing: to a ping, where it
//! has pings, and else when a request should come.

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutWriter;
use tonic::body::Body;

use super::backend::Backends;
use super::bounds::Bounds;
use super::gateway::{Gateway, MetricsPage};
use super::gather::Gather;
use super::kv::Kv;
use super::large::LargeQueries;
use super::meter::Meter;
use super::metered::Metered;
use super::routes::Routes;
use super::taking::{Answer, Taking};
use super::youth::Youth;
use crate::observe::{Guest, GuestBody, trace};

/// What every connection of HTTP/2 begins with, and none of HTTP/1.1.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a stream that the library queues for its client, when it asks for no more.
const SEND_BUFFER: usize = 64 << 10;

/// What is taken from clients.
#[derive(Clone, Copy, Debug)]
pub struct GrpcLimits {
    pub connections: usize,
    /// Calls under way on one connection, and on all together, until their answers are taken.
    pub streams: u32,
    pub all_streams: usize,
    /// Bytes of answers that are made and not taken, over all connections. Answers of up to 16 KiB
    /// and streams are not counted: the one are bounded by their number, and each of the other by
    /// itself.
    pub unread: u32,
    /// From its first byte to its answer. Whoever sends half a message is not waited for.
    pub call: Duration,
    /// Between two pings of a connection that is silent, and for their answer.
    pub ping: Duration,
    pub pong: Duration,
    /// For the first bytes of a connection, and for each request's head over HTTP/1.1, counted from
    /// the answer before it.
    pub head: Duration,
    /// For a client to take more of an answer; over HTTP/2, and then of one that is no stream, it
    /// may become twice that.
    pub stall: Duration,
}

impl Default for GrpcLimits {
    fn default() -> GrpcLimits {
        GrpcLimits {
            connections: 1024,
            streams: 4096,
            all_streams: 20_000,
            unread: 256 << 20,
            call: Duration::from_secs(30),
            ping: Duration::from_secs(60),
            pong: Duration::from_secs(20),
            head: Duration::from_secs(60),
            stall: Duration::from_secs(60),
        }
    }
}

/// etcd's API, wherever it is served from. What it bounds, it bounds over all places together.
pub struct Server {
    limits: GrpcLimits,
    backends: Backends,
    bounds: Arc<Bounds>,
    metrics: MetricsPage,
    meter: Rc<Meter>,
    youth: Rc<Youth>,
    large: Rc<LargeQueries>,
}

impl Server {
    pub fn new(
        limits: GrpcLimits,
        backends: Backends,
        metrics: MetricsPage,
        meter: Rc<Meter>,
    ) -> Server {
        let bounds = Arc::new(Bounds::new(limits.all_streams, limits.unread));
        let (youth, large) = (Rc::new(Youth::begin()), Rc::default());
        Server { limits, backends, bounds, metrics, meter, youth, large }
    }

    /// Serves whoever connects, until it is dropped. Lives on a `LocalSet`.
    pub async fn serve(self: Rc<Self>, listener: TcpListener) {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                _ = open.join_next(), if !open.is_empty() => {}
                accepted = listener.accept(), if open.len() < self.limits.connections => {
                    match accepted {
                        Ok((stream, _)) => {
                            let _ = stream.set_nodelay(true);
                            open.spawn_local(Rc::clone(&self).converse(stream));
                        }
                        Err(error) => {
                            // Out of descriptors, mostly: those who hold them must get a chance to
                            // end.
                            tracing::warn!(%error, "cannot accept a gRPC connection");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            }
        }
    }

    /// One connection. What goes wrong here (the client left, or broke the protocol) is its affair.
    async fn converse(self: Rc<Self>, mut stream: TcpStream) {
        let mut begun = Vec::with_capacity(HTTP2.len());
        let first = tokio::time::timeout(self.limits.head, speaks_http2(&mut stream, &mut begun));
        let Ok(Ok(is_http2)) = first.await else { return };
        let (reader, writer) = stream.into_split();
        let reader = Cursor::new(begun).chain(reader);
        match is_http2 {
            true => self.http2(tokio::io::join(reader, writer)).await,
            false => {
                let mut writer = TimeoutWriter::new(writer);
                writer.set_timeout(Some(self.limits.stall));
                self.http1(tokio::io::join(reader, Box::pin(writer))).await;
            }
        }
    }

    /// For one connection.
    fn routes(&self) -> Rc<Routes> {
        let (meter, youth) = (Rc::clone(&self.meter), Rc::clone(&self.youth));
        let kv = Kv { backend: (self.backends)(), large: Rc::clone(&self.large) };
        Rc::new(Routes::new(kv, meter, youth))
    }

    async fn http2(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let stream = Gather(Metered { socket: stream, meter: Rc::clone(&self.meter) });
        let (routes, taking) = (self.routes(), Rc::new(Taking::default()));
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let (routes, taking) = (Rc::clone(&routes), Rc::clone(&taking));
            let (admitted, limit) = (self.bounds.admit(), self.limits.call);
            async move {
                let (answer, claim) = match admitted {
                    Ok(claim) => {
                        let trace = trace::of_headers(request.headers());
                        let request = request.map(Body::new);
                        let answer = routes.answer(request, limit, Arc::clone(&claim));
                        (trace::within(trace, answer).await, Some(claim))
                    }
                    Err(refusal) => (refusal.into_http(), None),
                };
                Ok::<_, Infallible>(answer.map(|body| Answer::new(body, claim, &taking)))
            }
            // It is large, and the library moves it about.
            .boxed_local()
        });
        let connection = hyper::server::conn::http2::Builder::new(OnThisThread)
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .keep_alive_interval(self.limits.ping)
            .keep_alive_timeout(self.limits.pong)
            .max_header_list_size(16 << 10)
            .max_send_buf_size(SEND_BUFFER)
            // No client of gRPC looks at it.
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            biased;
            ended = connection => tracing::trace!(?ended, "a gRPC connection ended"),
            () = taking.stalls(self.limits.stall) => {
                tracing::warn!("a gRPC client asks, and does not take its answers");
            }
        }
    }

    async fn http1(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let gateway = Rc::new(self.gateway());
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let gateway = Rc::clone(&gateway);
            async move { Ok::<_, Infallible>(gateway.answer(request.map(Body::new)).await) }
        });
        let ended = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        tracing::trace!(?ended, "a connection to the gateway ended");
    }

    /// For one connection.
    fn gateway(&self) -> Gateway {
        let routes = self.routes();
        Gateway {
            calls: Rc::new(move |request, limit, claim| {
                let routes = Rc::clone(&routes);
                let trace = trace::of_headers(request.headers());
                async move {
                    let answer = routes.answer(request, limit, claim);
                    trace::within(trace, answer).await
                }
                .boxed_local()
            }),
            bounds: Arc::clone(&self.bounds),
            limit: self.limits.call,
            metrics: Rc::clone(&self.metrics),
        }
    }
}

impl Guest for Server {
    fn has(&self, path: &str) -> bool {
        Gateway::is_api(path)
    }

    fn answer(&self, request: Request<Incoming>) -> LocalBoxFuture<'static, Response<GuestBody>> {
        let gateway = self.gateway();
        async move {
            let answer = gateway.answer(request.map(Body::new)).await;
            answer.map(|body| body.map_err(Into::into).boxed_unsync())
        }
        .boxed_local()
    }
}

/// Reads into `begun` until it is clear what the client speaks.
async fn speaks_http2(stream: &mut TcpStream, begun: &mut Vec<u8>) -> io::Result<bool> {
    while begun.len() < HTTP2.len() && HTTP2.starts_with(begun) {
        let room = (HTTP2.len() - begun.len()) as u64;
        if (&mut *stream).take(room).read_buf(begun).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(begun == HTTP2)
}

/// Runs what a connection spawns beside it, on the same thread.
#[derive(Clone, Copy)]
struct OnThisThread;

impl<F> hyper::rt::Executor<F> for OnThisThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

#[cfg(test)]
mod tests;
