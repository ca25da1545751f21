//! Starts that must not succeed, and requests that must not either: each says why.

use std::time::Duration;

use bytes::Bytes;
use kvraft::replica::{Refused, Request, Response};

use crate::cluster::{Cluster, local};

/// Asserts an exit code, and that standard error says `words`.
fn refused(output: &std::process::Output, code: i32, words: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(words), "{error}");
    assert!(error.starts_with("error: "), "{error}");
}

#[test]
fn a_node_that_was_never_initialised_does_not_start() {
    let cluster = Cluster::configured(1);
    refused(&cluster.run(1), 78, "there is no log here");
}

#[test]
fn a_node_whose_log_is_gone_does_not_start_under_its_old_id() {
    let mut cluster = Cluster::started(1);
    local(cluster.leader(&[1]));
    cluster.signal(1, nix::sys::signal::Signal::SIGTERM);
    assert_eq!(cluster.ended(1), Some(0));
    std::fs::remove_dir_all(cluster.directory(1).join("log")).unwrap();
    refused(&cluster.run(1), 78, "new id");
}

#[test]
fn a_node_is_initialised_once() {
    let cluster = Cluster::initialised(1);
    refused(&cluster.init(1), 78, "already a log");
}

#[test]
fn a_node_that_is_no_member_is_not_initialised() {
    let cluster = Cluster::configured(2);
    let members = "[[member]]\nid = 2\naddress = \"unix:/tmp/x\"\n";
    std::fs::write(cluster.root.path().join("members.toml"), members).unwrap();
    refused(&cluster.init(1), 78, "node 1 is none of the members");
}

#[test]
fn two_processes_never_run_one_directory() {
    let mut cluster = Cluster::initialised(1);
    cluster.start(1);
    local(cluster.leader(&[1]));
    refused(&cluster.run(1), 1, "is in use by process");
}

#[test]
fn a_misspelt_key_is_named_with_its_line() {
    let cluster = Cluster::initialised(1);
    let path = cluster.directory(1).join("node.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("segment_bytes", "segment_byte");
    std::fs::write(&path, text).unwrap();
    let output = cluster.run(1);
    refused(&output, 78, "node.toml:9");
    refused(&output, 78, "did you mean `segment_bytes`?");
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let output = std::process::Command::new(crate::cluster::KVNODE).arg("walk").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn requests_that_make_no_sense_are_refused_and_harm_nobody() {
    let cluster = Cluster::started(1);
    local(async {
        cluster.leader(&[1]).await;
        let client = cluster.client(1).await;
        let large = kvraft::rpc::client::MAX_REQUEST_BYTES + 1;
        for command in [Bytes::new(), Bytes::from(vec![0xff; 100]), Bytes::from(vec![0; large])] {
            let request = Request::Write { command };
            let response = client.execute(&request, Duration::from_secs(5)).await.unwrap();
            let invalid = matches!(response, Response::Refused { why: Refused::Invalid, .. });
            assert!(invalid, "{response:?}");
        }
        client.put_surely("k", "v").await;
    });
}

#[test]
fn without_a_majority_a_write_is_not_acknowledged() {
    let mut cluster = Cluster::initialised(3);
    cluster.start(1);
    local(async {
        let client = cluster.client(1).await;
        let request = crate::cluster::put("k", "v");
        let response = client.execute(&request, Duration::from_millis(300)).await.unwrap();
        let refused = matches!(response, Response::Refused { why: Refused::NoLeader { .. }, .. })
            || matches!(response, Response::Refused { why: Refused::TimedOut, .. });
        assert!(refused, "{response:?}");
    });
}
