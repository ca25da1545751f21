//! Whether a program serves, asked over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// On this machine, an answer comes at once or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether `GET path` at `address` is answered with 200.
pub async fn is_ready(address: SocketAddr, path: &str) -> bool {
    let asked = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let request = Request::get(path)
            .header(hyper::header::HOST, address.to_string())
            .body(Empty::<Bytes>::new())
            .ok()?;
        let mut answer = std::pin::pin!(sender.send_request(request));
        let answer = tokio::select! {
            answer = &mut answer => answer,
            // One that closes behind its answer has given it by then.
            _ = connection => answer.await,
        };
        Some(answer.ok()?.status())
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    matches!(answer, Ok(Some(StatusCode::OK)))
}
