//! The store's directory: one per server, made by main before the fork and removed at its end. It is in memory
//! (`/dev/shm`), so that no write waits for a disk; what a killed server left there, the next one removes.

use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What our directories begin with.
const PREFIX: &str = "reprise-store-";
/// All files that may be in one.
const FILES: [&str; 3] = ["data.mdb", "lock.mdb", super::lock::FILE];

/// A directory that is ours as long as this lives.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    dir: Flock<OwnedFd>,
}

impl Home {
    /// Makes a new directory under `parent`, and removes what dead servers of this user left there. `token` makes
    /// its name its own.
    pub fn make(parent: &Path, token: u64) -> io::Result<Home> {
        sweep(parent);
        let path = parent.join(format!("{PREFIX}{}-{token:016x}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let Some(dir) = claim(&path) else {
            return Err(io::Error::other(format!("{} cannot be locked", path.display())));
        };
        Ok(Home { path, dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it another user's, before privileges are given up.
    pub fn give(&self, uid: Option<Uid>, gid: Option<Gid>) -> io::Result<()> {
        Ok(fchown(&*self.dir, uid, gid)?)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        remove(&self.path, &self.dir);
    }
}

/// The directory, if nobody else has it.
fn claim(path: &Path) -> Option<Flock<OwnedFd>> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    let dir = open(path, flags, Mode::empty()).ok()?;
    Flock::lock(dir, FlockArg::LockExclusiveNonblock).ok()
}

fn remove(path: &Path, dir: &Flock<OwnedFd>) {
    for name in FILES {
        let _ = unlinkat(&**dir, name, UnlinkatFlags::NoRemoveDir);
    }
    let _ = fs::remove_dir(path);
}

/// Removes the directories whose servers are dead.
fn sweep(parent: &Path) {
    let Ok(list) = fs::read_dir(parent) else { return };
    let me = geteuid();
    for entry in list.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let path = entry.path();
        let allowed =
            || fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir() && (me.is_root() || m.uid() == me.as_raw()));
        if ours
            && allowed()
            && !young(&path)
            && let Some(dir) = claim(&path)
        {
            remove(&path, &dir);
        }
    }
}

/// Whether its server may not have had the time yet to lock it.
fn young(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|m| m.modified()).ok();
    modified.and_then(|at| at.elapsed().ok()).is_none_or(|age| age.as_secs() < 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_server_left_is_removed_and_what_lives_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let living = Home::make(parent.path(), 1).unwrap();
        let dead = parent.path().join("reprise-store-1-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("data.mdb"), b"x").unwrap();
        let other = parent.path().join("somebody-else");
        fs::create_dir(&other).unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        for dir in [&dead, living.path(), &other] {
            fs::File::open(dir).unwrap().set_modified(old).unwrap();
        }
        let second = Home::make(parent.path(), 2).unwrap();
        assert!(!dead.exists());
        assert!(living.path().exists() && second.path().exists() && other.exists());
        let path = second.path().to_path_buf();
        fs::write(path.join("data.mdb"), b"x").unwrap();
        drop(second);
        assert!(!path.exists());
    }
}
