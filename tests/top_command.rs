//! `kvctl top` in a terminal of 80 columns and 24 lines, driven by its keys.

use kvctl_home::Home;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use terminal::Terminal;

mod kvctl_home;
mod terminal;

/// The line of a node.
fn line(screen: &str, node: u64) -> &str {
    let is = |line: &&str| line.trim_start_matches(['>', ' ']).starts_with(&format!("{node} "));
    screen.lines().find(is).unwrap_or_default()
}

#[test]
fn the_leader_is_paused_by_a_key_and_another_one_leads() {
    let home = Home::with(3);
    let leader = home.leader();
    let terminal = Terminal::run(&home, "top", "");
    let leads = format!("node {leader} leads");
    let screen = terminal.until("nobody leads", |it| it.contains(&leads) && it.contains("ready"));
    assert!(line(&screen, leader).contains("leader"), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    for word in ["no fault is in force", "BELIEVES", "LINKS", "EVENTS", "q quit"] {
        assert!(screen.contains(word), "no {word}:\n{screen}");
    }

    terminal.press(&leader.to_string());
    terminal.press("p");
    terminal.until("it is not paused", |it| line(it, leader).contains("paused"));
    terminal.until("nobody else leads", |it| {
        let others = (1..=3).filter(|id| *id != leader);
        others.into_iter().any(|id| it.contains(&format!("node {id} leads")))
    });
    terminal.press("r");
    terminal.until("it does not go on", |it| line(it, leader).contains("running"));
    // A fault is seen, and healed with its receipt.
    terminal.press("i");
    terminal.until("no fault is seen", |it| it.contains("FAULTS") && it.contains("CUT"));
    terminal.press("h");
    terminal.until("there is no receipt", |it| it.contains("committed, "));
    terminal.until("the fault is still there", |it| it.contains("no fault is in force"));
    terminal.press("?");
    terminal.until("no keys are shown", |it| it.contains("hand the leadership to it"));
    terminal.press("Escape");
    terminal.press("q");
    terminal.until("it does not end", |it| it.contains("ended with 0"));
}

#[test]
fn without_colours_or_other_characters_it_says_the_same() {
    let home = Home::with(1);
    let terminal = Terminal::run(&home, "top --ascii", "NO_COLOR=1 TERM=vt100");
    let screen = terminal.until("nobody leads", |it| it.contains("node 1 leads"));
    assert!(screen.is_ascii(), "{screen}");
    home.ok(&["cluster", "down"]);
    terminal.until("it looks well", |it| it.contains("UNKNOWN: no supervisor"));
    terminal.press("C-c");
    terminal.until("it does not end", |it| it.contains("ended with 0"));
}

#[test]
fn a_supervisor_that_does_not_answer_is_told_and_keys_are_heard_meanwhile() {
    let home = Home::with(1);
    let pid = home.json(&["cluster", "status"])["supervisor_pid"].as_i64().unwrap();
    let signal = |signal| kill(Pid::from_raw(pid as i32), signal).unwrap();
    let terminal = Terminal::run(&home, "top", "");
    terminal.until("nobody leads", |it| it.contains("node 1 leads") && it.contains("ready"));
    signal(Signal::SIGSTOP);
    terminal.press("?");
    terminal.until("keys are not heard", |it| it.contains("hand the leadership to it"));
    terminal.press("Escape");
    terminal.until("it looks well", |it| it.contains("UNKNOWN: no supervisor"));
    signal(Signal::SIGCONT);
    terminal.until("it does not look well", |it| {
        it.contains("ready") && !it.contains("UNKNOWN") && it.contains("node 1 leads")
    });
    terminal.press("q");
    terminal.until("it does not end", |it| it.contains("ended with 0"));
}

#[test]
fn a_guard_can_be_passed_and_what_cannot_be_done_offers_nothing() {
    let home = Home::new();
    home.up_with(1, &["protected = true"]);
    let terminal = Terminal::run(&home, "top", "");
    terminal.until("nobody leads", |it| it.contains("node 1 leads") && it.contains("ready"));
    terminal.press("s");
    terminal.until("no guard", |it| it.contains("stop node 1: ") && it.contains("(y: all the"));
    terminal.press("y");
    terminal.until("it is not stopped", |it| line(it, 1).contains("stopped"));
    terminal.press("k");
    let screen = terminal.until("it is killed", |it| it.contains("no process to kill"));
    assert!(!screen.contains("(y:"), "{screen}");
    terminal.press("q");
    terminal.until("it does not end", |it| it.contains("ended with 0"));
}

#[test]
fn it_wants_a_terminal() {
    let home = Home::with(1);
    let said = home.fails(2, &["top"]);
    assert!(said.contains("wants a terminal") && said.contains("kvctl cluster status"), "{said}");
}
