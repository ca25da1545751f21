//! The path of a request, as a collector of OpenTelemetry is told it: `make otel`.

#![cfg(feature = "otel")]

mod kvctl_home;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kvctl_home::{Home, wait_until};
use prost::Message;
use serde_json::Value;

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    from: u64,
    #[prost(fixed64, tag = "8")]
    to: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

impl Span {
    fn number(&self, key: &str) -> Option<i64> {
        self.attributes.iter().find(|it| it.key == key)?.value.as_ref()?.number
    }
}

/// Who is told: the name of a service, and one of its spans.
type Told = Arc<Mutex<Vec<(String, Span)>>>;

/// A collector, which ends with the test's process.
fn collector() -> (SocketAddr, Told) {
    let told = Told::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let heard = Arc::clone(&told);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let heard = Arc::clone(&heard);
                let service =
                    hyper::service::service_fn(move |request| hear(Arc::clone(&heard), request));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    (address, told)
}

type Answer =
    StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn hear(told: Told, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let path = request.uri().path().to_owned();
    assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let export = Export::decode(&body[5..]).unwrap();
    for resource in export.resources {
        let attributes = resource.resource.unwrap().attributes;
        let service = attributes.iter().find(|it| it.key == "service.name").unwrap();
        let service = service.value.clone().unwrap().text.unwrap();
        let spans = resource.scopes.into_iter().flat_map(|scope| scope.spans);
        told.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let empty = Frame::data(Bytes::from_static(&[0; 5]));
    let frames = vec![Ok(empty), Ok(Frame::trailers(trailers))];
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(StreamBody::new(futures::stream::iter(frames))).unwrap())
}

const CLIENTS: &str = "00f067aa0ba902b7";

/// The name of a trace.
fn trace(digit: u8) -> String {
    format!("{digit}bf92f3577b34da6a3ce929d0e0e4736")
}

/// A client's part of it.
fn trace_parent(digit: u8, flags: &str) -> String {
    format!("00-{}-{CLIENTS}-{flags}", trace(digit))
}

/// All that was told of it.
fn of_trace(told: &Told, digit: u8) -> Vec<(String, Span)> {
    let told = told.lock().unwrap();
    told.iter().filter(|(_, span)| hex::encode(&span.trace) == trace(digit)).cloned().collect()
}

fn named<'s>(spans: &'s [(String, Span)], name: &str) -> Vec<&'s Span> {
    spans.iter().map(|(_, span)| span).filter(|span| span.name == name).collect()
}

/// Asks a node by etcd's gateway.
fn post(node: &Value, path: &str, trace_parent: &str, body: &str) {
    let mut stream = TcpStream::connect(node["grpc"].as_str().unwrap()).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         traceparent: {trace_parent}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_requests_path_is_told_from_its_client_to_the_disks_and_back() {
    let (address, told) = collector();
    let home = Home::new();
    let run = |arguments: &[&str], trace: &str| {
        let mut command = home.command(arguments);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"));
        command.env("OTEL_BSP_SCHEDULE_DELAY", "100").env("TRACEPARENT", trace);
        let ended = kvctl_home::ended(command.output().unwrap());
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    };
    run(&["cluster", "up", "-n", "3"], "");
    let leader = home.leader();
    let status = home.json(&["cluster", "status"]);
    let node = |id: u64| &status["nodes"][id as usize - 1];
    let other = if leader == 1 { 2 } else { 1 };

    // By kvctl, which asks the leader itself.
    run(&["put", "k", "v"], &trace_parent(4, "01"));
    wait_until("kvctl and the leader say nothing", || {
        let spans = of_trace(&told, 4);
        !named(&spans, "kvctl").is_empty() && !named(&spans, "kvraft.write").is_empty()
    });
    let spans = of_trace(&told, 4);
    let client = named(&spans, "kvctl")[0];
    assert_eq!(hex::encode(&client.parent), CLIENTS);
    let services: Vec<&str> = spans.iter().map(|(service, _)| &service[..]).collect();
    assert!(services.contains(&"kvctl") && services.contains(&"kvnode"), "{services:?}");

    // By a follower, which hands it on.
    let put = r#"{"key": "aw==", "value": "dg=="}"#;
    post(node(other), "/v3/kv/put", &trace_parent(5, "01"), put);
    wait_until("not both nodes say what they did", || {
        named(&of_trace(&told, 5), "kvraft.write").len() == 2
    });
    let spans = of_trace(&told, 5);
    let writes = named(&spans, "kvraft.write");
    let by: BTreeMap<i64, &Span> =
        writes.iter().map(|span| (span.number("kvraft.node").unwrap(), *span)).collect();
    let (first, second) = (by[&(other as i64)], by[&(leader as i64)]);
    assert_eq!(hex::encode(&first.parent), CLIENTS);
    assert_eq!(second.parent, first.id);
    let relay = named(&spans, "kvraft.relay")[0];
    assert_eq!((&relay.parent, relay.number("kvraft.node")), (&first.id, Some(leader as i64)));
    assert!(second.number("kvraft.index") > Some(1) && second.number("kvraft.term") > Some(1));
    for name in ["append", "disk", "replicate", "commit", "apply"] {
        let parts = named(&spans, &format!("kvraft.{name}"));
        assert!(!parts.is_empty(), "nothing of {name}: {spans:#?}");
        for part in parts {
            assert_eq!(part.parent, second.id, "{name}");
            assert!(second.from <= part.from && part.from <= part.to && part.to <= second.to);
        }
    }
    // Committed is what a majority has: the leader and one more, or both others.
    let commit = named(&spans, "kvraft.commit")[0];
    let disks = [named(&spans, "kvraft.disk"), named(&spans, "kvraft.replicate")].concat();
    assert!(disks.iter().filter(|disk| disk.to <= commit.to).count() >= 2, "{spans:#?}");
    let servers = [first, second].map(|span| span.kind);
    assert_eq!((servers, relay.kind, commit.kind), ([2, 2], 3, 1), "server, client, internal");

    // A read, for which a majority confirms who leads.
    post(node(other), "/v3/kv/range", &trace_parent(6, "01"), r#"{"key": "aw=="}"#);
    wait_until("nothing is told of a read", || {
        !named(&of_trace(&told, 6), "kvraft.read").is_empty()
    });
    let spans = of_trace(&told, 6);
    assert_eq!(named(&spans, "kvraft.confirm")[0].parent, named(&spans, "kvraft.read")[0].id);

    // Nobody wants to see the first, and all before the second has been told with it.
    post(node(leader), "/v3/kv/put", &trace_parent(7, "00"), put);
    post(node(leader), "/v3/kv/put", &trace_parent(8, "01"), put);
    wait_until("nothing is told", || !named(&of_trace(&told, 8), "kvraft.write").is_empty());
    assert!(of_trace(&told, 7).is_empty());
}

#[test]
fn a_collector_that_never_answers_keeps_nothing_from_its_end() {
    let home = Home::new();
    // It takes connections, as far as the system does, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = silent.local_addr().unwrap();
    for arguments in [&["cluster", "up", "-n", "1"][..], &["put", "k", "v"], &["get", "k"]] {
        let mut command = home.command(arguments);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{nobody}"));
        let ended = kvctl_home::ended(command.output().unwrap());
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    }
    let stopped = home.ok(&["cluster", "down"]);
    assert!(stopped.contains("node 1 stopped\n"), "{stopped}");
}
