//! Raft, told as stories: each script drives a group of cores by hand, and the golden output is
//! what a reader should see happen.
//!
//! `UPDATE_GOLDENFILES=1 cargo test --test raft` rewrites them; then read the diff as a story.

mod chance;
mod disk;
mod group;
mod words;

use std::error::Error;

use goldenscript::{Command, Context, Runner};
use group::{Group, Setup};
use kvraft::consensus::raft::{AppendResult, Message};
use kvraft::consensus::{Change, Entry, Payload};
use kvraft::types::{LogIndex, NodeId, Term, Ticket};

/// Runs a script's commands on one group.
#[derive(Default)]
struct Script {
    group: Group,
    next_ticket: u64,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let setup = Setup {
            disks_by_hand: args.take_key("disks") == Some("by-hand"),
            leases: args.take_key("reads") == Some("by-lease"),
            keep_entries: args.take_key("keep").map_or(Ok(0), str::parse)?,
            ..Setup::default()
        };
        let logs = args.take_key("logs").map(str::to_owned);
        let words: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
        let node = |place: usize| -> Result<NodeId, Box<dyn Error>> {
            Ok(NodeId(words.get(place).ok_or("which node?")?.parse()?))
        };
        let group = &mut self.group;
        match command.name.as_str() {
            "cluster" => *group = Group::new(words[0].parse()?, setup, logs.as_deref())?,
            "campaign" => group.campaign(node(0)?)?,
            "propose" => {
                for arg in &command.args[1..] {
                    // `x=1` reads as a key and a value, and prints as it was written.
                    let said = arg.to_string();
                    self.next_ticket += 1;
                    group.propose(node(0)?, Ticket(self.next_ticket), &said)?;
                }
            }
            "join" => group.join(node(0)?),
            "member" => {
                self.next_ticket += 1;
                let changes: Result<Vec<_>, _> = words[1..].chunks(2).map(change).collect();
                group.change(node(0)?, Ticket(self.next_ticket), changes?)?;
            }
            "transfer" => {
                self.next_ticket += 1;
                let to = words.get(1).map(|_| node(1)).transpose()?;
                group.transfer(node(0)?, Ticket(self.next_ticket), to)?;
            }
            "snapshot" => group.snapshot(node(0)?)?,
            "read" => {
                self.next_ticket += 1;
                group.read(node(0)?, Ticket(self.next_ticket))?;
            }
            "deliver" if words.is_empty() => group.deliver_all()?,
            "deliver" => group.deliver(node(0)?, node(1)?)?,
            "duplicate" => group.duplicate(node(0)?, node(1)?),
            "drop" if words.is_empty() => group.drop_all(),
            "drop" => group.drop_link(node(0)?, node(1)?),
            "reverse" => group.reverse(node(0)?, node(1)?),
            "partition" => group.partition(words[0])?,
            "heal" => group.heal(),
            "persist" => group.persist(node(0)?)?,
            "crash" => group.crash(node(0)?)?,
            "restart" => group.restart(node(0)?)?,
            "elapse" => group.elapse(words[0].parse()?)?,
            "forge" => {
                let number = |place: usize| words.get(place).unwrap_or(&"").parse::<u64>();
                let message = match words.get(2).copied() {
                    Some("append") => Message::AppendEntries {
                        term: Term(number(3)?),
                        prev_log_index: LogIndex(number(4)?),
                        prev_log_term: Term(number(5)?),
                        entries: vec![Entry {
                            index: LogIndex(number(6)?),
                            term: Term(number(7)?),
                            payload: Payload::Noop,
                        }],
                        leader_commit: LogIndex(0),
                        round: 0,
                    },
                    Some("matched") => Message::AppendEntriesReply {
                        term: Term(number(3)?),
                        round: 0,
                        result: AppendResult::Matched(LogIndex(number(4)?)),
                    },
                    Some("vote") => {
                        Message::RequestVoteReply { term: Term(number(3)?), granted: true }
                    }
                    _ => return Err("forge append, matched or vote".into()),
                };
                group.forge(node(0)?, node(1)?, message)?;
            }
            "status" => group.tell_status(),
            "messages" => group.tell_messages(),
            other => return Err(format!("unknown command {other}").into()),
        }
        Ok(self.group.told())
    }
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
    entries_are_replicated_and_committed
    a_diverged_follower_is_repaired
    a_late_short_append_removes_nothing
    figure_8
    an_acknowledgement_waits_for_the_disk
    a_heartbeat_does_not_wait_for_the_disk
    lost_messages_are_sent_again
    a_minority_commits_nothing
    a_read_waits_for_the_no_op
    a_cut_off_leader_serves_no_read
    reads_share_a_round
    all_restart_and_nothing_is_lost
    bad_messages_are_refused
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
