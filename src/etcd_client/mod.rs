//! A client of etcd's API, for our own programs: kvctl, what verifies, what measures.
//!
//! # The problem
//! kvraft serves etcd's API, and so does an etcd. What watches, holds leases and locks, or compares
//! the two speaks it to either. A cluster survives the loss of a member; a program that talks to
//! one member does not, and must know what became of what was under way.
//!
//! # The rule
//! - A [`Client`] knows several endpoints and speaks to one of them, until that one fails (`pool`).
//! - Each call has a deadline over all its tries, and ends with an answer or with an [`Error`] that
//!   keeps the server's code and words, says whom it asked, and whether the request may have taken
//!   effect (`call`, `error`).
//! - A write is never sent again if it may have been done. The [native client](crate::client) has
//!   sessions for that; etcd's API has none.
//! - What goes on (a watch, a lease kept alive, an observed election) finds another endpoint by
//!   itself, goes on where it was, and says so (`watch`, `keep_alive`, `election`).
//!
//! Calls share one connection for each endpoint and do not wait for each other: any number of tasks
//! may call at once. Requests and answers are etcd's own messages ([`crate::grpc::pb`]).
//!
//! # Caveats
//! A client is not `Send`: it lives on one thread, inside a tokio `LocalSet`. No TLS, no users.
//!
//! ```no_run
//! # async fn example() -> Result<(), kvraft::etcd_client::Error> {
//! use kvraft::etcd_client::{Client, Options, pb};
//!
//! let client = Client::new(["127.0.0.1:2379"], Options::default()).unwrap();
//! let put = pb::PutRequest { key: "greeting".into(), value: "hello".into(), ..Default::default() };
//! let revision = client.put(put).await?.header.unwrap_or_default().revision;
//! # let _ = revision;
//! # Ok(())
//! # }
//! ```

mod call;
mod cluster;
mod election;
mod error;
mod keep_alive;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod pool;
mod watch;

use std::rc::Rc;
use std::time::Duration;

pub use election::{Leadership, Observed, Observer};
pub use error::{Error, Kind};
pub use keep_alive::{KeepAlive, Lost};
pub use lease::{Granted, Left};
pub use watch::{Event, Told, WatchError, WatchOptions, Watcher, event_revision, is_delete};

pub use tonic::Code;

/// etcd's messages.
pub use crate::grpc::pb::etcdserverpb as pb;
pub use crate::grpc::pb::mvccpb::KeyValue;

use crate::types::Revision;
use pool::{MAX_ENDPOINTS, Place, Pool};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// For a call with all its tries.
    pub timeout: Duration,
    /// For the first try of a read; each further one gets twice the time of the one before.
    pub attempt_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { timeout: Duration::from_secs(5), attempt_timeout: Duration::from_secs(1) }
    }
}

/// A connection to whatever serves etcd's API. See the [module](self).
#[derive(Clone, Debug)]
pub struct Client {
    pool: Rc<Pool>,
    options: Options,
}

impl Client {
    /// For a server at each of `endpoints` (`host:port` or `http://host:port`), all of one cluster.
    /// Nothing is dialled before the first call. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A text, if an endpoint makes no sense or there are none, or more than 64.
    pub fn new<I, S>(endpoints: I, options: Options) -> Result<Client, String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let places = endpoints.into_iter().map(|text| Place::read(text.as_ref()).map(Rc::new));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        match places.len() {
            0 => Err("no endpoint is given".to_owned()),
            1..=MAX_ENDPOINTS => Ok(Client { pool: Rc::new(Pool::new(places)), options }),
            many => Err(format!("{many} endpoints are too many: at most {MAX_ENDPOINTS}")),
        }
    }

    /// One client for each endpoint, which asks that one alone. They share its connections.
    pub fn each(&self) -> Vec<Client> {
        let one = |place: &Rc<Place>| Client {
            pool: Rc::new(Pool::new(vec![place.clone()])),
            options: self.options.clone(),
        };
        self.pool.places.iter().map(one).collect()
    }

    /// The same endpoints and connections, other deadlines.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Client {
        Client { pool: self.pool.clone(), options }
    }

    /// Who would be asked now, as `host:port`.
    pub fn endpoint(&self) -> &str {
        &self.pool.pick().name
    }
}

/// A revision of a message; what is below zero is as good as zero.
fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

/// As messages carry it; no revision comes near the largest.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// The revision in an answer's header.
fn header_revision(header: Option<&pb::ResponseHeader>) -> Revision {
    revision(header.map_or(0, |header| header.revision))
}
