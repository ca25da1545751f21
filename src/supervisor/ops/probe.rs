//! What a program serves, asked over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// On this machine, an answer comes at once or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of an answer that are read.
const MAX_BYTES: usize = 1 << 20;

/// Whether `GET path` at `address` is answered with 200.
pub async fn is_ready(address: SocketAddr, path: &str) -> bool {
    get(address, path).await.is_some()
}

/// What `GET path` at `address` is answered with, if that is 200.
pub async fn get(address: SocketAddr, path: &str) -> Option<Bytes> {
    let asked = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        // One that closes behind its answer ends it while the answer is read: so it goes its own
        // way, and ends with `sender` at the latest.
        tokio::task::spawn_local(connection);
        let request = Request::get(path)
            .header(hyper::header::HOST, address.to_string())
            .body(Empty::<Bytes>::new())
            .ok()?;
        let answer = sender.send_request(request).await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await.ok()?;
        Some(body.to_bytes())
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}
