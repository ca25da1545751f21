//! A bug of the museum in a living node, in a build that is made to be caught.
//!
//! Compiled only with `--features museum`; no release has it. The bug is named by the environment,
//! which a supervisor hands on to its nodes: `KVRAFT_BUG=ack-before-disk kvctl cluster up`.

use crate::museum::{Bug, Bugs};

/// Names the bug to put back.
pub const VARIABLE: &str = "KVRAFT_BUG";

/// The bug that the environment names; none, if it names none.
///
/// # Errors
/// If the museum has no such bug.
pub fn bugs() -> Result<Bugs, String> {
    let Some(name) = std::env::var_os(VARIABLE) else { return Ok(Bugs::none()) };
    let bug: Bug = name.to_string_lossy().parse()?;
    tracing::warn!("this node has the bug `{bug}` of the museum, on purpose");
    Ok(Bugs::only(bug))
}
