//! The command-line tool: see `highwater::cli` and docs/operations.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    highwater::cli::main()
}
