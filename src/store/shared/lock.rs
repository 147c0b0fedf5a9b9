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
/// taken its processor away.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long nobody waits any more after one who waited in vain: a worker loses at most a tenth of its time to a holder
/// that stands still.
const RESENTMENT: Duration = Duration::from_millis(90);

/// The file's name in the store's directory.
pub(super) const FILE: &str = "write.lock";

/// The lock, as one process has it.
pub(super) struct WriteLock {
    file: File,
    stuck_until: Cell<Option<Instant>>,
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
        Ok(WriteLock { file: options.open(dir.join(FILE))?, stuck_until: Cell::new(None) })
    }

    /// Takes it; `None` if somebody else keeps it for too long.
    pub(super) fn take(&self) -> Option<Held<'_>> {
        if self.ask() {
            return Some(Held(self));
        }
        let began = Instant::now();
        if self.stuck_until.get().is_some_and(|until| began < until) {
            return None;
        }
        loop {
            // Whoever holds it may need this processor to go on.
            std::thread::yield_now();
            if self.ask() {
                self.stuck_until.set(None);
                return Some(Held(self));
            }
            if began.elapsed() > PATIENCE {
                self.stuck_until.set(Some(Instant::now() + RESENTMENT));
                return None;
            }
        }
    }

    fn ask(&self) -> bool {
        self.control(libc::F_WRLCK as libc::c_short).is_ok()
    }

    fn control(&self, kind: libc::c_short) -> Result<(), Errno> {
        let region =
            libc::flock { l_type: kind, l_whence: libc::SEEK_SET as libc::c_short, l_start: 0, l_len: 1, l_pid: 0 };
        loop {
            match fcntl(&self.file, FcntlArg::F_SETLK(&region)) {
                Err(Errno::EINTR) => {}
                done => return done.map(|_| ()),
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // To give back what one has does not fail.
        let _ = self.0.control(libc::F_UNLCK as libc::c_short);
    }
}
