//! Raft, told as stories: each script drives a group of cores by hand, and the golden output is
//! what a reader should see happen.
//!
//! `UPDATE_GOLDENFILES=1 cargo test --test raft` rewrites them; then read the diff as a story.

mod chance;
mod disk;
mod forge;
mod group;
mod words;

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use goldenscript::{Command, Context, Runner};
use group::{Group, Setup};
use kvraft::consensus::Change;
use kvraft::museum::{Bug, Bugs};
use kvraft::types::{NodeId, Ticket};

/// Runs a script's commands on one group.
#[derive(Default)]
struct Script {
    group: Group,
    next_ticket: u64,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        if command.name == "expect-break" {
            return self.expect_break(command);
        }
        self.carry_out(command)?;
        Ok(self.group.told())
    }
}

impl Script {
    fn carry_out(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        let mut args = command.consume_args();
        let setup = setup(&mut args)?;
        let logs = args.take_key("logs").map(str::to_owned);
        let words: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
        let word = |place: usize| words.get(place).copied().ok_or("a word is missing");
        let node = |place: usize| -> Result<NodeId, Box<dyn Error>> {
            Ok(NodeId(words.get(place).ok_or("which node?")?.parse()?))
        };
        let group = &mut self.group;
        let mut ticket = || {
            self.next_ticket += 1;
            Ticket(self.next_ticket)
        };
        match command.name.as_str() {
            "cluster" => *group = Group::new(word(0)?.parse()?, setup, logs.as_deref())?,
            "campaign" => group.campaign(node(0)?)?,
            "propose" => {
                for arg in &command.args[1..] {
                    // `x=1` reads as a key and a value, and prints as it was written.
                    group.propose(node(0)?, ticket(), &arg.to_string())?;
                }
            }
            "join" => group.join(node(0)?),
            "member" => {
                let changes: Result<Vec<_>, _> = words[1..].chunks(2).map(change).collect();
                group.change(node(0)?, ticket(), changes?)?;
            }
            "transfer" => {
                let to = words.get(1).map(|_| node(1)).transpose()?;
                group.transfer(node(0)?, ticket(), to)?;
            }
            "snapshot" => group.snapshot(node(0)?)?,
            "read" => group.read(node(0)?, ticket())?,
            "deliver" if words.is_empty() => group.deliver_all()?,
            "deliver" => group.deliver(node(0)?, node(1)?)?,
            "duplicate" => group.duplicate(node(0)?, node(1)?),
            "hold" => group.hold(node(0)?, node(1)?),
            "release" => group.release(),
            "drop" if words.is_empty() => group.drop_all(),
            "drop" => group.drop_link(node(0)?, node(1)?),
            "reverse" => group.reverse(node(0)?, node(1)?),
            "partition" => group.partition(word(0)?)?,
            "cut" => group.cut(node(0)?, node(1)?),
            "heal" => group.heal(),
            "persist" => group.persist(node(0)?)?,
            "crash" => group.crash(node(0)?)?,
            "restart" => group.restart(node(0)?)?,
            "elapse" => group.elapse(word(0)?.parse()?)?,
            "run" => group.run(word(0)?.parse()?)?,
            "forge" => {
                group.forge(node(0)?, node(1)?, forge::message(words.get(2..).unwrap_or(&[]))?)?;
            }
            "status" => group.tell_status(),
            "messages" => group.tell_messages(),
            other => return Err(format!("unknown command {other}").into()),
        }
        Ok(())
    }

    /// `expect-break deliver 1 2`: that command must break a property; the story says which.
    fn expect_break(&mut self, command: &Command) -> Result<String, Box<dyn Error>> {
        let mut command = command.clone();
        let name = command.args.first().ok_or("expect-break of what?")?;
        command.name = name.to_string();
        command.args.remove(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.carry_out(&command)));
        let Err(panic) = outcome else {
            return Err(format!("nothing broke: {outcome:?}").into());
        };
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| said.to_string()));
        let said = said.unwrap_or_default();
        let first = said.lines().next().unwrap_or_default();
        // What `assert_eq` adds is for programmers.
        let property = first.split_once("failed: ").map_or(first, |(_, property)| property);
        Ok(format!("{}BROKEN: {property}\n", self.group.told()))
    }
}

/// What `cluster` may be told of its cores.
fn setup(args: &mut goldenscript::ArgumentConsumer) -> Result<Setup, Box<dyn Error>> {
    Ok(Setup {
        disks_by_hand: args.take_key("disks") == Some("by-hand"),
        leases: args.take_key("reads") == Some("by-lease"),
        keep_entries: args.take_key("keep").map_or(Ok(0), str::parse)?,
        chunk: args.take_key("chunk").map(str::parse).transpose()?,
        bugs: match args.take_key("bug") {
            Some(bug) => Bugs::only(bug.parse::<Bug>()?),
            None => Bugs::none(),
        },
    })
}

/// `add 4`, `promote 4`, `demote 4`, `remove 4`.
fn change(words: &[&str]) -> Result<Change, Box<dyn Error>> {
    let [verb, id] = words else { return Err("change whom, and how?".into()) };
    let node = NodeId(id.parse()?);
    Ok(match *verb {
        "add" => Change::AddLearner { node, address: format!("unix:/{id}") },
        "promote" => Change::Promote { node },
        "demote" => Change::Demote { node },
        "remove" => Change::Remove { node },
        other => return Err(format!("{other} is no change").into()),
    })
}

/// One test a script, so that a failing story has a name.
macro_rules! stories {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let path = concat!("tests/raft/scripts/", stringify!($name));
            goldenscript::run(&mut Script::default(), path).expect("the script runs as told");
        }
    )*};
}

stories! {
    a_leader_is_elected
    a_split_vote_is_settled_by_time
    a_vote_waits_for_the_disk
    a_candidate_with_an_older_log_loses
    a_server_that_was_cut_off_disturbs_nobody
    who_hears_the_leader_stays_loyal
    a_leader_that_hears_nobody_steps_down
    a_stale_term_and_pre_vote_do_not_deadlock
    entries_are_replicated_and_committed
    a_diverged_follower_is_repaired
    a_late_short_append_removes_nothing
    an_acknowledgement_waits_for_the_disk
    a_heartbeat_does_not_wait_for_the_disk
    lost_messages_are_sent_again
    a_slow_follower_holds_up_nobody
    a_slow_link_does_not_carry_the_same_entries_again_and_again
    figure_8
    a_minority_commits_nothing
    all_restart_and_nothing_is_lost
    bad_messages_are_refused
    a_forged_conflict_stops_nobody
    a_forged_confirmation_is_refused
    a_change_of_members_needs_both_majorities
    a_change_rolls_back_with_its_entry
    a_change_waits_for_the_term_to_open
    a_learner_is_promoted_when_it_has_caught_up
    a_learner_that_died_after_catching_up_gets_no_vote
    who_is_added_and_promoted_at_once_gets_no_vote
    a_promoted_learner_that_does_not_know_votes
    the_leader_is_removed
    a_removed_leader_may_still_be_needed
    a_removed_server_disturbs_nobody
    a_snapshot_replaces_a_diverged_log
    a_late_snapshot_changes_nothing
    a_late_snapshot_answer_does_not_stop_the_transfer
    a_snapshot_goes_on_after_a_break
    the_log_keeps_a_tail_for_slow_followers
    a_read_waits_for_the_no_op
    a_cut_off_leader_serves_no_read
    reads_share_a_round
    a_round_is_confirmed_though_the_next_has_begun
    a_follower_serves_reads
    a_question_to_a_deposed_leader_is_asked_anew
    a_lease_ends_before_a_vote
    a_restarted_voter_waits_with_leases
    a_loyal_server_does_not_stand_on_request
    a_transfer_waits_for_the_target_to_catch_up
    a_transfer_to_the_dead_is_abandoned
    museum_commit_past_match
    museum_figure_8
    museum_forgotten_term
    museum_joint_ignores_old
    museum_learner_refuses_vote
    museum_lease_from_answer
    museum_no_check_quorum
    museum_no_pre_vote
    museum_old_snapshot_installed
    museum_pre_vote_raises_term
    museum_read_before_noop
    museum_short_append_truncates
    museum_single_server_change
    museum_snapshot_keeps_suffix
    museum_step_down_clears_vote
    museum_transfer_to_lagging
    museum_truncation_keeps_configuration
    museum_unconfirmed_reads
    museum_vote_before_disk
}

#[test]
fn every_script_is_run() {
    let mut scripts: Vec<_> = std::fs::read_dir("tests/raft/scripts")
        .expect("the scripts are there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    scripts.sort();
    let source = include_str!("main.rs");
    for script in scripts {
        assert!(source.contains(&format!("    {script}\n")), "{script} is run by nobody");
    }
}

/// The museum's bugs that stand in the core: for each there is a story that puts it back.
#[test]
fn every_bug_of_the_core_has_its_story() {
    for bug in Bug::ALL {
        let slug = bug.slug();
        let elsewhere = [
            "sync-retried",
            "ack-before-disk",
            "corruption-cut",
            "snapshot-ahead-of-state",
            "compaction-gap",
            "wiped-node-returns",
            "no-sessions",
            "divergent-apply",
        ];
        let script = format!("tests/raft/scripts/museum_{}", slug.replace('-', "_"));
        let told =
            std::fs::read_to_string(&script).is_ok_and(|s| s.contains(&format!("bug={slug}")));
        assert!(told != elsewhere.contains(&slug), "{script} for {slug}: {told}");
    }
}

/// A chapter that names a story which is not there would send its reader nowhere.
#[test]
fn the_chapters_name_stories_that_exist() {
    let beginnings = ["a_", "all_", "an_", "figure_8", "museum_", "reads_", "the_", "two_", "who_"];
    let mut named = 0;
    for chapter in std::fs::read_dir("src/consensus/raft").expect("the chapters are there") {
        let path = chapter.expect("readable").path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for line in text.lines().filter(|line| line.starts_with("//!")) {
            // What stands between backticks is every other part.
            for name in line.split('`').skip(1).step_by(2) {
                let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if plain && beginnings.iter().any(|beginning| name.starts_with(beginning)) {
                    let script = format!("tests/raft/scripts/{name}");
                    assert!(std::path::Path::new(&script).exists(), "{}: {name}", path.display());
                    named += 1;
                }
            }
        }
    }
    assert!(named > 40, "the chapters name their stories: {named}");
}
