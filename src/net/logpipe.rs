//! The log: never blocks, never panics, loses the newest lines rather than time.
//!
//! A child writes records to a non-blocking pipe of its own; main reads the pipes and hands the lines
//! to stderr or syslog ([`sink`]). Main's own lines go to the same sink. What a slow reader does not
//! take waits in a bounded buffer; what does not fit there is counted, and a later line says how many
//! lines were lost.
//!
//! The `log` crate's macros are the only way to write. Its five levels are mapped to the OpenSIPS
//! scale (-3 alert to 4 debug); the three levels that it lacks are chosen by target:
//! `log::info!(target: NOTICE, ...)`, `log::error!(target: ALERT, ...)`, `log::error!(target: CRIT, ...)`.

pub mod sink;

use log::{LevelFilter, Log, Metadata, Record};
use sink::Sink;
use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Target of lines at level -3.
pub const ALERT: &str = "alert";
/// Target of lines at level -2.
pub const CRIT: &str = "crit";
/// Target of lines at level 2.
pub const NOTICE: &str = "notice";

/// Longest text of one call, in bytes; the rest is cut off.
const MAX_TEXT: usize = 16 << 10;
/// What a child keeps while main does not read.
const CHILD_BUFFER: usize = 256 << 10;

/// Where lines go and how many.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// Lines up to this level are written: -3 alert, -2 critical, -1 error, 1 warning, 2 notice,
    /// 3 info, 4 debug.
    pub level: i8,
    /// Write to stderr (with journald's prefixes when journald reads it).
    pub stderr: bool,
    /// Write to the system's syslog.
    pub syslog: Option<Syslog>,
    /// Put in front of each line's text (`log_prefix`).
    pub prefix: String,
    /// How lines look on stderr, and up to which level they are written there.
    pub stderr_lines: Lines,
    /// The same for syslog.
    pub syslog_lines: Lines,
}

/// What an output makes of its lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lines {
    /// How they look.
    pub format: Format,
    /// Lines up to this level are written (OpenSIPS scale), besides what the log's own level says.
    pub level: i8,
}

impl Default for Lines {
    fn default() -> Self {
        Lines { format: Format::Plain, level: i8::MAX }
    }
}

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Format {
    /// Time, level, process, text.
    #[default]
    Plain,
    /// An object with `time`, `pid`, `level` and `message`, in one line.
    Json,
    /// The same behind `@cee: `, as log collectors expect it.
    JsonCee,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            level: 2,
            stderr: true,
            syslog: None,
            prefix: String::new(),
            stderr_lines: Lines::default(),
            syslog_lines: Lines::default(),
        }
    }
}

/// How to appear in syslog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Syslog {
    /// Facility number (RFC 5424 section 6.2.1).
    pub facility: u8,
    /// The program's name.
    pub ident: String,
}

/// The facility number of `LOG_DAEMON`, `daemon`, `LOG_LOCAL0` and so on.
pub fn facility(name: &str) -> Option<u8> {
    const NAMES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
        "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
    ];
    let name = name.strip_prefix("LOG_").unwrap_or(name).to_ascii_lowercase();
    NAMES.iter().position(|n| *n == name).map(|i| i as u8)
}

/// The level of a line on the OpenSIPS scale.
pub(crate) fn level_of(meta: &Metadata<'_>) -> i8 {
    match (meta.target(), meta.level()) {
        (ALERT, _) => -3,
        (CRIT, _) => -2,
        (NOTICE, _) => 2,
        (_, log::Level::Error) => -1,
        (_, log::Level::Warn) => 1,
        (_, log::Level::Info) => 3,
        (_, log::Level::Debug) => 4,
        (_, log::Level::Trace) => 5,
    }
}

/// The syslog severity (RFC 5424 section 6.2.1) of a level.
pub(crate) fn severity(level: i8) -> u8 {
    match level {
        ..=-3 => 1,
        -2 => 2,
        -1..=0 => 3,
        1 => 4,
        2 => 5,
        3 => 6,
        _ => 7,
    }
}

enum Out {
    /// In main.
    Main(Box<Sink>),
    /// In a child.
    Child(ChildPipe),
}

struct Inner {
    out: Out,
    text: String,
}

impl Inner {
    fn flush(&mut self) {
        match &mut self.out {
            Out::Main(sink) => sink.flush(),
            Out::Child(pipe) => pipe.flush(),
        }
    }
}

struct Logger {
    level: AtomicI8,
    /// Whether the level is another one than the configuration's.
    changed: AtomicBool,
    lost: AtomicU64,
    inner: Mutex<Inner>,
}

/// The process's log. Copies mean the same log.
#[derive(Clone, Copy)]
pub struct LogHandle(&'static Logger);

static INSTALLED: OnceLock<LogHandle> = OnceLock::new();

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").field("level", &self.level()).finish_non_exhaustive()
    }
}

/// Makes the log and gives it to the `log` crate. Once, early in main; the memory is never freed. If
/// the `log` crate has a logger already, its macros keep using that one.
pub fn install(settings: &LogSettings) -> LogHandle {
    let logger: &'static Logger = Box::leak(Box::new(Logger {
        level: AtomicI8::new(2),
        changed: AtomicBool::new(false),
        lost: AtomicU64::new(0),
        inner: Mutex::new(Inner { out: Out::Main(Box::new(Sink::open(settings))), text: String::new() }),
    }));
    let handle = LogHandle(logger);
    let _ = INSTALLED.set(handle);
    if log::set_logger(logger).is_ok() {
        handle.set_level(settings.level);
    } else {
        logger.level.store(settings.level, Relaxed);
    }
    handle
}

/// A log that goes nowhere, for a process without one of its own (a simulation).
pub fn nowhere() -> LogHandle {
    static NOWHERE: OnceLock<LogHandle> = OnceLock::new();
    *NOWHERE.get_or_init(|| {
        let settings = LogSettings { stderr: false, ..LogSettings::default() };
        LogHandle(Box::leak(Box::new(Logger {
            level: AtomicI8::new(2),
            changed: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            inner: Mutex::new(Inner { out: Out::Main(Box::new(Sink::open(&settings))), text: String::new() }),
        })))
    })
}

impl LogHandle {
    /// Lines up to this level are written.
    pub fn level(&self) -> i8 {
        self.0.level.load(Relaxed)
    }

    /// Changes the level (-3 to 4) while the server runs: the configuration's does not hold any more.
    pub fn change_level(&self, level: i8) {
        self.0.changed.store(true, Relaxed);
        self.set_level(level);
    }

    /// The level, if it was changed while the server ran. A process that is made later inherits it.
    pub fn changed_level(&self) -> Option<i8> {
        self.0.changed.load(Relaxed).then(|| self.level())
    }

    /// Sets the level (-3 to 4).
    pub fn set_level(&self, level: i8) {
        self.0.level.store(level, Relaxed);
        log::set_max_level(match level {
            ..=0 => LevelFilter::Error,
            1 => LevelFilter::Warn,
            2 | 3 => LevelFilter::Info,
            4 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        });
    }

    /// In main: opens other outputs, as the configuration says.
    pub fn reconfigure(&self, settings: &LogSettings) {
        self.set_level(settings.level);
        let mut inner = self.lock();
        if let Out::Main(sink) = &mut inner.out {
            sink.finish();
            **sink = Sink::open(settings);
        }
    }

    /// In a child: lines go to `pipe` from now on.
    pub fn become_child(&self, pipe: OwnedFd) {
        self.0.lost.store(0, Relaxed);
        let mut inner = self.lock();
        let old = std::mem::replace(&mut inner.out, Out::Child(ChildPipe::new(pipe)));
        // Its fds were closed when the child was made; dropping would close strangers.
        std::mem::forget(old);
    }

    /// Writes what waits, as far as that is possible at once. Once per turn of a loop.
    pub fn flush(&self) {
        self.lock().flush();
    }

    /// Whether something waits for the reader.
    pub fn blocked(&self) -> bool {
        match &self.lock().out {
            Out::Main(sink) => sink.blocked(),
            Out::Child(pipe) => !pipe.waiting.is_empty(),
        }
    }

    /// In a child: the pipe, to be watched for writability.
    pub fn raw_fd(&self) -> Option<RawFd> {
        match &self.lock().out {
            Out::Main(_) => None,
            Out::Child(pipe) => Some(pipe.fd.as_raw_fd()),
        }
    }

    /// Lines this process has lost so far.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }

    /// In main, right before the end: gives a slow reader a fifth of a second.
    pub fn finish(&self) {
        if let Out::Main(sink) = &mut self.lock().out {
            sink.finish();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In main: a record that a child wrote.
    fn forward(&self, priority: u8, micros: u64, pid: i32, text: &[u8]) {
        let mut inner = self.lock();
        if let Out::Main(sink) = &mut inner.out
            && !sink.line(priority, micros, pid, text)
        {
            self.0.lost.fetch_add(1, Relaxed);
        }
    }
}

impl Log for Logger {
    fn enabled(&self, meta: &Metadata<'_>) -> bool {
        level_of(meta) <= self.level.load(Relaxed)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.write(severity(level_of(record.metadata())), *record.args());
        }
    }

    fn flush(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.flush();
    }
}

impl Logger {
    fn write(&self, priority: u8, args: fmt::Arguments<'_>) {
        let micros = u64::try_from(crate::net::sys::realtime().as_micros()).unwrap_or(0);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { out, text } = &mut *inner;
        text.clear();
        // A Display that fails has written what it could.
        let _ = Bounded(text).write_fmt(args);
        for line in text.trim_end_matches(['\n', '\r']).split('\n') {
            let line = clean(line);
            let taken = match out {
                Out::Main(sink) => sink.line(priority, micros, std::process::id() as i32, line.as_bytes()),
                Out::Child(pipe) => pipe.line(priority, micros, line.as_bytes()),
            };
            if !taken {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Writes a line whatever the log's level is: for lines that were judged by a limit of their own
/// (`xlog_level`, `$log_level`). `facility`: of syslog (RFC 5424 section 6.2.1), if not the log's own. False before
/// [`install`].
pub fn write_unfiltered(level: i8, facility: Option<u8>, text: &str) -> bool {
    let Some(handle) = INSTALLED.get() else { return false };
    handle.0.write(facility.map_or(0, |f| f.min(23) << 3) | severity(level), format_args!("{text}"));
    true
}

/// A string that stops growing at [`MAX_TEXT`].
struct Bounded<'a>(&'a mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = MAX_TEXT.saturating_sub(self.0.len());
        if s.len() <= room {
            self.0.push_str(s);
            return Ok(());
        }
        let end = (0..=room).rev().find(|i| s.is_char_boundary(*i)).unwrap_or(0);
        self.0.push_str(s.get(..end).unwrap_or_default());
        self.0.push_str("...");
        // Stops the formatting.
        Err(fmt::Error)
    }
}

/// `line` with control characters escaped: what came from the network must not steer a terminal.
fn clean(line: &str) -> std::borrow::Cow<'_, str> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if !line.chars().any(|c| c.is_control() && c != '\t') {
        return line.into();
    }
    let mut out = String::with_capacity(line.len() + 8);
    for c in line.chars() {
        if c.is_control() && c != '\t' {
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// A child's way to main. Records are `<priority>micros text\n`: the severity, with eight times the facility of syslog where
/// the line has one of its own.
struct ChildPipe {
    fd: OwnedFd,
    waiting: Vec<u8>,
    lost: u64,
}

impl ChildPipe {
    fn new(fd: OwnedFd) -> ChildPipe {
        ChildPipe { fd, waiting: Vec::new(), lost: 0 }
    }

    fn line(&mut self, priority: u8, micros: u64, text: &[u8]) -> bool {
        if self.waiting.len() + text.len() > CHILD_BUFFER {
            self.flush();
        }
        if self.waiting.len() + text.len() > CHILD_BUFFER {
            self.lost += 1;
            return false;
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.put(4, micros, format!("{lost} log lines were lost: the log's reader is too slow").as_bytes());
        }
        self.put(priority, micros, text);
        self.flush();
        true
    }

    fn put(&mut self, priority: u8, micros: u64, text: &[u8]) {
        self.waiting.extend_from_slice(format!("<{priority}>{micros} ").as_bytes());
        self.waiting.extend_from_slice(text);
        self.waiting.push(b'\n');
    }

    fn flush(&mut self) {
        let mut done = 0;
        while let Some(rest) = self.waiting.get(done..).filter(|r| !r.is_empty()) {
            match nix::unistd::write(self.fd.as_fd(), rest) {
                Ok(n) => done += n,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    // Main is gone; so will we be soon.
                    done = self.waiting.len();
                }
            }
        }
        self.waiting.drain(..done.min(self.waiting.len()));
    }
}

/// Main's end of a child's pipe.
#[derive(Debug)]
pub struct PipeReader {
    fd: OwnedFd,
    pid: i32,
    partial: Vec<u8>,
}

/// Both ends of a new log pipe: main's, and the child's to be given to [`LogHandle::become_child`].
pub fn pipe() -> io::Result<(PipeReader, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // More room for bursts; the limit for users may forbid it.
    let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(256 << 10));
    Ok((PipeReader { fd: read, pid: 0, partial: Vec::new() }, write))
}

impl PipeReader {
    /// Whose lines these are.
    pub fn set_pid(&mut self, pid: i32) {
        self.pid = pid;
    }

    /// Hands on what is there, up to 256 KiB. `Ok(true)`: call again, there may be more. `Ok(false)`:
    /// nothing more now. An error or `UnexpectedEof`: the child is gone.
    pub fn drain(&mut self, log: LogHandle) -> io::Result<bool> {
        let mut buffer = [0u8; 16 << 10];
        for _ in 0..16 {
            match nix::unistd::read(self.fd.as_fd(), &mut buffer) {
                Ok(0) => {
                    self.partial.push(b'\n');
                    self.lines(log);
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(n) => {
                    self.partial.extend_from_slice(buffer.get(..n).unwrap_or_default());
                    self.lines(log);
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }

    fn lines(&mut self, log: LogHandle) {
        let mut start = 0;
        while let Some(end) = memchr::memchr(b'\n', self.partial.get(start..).unwrap_or_default()) {
            let line = self.partial.get(start..start + end).unwrap_or_default();
            start += end + 1;
            if !line.is_empty() {
                let (priority, micros, text) = parse_record(line);
                log.forward(priority, micros, self.pid, text);
            }
        }
        self.partial.drain(..start);
        // A child writes no longer lines than this; whatever it is, it is not kept.
        if self.partial.len() > 4 * MAX_TEXT {
            self.partial.clear();
        }
    }
}

fn parse_record(line: &[u8]) -> (u8, u64, &[u8]) {
    let parsed = (|| {
        let inner = line.strip_prefix(b"<")?;
        let close = inner.iter().take(4).position(|b| *b == b'>')?;
        let priority: u8 = std::str::from_utf8(inner.get(..close)?).ok()?.parse().ok().filter(|p| *p < 192)?;
        let rest = inner.get(close + 1..)?;
        let space = memchr::memchr(b' ', rest)?;
        let micros = std::str::from_utf8(rest.get(..space)?).ok()?.parse().ok()?;
        Some((priority, micros, rest.get(space + 1..)?))
    })();
    parsed.unwrap_or((4, u64::try_from(crate::net::sys::realtime().as_micros()).unwrap_or(0), line))
}

impl AsRawFd for PipeReader {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
