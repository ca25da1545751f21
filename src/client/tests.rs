//! The client against nodes that say what a script tells them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::{JoinHandle, LocalSet};

use super::{Client, ClientError, EndpointState, Options, Swap, prefix_end};
use crate::config::Address;
use crate::kv::{Answer, Command, Effect, Expected, Outcome, Refusal, SessionStamp};
use crate::replica::{Consistency, Refused, Request, Response};
use crate::rpc::client::{Asked, Hello, read_request, write_response};
use crate::rpc::{Limits, Server, ServerOptions, listen};
use crate::schema::client_capnp::client;
use crate::types::{ClusterId, LogIndex, NodeId, Revision, Term};

/// What a scripted node does with a request.
#[derive(Clone, Debug)]
enum Act {
    Reply(Response),
    /// Closes the connection in the middle of the call.
    Hangup,
    /// Says nothing, ever.
    Silence,
}

/// What a node is told and what it saw.
#[derive(Default)]
struct Script {
    /// For the next requests; afterwards it does what is asked.
    acts: RefCell<VecDeque<Act>>,
    seen: RefCell<Vec<Request>>,
    leader: Cell<u64>,
    applied: Cell<u64>,
    hellos: Cell<u64>,
    cluster: Cell<u64>,
}

struct Node {
    address: Address,
    script: Rc<Script>,
    /// The server; a hang-up stops and restarts it.
    server: Rc<RefCell<JoinHandle<()>>>,
}

struct Service {
    node: u64,
    script: Rc<Script>,
    hangup: Rc<tokio::sync::Notify>,
}

impl client::Server for Service {
    async fn hello(
        self: Rc<Self>,
        _: client::HelloParams,
        mut results: client::HelloResults,
    ) -> Result<(), capnp::Error> {
        self.script.hellos.set(self.script.hellos.get() + 1);
        let hello = Hello {
            cluster: ClusterId(self.script.cluster.get()),
            node: NodeId(self.node),
            leader: Some(NodeId(self.script.leader.get())).filter(|leader| leader.0 != 0),
            term: Term(1),
            applied_index: LogIndex(self.script.applied.get()),
            revision: Revision(1),
            build: "test".into(),
        };
        hello.write(results.get().init_hello());
        Ok(())
    }

    async fn execute(
        self: Rc<Self>,
        params: client::ExecuteParams,
        mut results: client::ExecuteResults,
    ) -> Result<(), capnp::Error> {
        let Asked { request, .. } = read_request(params.get()?.get_request()?).unwrap();
        self.script.seen.borrow_mut().push(request.clone());
        let act = self.script.acts.borrow_mut().pop_front();
        let response = match act.unwrap_or_else(|| Act::Reply(obey(&request))) {
            Act::Reply(response) => response,
            Act::Hangup => {
                self.hangup.notify_one();
                std::future::pending().await
            }
            Act::Silence => std::future::pending().await,
        };
        write_response(&response, results.get().init_response());
        Ok(())
    }
}

/// What a node would answer.
fn obey(request: &Request) -> Response {
    match request {
        Request::Write { .. } => outcome(Effect::Put { existed: false }),
        Request::Member(_) => unreachable!("this client changes no membership"),
        Request::Read { .. } | Request::Lease { .. } => {
            let answer = Answer { revision: Revision(7), ..Answer::default() };
            Response::Answer(answer.encode())
        }
    }
}

fn outcome(effect: Effect) -> Response {
    Response::Written(Outcome { revision: Revision(2), effect }.encode())
}

fn refused(why: Refused) -> Act {
    Act::Reply(Response::Refused { why, message: "scripted".into() })
}

impl Node {
    fn start(directory: &TempDir, node: u64, leader: u64) -> Node {
        let path = directory.path().join(format!("{node}.sock"));
        let address = Address::Unix(path);
        let script = Rc::new(Script::default());
        script.leader.set(leader);
        script.applied.set(10 * node);
        script.cluster.set(1);
        let hangup = Rc::new(tokio::sync::Notify::new());
        let serve = {
            let (address, script, hangup) = (address.clone(), script.clone(), hangup.clone());
            move || {
                let listener = listen(&address).unwrap();
                let options = ServerOptions {
                    whom: "clients",
                    max_connections: 10,
                    limits: Limits::default(),
                };
                let (script, hangup) = (script.clone(), hangup.clone());
                let service =
                    move || Service { node, script: script.clone(), hangup: hangup.clone() };
                let run = Server::new(listener, options)
                    .run(move || capnp_rpc::new_client::<client::Client, _>(service()).client);
                tokio::task::spawn_local(run)
            }
        };
        let server = Rc::new(RefCell::new(serve()));
        let current = server.clone();
        tokio::task::spawn_local(async move {
            loop {
                hangup.notified().await;
                let old = current.borrow().abort_handle();
                old.abort();
                while !old.is_finished() {
                    tokio::task::yield_now().await;
                }
                *current.borrow_mut() = serve();
            }
        });
        Node { address, script, server }
    }

    fn then(&self, act: Act) {
        self.script.acts.borrow_mut().push_back(act);
    }

    fn requests(&self) -> usize {
        self.script.seen.borrow().len()
    }

    fn stamps(&self) -> Vec<SessionStamp> {
        let seen = self.script.seen.borrow();
        seen.iter()
            .filter_map(|request| match request {
                Request::Write { command } => Command::decode(command).unwrap().session,
                Request::Read { .. } | Request::Lease { .. } | Request::Member(_) => None,
            })
            .collect()
    }

    fn stop(&self) {
        self.server.borrow().abort();
    }
}

fn options() -> Options {
    Options {
        timeout: Duration::from_millis(1_500),
        attempt_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_millis(500),
        max_in_flight: 16,
    }
}

/// Runs `test` against two nodes, of which the first leads.
async fn with_two<F: Future<Output = ()>>(test: impl FnOnce(Node, Node, Client) -> F) {
    let directory = TempDir::new().unwrap();
    LocalSet::new()
        .run_until(async {
            let (one, two) = (Node::start(&directory, 1, 1), Node::start(&directory, 2, 1));
            let endpoints = [two.address.clone(), one.address.clone()];
            let client = Client::connect(&endpoints, options()).await.unwrap();
            test(one, two, client).await;
        })
        .await;
}

#[tokio::test]
async fn writes_and_reads_go_to_the_leader_and_stale_reads_anywhere() {
    with_two(|one, two, client| async move {
        client.put("k", "v").await.unwrap();
        client.get("k", Consistency::Linearizable).await.unwrap();
        assert_eq!((one.requests(), two.requests()), (2, 0));
        let mut asked = Vec::new();
        for _ in 0..20 {
            asked.push(client.get("k", Consistency::Stale).await.unwrap().node);
        }
        assert!(asked.contains(&Some(NodeId(1))) && asked.contains(&Some(NodeId(2))));
    })
    .await;
}

#[tokio::test]
async fn a_refusal_names_the_new_leader_and_the_next_try_goes_there() {
    with_two(|one, two, client| async move {
        one.then(refused(Refused::NoLeader { leader: Some(NodeId(2)) }));
        client.put("k", "v").await.unwrap();
        client.put("k", "v").await.unwrap();
        assert_eq!((one.requests(), two.requests()), (1, 2));
        assert_eq!(client.leader(), Some(NodeId(2)));
    })
    .await;
}

#[tokio::test]
async fn busy_is_tried_again_after_the_hint() {
    with_two(|one, _two, client| async move {
        one.then(refused(Refused::Busy { retry_after_millis: 80 }));
        let began = std::time::Instant::now();
        client.put("k", "v").await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
        assert_eq!(one.requests(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_lost_write_is_sent_again_under_the_same_stamp() {
    with_two(|one, two, client| async move {
        client.put("before", "v").await.unwrap();
        one.then(Act::Hangup);
        client.put("k", "v").await.unwrap();
        let first = one.stamps()[1].clone();
        let mut again = one.stamps();
        again.extend(two.stamps());
        assert_eq!(again.len(), 3, "{again:?}");
        assert_eq!(again.iter().filter(|stamp| **stamp == first).count(), 2, "{again:?}");
        assert_eq!((first.sequence, first.acknowledged), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn a_write_whose_outcome_a_node_does_not_know_is_asked_again() {
    with_two(|one, two, client| async move {
        one.then(Act::Reply(Response::Unknown("lost leadership".into())));
        client.put("k", "v").await.unwrap();
        let mut stamps = one.stamps();
        stamps.extend(two.stamps());
        assert_eq!(stamps.len(), 2);
        assert_eq!(stamps[0], stamps[1]);
    })
    .await;
}

#[tokio::test]
async fn a_silent_leader_is_left_for_another_node_and_comes_back_when_it_answers() {
    with_two(|one, two, client| async move {
        one.then(Act::Silence);
        client.put("k", "v").await.unwrap();
        assert_eq!((one.requests(), two.requests()), (1, 1));
        assert_eq!(one.stamps(), two.stamps());
        wait_until(|| client.endpoints().iter().all(|e| e.state == EndpointState::Answering)).await;
    })
    .await;
}

#[tokio::test]
async fn the_end_says_whether_the_write_may_have_taken_effect() {
    with_two(|one, two, client| async move {
        let no_leader = refused(Refused::NoLeader { leader: None });
        for node in [&one, &two] {
            (0..1_000).for_each(|_| node.then(no_leader.clone()));
        }
        let error = client.put("k", "v").await.unwrap_err();
        assert!(matches!(error, ClientError::NoQuorum(_)), "{error}");
        assert!(error.is_without_effect() && error.to_string().contains("never proposed"));

        one.script.acts.borrow_mut().push_front(Act::Hangup);
        two.script.acts.borrow_mut().push_front(Act::Hangup);
        let error = client.put("k", "v").await.unwrap_err();
        assert!(matches!(error, ClientError::Unknown(_)), "{error}");
        assert!(!error.is_without_effect() && error.to_string().contains("outcome unknown"));

        let error = client.get("k", Consistency::Linearizable).await.unwrap_err();
        assert!(error.is_without_effect(), "{error}");
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_said_at_once_and_mostly_without_asking() {
    with_two(|one, _two, client| async move {
        let error = client.put("", "v").await.unwrap_err();
        assert!(matches!(error, ClientError::Invalid(_)), "{error}");
        let error = client.put("k", vec![0; 2 << 20]).await.unwrap_err();
        assert!(matches!(error, ClientError::Invalid(_)), "{error}");
        assert_eq!(one.requests(), 0);
        one.then(refused(Refused::NoSpace));
        let error = client.put("k", "v").await.unwrap_err();
        assert!(matches!(error, ClientError::Refused(_)), "{error}");
    })
    .await;
}

#[tokio::test]
async fn an_expired_session_is_renewed_only_if_nothing_can_be_doubled() {
    with_two(|one, two, client| async move {
        one.script.applied.set(500);
        let expired = Act::Reply(outcome(Effect::Refused(Refusal::SessionExpired)));
        one.then(expired.clone());
        client.put("k", "v").await.unwrap();
        let stamps = one.stamps();
        assert_ne!(stamps[0].id, stamps[1].id);
        assert!(stamps[1].opened_at >= stamps[0].opened_at);

        one.then(Act::Reply(Response::Unknown("perhaps".into())));
        for node in [&one, &two] {
            node.then(expired.clone());
        }
        let error = client.put("k", "v").await.unwrap_err();
        assert!(matches!(error, ClientError::Unknown(_)), "{error}");
    })
    .await;
}

#[tokio::test]
async fn compare_and_swap_tells_what_it_found() {
    with_two(|one, _two, client| async move {
        one.then(Act::Reply(outcome(Effect::Unchanged { found: None })));
        let swap = client.compare_and_swap("k", Expected::Value("a".into()), "b").await.unwrap();
        assert_eq!(swap, Swap::Unchanged { revision: Revision(2), found: None });
    })
    .await;
}

#[tokio::test]
async fn many_calls_at_once_are_bounded_and_all_answered() {
    with_two(|one, _two, client| async move {
        let calls = (0..200).map(|i| client.put(format!("k{i}"), "v"));
        let ended = futures::future::join_all(calls).await;
        assert!(ended.iter().all(Result::is_ok));
        let mut sequences: Vec<u64> = one.stamps().iter().map(|stamp| stamp.sequence).collect();
        sequences.sort_unstable();
        assert_eq!(sequences, (1..=200).collect::<Vec<_>>());
        // The mark runs at most the calls under way behind.
        assert!(one.stamps().iter().all(|s| s.sequence - s.acknowledged <= 16 + 1));
    })
    .await;
}

#[tokio::test]
async fn a_dropped_call_does_not_hold_the_session_up() {
    with_two(|one, _two, client| async move {
        one.then(Act::Silence);
        let call = tokio::time::timeout(Duration::from_millis(50), client.put("k", "v"));
        assert!(call.await.is_err());
        client.put("k", "v").await.unwrap();
        assert_eq!(one.stamps().last().unwrap().acknowledged, 1);
    })
    .await;
}

#[tokio::test]
async fn a_dead_cluster_is_told_in_bounded_time_with_every_endpoint() {
    let directory = TempDir::new().unwrap();
    let addresses = [1, 2].map(|i| Address::Unix(directory.path().join(format!("{i}.sock"))));
    LocalSet::new()
        .run_until(async {
            let began = std::time::Instant::now();
            let error = Client::connect(&addresses, options()).await.err().unwrap();
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            let trouble = error.trouble().unwrap();
            assert_eq!(trouble.missing().count(), 2);
            assert!(error.to_string().contains("1.sock: nobody listens there"), "{error}");
        })
        .await;
}

#[tokio::test]
async fn a_node_that_comes_back_is_used_again() {
    with_two(|one, two, client| async move {
        two.stop();
        one.then(Act::Hangup);
        client.put("k", "v").await.unwrap();
        assert_eq!(one.requests(), 2);
        let down = |e: &super::EndpointStatus| matches!(e.state, EndpointState::Down(_));
        wait_until(|| client.endpoints().iter().any(down)).await;
    })
    .await;
}

#[tokio::test]
async fn a_node_of_another_cluster_is_never_used() {
    let directory = TempDir::new().unwrap();
    LocalSet::new()
        .run_until(async {
            let (one, two) = (Node::start(&directory, 1, 1), Node::start(&directory, 2, 1));
            let client =
                Client::connect(std::slice::from_ref(&one.address), options()).await.unwrap();
            drop(client);
            two.script.cluster.set(2);
            let endpoints = [one.address.clone(), two.address.clone()];
            let client = Client::connect(&endpoints, options()).await.unwrap();
            let foreign =
                |e: &super::EndpointStatus| e.to_string().contains("belongs to another cluster");
            wait_until(|| client.endpoints().iter().any(foreign)).await;
        })
        .await;
}

async fn wait_until(condition: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < end, "it did not come to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_prefix_ends_where_the_next_one_begins() {
    assert_eq!(prefix_end(b"a/"), "a0");
    assert_eq!(prefix_end(b"a\xff\xff")[..], b"b"[..]);
    assert!(prefix_end(b"\xff").is_empty() && prefix_end(b"").is_empty());
}
