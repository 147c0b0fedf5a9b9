//! Calls that are followed without dialogs (Kamailio's dlgs): a record per Call-ID, an index by their ends, and how many
//! calls there are with each value of each attribute, so that to count takes no walk over all of them.

use super::{Change, Key, Result, Shared, StoreError, View};
use crate::base::Str;
use serde::{Deserialize, Serialize};

/// Most calls that are followed at a time: attackers can begin as many as they like.
pub const MOST: u64 = 1 << 17;
/// Longest Call-ID, tag or attribute of a call, in bytes.
pub const LONGEST: usize = 1024;
/// Most tags (`dlgs_tags_add`) of one call.
pub const MOST_TAGS: usize = 32;
/// How many records one transaction removes at most: others want to write too.
const BATCH: usize = 100;

/// How far a call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    /// The INVITE came.
    Init,
    /// It had a provisional reply.
    Progress,
    /// It had a 2xx.
    Answered,
    /// The ACK came.
    Confirmed,
    /// A BYE came.
    Terminated,
    /// It was refused or cancelled.
    NotAnswered,
}

/// All states, in the order of their numbers.
pub const STATES: [State; 6] =
    [State::Init, State::Progress, State::Answered, State::Confirmed, State::Terminated, State::NotAnswered];

impl State {
    /// Whether the call is over.
    pub fn is_over(self) -> bool {
        matches!(self, State::Terminated | State::NotAnswered)
    }

    /// The word shown to operators.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Init => "init",
            State::Progress => "progress",
            State::Answered => "answered",
            State::Confirmed => "confirmed",
            State::Terminated => "terminated",
            State::NotAnswered => "notanswered",
        }
    }
}

/// What a call can be found by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attribute {
    /// The first argument of `dlgs_init`.
    Source,
    /// The second.
    Destination,
    /// The third.
    Data,
    /// Each of `dlgs_tags_add`.
    Tag,
}

/// A call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Str,
    /// Tag of the caller.
    pub from_tag: Str,
    /// Tag of the callee; empty until it answers.
    pub to_tag: Str,
    /// The record's own name.
    pub ruid: Str,
    /// Who calls.
    pub src: Str,
    /// Whom.
    pub dst: Str,
    /// Whatever the script says.
    pub data: Str,
    /// Marks of the script.
    pub tags: Vec<Str>,
    /// How far it has come.
    pub state: State,
    /// When the INVITE came, in seconds since 1970.
    pub begun: i64,
    /// When it was answered, in seconds since 1970; 0: it was not.
    pub answered: i64,
    /// When it was over, in seconds since 1970; 0: it is not.
    pub over: i64,
}

/// How many seconds calls are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// Until the ACK, counted from the INVITE.
    pub init: i64,
    /// After that, counted from the answer.
    pub active: i64,
    /// When it is over.
    pub finish: i64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Lifetimes { init: 180, active: 10_800, finish: 10 }
    }
}

impl Lifetimes {
    /// The second after which a call is forgotten.
    pub fn end(&self, d: &Dialog) -> i64 {
        match d.state {
            State::Init | State::Progress | State::Answered => d.begun.saturating_add(self.init),
            State::Confirmed => d.answered.saturating_add(self.active),
            State::Terminated | State::NotAnswered => d.over.saturating_add(self.finish),
        }
    }
}

/// How many calls there are in each state, and how those ended that are forgotten; by the number of the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// That are kept.
    pub kept: [u64; 6],
    /// That are forgotten.
    pub forgotten: [u64; 6],
}

impl Counts {
    /// Calls that are not over.
    pub fn open(&self) -> u64 {
        STATES.iter().zip(self.kept).filter(|(s, _)| !s.is_over()).map(|(_, n)| n).sum()
    }

    fn total(&self) -> u64 {
        self.kept.iter().sum()
    }

    fn moved(&mut self, from: Option<State>, to: Option<State>) {
        if let Some(n) = from.and_then(|s| self.kept.get_mut(s as usize)) {
            *n = n.saturating_sub(1);
        }
        if let Some(n) = to.and_then(|s| self.kept.get_mut(s as usize)) {
            *n += 1;
        }
    }
}

/// What came of beginning to follow a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// It is followed from now on.
    New,
    /// It was followed already.
    There,
    /// So many are followed that no more can be.
    TooMany,
}

fn row(call_id: &[u8]) -> Key {
    Key::of(b'd').name(call_id)
}

fn end(seconds: i64, row: &[u8]) -> Key {
    Key::of(b'e').number(seconds.unsigned_abs()).raw(row)
}

fn counts_row() -> Key {
    Key::of(b'D')
}

/// Where the calls of an attribute are counted; one row per value.
fn tally(of: Attribute) -> Key {
    Key::of(b'y').raw(&[of as u8])
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Garbled)
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_allocvec(value).map_err(|_| StoreError::Garbled)
}

fn find(view: &View<'_>, call_id: &[u8]) -> Result<Option<Dialog>> {
    let found: Option<Dialog> = view.get(&row(call_id))?.map(|bytes| decode(&bytes)).transpose()?;
    Ok(found.filter(|d| *d.call_id == *call_id))
}

fn counts(view: &View<'_>) -> Result<Counts> {
    view.get(&counts_row())?.map_or_else(|| Ok(Counts::default()), |bytes| decode(&bytes))
}

/// The attributes of a call.
fn attributes(d: &Dialog) -> impl Iterator<Item = (Attribute, &Str)> {
    let own = [(Attribute::Source, &d.src), (Attribute::Destination, &d.dst), (Attribute::Data, &d.data)];
    own.into_iter().chain(d.tags.iter().map(|t| (Attribute::Tag, t)))
}

/// Counts a call in or out for one value of an attribute.
fn count(change: &mut Change<'_, '_>, of: Attribute, value: &[u8], by: i64) -> Result<()> {
    let key = tally(of).name(value);
    let (old, name): (i64, Str) = match change.view().get(&key)? {
        Some(bytes) => decode(&bytes)?,
        None => (0, Str::from(value)),
    };
    match old.saturating_add(by) {
        n if n <= 0 => change.remove(&key).map(|_| ()),
        n => change.put(&key, &encode(&(n, name))?),
    }
}

fn count_all(change: &mut Change<'_, '_>, d: &Dialog, by: i64) -> Result<()> {
    attributes(d).try_for_each(|(of, value)| count(change, of, value, by))
}

impl Shared {
    /// Begins to follow a call.
    pub fn dialog_begin(&self, d: &Dialog, lives: &Lifetimes) -> Result<Begun> {
        self.write(|change| {
            let view = change.view();
            if find(&view, &d.call_id)?.is_some() {
                return Ok(Begun::There);
            }
            let mut counts = counts(&view)?;
            if counts.total() >= MOST || view.get(&row(&d.call_id))?.is_some() {
                return Ok(Begun::TooMany);
            }
            counts.moved(None, Some(d.state));
            let row = row(&d.call_id);
            change.put(&row, &encode(d)?)?;
            change.put(&end(lives.end(d), &row), &[])?;
            if !d.state.is_over() {
                count_all(change, d, 1)?;
            }
            change.put(&counts_row(), &encode(&counts)?)?;
            Ok(Begun::New)
        })
    }

    /// A call that is followed.
    pub fn dialog(&self, call_id: &[u8]) -> Result<Option<Dialog>> {
        self.read(|view| find(view, call_id))
    }

    /// Changes a call as `f` does, which says whether it did; `None`: it is not followed.
    pub fn dialog_change(
        &self,
        call_id: &[u8],
        lives: &Lifetimes,
        f: &dyn Fn(&mut Dialog) -> bool,
    ) -> Result<Option<bool>> {
        // Most messages change nothing, and need no lock for it.
        let Some(mut d) = self.dialog(call_id)? else { return Ok(None) };
        if !f(&mut d) {
            return Ok(Some(false));
        }
        self.write(|change| {
            let Some(old) = find(&change.view(), call_id)? else { return Ok(None) };
            let mut new = old.clone();
            if !f(&mut new) {
                return Ok(Some(false));
            }
            let row = row(call_id);
            let (before, after) = (lives.end(&old), lives.end(&new));
            if before != after {
                change.remove(&end(before, &row))?;
                change.put(&end(after, &row), &[])?;
            }
            match (old.state.is_over(), new.state.is_over()) {
                (false, true) => count_all(change, &old, -1)?,
                (false, false) if old.tags != new.tags => {
                    count_all(change, &old, -1)?;
                    count_all(change, &new, 1)?;
                }
                _ => {}
            }
            if old.state != new.state {
                let mut counts = counts(&change.view())?;
                counts.moved(Some(old.state), Some(new.state));
                change.put(&counts_row(), &encode(&counts)?)?;
            }
            change.put(&row, &encode(&new)?)?;
            Ok(Some(true))
        })
    }

    /// Shows calls, until `f` says false.
    pub fn dialogs(&self, f: &mut dyn FnMut(Dialog) -> bool) -> Result<()> {
        self.read(|view| {
            view.walk(b"d", None, &mut |_, bytes| match decode(bytes) {
                Ok(d) => f(d),
                Err(_) => true,
            })
        })
    }

    /// How many there are in each state.
    pub fn dialog_counts(&self) -> Result<Counts> {
        self.read(counts)
    }

    /// How many calls that are not over have this value of an attribute; calls with several such tags count once
    /// for each.
    pub fn dialogs_with(&self, of: Attribute, value: &[u8]) -> Result<u64> {
        self.read(|view| {
            let found: Option<(i64, Str)> = view.get(&tally(of).name(value))?.map(|b| decode(&b)).transpose()?;
            Ok(found.map_or(0, |(n, _)| n.unsigned_abs()))
        })
    }

    /// How many calls that are not over have a value of an attribute that `f` takes: a walk over the values there are.
    pub fn dialogs_where(&self, of: Attribute, f: &mut dyn FnMut(&[u8]) -> bool) -> Result<u64> {
        let mut sum = 0u64;
        self.read(|view| {
            view.walk(&tally(of), None, &mut |_, bytes| {
                if let Ok((n, value)) = decode::<(i64, Str)>(bytes)
                    && f(&value)
                {
                    sum = sum.saturating_add(n.unsigned_abs());
                }
                true
            })
        })?;
        Ok(sum)
    }

    /// Forgets calls whose time is over, some of them; how many. `now` in seconds since 1970.
    pub fn forget_dialogs(&self, lives: &Lifetimes, now: i64) -> Result<usize> {
        let mut due = Vec::new();
        self.read(|view| {
            view.walk(b"e", None, &mut |key, _| {
                let Some((at, row)) = key.get(1..).and_then(|rest| rest.split_at_checked(8)) else { return true };
                let over = at.try_into().is_ok_and(|at| u64::from_be_bytes(at) < now.unsigned_abs());
                if over {
                    due.push((key.to_vec(), row.to_vec()));
                }
                over && due.len() < BATCH
            })
        })?;
        if due.is_empty() {
            return Ok(0);
        }
        self.write(|change| {
            let mut counts = counts(&change.view())?;
            for (key, row) in &due {
                if !change.remove(key)? {
                    continue;
                }
                let Some(bytes) = change.view().get(row)? else { continue };
                let d: Dialog = decode(&bytes)?;
                // What came meanwhile may have given it another end, and a row of its own there.
                if lives.end(&d) >= now {
                    continue;
                }
                change.remove(row)?;
                if !d.state.is_over() {
                    count_all(change, &d, -1)?;
                }
                counts.moved(Some(d.state), None);
                if let Some(n) = counts.forgotten.get_mut(d.state as usize) {
                    *n += 1;
                }
            }
            change.put(&counts_row(), &encode(&counts)?)?;
            Ok(due.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: Lifetimes = Lifetimes { init: 100, active: 1000, finish: 10 };

    fn both(check: impl Fn(&Shared)) {
        check(&Shared::in_memory());
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        check(&Shared::open(dir.path(), 16 << 20, None).unwrap());
    }

    fn call(call_id: &str, src: &str, now: i64) -> Dialog {
        Dialog {
            call_id: Str::from(call_id),
            from_tag: Str::from("f"),
            to_tag: Str::default(),
            ruid: Str::from("r"),
            src: Str::from(src),
            dst: Str::from("bob"),
            data: Str::from("d"),
            tags: Vec::new(),
            state: State::Init,
            begun: now,
            answered: 0,
            over: 0,
        }
    }

    fn to(state: State, now: i64) -> impl Fn(&mut Dialog) -> bool {
        move |d| {
            let changed = d.state != state;
            d.state = state;
            match state {
                State::Answered => d.answered = now,
                s if s.is_over() => d.over = now,
                _ => {}
            }
            changed
        }
    }

    #[test]
    fn a_call_is_followed_to_its_end_and_forgotten() {
        both(|store| {
            assert_eq!(store.dialog_begin(&call("a", "alice", 0), &LIVES), Ok(Begun::New));
            assert_eq!(store.dialog_begin(&call("a", "other", 5), &LIVES), Ok(Begun::There));
            assert_eq!(store.dialog_change(b"none", &LIVES, &to(State::Answered, 1)), Ok(None));
            let step = |state, now| store.dialog_change(b"a", &LIVES, &to(state, now)).unwrap();
            assert_eq!(step(State::Answered, 20), Some(true));
            assert_eq!(step(State::Answered, 21), Some(false));
            assert_eq!(step(State::Confirmed, 22), Some(true));
            assert_eq!(store.dialogs_with(Attribute::Source, b"alice"), Ok(1));
            assert_eq!(store.forget_dialogs(&LIVES, 1020), Ok(0), "active for its whole time");
            assert_eq!(step(State::Terminated, 500), Some(true));
            assert_eq!(store.dialogs_with(Attribute::Source, b"alice"), Ok(0));
            let counts = store.dialog_counts().unwrap();
            assert_eq!((counts.open(), counts.kept), (0, [0, 0, 0, 0, 1, 0]));
            assert_eq!(store.forget_dialogs(&LIVES, 510), Ok(0));
            assert_eq!(store.forget_dialogs(&LIVES, 511), Ok(1));
            assert_eq!(store.dialog(b"a"), Ok(None));
            let counts = store.dialog_counts().unwrap();
            assert_eq!((counts.kept, counts.forgotten), ([0; 6], [0, 0, 0, 0, 1, 0]));
            let left = |prefix: &[u8]| {
                let mut n = 0;
                let count = &mut |_: &[u8], _: &[u8]| {
                    n += 1;
                    true
                };
                store.read(|view| view.walk(prefix, None, count)).unwrap();
                n
            };
            assert_eq!(["d", "e", "y", "D"].map(|kind| left(kind.as_bytes())), [0, 0, 0, 1], "only the counts stay");
        });
    }

    #[test]
    fn calls_are_counted_by_what_they_have() {
        both(|store| {
            for n in 0..250 {
                let src = if n % 5 == 0 { "alice".to_string() } else { format!("user{n}") };
                store.dialog_begin(&call(&format!("c{n}"), &src, 0), &LIVES).unwrap();
            }
            assert_eq!(store.dialogs_with(Attribute::Source, b"alice"), Ok(50));
            assert_eq!(store.dialogs_with(Attribute::Destination, b"bob"), Ok(250));
            assert_eq!(store.dialogs_with(Attribute::Source, b"nobody"), Ok(0));
            assert_eq!(store.dialogs_where(Attribute::Source, &mut |v| v.starts_with(b"user")), Ok(200));
            let tag = |d: &mut Dialog| {
                d.tags.push(Str::from("vip"));
                true
            };
            for n in 0..3 {
                store.dialog_change(format!("c{n}").as_bytes(), &LIVES, &tag).unwrap();
            }
            assert_eq!(store.dialogs_with(Attribute::Tag, b"vip"), Ok(3));
            store.dialog_change(b"c0", &LIVES, &to(State::NotAnswered, 1)).unwrap();
            assert_eq!(store.dialogs_with(Attribute::Tag, b"vip"), Ok(2));
            // A batch each time.
            let mut rounds = 0;
            while store.forget_dialogs(&LIVES, 101).unwrap() > 0 {
                rounds += 1;
            }
            assert_eq!(rounds, 3);
            let counts = store.dialog_counts().unwrap();
            assert_eq!((counts.kept, counts.forgotten), ([0; 6], [249, 0, 0, 0, 0, 1]));
            assert_eq!(store.dialogs_with(Attribute::Destination, b"bob"), Ok(0));
        });
    }

    #[test]
    fn long_values_are_found_too() {
        both(|store| {
            let long = "x".repeat(900);
            store.dialog_begin(&call(&long, &long, 0), &LIVES).unwrap();
            assert_eq!(store.dialogs_with(Attribute::Source, long.as_bytes()), Ok(1));
            assert!(store.dialog(long.as_bytes()).unwrap().is_some());
            assert_eq!(store.dialogs_where(Attribute::Source, &mut |v| v.len() == 900), Ok(1));
        });
    }
}
