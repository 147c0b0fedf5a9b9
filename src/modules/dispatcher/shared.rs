//! What all processes know of the destinations: the list and how each stands, in the shared store. Every process has a copy
//! and looks with each use whether that is still the present one: two numbers.

use super::list::List;
use super::state::State;
use crate::modules::env::Env;
use crate::sip::uri::host_ip;
use crate::store::Shared;
use crate::store::shared::{Change, Key, Result, StoreError, View};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

/// Kind of the rows.
const KIND: u8 = b'D';

/// Which list, and which state of it.
type Head = (u64, u64);

fn row(name: &[u8]) -> Key {
    Key::of(KIND).owner(b"dispatcher").name(name)
}

/// The list and how its destinations stand.
#[derive(Clone, Debug, Default)]
pub struct Known {
    head: Head,
    /// The sets.
    pub list: Rc<List>,
    /// How the destinations stand, by their numbers.
    pub states: Rc<Vec<State>>,
    /// The addresses of hosts that are names.
    pub addresses: Rc<Addresses>,
}

/// Addresses by host name, in small letters.
pub type Addresses = BTreeMap<String, Vec<IpAddr>>;

impl Known {
    /// Which list it is: another one has another number.
    pub fn version(&self) -> u64 {
        self.head.0
    }

    /// Whether a destination has this address.
    pub fn is_at(&self, d: &super::list::Destination, ip: IpAddr) -> bool {
        let Some((host, ..)) = d.place() else { return false };
        match host_ip(host) {
            Some(own) => own.to_canonical() == ip,
            None => {
                let name = String::from_utf8_lossy(host).to_ascii_lowercase();
                self.addresses.get(&name).is_some_and(|list| list.contains(&ip))
            }
        }
    }

    /// How the destinations of a set stand.
    pub fn states_of(&self, set: &super::list::Set) -> &[State] {
        self.states.get(set.first..set.first + set.list.len()).unwrap_or_default()
    }
}

/// This process's copy.
#[derive(Clone, Debug, Default)]
pub struct Copy(Rc<RefCell<Option<Known>>>);

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)
}

fn head(view: &View<'_>) -> Result<Option<Head>> {
    let Some(bytes) = view.get(&row(b"head"))? else { return Ok(None) };
    let head = number(&bytes, 0).zip(number(&bytes, 8));
    head.map(Some).ok_or(StoreError::Garbled)
}

fn put_head(change: &mut Change<'_, '_>, head: Head) -> Result<()> {
    change.put(&row(b"head"), &[head.0.to_be_bytes(), head.1.to_be_bytes()].concat())
}

fn read<T: DeserializeOwned + Default>(view: &View<'_>, name: &[u8]) -> Result<T> {
    match view.get(&row(name))? {
        Some(bytes) => postcard::from_bytes(&bytes).map_err(|_| StoreError::Garbled),
        None => Ok(T::default()),
    }
}

fn write<T: Serialize>(change: &mut Change<'_, '_>, name: &[u8], value: &T) -> Result<()> {
    let bytes = postcard::to_allocvec(value).map_err(|_| StoreError::Garbled)?;
    change.put(&row(name), &bytes)
}

/// The store; without one there are no destinations.
fn store(env: &Env) -> std::result::Result<&Shared, String> {
    env.store.as_ref().ok_or_else(|| "there is no shared store".to_string())
}

/// The list as it is now, and how its destinations stand.
///
/// # Errors
/// Why the store cannot be read.
pub fn known(env: &Env) -> std::result::Result<Known, String> {
    let mut copy = env.dispatcher.0.borrow_mut();
    let fresh = store(env)?.read(|view| {
        let Some(now) = head(view)? else { return Ok(Some(Known::default())) };
        match copy.as_ref() {
            Some(known) if known.head == now => Ok(None),
            Some(known) if known.head.0 == now.0 => {
                let (states, addresses) = (Rc::new(read(view, b"states")?), Rc::new(read(view, b"addresses")?));
                Ok(Some(Known { head: now, list: known.list.clone(), states, addresses }))
            }
            _ => {
                let (list, states) = (Rc::new(read(view, b"list")?), Rc::new(read(view, b"states")?));
                let addresses = Rc::new(read(view, b"addresses")?);
                Ok(Some(Known { head: now, list, states, addresses }))
            }
        }
    });
    if let Some(fresh) = fresh.map_err(|e| e.to_string())? {
        *copy = Some(fresh);
    }
    Ok(copy.clone().unwrap_or_default())
}

/// Puts another list in the place of the present one. A destination that was there and is listed with the same flags
/// stands as it did.
///
/// # Errors
/// Why the store cannot be written.
pub fn replace(
    env: &Env,
    make: impl Fn(&List) -> std::result::Result<List, String>,
) -> std::result::Result<(), String> {
    let mut refused = None;
    let done = store(env)?.write(|change| {
        let view = change.view();
        let (list, version) = head(&view)?.unwrap_or_default();
        let old: List = read(&view, b"list")?;
        let states: Vec<State> = read(&view, b"states")?;
        let new = match make(&old) {
            Ok(new) => new,
            Err(why) => {
                refused = Some(why);
                return Ok(());
            }
        };
        let stands = |(set, _, d): (&super::list::Set, usize, &super::list::Destination)| {
            let before = old.find(set.id, &d.uri).and_then(|n| Some((old.at(n)?.1, states.get(n)?)));
            match before {
                Some((was, state)) if was.flags == d.flags => state.clone(),
                _ => State { flags: d.flags, ..State::default() },
            }
        };
        let states: Vec<State> = new.all().map(stands).collect();
        write(change, b"list", &new)?;
        write(change, b"states", &states)?;
        put_head(change, (list + 1, version + 1))
    });
    done.map_err(|e| e.to_string())?;
    refused.map_or(Ok(()), Err)
}

/// Changes how destinations stand: `f` gets each that is chosen by set and URI (`None`: all of the set) and says what has
/// become of it. What has changed is returned with its set and URI.
///
/// # Errors
/// Why the store cannot be written.
pub fn change<T>(
    env: &Env,
    set: i64,
    uri: Option<&[u8]>,
    f: impl Fn(&super::list::Destination, &mut State) -> T,
) -> std::result::Result<Vec<(crate::base::Str, T)>, String> {
    // Nothing is written if nothing would change.
    let known = known(env)?;
    let chosen = |list: &List| -> Vec<usize> {
        let Some((_, s)) = list.set(set) else { return Vec::new() };
        let fits = |(_, d): &(usize, &super::list::Destination)| uri.is_none_or(|u| *d.uri == *u);
        s.list.iter().enumerate().filter(fits).map(|(i, _)| s.first + i).collect()
    };
    let apply = |list: &List, states: &mut [State]| {
        let mut out = Vec::new();
        for n in chosen(list) {
            if let (Some((_, d)), Some(state)) = (list.at(n), states.get_mut(n)) {
                out.push((d.uri.clone(), f(d, state)));
            }
        }
        out
    };
    let mut tried = known.states.to_vec();
    let out = apply(&known.list, &mut tried);
    if tried == *known.states {
        return Ok(out);
    }
    let changed = store(env)?.write(|change| {
        let view = change.view();
        let (version, state) = head(&view)?.unwrap_or_default();
        let list: Rc<List> = if version == known.head.0 { known.list.clone() } else { Rc::new(read(&view, b"list")?) };
        let mut states: Vec<State> = read(&view, b"states")?;
        let out = apply(&list, &mut states);
        write(change, b"states", &states)?;
        put_head(change, (version, state + 1))?;
        Ok(out)
    });
    changed.map_err(|e| e.to_string())
}

/// The addresses of a host were looked up. What is known of names that no destination has any more is forgotten.
///
/// # Errors
/// Why the store cannot be written.
pub fn set_addresses(env: &Env, name: &str, addresses: &[IpAddr]) -> std::result::Result<(), String> {
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.to_canonical()).collect();
    let before = known(env)?;
    if before.addresses.get(name) == Some(&addresses) {
        return Ok(());
    }
    let done = store(env)?.write(|change| {
        let view = change.view();
        let (version, state) = head(&view)?.unwrap_or_default();
        let list: List = read(&view, b"list")?;
        let mut all: Addresses = read(&view, b"addresses")?;
        all.insert(name.to_string(), addresses.clone());
        let names: BTreeSet<String> = list.all().filter_map(|(_, _, d)| d.name()).collect();
        all.retain(|name, _| names.contains(name));
        write(change, b"addresses", &all)?;
        put_head(change, (version, state + 1))
    });
    done.map_err(|e| e.to_string())
}

/// Whether destinations are pinged (`dispatcher.ping_active`).
pub fn pings(env: &Env) -> bool {
    let paused = store(env).ok().and_then(|s| s.read(|view| Ok(view.get(&row(b"paused"))?.is_some())).ok());
    !paused.unwrap_or(false)
}

/// Switches pings on or off.
///
/// # Errors
/// Why the store cannot be written.
pub fn set_pings(env: &Env, on: bool) -> std::result::Result<(), String> {
    let done = store(env)?.write(|change| match on {
        true => change.remove(&row(b"paused")).map(|_| ()),
        false => change.put(&row(b"paused"), &[]),
    });
    done.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::state::{Change as Became, INACTIVE, Word};
    use super::*;

    #[test]
    fn copies_follow_the_store() {
        let one = Env { store: Some(Shared::in_memory()), ..Env::unattached() };
        let two = Env { store: one.store.clone(), dispatcher: Copy::default(), ..one.clone() };
        assert!(known(&two).unwrap().list.is_empty());
        let list = |text: &str| List::parse(text).unwrap();
        replace(&one, |_| Ok(list("1 sip:b\n1 sip:a\n2 sip:a"))).unwrap();
        assert_eq!(known(&two).unwrap().list.len(), 3);
        let down = |env: &Env| change(env, 1, Some(b"sip:b"), |_, s| s.hear(Word::Inactive, false, None)).unwrap();
        assert_eq!(down(&one).into_iter().map(|(_, c)| c).collect::<Vec<_>>(), [Some(Became::Down)]);
        let before = known(&one).unwrap();
        assert_eq!(known(&two).unwrap().states.iter().map(|s| s.flags).collect::<Vec<_>>(), [0, INACTIVE, 0]);
        // Who says the same again writes nothing.
        assert_eq!(down(&two).into_iter().map(|(_, c)| c).collect::<Vec<_>>(), [None]);
        assert_eq!(known(&two).unwrap().head, before.head);
        // Another list: who is in both stands as before, unless it is listed otherwise.
        replace(&two, |old| {
            assert_eq!(old.len(), 3);
            Ok(list("1 sip:c 8\n1 sip:b\n2 sip:a 1"))
        })
        .unwrap();
        assert_eq!(known(&one).unwrap().states.iter().map(|s| s.flags).collect::<Vec<_>>(), [INACTIVE, 8, 1]);
        assert_eq!(replace(&one, |_| Err("no".to_string())), Err("no".to_string()));
        assert_eq!(known(&one).unwrap().list.len(), 3);
        assert!(change(&one, 7, None, |_, _| ()).unwrap().is_empty());
        assert!(known(&Env::unattached()).is_err());
        // Names and their addresses.
        replace(&one, |_| Ok(list("1 sip:gw.example.com\n1 sip:10.0.0.1\n1 sip:x.example.com 16"))).unwrap();
        let ip: IpAddr = "192.0.2.5".parse().unwrap();
        set_addresses(&one, "gw.example.com", &[ip]).unwrap();
        set_addresses(&one, "gone.example.com", &[ip]).unwrap();
        let now = known(&two).unwrap();
        let at: Vec<bool> = now.list.all().map(|(_, _, d)| now.is_at(d, ip)).collect();
        assert_eq!(at, [false, false, true]);
        assert_eq!(now.addresses.keys().collect::<Vec<_>>(), ["gw.example.com"]);
        assert_eq!(now.list.all().filter_map(|(_, _, d)| d.name()).collect::<Vec<_>>(), ["gw.example.com"]);
    }
}
