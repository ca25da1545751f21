//! The gateway on a living cluster, as `curl` would see it, and beside a real etcd.

#[path = "../kvctl_home/mod.rs"]
mod kvctl_home;
// Others use more of it.
#[allow(dead_code)]
#[path = "../etcd/reference.rs"]
mod reference;

mod against_etcd;
mod cases;
mod client;

use std::net::TcpStream;

use client::{Answer, Web, base64};
use kvctl_home::{Home, wait_until};
use serde_json::{Value, json};

/// A cluster whose nodes know everything that this version does.
fn cluster(nodes: u32) -> (Home, Vec<Web>) {
    let home = Home::with(nodes);
    let ports = home.ok(&["env", "-o", "name"]);
    let ports: Vec<Web> = ports.lines().map(Web::at).collect();
    assert_eq!(ports.len(), nodes as usize);
    wait_until("transactions are known", || {
        ports[0].post("/v3/kv/put", r#"{"key":"cmVhZHk=","prev_kv":true}"#).status == 200
    });
    (home, ports)
}

fn value(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[test]
fn every_node_serves_json_beside_grpc_and_on_its_http_port() {
    let (home, ports) = cluster(3);
    let status = home.json(&["cluster", "status"]);
    let http: Vec<Web> = status["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| Web::at(it["http"].as_str().unwrap()))
        .collect();
    for (number, web) in ports.iter().chain(&http).enumerate() {
        let put = json!({ "key": base64("k"), "value": base64(&number.to_string()) });
        let put = web.post("/v3/kv/put", &put.to_string());
        assert_eq!(put.status, 200, "{put:?}");
        assert_eq!(put.header("content-type"), "application/json");
        assert_eq!(put.header("access-control-allow-origin"), "*");
        let header = &value(&put)["header"];
        assert_eq!(header["member_id"], (number % 3 + 1).to_string());
        let range = ports[0].post("/v3/kv/range", r#"{"key":"aw=="}"#);
        assert_eq!(value(&range)["kvs"][0]["value"], base64(&number.to_string()));
        assert_eq!(value(&range)["header"]["revision"], header["revision"]);
        assert_eq!(web.get("/version").text, r#"{"etcdserver":"3.5.21","etcdcluster":"3.5.0"}"#);
        let figures = web.get("/metrics");
        assert!(
            figures.status == 200 && figures.text.contains("\nkvraft_ready 1\n"),
            "{figures:?}"
        );
        let unknown = web.post("/v3/maintenance/downgrade", "{}");
        assert!([501, 400].contains(&unknown.status), "{unknown:?}");
    }
    // Each port's own: this one is for whoever asks whether the process lives.
    assert_eq!(http[0].get("/health").text, "live\n");
    assert_eq!(http[0].get("/nope").status, 404);
    let members = value(&http[1].post("/v3/cluster/member/list", ""));
    assert_eq!(members["members"].as_array().unwrap().len(), 3);
    assert_eq!(members["members"][1]["clientURLs"][0], format!("http://{}", ports[1].address));
    let large = "x".repeat(1 << 20);
    for number in 0..4 {
        let put = json!({ "key": base64(&format!("big/{number}")), "value": base64(&large) });
        // Its leader may just be another's.
        wait_until("it is put", || ports[1].post("/v3/kv/put", &put.to_string()).status == 200);
    }
    let all = json!({ "key": base64("big/"), "range_end": base64("big0") }).to_string();
    for web in [&ports[2], &http[2]] {
        let all = value(&web.post("/v3/kv/range", &all));
        assert_eq!((&all["count"], all["kvs"].as_array().unwrap().len()), (&json!("4"), 4));
        assert_eq!(all["kvs"][3]["value"], base64(&large));
    }
}

#[test]
fn health_is_lost_with_the_quorum() {
    let (home, ports) = cluster(3);
    let healthy = |web: &Web| {
        let answer = web.get("/health");
        (answer.status == 200).then(|| answer.text.clone())
    };
    wait_until("all are healthy", || {
        ports
            .iter()
            .all(|it| healthy(it).is_some_and(|it| it == r#"{"health":"true","reason":""}"#))
    });
    let passed = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
                  [+]non_learner ok\nok\n";
    assert_eq!(ports[2].get("/readyz?verbose").text, passed);
    for down in ["1", "2"] {
        home.ok(&["node", "stop", down]);
    }
    wait_until("the one that is left is not", || healthy(&ports[2]).is_none());
    let ill = ports[2].get("/health");
    assert_eq!(
        (ill.status, ill.text.as_str()),
        (503, r#"{"health":"false","reason":"RAFT NO LEADER"}"#)
    );
    let alive = ports[2].get("/livez");
    assert_eq!((alive.status, &alive.text[..]), (200, "ok\n"));
    let ready = ports[2].get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("[-]linearizable_read failed: etcdserver: "), "{ready:?}");
    let rest = ports[2].get("/readyz?exclude=linearizable_read");
    assert_eq!((rest.status, &rest.text[..]), (200, "ok\n"));
    let web = Web { headers: vec![("Grpc-Metadata-hasleader", "true")], ..ports[2].clone() };
    let refused = web.post("/v3/kv/range", r#"{"key":"aw==","serializable":true}"#);
    assert_eq!((refused.status, &value(&refused)["code"]), (503, &json!(14)));
    let stale = ports[2].post("/v3/kv/range", r#"{"key":"aw==","serializable":true}"#);
    assert_eq!(stale.status, 200);
    TcpStream::connect(&ports[0].address).expect_err("it is stopped");
}
