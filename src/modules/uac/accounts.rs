//! Accounts at other servers' registrars, in the shared store: one row each, changed as a whole, with three indexes that change
//! with it: by the time at which there is something to be done, by the user here that it stands for, and those with an attempt
//! under way.

use super::account::{Account, Profile};
use crate::base::Str;
use crate::store::Shared;
use crate::store::shared::{Change, Key, Result, StoreError, View};
use std::collections::HashSet;

/// Most accounts.
pub const MOST: u64 = 65_536;
/// Most accounts that one transaction goes through: others want to write too.
pub const BATCH: usize = 100;
/// The letter of all these rows.
const KIND: u8 = b'R';

fn of(index: u8) -> Key {
    Key::of(KIND).raw(&[index])
}

fn row_key(uuid: &[u8]) -> Key {
    of(b'r').name(uuid)
}

fn due_key(at: i64, row: &[u8]) -> Key {
    of(b'x').number(at.unsigned_abs()).raw(row)
}

fn user_key(user: &[u8]) -> Key {
    of(b'u').owner(user)
}

fn attempt_key(row: &[u8]) -> Key {
    of(b'a').raw(row)
}

fn count_key() -> Key {
    of(b'n')
}

fn paused_key() -> Key {
    of(b'p')
}

fn decode(bytes: &[u8]) -> Result<Account> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Garbled)
}

fn read(view: &View<'_>, row: &[u8]) -> Result<Option<Account>> {
    view.get(row)?.map(|bytes| decode(&bytes)).transpose()
}

fn count(view: &View<'_>) -> Result<u64> {
    let bytes = view.get(&count_key())?;
    Ok(bytes.and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes))
}

/// Brings the row and its indexes from one state to the next.
fn write(change: &mut Change<'_, '_>, row: &[u8], old: Option<&Account>, new: Option<&Account>) -> Result<()> {
    let due = |a: Option<&Account>| a.map(|a| a.due).filter(|at| *at > 0);
    if due(old) != due(new) {
        if let Some(at) = due(old) {
            change.remove(&due_key(at, row))?;
        }
        if let Some(at) = due(new) {
            change.put(&due_key(at, row), &[])?;
        }
    }
    let tries = |a: Option<&Account>| a.is_some_and(|a| a.attempt != 0);
    if tries(old) != tries(new) {
        if tries(new) {
            change.put(&attempt_key(row), &[])?;
        } else {
            change.remove(&attempt_key(row))?;
        }
    }
    let user = |a: Option<&Account>| a.map(|a| user_key(&a.profile.user).name(&a.profile.uuid));
    let (before, after) = (user(old), user(new));
    if before.as_deref() != after.as_deref() {
        if let Some(key) = before {
            change.remove(&key)?;
        }
        if let Some(key) = after {
            change.put(&key, row)?;
        }
    }
    if old.is_some() != new.is_some() {
        let n = count(&change.view())?;
        let n = if new.is_some() { n + 1 } else { n.saturating_sub(1) };
        change.put(&count_key(), &n.to_be_bytes())?;
    }
    match new {
        Some(new) => {
            let bytes = postcard::to_allocvec(new).map_err(|_| StoreError::Garbled)?;
            change.put(row, &bytes)
        }
        None => change.remove(row).map(|_| ()),
    }
}

/// The accounts.
#[derive(Clone, Copy)]
pub struct Accounts<'a>(pub &'a Shared);

impl Accounts<'_> {
    /// How many there are.
    pub fn count(&self) -> Result<u64> {
        self.0.read(count)
    }

    /// An account.
    pub fn get(&self, uuid: &[u8]) -> Result<Option<Account>> {
        let found = self.0.read(|view| read(view, &row_key(uuid)))?;
        Ok(found.filter(|a| *a.profile.uuid == *uuid))
    }

    /// The first account, by name, of a user here, and of a domain if one is given.
    pub fn of_user(&self, user: &[u8], domain: Option<&[u8]>) -> Result<Option<Account>> {
        let fits = |a: &Account| domain.is_none_or(|d| a.profile.domain.eq_ignore_ascii_case(d));
        Ok(self.all_of_user(user)?.into_iter().find(fits))
    }

    /// The accounts of a user here.
    pub fn all_of_user(&self, user: &[u8]) -> Result<Vec<Account>> {
        self.0.read(|view| {
            let mut rows = Vec::new();
            view.walk(&user_key(user), None, &mut |_, row| {
                rows.push(row.to_vec());
                true
            })?;
            let found: Result<Vec<_>> = rows.iter().filter_map(|row| read(view, row).transpose()).collect();
            Ok(found?.into_iter().filter(|a| *a.profile.user == *user).collect())
        })
    }

    /// The accounts with an attempt under way.
    pub fn attempts(&self) -> Result<Vec<Account>> {
        let prefix = of(b'a');
        self.0.read(|view| {
            let mut rows = Vec::new();
            view.walk(&prefix, None, &mut |key, _| {
                rows.extend(key.get(prefix.len()..).map(<[u8]>::to_vec));
                true
            })?;
            rows.iter().filter_map(|row| read(view, row).transpose()).collect()
        })
    }

    /// Changes an account as `f` does; `None`: there is none. One that is over then is gone.
    pub fn change<T>(&self, uuid: &[u8], now: i64, f: impl FnOnce(&mut Account) -> T) -> Result<Option<T>> {
        let row = row_key(uuid);
        self.0.write(|change| {
            let Some(old) = read(&change.view(), &row)?.filter(|a| *a.profile.uuid == *uuid) else { return Ok(None) };
            let mut new = old.clone();
            let done = f(&mut new);
            let stays = !new.is_over(now);
            if new != old || !stays {
                write(change, &row, Some(&old), stays.then_some(&new))?;
            }
            Ok(Some(done))
        })
    }

    /// Writes accounts: `make` gets what is there and says what there is to be. How many found no room.
    pub fn put(&self, profiles: Vec<Profile>, make: &dyn Fn(Option<&Account>, Profile) -> Account) -> Result<usize> {
        let mut left_out = 0;
        for batch in profiles.chunks(BATCH) {
            left_out += self.0.write(|change| {
                let mut left_out = 0;
                for profile in batch {
                    let row = row_key(&profile.uuid);
                    let old = read(&change.view(), &row)?;
                    // Two long names with one hash.
                    if old.as_ref().is_some_and(|o| o.profile.uuid != profile.uuid) {
                        return Err(StoreError::Garbled);
                    }
                    if old.is_none() && count(&change.view())? >= MOST {
                        left_out += 1;
                        continue;
                    }
                    let new = make(old.as_ref(), profile.clone());
                    if old.as_ref() != Some(&new) {
                        write(change, &row, old.as_ref(), Some(&new))?;
                    }
                }
                Ok(left_out)
            })?;
        }
        Ok(left_out)
    }

    /// Removes an account; whether there was one.
    pub fn remove(&self, uuid: &[u8]) -> Result<bool> {
        let row = row_key(uuid);
        self.0.write(|change| {
            let Some(old) = read(&change.view(), &row)?.filter(|a| *a.profile.uuid == *uuid) else { return Ok(false) };
            write(change, &row, Some(&old), None)?;
            Ok(true)
        })
    }

    /// Names of accounts whose time has come, the longest due first.
    pub fn due(&self, now: i64, most: usize) -> Result<Vec<Str>> {
        let prefix = of(b'x');
        let mut all = Vec::new();
        self.0.read(|view| {
            let mut rows = Vec::new();
            view.walk(&prefix, None, &mut |key, _| {
                let rest = key.get(prefix.len()..).unwrap_or_default();
                let Some((at, row)) = rest.split_at_checked(8) else { return true };
                let over = at.try_into().is_ok_and(|at| u64::from_be_bytes(at) <= now.unsigned_abs());
                if over {
                    rows.push(row.to_vec());
                }
                over && rows.len() < most
            })?;
            for row in rows {
                all.extend(read(view, &row)?.map(|a| a.profile.uuid));
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Walks over the accounts until `f` says false.
    pub fn each(&self, f: &mut dyn FnMut(Account) -> bool) -> Result<()> {
        self.0.read(|view| {
            view.walk(&of(b'r'), None, &mut |_, bytes| match decode(bytes) {
                Ok(account) => f(account),
                Err(_) => true,
            })
        })
    }

    /// Names of the accounts that `f` chooses.
    pub fn chosen(&self, f: &dyn Fn(&Account) -> bool) -> Result<Vec<Str>> {
        let mut names = Vec::new();
        self.each(&mut |account| {
            if f(&account) {
                names.push(account.profile.uuid);
            }
            true
        })?;
        Ok(names)
    }

    /// Names of the accounts that are not among these.
    pub fn others(&self, than: &HashSet<Str>) -> Result<Vec<Str>> {
        // Rows are told apart by their keys: nothing that stays is read.
        let known: HashSet<Vec<u8>> = than.iter().map(|name| row_key(name).to_vec()).collect();
        let mut names = Vec::new();
        self.0.read(|view| {
            view.walk(&of(b'r'), None, &mut |key, bytes| {
                if !known.contains(key) {
                    names.extend(decode(bytes).ok().map(|a| a.profile.uuid));
                }
                true
            })
        })?;
        Ok(names)
    }

    /// Whether nothing is registered at present, if somebody has said so.
    pub fn paused(&self) -> Result<Option<bool>> {
        Ok(self.0.read(|view| view.get(&paused_key()))?.map(|b| b.first() == Some(&1)))
    }

    /// Says whether nothing is to be registered.
    pub fn set_paused(&self, paused: bool) -> Result<()> {
        self.0.write(|change| change.put(&paused_key(), &[u8::from(paused)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(check: impl Fn(&Accounts<'_>)) {
        check(&Accounts(&Shared::in_memory()));
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        check(&Accounts(&Shared::open(dir.path(), 16 << 20, None).unwrap()));
    }

    fn profile(uuid: &str, user: &str, domain: &str) -> Profile {
        let [uuid, user, domain] = [uuid, user, domain].map(Str::from);
        Profile { uuid, user, domain, expires: 60, ..Profile::default() }
    }

    fn put(accounts: &Accounts<'_>, profiles: Vec<Profile>, now: i64) {
        let left = accounts.put(profiles, &|old, p| match old {
            Some(old) => old.renewed(p, now, 0, false),
            None => Account::new(p, now, 0),
        });
        assert_eq!(left, Ok(0));
    }

    fn names(list: Vec<Str>) -> String {
        list.iter().map(|n| n.to_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn accounts_are_found() {
        both(|accounts| {
            let long = "x".repeat(900);
            put(
                accounts,
                vec![
                    profile("a", "alice", "one.example"),
                    profile("b", "alice", "two.example"),
                    profile(&long, &long, "d"),
                ],
                10,
            );
            assert_eq!(accounts.count(), Ok(3));
            let of = |user: &str, domain: Option<&str>| {
                let found = accounts.of_user(user.as_bytes(), domain.map(str::as_bytes)).unwrap();
                found.map(|a| a.profile.uuid.to_lossy().into_owned())
            };
            assert_eq!(of("alice", None).as_deref(), Some("a"));
            assert_eq!(of("alice", Some("TWO.example")).as_deref(), Some("b"));
            assert_eq!((of("alice", Some("x")), of("ali", None)), (None, None));
            assert_eq!(accounts.all_of_user(b"alice").unwrap().len(), 2);
            assert_eq!(of(&long, None).as_deref(), Some(&long[..]));
            assert!(accounts.get(long.as_bytes()).unwrap().is_some());
            assert_eq!(accounts.get(b"c"), Ok(None));
            // Another user: the index goes with it.
            put(accounts, vec![profile("a", "bob", "one.example")], 11);
            assert_eq!((of("alice", None).as_deref(), of("bob", None).as_deref()), (Some("b"), Some("a")));
            assert_eq!(accounts.remove(b"a"), Ok(true));
            assert_eq!((accounts.remove(b"a"), of("bob", None), accounts.count()), (Ok(false), None, Ok(2)));
            let keep = HashSet::from([Str::from("b")]);
            assert_eq!(names(accounts.others(&keep).unwrap()), long);
        });
    }

    #[test]
    fn what_is_due_comes_in_order() {
        both(|accounts| {
            put(accounts, vec![profile("late", "u", "d")], 30);
            put(accounts, vec![profile("early", "u", "d"), profile("never", "u", "d")], 20);
            accounts.change(b"never", 20, |a| a.set_disabled(true, 20)).unwrap();
            assert_eq!(names(accounts.due(19, 10).unwrap()), "");
            assert_eq!(names(accounts.due(20, 10).unwrap()), "early");
            assert_eq!(names(accounts.due(30, 10).unwrap()), "early late");
            assert_eq!(names(accounts.due(30, 1).unwrap()), "early");
            accounts.change(b"early", 30, |a| a.due = 40).unwrap();
            accounts.change(b"early", 30, |a| a.attempt = 7).unwrap();
            assert_eq!(accounts.attempts().unwrap().iter().map(|a| a.attempt).collect::<Vec<_>>(), [7]);
            accounts.change(b"early", 30, |a| a.attempt = 0).unwrap();
            assert_eq!(accounts.attempts(), Ok(Vec::new()));
            assert_eq!(names(accounts.due(30, 10).unwrap()), "late");
            // What has left is gone.
            accounts.change(b"late", 30, |a| a.leave(30)).unwrap();
            assert_eq!((accounts.get(b"late"), accounts.count()), (Ok(None), Ok(2)));
            assert_eq!(names(accounts.due(100, 10).unwrap()), "early");
            assert_eq!(accounts.change(b"late", 30, |_| ()), Ok(None));
            assert_eq!(accounts.paused(), Ok(None));
            accounts.set_paused(true).unwrap();
            assert_eq!(accounts.paused(), Ok(Some(true)));
        });
    }
}
