//! The socket: HTTP/2 without TLS, on the node's own thread.
//!
//! What strangers can make it hold is bounded: connections, calls on each and on all, bytes of each
//! message, how long a call takes, and how long a connection may say nothing to a ping.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::body::Body;

use super::backend::Backends;
use super::gather::Gather;
use super::routes::Routes;
use super::status;

/// What is taken from clients.
#[derive(Clone, Copy, Debug)]
pub struct GrpcLimits {
    pub connections: usize,
    /// Calls under way on one connection, and on all together.
    pub streams: u32,
    pub all_streams: usize,
    /// From its first byte to its answer. Whoever sends half a message is not waited for.
    pub call: Duration,
    /// Between two pings of a connection that is silent, and for their answer.
    pub ping: Duration,
    pub pong: Duration,
}

impl Default for GrpcLimits {
    fn default() -> GrpcLimits {
        GrpcLimits {
            connections: 1024,
            streams: 4096,
            all_streams: 20_000,
            call: Duration::from_secs(30),
            ping: Duration::from_secs(60),
            pong: Duration::from_secs(20),
        }
    }
}

/// Serves whoever connects, until it is dropped. Lives on a `LocalSet`.
pub async fn serve(listener: TcpListener, limits: GrpcLimits, backends: Backends) {
    let mut open = JoinSet::new();
    let calls = Arc::new(Semaphore::new(limits.all_streams));
    loop {
        tokio::select! {
            _ = open.join_next(), if !open.is_empty() => {}
            accepted = listener.accept(), if open.len() < limits.connections => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    let routes = Routes::new(backends());
                    open.spawn_local(converse(stream, limits, routes, Arc::clone(&calls)));
                }
                Err(error) => {
                    // Out of descriptors, mostly: those who hold them must get a chance to end.
                    tracing::warn!(%error, "cannot accept a gRPC connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

/// One connection. What goes wrong here (the client left, or broke the protocol) is its affair.
async fn converse(stream: TcpStream, limits: GrpcLimits, routes: Routes, calls: Arc<Semaphore>) {
    let routes = Rc::new(routes);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (routes, calls) = (Rc::clone(&routes), Arc::clone(&calls));
        async move {
            let Ok(permit) = calls.try_acquire_owned() else {
                return Ok::<_, Infallible>(status::too_many_requests().into_http());
            };
            Ok(routes.answer(request.map(Body::new), limits.call, permit).await)
        }
    });
    let ended = hyper::server::conn::http2::Builder::new(OnThisThread)
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.pong)
        .max_header_list_size(16 << 10)
        // No client of gRPC looks at it.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(Gather(stream)), service)
        .await;
    tracing::trace!(?ended, "a gRPC connection ended");
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
