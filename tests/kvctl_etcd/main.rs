//! kvctl on ranges, the past and transactions; and what it does over etcd's API, with its client.
//!
//! What goes over etcd's API is tried at our own nodes, and at a real etcd, which has all of it and
//! knows nothing of us. `make test` fetches one.

#[path = "../etcd_client/mod.rs"]
mod etcd_client;
#[path = "../kvctl_home/mod.rs"]
mod kvctl_home;
#[path = "../etcd/reference.rs"]
#[allow(dead_code)]
mod reference;

mod client;
mod commands;
mod native;
mod place;
mod process;
mod proxy;
mod watching;

/// A single thread, as kvctl and the nodes have, with what the client needs.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
