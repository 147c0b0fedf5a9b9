//! Memory that a process shares with the children it forks: one anonymous `MAP_SHARED` region.
//!
//! What it is for: counters, the bus rings, the datagram a worker has in hand. What it is not for:
//! anything that needs a lock, or that must survive the server.
//!
//! The only view of the memory is through relaxed or ordered atomics and bounds-checked copies; no
//! Rust reference to its plain bytes ever exists.

#![allow(unsafe_code)]

use heed::{EnvFlags, EnvOpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::stat::fstat;

/// Opens the LMDB file in `dir`, which may grow to `size` bytes and has places for so many readers. Nothing is
/// synchronized to a disk.
pub(super) fn open_map(dir: &Path, size: usize, readers: u32) -> heed::Result<heed::Env> {
    let mut options = EnvOpenOptions::new();
    options.map_size(size).max_readers(readers);
    // SAFETY: without a sync the file does not survive the machine, which nobody asks of it: the store is wiped at
    // each start. What LMDB promises of a process that dies holds all the same.
    unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC | EnvFlags::NO_MEM_INIT) };
    // SAFETY: the mapped file may change in no other way than through LMDB: it lies in a directory that only this
    // server's user may enter, made by this server (`shared::home`); the map is read-only for this process.
    let env = unsafe { options.open(dir) }?;
    close_on_exec(&env)?;
    Ok(env)
}

/// LMDB opens its data file so that commands would inherit it, and shows only copies of the descriptor: the file itself
/// tells which one it is.
fn close_on_exec(env: &heed::Env) -> heed::Result<()> {
    let io = |e: nix::Error| heed::Error::Io(e.into());
    let copy = env.try_clone_inner_file()?;
    let file = fstat(&copy).map_err(io)?;
    // The copy has the lowest number that was free; what was opened with the map is not far above.
    for number in 0..copy.as_raw_fd().saturating_add(64) {
        // SAFETY: for a number that is not open both calls fail with EBADF and do nothing.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if fstat(fd).is_ok_and(|f| (f.st_dev, f.st_ino) == (file.st_dev, file.st_ino)) {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(io)?;
        }
    }
    Ok(())
}

/// A zero-filled region, shared with every process forked while it exists. Pages take memory only
/// once they are touched.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
}

impl Region {
    /// Maps `len` bytes, rounded up to whole cache lines.
    pub fn anonymous(len: usize) -> io::Result<Rc<Region>> {
        let len = len.checked_next_multiple_of(64).and_then(NonZeroUsize::new).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: mmap(2) with MAP_ANONYMOUS and no address hint gives fresh pages that nothing else
        // refers to.
        let base = unsafe {
            mmap_anonymous(
                None,
                len,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE,
            )
        }?;
        Ok(Rc::new(Region { base: base.cast(), len: len.get() }))
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A region is never empty; here for completeness.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The 64-bit word at byte `offset`; `None` outside the region or when misaligned.
    #[inline]
    pub fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(8) || offset.checked_add(8)? > self.len {
            return None;
        }
        // SAFETY: in bounds and aligned (the base is page aligned, the offset a multiple of 8);
        // AtomicU64 may be shared between processes; the mapping lives as long as `self`.
        Some(unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU64>() })
    }

    /// Copies `data` to byte `offset`. False (and nothing written) if it does not fit.
    #[inline]
    pub fn put(&self, offset: usize, data: &[u8]) -> bool {
        match offset.checked_add(data.len()) {
            Some(end) if end <= self.len => {
                // SAFETY: the target range is inside the mapping and `data` cannot overlap it, since
                // no slice into the mapping is ever handed out. Another process that writes the same
                // bytes at the same time can only garble them; they are plain bytes and whoever reads
                // them checks what they say.
                unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.base.as_ptr().add(offset), data.len()) };
                true
            }
            _ => false,
        }
    }

    /// Fills `out` from byte `offset`. False (and `out` untouched) if that is outside.
    #[inline]
    pub fn get(&self, offset: usize, out: &mut [u8]) -> bool {
        match offset.checked_add(out.len()) {
            Some(end) if end <= self.len => {
                // SAFETY: as in `put`, with source and target exchanged.
                unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), out.as_mut_ptr(), out.len()) };
                true
            }
            _ => false,
        }
    }

    /// Appends `len` bytes from byte `offset` to `out`. False (and nothing appended) if that is outside.
    #[inline]
    pub fn append_to(&self, offset: usize, len: usize, out: &mut Vec<u8>) -> bool {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => {
                out.reserve(len);
                // SAFETY: `reserve` made room for `len` bytes behind the vector's end, the source is
                // inside the mapping, and set_len covers just the bytes that were written.
                unsafe {
                    let at = out.len();
                    std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), out.as_mut_ptr().add(at), len);
                    out.set_len(at + len);
                }
                true
            }
            _ => false,
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `anonymous` with this very length and nothing borrowed from
        // `self` outlives it.
        let _ = unsafe { munmap(self.base.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn bounds_are_checked() {
        let r = Region::anonymous(100).unwrap();
        assert_eq!(r.len(), 128);
        assert!(r.word(120).is_some());
        assert!(r.word(121).is_none());
        assert!(r.word(128).is_none());
        assert!(r.word(usize::MAX - 7).is_none());
        assert!(r.put(126, b"ab"));
        assert!(!r.put(127, b"ab"));
        assert!(!r.put(usize::MAX, b"ab"));
        let mut two = [0; 2];
        assert!(r.get(126, &mut two));
        assert_eq!(&two, b"ab");
        let mut v = vec![b'x'];
        assert!(r.append_to(126, 2, &mut v));
        assert!(!r.append_to(126, 3, &mut v));
        assert_eq!(v, b"xab");
    }

    #[test]
    fn words_start_at_zero_and_count() {
        let r = Region::anonymous(64).unwrap();
        assert_eq!(r.word(8).unwrap().fetch_add(3, Relaxed), 0);
        assert_eq!(r.word(8).unwrap().load(Relaxed), 3);
    }
}
