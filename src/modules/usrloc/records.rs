//! The records of addresses in the shared store: one row each, changed as a whole.
//!
//! Beside the rows stand four indexes, all of them rows as well and changed with them: by the time at which the next
//! binding ends, by the names of bindings with an instance, what the database does not say yet, and what it has to
//! forget.

use super::binding::{Binding, Record, Row};
use crate::base::Str;
use crate::store::shared::{Change, Key, Result, StoreError, View};
use crate::store::{ConnId, Shared};

/// Most records or bindings that one transaction goes through: others want to write too.
pub const BATCH: usize = 100;
/// The letter of all these rows.
const KIND: u8 = b'U';

fn of(index: u8) -> Key {
    Key::of(KIND).raw(&[index])
}

fn row_key(table: &[u8], aor: &[u8]) -> Key {
    of(b'r').owner(table).name(aor)
}

fn end_key(at: i64, row: &[u8]) -> Key {
    of(b'x').number(at.unsigned_abs()).raw(row)
}

fn ahead_key(row: &[u8]) -> Key {
    of(b'w').raw(row)
}

fn grave_key(table: &[u8], ruid: &[u8]) -> Key {
    of(b'd').owner(table).name(ruid)
}

fn name_key(table: &[u8], ruid: &[u8]) -> Key {
    of(b'i').owner(table).name(ruid)
}

/// Rows of bindings that came over a connection; without a key: over any of that worker.
fn conn_key(worker: u16, incarnation: u32, key: Option<crate::base::Key>) -> Key {
    let all = of(b'c').raw(&worker.to_be_bytes()).raw(&incarnation.to_be_bytes());
    match key {
        Some(key) => all.raw(&key.index.to_be_bytes()).raw(&key.generation.to_be_bytes()),
        None => all,
    }
}

fn over(conn: ConnId) -> Key {
    conn_key(conn.worker, conn.incarnation, Some(conn.key))
}

fn encode(record: &Record) -> Result<Vec<u8>> {
    postcard::to_allocvec(record).map_err(|_| StoreError::Garbled)
}

fn decode(bytes: &[u8]) -> Result<Record> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Garbled)
}

fn read(view: &View<'_>, row: &[u8]) -> Result<Option<Record>> {
    view.get(row)?.map(|bytes| decode(&bytes)).transpose()
}

/// Brings the row and its indexes from one state to the next.
fn write(change: &mut Change<'_, '_>, row: &[u8], old: &Record, new: &Record) -> Result<()> {
    let (before, after) = (old.next_end(), new.next_end());
    if before != after {
        if let Some(at) = before {
            change.remove(&end_key(at, row))?;
        }
        if let Some(at) = after {
            change.put(&end_key(at, row), &[])?;
        }
    }
    if old.is_ahead() != new.is_ahead() {
        if new.is_ahead() {
            change.put(&ahead_key(row), &[])?;
        } else {
            change.remove(&ahead_key(row))?;
        }
    }
    let has = |record: &Record, b: &Binding| record.bindings.iter().any(|o| o.ruid == b.ruid && o.instance.is_some());
    for gone in old.bindings.iter().filter(|b| b.instance.is_some() && !has(new, b)) {
        change.remove(&name_key(&old.table, &gone.ruid))?;
    }
    for come in new.bindings.iter().filter(|b| b.instance.is_some() && !has(old, b)) {
        change.put(&name_key(&new.table, &come.ruid), &new.aor)?;
    }
    let uses = |record: &Record, conn: ConnId| record.bindings.iter().any(|b| b.conn == Some(conn));
    for gone in old.bindings.iter().filter_map(|b| b.conn).filter(|c| !uses(new, *c)) {
        change.remove(&over(gone).raw(row))?;
    }
    for come in new.bindings.iter().filter_map(|b| b.conn).filter(|c| !uses(old, *c)) {
        change.put(&over(come).raw(row), &[])?;
    }
    if new.bindings.is_empty() { change.remove(row).map(|_| ()) } else { change.put(row, &encode(new)?) }
}

/// What a table of the shared store holds.
#[derive(Clone, Copy)]
pub struct Records<'a> {
    /// The store.
    pub store: &'a Shared,
    /// The table.
    pub table: &'a [u8],
}

impl Records<'_> {
    /// The bindings of an address, those that have ended among them.
    pub fn get(&self, aor: &[u8]) -> Result<Record> {
        let row = row_key(self.table, aor);
        let found = self.store.read(|view| read(view, &row))?;
        Ok(found.filter(|r| *r.aor == *aor).unwrap_or_default())
    }

    /// Changes the bindings of an address at once: `f` gets what is there. Nothing is written if it gives an error.
    pub fn change<T, E>(
        &self,
        aor: &[u8],
        f: impl FnOnce(&mut Record) -> std::result::Result<T, E>,
    ) -> Result<std::result::Result<T, E>> {
        let row = row_key(self.table, aor);
        self.store.write(|change| {
            let empty = || Record { table: Str::from(self.table), aor: Str::from(aor), ..Record::default() };
            let old = read(&change.view(), &row)?.unwrap_or_else(empty);
            // Two long names with one hash.
            if *old.aor != *aor {
                return Err(StoreError::Garbled);
            }
            let mut new = old.clone();
            let done = match f(&mut new) {
                Ok(done) => done,
                Err(refused) => return Ok(Err(refused)),
            };
            if new != old {
                write(change, &row, &old, &new)?;
            }
            Ok(Ok(done))
        })
    }

    /// Adds bindings that a database holds, each with its address, some per transaction.
    pub fn add_all(&self, rows: Vec<(Str, Binding)>, newest_first: bool) -> Result<()> {
        for batch in rows.chunks(BATCH) {
            self.store.write(|change| {
                for (aor, b) in batch {
                    let row = row_key(self.table, aor);
                    let empty = || Record { table: Str::from(self.table), aor: aor.clone(), ..Record::default() };
                    let old = read(&change.view(), &row)?.unwrap_or_else(empty);
                    if old.aor != *aor {
                        return Err(StoreError::Garbled);
                    }
                    let mut new = old.clone();
                    new.bindings.retain(|o| o.ruid != b.ruid);
                    new.bindings.push(b.clone());
                    // The older one stands first, as if they had come one after the other.
                    new.bindings.sort_by_key(|b| b.modified);
                    super::binding::sort(&mut new.bindings, newest_first);
                    write(change, &row, &old, &new)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Takes bindings out by their names. `bury`: the database has to forget them too.
    pub fn take(&self, aor: &[u8], ruids: &[Str], bury: bool) -> Result<Option<Ended>> {
        let rows = [row_key(self.table, aor).to_vec()];
        let taken = take_out(self.store, &rows, &|b| ruids.contains(&b.ruid), bury)?;
        Ok(taken.into_iter().next())
    }

    /// The address that a binding with an instance belongs to.
    pub fn aor_of(&self, ruid: &[u8]) -> Result<Option<Str>> {
        self.store.read(|view| Ok(view.get(&name_key(self.table, ruid))?.map(Str::from)))
    }

    /// Walks over the records until `f` says false.
    pub fn each(&self, f: &mut dyn FnMut(Record) -> bool) -> Result<()> {
        self.store.read(|view| {
            view.walk(&of(b'r').owner(self.table), None, &mut |_, bytes| match decode(bytes) {
                Ok(record) => f(record),
                Err(_) => true,
            })
        })
    }

    /// Some records, from behind a row on: the rows' keys with them.
    pub fn page(&self, after: Option<&[u8]>, most: usize) -> Result<Vec<(Vec<u8>, Record)>> {
        let mut all = Vec::new();
        self.store.read(|view| {
            view.walk(&of(b'r').owner(self.table), after, &mut |key, bytes| {
                all.extend(decode(bytes).ok().map(|record| (key.to_vec(), record)));
                all.len() < most
            })
        })?;
        Ok(all)
    }

    /// Notes rows that the database has to forget.
    pub fn bury(&self, ruids: &[Str]) -> Result<()> {
        if ruids.is_empty() {
            return Ok(());
        }
        self.store.write(|change| {
            for ruid in ruids {
                change.put(&grave_key(self.table, ruid), ruid)?;
            }
            Ok(())
        })
    }

    /// The database has forgotten these.
    pub fn forget(&self, ruids: &[Str]) -> Result<()> {
        if ruids.is_empty() {
            return Ok(());
        }
        self.store.write(|change| {
            for ruid in ruids {
                change.remove(&grave_key(self.table, ruid))?;
            }
            Ok(())
        })
    }

    /// The database says of these bindings what they were at that time: unless one has changed since, its row is the
    /// same. What is gone meanwhile the database has to forget.
    pub fn written(&self, aor: &[u8], written: &[Binding]) -> Result<()> {
        let mark = |record: &mut Record| {
            for b in &mut record.bindings {
                let Some(w) = written.iter().find(|w| w.ruid == b.ruid) else { continue };
                let same = b.says_the_same_as(w);
                // A row is there in any case.
                b.row = if same { Row::Same } else { Row::Old };
            }
            let gone = written.iter().filter(|w| !record.bindings.iter().any(|b| b.ruid == w.ruid));
            Ok::<Vec<Str>, ()>(gone.map(|w| w.ruid.clone()).collect())
        };
        match self.change(aor, mark)? {
            Ok(gone) => self.bury(&gone),
            Err(()) => Ok(()),
        }
    }
}

/// Bindings of one address that have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The table.
    pub table: Str,
    /// The address of record.
    pub aor: Str,
    /// The bindings.
    pub bindings: Vec<Binding>,
}

/// Takes out bindings that have ended by `now` (seconds since 1970), the longest ended first. `bury`: the database has
/// to forget them too.
pub fn take_ended(store: &Shared, now: i64, bury: bool) -> Result<Vec<Ended>> {
    let prefix = of(b'x');
    let mut due = Vec::new();
    store.read(|view| {
        view.walk(&prefix, None, &mut |key, _| {
            let rest = key.get(prefix.len()..).unwrap_or_default();
            let Some((at, row)) = rest.split_at_checked(8) else { return true };
            let over = at.try_into().is_ok_and(|at| u64::from_be_bytes(at) <= now.unsigned_abs());
            if over {
                due.push((key.to_vec(), row.to_vec()));
            }
            over && due.len() < BATCH
        })
    })?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    store.write(|change| {
        let mut all = Vec::new();
        for (key, row) in &due {
            let Some(old) = read(&change.view(), row)? else {
                change.remove(key)?;
                continue;
            };
            let mut new = old.clone();
            let ended: Vec<Binding> = new.bindings.extract_if(.., |b| b.is_over(now)).collect();
            write(change, row, &old, &new)?;
            change.remove(key)?;
            for b in ended.iter().filter(|b| bury && b.row != Row::Missing && !b.in_memory_only()) {
                change.put(&grave_key(&old.table, &b.ruid), &b.ruid)?;
            }
            if !ended.is_empty() {
                all.push(Ended { table: old.table, aor: old.aor, bindings: ended });
            }
        }
        Ok(all)
    })
}

/// Takes out the bindings that came over a connection, some at a time; without a key: over any connection of that worker.
/// `bury`: the database has to forget them too.
pub fn take_lost(
    store: &Shared,
    (worker, incarnation, key): (u16, u32, Option<crate::base::Key>),
    bury: bool,
) -> Result<Vec<Ended>> {
    let prefix = conn_key(worker, incarnation, key);
    let length = of(b'c').len() + 2 + 4 + 8;
    let rows = index(store, &prefix, length)?;
    let lost = |b: &Binding| {
        b.conn.is_some_and(|c| (c.worker, c.incarnation) == (worker, incarnation) && key.is_none_or(|k| k == c.key))
    };
    take_out(store, &rows, &lost, bury)
}

/// The connections that bindings came over, from behind one on, each once.
pub fn connections(store: &Shared, after: Option<&[u8]>, most: usize) -> Result<Vec<(Vec<u8>, ConnId)>> {
    let prefix = of(b'c');
    let mut all: Vec<(Vec<u8>, ConnId)> = Vec::new();
    store.read(|view| {
        view.walk(&prefix, after, &mut |key, _| {
            if let Some(conn) = conn_of(key.get(prefix.len()..).unwrap_or_default()) {
                match all.last_mut() {
                    Some((last, known)) if *known == conn => *last = key.to_vec(),
                    _ => all.push((key.to_vec(), conn)),
                }
            }
            all.len() < most
        })
    })?;
    Ok(all)
}

/// The connection at the head of an index's key.
fn conn_of(rest: &[u8]) -> Option<ConnId> {
    let mut parts = rest.get(..14)?.split_at_checked(2)?;
    let worker = u16::from_be_bytes(parts.0.try_into().ok()?);
    let mut number = || {
        let (n, rest) = parts.1.split_at_checked(4)?;
        parts.1 = rest;
        Some(u32::from_be_bytes(n.try_into().ok()?))
    };
    let incarnation = number()?;
    let key = crate::base::Key { index: number()?, generation: number()? };
    Some(ConnId { worker, incarnation, key })
}

/// Rows that an index names: what stands behind the first `length` bytes of its keys.
fn index(store: &Shared, prefix: &Key, length: usize) -> Result<Vec<Vec<u8>>> {
    let mut rows = Vec::new();
    store.read(|view| {
        view.walk(prefix, None, &mut |key, _| {
            rows.push(key.get(length..).unwrap_or_default().to_vec());
            rows.len() < BATCH
        })
    })?;
    Ok(rows)
}

/// Takes bindings out of these rows.
fn take_out(store: &Shared, rows: &[Vec<u8>], goes: &dyn Fn(&Binding) -> bool, bury: bool) -> Result<Vec<Ended>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    store.write(|change| {
        let mut all = Vec::new();
        for row in rows {
            let Some(old) = read(&change.view(), row)? else { continue };
            let mut new = old.clone();
            let ended: Vec<Binding> = new.bindings.extract_if(.., |b| goes(b)).collect();
            if ended.is_empty() {
                continue;
            }
            write(change, row, &old, &new)?;
            for b in ended.iter().filter(|b| bury && b.row != Row::Missing && !b.in_memory_only()) {
                change.put(&grave_key(&old.table, &b.ruid), &b.ruid)?;
            }
            all.push(Ended { table: old.table, aor: old.aor, bindings: ended });
        }
        Ok(all)
    })
}

/// Records of all tables that the database does not say yet, from behind a row on: the rows' keys with them.
pub fn ahead(store: &Shared, after: Option<&[u8]>, most: usize) -> Result<Vec<(Vec<u8>, Record)>> {
    let prefix = of(b'w');
    let mut all = Vec::new();
    store.read(|view| {
        let mut keys = Vec::new();
        view.walk(&prefix, after, &mut |key, _| {
            keys.push(key.to_vec());
            keys.len() < most
        })?;
        for key in keys {
            let row = key.get(prefix.len()..).unwrap_or_default();
            if let Some(record) = read(view, row)? {
                all.push((key, record));
            }
        }
        Ok(())
    })?;
    Ok(all)
}

/// Rows of a table that the database has to forget, from behind one on: the rows' keys with them.
pub fn graves(store: &Shared, table: &[u8], after: Option<&[u8]>, most: usize) -> Result<Vec<(Vec<u8>, Str)>> {
    let mut all = Vec::new();
    store.read(|view| {
        view.walk(&of(b'd').owner(table), after, &mut |key, ruid| {
            all.push((key.to_vec(), Str::from(ruid)));
            all.len() < most
        })
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(check: impl Fn(&Shared)) {
        check(&Shared::in_memory());
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        check(&Shared::open(dir.path(), 16 << 20, None).unwrap());
    }

    fn binding(ruid: &str, expires: i64) -> Binding {
        Binding { ruid: Str::from(ruid), contact: Str::from("sip:a@b"), expires, ..Binding::default() }
    }

    fn add(records: &Records<'_>, aor: &[u8], b: Binding) {
        let put = |r: &mut Record| {
            r.bindings.retain(|o| o.ruid != b.ruid);
            r.bindings.push(b);
            Ok::<(), ()>(())
        };
        records.change(aor, put).unwrap().unwrap();
    }

    fn ruids(record: &Record) -> String {
        record.bindings.iter().map(|b| b.ruid.to_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn records_are_changed_as_a_whole() {
        both(|store| {
            let records = Records { store, table: b"location" };
            add(&records, b"bob", binding("1", 100));
            add(&records, b"bob", binding("2", 50));
            let refused = records.change(b"bob", |r| {
                r.bindings.clear();
                Err::<(), i32>(7)
            });
            assert_eq!(refused.unwrap(), Err(7));
            let bob = records.get(b"bob").unwrap();
            assert_eq!(ruids(&bob), "1 2");
            assert_eq!(records.get(b"alice").unwrap(), Record::default());
            let long = [b'x'; 4000];
            add(&records, &long, binding("3", 0));
            assert_eq!(ruids(&records.get(&long).unwrap()), "3");
            let other = Records { store, table: b"other" };
            assert_eq!(ruids(&other.get(b"bob").unwrap()), "");
            let mut seen = 0;
            records
                .each(&mut |_| {
                    seen += 1;
                    true
                })
                .unwrap();
            assert_eq!(seen, 2);
        });
    }

    #[test]
    fn what_has_ended_is_taken_out_once() {
        both(|store| {
            let records = Records { store, table: b"location" };
            add(&records, b"bob", binding("1", 100));
            add(&records, b"bob", Binding { row: Row::Same, ..binding("2", 50) });
            add(&records, b"bob", binding("3", 0));
            add(&records, b"eve", binding("4", 60));
            assert_eq!(take_ended(store, 49, true).unwrap(), []);
            let taken = take_ended(store, 60, true).unwrap();
            let names: Vec<_> = taken.iter().map(|e| (e.aor.to_lossy().into_owned(), e.bindings.len())).collect();
            assert_eq!(names, [("bob".to_string(), 1), ("eve".to_string(), 1)]);
            assert_eq!(take_ended(store, 60, true).unwrap(), []);
            assert_eq!(ruids(&records.get(b"bob").unwrap()), "1 3");
            // Only what has a row is to be forgotten.
            let graves = graves(store, b"location", None, 10).unwrap();
            assert_eq!(graves.iter().map(|g| g.1.to_lossy().into_owned()).collect::<Vec<_>>(), ["2"]);
            add(&records, b"bob", binding("1", 500));
            assert_eq!(take_ended(store, 499, true).unwrap(), []);
            assert_eq!(take_ended(store, 500, true).unwrap().len(), 1);
            assert_eq!(take_ended(store, i64::MAX, true).unwrap(), []);
            records.forget(&[Str::from("2")]).unwrap();
            assert_eq!(super::graves(store, b"location", None, 10).unwrap(), []);
        });
    }

    #[test]
    fn what_came_over_a_connection_goes_with_it() {
        both(|store| {
            let records = Records { store, table: b"location" };
            let conn =
                |worker, index| ConnId { worker, incarnation: 3, key: crate::base::Key { index, generation: 1 } };
            let with = |ruid, conn| Binding { conn: Some(conn), row: Row::Same, ..binding(ruid, 100) };
            add(&records, b"bob", with("1", conn(0, 7)));
            add(&records, b"bob", binding("2", 100));
            add(&records, b"eve", with("3", conn(0, 7)));
            add(&records, b"eve", with("4", conn(0, 8)));
            add(&records, b"kim", with("5", conn(1, 7)));
            let known = |after: Option<&[u8]>| connections(store, after, 10).unwrap();
            assert_eq!(known(None).iter().map(|c| c.1).collect::<Vec<_>>(), [conn(0, 7), conn(0, 8), conn(1, 7)]);
            assert_eq!(known(Some(&known(None)[0].0)).len(), 2);
            let names = |taken: Vec<Ended>| {
                let all = taken.iter().flat_map(|e| e.bindings.iter().map(|b| b.ruid.to_lossy().into_owned()));
                all.collect::<Vec<_>>().join(" ")
            };
            let one = |c: ConnId| (c.worker, c.incarnation, Some(c.key));
            assert_eq!(names(take_lost(store, one(conn(0, 9)), true).unwrap()), "");
            assert_eq!(names(take_lost(store, one(conn(0, 7)), true).unwrap()), "1 3");
            assert_eq!(names(take_lost(store, one(conn(0, 7)), true).unwrap()), "");
            assert_eq!(graves(store, b"location", None, 10).unwrap().len(), 2);
            // A worker has died.
            assert_eq!(names(take_lost(store, (0, 2, None), false).unwrap()), "");
            assert_eq!(names(take_lost(store, (0, 3, None), false).unwrap()), "4");
            // It came again over another one.
            add(&records, b"kim", with("5", conn(1, 9)));
            assert_eq!(known(None).iter().map(|c| c.1).collect::<Vec<_>>(), [conn(1, 9)]);
            assert_eq!(ruids(&records.get(b"bob").unwrap()), "2");
            let ended = records.take(b"bob", &[Str::from("2"), Str::from("x")], false).unwrap().unwrap();
            assert_eq!(ended.bindings.len(), 1);
            assert_eq!(records.take(b"bob", &[Str::from("2")], false).unwrap(), None);
        });
    }

    #[test]
    fn what_the_database_does_not_say_is_known() {
        both(|store| {
            let records = Records { store, table: b"location" };
            add(&records, b"bob", binding("1", 100));
            add(&records, b"eve", Binding { flags: 1, ..binding("2", 100) });
            let list = |after: Option<&[u8]>| ahead(store, after, 10).unwrap();
            let waiting = list(None);
            assert_eq!(waiting.len(), 1);
            assert_eq!(list(Some(&waiting[0].0)).len(), 0);
            // It was changed while it was being written.
            let written = waiting[0].1.bindings.clone();
            add(&records, b"bob", Binding { cseq: 9, ..binding("1", 100) });
            records.written(b"bob", &written).unwrap();
            assert_eq!(list(None)[0].1.bindings[0].row, Row::Old);
            let written = list(None)[0].1.bindings.clone();
            records.written(b"bob", &written).unwrap();
            assert_eq!(list(None), []);
        });
    }

    #[test]
    fn bindings_with_an_instance_have_a_name() {
        both(|store| {
            let records = Records { store, table: b"location" };
            add(&records, b"bob", Binding { instance: Some(Str::from("<urn:x>")), ..binding("1", 100) });
            add(&records, b"bob", binding("2", 100));
            assert_eq!(records.aor_of(b"1").unwrap(), Some(Str::from("bob")));
            assert_eq!(records.aor_of(b"2").unwrap(), None);
            take_ended(store, 200, false).unwrap();
            assert_eq!(records.aor_of(b"1").unwrap(), None);
        });
    }
}
