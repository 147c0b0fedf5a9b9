//! `exec`: a command in a child process, as `/bin/sh -c` runs it; by the shell itself, unless all that it would do is
//! to execute one program.
//!
//! The child leads its own process group. Its pipes and its pidfd are in the poll; an operation ends
//! when the child has exited **and** its output reached the end. Something the child left running may
//! hold its output open: that is waited for only [`Limits::grace`]. At the deadline the whole group is
//! killed and the outcome is known at once; the dead are reaped when their pidfd says so.

mod command;

use self::command::{no_room, start};
use super::{CancelReason, Cx, Engine, ExecOutcome, ExecRequest, Failure, OpId, Outcome, Phase, Why};
use crate::base::{Key, Slab, Str, Time, TimerKey};
use crate::net::reactor::{Interest, Io, Readiness, Source};
use crate::net::sys::pidfd_open;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

/// What the children of one process may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Children alive at once; more requests wait.
    pub children: usize,
    /// Requests that wait for a child to end; one more fails at once.
    pub queue: usize,
    /// Bytes kept of each of standard output and standard error; what follows is read and dropped.
    pub output: usize,
    /// How long output is waited for after the child's exit.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { children: 200, queue: 1000, output: 64 * 1024, grace: Duration::from_millis(200) }
    }
}

/// Bytes read from (or written to) one pipe in one turn.
const BUDGET: usize = 64 * 1024;
/// Output beyond the limit is read once in this time, so that an endless writer cannot keep the loop busy.
const DROP_PACE: Duration = Duration::from_millis(2);
/// How often a child is looked at that has no pidfd.
const REAP_PACE: Duration = Duration::from_millis(20);

/// Children started in one turn of the loop: for each, the kernel suspends us until it executes its program, which takes
/// long where processors are short.
const STARTS_PER_TURN: usize = 4;
/// Stands for no job: more are to be started.
const NEXT_TURN: Key = Key { index: u32::MAX, generation: u32::MAX };

/// Which of a job's fds (or timers) an event is about: the two low bits of its key's index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The pidfd; as a timer: the grace after the exit, or the next look at a child without pidfd.
    Exit = 0,
    Stdin = 1,
    /// As a timer: more output to drop.
    Stdout = 2,
    /// As a timer: more output to drop.
    Stderr = 3,
}

fn token(job: Key, part: Part) -> Key {
    Key { index: job.index << 2 | part as u32, generation: job.generation }
}

fn parse_token(key: Key) -> (Key, Part) {
    let part = match key.index & 3 {
        0 => Part::Exit,
        1 => Part::Stdin,
        2 => Part::Stdout,
        _ => Part::Stderr,
    };
    (Key { index: key.index >> 2, generation: key.generation }, part)
}

/// What is still to be written to a child.
struct Feed {
    pipe: File,
    bytes: Str,
    written: usize,
}

/// One output of a child.
#[derive(Default)]
struct Sink {
    pipe: Option<File>,
    kept: Vec<u8>,
    truncated: bool,
    /// Paces the reading of what is dropped.
    pace: Option<TimerKey>,
}

/// What one call of [`Sink::read`] ended in.
enum Progress {
    /// Nothing more for now.
    Blocked,
    /// The budget is used up.
    More,
    /// End of file.
    End,
}

impl Sink {
    fn read(&mut self, limit: usize) -> Progress {
        let Some(pipe) = &mut self.pipe else { return Progress::End };
        let mut buffer = [0; 16 * 1024];
        for _ in 0..BUDGET / buffer.len() {
            match pipe.read(&mut buffer) {
                Ok(0) => return Progress::End,
                Ok(n) => {
                    let keep = n.min(limit.saturating_sub(self.kept.len()));
                    self.kept.extend(buffer.iter().take(keep));
                    self.truncated |= keep < n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Progress::Blocked,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Progress::End,
            }
        }
        Progress::More
    }

    fn close(&mut self, io: &mut Io<'_>) {
        if let Some(pipe) = self.pipe.take() {
            io.deregister(&pipe);
        }
        if let Some(timer) = self.pace.take() {
            io.disarm(timer);
        }
    }
}

/// One child, until it is reaped and its outcome is told.
struct Job {
    /// `None` once the outcome is told and only the reaping is left.
    op: Option<OpId>,
    /// First word of the command.
    program: String,
    child: Child,
    /// `None` if the system gave none; then a timer looks after the child.
    pidfd: Option<OwnedFd>,
    stdin: Option<Feed>,
    stdout: Sink,
    stderr: Sink,
    /// Bytes kept of each output.
    limit: usize,
    /// Known once the child is reaped.
    status: Option<i32>,
    /// The grace after the exit, or the next look at a child without pidfd.
    timer: Option<TimerKey>,
}

impl Job {
    /// Ends the child and all it started in its group. Only while the child is not reaped: then
    /// its process group cannot be somebody else's.
    fn kill(&self) {
        if self.status.is_none()
            && let Ok(pid) = i32::try_from(self.child.id())
        {
            // ESRCH: it is dead already and waits to be reaped.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Where it stands: its input is still being written, its output has begun, or it is waited for.
    fn phase(&self) -> Phase {
        let begun = |sink: &Sink| !sink.kept.is_empty() || sink.truncated;
        if begun(&self.stdout) || begun(&self.stderr) {
            Phase::Receive
        } else if self.stdin.is_some() {
            Phase::Send
        } else {
            Phase::Wait
        }
    }

    fn close_pipes(&mut self, io: &mut Io<'_>) {
        if let Some(feed) = self.stdin.take() {
            io.deregister(&feed.pipe);
        }
        self.stdout.close(io);
        self.stderr.close(io);
    }

    fn close_all(&mut self, io: &mut Io<'_>) {
        self.close_pipes(io);
        if let Some(fd) = self.pidfd.take() {
            io.deregister(&fd);
        }
        if let Some(timer) = self.timer.take() {
            io.disarm(timer);
        }
    }
}

/// `/dev/null`, for what a child is not to read or write: opened once, so that no start of a child opens a file.
struct Nothing(Option<File>);

impl Default for Nothing {
    fn default() -> Nothing {
        Nothing(File::options().read(true).write(true).open("/dev/null").ok())
    }
}

/// The children of one process.
#[derive(Default)]
pub struct Exec {
    limits: Limits,
    jobs: Slab<Job>,
    running: HashMap<OpId, Key>,
    /// Who waits for a child to end, in their order; may name some that wait no more.
    queue: VecDeque<OpId>,
    waiting: HashMap<OpId, ExecRequest>,
    /// The system had no room for the latest child, and the log says so.
    short: bool,
    /// Children started in the turn of this time.
    started: (Time, usize),
    /// More are to be started in the next turn.
    asked: bool,
    nothing: Nothing,
}

impl Exec {
    /// Sets what the children may use from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// How many children are alive or not reaped yet.
    pub fn children(&self) -> usize {
        self.jobs.len()
    }

    /// Starts a child. The request comes back if the system has no room for one more now, but may have when another
    /// one of ours has ended.
    fn spawn(&mut self, id: OpId, request: ExecRequest, cx: &mut Cx<'_>) -> Option<ExecRequest> {
        let mut child = match start(&request, self.nothing.0.as_ref()) {
            Ok(child) => child,
            Err(e) if !self.jobs.is_empty() && no_room(&e) => {
                if !self.short {
                    log::warn!("exec: {e} with {} commands running: others wait for their end", self.jobs.len());
                }
                self.short = true;
                return Some(request);
            }
            Err(e) => {
                let why = match e.raw_os_error() {
                    None | Some(libc::E2BIG) => Why::BadRequest,
                    Some(_) => Why::System,
                };
                cx.done(id, Outcome::Failed(Failure::new(why, Phase::Send, e.to_string())));
                return None;
            }
        };
        self.short = false;
        let stdin = child.stdin.take().map(|p| File::from(OwnedFd::from(p)));
        let stdout = child.stdout.take().map(|p| File::from(OwnedFd::from(p)));
        let stderr = child.stderr.take().map(|p| File::from(OwnedFd::from(p)));
        let pidfd = pidfd_open(child.id()).ok();
        let job = Job {
            op: Some(id),
            program: program(&request),
            child,
            pidfd,
            stdin: stdin.zip(request.stdin).map(|(pipe, bytes)| Feed { pipe, bytes, written: 0 }),
            stdout: Sink { pipe: stdout, ..Sink::default() },
            stderr: Sink { pipe: stderr, ..Sink::default() },
            limit: if request.most > 0 { request.most } else { self.limits.output },
            status: None,
            timer: None,
        };
        let key = self.jobs.insert(job);
        self.running.insert(id, key);
        let job = self.jobs.get_mut(key)?;
        if let Err(e) = watch(job, key, cx) {
            let failure = Failure::new(Why::System, Phase::Send, e.to_string());
            self.give_up(key, Outcome::Failed(failure), cx);
            return None;
        }
        self.write_stdin(key, cx);
        None
    }

    /// Starts what waited, as far as there is room and this turn allows.
    fn start_waiting(&mut self, cx: &mut Cx<'_>) {
        if self.started.0 != cx.now() {
            self.started = (cx.now(), 0);
        }
        while self.jobs.len() < self.limits.children {
            let Some(id) = self.queue.pop_front() else { return };
            let Some(request) = self.waiting.remove(&id) else { continue };
            let left = if self.started.1 < STARTS_PER_TURN {
                self.started.1 += 1;
                self.spawn(id, request, cx)
            } else {
                if !self.asked {
                    self.asked = true;
                    cx.io.again(Source::Exec, NEXT_TURN);
                }
                Some(request)
            };
            if let Some(request) = left {
                self.queue.push_front(id);
                self.waiting.insert(id, request);
                return;
            }
        }
    }

    fn write_stdin(&mut self, key: Key, cx: &mut Cx<'_>) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        let Some(feed) = &mut job.stdin else { return };
        let mut budget = BUDGET;
        loop {
            let rest = feed.bytes.get(feed.written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            if budget == 0 {
                cx.io.again(Source::Exec, token(key, Part::Stdin));
                return;
            }
            match feed.pipe.write(rest.get(..budget).unwrap_or(rest)) {
                Ok(n) => {
                    feed.written += n;
                    budget = budget.saturating_sub(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The child does not want it, which is its right.
                Err(_) => break,
            }
        }
        if let Some(feed) = job.stdin.take() {
            cx.io.deregister(&feed.pipe);
        }
    }

    fn read_output(&mut self, key: Key, part: Part, cx: &mut Cx<'_>) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        let limit = job.limit;
        let exited = job.status.is_some();
        let sink = if part == Part::Stdout { &mut job.stdout } else { &mut job.stderr };
        if sink.pipe.is_none() || sink.pace.is_some() {
            return;
        }
        match sink.read(limit) {
            Progress::Blocked => {}
            Progress::More if sink.truncated && exited => sink.close(&mut cx.io),
            Progress::More if sink.truncated => {
                sink.pace = Some(cx.arm(cx.now() + DROP_PACE, Source::Exec, token(key, part)));
            }
            Progress::More => cx.io.again(Source::Exec, token(key, part)),
            Progress::End => sink.close(&mut cx.io),
        }
        self.finish_if_complete(key, cx);
    }

    /// Looks whether the child has exited.
    fn reap(&mut self, key: Key, cx: &mut Cx<'_>) {
        let grace = self.limits.grace;
        let Some(job) = self.jobs.get_mut(key) else { return };
        if job.status.is_none() {
            job.status = match job.child.try_wait() {
                Ok(Some(s)) => Some(s.code().unwrap_or_else(|| s.signal().map_or(-1, |n| n.saturating_add(128)))),
                Ok(None) => {
                    if job.pidfd.is_none() {
                        job.timer = Some(cx.arm(cx.now() + REAP_PACE, Source::Exec, token(key, Part::Exit)));
                    }
                    return;
                }
                // Somebody else reaped it: how it ended is not known.
                Err(_) => Some(-1),
            };
            if let Some(fd) = job.pidfd.take() {
                cx.io.deregister(&fd);
            }
            if job.op.is_none() {
                self.jobs.remove(key);
                self.start_waiting(cx);
                return;
            }
            job.timer = Some(cx.arm(cx.now() + grace, Source::Exec, token(key, Part::Exit)));
        }
        self.read_output(key, Part::Stdout, cx);
        self.read_output(key, Part::Stderr, cx);
        self.finish_if_complete(key, cx);
    }

    fn finish_if_complete(&mut self, key: Key, cx: &mut Cx<'_>) {
        if let Some(job) = self.jobs.get(key)
            && job.status.is_some()
            && job.stdout.pipe.is_none()
            && job.stderr.pipe.is_none()
        {
            self.finish(key, cx);
        }
    }

    /// Tells the outcome of a child that has exited.
    fn finish(&mut self, key: Key, cx: &mut Cx<'_>) {
        let Some(mut job) = self.jobs.remove(key) else { return };
        job.close_all(&mut cx.io);
        if let Some(op) = job.op.take() {
            self.running.remove(&op);
            let outcome = ExecOutcome {
                status: job.status.unwrap_or(-1),
                truncated: job.stdout.truncated || job.stderr.truncated,
                stdout: std::mem::take(&mut job.stdout.kept),
                stderr: std::mem::take(&mut job.stderr.kept),
            };
            cx.done(op, Outcome::Exec(outcome));
        }
        self.start_waiting(cx);
    }

    /// Tells `outcome` now, kills the group, and leaves the reaping for later.
    fn give_up(&mut self, key: Key, outcome: Outcome, cx: &mut Cx<'_>) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.kill();
        job.close_pipes(&mut cx.io);
        if let Some(op) = job.op.take() {
            self.running.remove(&op);
            cx.done(op, outcome);
        }
        if job.status.is_some() {
            job.close_all(&mut cx.io);
            self.jobs.remove(key);
            self.start_waiting(cx);
        }
    }
}

/// The first word of the command: the rest may hold passwords.
pub(super) fn program(request: &ExecRequest) -> String {
    let word = request.command.split(u8::is_ascii_whitespace).find(|w| !w.is_empty()).unwrap_or_default();
    String::from_utf8_lossy(word.get(..64).unwrap_or(word)).into_owned()
}

/// Makes our ends of the pipes non-blocking and registers everything.
fn watch(job: &mut Job, key: Key, cx: &mut Cx<'_>) -> io::Result<()> {
    let mut registered = false;
    if let Some(fd) = &job.pidfd {
        registered = cx.register(fd, Source::Exec, token(key, Part::Exit), Interest::READABLE).is_ok();
    }
    if !registered {
        job.pidfd = None;
        job.timer = Some(cx.arm(cx.now() + REAP_PACE, Source::Exec, token(key, Part::Exit)));
    }
    let pipes = [
        (job.stdin.as_ref().map(|f| &f.pipe), Part::Stdin, Interest::WRITABLE),
        (job.stdout.pipe.as_ref(), Part::Stdout, Interest::READABLE),
        (job.stderr.pipe.as_ref(), Part::Stderr, Interest::READABLE),
    ];
    for (pipe, part, interest) in pipes {
        let Some(pipe) = pipe else { continue };
        let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL)?);
        fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        cx.register(pipe, Source::Exec, token(key, part), interest)?;
    }
    Ok(())
}

impl Engine for Exec {
    type Request = ExecRequest;

    fn start(&mut self, id: OpId, request: ExecRequest, _deadline: Time, cx: &mut Cx<'_>) {
        if self.jobs.len() + self.waiting.len() >= self.limits.children.saturating_add(self.limits.queue) {
            let failure = Failure::new(Why::Overload, Phase::Queue, "too many commands are running and waiting");
            cx.done(id, Outcome::Failed(failure));
            return;
        }
        self.queue.push_back(id);
        self.waiting.insert(id, request);
        // Names of those that were given up meanwhile.
        if self.queue.len() > 2 * self.waiting.len() + 16 {
            self.queue.retain(|id| self.waiting.contains_key(id));
        }
        self.start_waiting(cx);
    }

    fn ready(&mut self, key: Key, _readiness: Readiness, cx: &mut Cx<'_>) {
        if key == NEXT_TURN {
            self.asked = false;
            return self.start_waiting(cx);
        }
        let (key, part) = parse_token(key);
        match part {
            Part::Exit => self.reap(key, cx),
            Part::Stdin => self.write_stdin(key, cx),
            Part::Stdout | Part::Stderr => self.read_output(key, part, cx),
        }
    }

    fn timer(&mut self, key: Key, cx: &mut Cx<'_>) {
        let (key, part) = parse_token(key);
        let Some(job) = self.jobs.get_mut(key) else { return };
        match part {
            Part::Exit => {
                job.timer = None;
                if job.status.is_none() {
                    self.reap(key, cx);
                } else {
                    // The grace is over: something the child left running holds the output.
                    self.finish(key, cx);
                }
            }
            Part::Stdin => {}
            Part::Stdout | Part::Stderr => {
                let sink = if part == Part::Stdout { &mut job.stdout } else { &mut job.stderr };
                sink.pace = None;
                self.read_output(key, part, cx);
            }
        }
    }

    fn resolved(&mut self, _key: Key, _result: Result<Vec<IpAddr>, String>, _cx: &mut Cx<'_>) {}

    fn cancel(&mut self, id: OpId, reason: CancelReason, cx: &mut Cx<'_>) {
        let why = if reason == CancelReason::Deadline { Why::Timeout } else { Why::Cancelled };
        if self.waiting.remove(&id).is_some() {
            cx.done(id, Outcome::Failed(Failure::new(why, Phase::Queue, "")));
            return;
        }
        let Some(key) = self.running.get(&id).copied() else { return };
        let Some(job) = self.jobs.get(key) else { return };
        if job.status.is_some() && why == Why::Timeout {
            // The command itself ended in time.
            self.finish(key, cx);
        } else {
            let phase = job.phase();
            self.give_up(key, Outcome::Failed(Failure::new(why, phase, "")), cx);
        }
    }

    fn describe(&self, id: OpId) -> Option<(String, Phase)> {
        if let Some(job) = self.running.get(&id).and_then(|k| self.jobs.get(*k)) {
            return Some((format!("{} (pid {})", job.program, job.child.id()), job.phase()));
        }
        Some((program(self.waiting.get(&id)?), Phase::Queue))
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        for (_, job) in self.jobs.iter() {
            job.kill();
        }
    }
}
