//! The live console: what it shows, what can be done from it, and who may.

mod access;
mod browser;
mod driven;
mod http;
#[path = "../kvctl_home/mod.rs"]
mod kvctl_home;
#[path = "../terminal/mod.rs"]
mod terminal;

mod door;
mod measured;
mod opened;
mod pictures;
mod shown;
mod slow;
