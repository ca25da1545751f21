//! Processes that die, and the one that looks after them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kvctl_home::wait_until;
use crate::watched::Watched;

#[test]
fn a_node_that_dies_again_and_again_is_given_up_and_started_by_hand() {
    let it = Watched::of(3);
    let victim = it.follower();
    let state = || {
        let status = it.home.json(&["cluster", "status"]);
        status["nodes"][victim as usize - 1].clone()
    };
    wait_until("it is not given up", || {
        let state = state();
        if let Some(pid) = state["pid"].as_i64() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        state["state"] == "crash-looping"
    });
    it.fire(&["DiesOften", "CrashLooping"]);
    it.ok(&format!("node start {victim}"));
    it.clear();
}

#[test]
fn a_supervisor_that_dies() {
    let it = Watched::of(1);
    let status = it.home.json(&["cluster", "status"]);
    let supervisor = status["supervisor_pid"].as_i64().unwrap() as i32;
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    it.fire(&["SupervisorDown"]);
    // The next command starts another one.
    it.ok("cluster status");
    it.clear();
}
