//! The server before clients that ask, and do not read.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use prost::Message;
use tokio::task::{JoinHandle, LocalSet};

use super::*;
use crate::grpc::idle;
use crate::grpc::pb::etcdserverpb as pb;
use crate::kv::{Answer as Found, KeyValue, Query};
use crate::types::{LeaseId, Revision};

const PATIENCE: Duration = Duration::from_secs(20);
const RANGE: &str = "/etcdserverpb.KV/Range";

/// Of the client's windows, as it opens them. With the first an answer stays with its body, and
/// with the others in the library's queue.
const WINDOWS: [u32; 3] = [0, 1, 65_535];

/// The key of a range is a number: the bytes of its value.
fn found(query: Query) -> Found {
    let Query::Range(range) = query else { panic!("no test asks for more") };
    let bytes: usize = std::str::from_utf8(&range.start).unwrap().parse().unwrap();
    let value = Bytes::from(vec![b'x'; bytes]);
    let (create_revision, mod_revision) = (Revision(1), Revision(1));
    let (key, version, lease) = (range.start, 1, LeaseId(0));
    let kv = KeyValue { key, value, create_revision, mod_revision, version, lease };
    Found { items: vec![kv], count: 1, ..Found::default() }
}

/// A server, and where it listens.
struct Listening {
    server: Rc<Server>,
    address: SocketAddr,
}

impl Listening {
    async fn begin(limits: GrpcLimits) -> Listening {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics: MetricsPage = Rc::new(|| Response::new(Full::default()));
        let backends: Backends = Rc::new(|| idle::answering(found));
        let server = Rc::new(Server::new(limits, backends, metrics, Rc::new(Meter::new())));
        tokio::task::spawn_local(Rc::clone(&server).serve(listener));
        Listening { server, address }
    }

    async fn is_free(&self) {
        let limits = self.server.limits;
        while self.server.bounds.free() != (limits.all_streams, limits.unread as usize) {
            tokio::task::yield_now().await;
        }
    }

    async fn client(&self, window: u32) -> Client {
        let stream = std::net::TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let socket = stream.try_clone().unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        let mut builder = Builder::new(OnThisThread);
        builder.initial_stream_window_size(window);
        let (requests, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::task::spawn_local(async move { drop(connection.await) });
        Client { requests, connection, socket }
    }
}

struct Client {
    requests: SendRequest<Full<Bytes>>,
    /// Until it has ended.
    connection: JoinHandle<()>,
    socket: std::net::TcpStream,
}

impl Drop for Client {
    fn drop(&mut self) {
        // Whatever of its answers the test still has: to the server it is gone.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

impl Client {
    async fn call(&self, path: &str, message: impl Message) -> Response<Incoming> {
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(message.encoded_len() as u32);
        message.encode(&mut body).unwrap();
        let request = Request::post(format!("http://x{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "100m")
            .body(Full::new(body.freeze()))
            .unwrap();
        self.requests.clone().send_request(request).await.unwrap()
    }

    /// Asks for an answer of so many bytes, and a few; it has begun, or was refused.
    async fn range(&self, bytes: usize) -> Response<Incoming> {
        let range = pb::RangeRequest { key: bytes.to_string().into(), ..Default::default() };
        self.call(RANGE, range).await
    }
}

/// Reads all of it.
async fn length(answer: Response<Incoming>) -> usize {
    let all = answer.into_body().collect().await.unwrap();
    assert_eq!(all.trailers().unwrap()["grpc-status"], "0");
    all.to_bytes().len()
}

fn refusal(answer: &Response<Incoming>) -> Option<&str> {
    Some(answer.headers().get("grpc-message")?.to_str().unwrap())
}

const TOO_MANY: Option<&str> = Some("etcdserver:%20too%20many%20requests");

fn locally(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(3 * PATIENCE, test).await.expect("it hangs");
    });
}

#[test]
fn large_answers_that_nobody_reads_are_bounded_and_others_are_served() {
    const LARGE: usize = 3 << 20;
    locally(async {
        let limits = GrpcLimits { unread: 8 << 20, ..GrpcLimits::default() };
        let listening = Listening::begin(limits).await;
        let good = listening.client(1 << 20).await;
        for window in WINDOWS {
            let bad = listening.client(window).await;
            let unread = [bad.range(LARGE).await, bad.range(LARGE).await];
            assert!(unread.iter().all(|answer| refusal(answer).is_none()));
            for client in [&bad, &bad, &good] {
                let answer = client.range(LARGE).await;
                assert_eq!(refusal(&answer), TOO_MANY, "window {window}");
            }
            assert!(length(good.range(1000).await).await > 1000);
            assert!(length(good.range(1 << 20).await).await > 1 << 20, "there is room for that");
            // One of the two is given up, and there is room again.
            let [first, _second] = unread;
            drop(first);
            assert!(length(good.range(LARGE).await).await > LARGE);
            drop(bad);
            // Larger than all that there is room for.
            assert!(length(good.range(20 << 20).await).await > 20 << 20);
            listening.is_free().await;
        }
    });
}

#[test]
fn a_call_has_its_place_until_its_answer_is_taken() {
    locally(async {
        let limits = GrpcLimits { all_streams: 4, ..GrpcLimits::default() };
        let listening = Listening::begin(limits).await;
        let good = listening.client(1 << 20).await;
        for window in [0, 1] {
            let bad = listening.client(window).await;
            let mut unread = Vec::new();
            for _ in 0..4 {
                unread.push(bad.range(10).await);
            }
            assert_eq!(refusal(&good.range(10).await), TOO_MANY, "window {window}");
            unread.pop();
            while refusal(&good.range(10).await).is_some() {}
            drop(bad);
            listening.is_free().await;
            assert!(length(good.range(10).await).await > 10);
        }
    });
}

#[test]
fn a_client_that_takes_nothing_of_an_answer_is_cut_but_one_of_a_stream_is_not() {
    let soon = Duration::from_millis(50);
    locally(async {
        let listening = Listening::begin(GrpcLimits { stall: soon, ..GrpcLimits::default() }).await;
        let patient = listening.client(0).await;
        let nothing = pb::StatusRequest {};
        let stream = patient.call("/grpc.health.v1.Health/Watch", nothing).await;
        assert_eq!(refusal(&stream), None);
        // One after the other: before the last of them, the stream would have been cut, too.
        for bytes in [10, 1 << 20, 10, 1 << 20] {
            for window in [0, 1] {
                let mut bad = listening.client(window).await;
                let _unread = bad.range(bytes).await;
                let cut = tokio::time::timeout(PATIENCE, &mut bad.connection).await;
                assert!(cut.is_ok(), "it is waited for");
            }
        }
        assert_eq!(
            refusal(&patient.call("/nope/X", nothing).await).unwrap(),
            "unknown%20service%20nope"
        );
        drop((stream, patient));
        listening.is_free().await;
    });
}
