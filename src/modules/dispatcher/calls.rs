//! Which destination has which call (algorithm 10): rows of the shared store. A call and the count of its destination are
//! written at once, so a process's death leaves them as they belong together. What nobody ends, ends by itself.

use super::list::Set;
use crate::modules::env::Env;
use crate::store::shared::{Change, Key, Result, StoreError, View};
use serde::{Deserialize, Serialize};
use std::result::Result as Outcome;
use std::time::Duration;

const KIND: u8 = b'D';
/// Calls that one transaction ends at most: others want to write too.
const BATCH: usize = 200;

/// A call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Call {
    set: i64,
    duid: Vec<u8>,
    /// Microseconds since 1970.
    ends: i64,
}

fn call_row(call_id: &[u8]) -> Key {
    Key::of(KIND).owner(b"call").name(call_id)
}

fn count_row(set: i64, duid: &[u8]) -> Key {
    Key::of(KIND).owner(b"count").number(set as u64).name(duid)
}

fn end_row(ends: i64, row: &[u8]) -> Key {
    Key::of(KIND).owner(b"end").number(ends.unsigned_abs()).raw(row)
}

fn find(view: &View<'_>, row: &[u8]) -> Result<Option<Call>> {
    view.get(row)?.map(|b| postcard::from_bytes(&b).map_err(|_| StoreError::Garbled)).transpose()
}

fn count(view: &View<'_>, row: &[u8]) -> Result<u64> {
    let bytes = view.get(row)?;
    Ok(bytes.and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes))
}

fn add(change: &mut Change<'_, '_>, call: &Call, by: i64) -> Result<()> {
    let row = count_row(call.set, &call.duid);
    match count(&change.view(), &row)?.saturating_add_signed(by) {
        0 => change.remove(&row).map(|_| ()),
        n => change.put(&row, &n.to_be_bytes()),
    }
}

fn remove(change: &mut Change<'_, '_>, row: &[u8], call: &Call) -> Result<()> {
    change.remove(&end_row(call.ends, row))?;
    change.remove(row)?;
    add(change, call, -1)
}

fn store(env: &Env) -> Outcome<&crate::store::Shared, String> {
    env.store.as_ref().ok_or_else(|| "there is no shared store".to_string())
}

/// How many calls the destinations of a set have, in its order.
///
/// # Errors
/// Why the store cannot be read.
pub fn loads(env: &Env, set: &Set) -> Outcome<Vec<u64>, String> {
    let loads = store(env)?.read(|view| {
        set.list.iter().map(|d| count(view, &count_row(set.id, &d.attrs.duid))).collect::<Result<Vec<u64>>>()
    });
    loads.map_err(|e| e.to_string())
}

/// A call goes to a destination, whichever had it before; it ends by itself after `lasts`.
///
/// # Errors
/// Why the store cannot be written.
pub fn give(env: &Env, call_id: &[u8], set: i64, duid: &[u8], lasts: Duration) -> Outcome<(), String> {
    let ends = env.clock.micros().saturating_add(i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX));
    let (row, call) = (call_row(call_id), Call { set, duid: duid.to_vec(), ends });
    let done = store(env)?.write(|change| {
        if let Some(old) = find(&change.view(), &row)? {
            remove(change, &row, &old)?;
        }
        let bytes = postcard::to_allocvec(&call).map_err(|_| StoreError::Garbled)?;
        change.put(&row, &bytes)?;
        change.put(&end_row(ends, &row), &[])?;
        add(change, &call, 1)
    });
    done.map_err(|e| e.to_string())
}

/// A call that is known stands where it is for that long.
///
/// # Errors
/// Why the store cannot be written.
pub fn keep(env: &Env, call_id: &[u8], lasts: Duration) -> Outcome<bool, String> {
    let known = store(env)?.read(|view| find(view, &call_row(call_id))).map_err(|e| e.to_string())?;
    let Some(call) = known else { return Ok(false) };
    give(env, call_id, call.set, &call.duid, lasts).map(|()| true)
}

/// A call has ended; whether it was known.
///
/// # Errors
/// Why the store cannot be written.
pub fn end(env: &Env, call_id: &[u8]) -> Outcome<bool, String> {
    let row = call_row(call_id);
    let store = store(env)?;
    if !store.read(|view| Ok(view.get(&row)?.is_some())).map_err(|e| e.to_string())? {
        return Ok(false);
    }
    let done = store.write(|change| {
        let Some(call) = find(&change.view(), &row)? else { return Ok(false) };
        remove(change, &row, &call).map(|()| true)
    });
    done.map_err(|e| e.to_string())
}

/// Takes out calls that nobody has ended; whether there are more.
///
/// # Errors
/// Why the store cannot be written.
pub fn expire(env: &Env) -> Outcome<bool, String> {
    let now = env.clock.micros().unsigned_abs();
    let prefix = Key::of(KIND).owner(b"end");
    let mut due = Vec::new();
    let store = store(env)?;
    let walked = store.read(|view| {
        view.walk(&prefix, None, &mut |key, _| {
            let Some((at, row)) = key.get(prefix.len()..).and_then(|rest| rest.split_at_checked(8)) else {
                return true;
            };
            let over = at.try_into().is_ok_and(|at| u64::from_be_bytes(at) <= now);
            if over {
                due.push((key.to_vec(), row.to_vec()));
            }
            over && due.len() < BATCH
        })
    });
    walked.map_err(|e| e.to_string())?;
    if due.is_empty() {
        return Ok(false);
    }
    let done = store.write(|change| {
        for (key, row) in &due {
            change.remove(key)?;
            if let Some(call) = find(&change.view(), row)?.filter(|c| c.ends.unsigned_abs() <= now) {
                remove(change, row, &call)?;
            }
        }
        Ok(due.len() == BATCH)
    });
    done.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::list::List;
    use super::*;
    use crate::modules::time_text::WallClock;
    use crate::store::Shared;

    #[test]
    fn calls_are_counted_once_wherever_they_go() {
        let clock = WallClock::simulated(1_000_000);
        let env = Env { store: Some(Shared::in_memory()), clock: clock.clone(), ..Env::unattached() };
        let list = List::parse("1 sip:b 0 0 duid=b\n1 sip:a 0 0 duid=a").unwrap();
        let counts = || loads(&env, &list.sets[0]).unwrap();
        let hour = Duration::from_secs(3600);
        give(&env, b"1", 1, b"a", hour).unwrap();
        give(&env, b"2", 1, b"a", hour).unwrap();
        give(&env, b"3", 1, b"b", hour).unwrap();
        assert_eq!(counts(), [2, 1]);
        give(&env, b"2", 1, b"b", hour).unwrap();
        assert_eq!(counts(), [1, 2]);
        assert!(end(&env, b"2").unwrap() && !end(&env, b"2").unwrap());
        assert_eq!(counts(), [1, 1]);
        assert!(keep(&env, b"1", Duration::from_secs(7200)).unwrap() && !keep(&env, b"9", hour).unwrap());
        clock.set(1_000_000 + 3_600_000_000);
        assert!(!expire(&env).unwrap());
        assert_eq!(counts(), [1, 0]);
        clock.set(1_000_000 + 7_200_000_000);
        for n in 0..450 {
            give(&env, format!("x{n}").as_bytes(), 1, b"b", Duration::ZERO).unwrap();
        }
        assert_eq!(counts(), [1, 450]);
        let rounds = (0..10).take_while(|_| expire(&env).unwrap()).count();
        assert_eq!((rounds, counts()), (2, vec![0, 0]));
        // Nothing is left of them.
        let mut rows = 0;
        env.store
            .as_ref()
            .unwrap()
            .read(|v| {
                v.walk(&[KIND], None, &mut |_, _| {
                    rows += 1;
                    true
                })
            })
            .unwrap();
        assert_eq!(rows, 0);
    }
}
