//! kvctl: starts clusters, uses them, and breaks them on purpose. See [`kvraft::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kvraft::cli::main()
}
