//! The server is spoken to over real sockets, byte by byte, as a stranger would.

use std::cell::{Cell, RefCell};

use futures::FutureExt;
use prometheus::IntGauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A program that counts how often it was looked at.
struct Program {
    looks: Cell<i64>,
    gauge: IntGauge,
    ready: RefCell<Result<(), String>>,
}

impl Observed for Program {
    fn refresh(&self) {
        self.looks.set(self.looks.get() + 1);
        self.gauge.set(self.looks.get());
    }
    fn ready(&self) -> Result<(), String> {
        self.ready.borrow().clone()
    }
}

fn start(limits: HttpLimits) -> (HttpServer, Rc<Program>) {
    start_with(limits, None)
}

fn start_with(limits: HttpLimits, guest: Option<Rc<dyn Guest>>) -> (HttpServer, Rc<Program>) {
    let registry = Rc::new(Registry::new("kvtest").unwrap());
    let gauge = registry.gauge("kvraft_looks", "How often it was scraped.").unwrap();
    let program = Program { looks: Cell::new(0), gauge, ready: RefCell::new(Ok(())) };
    let program = Rc::new(program);
    let observed = Rc::clone(&program) as Rc<dyn Observed>;
    let loopback = "127.0.0.1:0".parse().unwrap();
    (HttpServer::start(loopback, limits, registry, observed, guest).unwrap(), program)
}

/// Sends `head` and returns all that comes back until the server closes.
async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    until_closed(&mut stream).await
}

async fn until_closed(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
    // A connection that is cut with unread bytes ends in a reset: closed is closed.
    let _ = ended.expect("the server must close the connection");
    String::from_utf8(answer).unwrap()
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

/// Runs a test on a thread of its own event loop, as a node does.
fn locally(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn metrics_are_as_fresh_as_the_scrape() {
    locally(async {
        let (server, program) = start(HttpLimits::default());
        let first = get(server.address(), "/metrics").await;
        assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
        assert!(first.contains("text/plain; version=0.0.4"), "{first}");
        assert!(first.contains("\nkvraft_looks 1\n"), "{first}");
        assert!(first.contains("\nprocess_resident_memory_bytes "), "{first}");
        let second = get(server.address(), "/metrics?ignored=1").await;
        assert!(second.contains("\nkvraft_looks 2\n"), "{second}");
        get(server.address(), "/health").await;
        assert_eq!(program.looks.get(), 2, "only a scrape looks");
        server.stop().await;
    });
}

#[test]
fn readiness_tells_why_not_and_health_does_not_care() {
    locally(async {
        let (server, program) = start(HttpLimits::default());
        let ready = get(server.address(), "/ready").await;
        assert!(ready.starts_with("HTTP/1.1 200 ") && ready.ends_with("\r\n\r\nready\n"));
        *program.ready.borrow_mut() = Err("no leader for 3 s".to_owned());
        let not = get(server.address(), "/ready").await;
        assert!(not.starts_with("HTTP/1.1 503 "), "{not}");
        assert!(not.ends_with("not ready: no leader for 3 s\n"), "{not}");
        let live = get(server.address(), "/health").await;
        assert!(live.starts_with("HTTP/1.1 200 ") && live.ends_with("live\n"), "{live}");
        server.stop().await;
    });
}

#[test]
fn other_paths_methods_and_nonsense_get_their_status() {
    locally(async {
        let (server, _program) = start(HttpLimits::default());
        let address = server.address();
        let missing = get(address, "/metrics/x").await;
        assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
        assert!(missing.contains("/ready"), "says what there is: {missing}");
        let post =
            ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
        assert!(post.to_lowercase().contains("allow: get, head"), "{post}");
        let head = ask(address, "HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        let nonsense = ask(address, "\u{0}\u{1}what?\r\n\r\n").await;
        assert!(nonsense.starts_with("HTTP/1.1 400 "), "{nonsense}");
        let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
        let endless = ask(address, &endless).await;
        assert!(!endless.contains(" 200 "), "{endless}");
        assert!(get(address, "/health").await.contains(" 200 "), "it still serves");
        server.stop().await;
    });
}

#[test]
fn silent_clients_are_cut_and_lock_nobody_out() {
    locally(async {
        let short = Duration::from_millis(100);
        let limits = HttpLimits { connections: 2, request: short, ..HttpLimits::default() };
        let (server, _program) = start(limits);
        let mut silent = Vec::new();
        for _ in 0..6 {
            silent.push(TcpStream::connect(server.address()).await.unwrap());
        }
        // Behind three pairs of silent ones, each cut after its time.
        assert!(get(server.address(), "/health").await.contains(" 200 "));
        for stream in &mut silent {
            assert!(!until_closed(stream).await.contains(" 200 "));
        }
        server.stop().await;
    });
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_is_cut_too() {
    locally(async {
        let limits = HttpLimits { request: Duration::from_millis(200), ..HttpLimits::default() };
        let (server, _program) = start(limits);
        let mut slow = TcpStream::connect(server.address()).await.unwrap();
        let mut cut = false;
        for byte in b"GET /health HTTP/1.1\r\nHost: x".iter().cycle().take(400) {
            cut = slow.write_all(&[*byte]).await.is_err();
            if cut {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(cut, "four seconds of dribbling were tolerated");
        server.stop().await;
    });
}

#[test]
fn a_stopped_server_frees_its_port_and_lets_the_next_have_it() {
    locally(async {
        let limits = HttpLimits { grace: Duration::from_millis(50), ..HttpLimits::default() };
        let (server, program) = start(limits);
        let address = server.address();
        let _lingering = TcpStream::connect(address).await.unwrap();
        assert!(get(address, "/health").await.contains(" 200 "));
        server.stop().await;
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
        let registry = Rc::new(Registry::new("kvtest").unwrap());
        let again = HttpServer::start(address, limits, registry, program, None).unwrap();
        assert!(get(again.address(), "/health").await.contains(" 200 "));
        again.stop().await;
    });
}

#[test]
fn dropped_it_ends_and_beyond_loopback_it_never_begins() {
    locally(async {
        let (server, program) = start(HttpLimits::default());
        let address = server.address();
        drop(server);
        // The abort takes effect when the task is next looked at.
        tokio::task::yield_now().await;
        assert!(TcpStream::connect(address).await.is_err());
        let registry = Rc::new(Registry::new("kvtest").unwrap());
        let outside = "0.0.0.0:0".parse().unwrap();
        let refused = HttpServer::start(outside, HttpLimits::default(), registry, program, None);
        assert!(refused.err().unwrap().to_string().contains("loopback"));
    });
}

/// Answers with so many bytes once it is let go.
struct Slow {
    bytes: usize,
    bell: Rc<tokio::sync::Notify>,
    arrived: Rc<Semaphore>,
}

impl Slow {
    fn new(bytes: usize) -> Slow {
        Slow { bytes, bell: Rc::default(), arrived: Rc::new(Semaphore::new(0)) }
    }
}

impl Guest for Slow {
    fn has(&self, path: &str) -> bool {
        path == "/slow"
    }
    fn answer(&self, _: Request<Incoming>) -> LocalBoxFuture<'static, Response<GuestBody>> {
        let (bell, bytes) = (Rc::clone(&self.bell), self.bytes);
        self.arrived.add_permits(1);
        async move {
            bell.notified().await;
            Response::new(whole(Full::from(vec![b'x'; bytes])))
        }
        .boxed_local()
    }
}

#[test]
fn a_guest_takes_its_time_and_nobody_elses_room() {
    locally(async {
        let short = Duration::from_millis(100);
        let limits =
            HttpLimits { connections: 1, guests: 2, conversation: short, ..HttpLimits::default() };
        let guest = Slow::new(5);
        let (bell, arrived) = (Rc::clone(&guest.bell), Rc::clone(&guest.arrived));
        let (server, _program) = start_with(limits, Some(Rc::new(guest)));
        let address = server.address();
        let slow = || tokio::task::spawn_local(async move { get(address, "/slow").await });
        let (first, second) = (slow(), slow());
        let _both = arrived.acquire_many(2).await.unwrap();
        let refused = get(address, "/slow").await;
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
        // There is room for one of the server's own, and time is up for it, not for the guest's.
        let mut silent = TcpStream::connect(address).await.unwrap();
        assert!(!until_closed(&mut silent).await.contains(" 200 "));
        assert!(get(address, "/health").await.contains(" 200 "));
        bell.notify_waiters();
        for answered in [first, second] {
            let answered = answered.await.unwrap();
            assert!(answered.starts_with("HTTP/1.1 200 ") && answered.ends_with("xxxxx"));
        }
        server.stop().await;
    });
}

#[test]
fn a_guests_client_that_takes_nothing_is_cut() {
    locally(async {
        let limits =
            HttpLimits { conversation: Duration::from_millis(100), ..HttpLimits::default() };
        // More than any socket holds.
        let guest = Slow::new(64 << 20);
        guest.bell.notify_one();
        let (server, _program) = start_with(limits, Some(Rc::new(guest)));
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let cut = async {
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let cut = tokio::time::timeout(Duration::from_secs(20), cut).await;
        assert!(cut.is_ok(), "it is waited for");
        server.stop().await;
    });
}
