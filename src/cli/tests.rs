//! The command line as a contract: it parses, it documents itself, it refuses what is wrong.

use clap::{CommandFactory, Parser};

use super::cluster::Cluster;
use super::node::{Node, Who};
use super::{Arguments, Command, Format};
use crate::chaos::{LINK_KINDS, NODE_KINDS};
use crate::types::NodeId;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definitions_agree_with_themselves() {
    Arguments::command().debug_assert();
}

/// Every command, with its words.
fn commands(command: &clap::Command, words: &str, found: &mut Vec<(String, clap::Command)>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let words = format!("{words} {}", sub.get_name());
        found.push((words.clone(), sub.clone()));
        commands(sub, &words, found);
    }
}

#[test]
fn every_command_says_what_it_does_and_shows_examples_of_itself() {
    let mut all = Vec::new();
    commands(&Arguments::command(), "kvctl", &mut all);
    assert!(all.len() >= 27, "{}", all.len());
    for (words, command) in all {
        assert!(command.get_about().is_some(), "{words} says nothing");
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.starts_with("Examples:\n"), "{words} has no examples");
        let example = help.lines().any(|line| line.contains(&words));
        assert!(example, "{words} has no example of itself");
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{words} {} is not explained",
                argument.get_id()
            );
        }
    }
}

#[test]
fn examples_in_the_help_parse() {
    let mut all = vec![("kvctl".to_owned(), Arguments::command())];
    commands(&Arguments::command(), "kvctl", &mut all);
    let mut seen = 0;
    for (_, command) in all {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter(|line| line.starts_with("  kvctl ")) {
            // The command ends where the explanation or the rest of the shell's line begins.
            let line = line.trim_start();
            let end = ["   ", " | ", " > ", " < "].iter().filter_map(|s| line.find(s)).min();
            let line = line[..end.unwrap_or(line.len())].replace(['\'', '"'], "");
            if let Err(error) = parse(&line) {
                panic!("{line}: {error}");
            }
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn faults_are_told_by_the_words_that_they_are_asked_for_by() {
    let mut found = Vec::new();
    commands(&Arguments::command(), "kvctl", &mut found);
    for kind in LINK_KINDS.iter().chain(&NODE_KINDS) {
        let asked = |(words, _): &(String, clap::Command)| {
            words.strip_prefix("kvctl chaos ").is_some_and(|words| words.replace(' ', "-") == *kind)
        };
        assert!(found.iter().any(asked), "nobody asks for {kind}");
    }
}

#[test]
fn global_options_stand_anywhere() {
    for line in ["kvctl --name a -o json get k", "kvctl get k --name a -o json"] {
        let global = parse(line).unwrap().global.resolve(Some("b".into())).unwrap();
        assert_eq!((global.name.as_str(), global.is_named), ("a", true));
        assert_eq!(global.output, Format::Json);
        assert_eq!(global.flag(), " --name a");
    }
}

#[test]
fn a_cluster_that_is_not_named_is_that_of_the_environment_or_the_default() {
    let resolve =
        |name: Option<&str>| parse("kvctl get k").unwrap().global.resolve(name.map(Into::into));
    let global = resolve(Some("b")).unwrap();
    assert_eq!((global.name.as_str(), global.is_named), ("b", false));
    for name in [None, Some("")] {
        let global = resolve(name).unwrap();
        assert_eq!((global.name.as_str(), &global.flag()[..]), ("default", ""));
    }
    assert!(resolve(Some("../x")).unwrap_err().message.contains("KVRAFT_NAME"));
}

#[test]
fn a_node_is_named_by_its_id_or_as_the_leader() {
    for (text, who) in [("leader", Who::Leader), ("3", Who::Node(NodeId(3)))] {
        let arguments = parse(&format!("kvctl node kill {text}")).unwrap();
        let Command::Node(Node::Kill(target)) = arguments.command else { panic!("{arguments:?}") };
        assert_eq!(target.targets, [who]);
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_reason() {
    for (line, says) in [
        ("kvctl node kill 0", "`leader`"),
        ("kvctl node kill boss", "`leader`"),
        ("kvctl cluster up -n 0", "0 is not in"),
        ("kvctl cluster up -n 99", "99 is not in"),
        ("kvctl cluster up --transport pigeon", "pigeon"),
        ("kvctl cluster wait --timeout 5", "500ms"),
        ("kvctl cluster wait --leader --ready", "cannot be used with"),
        ("kvctl cluster run -n 3", "COMMAND"),
        ("kvctl cas k v", "--expect"),
        ("kvctl cas k v --expect a --expect-absent", "cannot be used with"),
        ("kvctl get", "<KEY>"),
        ("kvctl get k --hex --base64", "cannot be used with"),
        ("kvctl get k --node 0", "number from 1"),
        ("kvctl scan a --start b", "cannot be used with"),
        ("kvctl scan --limit 0", "0 is not in"),
        ("kvctl import f --rate 0", "0 is not in"),
        ("kvctl import f --on-error explode", "explode"),
        ("kvctl bench --value-size big", "no size"),
        ("kvctl bench --duration 0s", "more than nothing"),
        ("kvctl bench --op sleep", "stale-get"),
        ("kvctl get k --endpoints tcp:nowhere", "no address"),
        ("kvctl get k --name ../x", "no name for a cluster"),
        ("kvctl get k l --prefix", "cannot be used with"),
        ("kvctl get k --prefix --from-key", "cannot be used with"),
        ("kvctl get k --raw --count-only", "cannot be used with"),
        ("kvctl get k --sort-by size", "modify"),
        ("kvctl get k --rev 0", "0 is not in"),
        ("kvctl put k", "<VALUE>"),
        ("kvctl put k v --ignore-value", "cannot be used with"),
        ("kvctl put k v --lease nine", "hexadecimal"),
        ("kvctl put k v --lease 1 --ignore-lease", "cannot be used with"),
        ("kvctl compact now", "invalid digit"),
        ("kvctl lease grant 1500ms", "whole seconds"),
        ("kvctl lease revoke 0", "0 is no lease"),
        ("kvctl lock", "<NAME>"),
        ("kvctl elect n", "<VALUE>"),
        ("kvctl elect n v --listen", "cannot be used with"),
        ("kvctl frobnicate", "frobnicate"),
        ("kvctl get k --frobnicate", "--frobnicate"),
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(says), "{line}: {error}");
    }
}

#[test]
fn a_value_may_look_like_an_option() {
    assert!(parse("kvctl put k -5").is_ok());
    assert!(parse("kvctl cas k -5 --expect -6").is_ok());
    assert!(parse("kvctl put k --ignore-value").is_ok());
}

#[test]
fn what_runs_after_two_dashes_is_not_ours_to_parse() {
    let arguments = parse("kvctl cluster run -n 3 -- cmd --name x -o json").unwrap();
    let Command::Cluster(Cluster::Run(run)) = arguments.command else { panic!("{arguments:?}") };
    assert_eq!(run.command, ["cmd", "--name", "x", "-o", "json"]);
    assert_eq!(arguments.global.name, None);
}

/// The whole help as one file, so that a change to it is seen in review. To take over a change:
/// `UPDATE_GOLDENFILES=1 cargo test --lib cli::tests::help`.
#[test]
fn help_is_as_agreed() {
    let mut text = Arguments::command().term_width(100).render_long_help().to_string();
    let mut root = Arguments::command().term_width(100);
    root.build();
    let mut built = Vec::new();
    commands(&root, "kvctl", &mut built);
    for (words, mut command) in built {
        let help = command.render_long_help();
        text.push_str(&format!("\n──── {words} ────\n\n{help}"));
    }
    let text: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/kvctl-help.txt");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    let differs = text.lines().zip(golden.lines()).find(|(now, then)| now != then);
    assert!(text == golden, "the help has changed: {differs:?} (now, as agreed)");
}
