//! `kvctl completions`: what makes a shell complete kvctl's words.

use clap::CommandFactory;

use super::failure::Outcome;
use super::{Arguments, output};

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl completions bash > ~/.local/share/bash-completion/completions/kvctl
  kvctl completions zsh > ~/.zfunc/_kvctl
  kvctl completions fish > ~/.config/fish/completions/kvctl.fish")]
pub struct Completions {
    /// Which shell
    pub shell: clap_complete::Shell,
}

pub fn run(command: &Completions) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(command.shell, &mut Arguments::command(), "kvctl", &mut text);
    output::write(&text)?;
    Ok(0)
}
