//! Child processes that cannot outlive the test program, and what `/proc` says about a process.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{eventually, lock};

/// Where a program is, looked for in `PATH` and the system directories.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Path::new(program).exists().then(|| PathBuf::from(program));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"])
        .map(|dir| Path::new(dir).join(program))
        .find(|p| p.exists())
}

/// A command that gets SIGKILL when the test program ends. Panics when the program is not installed.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let program = program.as_ref().to_string_lossy();
    let path = find(&program)
        .unwrap_or_else(|| panic!("part not installed: {program} (tests/install-parts installs what is missing)"));
    let mut command = Command::new(find("setpriv").expect("part not installed: setpriv (util-linux)"));
    command.args(["--pdeathsig", "KILL", "--"]).arg(path);
    command
}

/// Where this test program keeps its files; gone a moment after it ended, in whatever way.
///
/// A shell waits for the end of a pipe that only this program holds, and then removes the
/// directory and the network namespaces that bear this program's process id.
pub fn base() -> &'static Path {
    static BASE: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (dir, _) = BASE.get_or_init(|| {
        let id = std::process::id().to_string();
        let dir = std::env::temp_dir().join(format!("reprise-tests-{id}"));
        fs::create_dir_all(&dir).expect("directory for the tests' files");
        // Servers that give up root must be able to reach their files.
        fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).expect("permissions");
        let script = "trap '' INT TERM HUP; read nothing; sleep 0.5
            for ns in /run/netns/reprise-$2-*; do [ -e \"$ns\" ] && ip netns del \"${ns##*/}\"; done
            rm -rf \"$1\"";
        let cleaner = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&dir)
            .arg(id)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        (dir, cleaner)
    });
    dir
}

/// A directory of the caller's own, readable for all, gone when dropped.
pub fn directory(prefix: &str) -> TempDir {
    let dir = TempDir::with_prefix_in(format!("{prefix}-"), base()).expect("temporary directory");
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("permissions");
    dir
}

type Request = (Command, Sender<io::Result<Child>>);

/// Starts a command made by [`command`].
///
/// A parent-death signal is sent when the *thread* that forked ends, so one thread that lives as
/// long as the program does all the forking.
pub fn spawn(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (requests, inbox) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(requests)
    });
    let (answer, result) = channel();
    lock(keeper).send((command, answer)).expect("the thread that forks lives");
    result.recv().expect("the thread that forks answers")
}

/// Runs a command to its end and returns its output; panics when it fails.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = command(program).args(args).output().expect("command runs");
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Sends a signal; false when there is no such process. After SIGSTOP every thread of it stands still: the
/// kernel stops each at its next way out, and until then one of them may still answer somebody.
pub fn signal(pid: i32, signal: Signal) -> bool {
    let sent = kill(Pid::from_raw(pid), signal).is_ok();
    if sent && signal == Signal::SIGSTOP {
        eventually("a stopped process stands still", Duration::from_secs(20), || stands_still(pid));
    }
    sent
}

fn stands_still(pid: i32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let moves = |task: &fs::DirEntry| {
        let state = stat_of(&task.path().join("stat")).and_then(|fields| fields.first()?.chars().next());
        !matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
    };
    !tasks.into_iter().any(|task| moves(&task))
}

/// A child's process id as the signed number that the kernel's interfaces take.
pub fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("process id")
}

/// Waits for a child's end, `None` after `timeout`.
pub fn wait_exit(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + timeout;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// SIGKILL and wait.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether the process exists and is not a zombie.
pub fn alive(pid: i32) -> bool {
    state(pid).is_some_and(|s| s != 'Z' && s != 'X')
}

/// The state letter of `/proc/PID/stat` (R, S, D, T, Z).
pub fn state(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// The fields of `/proc/PID/stat` from the third (state) on.
fn stat(pid: i32) -> Option<Vec<String>> {
    stat_of(Path::new(&format!("/proc/{pid}/stat")))
}

fn stat_of(path: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Direct children, in order of their ids.
pub fn children(pid: i32) -> Vec<i32> {
    let mut all: Vec<i32> = task_ids(pid)
        .into_iter()
        .filter_map(|tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<i32>>())
        .collect();
    all.sort_unstable();
    all
}

/// The process and all its descendants.
pub fn tree(pid: i32) -> Vec<i32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&p) = all.get(next) {
        all.extend(children(p));
        next += 1;
    }
    all
}

/// Children that are zombies.
pub fn zombies(pid: i32) -> Vec<i32> {
    children(pid).into_iter().filter(|c| state(*c) == Some('Z')).collect()
}

fn task_ids(pid: i32) -> Vec<i32> {
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    dir.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// How many threads the process has.
pub fn threads(pid: i32) -> usize {
    task_ids(pid).len()
}

/// How many file descriptors the process has open.
pub fn fd_count(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// What the open file descriptors are (`socket:[1234]`, a path ...), for messages.
pub fn fds(pid: i32) -> Vec<String> {
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut all: Vec<(i32, String)> = dir
        .filter_map(|e| {
            let e = e.ok()?;
            let target = fs::read_link(e.path()).ok()?;
            Some((e.file_name().to_str()?.parse().ok()?, target.to_string_lossy().into_owned()))
        })
        .collect();
    all.sort();
    all.into_iter().map(|(fd, target)| format!("{fd} {target}")).collect()
}

/// Resident memory in KiB.
pub fn rss_kib(pid: i32) -> u64 {
    status_kib(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Proportional memory (shared pages divided among their users) in KiB.
pub fn pss_kib(pid: i32) -> u64 {
    status_kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn status_kib(path: &str, field: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|l| l.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The program a process runs, as a path.
pub fn executable(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// CPU time of one process in nanoseconds: its threads that live now by the scheduler's exact
/// count, and its children that have ended (10 ms steps).
pub fn cpu_ns(pid: i32) -> u64 {
    let own: u64 = task_ids(pid)
        .into_iter()
        .filter_map(|tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    // Fields 16 and 17 of stat: user and system time of children that were waited for.
    let reaped: u64 = stat(pid).map_or(0, |f| f.iter().skip(13).take(2).filter_map(|t| t.parse::<u64>().ok()).sum());
    own + reaped * 10_000_000
}

/// CPU time of a process and all its descendants in nanoseconds.
pub fn tree_cpu_ns(pid: i32) -> u64 {
    tree(pid).into_iter().map(cpu_ns).sum()
}

/// Context switches (voluntary and not) of a process and all its descendants.
pub fn tree_switches(pid: i32) -> u64 {
    tree(pid)
        .into_iter()
        .flat_map(|p| {
            let text = fs::read_to_string(format!("/proc/{p}/status")).unwrap_or_default();
            text.lines()
                .filter(|l| l.contains("voluntary_ctxt_switches:"))
                .filter_map(|l| l.split_whitespace().nth(1)?.parse().ok())
                .collect::<Vec<u64>>()
        })
        .sum()
}
