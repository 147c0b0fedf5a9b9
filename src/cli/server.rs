//! Starting the server: from a loaded configuration to the supervisor.

use super::files::{needed, raise_limit};
use super::helper;
use super::load::load;
use super::paths::Directories;
use super::settings::ServerConfig;
use crate::base::Str;
use crate::modules::async_module::groups::Group;
use crate::modules::emit;
use crate::modules::env::{Env, Listen};
use crate::modules::host::SipHost;
use crate::modules::ipops::machine::Machine;
use crate::modules::time_text::WallClock;
use crate::net::listen::{ListenSpec, Listener};
use crate::net::logpipe;
use crate::ops::driver::OpKind;
use crate::script::ast::Dialect;
use crate::script::parse::Options;
use crate::script::program::Program;
use crate::script::render::render;
use crate::sip::Transport;
use crate::store::shared::home::Home;
use crate::store::{ConnTable, Floods, Turns};
use crate::supervisor::facts::Facts;
use crate::supervisor::{ControlPlan, GroupPlan, HelperPlan, Plan, run};
use crate::worker;
use crate::worker::SAVING;
use crate::worker::seat::{Seat, SeatKind};
use std::io::IsTerminal;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

/// What the command line says about a start.
#[derive(Clone, Debug, Default)]
pub struct StartArgs {
    /// Configuration file.
    pub file: PathBuf,
    /// `-n`
    pub workers: Option<usize>,
    /// `-l`
    pub listen: Vec<String>,
    /// `-E`
    pub stderr: bool,
    /// `-u`, `-g`, `-P`, `-w`
    pub user: Option<String>,
    /// Group to become.
    pub group: Option<String>,
    /// File for main's process id.
    pub pidfile: Option<PathBuf>,
    /// Working directory.
    pub workdir: Option<PathBuf>,
    /// `--dialect`, `-A`
    pub options: Options,
}

/// Runs the server until it is told to stop.
pub fn start(args: &StartArgs) -> ExitCode {
    let loaded = load(&args.file, args.options.clone());
    let colour = std::io::stderr().is_terminal();
    eprint!("{}", render(&loaded.map, &loaded.diags, colour));
    let Some((program, mut config)) = loaded.server else { return ExitCode::FAILURE };
    if args.stderr {
        config.log.stderr = true;
    }
    let demos = Directories::find(args.workdir.as_deref().or(config.workdir.as_deref())).settle(&mut config);
    let log = logpipe::install(&config.log);
    let PlannedParts(mut plan, sqlite) = match plan(args, &config, log) {
        Ok(planned) => planned,
        Err(why) => {
            eprintln!("reprise: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut env = environment(&config, &plan.listeners, random(), WallClock::default());
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    env.settings.machine = Machine::new(&host_name, &crate::net::resolver::config::read(&config.resolver.hosts));
    env.nonce_key = match nonce_key() {
        Ok(key) => key,
        Err(e) => {
            eprintln!("reprise: /dev/urandom: {e}");
            return ExitCode::FAILURE;
        }
    };
    let env = Rc::new(env);
    let streams = plan.listeners.iter().any(|l| l.transport.is_stream());
    raise_limit(config.open_files, needed(&config, &program, streams));
    let conns = match ConnTable::new(plan.workers, config.streams.max_connections) {
        Ok(table) => table,
        Err(e) => {
            eprintln!("reprise: the table of connections: {e}");
            return ExitCode::FAILURE;
        }
    };
    let home = match store_home(args, &config) {
        Ok(home) => home,
        Err(why) => {
            eprintln!("reprise: {why}");
            return ExitCode::FAILURE;
        }
    };
    plan.owned.push(home.path().to_path_buf());
    plan.facts.modules = program.modules.iter().filter(|m| **m != "core").map(|m| (*m).to_string()).collect();
    plan.facts.store = Some((home.path().to_path_buf(), config.store_size));
    let store = Some((inside(config.chroot.as_deref(), home.path()), config.store_size));
    let blueprint = blueprint(program, env, &config, conns, Places { sqlite: sqlite.clone(), store });
    let names: Vec<String> = plan.listeners.iter().map(|l| format!("{}:{}", l.transport, l.addr)).collect();
    emit(
        2,
        logpipe::NOTICE,
        &format!("reprise {}: {} workers on {}", env!("CARGO_PKG_VERSION"), plan.workers, names.join(", ")),
    );
    plan.news = Some(super::names::watch(&config.resolver));
    let code = run(plan, &mut |seat| child(seat, &blueprint, &demos));
    drop(home);
    if let Some(path) = sqlite {
        // Nobody is left who could use it; a leftover is replaced at the next start.
        let _ = std::fs::remove_file(path);
    }
    code
}

/// What a child does: it is a worker or a helper.
fn child(seat: Seat, blueprint: &worker::Blueprint, demos: &[PathBuf]) -> i32 {
    match seat.kind {
        SeatKind::Worker | SeatKind::Task => worker::run::main(seat, blueprint),
        SeatKind::Helper => {
            let slow = blueprint.env.settings.backends.policy(OpKind::Sqlite).slow;
            helper::main(seat, demos, slow)
        }
    }
}

fn plan(args: &StartArgs, config: &ServerConfig, log: logpipe::LogHandle) -> Result<PlannedParts, String> {
    let mut specs = config.sockets.clone();
    for text in &args.listen {
        specs.push(ListenSpec::parse(text).map_err(|e| e.to_string())?);
    }
    super::streams::finish_specs(&mut specs, &config.streams)?;
    if specs.is_empty() {
        let (port, tcp) = config.everywhere;
        specs.push(ListenSpec::new(crate::net::listen::Transport::Udp, "*", port));
        specs.extend(tcp.then(|| ListenSpec::new(crate::net::listen::Transport::Tcp, "*", port)));
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for spec in &specs {
        for mut l in spec.resolve().map_err(|e| e.to_string())? {
            l.index = listeners.len();
            listeners.push(l);
        }
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = match (args.workers, config.workers) {
        (Some(n), _) => n.max(1),
        (None, Some(n)) if config.workers_exact => n.max(1),
        (None, Some(n)) => {
            if n > cpus {
                emit(
                    2,
                    logpipe::NOTICE,
                    &format!(
                        "{n} workers were asked for, {cpus} are started: a worker never blocks, so one per CPU is enough (workers_exact=yes forks them all)"
                    ),
                );
            }
            n.clamp(1, cpus)
        }
        (None, None) => cpus,
    };
    let mut plan = Plan::new(workers, listeners, log);
    plan.extra_counters = config.settings.counters.iter().map(|c| c.name.clone()).collect();
    plan.user.clone_from(&args.user);
    plan.group.clone_from(&args.group);
    plan.pidfile.clone_from(&args.pidfile);
    plan.facts = facts(config);
    plan.workdir = args.workdir.clone().or_else(|| config.workdir.clone());
    plan.drain_timeout = config.drain_timeout;
    plan.saving = config.settings.queues.iter().any(|q| q.database.save).then_some(SAVING);
    plan.hang_timeout = config.hang_timeout;
    plan.core_dumps = config.core_dumps;
    plan.chroot.clone_from(&config.chroot);
    if let Some(n) = config.max_receive {
        plan.sizes.max_receive = n;
    }
    if let Some(n) = config.backlog {
        plan.sizes.backlog = n;
    }
    if let Some(n) = config.bus_size {
        plan.bus_ring_bytes = n;
    }
    if let Some(path) = &config.control_socket {
        plan.control = Some(ControlPlan { path: path.clone(), mode: 0o600 });
    }
    plan.groups = config.settings.groups.iter().map(group_plan).collect();
    let mut sqlite = None;
    if config.settings.db_urls.iter().any(|(_, url)| url.starts_with(b"sqlite")) {
        let dir = runtime_dir(config);
        std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        let path = dir.join(format!("reprise-sqlite-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(|e| format!("cannot make {}: {e}", path.display()))?;
        protect(&path, args)?;
        plan.helpers.push(HelperPlan { name: "sqlite".into(), listener: listener.into() });
        sqlite = Some(path);
    }
    Ok(PlannedParts(plan, sqlite))
}

/// What main tells operators about the start; what else it knows is added where it becomes known.
fn facts(config: &ServerConfig) -> Facts {
    let define = |(name, value): &(Str, Option<Str>)| {
        (name.to_lossy().into_owned(), value.as_ref().map(|v| v.to_lossy().into_owned()))
    };
    Facts {
        aliases: config.aliases.iter().map(|a| (a.host.clone(), a.port)).collect(),
        defines: config.settings.defines.iter().map(define).collect(),
        max_connections: config.streams.max_connections,
        ..Facts::default()
    }
}

fn group_plan(group: &Group) -> GroupPlan {
    GroupPlan { name: group.name.to_lossy().into_owned(), workers: group.workers }
}

/// What lies in files between the processes.
#[derive(Default)]
pub(super) struct Places {
    /// The SQLite helper's socket.
    sqlite: Option<PathBuf>,
    /// The shared store's directory, and to how many bytes it may grow.
    store: Option<(PathBuf, usize)>,
}

/// Makes the directory of the shared store: in memory, or where `store_dir` says.
fn store_home(args: &StartArgs, config: &ServerConfig) -> Result<Home, String> {
    let root = config.chroot.as_deref().unwrap_or(Path::new("/"));
    let runtime = || Directories::find(args.workdir.as_deref().or(config.workdir.as_deref())).runtime;
    let places = match (&config.store_dir, &config.chroot) {
        (Some(dir), _) => vec![root.join(dir.strip_prefix("/").unwrap_or(dir))],
        (None, Some(root)) => vec![root.join("dev/shm"), root.clone()],
        (None, None) => vec![root.join("dev/shm"), runtime()],
    };
    let mut why = String::new();
    for parent in places {
        match Home::make(&parent, random()) {
            Ok(home) => return Ok(home),
            Err(e) => why = format!("the shared store in {}: {e}", parent.display()),
        }
    }
    Err(why)
}

/// A path as whoever lives below `root` sees it.
fn inside(root: Option<&Path>, path: &Path) -> PathBuf {
    match root.and_then(|r| path.strip_prefix(r).ok()) {
        Some(rest) => Path::new("/").join(rest),
        None => path.to_path_buf(),
    }
}

/// A plan and the SQLite helper's socket.
struct PlannedParts(Plan, Option<PathBuf>);

/// Where the server's own sockets may be made: beside the control socket, else where systemd says,
/// else the system's temporary directory.
fn runtime_dir(config: &ServerConfig) -> PathBuf {
    config
        .control_socket
        .as_deref()
        .and_then(Path::parent)
        .filter(|p| !p.as_os_str().is_empty())
        .map(Path::to_path_buf)
        .or_else(|| std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from))
        .unwrap_or_else(std::env::temp_dir)
}

/// Only the server's own user may use its helper.
fn protect(path: &Path, args: &StartArgs) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|e| e.to_string())?;
    if let Some(user) = &args.user {
        let uid = match user.parse::<u32>() {
            Ok(n) => nix::unistd::Uid::from_raw(n),
            Err(_) => {
                nix::unistd::User::from_name(user).ok().flatten().ok_or_else(|| format!("no user \"{user}\""))?.uid
            }
        };
        nix::unistd::chown(path, Some(uid), None).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Eight bytes that nobody can foresee.
fn random() -> u64 {
    let mut random = [0u8; 8];
    if let Ok(mut f) = std::fs::File::open("/dev/urandom") {
        let _ = std::io::Read::read(&mut f, &mut random);
    }
    u64::from_be_bytes(random)
}

/// What nonces are sealed with.
fn nonce_key() -> std::io::Result<[u8; 32]> {
    let mut key = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut key)?;
    Ok(key)
}

/// What runs may know about the server; `random` makes its To-tags its own.
pub(super) fn environment(config: &ServerConfig, listeners: &[Listener], random: u64, clock: WallClock) -> Env {
    let transport = |t: crate::net::listen::Transport| Transport::from_bytes(t.name().to_ascii_uppercase().as_bytes());
    Env {
        listeners: listeners
            .iter()
            .map(|l| Listen {
                transport: transport(l.transport),
                addr: l.addr,
                advertised: l.advertised.as_ref().map(|(h, p)| (Str::from(h.as_str()), Some(*p))),
                tag: l.tag.as_deref().map(Str::from),
            })
            .collect(),
        aliases: config.aliases.clone(),
        settings: config.settings.clone().into(),
        pid: std::process::id(),
        tag_prefix: format!("{:012x}.", random & 0xffff_ffff_ffff),
        started: clock.micros(),
        clock,
        // Each worker opens its own.
        store: None,
        floods: Floods::new().inspect_err(|e| emit(-1, "pike", &format!("sources cannot be counted: {e}"))).ok(),
        turns: Turns::new().inspect_err(|e| emit(-1, "dispatcher", &format!("turns cannot be counted: {e}"))).ok(),
        dispatcher: Default::default(),
        counters: None,
        nonce_key: [0; 32],
        copies: Default::default(),
        level: std::cell::Cell::new(None),
        tag_key: [0; 2],
    }
}

/// What every worker inherits.
pub(super) fn blueprint(
    mut program: Program<SipHost>,
    env: Rc<Env>,
    config: &ServerConfig,
    conns: ConnTable,
    helpers: Places,
) -> worker::Blueprint {
    if let Some(n) = config.max_while_loops {
        // Kamailio: 0 is no bound; a run yields to the others after its budget in any case.
        let unbounded = n == 0 && program.dialect == Dialect::Kamailio;
        program.limits.max_while_loops = if unbounded { u32::MAX } else { n };
    }
    for (name, value) in &config.varset {
        program.set_initial(name, value.clone());
    }
    worker::Blueprint {
        program: Rc::new(program),
        env,
        tm: config.tm.clone(),
        streams: config.streams.clone(),
        conns,
        resolver: config.resolver.clone(),
        sqlite: helpers.sqlite,
        store: helpers.store,
        max_suspended: config.max_suspended,
        budget: 10_000,
    }
}
