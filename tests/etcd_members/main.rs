//! Members, maintenance and the rest of etcd's API on living clusters, in etcd's own words.

#[path = "../etcd_client/mod.rs"]
mod etcd_client;
#[path = "../kvctl_home/mod.rs"]
mod kvctl_home;

mod client;
mod maintenance;
mod members;
