//! The command line: flags and sub-commands.

pub mod check;
mod counters;
pub mod ctl;
mod databases;
pub mod db;
pub mod demo;
mod dns;
mod equivalents;
mod files;
pub mod functions;
mod groups;
pub mod helper;
mod http;
mod http_client;
mod kamailio;
mod lists;
pub mod load;
mod location;
mod named_routes;
mod names;
mod needs;
pub mod paths;
mod radius;
pub mod scenario;
pub mod server;
pub mod settings;
mod shared;
pub mod simulate;
mod streams;
pub mod summary;
mod transactions;

use crate::script::ast::Dialect;
use crate::script::codes;
use crate::script::parse::Options;
use clap::{Parser, Subcommand};
use server::StartArgs;
use std::path::PathBuf;
use std::process::ExitCode;

/// A SIP server whose routing script never blocks.
#[derive(Parser, Debug)]
#[command(name = "reprise", version, disable_version_flag = true, args_conflicts_with_subcommands = true)]
struct Args {
    /// Configuration file.
    #[arg(short = 'f', value_name = "FILE", default_value = "/etc/reprise/reprise.cfg")]
    file: PathBuf,
    /// Check the configuration and exit with 0 or 1.
    #[arg(short = 'c', short_alias = 'C')]
    check: bool,
    /// Number of workers.
    #[arg(short = 'n', value_name = "N")]
    workers: Option<usize>,
    /// One more listener, as proto:address:port; may be repeated.
    #[arg(short = 'l', value_name = "LISTENER")]
    listen: Vec<String>,
    /// Log to stderr.
    #[arg(short = 'E')]
    stderr: bool,
    /// Accepted: the server always runs in the foreground.
    #[arg(short = 'D', short_alias = 'F')]
    foreground: bool,
    /// Preprocessor define, NAME or NAME=VALUE.
    #[arg(short = 'A', value_name = "NAME[=VALUE]")]
    defines: Vec<String>,
    /// Accepted and ignored: memory is not divided into pools.
    #[arg(short = 'm', value_name = "MB")]
    shared_memory: Option<String>,
    /// Accepted and ignored: memory is not divided into pools.
    #[arg(short = 'M', value_name = "MB")]
    private_memory: Option<String>,
    /// User to become.
    #[arg(short = 'u', value_name = "USER")]
    user: Option<String>,
    /// Group to become.
    #[arg(short = 'g', value_name = "GROUP")]
    group: Option<String>,
    /// File for the process id.
    #[arg(short = 'P', value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Working directory.
    #[arg(short = 'w', value_name = "DIRECTORY")]
    workdir: Option<PathBuf>,
    /// Language of the configuration, instead of recognising it.
    #[arg(long, value_name = "opensips|kamailio", value_parser = dialect)]
    dialect: Option<Dialect>,
    /// Show version and build.
    #[arg(short = 'V', long = "version")]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check configuration files.
    Check {
        /// The files; with --summary also folders, whose *.cfg files are meant.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Sum up what of each file is supported, what has no effect and what is missing.
        #[arg(long)]
        summary: bool,
        /// Print the compiled program too.
        #[arg(long, value_name = "ir")]
        emit: Option<String>,
    },
    /// Ask a running server.
    Ctl(ctl::CtlArgs),
    /// Make, check and fill a database.
    Db(db::DbArgs),
    /// Show in two seconds what a script that waits does to the others: nothing.
    Demo(demo::DemoArgs),
    /// List the script functions, or show one.
    Functions(functions::FunctionsArgs),
    /// Play scenarios: messages, time and answers of databases on a simulated server (docs/scenarios.md).
    #[command(after_help = scenario::HELP)]
    Test(scenario::TestArgs),
    /// Explain a number that a finding shows.
    Explain {
        /// Such as E0203.
        code: String,
    },
}

fn dialect(text: &str) -> Result<Dialect, String> {
    match text {
        "opensips" => Ok(Dialect::OpenSips),
        "kamailio" => Ok(Dialect::Kamailio),
        _ => Err("opensips or kamailio is expected".into()),
    }
}

/// Entry of the binary. Parses the command line and runs what it asks for.
pub fn main() -> ExitCode {
    let args = Args::parse();
    if args.version {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        println!("reprise {} ({build}, {})", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
        return ExitCode::SUCCESS;
    }
    if args.command.as_ref().is_some_and(|c| !matches!(c, Command::Test(_))) {
        // The server installs its own log; the short-lived commands write plain lines to stderr.
        let filter = env_logger::Env::default().default_filter_or("error");
        let _ = env_logger::Builder::from_env(filter).format_timestamp(None).try_init();
    }
    let options = Options { dialect: args.dialect, defines: args.defines };
    match args.command {
        Some(Command::Check { files, summary: true, .. }) => summary::main(&files, &options),
        Some(Command::Check { files, emit, .. }) => check::main(&files, &options, emit.as_deref() == Some("ir")),
        Some(Command::Ctl(ctl)) => ctl::main(&ctl),
        Some(Command::Db(db)) => db::run(db),
        Some(Command::Demo(args)) => demo::main(&args),
        Some(Command::Functions(args)) => functions::main(&args),
        Some(Command::Test(args_of_test)) => scenario::main(&args_of_test, args.dialect),
        Some(Command::Explain { code }) => explain(&code),
        None if args.check => check::main(&[args.file], &options, false),
        None => {
            if args.shared_memory.is_some() || args.private_memory.is_some() {
                eprintln!("reprise: -m and -M are ignored: memory is not divided into pools");
            }
            server::start(&StartArgs {
                file: args.file,
                workers: args.workers,
                listen: args.listen,
                stderr: args.stderr,
                user: args.user,
                group: args.group,
                pidfile: args.pidfile,
                workdir: args.workdir,
                options,
            })
        }
    }
}

fn explain(code: &str) -> ExitCode {
    match codes::find(code) {
        Some(c) => {
            println!("{}: {}\n\n{}", c.code, c.title, c.text);
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("reprise: no finding has the number \"{code}\"");
            ExitCode::FAILURE
        }
    }
}
