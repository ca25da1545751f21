//! The live console: what it shows, what can be done from it, and who may.

mod access;
mod browser;
mod driven;
mod http;
#[path = "../kvctl_home/mod.rs"]
mod kvctl_home;

mod door;
mod measured;
mod pictures;
mod shown;
mod slow;
