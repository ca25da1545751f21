//! The endpoints, a connection to each, and which one is asked next.
//!
//! All calls go to one endpoint for as long as it serves, so that what a program reads after its
//! writes comes from where they went; when it fails one call, the next one stands for all.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// How long dialling may take.
const DIAL_LIMIT: Duration = Duration::from_millis(1_500);

/// While something is under way, a connection is asked so often whether it lives: a member that is
/// stopped in its tracks keeps its sockets open, and a watch there would be silent for ever. etcd
/// throws out whoever asks more often than each 5 s.
const PING: Duration = Duration::from_secs(6);
const PING_LIMIT: Duration = Duration::from_secs(3);

/// How many endpoints a client takes.
pub(super) const MAX_ENDPOINTS: usize = 64;

/// An endpoint, and its connection.
#[derive(Debug)]
pub(super) struct Place {
    /// As `host:port`.
    pub(super) name: String,
    /// Dials when it is first needed, and again when the connection is lost.
    pub(super) channel: Channel,
}

impl Place {
    /// Reads `host:port` or `http://host:port`. Nothing is dialled yet.
    pub(super) fn read(text: &str) -> Result<Place, String> {
        let name = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let wrong = || format!("`{text}` is no endpoint of etcd's API: write `host:port`");
        let (host, port) = name.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        let endpoint = Endpoint::from_shared(format!("http://{name}"))
            .map_err(|_| wrong())?
            .connect_timeout(DIAL_LIMIT)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PING_LIMIT);
        Ok(Place { name: name.to_owned(), channel: endpoint.connect_lazy() })
    }
}

/// All endpoints of a client.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) places: Vec<Rc<Place>>,
    current: Cell<usize>,
}

impl Pool {
    /// Of one place at least.
    pub(super) fn new(places: Vec<Rc<Place>>) -> Pool {
        Pool { places, current: Cell::new(0) }
    }

    /// Who is asked next.
    pub(super) fn pick(&self) -> &Rc<Place> {
        &self.places[self.current.get() % self.places.len()]
    }

    /// `place` failed a call: whoever asks next asks elsewhere, unless that was decided already.
    pub(super) fn failed(&self, place: &Place) {
        if self.pick().name == place.name {
            self.current.set((self.current.get() + 1) % self.places.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn endpoints_are_read_as_people_write_them() {
        for (text, name) in [
            ("127.0.0.1:2379", "127.0.0.1:2379"),
            ("http://localhost:2379/", "localhost:2379"),
            ("[::1]:2379", "[::1]:2379"),
        ] {
            assert_eq!(Place::read(text).unwrap().name, name);
        }
        for wrong in
            ["", "localhost", "unix:/run/x", "https://a:1", "a:99999", "http://a:1/b", ":1"]
        {
            assert!(Place::read(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn one_failure_moves_all_calls_and_no_further() {
        let places = ["a:1", "b:2", "c:3"].map(|text| Rc::new(Place::read(text).unwrap()));
        let pool = Pool::new(places.to_vec());
        pool.failed(&places[0]);
        pool.failed(&places[0]);
        assert_eq!(pool.pick().name, "b:2");
        pool.failed(&places[1]);
        pool.failed(&places[2]);
        assert_eq!(pool.pick().name, "a:1");
    }
}
