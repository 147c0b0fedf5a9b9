//! Tables of items, each with a name, a value and an end (Kamailio's htable). Beside the items stands an index by
//! their ends, so that to find what has ended takes no walk over a table.

use super::{Change, Key, Result, Shared, StoreError, Stored, View};
use crate::base::Str;
use crate::script::value::Value;

/// How many items one transaction removes at most: others want to write too.
const BATCH: usize = 200;

/// When an item ends that is written, in microseconds since 1970 (0: never).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ends {
    /// Then, in any case.
    At(i64),
    /// Then, if the item is new; one that is there keeps its end.
    IfNew(i64),
}

/// An item to be written.
#[derive(Clone, PartialEq, Debug)]
pub struct NewItem {
    /// Its name.
    pub name: Str,
    /// Its value.
    pub value: Value,
    /// When it ends, microseconds since 1970; 0: never.
    pub expires: i64,
}

/// An item that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expired {
    /// Its table.
    pub table: Str,
    /// The item.
    pub item: Stored,
}

fn row(table: &[u8], name: &[u8]) -> Key {
    Key::of(b't').owner(table).name(name)
}

fn end(expires: i64, row: &[u8]) -> Key {
    Key::of(b'x').number(expires.unsigned_abs()).raw(row)
}

/// The table's name in the key of a row; `None` if it was hashed.
fn table_of(row: &[u8]) -> Option<&[u8]> {
    let (len, rest) = row.strip_prefix(b"t")?.split_first()?;
    rest.get(..usize::from(*len))
}

fn find(view: &View<'_>, row: &[u8], name: &[u8], now: i64) -> Result<Option<Stored>> {
    let found = view.get(row)?.map(|bytes| Stored::decode(&bytes)).transpose()?;
    Ok(found.filter(|item| *item.name == *name && !item.is_over(now)))
}

fn put(change: &mut Change<'_, '_>, row: &[u8], item: &Stored) -> Result<()> {
    let old = change.view().get(row)?.map(|bytes| Stored::decode(&bytes)).transpose()?;
    match &old {
        // Two long names with one hash.
        Some(old) if old.name != item.name => return Err(StoreError::Garbled),
        Some(old) if old.expires != 0 && old.expires != item.expires => {
            change.remove(&end(old.expires, row))?;
        }
        _ => {}
    }
    if item.expires != 0 && old.is_none_or(|old| old.expires != item.expires) {
        change.put(&end(item.expires, row), &[])?;
    }
    change.put(row, &item.encode())
}

fn remove(change: &mut Change<'_, '_>, row: &[u8], item: &Stored) -> Result<()> {
    if item.expires != 0 {
        change.remove(&end(item.expires, row))?;
    }
    change.remove(row).map(|_| ())
}

impl Shared {
    /// An item; `None` if there is none, or it has ended.
    pub fn item(&self, table: &[u8], name: &[u8], now: i64) -> Result<Option<Stored>> {
        self.read(|view| find(view, &row(table, name), name, now))
    }

    /// Writes an item.
    pub fn set_item(&self, table: &[u8], name: &[u8], value: &Value, ends: Ends, now: i64) -> Result<()> {
        let row = row(table, name);
        self.write(|change| {
            let expires = match ends {
                Ends::At(t) => t,
                Ends::IfNew(t) => find(&change.view(), &row, name, now)?.map_or(t, |old| old.expires),
            };
            put(change, &row, &Stored { expires, ..Stored::new(name, value) })
        })
    }

    /// Writes items, all or none.
    pub fn set_items(&self, table: &[u8], items: &[NewItem]) -> Result<()> {
        self.write(|change| {
            items.iter().try_for_each(|item| {
                let row = row(table, &item.name);
                put(change, &row, &Stored { expires: item.expires, ..Stored::new(&item.name, &item.value) })
            })
        })
    }

    /// Sets when an item ends; false if there is none.
    pub fn set_end(&self, table: &[u8], name: &[u8], expires: i64, now: i64) -> Result<bool> {
        let row = row(table, name);
        self.write(|change| match find(&change.view(), &row, name, now)? {
            Some(item) => put(change, &row, &Stored { expires, ..item }).map(|()| true),
            None => Ok(false),
        })
    }

    /// Adds to a number at once. Where there is no item it begins with `first`; `None` if there is none, or the item is
    /// no number.
    pub fn add(
        &self,
        table: &[u8],
        name: &[u8],
        by: i64,
        first: Option<i64>,
        ends: Ends,
        now: i64,
    ) -> Result<Option<i64>> {
        let row = row(table, name);
        self.write(|change| {
            let old = find(&change.view(), &row, name, now)?;
            let Some(from) = old.as_ref().map_or(first, |item| item.value.as_int()) else { return Ok(None) };
            let sum = from.wrapping_add(by);
            let expires = match (ends, old) {
                (Ends::At(t), _) | (Ends::IfNew(t), None) => t,
                (Ends::IfNew(_), Some(old)) => old.expires,
            };
            put(change, &row, &Stored { expires, ..Stored::new(name, &Value::Int(sum)) })?;
            Ok(Some(sum))
        })
    }

    /// Removes an item; whether there was one.
    pub fn remove_item(&self, table: &[u8], name: &[u8], now: i64) -> Result<bool> {
        let row = row(table, name);
        self.write(|change| match find(&change.view(), &row, name, now)? {
            Some(item) => remove(change, &row, &item).map(|()| true),
            None => Ok(false),
        })
    }

    /// Walks over a table's items, from behind a row on if there is one, until `f` says false. `f` gets each row's key
    /// and its item.
    pub fn items(
        &self,
        table: &[u8],
        after: Option<&[u8]>,
        now: i64,
        f: &mut dyn FnMut(&[u8], Stored) -> bool,
    ) -> Result<()> {
        self.read(|view| {
            view.walk(&Key::of(b't').owner(table), after, &mut |key, bytes| match Stored::decode(bytes) {
                Ok(item) if !item.is_over(now) => f(key, item),
                _ => true,
            })
        })
    }

    /// Removes the items that `f` chooses, some per transaction; how many they were.
    pub fn remove_items(&self, table: &[u8], f: &mut dyn FnMut(&Stored) -> bool) -> Result<usize> {
        let mut chosen = Vec::new();
        self.items(table, None, i64::MIN, &mut |key, item| {
            if f(&item) {
                chosen.push((key.to_vec(), item.name));
            }
            true
        })?;
        let mut removed = 0;
        for batch in chosen.chunks(BATCH) {
            removed += self.write(|change| {
                let mut removed = 0;
                for (key, name) in batch {
                    // It may be another one by now.
                    if let Some(item) = find(&change.view(), key, name, i64::MIN)?.filter(|item| f(item)) {
                        remove(change, key, &item)?;
                        removed += 1;
                    }
                }
                Ok(removed)
            })?;
        }
        Ok(removed)
    }

    /// Takes out items that have ended: some of them, the longest ended first.
    pub fn take_expired(&self, now: i64) -> Result<Vec<Expired>> {
        let mut due = Vec::new();
        self.read(|view| {
            view.walk(b"x", None, &mut |key, _| {
                let Some((at, row)) = key.get(1..).and_then(|rest| rest.split_at_checked(8)) else { return true };
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
        self.write(|change| {
            let mut taken = Vec::new();
            for (key, row) in &due {
                if !change.remove(key)? {
                    continue;
                }
                let item = change.view().get(row)?.map(|bytes| Stored::decode(&bytes)).transpose()?;
                if let Some(item) = item.filter(|item| item.is_over(now)) {
                    change.remove(row)?;
                    let table = Str::from(table_of(row).unwrap_or_default());
                    taken.push(Expired { table, item });
                }
            }
            Ok(taken)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(check: impl Fn(&Shared)) {
        check(&Shared::in_memory());
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        check(&Shared::open(dir.path(), 16 << 20, None).unwrap());
    }

    fn names(store: &Shared, table: &[u8], now: i64) -> Vec<String> {
        let mut all = Vec::new();
        store
            .items(table, None, now, &mut |_, item| {
                all.push(item.name.to_lossy().into_owned());
                true
            })
            .unwrap();
        all
    }

    #[test]
    fn items_end_and_are_taken_out_once() {
        both(|store| {
            let set = |name: &str, ends, now| store.set_item(b"t", name.as_bytes(), &Value::Int(1), ends, now).unwrap();
            set("a", Ends::At(100), 0);
            set("b", Ends::IfNew(50), 0);
            set("b", Ends::IfNew(70), 10);
            set("c", Ends::At(0), 0);
            set("d", Ends::At(40), 0);
            set("d", Ends::At(0), 0);
            assert_eq!(names(store, b"t", 49), ["a", "b", "c", "d"]);
            assert_eq!(names(store, b"t", 50), ["a", "c", "d"]);
            assert_eq!(store.item(b"t", b"b", 50).unwrap(), None);
            assert_eq!(store.take_expired(49).unwrap(), []);
            let taken = store.take_expired(1000).unwrap();
            let taken: Vec<_> = taken.iter().map(|e| (&e.table[..], &e.item.name[..])).collect();
            assert_eq!(taken, [(&b"t"[..], &b"b"[..]), (b"t", b"a")]);
            assert_eq!(store.take_expired(1000).unwrap(), []);
            assert!(store.set_end(b"t", b"c", 2000, 1000).unwrap());
            assert!(!store.set_end(b"t", b"a", 2000, 1000).unwrap());
            assert!(store.remove_item(b"t", b"c", 1000).unwrap());
            assert!(!store.remove_item(b"t", b"c", 1000).unwrap());
            assert_eq!(store.take_expired(5000).unwrap(), []);
        });
    }

    #[test]
    fn tables_do_not_mix_and_are_emptied() {
        both(|store| {
            for table in [&b"t"[..], b"tt"] {
                for n in 0..450 {
                    let name = format!("{n}");
                    store.set_item(table, name.as_bytes(), &Value::Int(n), Ends::At(10), 0).unwrap();
                }
            }
            let odd = |item: &Stored| item.value.as_int().is_some_and(|n| n % 2 == 1);
            assert_eq!(store.remove_items(b"t", &mut |item| odd(item)).unwrap(), 225);
            assert_eq!(names(store, b"t", 0).len(), 225);
            assert_eq!(store.remove_items(b"t", &mut |_| true).unwrap(), 225);
            assert_eq!((names(store, b"t", 0).len(), names(store, b"tt", 0).len()), (0, 450));
            let mut taken = 0;
            while let Ok(some) = store.take_expired(10)
                && !some.is_empty()
            {
                assert!(some.len() <= BATCH);
                taken += some.len();
            }
            assert_eq!(taken, 450);
        });
    }

    #[test]
    fn numbers_are_added_to() {
        both(|store| {
            let add = |name: &[u8], by, first| store.add(b"t", name, by, first, Ends::IfNew(0), 0).unwrap();
            assert_eq!(add(b"x", 1, None), None);
            assert_eq!(add(b"x", 1, Some(5)), Some(6));
            assert_eq!(add(b"x", -3, Some(5)), Some(3));
            store.set_item(b"t", b"x", &Value::from("text"), Ends::At(0), 0).unwrap();
            assert_eq!(add(b"x", 1, Some(5)), None);
            let long = [b'k'; 5000];
            assert_eq!(add(&long, 1, Some(0)), Some(1));
            assert_eq!(names(store, b"t", 0).len(), 2);
        });
    }
}
