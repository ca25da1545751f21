//! Where history and report lie.
//!
//! Evidence must not be lost because nobody asked for it beforehand. So both are always written: to
//! where the command line says, else into the cluster's directory, where they go with the cluster,
//! and where the newest few runs are kept. A cluster that goes at once leaves them in the home of
//! all clusters.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::units::unix_millis;
use crate::config::{ClusterDirectory, Home};

/// Runs that are kept.
const KEPT: usize = 5;

/// Where they are to be, as the command line says.
#[derive(Debug, clap::Args)]
pub struct Files {
    /// Write the history here
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Write the report here: one page of HTML
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Those of runs on a cluster.
pub fn of_cluster(cluster: &ClusterDirectory) -> PathBuf {
    cluster.path().join("verify")
}

/// Those of runs on clusters that were started for them. No cluster can have this name.
pub fn of_throw_away(home: &Home) -> PathBuf {
    home.path().join(".verify")
}

/// The files of a run.
#[derive(Debug)]
pub struct Places {
    pub history: PathBuf,
    pub report: PathBuf,
}

impl Places {
    /// Where `files` says, else in a new directory of those of all `runs`.
    pub fn choose(files: &Files, runs: &Path, seed: u64) -> Result<Places, Failure> {
        let Files { history, report } = files;
        let own = match (history, report) {
            (Some(_), Some(_)) => PathBuf::new(),
            _ => own(runs, seed)?,
        };
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let or = |given: &Option<PathBuf>, name: &str| {
            given.as_ref().map_or_else(|| own.join(name), absolute)
        };
        Ok(Places { history: or(history, "history.jsonl"), report: or(report, "report.html") })
    }

    /// Makes both files, and returns the history's.
    pub fn claim(&self) -> Result<File, Failure> {
        create(&self.report)?;
        create(&self.history)
    }
}

/// A new directory for this run; those of runs long ago go.
fn own(all: &Path, seed: u64) -> Result<PathBuf, Failure> {
    let failed =
        |error: io::Error| Failure::failed(format!("cannot use {}: {error}", all.display()));
    fs::create_dir_all(all).map_err(failed)?;
    let mut runs: Vec<PathBuf> =
        fs::read_dir(all).map_err(failed)?.flatten().map(|entry| entry.path()).collect();
    // Their names begin with the time, in digits of the same number for the next two centuries.
    runs.sort();
    for old in runs.iter().take((runs.len() + 1).saturating_sub(KEPT)) {
        fs::remove_dir_all(old).map_err(failed)?;
    }
    let new = all.join(format!("{}-seed-{seed}", unix_millis()));
    fs::create_dir(&new).map_err(failed)?;
    Ok(new)
}

/// Makes a file: what cannot be written is better known before a run than after it.
pub fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| cannot_write(path, &error))
}

pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_runs_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let all = directory.path().join("verify");
        let made: Vec<PathBuf> =
            (0..KEPT as u64 + 2).map(|seed| own(&all, seed).unwrap()).collect();
        let left = fs::read_dir(&all).unwrap().count();
        assert_eq!(left, KEPT);
        assert!(made[2..].iter().all(|run| run.is_dir()) && !made[1].exists());
    }
}
