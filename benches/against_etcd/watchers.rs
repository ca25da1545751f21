//! Many watchers of one prefix: does every event reach every one of them, in order, and how soon.
//!
//! Each stream carries many watches, as one client of etcd's does. The time of an event counts from
//! when its put was sent.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use futures::stream;
use hdrhistogram::Histogram;
use http::uri::PathAndQuery;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::watch_request::RequestUnion;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use crate::Options;
use crate::etcd::Etcd;
use crate::grpc::Connection;
use crate::machine::{Machine, Span};
use crate::over_grpc::OverGrpc;
use crate::report::Report;
use crate::system::System;

const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Streams to each member.
const STREAMS: usize = 10;

/// From one put to the next.
const BETWEEN: Duration = Duration::from_millis(500);

/// What is not there by then is lost.
const PATIENCE: Duration = Duration::from_secs(10);

const PREFIX: &str = "watched/";

/// What one system did.
struct Seen {
    events: u64,
    missing: u64,
    /// In microseconds.
    delays: Histogram<u64>,
    span: Span,
}

pub async fn run(options: &Options, place: &tempfile::TempDir, report: &mut Report) -> Result<()> {
    let members = options.members.iter().copied().min().unwrap_or(3);
    let ours = OverGrpc::start(members, place.path()).await?;
    let seen = watch(options, &ours.addresses().await?, &ours.pids().await?).await;
    let a = seen.context("kvraft")?;
    ours.stop().await?;
    let etcd = Etcd::start(members, place.path()).await?;
    let b = watch(options, &etcd.addresses(), &etcd.pids().await?).await.context("etcd")?;
    etcd.stop().await?;
    println!("\n{members} members, {} watchers of one prefix, two puts a second", options.watchers);
    println!("{:>16}{:>10}{:>10}{:>10}{:>10}", "events", "missing", "p50 ms", "p99 ms", "max ms");
    a.print("kvraft");
    b.print("etcd");
    report.watchers = json!({
        "members": members, "watchers": options.watchers, "kvraft": a.json(), "etcd": b.json(),
    });
    Ok(())
}

/// What a stream has seen, and what its watches must see next.
struct Stream {
    next: Vec<u64>,
    incoming: Streaming<pb::WatchResponse>,
    _requests: mpsc::UnboundedSender<pb::WatchRequest>,
}

async fn watch(options: &Options, addresses: &[String], pids: &[u32]) -> Result<Seen> {
    let count = options.watchers as usize;
    let streams = (STREAMS * addresses.len()).min(count);
    let mut open = Vec::new();
    for number in 0..streams {
        let watches = count / streams + usize::from(number < count % streams);
        open.push(Stream::open(&addresses[number % addresses.len()], watches).await?);
    }
    let puts = (options.seconds / BETWEEN.as_secs_f64()).ceil().max(1.0) as u64;
    let sent: Rc<RefCell<Vec<Instant>>> = Rc::default();
    let delays = Histogram::new_with_bounds(1, 120_000_000, 3)?;
    let delays = Rc::new(RefCell::new(delays));
    let before = Machine::now(pids)?;
    let mut readers = tokio::task::JoinSet::new();
    for stream in open {
        readers.spawn_local(stream.read(puts, Rc::clone(&sent), Rc::clone(&delays)));
    }
    let connection = Connection::open(&addresses[0]).await?;
    let mut tick = tokio::time::interval(BETWEEN);
    for number in 0..puts {
        tick.tick().await;
        sent.borrow_mut().push(Instant::now());
        let (key, value) = (format!("{PREFIX}{}", number % 7), number.to_string());
        let written = connection.put_one(key.into(), value.into()).await;
        written.map_err(|error| anyhow!("a watched put: {error}"))?;
    }
    let mut missing = 0;
    while let Some(read) = readers.join_next().await {
        missing += read.context("a reader panicked")??;
    }
    let span = before.until(&Machine::now(pids)?);
    let delays = delays.borrow().clone();
    Ok(Seen { events: delays.len(), missing, delays, span })
}

impl Stream {
    /// With so many watches, all of which are there when it returns.
    async fn open(address: &str, watches: usize) -> Result<Stream> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let mut grpc = Grpc::new(endpoint.connect().await?);
        grpc.ready().await?;
        let (requests, outgoing) = mpsc::unbounded_channel();
        let mut end = Bytes::from_static(PREFIX.as_bytes()).to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let create = pb::WatchCreateRequest {
            key: Bytes::from_static(PREFIX.as_bytes()),
            range_end: end.into(),
            ..Default::default()
        };
        for _ in 0..watches {
            let request_union = Some(RequestUnion::CreateRequest(create.clone()));
            requests.send(pb::WatchRequest { request_union })?;
        }
        let outgoing = stream::unfold(outgoing, async |mut outgoing| {
            let request: Option<pb::WatchRequest> = outgoing.recv().await;
            request.map(|request| (request, outgoing))
        });
        let codec = ProstCodec::<pb::WatchRequest, pb::WatchResponse>::default();
        let path = PathAndQuery::from_static(WATCH);
        let answered = grpc.streaming(Request::new(outgoing), path, codec).await?;
        let mut stream =
            Stream { next: vec![0; watches], incoming: answered.into_inner(), _requests: requests };
        for _ in 0..watches {
            let created = tokio::time::timeout(PATIENCE, stream.incoming.message()).await;
            let created = created.context("a watch was not created in time")??;
            ensure!(created.is_some_and(|it| it.created && !it.canceled), "a watch was refused");
        }
        Ok(stream)
    }

    /// Reads until every watch has seen all puts, or nothing comes any more: how many events are
    /// missing then.
    async fn read(
        mut self,
        puts: u64,
        sent: Rc<RefCell<Vec<Instant>>>,
        delays: Rc<RefCell<Histogram<u64>>>,
    ) -> Result<u64> {
        let mut left = puts * self.next.len() as u64;
        while left > 0 {
            let message = tokio::time::timeout(PATIENCE, self.incoming.message()).await;
            let Ok(message) = message else { break };
            let message = message?.context("a stream of watches ended")?;
            let place = usize::try_from(message.watch_id).unwrap_or(usize::MAX);
            let next = self.next.get_mut(place).context("a watch that nobody asked for")?;
            for event in &message.events {
                let value = event.kv.as_ref().context("an event without a key")?;
                let number: u64 = std::str::from_utf8(&value.value)?.parse()?;
                if number != *next {
                    bail!("watch {place} saw event {number}, and had to see {next}");
                }
                *next += 1;
                left -= 1;
                let delay = sent.borrow()[number as usize].elapsed();
                delays.borrow_mut().saturating_record((delay.as_micros() as u64).max(1));
            }
        }
        Ok(left)
    }
}

impl Seen {
    fn millis(&self, quantile: f64) -> f64 {
        self.delays.value_at_quantile(quantile) as f64 / 1e3
    }

    fn print(&self, name: &str) {
        println!(
            "  {name:<7}{:>7}{:>10}{:>10.1}{:>10.1}{:>10.1}   steal {:.1}%",
            self.events,
            self.missing,
            self.millis(0.5),
            self.millis(0.99),
            self.millis(1.0),
            self.span.steal * 100.0,
        );
    }

    fn json(&self) -> Value {
        json!({
            "events": self.events, "missing": self.missing, "p50_ms": self.millis(0.5),
            "p99_ms": self.millis(0.99), "max_ms": self.millis(1.0),
            "resident_bytes": self.span.resident_bytes, "steal": self.span.steal,
            "cpu_seconds": self.span.cpu_seconds,
        })
    }
}
