//! The gateway before services that the tests make up, and its socket before rude clients.

use std::cell::Cell;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{FutureExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Streaming;

use super::*;
use crate::grpc::call::{Call, Replies, reply as send};
use crate::grpc::idle;
use crate::grpc::meter::{Counted, Meter};
use crate::grpc::pb::etcdserverpb as pb;
use crate::grpc::server::{GrpcLimits, Server};

const PERMITS: usize = 3;
const BUDGET: u32 = 16 << 20;

/// A gateway to one service, which is all calls.
fn gateway<F>(limit: Duration, answer: impl Fn(Call) -> F + 'static) -> Gateway
where
    F: Future<Output = Answer> + 'static,
{
    Gateway {
        calls: Rc::new(move |request, limit, claim| {
            let (backend, counted) = (idle::node(None), Counted::nowhere());
            answer(Call { request, backend, counted, limit, claim }).boxed_local()
        }),
        bounds: Arc::new(Bounds::new(PERMITS, BUDGET)),
        limit,
        metrics: Rc::new(|| Response::new(Full::from("figures\n"))),
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// A service whose watches are numbered as they come; at the end of its messages, it fails.
fn watches() -> Gateway {
    async fn serve(
        mut asked: Streaming<pb::WatchRequest>,
        replies: Replies<pb::WatchResponse>,
    ) -> Result<(), Status> {
        for watch_id in 1.. {
            if asked.message().await?.is_none() {
                break;
            }
            let created = pb::WatchResponse { watch_id, created: true, ..Default::default() };
            if send(&replies, created).await.is_err() {
                return Ok(());
            }
        }
        Err(Status::unavailable("etcdserver: server stopped"))
    }
    gateway(PATIENCE, |call| call.stream(serve))
}

fn locally(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(3 * PATIENCE, test).await.expect("it hangs")
    });
}

fn post(path: &str, body: Body) -> Request<Body> {
    Request::post(path).body(body).unwrap()
}

fn text(text: &str) -> Body {
    Body::new(Full::from(text.to_owned()))
}

/// A body that a test writes as it goes.
fn open_body() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, receiver) = mpsc::unbounded();
    let frames = receiver.map(|text: &str| Ok::<_, Status>(Frame::data(Bytes::from(text))));
    (sender, Body::new(StreamBody::new(frames)))
}

async fn whole(answer: Answer) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// What comes next of an answer.
async fn next(answer: &mut Answer) -> String {
    let data = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    String::from_utf8(data.to_vec()).unwrap()
}

const STOPPED: &str = concat!(
    r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: server stopped","#,
    r#""http_status":"Service Unavailable"}}"#
);

#[test]
fn a_stream_answers_each_message_at_once_and_tells_how_it_ended() {
    locally(async {
        let gateway = watches();
        let (client, body) = open_body();
        client.unbounded_send(r#"{"create_request":{"key":"Zm9"#).unwrap();
        client.unbounded_send(r#"v"}}{"create_request":"#).unwrap();
        let mut answer = gateway.answer(post("/v3/watch", body)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "application/json");
        let line = |id: u32| format!("{{\"result\":{{\"watch_id\":\"{id}\",\"created\":true}}}}\n");
        assert_eq!(next(&mut answer).await, line(1));
        client.unbounded_send("{}} ").unwrap();
        assert_eq!(next(&mut answer).await, line(2));
        assert_eq!(gateway.bounds.free().0, PERMITS - 1, "while it lasts");
        drop(client);
        assert_eq!(next(&mut answer).await, STOPPED);
        assert!(answer.body_mut().frame().await.is_none());
    });
}

#[test]
fn what_is_no_message_is_refused_first_and_ends_the_messages_later() {
    locally(async {
        let gateway = watches();
        let first = gateway.answer(post("/v3/watch", text(r#"{"create_request":7}{}"#))).await;
        let why = "json: cannot unmarshal number into Go value of type map[string]json.RawMessage";
        let flat = format!(r#"{{"error":"{why}","message":"{why}","code":2}}"#);
        assert_eq!(whole(first).await, (500, flat));
        let later = gateway.answer(post("/v3/watch", text("{} nonsense {}"))).await;
        let line = "{\"result\":{\"watch_id\":\"1\",\"created\":true}}\n";
        assert_eq!(whole(later).await, (200, format!("{line}{STOPPED}")));
        let none = gateway.answer(post("/v3/watch", text(""))).await;
        assert_eq!(whole(none).await, (503, STOPPED.to_owned()), "the first is an error");
    });
}

#[test]
fn when_the_client_goes_away_its_stream_ends() {
    locally(async {
        let gateway = watches();
        let (client, body) = open_body();
        client.unbounded_send("{}").unwrap();
        let mut answer = gateway.answer(post("/v3/watch", body)).await;
        next(&mut answer).await;
        drop(answer);
        while gateway.bounds.free().0 < PERMITS {
            tokio::task::yield_now().await;
        }
        assert!(client.is_closed(), "the call and its body are gone");
    });
}

#[test]
fn calls_have_a_bound_all_together() {
    locally(async {
        let gateway = watches();
        let mut open = Vec::new();
        for _ in 0..PERMITS {
            let (client, body) = open_body();
            client.unbounded_send("{}").unwrap();
            open.push((client, gateway.answer(post("/v3/watch", body)).await));
        }
        let (status, why) = whole(gateway.answer(post("/v3/kv/put", text("{}"))).await).await;
        assert_eq!(status, 500);
        assert!(why.contains("etcdserver: too many requests"), "{why}");
    });
}

#[test]
fn a_large_answer_comes_in_pieces_and_whole() {
    fn range() -> pb::RangeResponse {
        let kv = |number: i64| crate::grpc::pb::mvccpb::KeyValue {
            key: format!("key {number}").into(),
            value: vec![b'x'; 1000].into(),
            mod_revision: number,
            ..Default::default()
        };
        pb::RangeResponse { kvs: (1..=2000).map(kv).collect(), count: 2000, ..Default::default() }
    }
    locally(async {
        let gateway =
            gateway(PATIENCE, |call| call.unary(async |_: pb::RangeRequest, _| Ok(range())));
        let mut answer = gateway.answer(post("/v3/kv/range", text("{}"))).await;
        let (mut all, mut pieces) = (String::new(), 0);
        while let Some(frame) = answer.body_mut().frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() < 300 << 10, "{}", piece.len());
            let (places, bytes) = gateway.bounds.free();
            assert!(places == PERMITS - 1 && bytes < BUDGET as usize - 2_000_000, "{bytes}");
            all.push_str(std::str::from_utf8(&piece).unwrap());
            pieces += 1;
        }
        assert!(pieces > 5, "{pieces}");
        drop(answer);
        assert_eq!(gateway.bounds.free(), (PERMITS, BUDGET as usize));
        let all: serde_json::Value = serde_json::from_str(&all).unwrap();
        assert_eq!(all["count"], "2000");
        let kvs = all["kvs"].as_array().unwrap();
        assert_eq!(kvs.len(), 2000);
        let right = |(kv, number): (&serde_json::Value, u32)| {
            kv["mod_revision"].as_str() == Some(&*number.to_string())
                && kv["value"].as_str().unwrap().len() == 1336
        };
        assert!(kvs.iter().zip(1..).all(right));
    });
}

#[test]
fn what_a_service_sees_is_a_call_like_any_other() {
    locally(async {
        let seen = Rc::new(Cell::new(None));
        let sees = Rc::clone(&seen);
        let gateway = gateway(PATIENCE, move |call: Call| {
            let header = |name| call.request.headers().get(name).cloned();
            sees.set(Some((
                call.request.uri().path().to_owned(),
                call.wants_leader(),
                call.timeout(),
                header("token"),
            )));
            call.unary(async |put: pb::PutRequest, _| {
                assert_eq!(&put.key[..], b"foo");
                Err::<pb::PutResponse, _>(Status::not_found(
                    "etcdserver: requested lease not found",
                ))
            })
        });
        let mut request = post("/v3/kv/put", text(r#"{"key":"Zm9v"}"#));
        for (name, value) in [
            ("grpc-metadata-hasleader", "true"),
            ("authorization", "secret"),
            ("grpc-timeout", "2S"),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let why = "etcdserver: requested lease not found";
        let flat = format!(r#"{{"error":"{why}","message":"{why}","code":5}}"#);
        assert_eq!(whole(gateway.answer(request).await).await, (404, flat));
        let (path, wants_leader, timeout, token) = seen.take().unwrap();
        assert_eq!((path.as_str(), wants_leader), ("/etcdserverpb.KV/Put", true));
        assert_eq!((timeout, token.unwrap()), (Duration::from_secs(2), "secret".parse().unwrap()));
    });
}

#[test]
fn half_a_request_is_not_waited_for() {
    locally(async {
        let soon = Duration::from_millis(50);
        let gateway = gateway(soon, |call| {
            call.unary(async |_: pb::PutRequest, _| Ok(pb::PutResponse::default()))
        });
        for path in ["/v3/kv/put", "/v3/watch"] {
            let (client, body) = open_body();
            client.unbounded_send(r#"{"key":"#).unwrap();
            let (status, why) = whole(gateway.answer(post(path, body)).await).await;
            assert!(status == 503 && why.contains("request timed out"), "{path}: {why}");
            assert_eq!(gateway.bounds.free().0, PERMITS);
        }
        let large = Body::new(Full::from(vec![b' '; 5 << 20]));
        assert_eq!(gateway.answer(post("/v3/kv/put", large)).await.status(), 429);
    });
}

#[test]
fn pages_and_refusals_are_etcds() {
    locally(async {
        let gateway = watches();
        let ask = async |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(text("{}")).unwrap();
            let answer = gateway.answer(request).await;
            for (name, value) in EVERY_ANSWER {
                assert_eq!(answer.headers()[name], value, "{method} {path}");
            }
            whole(answer).await
        };
        let is = |status: u16, text: &str| (status, text.to_owned());
        assert_eq!(ask("GET", "/v3/kv/put").await, is(405, "Method Not Allowed\n"));
        assert_eq!(ask("PUT", "/v3/kv/put").await, is(405, "Method Not Allowed\n"));
        assert_eq!(ask("POST", "/v3/kv/put/").await, is(404, "Not Found\n"));
        assert_eq!(ask("POST", "/v3/nope").await, is(404, "Not Found\n"));
        assert_eq!(ask("GET", "/nope").await, is(404, "404 page not found\n"));
        assert_eq!(ask("OPTIONS", "/v3/kv/put").await, is(200, ""));
        assert_eq!(ask("POST", "/health").await, is(405, "Method Not Allowed\n"));
        assert_eq!(ask("POST", "/readyz").await, is(405, "Method Not Allowed\n"));
        assert_eq!(ask("GET", "/metrics").await, is(200, "figures\n"));
        let version = r#"{"etcdserver":"3.5.21","etcdcluster":"3.5.0"}"#;
        assert_eq!(ask("GET", "/version").await, is(200, version));
    });
}

#[test]
fn health_is_what_the_member_says_of_itself() {
    locally(async {
        let leader = Rc::new(Cell::new(0));
        let leads = Rc::clone(&leader);
        let gateway = gateway(PATIENCE, move |call| {
            let leader = leads.get();
            call.unary(async move |_: pb::StatusRequest, _| {
                Ok(pb::StatusResponse { leader, ..Default::default() })
            })
        });
        let health = async || {
            let request = Request::get("/health").body(Body::empty()).unwrap();
            whole(gateway.answer(request).await).await
        };
        let ill = r#"{"health":"false","reason":"RAFT NO LEADER"}"#;
        assert_eq!(health().await, (503, ill.to_owned()));
        leader.set(2);
        assert_eq!(health().await, (200, r#"{"health":"true","reason":""}"#.to_owned()));
    });
}

#[test]
fn a_page_of_checks_says_which_failed() {
    locally(async {
        let gateway = gateway(PATIENCE, |call| async {
            if call.request.uri().path().ends_with("/Status") {
                let errors = vec!["memberID:1 alarm:CORRUPT ".to_owned()];
                let status = pb::StatusResponse { is_learner: true, errors, ..Default::default() };
                return call.unary(async |_: pb::StatusRequest, _| Ok(status)).await;
            }
            call.unary(async |asked: pb::RangeRequest, _| match asked.serializable {
                true => Ok(pb::RangeResponse::default()),
                false => Err(Status::unavailable("etcdserver: no leader")),
            })
            .await
        });
        let get = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            whole(gateway.answer(request).await).await
        };
        let is = |status: u16, text: &str| (status, text.to_owned());
        assert_eq!(get("/livez").await, is(200, "ok\n"));
        assert_eq!(get("/livez?verbose").await, is(200, "[+]serializable_read ok\nok\n"));
        assert_eq!(get("/readyz/serializable_read").await, is(200, "ok\n"));
        let all = "[-]data_corruption failed: alarm activated: CORRUPT\n\
                   [+]serializable_read ok\n\
                   [-]linearizable_read failed: etcdserver: no leader\n\
                   [-]non_learner failed: not supported for learner\n\n";
        assert_eq!(get("/readyz").await, is(503, all));
        let one = "/readyz?exclude=data_corruption&exclude=linearizable_read&exclude=unknown";
        let learner = "[+]serializable_read ok\n\
                       [-]non_learner failed: not supported for learner\n\n";
        assert_eq!(get(one).await, is(503, learner));
        let well = format!("{one}&exclude=non_learner");
        assert_eq!(get(&well).await, is(200, "ok\n"));
        for nothing in ["/livez/", "/livez/linearizable_read", "/livezz", "/readyz/nope"] {
            assert_eq!(get(nothing).await, is(404, "404 page not found\n"), "{nothing}");
        }
    });
}

/// A server on a socket, whose figures are more than any socket holds.
async fn listen(limits: GrpcLimits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let figures = Bytes::from(vec![b'x'; 64 << 20]);
    let metrics: MetricsPage = Rc::new(move || Response::new(Full::new(figures.clone())));
    let server = Server::new(limits, Rc::new(|| idle::node(None)), metrics, Rc::new(Meter::new()));
    tokio::task::spawn_local(Rc::new(server).serve(listener));
    address
}

#[test]
fn one_connection_takes_many_requests() {
    locally(async {
        let mut stream = TcpStream::connect(listen(GrpcLimits::default()).await).await.unwrap();
        let mut answers = String::new();
        let request = "POST /v3/lease/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        // Begins as HTTP/2 would, byte by byte.
        for piece in ["P", "R", "I /version HTTP/1.1\r\nHost: x\r\n\r\n", request, request] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        while answers.matches("HTTP/1.1 200 OK").count() < 2 {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "{answers}");
            answers.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        assert!(answers.starts_with("HTTP/1.1 405 "), "{answers}");
    });
}

#[test]
fn who_says_nothing_or_takes_nothing_is_cut() {
    locally(async {
        let soon = Duration::from_millis(100);
        let limits = GrpcLimits { head: soon, stall: soon, ..GrpcLimits::default() };
        let address = listen(limits).await;
        for begun in ["", "P", "PRI * HTTP", "GET /version HTTP/1.1\r\nHost:"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "{begun:?} is waited for");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // Once it is cut, the peer's next byte is answered with a reset.
        let cut = async {
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, cut).await.is_ok(), "it is waited for");
    });
}
