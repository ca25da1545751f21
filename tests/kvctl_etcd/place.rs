//! Where kvctl is tried: at a real etcd, and at a cluster of our own.

use std::process::Command;

use serde_json::Value;

use crate::etcd_client;
use crate::kvctl_home::Home;
use crate::process::Running;
use crate::reference::{Reference, etcdctl};

/// What serves etcd's API, and kvctl that speaks to it.
pub struct Place {
    /// Else it is a cluster of the home's, which kvctl finds by itself.
    etcd: Option<Reference>,
    pub home: Home,
    pub addresses: Vec<String>,
}

/// Each of these is tried at both.
macro_rules! at_each {
    ($($test:ident),* $(,)?) => {
        mod at_an_etcd {
            $(#[test] fn $test() { super::$test(&crate::place::Place::of_etcd()) })*
        }
        mod at_our_nodes {
            $(#[test] fn $test() { super::$test(&crate::place::Place::of_ours()) })*
        }
    };
}
pub(crate) use at_each;

impl Place {
    pub fn of_etcd() -> Place {
        let etcd = Reference::start(1, &[]);
        let addresses = etcd.addresses.clone();
        Place { etcd: Some(etcd), home: Home::new(), addresses }
    }

    pub fn of_ours() -> Place {
        let (home, addresses) = etcd_client::cluster(3);
        Place { etcd: None, home, addresses }
    }

    /// Where kvctl asks first.
    pub fn address(&self) -> &str {
        &self.addresses[0]
    }

    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        let mut command = etcdctl(self.address());
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        if self.etcd.is_none() {
            return arguments.to_vec();
        }
        let (kvctls, others) = match arguments.iter().position(|word| *word == "--") {
            Some(at) => arguments.split_at(at),
            None => (arguments, &[][..]),
        };
        [kvctls, &["--endpoints", self.address()], others].concat()
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        self.home.ok(&self.arguments(arguments))
    }

    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        self.home.fails(code, &self.arguments(arguments))
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        self.home.json(&self.arguments(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.home.command(&self.arguments(arguments))
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// How many keys are there that begin so. Whoever answers that knows all that was acknowledged.
    pub fn count(&self, prefix: &str) -> usize {
        self.etcdctl(&["get", prefix, "--prefix", "--keys-only"]).split_whitespace().count()
    }

    /// The leases, as kvctl lists them. A server says what it knows itself: let it know all.
    pub fn leases(&self) -> String {
        self.count("x");
        self.ok(&["lease", "list"])
    }
}
