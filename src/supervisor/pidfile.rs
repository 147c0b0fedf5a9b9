//! The file that holds main's process id (`-P`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Removed when the server ends.
#[derive(Debug)]
pub(super) struct Pidfile {
    path: PathBuf,
}

impl Pidfile {
    /// Writes it; an error if the process that it names lives and is this program.
    pub(super) fn write(path: &Path) -> Result<Pidfile, String> {
        let failed = |e: io::Error| format!("pid file {}: {e}", path.display());
        match fs::read_to_string(path) {
            Ok(text) => {
                if let Ok(pid) = text.trim().parse::<i32>()
                    && lives(pid)
                {
                    return Err(format!("pid file {}: process {pid} is already running", path.display()));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
        fs::write(path, format!("{}\n", std::process::id())).map_err(failed)?;
        Ok(Pidfile { path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn remove(&self) {
        if fs::remove_file(&self.path).is_err() {
            // After the change of user the directory may be closed to us, the file is not.
            let _ = fs::write(&self.path, "");
        }
    }
}

/// Whether `pid` is another running process of this program.
fn lives(pid: i32) -> bool {
    if pid <= 1 || pid == std::process::id() as i32 {
        return false;
    }
    match kill(Pid::from_raw(pid), None) {
        Ok(()) | Err(Errno::EPERM) => {}
        Err(_) => return false,
    }
    let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    // The number may belong to somebody else by now.
    match (name(&pid.to_string()), name("self")) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_ones_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        for old in ["", "garbage", "1", "2147483646"] {
            fs::write(&path, old).unwrap();
            let file = Pidfile::write(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
            file.remove();
            assert!(!path.exists());
        }
        assert!(Pidfile::write(&dir.path().join("no/such")).is_err());
    }
}
