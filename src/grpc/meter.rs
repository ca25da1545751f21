//! What was called and how it ended, counted as every gRPC server counts it; and the bytes.
//!
//! # The rule
//! Every method of the schema has its counts from the start, at zero. A call is counted when it
//! begins and once more when it ends, with its code; one whose client went away was canceled.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tonic::Code;

use super::gateway::catalog;

/// Codes by their numbers, in the words of etcd's figures.
pub const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Of one node, over all connections.
#[derive(Debug)]
pub struct Meter {
    /// By path.
    methods: BTreeMap<String, Rc<Method>>,
    pub received_bytes: Cell<u64>,
    pub sent_bytes: Cell<u64>,
}

/// The counts of one method.
#[derive(Debug)]
pub struct Method {
    pub service: String,
    pub name: String,
    /// `unary`, `server_stream` or `bidi_stream`.
    pub kind: &'static str,
    pub started: Cell<u64>,
    /// By code.
    pub handled: [Cell<u64>; CODES.len()],
}

/// A call under way.
#[derive(Debug)]
pub struct Counted(Option<Rc<Method>>);

impl Default for Meter {
    fn default() -> Meter {
        Meter::new()
    }
}

impl Meter {
    /// Nothing was called yet.
    pub fn new() -> Meter {
        let methods = catalog().methods().filter_map(|described| {
            let path = &described.path;
            let (service, name) = path.trim_start_matches('/').split_once('/')?;
            let method = Method {
                service: service.to_owned(),
                name: name.to_owned(),
                kind: match (described.takes_many, described.gives_many) {
                    (true, _) => "bidi_stream",
                    (false, true) => "server_stream",
                    (false, false) => "unary",
                },
                started: Cell::default(),
                handled: Default::default(),
            };
            Some((path.clone(), Rc::new(method)))
        });
        Meter {
            methods: methods.collect(),
            received_bytes: Cell::default(),
            sent_bytes: Cell::default(),
        }
    }

    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.values().map(|method| &**method)
    }

    /// A call begins. One of no method is not counted.
    pub fn begins(&self, path: &str) -> Counted {
        let method = self.methods.get(path).cloned();
        if let Some(method) = &method {
            method.started.set(method.started.get() + 1);
        }
        Counted(method)
    }
}

impl Counted {
    /// One that nobody counts.
    #[cfg(test)]
    pub fn nowhere() -> Counted {
        Counted(None)
    }

    /// The call has ended so.
    pub fn ends(mut self, code: Code) {
        self.note(code);
    }

    fn note(&mut self, code: Code) {
        if let Some(method) = self.0.take()
            && let Some(count) = method.handled.get(code as usize)
        {
            count.set(count.get() + 1);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.note(Code::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_once_and_whoever_leaves_it_has_canceled_it() {
        let meter = Meter::new();
        let of = |path: &str| meter.methods[path].clone();
        meter.begins("/etcdserverpb.KV/Range").ends(Code::Ok);
        meter.begins("/etcdserverpb.KV/Range").ends(Code::OutOfRange);
        drop(meter.begins("/etcdserverpb.KV/Range"));
        drop(meter.begins("/etcdserverpb.KV/Nope"));
        let range = of("/etcdserverpb.KV/Range");
        assert_eq!((range.started.get(), range.kind), (3, "unary"));
        let ended: Vec<u64> = range.handled.iter().map(Cell::get).collect();
        assert_eq!((ended[0], ended[1], ended[11], ended.iter().sum::<u64>()), (1, 1, 1, 3));
        assert_eq!(CODES[Code::OutOfRange as usize], "OutOfRange");
        assert_eq!(of("/etcdserverpb.Watch/Watch").kind, "bidi_stream");
        assert_eq!(of("/etcdserverpb.Maintenance/Snapshot").kind, "server_stream");
    }
}
