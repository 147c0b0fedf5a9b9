//! Queues of pairs of a key and a value, first in first out (Kamailio's mqueue).

use super::{Change, Key, Result, Shared, StoreError, Stored, View};
use crate::script::value::Value;

/// What becomes of a pair whose key is in the queue already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Doubles {
    /// Both stay.
    #[default]
    Keep,
    /// The one that was there stays.
    Oldest,
    /// The new one stays, at the end.
    Newest,
}

/// The number of the next pair, and how many pairs there are.
#[derive(Clone, Copy, Default)]
struct Head {
    next: u64,
    count: u64,
}

fn head_key(queue: &[u8]) -> Key {
    Key::of(b'n').owner(queue)
}

fn pairs(queue: &[u8]) -> Key {
    Key::of(b'q').owner(queue)
}

fn single(queue: &[u8], key: &[u8]) -> Key {
    Key::of(b'u').owner(queue).name(key)
}

fn head(view: &View<'_>, queue: &[u8]) -> Result<Head> {
    let Some(bytes) = view.get(&head_key(queue))? else { return Ok(Head::default()) };
    let numbers = || {
        let (next, count) = bytes.split_at_checked(8)?;
        Some(Head {
            next: u64::from_be_bytes(next.try_into().ok()?),
            count: u64::from_be_bytes(count.try_into().ok()?),
        })
    };
    numbers().ok_or(StoreError::Garbled)
}

fn set_head(change: &mut Change<'_, '_>, queue: &[u8], head: Head) -> Result<()> {
    let bytes = [head.next.to_be_bytes(), head.count.to_be_bytes()].concat();
    change.put(&head_key(queue), &bytes)
}

/// The first pair: its number, its row's key and itself.
fn first(view: &View<'_>, queue: &[u8]) -> Result<Option<(Vec<u8>, Stored)>> {
    let mut found = None;
    view.walk(&pairs(queue), None, &mut |key, bytes| {
        found = Some((key.to_vec(), Stored::decode(bytes)));
        false
    })?;
    found.map(|(key, pair)| Ok((key, pair?))).transpose()
}

fn remove_first(change: &mut Change<'_, '_>, queue: &[u8], head: &mut Head) -> Result<Option<Stored>> {
    let Some((row, pair)) = first(&change.view(), queue)? else { return Ok(None) };
    change.remove(&row)?;
    let mark = single(queue, &pair.name);
    if change.view().get(&mark)?.as_deref() == row.last_chunk::<8>().map(<[u8; 8]>::as_slice) {
        change.remove(&mark)?;
    }
    head.count = head.count.saturating_sub(1);
    Ok(Some(pair))
}

impl Shared {
    /// Adds a pair; `false` if it was there already and is not wanted twice. A queue that holds `most` pairs (0: any
    /// number) loses its first.
    pub fn queue_add(&self, queue: &[u8], key: &[u8], value: &[u8], most: u64, doubles: Doubles) -> Result<bool> {
        self.write(|change| {
            let mut head = head(&change.view(), queue)?;
            let mark = single(queue, key);
            if doubles != Doubles::Keep
                && let Some(number) = change.view().get(&mark)?
            {
                if doubles == Doubles::Oldest {
                    return Ok(false);
                }
                if change.remove(&pairs(queue).raw(&number))? {
                    head.count = head.count.saturating_sub(1);
                }
            }
            while most > 0 && head.count >= most {
                if remove_first(change, queue, &mut head)?.is_none() {
                    head.count = 0;
                }
            }
            let number = head.next;
            change.put(&pairs(queue).number(number), &Stored::new(key, &Value::text(value)).encode())?;
            if doubles != Doubles::Keep {
                change.put(&mark, &number.to_be_bytes())?;
            }
            set_head(change, queue, Head { next: number.wrapping_add(1), count: head.count.saturating_add(1) })?;
            Ok(true)
        })
    }

    /// Takes out the first pair: its key is the name of what comes back.
    pub fn queue_fetch(&self, queue: &[u8]) -> Result<Option<Stored>> {
        // Most who ask find nothing, and they need no lock for it.
        if self.queue_first(queue)?.is_none() {
            return Ok(None);
        }
        self.write(|change| {
            let mut head = head(&change.view(), queue)?;
            let pair = remove_first(change, queue, &mut head)?;
            if pair.is_some() {
                set_head(change, queue, head)?;
            }
            Ok(pair)
        })
    }

    /// The first `most` pairs, which stay there: what is kept of each is its key as a name, and its value.
    pub fn queue_head(&self, queue: &[u8], most: usize) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        self.read(|view| {
            view.walk(&pairs(queue), None, &mut |_, bytes| {
                found.push(Stored::decode(bytes));
                found.len() < most
            })
        })?;
        found.into_iter().collect()
    }

    /// How many pairs a queue holds.
    pub fn queue_len(&self, queue: &[u8]) -> Result<u64> {
        self.read(|view| Ok(head(view, queue)?.count))
    }

    /// What tells the first pair from those that come later; `None` if the queue is empty.
    pub fn queue_first(&self, queue: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut found = None;
        self.read(|view| {
            view.walk(&pairs(queue), None, &mut |key, _| {
                found = Some(key.to_vec());
                false
            })
        })?;
        Ok(found)
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

    fn drain(store: &Shared, queue: &[u8]) -> String {
        let mut all = Vec::new();
        while let Some(pair) = store.queue_fetch(queue).unwrap() {
            all.push(format!("{}={}", pair.name.to_lossy(), pair.value.to_text().unwrap().to_lossy()));
        }
        assert_eq!(store.queue_len(queue), Ok(0));
        all.join(" ")
    }

    #[test]
    fn what_comes_first_leaves_first() {
        both(|store| {
            for n in 0..300u32 {
                assert!(store.queue_add(b"q", n.to_string().as_bytes(), b"v", 0, Doubles::Keep).unwrap());
            }
            store.queue_add(b"other", b"k", b"", 0, Doubles::Keep).unwrap();
            assert_eq!(store.queue_len(b"q"), Ok(300));
            let head: Vec<_> =
                store.queue_head(b"q", 2).unwrap().into_iter().map(|p| p.name.to_lossy().into_owned()).collect();
            assert_eq!(head, ["0", "1"]);
            assert_eq!(store.queue_head(b"other", 9).unwrap().len(), 1);
            let expected: Vec<String> = (0..300).map(|n| format!("{n}=v")).collect();
            assert_eq!(drain(store, b"q"), expected.join(" "));
            assert_eq!(drain(store, b"other"), "k=");
            assert_eq!(drain(store, b"none"), "");
        });
    }

    #[test]
    fn a_full_queue_loses_its_first() {
        both(|store| {
            for key in ["a", "b", "c", "d"] {
                store.queue_add(b"q", key.as_bytes(), b"", 2, Doubles::Keep).unwrap();
            }
            assert_eq!(store.queue_len(b"q"), Ok(2));
            assert_eq!(drain(store, b"q"), "c= d=");
        });
    }

    #[test]
    fn keys_may_be_wanted_once() {
        both(|store| {
            let add = |key: &str, value: &str, doubles| {
                store.queue_add(b"q", key.as_bytes(), value.as_bytes(), 2, doubles).unwrap()
            };
            assert!(add("a", "1", Doubles::Oldest));
            assert!(!add("a", "2", Doubles::Oldest));
            assert!(add("b", "1", Doubles::Oldest));
            assert_eq!(drain(store, b"q"), "a=1 b=1");
            assert!(add("a", "3", Doubles::Oldest), "it is gone");
            assert!(add("b", "1", Doubles::Newest));
            assert!(add("a", "4", Doubles::Newest));
            assert_eq!(store.queue_len(b"q"), Ok(2));
            assert_eq!(drain(store, b"q"), "b=1 a=4");
            // The first is dropped because the queue is full: its key may come again.
            for key in ["a", "b", "c"] {
                assert!(add(key, "5", Doubles::Oldest));
            }
            assert!(add("a", "6", Doubles::Oldest));
            assert_eq!(drain(store, b"q"), "c=5 a=6");
        });
    }
}
