//! The lock of whoever writes. LMDB's own waits without a bound: a process that is stopped in the middle of a
//! write (SIGSTOP, a debugger) would stop all others that write. So this one is taken first: a record lock on a
//! file, asked for and never waited for in the system, which releases it when its holder dies.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a write may wait for others. A write takes some microseconds; longer is it only where the system has
/// taken the processor from who writes, and then it is short of processors for all.
const PATIENCE: Duration = Duration::from_millis(100);
/// After how much waiting to look whether the holder stands still, and how often.
const LOOK: Duration = Duration::from_millis(5);
/// How long nobody waits for a holder that was seen to stand still: a worker loses some hundredths of its time to it.
const RESENTMENT: Duration = Duration::from_millis(200);

/// The file's name in the store's directory.
pub(super) const FILE: &str = "write.lock";

/// The lock, as one process has it.
pub(super) struct WriteLock {
    file: File,
    /// Who stood still, and until when nobody waits for it.
    stuck: Cell<Option<(libc::pid_t, Instant)>>,
}

/// The lock is held; dropping it releases it.
pub(super) struct Held<'a>(&'a WriteLock);

impl WriteLock {
    /// Opens the file, and makes it if need be. Record locks are a process's: nobody else of it may open and close
    /// the file.
    pub(super) fn open(dir: &Path) -> io::Result<WriteLock> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW);
        Ok(WriteLock { file: options.open(dir.join(FILE))?, stuck: Cell::new(None) })
    }

    /// Takes it; `None` if somebody else keeps it for too long.
    pub(super) fn take(&self) -> Option<Held<'_>> {
        if self.ask() {
            return Some(Held(self));
        }
        let began = Instant::now();
        if let Some((pid, until)) = self.stuck.get()
            && began < until
            && self.holder() == Some(pid)
        {
            return None;
        }
        let mut look = LOOK;
        loop {
            // Whoever holds it may need this processor to go on.
            std::thread::yield_now();
            if self.ask() {
                self.stuck.set(None);
                return Some(Held(self));
            }
            let waited = began.elapsed();
            if waited > PATIENCE {
                return None;
            }
            if waited > look {
                look = waited + LOOK;
                if let Some(pid) = self.holder().filter(|pid| stands_still(*pid)) {
                    self.stuck.set(Some((pid, Instant::now() + RESENTMENT)));
                    return None;
                }
            }
        }
    }

    /// Who holds it.
    fn holder(&self) -> Option<libc::pid_t> {
        let mut region = region(libc::F_WRLCK);
        fcntl(&self.file, FcntlArg::F_GETLK(&mut region)).ok()?;
        (i32::from(region.l_type) != libc::F_UNLCK).then_some(region.l_pid)
    }

    fn ask(&self) -> bool {
        self.control(libc::F_WRLCK).is_ok()
    }

    fn control(&self, kind: i32) -> Result<(), Errno> {
        let region = region(kind);
        loop {
            match fcntl(&self.file, FcntlArg::F_SETLK(&region)) {
                Err(Errno::EINTR) => {}
                done => return done.map(|_| ()),
            }
        }
    }
}

/// The byte that is locked.
fn region(kind: i32) -> libc::flock {
    let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    libc::flock { l_type, l_whence, l_start: 0, l_len: 1, l_pid: 0 }
}

/// Whether a process was stopped, by a signal or a debugger.
fn stands_still(pid: libc::pid_t) -> bool {
    let Ok(line) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state stands behind the name, which stands in parentheses and may hold anything.
    line.rsplit_once(')').is_some_and(|(_, rest)| matches!(rest.trim_start().as_bytes().first(), Some(b'T' | b't')))
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // To give back what one has does not fail.
        let _ = self.0.control(libc::F_UNLCK);
    }
}
