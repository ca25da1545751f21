//! Many conversations at one address.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::{Limits, Listener, Seldom, serve};

/// Between two log lines that strangers can cause.
const SELDOM: Duration = Duration::from_secs(5);

/// A pause after the system could not give us a connection (out of file descriptors, say): without
/// it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Who is served, for the log: `clients`, `peers`, `operators`.
    pub whom: &'static str,
    /// Beyond so many, a new connection is closed at once.
    pub max_connections: usize,
    /// For each connection.
    pub limits: Limits,
}

/// What a server has seen.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Connections open now.
    pub open: Cell<u64>,
    /// Connections taken.
    pub accepted: Cell<u64>,
    /// Connections closed at once because there were too many.
    pub refused: Cell<u64>,
    /// Connections that ended because of what they sent.
    pub malformed: Cell<u64>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// Accepts connections and serves each. Drop the future of [`Server::run`] to close them all.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    options: ServerOptions,
    counters: Rc<ServerCounters>,
    complaint: Seldom,
}

impl Server {
    /// A server at `listener`.
    pub fn new(listener: Listener, options: ServerOptions) -> Server {
        let counters = Rc::default();
        Server { listener, options, counters, complaint: Seldom::new(SELDOM) }
    }

    /// What it has seen; to be kept before `run` takes the rest.
    pub fn counters(&self) -> Rc<ServerCounters> {
        self.counters.clone()
    }

    /// Serves until dropped. `bootstrap` makes the capability for each connection; what it makes is
    /// dropped when that connection ends.
    pub async fn run(self, mut bootstrap: impl FnMut() -> capnp::capability::Client) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                Some(ended) = connections.join_next() => {
                    self.counters.open.set(connections.len() as u64);
                    self.ended(ended);
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok(_) if connections.len() >= self.options.max_connections => {
                    count(&self.counters.refused);
                    self.complain("closed a connection: too many are open");
                }
                Ok(stream) => {
                    count(&self.counters.accepted);
                    let limits = self.options.limits;
                    connections.spawn_local(serve(stream, bootstrap(), limits));
                    self.counters.open.set(connections.len() as u64);
                }
                Err(error) => {
                    self.complain(&format!("cannot take a connection: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn ended(&self, how: Result<Result<(), capnp::Error>, JoinError>) {
        match how {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind == capnp::ErrorKind::Disconnected => {}
            Ok(Err(error)) => {
                count(&self.counters.malformed);
                self.complain(&format!("ended a connection: {error}"));
            }
            Err(error) => {
                count(&self.counters.malformed);
                self.complain(&format!("ended a connection on which the protocol failed: {error}"));
            }
        }
    }

    fn complain(&self, what: &str) {
        if let Some(held_back) = self.complaint.speak() {
            let address = self.listener.address();
            let whom = self.options.whom;
            tracing::warn!(%address, whom, held_back, "{what}");
        }
    }
}
