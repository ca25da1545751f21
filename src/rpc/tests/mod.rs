//! Transport and connections against real sockets.

mod convert;

use std::cell::Cell;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

use super::*;
use crate::config::Address;
use crate::schema::client_capnp::client;

/// Long enough for anything here, on any machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new()
        .block_on(&runtime, async { tokio::time::timeout(PATIENCE, test).await.expect("it hangs") })
}

fn unix(path: &Path) -> Address {
    Address::Unix(path.to_owned())
}

/// A directory below `base` whose path is longer than a socket address.
fn long_directory(base: &Path) -> PathBuf {
    let directory = base.join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Sends `hello` from one end of a connection to the other.
async fn greet(address: &Address, listener: &Listener) {
    let (ours, theirs) = tokio::join!(connect(address), listener.accept());
    let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
    ours.write_all(b"hello").await.unwrap();
    let mut buffer = [0; 5];
    theirs.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"hello");
}

#[test]
fn a_socket_path_may_be_longer_than_the_kernel_takes() {
    let base = tempfile::tempdir().unwrap();
    let path = long_directory(base.path()).join("client.sock");
    assert!(path.as_os_str().len() > super::unix::MAX_PATH);
    local(async {
        let listener = listen(&unix(&path)).unwrap();
        assert!(path.metadata().unwrap().file_type().is_socket());
        greet(&unix(&path), &listener).await;
        drop(listener);
        assert!(!path.exists(), "the listener removes its file");
    });
}

#[test]
fn a_name_that_cannot_fit_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let error = local(async { listen(&unix(&base.path().join("n".repeat(120)))).unwrap_err() });
    assert!(error.to_string().contains("the name of the socket itself has 120 bytes"), "{error}");
}

#[test]
fn a_missing_directory_is_named() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("none/s.sock");
    let error = local(async { listen(&unix(&path)).unwrap_err() });
    assert!(error.to_string().contains("its directory"), "{error}");
}

#[test]
fn only_the_owner_may_connect() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("s.sock");
    local(async {
        let _listener = listen(&unix(&path)).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    });
}

#[test]
fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("s.sock");
    // Std's listener leaves its file behind, as a killed process does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    local(async {
        let listener = listen(&unix(&path)).unwrap();
        greet(&unix(&path), &listener).await;
        let error = listen(&unix(&path)).unwrap_err();
        assert!(error.to_string().contains("another process listens there"), "{error}");
        // The second one had to knock to find out.
        drop(listener.accept().await.unwrap());
        greet(&unix(&path), &listener).await;
    });
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("s.sock");
    std::fs::write(&path, "precious").unwrap();
    let error = local(async { listen(&unix(&path)).unwrap_err() });
    assert!(error.to_string().contains("no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_listener_does_not_remove_its_successors_file() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("s.sock");
    local(async {
        let first = listen(&unix(&path)).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = listen(&unix(&path)).unwrap();
        let inode = path.metadata().unwrap().ino();
        drop(first);
        assert_eq!(path.metadata().unwrap().ino(), inode);
        greet(&unix(&path), &second).await;
    });
}

#[test]
fn tcp_tells_the_port_that_it_was_given() {
    local(async {
        let listener = listen(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().clone();
        greet(&address, &listener).await;
        let error = listen_within(&address, Duration::from_millis(150)).await.unwrap_err();
        assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
        // Our own last life's connections in TIME_WAIT are no obstacle.
        drop(listener);
        listen_within(&address, PATIENCE).await.unwrap();
    });
}

#[test]
fn nobody_listening_is_told_apart() {
    let base = tempfile::tempdir().unwrap();
    local(async {
        let error = connect(&unix(&base.path().join("s.sock"))).await.unwrap_err();
        assert!(error.nobody_listens());
    });
}

/// Answers `execute` with a megabyte.
struct Echo {
    calls: Rc<Cell<usize>>,
}

impl client::Server for Echo {
    async fn execute(
        self: Rc<Self>,
        _: client::ExecuteParams,
        mut results: client::ExecuteResults,
    ) -> Result<(), capnp::Error> {
        self.calls.set(self.calls.get() + 1);
        results.get().init_response().init_written(1 << 20);
        Ok(())
    }
}

struct Fixture {
    _directory: tempfile::TempDir,
    address: Address,
    counters: Rc<ServerCounters>,
    calls: Rc<Cell<usize>>,
}

/// An [`Echo`] behind a [`Server`], on the current `LocalSet`.
fn echo(max_connections: usize) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let address = unix(&directory.path().join("s.sock"));
    let options = ServerOptions { whom: "tests", max_connections, limits: Limits::default() };
    let server = Server::new(listen(&address).unwrap(), options);
    let counters = server.counters();
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
    tokio::task::spawn_local(server.run(move || {
        let echo = Echo { calls: counted.clone() };
        capnp_rpc::new_client::<client::Client, _>(echo).client
    }));
    Fixture { _directory: directory, address, counters, calls }
}

async fn call(client: &client::Client) -> Result<usize, capnp::Error> {
    let response = client.execute_request().send().promise.await?;
    match response.get()?.get_response()?.which()? {
        crate::schema::client_capnp::response::Written(data) => Ok(data?.len()),
        _ => Err(capnp::Error::failed("another answer".into())),
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn calls_arrive_and_answers_come_back() {
    local(async {
        let fixture = echo(4);
        let stream = connect(&fixture.address).await.unwrap();
        let (client, connection) = Connection::open::<client::Client>(stream, Limits::default());
        let all = futures::future::join_all((0..20).map(|_| call(&client))).await;
        assert!(all.into_iter().all(|length| length.unwrap() == 1 << 20));
        assert_eq!(fixture.counters.open.get(), 1);
        drop((client, connection));
        until(|| fixture.counters.open.get() == 0).await;
        assert_eq!(fixture.counters.malformed.get(), 0);
    });
}

#[test]
fn rubbish_ends_its_own_connection_and_no_other() {
    local(async {
        let fixture = echo(64);
        let stream = connect(&fixture.address).await.unwrap();
        let (client, _connection) = Connection::open::<client::Client>(stream, Limits::default());
        let mut random = crate::types::Random::from_seed(1);
        for round in 0..300 {
            let mut stream = connect(&fixture.address).await.unwrap();
            let length = random.below(400) as usize;
            let mut bytes: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
            if round % 2 == 0 {
                // A plausible frame, so that the rubbish gets past the framing.
                let words = (length / 8) as u32;
                let frame = [0u32.to_le_bytes(), words.to_le_bytes()].concat();
                bytes = [frame, bytes].concat();
            }
            // It may close while we still write.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        assert!(fixture.counters.malformed.get() > 100);
        assert_eq!(call(&client).await.unwrap(), 1 << 20);
    });
}

#[test]
fn a_message_that_claims_to_be_huge_is_refused_at_once() {
    local(async {
        let fixture = echo(4);
        let mut stream = connect(&fixture.address).await.unwrap();
        // One segment of 2 GiB.
        stream.write_all(&[0, 0, 0, 0, 0, 0, 0, 0x10]).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(fixture.counters.malformed.get(), 1);
    });
}

#[test]
fn calls_under_way_fail_when_the_other_side_ends() {
    local(async {
        // Many times: what comes first, the end of the stream or a failed write, is a race.
        for round in 0..50 {
            let directory = tempfile::tempdir().unwrap();
            let address = unix(&directory.path().join("s.sock"));
            let listener = listen(&address).unwrap();
            let (ours, theirs) = tokio::join!(connect(&address), listener.accept());
            let (client, _connection) =
                Connection::open::<client::Client>(ours.unwrap(), Limits::default());
            let mut calls = vec![client.execute_request().send()];
            tokio::task::yield_now().await;
            drop(theirs);
            calls.extend((0..round % 3).map(|_| client.execute_request().send()));
            for call in calls {
                assert!(call.promise.await.is_err());
            }
        }
    });
}

#[test]
fn calls_under_way_fail_when_their_own_connection_is_dropped() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let address = unix(&directory.path().join("s.sock"));
        let listener = listen(&address).unwrap();
        let (ours, _theirs) = tokio::join!(connect(&address), listener.accept());
        let (client, connection) =
            Connection::open::<client::Client>(ours.unwrap(), Limits::default());
        let call = client.execute_request().send();
        tokio::task::yield_now().await;
        drop(connection);
        assert!(call.promise.await.is_err());
        assert!(client.execute_request().send().promise.await.is_err());
    });
}

#[test]
fn too_many_connections_are_closed() {
    local(async {
        let fixture = echo(2);
        let (_a, _b) =
            (connect(&fixture.address).await.unwrap(), connect(&fixture.address).await.unwrap());
        until(|| fixture.counters.open.get() == 2).await;
        let mut third = connect(&fixture.address).await.unwrap();
        assert_eq!(third.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(fixture.counters.refused.get(), 1);
    });
}

#[test]
fn a_caller_that_never_reads_is_not_read_either() {
    local(async {
        let fixture = echo(4);
        // Two conversations' worth of bytes, recorded from a real one, and never an answer read.
        let (mut recorder, far) = {
            let directory = tempfile::tempdir().unwrap();
            let address = unix(&directory.path().join("r.sock"));
            let listener = listen(&address).unwrap();
            let (near, far) = tokio::join!(connect(&address), listener.accept());
            (near.unwrap(), far.unwrap())
        };
        let (client, connection) = Connection::open::<client::Client>(far, Limits::default());
        const CALLS: usize = 1000;
        let calls: Vec<_> = (0..CALLS).map(|_| client.execute_request().send()).collect();
        let mut recorded = Vec::new();
        let mut quiet = false;
        while !quiet {
            let read = recorder.read_buf(&mut recorded);
            quiet = tokio::time::timeout(Duration::from_millis(200), read).await.is_err();
        }
        drop((calls, client, connection));
        let mut deaf = connect(&fixture.address).await.unwrap();
        let write = deaf.write_all(&recorded);
        let _ = tokio::time::timeout(Duration::from_millis(500), write).await;
        until(|| fixture.calls.get() > 0).await;
        let mut before = 0;
        while before != fixture.calls.get() {
            before = fixture.calls.get();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(before < CALLS / 2, "{before} answers of a megabyte are waiting");
    });
}
