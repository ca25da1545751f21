//! `kvctl cluster recover`: after the loss of a quorum, with what is left.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal};

use serde::Serialize;

use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::cli::{Global, reach};
use crate::supervisor::recover::{self, Plan, RecoverError, Recovered, Survivor};
use crate::types::NodeId;

/// Go on without a quorum, with what the survivors hold; data may be lost
///
/// For when a majority of the voters is gone for good. It shows what each survivor holds and what
/// may be lost, and asks. Then the most advanced survivor becomes the only voter; all others are
/// given up with their numbers, their data kept; new nodes are added with `member add`. All that
/// is changed is copied before. The cluster must be down.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster recover --from 1,2 --dry-run     what would be, and no more
  kvctl cluster recover --from 1,2
  kvctl cluster recover --from 1,2 --keep-voters --yes
  kvctl cluster up                      then, and `kvctl member add` for each that is to replace one

JSON fields: schema_version, survivors: node, term, last_index, last_term, committed (at least),
goes (first and last entry that only it has, never acknowledged), problem; chosen, voters_before,
missing, voters_after, retired, term, index (entries of the missing from here on are lost),
acknowledged_may_be_lost, done, backup (null: dry run)")]
pub struct Recover {
    /// The survivors: nodes whose data is whole
    #[arg(long, required = true, value_delimiter = ',', value_name = "IDS",
          value_parser = reach::parse_node)]
    pub from: Vec<NodeId>,
    /// Let every survivor vote, and not only the most advanced one
    #[arg(long)]
    pub keep_voters: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    done: bool,
    backup: Option<std::path::PathBuf>,
}

pub fn run(global: &Global, command: &Recover) -> Outcome {
    let directory = reach::directory(global)?;
    if !directory.cluster_toml().exists() {
        return Err(reach::no_cluster(global, &directory));
    }
    let from: BTreeSet<NodeId> = command.from.iter().copied().collect();
    let recovery = recover::plan(&directory, &from, command.keep_voters)
        .map_err(|error| explain(global, error))?;
    let plan = recovery.plan.clone();
    if global.output == Format::Table {
        show(&plan)?;
    }
    if command.dry_run {
        return finish(global, &plan, None);
    }
    confirm(global, command)?;
    let recovered = recovery.carry_out().map_err(|error| explain(global, error))?;
    finish(global, &plan, Some(&recovered))
}

fn explain(global: &Global, error: RecoverError) -> Failure {
    let flag = global.flag();
    let down = matches!(error, RecoverError::Running | RecoverError::NodeRuns { .. });
    let failure = Failure::failed(error.to_string());
    match down {
        true => {
            failure.next(format!("take it down, without a quorum too: kvctl{flag} cluster down"))
        }
        false => failure.next("see ops/runbooks/quorum-loss.md"),
    }
}

fn list(ids: &[NodeId]) -> String {
    match ids {
        [] => "none".to_owned(),
        ids => ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn show(plan: &Plan) -> Result<(), Failure> {
    let mut table =
        output::table(&["node", "term", "last entry", "its term", "committed", "verdict"]);
    for survivor in &plan.survivors {
        table.add_row(row(plan, survivor));
    }
    output::print_table(&mut table)?;
    let (all, gone) = (plan.voters_before.len(), plan.missing.len());
    output::line(format!(
        "voters: {}; missing: {} ({gone} of {all})",
        list(&plan.voters_before),
        list(&plan.missing)
    ))?;
    let index = plan.index;
    output::line(match plan.acknowledged_may_be_lost {
        true => format!(
            "LOST, if the missing nodes had them: all entries from {index} on. Acknowledged writes \
             may be among them, for the missing are a majority by themselves."
        ),
        false => "No acknowledged write is lost: every majority has a survivor in it.".to_owned(),
    })?;
    output::line(format!(
        "KEPT: all that node {} holds. Its last entries may never have been acknowledged; they \
         count from now on.",
        plan.chosen
    ))?;
    output::line(format!(
        "then: voters {}; given up, with their data kept: {}",
        list(&plan.voters_after),
        list(&plan.retired)
    ))
}

fn row(plan: &Plan, survivor: &Survivor) -> Vec<String> {
    fn figure<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    let verdict = match (&survivor.problem, survivor.goes) {
        (Some(problem), _) => problem.clone(),
        (None, Some((first, last))) => {
            format!("entries {first} to {last}, never acknowledged, go")
        }
        (None, None) if survivor.node == plan.chosen => "the most advanced: goes on".to_owned(),
        (None, None) => "has nothing beside".to_owned(),
    };
    vec![
        survivor.node.to_string(),
        figure(survivor.term),
        figure(survivor.last_index),
        figure(survivor.last_term),
        survivor.committed.map_or_else(|| "-".to_owned(), |index| format!("≥ {index}")),
        verdict,
    ]
}

/// Whoever runs this by mistake must not lose anything.
fn confirm(global: &Global, command: &Recover) -> Result<(), Failure> {
    if command.yes {
        return Ok(());
    }
    let name = global.name.as_str();
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("this may lose data, and nobody can be asked")
            .next("look first with --dry-run, then say --yes"));
    }
    output::note(format!(
        "The missing nodes must never be started again with their old data.\n\
         Write the name of the cluster ({name}) to go on:"
    ));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(_) if answer.trim() == name => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "not confirmed: nothing was changed")),
    }
}

fn finish(global: &Global, plan: &Plan, done: Option<&Recovered>) -> Outcome {
    match global.output {
        Format::Json => output::json(&Printed {
            plan,
            done: done.is_some(),
            backup: done.map(|done| done.backup.clone()),
        })?,
        Format::Name => output::line(plan.chosen.to_string())?,
        Format::Table => {
            if let Some(Recovered { backup, index }) = done {
                output::line(format!("done: entry {index} says so; term {}", plan.term))?;
                output::line(format!("what was changed is kept in {}", backup.display()))?;
                let flag = global.flag();
                output::note(format!(
                    "next: kvctl{flag} cluster up\nnext: kvctl{flag} member add     for each node \
                     that is to replace one"
                ));
            }
        }
    }
    Ok(0)
}
