//! `exec` on a real loop with real children.

#![allow(clippy::unwrap_used)]

mod oploop;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use oploop::{Loop, alone, open_fds, threads};
use reprise::ops::exec::Limits;
use reprise::ops::{CancelReason, ExecOutcome, ExecRequest, Failure, Outcome, Phase, Request, Why};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

fn sh(command: &str) -> ExecRequest {
    ExecRequest { command: command.into(), stdout: true, stderr: true, ..ExecRequest::default() }
}

fn exited(outcome: Outcome) -> ExecOutcome {
    match outcome {
        Outcome::Exec(e) => e,
        other => panic!("{other:?}"),
    }
}

fn failed(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(f) => f,
        other => panic!("{other:?}"),
    }
}

fn run(l: &mut Loop, request: ExecRequest) -> ExecOutcome {
    exited(l.run(Request::Exec(request), LONG))
}

fn alive(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.contains(") Z "),
        Err(_) => false,
    }
}

/// Our fds above 2 that children inherit.
fn not_closed_on_exec() -> usize {
    let fds = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let inherited = |fd: &std::fs::DirEntry| {
        let info = std::fs::read_to_string(fd.path()).unwrap_or_default();
        let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).map_or("02000000", str::trim);
        u64::from_str_radix(flags, 8).unwrap() & 0o2000000 == 0
    };
    fds.filter(|fd| fd.file_name().to_string_lossy().parse::<u32>().is_ok_and(|n| n > 2)).filter(inherited).count()
}

/// Everything the operations opened is closed again and every child is reaped.
struct Clean {
    fds: usize,
    timers: usize,
}

impl Clean {
    fn before(l: &Loop) -> Clean {
        Clean { fds: open_fds(), timers: l.reactor.timers() }
    }

    fn after(self, l: &mut Loop) {
        l.until(LONG, "the last child reaped", |l| l.driver.is_empty() && open_fds() == self.fds);
        assert_eq!(l.driver.exec().children(), 0);
        assert_eq!(l.reactor.timers(), self.timers);
        let child = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT);
        assert_eq!(child, Err(nix::errno::Errno::ECHILD), "a child is left");
    }
}

#[test]
fn output_status_environment_and_input() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let out = run(&mut l, sh("echo one; echo two >&2; printf three; exit 7"));
    assert_eq!((out.status, &out.stdout[..], &out.stderr[..]), (7, &b"one\nthree"[..], &b"two\n"[..]));
    assert!(!out.truncated);

    let request = ExecRequest {
        env: vec![("OSIPS_EXEC_0".into(), "a b".into()), ("OSIPS_EXEC_1".into(), "".into())],
        stdin: Some("in\0put".into()),
        ..sh("echo \"$OSIPS_EXEC_0,$OSIPS_EXEC_1,${OSIPS_EXEC_2-none}\"; cat")
    };
    assert_eq!(run(&mut l, request).stdout, b"a b,,none\nin\0put");

    let missing = run(&mut l, sh("/nonexistent/command"));
    assert_eq!(missing.status, 127);
    assert!(missing.stderr.ends_with(b"not found\n"), "{missing:?}");
    assert_eq!(run(&mut l, sh("/etc/passwd")).status, 126);
    assert_eq!(run(&mut l, sh("kill -TERM $$")).status, 128 + 15);
    assert_eq!(run(&mut l, sh("")).status, 0);
    let quiet = ExecRequest { stdout: false, stderr: false, ..sh("echo lost; echo lost >&2; sleep 0.1; exit 3") };
    let out = run(&mut l, quiet);
    assert_eq!((out.status, out.stdout.len(), out.stderr.len()), (3, 0, 0));
    let pipe = "yes | head -1; trap '' PIPE; (sleep 0.05; echo x) | true";
    assert_eq!(run(&mut l, sh(pipe)).stdout, b"y\n", "SIGPIPE has its default action in the child");
    clean.after(&mut l);
}

#[test]
fn the_child_inherits_no_descriptor_and_leads_its_group() {
    let _alone = alone();
    let mut l = Loop::new();
    let out = run(&mut l, sh("ls /proc/self/fd | wc -l; cut -d' ' -f1,5 /proc/$$/stat"));
    let text = String::from_utf8(out.stdout).unwrap();
    let mut lines = text.lines();
    // 0, 1, 2, the directory that ls reads, and what whoever runs the tests left open across exec.
    assert_eq!(lines.next().unwrap(), (4 + not_closed_on_exec()).to_string());
    let ids: Vec<_> = lines.next().unwrap().split(' ').collect();
    assert_eq!(ids[0], ids[1]);
    let masks = run(&mut l, sh("grep -E 'Sig(Blk|Ign)' /proc/self/status"));
    let masks = String::from_utf8(masks.stdout).unwrap();
    // Signals 1 to 31; the next two belong to the C library.
    let standard = |mask: &str| u64::from_str_radix(&mask[mask.len() - 16..], 16).unwrap() & 0x7fff_ffff;
    assert!(masks.lines().all(|m| standard(m) == 0), "{masks}");
}

#[test]
fn a_large_input_and_output_pass_through() {
    let _alone = alone();
    let mut l = Loop::new();
    l.driver.exec().set_limits(Limits { output: 4 << 20, ..Limits::default() });
    let clean = Clean::before(&l);
    let input: Vec<u8> = (0..2_000_000u32).map(|i| i as u8).collect();
    let out = run(&mut l, ExecRequest { stdin: Some(input.clone().into()), ..sh("cat; echo end >&2") });
    assert!(out.stdout == input && !out.truncated);
    assert_eq!(out.stderr, b"end\n");
    // One that does not read its input is not an error.
    let out = run(&mut l, ExecRequest { stdin: Some(input.into()), ..sh("echo done") });
    assert_eq!((out.status, &out.stdout[..]), (0, &b"done\n"[..]));
    clean.after(&mut l);
}

#[test]
fn output_beyond_the_limit_is_dropped_and_said() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let out = run(&mut l, sh("head -c 1000000 /dev/zero; echo no >&2; exit 4"));
    assert_eq!((out.status, out.stdout.len(), out.truncated), (4, 64 * 1024, true));
    assert_eq!(out.stderr, b"no\n");
    clean.after(&mut l);
}

#[test]
fn endless_output_ends_at_the_deadline_and_leaves_the_loop_free() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let begin = Instant::now();
    let f = failed(l.run(Request::Exec(sh("yes & yes >&2")), Duration::from_millis(500)));
    assert_eq!((f.why, f.phase), (Why::Timeout, Phase::Receive));
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(l.turns < 2000, "{} turns", l.turns);
    clean.after(&mut l);
}

#[test]
fn a_failure_names_the_phase_that_the_command_was_in() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let limit = Duration::from_millis(400);
    let unread = ExecRequest { stdin: Some(vec![b'x'; 1 << 20].into()), ..sh("exec sleep 60") };
    for (request, phase) in [
        (unread, Phase::Send),
        (sh("exec sleep 60"), Phase::Wait),
        (sh("echo begun; exec sleep 60"), Phase::Receive),
        (sh("echo begun >&2; exec >&- 2>&-; exec sleep 60"), Phase::Receive),
    ] {
        let f = failed(l.run(Request::Exec(request), limit));
        assert_eq!((f.why, f.phase), (Why::Timeout, phase));
    }
    clean.after(&mut l);
}

#[test]
fn the_deadline_kills_the_grandchildren_too() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    let id = l.start(Request::Exec(sh(&format!("sleep 60 & echo $! $$ > {path}; wait"))), Duration::from_millis(300));
    l.until(LONG, "the pids", |_| std::fs::read_to_string(file.path()).unwrap().ends_with('\n'));
    let pids = std::fs::read_to_string(file.path()).unwrap();
    assert!(pids.split_whitespace().all(alive));
    assert_eq!(l.driver.info(id).map(|i| i.phase), Some(Phase::Wait));
    assert_eq!(failed(l.wait(id)).why, Why::Timeout);
    drop(file);
    clean.after(&mut l);
    l.until(LONG, "their end", |_| !pids.split_whitespace().any(alive));
}

#[test]
fn the_deadline_ends_a_child_that_is_stopped_or_does_not_read() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let limit = Duration::from_millis(300);
    let f = failed(l.run(Request::Exec(sh("echo early; kill -STOP $$; echo late")), limit));
    assert_eq!((f.why, f.phase), (Why::Timeout, Phase::Receive));
    // More than a pipe holds.
    let stdin = Some(vec![b'x'; 2_000_000].into());
    let f = failed(l.run(Request::Exec(ExecRequest { stdin: stdin.clone(), ..sh("sleep 60") }), limit));
    assert_eq!((f.why, f.phase), (Why::Timeout, Phase::Send));
    // It closes its outputs and reads no more, and lives: that is no end.
    let quiet = sh("exec >&- 2>&-; head -c 5 >/dev/null; kill -STOP $$");
    let f = failed(l.run(Request::Exec(ExecRequest { stdin, ..quiet }), limit));
    assert_eq!((f.why, f.phase), (Why::Timeout, Phase::Send));
    clean.after(&mut l);
}

#[test]
fn what_has_left_the_group_holds_nothing() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let file = tempfile::NamedTempFile::new().unwrap();
    let command = format!("setsid sh -c 'echo $$ > {}; exec sleep 60' & wait", file.path().display());
    let id = l.start(Request::Exec(sh(&command)), Duration::from_millis(500));
    l.until(LONG, "the pid", |_| std::fs::read_to_string(file.path()).unwrap().ends_with('\n'));
    let pid = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(failed(l.wait(id)).why, Why::Timeout);
    drop(file);
    clean.after(&mut l);
    // It lives on with our pipes closed at this end.
    assert!(alive(pid.trim()));
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn without_file_descriptors_commands_wait_for_each_other() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, open_fds() as u64 + 20, hard).unwrap();
    let ids: Vec<_> =
        (0..40).map(|i| (i, l.start(Request::Exec(sh(&format!("sleep 0.05; echo {i}"))), LONG))).collect();
    let running = l.driver.exec().children();
    let outs: Vec<_> = ids.into_iter().map(|(i, id)| (i, exited(l.wait(id)))).collect();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(running > 0 && running < 10, "{running}");
    for (i, out) in outs {
        assert_eq!((out.status, out.stdout), (0, format!("{i}\n").into_bytes()));
    }
    clean.after(&mut l);
}

#[test]
fn a_grandchild_that_holds_the_output_does_not_hold_the_operation() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let begin = Instant::now();
    let out = run(&mut l, sh("sleep 3 & echo started"));
    assert_eq!((out.status, &out.stdout[..]), (0, &b"started\n"[..]));
    assert!(begin.elapsed() < Duration::from_secs(1));
    clean.after(&mut l);
}

#[test]
fn closing_the_output_is_not_the_end() {
    let _alone = alone();
    let mut l = Loop::new();
    let begin = Instant::now();
    let out = run(&mut l, sh("exec >&- 2>&-; sleep 0.3; exit 9"));
    assert_eq!(out.status, 9);
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[test]
fn cancelling_answers_at_once_in_every_phase() {
    let _alone = alone();
    let mut l = Loop::new();
    l.driver.exec().set_limits(Limits { children: 1, queue: 1, ..Limits::default() });
    let clean = Clean::before(&l);
    let first = l.start(Request::Exec(sh("sleep 60")), LONG);
    let second = l.start(Request::Exec(sh("echo second")), LONG);
    let third = l.start(Request::Exec(sh("echo third")), LONG);
    assert_eq!(l.driver.info(second).map(|i| i.phase), Some(Phase::Queue));
    assert_eq!(l.driver.info(second).map(|i| i.backend), Some("echo".into()));
    assert_eq!(failed(l.wait(third)).why, Why::Overload);
    l.cancel(first, CancelReason::Gone);
    assert_eq!(failed(l.done.remove(&first).unwrap().0).why, Why::Cancelled);
    assert_eq!(exited(l.wait(second)).stdout, b"second\n");
    let first = l.start(Request::Exec(sh("sleep 60")), LONG);
    let second = l.start(Request::Exec(sh("echo second")), LONG);
    l.cancel(second, CancelReason::Operator);
    let f = failed(l.done.remove(&second).unwrap().0);
    assert_eq!((f.why, f.phase), (Why::Cancelled, Phase::Queue));
    l.cancel(first, CancelReason::Shutdown);
    clean.after(&mut l);
}

#[test]
fn three_hundred_at_once() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let ids: Vec<_> = (0..300)
        .map(|i| (i, l.start(Request::Exec(sh(&format!("sleep 0.2; echo {i}; exit {}", i % 100))), LONG)))
        .collect();
    assert_eq!(l.driver.len(), 300);
    assert_eq!(l.driver.exec().children(), 200);
    for (i, id) in ids {
        let out = exited(l.wait(id));
        assert_eq!((out.status, out.stdout), (i % 100, format!("{i}\n").into_bytes()));
    }
    clean.after(&mut l);
}

#[test]
fn a_request_that_cannot_begin_ends_at_once() {
    let _alone = alone();
    let mut l = Loop::new();
    let clean = Clean::before(&l);
    let bad =
        [sh("echo \0"), sh(&"x".repeat(200_000)), ExecRequest { env: vec![("A=B".into(), "x".into())], ..sh("true") }];
    for request in bad {
        assert_eq!(failed(l.run(Request::Exec(request), LONG)).why, Why::BadRequest);
    }
    clean.after(&mut l);
}

#[test]
fn dropping_the_driver_kills_the_children() {
    let _alone = alone();
    let mut l = Loop::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    l.start(Request::Exec(sh(&format!("echo $$ > {}; sleep 60; true", file.path().display()))), LONG);
    l.until(LONG, "the pid", |_| std::fs::read_to_string(file.path()).unwrap().ends_with('\n'));
    let pid = std::fs::read_to_string(file.path()).unwrap();
    drop(l);
    let begin = Instant::now();
    while alive(pid.trim()) {
        assert!(begin.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid.trim().parse().unwrap()), None).unwrap();
}

#[test]
fn no_thread_is_started() {
    let _alone = alone();
    // The test runner has threads of its own: only what runs alone in a process can count them.
    let me = std::env::current_exe().unwrap();
    let args = ["--exact", "alone_in_a_process", "--ignored", "--test-threads=1", "--nocapture"];
    let out = std::process::Command::new(me).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by no_thread_is_started"]
fn alone_in_a_process() {
    let before = threads();
    let mut l = Loop::new();
    let ids: Vec<_> = (0..20).map(|_| l.start(Request::Exec(sh("sleep 0.1; echo x")), LONG)).collect();
    assert_eq!(threads(), before);
    for id in ids {
        assert_eq!(exited(l.wait(id)).stdout, b"x\n");
        assert_eq!(threads(), before);
    }
}

/// A command that needs no shell gets none, and cannot tell.
#[test]
fn with_and_without_a_shell_it_is_the_same() {
    let _alone = alone();
    let mut l = Loop::new();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    // No first line that names an interpreter: only a shell can run it.
    std::fs::write(&script, "echo $1 $#; exit 3\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    for command in [
        "/usr/bin/env".to_owned(),
        "/bin/echo a  b=c ./d".to_owned(),
        "/bin/false".to_owned(),
        "/bin/pwd".to_owned(),
        "/nonexistent/command x".to_owned(),
        format!("{script} one two"),
    ] {
        let ask = |command: &str| ExecRequest { env: vec![("SIP_X".into(), "y".into())], ..sh(command) };
        let (without, with) = (run(&mut l, ask(&command)), run(&mut l, ask(&format!("{command} ;"))));
        let lines = |text: &[u8]| {
            let text = String::from_utf8_lossy(text).into_owned();
            let mut lines: Vec<String> = text.lines().filter(|l| !l.starts_with("_=")).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(without.status, with.status, "{command}");
        assert_eq!(lines(&without.stdout), lines(&with.stdout), "{command}");
        assert_eq!(lines(&without.stderr), lines(&with.stderr), "{command}");
    }
}
