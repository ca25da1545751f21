//! Clients that wait, and too many of them.

use std::os::unix::net::UnixStream;

use crate::kvctl_home::{Home, ended};
use crate::watched::Watched;

#[test]
fn requests_that_pile_up() {
    let it = Watched::of(3);
    // Whoever waits long keeps them piled up, and does not spend the machine on trying again.
    let load = it.patient_load(4000, "10s");
    it.wait_for_writes();
    it.ok("chaos stall");
    it.fire(&["ManyRequestsPending"]);
    drop(load);
    it.ok("chaos heal");
    it.clear();
}

#[test]
fn descriptors_that_run_out() {
    let home = Home::new();
    let up = home.command(&["cluster", "up", "-n", "1"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(up.get_program());
    limited.args(up.get_args()).env("KVRAFT_HOME", home.path());
    let began = ended(limited.output().unwrap());
    assert_eq!(began.code, 0, "{}", began.err);
    let it = Watched::cluster(home, 1);
    let socket = it.home.path().join("default/nodes/1/client.sock");
    let crowd: Vec<_> = (0..32).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    it.fire(&["FileDescriptors"]);
    drop(crowd);
    it.clear();
}
