//! The command line: flags and sub-commands.

pub mod ctl;
pub mod functions;

/// Entry of the binary. Parses the command line and runs what it asks for.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
