use super::*;

const GRACE: Duration = Duration::from_secs(5);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// A node that answers.
fn running() -> Lifecycle {
    let mut node = Lifecycle::new(Supervision::default(), 0, None);
    assert_eq!(node.up(), [Do::Spawn(Reason::Up)]);
    assert_eq!(node.state(), State::Starting);
    node.spawned(7, Reason::Up);
    node.answered();
    assert_eq!(node.state(), State::Running);
    node
}

/// The signals and starts among `todo`: what is told is for people.
fn deeds(todo: Vec<Do>) -> Vec<Do> {
    todo.into_iter().filter(|deed| !matches!(deed, Do::Tell { .. })).collect()
}

fn dies(node: &mut Lifecycle, now: u64) -> Vec<Do> {
    deeds(node.exited(at(now), Exit::Code(1), "oops"))
}

#[test]
fn the_first_restart_is_immediate_the_next_ones_wait_and_the_fifth_death_is_the_last() {
    let mut node = running();
    assert_eq!(dies(&mut node, 1000), [Do::Spawn(Reason::Died)]);
    let mut now = 1000;
    for delay in [100, 200, 400] {
        node.spawned(8, Reason::Died);
        assert_eq!(dies(&mut node, now), []);
        assert_eq!(node.state(), State::BackingOff);
        assert_eq!(node.next_start(), Some(at(now + delay)));
        assert_eq!(node.elapsed(at(now + delay - 1)), []);
        now += delay;
        assert_eq!(deeds(node.elapsed(at(now))), [Do::Spawn(Reason::Died)]);
    }
    node.spawned(9, Reason::Died);
    assert_eq!(dies(&mut node, now), []);
    assert_eq!(node.state(), State::CrashLooping);
    assert_eq!(node.restarts(), 4);
    assert_eq!(node.next_deadline(), None, "only a person helps now");
    assert_eq!(
        node.problem().unwrap(),
        "5 deaths within 30s; the last: it ended by itself (exit code 1): oops"
    );
    // A person helps: the past is forgotten.
    assert_eq!(deeds(node.act(at(now), Action::Start, GRACE).unwrap()), [Do::Spawn(Reason::Asked)]);
    node.spawned(10, Reason::Asked);
    assert_eq!(dies(&mut node, now), [Do::Spawn(Reason::Died)]);
}

#[test]
fn deaths_long_ago_do_not_count() {
    let mut node = running();
    for n in 0..20 {
        assert_eq!(dies(&mut node, n * 30_001), [Do::Spawn(Reason::Died)], "death {n}");
        node.spawned(8, Reason::Died);
    }
}

#[test]
fn the_wait_has_a_limit() {
    let policy = Supervision { crash_loop_deaths: 1000, ..Supervision::default() };
    assert_eq!(backoff(&policy, 6), Duration::from_millis(1600));
    assert_eq!(backoff(&policy, 9), Duration::from_secs(5));
    assert_eq!(backoff(&policy, 900), Duration::from_secs(5));
}

#[test]
fn kills_on_purpose_count_for_nothing() {
    let mut node = running();
    for n in 0..20 {
        let todo = node.act(at(n), Action::Kill, GRACE).unwrap();
        assert_eq!(deeds(todo), [Do::Send(Signal::Kill)]);
        let todo = node.exited(at(n), Exit::Signal(9), "");
        assert_eq!(deeds(todo), [Do::Spawn(Reason::Killed)]);
        node.spawned(8, Reason::Killed);
    }
    assert_eq!(node.restarts(), 0);
    assert_eq!(node.last_exit(), Some("signal 9 (SIGKILL)"));
    // And the purpose is spent: the next such death is nobody's wish.
    node.answered();
    node.exited(at(99), Exit::Signal(9), "");
    assert_eq!(node.restarts(), 1);
}

#[test]
fn a_stopped_node_stays_down_until_somebody_says_start() {
    let mut node = running();
    let todo = node.act(at(0), Action::Stop, GRACE).unwrap();
    assert_eq!(todo, [Do::Send(Signal::Terminate)]);
    assert!(node.stays_down());
    assert_eq!(node.elapsed(at(4_999)), []);
    let todo = node.exited(at(5), Exit::Code(0), "");
    assert_eq!(deeds(todo), []);
    assert_eq!(node.state(), State::Stopped);
    assert_eq!(node.elapsed(at(1_000_000)), []);
    assert!(node.act(at(6), Action::Stop, GRACE).unwrap().is_empty(), "it is stopped");
    assert_eq!(
        node.act(at(6), Action::Kill, GRACE).unwrap_err(),
        "it has no process to kill now: it is stopped"
    );
    assert_eq!(deeds(node.act(at(7), Action::Start, GRACE).unwrap()), [Do::Spawn(Reason::Asked)]);
    assert!(!node.stays_down());
}

#[test]
fn who_does_not_stop_is_killed_after_the_grace_once() {
    let mut node = running();
    node.act(at(0), Action::Stop, GRACE).unwrap();
    assert_eq!(node.elapsed(at(5_000)), [Do::Send(Signal::Kill)]);
    assert_eq!(node.elapsed(at(6_000)), []);
    let todo = node.exited(at(6_000), Exit::Signal(9), "");
    let told = Do::Tell { kind: "node-stopped", detail: "killed after 5s without an end".into() };
    assert_eq!(todo, [told]);
    assert_eq!(node.out_of_patience(), Some(GRACE));
}

#[test]
fn start_while_stopping_and_stop_while_restarting_do_what_was_said_last() {
    let mut node = running();
    node.act(at(0), Action::Stop, GRACE).unwrap();
    node.act(at(1), Action::Start, GRACE).unwrap();
    assert_eq!(deeds(node.exited(at(2), Exit::Code(0), "")), [Do::Spawn(Reason::Asked)]);

    let mut node = running();
    node.act(at(0), Action::Restart, GRACE).unwrap();
    node.act(at(1), Action::Stop, GRACE).unwrap();
    assert_eq!(deeds(node.exited(at(2), Exit::Code(0), "")), []);
    assert_eq!(node.state(), State::Stopped);
}

#[test]
fn a_stop_reaches_a_node_that_waits_for_its_start() {
    let mut node = running();
    dies(&mut node, 0);
    node.spawned(8, Reason::Died);
    dies(&mut node, 0);
    assert_eq!(node.state(), State::BackingOff);
    node.act(at(1), Action::Stop, GRACE).unwrap();
    assert_eq!(node.state(), State::Stopped);
    assert_eq!(node.elapsed(at(10_000)), []);

    // And one whose process is not there yet: the spawn that comes too late must not count.
    let mut node = Lifecycle::new(Supervision::default(), 0, None);
    node.up();
    node.act(at(0), Action::Stop, GRACE).unwrap();
    assert_eq!(node.state(), State::Stopped);
    assert_eq!(node.spawn_failed(at(1), "no such file", true), []);
    assert_eq!(node.state(), State::Stopped);
}

#[test]
fn a_refusal_to_run_is_final_at_once_with_the_reason() {
    let mut node = running();
    let todo = node.exited(at(0), Exit::Code(EXIT_REFUSED), "log/1.seg is corrupt\n");
    assert_eq!(deeds(todo), []);
    assert_eq!(node.state(), State::CrashLooping);
    assert_eq!(node.problem(), Some("it refuses to run: log/1.seg is corrupt"));
}

#[test]
fn what_cannot_be_spawned_is_given_up_if_hopeless_and_else_tried_again() {
    let mut node = Lifecycle::new(Supervision::default(), 0, None);
    node.up();
    assert_eq!(deeds(node.spawn_failed(at(0), "no memory", false)), [Do::Spawn(Reason::Died)]);
    assert_eq!(deeds(node.spawn_failed(at(0), "no such file", true)), []);
    assert_eq!(node.state(), State::CrashLooping);
}

#[test]
fn a_paused_node_is_not_unresponsive_and_stopping_wakes_it() {
    let mut node = running();
    let todo = node.act(at(0), Action::Pause, GRACE).unwrap();
    assert_eq!(deeds(todo), [Do::Send(Signal::Pause)]);
    assert_eq!(node.silent(Duration::from_secs(2)), []);
    assert_eq!(node.state(), State::Paused);
    let todo = node.act(at(1), Action::Stop, GRACE).unwrap();
    assert_eq!(todo, [Do::Send(Signal::Terminate), Do::Send(Signal::Continue)]);

    let mut node = running();
    node.act(at(0), Action::Pause, GRACE).unwrap();
    assert_eq!(
        deeds(node.act(at(1), Action::Resume, GRACE).unwrap()),
        [Do::Send(Signal::Continue)]
    );
    assert_eq!(node.state(), State::Running);
    assert!(node.act(at(2), Action::Resume, GRACE).unwrap().is_empty());
}

#[test]
fn silence_is_reported_and_never_punished() {
    let mut node = running();
    assert_eq!(deeds(node.silent(Duration::from_secs(2))), []);
    assert_eq!(node.state(), State::Unresponsive);
    assert_eq!(node.next_deadline(), None);
    node.answered();
    assert_eq!(node.state(), State::Running);
    assert_eq!(node.problem(), None);
}

#[test]
fn a_pause_by_somebody_else_is_seen_and_so_is_its_end() {
    let mut node = running();
    node.seen_paused();
    assert_eq!(node.state(), State::Paused);
    node.answered();
    assert_eq!(node.state(), State::Running);
    let mut adopted = Lifecycle::new(Supervision::default(), 3, None);
    adopted.adopted(true);
    assert_eq!((adopted.state(), adopted.restarts()), (State::Paused, 3));
}

#[test]
fn exits_are_named() {
    assert_eq!(Exit::Signal(11).to_string(), "signal 11 (SIGSEGV)");
    assert_eq!(Exit::Code(78).to_string(), "exit code 78");
    assert_eq!(Exit::Unknown.to_string(), "unknown");
}
