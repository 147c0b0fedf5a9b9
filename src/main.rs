//! The `reprise` binary: parse flags, call the library.

fn main() -> std::process::ExitCode {
    reprise::cli::main()
}
