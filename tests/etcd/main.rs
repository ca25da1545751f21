//! Beside a real etcd: the same requests, the same answers.
//!
//! What `schema/etcd/README.md` says was read off an etcd once; these tests ask one again. It is
//! Debian's (`apt-get install etcd-server etcd-client`), started here and stopped at the end.

#[path = "../etcd_client/mod.rs"]
mod etcd_client;
#[path = "../kvctl_home/mod.rs"]
mod kvctl_home;

mod both;
mod check;
mod differential;
mod etcdctl;
mod reference;
