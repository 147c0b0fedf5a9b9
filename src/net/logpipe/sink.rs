//! Where main's log lines go in the end: stderr, or syslog, or both. Neither may block main.

use super::{Format, Lines, LogSettings, severity};
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};

/// What waits for a slow reader of stderr.
const BUFFER: usize = 1 << 20;
/// A pipe or terminal that is said to be writable takes this much without blocking.
const SAFE_WRITE: usize = 1024;

/// How to write without blocking, by what stderr is.
enum Way {
    /// A file description of our own, non-blocking.
    Own(OwnedFd),
    /// A file: writing never waits for a reader.
    Plain,
    /// A socket: `MSG_DONTWAIT`.
    Socket,
    /// Something shared with others that could not be opened anew: ask poll, write little.
    Polled,
}

struct Stderr {
    way: Way,
    journal: bool,
    waiting: Vec<u8>,
    lost: u64,
}

struct SyslogOut {
    facility: u8,
    ident: String,
    socket: Option<UnixDatagram>,
    retry: Option<Instant>,
    lost: u64,
}

/// The outputs that are switched on.
pub(super) struct Sink {
    stderr: Option<Stderr>,
    syslog: Option<SyslogOut>,
    prefix: Vec<u8>,
    stderr_lines: Lines,
    syslog_lines: Lines,
    scratch: Vec<u8>,
}

impl Sink {
    pub(super) fn open(settings: &LogSettings) -> Sink {
        let stderr =
            settings.stderr.then(|| Stderr { way: way(), journal: read_by_journald(), waiting: Vec::new(), lost: 0 });
        let syslog = settings.syslog.as_ref().map(|s| SyslogOut {
            facility: s.facility,
            ident: s.ident.clone(),
            socket: None,
            retry: None,
            lost: 0,
        });
        Sink {
            stderr,
            syslog,
            prefix: settings.prefix.clone().into_bytes(),
            stderr_lines: settings.stderr_lines,
            syslog_lines: settings.syslog_lines,
            scratch: Vec::new(),
        }
    }

    /// Takes one line; false if an output lost it. `priority`: the severity, with eight times the facility of syslog if the
    /// line has one of its own.
    pub(super) fn line(&mut self, priority: u8, micros: u64, pid: i32, text: &[u8]) -> bool {
        let (facility, severity) = (priority >> 3, priority & 7);
        let mut whole = std::mem::take(&mut self.scratch);
        whole.clear();
        whole.extend_from_slice(&self.prefix);
        whole.extend_from_slice(text);
        let (err, sys) = (self.stderr_lines, self.syslog_lines);
        let a = self.stderr.as_mut().filter(|_| passes(err, severity)).is_none_or(|s| match err.format {
            Format::Plain => s.line(severity, micros, pid, &whole),
            format => s.raw(&json(format, severity, micros, pid, &whole)),
        });
        let b = self.syslog.as_mut().filter(|_| passes(sys, severity)).is_none_or(|s| match sys.format {
            Format::Plain => s.line(facility, severity, pid, &whole),
            format => s.line(facility, severity, pid, &json(format, severity, micros, pid, &whole)),
        });
        self.scratch = whole;
        a && b
    }

    pub(super) fn flush(&mut self) {
        if let Some(stderr) = &mut self.stderr {
            stderr.flush();
        }
    }

    pub(super) fn blocked(&self) -> bool {
        self.stderr.as_ref().is_some_and(|s| !s.waiting.is_empty())
    }

    pub(super) fn finish(&mut self) {
        let end = Instant::now() + Duration::from_millis(200);
        while self.blocked() && Instant::now() < end {
            let stderr = std::io::stderr();
            let _ = poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(50u8));
            self.flush();
        }
    }
}

/// Whether an output wants lines of this severity.
fn passes(lines: Lines, line: u8) -> bool {
    line <= severity(lines.level)
}

/// A line as an object.
fn json(format: Format, severity: u8, micros: u64, pid: i32, text: &[u8]) -> Vec<u8> {
    let mut time = String::new();
    stamp(&mut time, micros);
    let object = serde_json::json!({
        "time": time, "pid": pid, "level": name(severity), "message": String::from_utf8_lossy(text),
    });
    let head = if format == Format::JsonCee { "@cee: " } else { "" };
    format!("{head}{object}").into_bytes()
}

/// journald says which stream it reads (`JOURNAL_STREAM=device:inode`); children of a service that
/// have another stderr are not meant.
fn read_by_journald() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    let Ok(stat) = fstat(std::io::stderr()) else { return false };
    device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
}

fn way() -> Way {
    let Ok(stat) = fstat(std::io::stderr()) else { return Way::Plain };
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFREG || kind == SFlag::S_IFBLK {
        return Way::Plain;
    }
    if kind == SFlag::S_IFSOCK {
        return Way::Socket;
    }
    // O_NONBLOCK on the fd itself would be felt by everybody who shares it, up to the operator's shell.
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_APPEND;
    match open("/proc/self/fd/2", flags, Mode::empty()) {
        Ok(fd) => Way::Own(fd),
        Err(_) => Way::Polled,
    }
}

impl Stderr {
    fn line(&mut self, severity: u8, micros: u64, pid: i32, text: &[u8]) -> bool {
        if self.waiting.len() + text.len() > BUFFER {
            self.flush();
        }
        if self.waiting.len() + text.len() > BUFFER {
            self.lost += 1;
            return false;
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            let told = format!("{lost} log lines were lost: the log's reader is too slow");
            self.put(4, micros, pid, told.as_bytes());
        }
        self.put(severity, micros, pid, text);
        self.flush();
        true
    }

    /// Takes a line as it is to be written.
    fn raw(&mut self, line: &[u8]) -> bool {
        if self.waiting.len() + line.len() > BUFFER {
            self.flush();
        }
        if self.waiting.len() + line.len() > BUFFER {
            self.lost += 1;
            return false;
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            let told = format!(
                "{{\"level\":\"WARN\",\"message\":\"{lost} log lines were lost: the log's reader is too slow\"}}\n"
            );
            self.waiting.extend_from_slice(told.as_bytes());
        }
        self.waiting.extend_from_slice(line);
        self.waiting.push(b'\n');
        self.flush();
        true
    }

    fn put(&mut self, severity: u8, micros: u64, pid: i32, text: &[u8]) {
        let mut head = String::new();
        if self.journal {
            let _ = write!(head, "<{severity}>");
        } else {
            stamp(&mut head, micros);
            let _ = write!(head, " {} [{pid}] ", name(severity));
        }
        self.waiting.extend_from_slice(head.as_bytes());
        self.waiting.extend_from_slice(text);
        self.waiting.push(b'\n');
    }

    fn flush(&mut self) {
        let mut done = 0;
        while let Some(rest) = self.waiting.get(done..).filter(|r| !r.is_empty()) {
            match self.write(rest) {
                Ok(0) | Err(Errno::EAGAIN) => break,
                Ok(n) => done += n,
                Err(Errno::EINTR) => {}
                // Closed, or the disk is full: these lines cannot be saved.
                Err(_) => done = self.waiting.len(),
            }
        }
        self.waiting.drain(..done.min(self.waiting.len()));
    }

    fn write(&self, data: &[u8]) -> Result<usize, Errno> {
        let stderr = std::io::stderr();
        match &self.way {
            Way::Own(fd) => nix::unistd::write(fd, data),
            Way::Plain => nix::unistd::write(stderr, data),
            Way::Socket => send(stderr.as_raw_fd(), data, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Way::Polled => {
                let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut fds, PollTimeout::ZERO)? == 0 {
                    return Err(Errno::EAGAIN);
                }
                nix::unistd::write(&stderr, data.get(..SAFE_WRITE).unwrap_or(data))
            }
        }
    }
}

impl SyslogOut {
    /// `facility` 0: the log's own.
    fn line(&mut self, facility: u8, severity: u8, pid: i32, text: &[u8]) -> bool {
        let facility = if facility == 0 { self.facility } else { facility };
        // RFC 3164 section 4.1 without the time: the local syslog daemon stamps it itself.
        let mut datagram =
            format!("<{}>{}[{pid}]: ", u16::from(facility) * 8 + u16::from(severity), self.ident).into_bytes();
        if self.lost > 0 {
            datagram.extend_from_slice(format!("({} lines lost before this one) ", self.lost).as_bytes());
        }
        datagram.extend_from_slice(text);
        for _ in 0..2 {
            let Some(socket) = self.connected() else { break };
            match socket.send(&datagram) {
                Ok(_) => {
                    self.lost = 0;
                    return true;
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                // The daemon was restarted: its socket is another one now.
                Err(_) => self.socket = None,
            }
        }
        self.lost += 1;
        false
    }

    fn connected(&mut self) -> Option<&UnixDatagram> {
        if self.socket.is_none() {
            let now = Instant::now();
            if self.retry.is_some_and(|t| now < t) {
                return None;
            }
            let opened = UnixDatagram::unbound().and_then(|s| {
                s.connect("/dev/log")?;
                s.set_nonblocking(true)?;
                Ok(s)
            });
            self.retry = if opened.is_err() { Some(now + Duration::from_secs(1)) } else { None };
            self.socket = opened.ok();
        }
        self.socket.as_ref()
    }
}

fn name(severity: u8) -> &'static str {
    match severity {
        0 | 1 => "ALERT",
        2 => "CRIT",
        3 => "ERROR",
        4 => "WARN",
        5 => "NOTICE",
        6 => "INFO",
        _ => "DEBUG",
    }
}

/// Appends the time in UTC (RFC 3339). No time zone is looked up: that would read files.
pub(super) fn stamp(out: &mut String, micros: u64) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970, in years that begin in March so that leap days come last.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{fraction:06}Z");
}

#[cfg(test)]
impl Sink {
    /// What stderr would get of these lines of process 7.
    pub(super) fn collected(&mut self, lines: &[(u8, &str)]) -> Vec<String> {
        let (read, write) = nix::unistd::pipe().unwrap();
        self.stderr = Some(Stderr { way: Way::Own(write), journal: false, waiting: Vec::new(), lost: 0 });
        for (severity, text) in lines {
            assert!(self.line(*severity, 1_732_143_995_123_456, 7, text.as_bytes()));
        }
        self.stderr = None;
        let mut all = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(read), &mut all).unwrap();
        all.lines().map(str::to_owned).collect()
    }
}
