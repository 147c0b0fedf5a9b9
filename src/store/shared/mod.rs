//! What all processes of one server know together: `$shv`, hash tables, queues. One ordered map of bytes, in
//! an LMDB file in memory that no process's death in the middle of a write can spoil.
//!
//! The rules:
//!
//! - Only children open it ([`Shared::open`]), after the fork and once each. Main makes its directory and
//!   removes it ([`home::Home`]).
//! - A transaction is a closure: none outlives the call that made it, so none spans a step of a script.
//! - Who writes takes a lock of our own first ([`lock::WriteLock`]), with a bound; LMDB's own, which knows none,
//!   is free then. The system releases both when their holder dies.
//! - Nothing is written to a disk: what is in the file is gone with the server.
//!
//! A simulation has the same map in its own memory ([`Shared::in_memory`]).

pub mod dialogs;
pub mod home;
mod key;
pub mod lists;
mod lock;
pub mod nonces;
pub mod queues;
pub mod tables;
mod value;
pub mod vars;

#[cfg(test)]
mod tests;

pub use key::{Key, LONGEST_OWNER};
pub use value::Stored;

use super::counters::{Counter, Counters};
use super::shm::open_map;
use heed::types::Bytes;
use heed::{Database, Env, MdbError, RoTxn, RwTxn};
use lock::WriteLock;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::rc::Rc;

/// Most that the store may hold, in bytes. It is address space: memory is taken as it fills.
pub const DEFAULT_SIZE: usize = 512 << 20;
/// Processes that may have the store open at a time.
const READERS: u32 = 2048;

/// Why something could not be read or written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// Another process has held the write lock for too long; nothing was written.
    Busy,
    /// There is no room left; nothing was written.
    Full,
    /// The two keys, or the stored bytes, are not what they should be.
    Garbled,
    /// The system refused.
    System(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Busy => f.write_str("another process holds the shared store"),
            StoreError::Full => f.write_str("the shared store is full (store_size)"),
            StoreError::Garbled => f.write_str("what the shared store holds cannot be read"),
            StoreError::System(why) => write!(f, "the shared store: {why}"),
        }
    }
}

impl From<heed::Error> for StoreError {
    fn from(e: heed::Error) -> StoreError {
        match e {
            heed::Error::Mdb(MdbError::MapFull) => StoreError::Full,
            // The file system is.
            heed::Error::Io(e) if e.raw_os_error() == Some(libc::ENOSPC) => StoreError::Full,
            e => StoreError::System(e.to_string()),
        }
    }
}

/// What an access came to.
pub type Result<T> = std::result::Result<T, StoreError>;

type Bucket = Database<Bytes, Bytes>;
type Memory = BTreeMap<Vec<u8>, Vec<u8>>;

enum Backend {
    Lmdb { env: Env, rows: Bucket, lock: WriteLock },
    Memory(RefCell<Memory>),
}

struct Inner {
    backend: Backend,
    counters: Option<Counters>,
}

/// The store, as one process has it.
#[derive(Clone)]
pub struct Shared(Rc<Inner>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    /// Opens the store in `dir`, which may grow to `size` bytes. Once per process, and not before a fork.
    pub fn open(dir: &Path, size: usize, counters: Option<Counters>) -> io::Result<Shared> {
        let other = |e: heed::Error| io::Error::other(format!("the shared store in {}: {e}", dir.display()));
        let lock = WriteLock::open(dir)?;
        let env = open_map(dir, size, READERS).map_err(other)?;
        // What died readers left would keep pages from being used again.
        env.clear_stale_readers().map_err(other)?;
        // The first read takes this process's place among the readers. Nothing is written: who starts waits for no
        // writer that stands still.
        let txn = env.read_txn().map_err(other)?;
        let rows = env.open_database(&txn, None).map_err(other)?;
        let rows = rows.ok_or_else(|| io::Error::other("the shared store has no rows"))?;
        txn.commit().map_err(other)?;
        Ok(Shared(Rc::new(Inner { backend: Backend::Lmdb { env, rows, lock }, counters })))
    }

    /// A store of this process alone.
    pub fn in_memory() -> Shared {
        Shared(Rc::new(Inner { backend: Backend::Memory(RefCell::default()), counters: None }))
    }

    /// Whether other processes have it too.
    pub fn is_shared(&self) -> bool {
        matches!(self.0.backend, Backend::Lmdb { .. })
    }

    /// Reads: `f` sees one state of the whole store.
    pub fn read<T>(&self, f: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        self.counted(match &self.0.backend {
            Backend::Lmdb { env, rows, .. } => {
                env.read_txn().map_err(StoreError::from).and_then(|txn| f(&View(Rows::Lmdb(rows, &txn))))
            }
            Backend::Memory(map) => f(&View(Rows::Memory(&map.borrow()))),
        })
    }

    /// Writes: all that `f` does happens at once, or nothing if it fails.
    pub fn write<T>(&self, f: impl FnOnce(&mut Change<'_, '_>) -> Result<T>) -> Result<T> {
        self.counted(match &self.0.backend {
            Backend::Lmdb { env, rows, lock } => locked_write(env, rows, lock, f),
            Backend::Memory(map) => {
                // A closure that fails leaves the map as it was.
                let mut map = map.borrow_mut();
                let mut copy = map.clone();
                let done = f(&mut Change(Target::Memory(&mut copy)));
                if done.is_ok() {
                    *map = copy;
                }
                done
            }
        })
    }

    /// Some process died: what it left among the readers is cleared away. How many there were.
    pub fn clear_stale(&self) -> usize {
        match &self.0.backend {
            Backend::Lmdb { env, .. } => env.clear_stale_readers().unwrap_or(0),
            Backend::Memory(_) => 0,
        }
    }

    fn counted<T>(&self, done: Result<T>) -> Result<T> {
        if let (Err(e), Some(counters)) = (&done, &self.0.counters) {
            counters.inc(match e {
                StoreError::Busy => Counter::StoreBusy,
                StoreError::Full => Counter::StoreFull,
                _ => Counter::StoreErrors,
            });
        }
        done
    }
}

fn locked_write<T>(
    env: &Env,
    rows: &Bucket,
    lock: &WriteLock,
    f: impl FnOnce(&mut Change<'_, '_>) -> Result<T>,
) -> Result<T> {
    let held = lock.take().ok_or(StoreError::Busy)?;
    step("locked");
    let mut txn = env.write_txn()?;
    step("begun");
    // An error drops the transaction, which undoes it.
    let value = f(&mut Change(Target::Lmdb(rows, &mut txn)))?;
    step("changed");
    txn.commit()?;
    step("committed");
    drop(held);
    step("released");
    Ok(value)
}

/// Where the unit tests end their process in the middle of a write, or make it stand still (`stop:NAME`): at the step
/// that `REPRISE_TEST_STORE_STEP` names.
#[inline]
fn step(_name: &str) {
    #[cfg(test)]
    if let Some(wanted) = std::env::var_os("REPRISE_TEST_STORE_STEP") {
        if wanted == _name {
            std::process::abort();
        }
        if wanted == *format!("stop:{_name}") {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        }
    }
}

enum Rows<'a> {
    Lmdb(&'a Bucket, &'a RoTxn<'a>),
    Memory(&'a Memory),
}

/// One state of the store.
pub struct View<'a>(Rows<'a>);

/// What a walk over rows says to each: go on, or end here.
pub type Walk<'f> = &'f mut dyn FnMut(&[u8], &[u8]) -> bool;

impl View<'_> {
    /// The value of a row.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match &self.0 {
            Rows::Lmdb(rows, txn) => Ok(rows.get(txn, key)?.map(<[u8]>::to_vec)),
            Rows::Memory(map) => Ok(map.get(key).cloned()),
        }
    }

    /// Walks in order over the rows whose keys begin with `prefix`, from behind `after` on if there is one, until
    /// `f` says false.
    pub fn walk(&self, prefix: &[u8], after: Option<&[u8]>, f: Walk<'_>) -> Result<()> {
        let from = match after {
            Some(key) => Bound::Excluded(key),
            None => Bound::Included(prefix),
        };
        match &self.0 {
            Rows::Lmdb(rows, txn) => {
                for row in rows.range(txn, &(from, Bound::Unbounded))? {
                    let (key, value) = row?;
                    if !key.starts_with(prefix) || !f(key, value) {
                        break;
                    }
                }
            }
            Rows::Memory(map) => {
                for (key, value) in map.range::<[u8], _>((from, Bound::Unbounded)) {
                    if !key.starts_with(prefix) || !f(key, value) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

enum Target<'a, 't> {
    Lmdb(&'a Bucket, &'a mut RwTxn<'t>),
    Memory(&'a mut Memory),
}

/// The store while it is being changed.
pub struct Change<'a, 't>(Target<'a, 't>);

impl Change<'_, '_> {
    /// The store as changed so far.
    pub fn view(&self) -> View<'_> {
        match &self.0 {
            Target::Lmdb(rows, txn) => View(Rows::Lmdb(rows, txn)),
            Target::Memory(map) => View(Rows::Memory(map)),
        }
    }

    /// Writes a row.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        step("put");
        match &mut self.0 {
            Target::Lmdb(rows, txn) => rows.put(txn, key, value)?,
            Target::Memory(map) => {
                map.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(())
    }

    /// Removes a row; whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> Result<bool> {
        step("remove");
        match &mut self.0 {
            Target::Lmdb(rows, txn) => Ok(rows.delete(txn, key)?),
            Target::Memory(map) => Ok(map.remove(key).is_some()),
        }
    }
}
