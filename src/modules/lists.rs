//! Tables of a database that every worker keeps a copy of: addresses, trusted peers, domains. The shared store has them
//! with a number; a worker whose copy has another number makes a new one.

use super::domain::Domains;
use super::env::{Env, Settings};
use super::permissions::address::{Address, Addresses};
use super::permissions::trusted::Trusted;
use crate::ops::SqlValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::rc::Rc;

/// A list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    /// `permissions`: its addresses.
    Addresses,
    /// `permissions`: trusted peers.
    Trusted,
    /// `domain`
    Domains,
}

/// All of them.
pub const ALL: [List; 3] = [List::Addresses, List::Trusted, List::Domains];

/// What a list was read into.
pub struct Read {
    /// As it lies in the store.
    pub data: Vec<u8>,
    /// How many rows it has.
    pub rows: usize,
    /// How many rows were left out since they say nothing that can be used.
    pub bad: usize,
}

impl List {
    /// Its name in the store and in lines of the log.
    pub fn name(self) -> &'static str {
        match self {
            List::Addresses => "permissions: addresses",
            List::Trusted => "permissions: trusted peers",
            List::Domains => "domain",
        }
    }

    /// The list that a control method reads anew.
    pub fn reloaded_by(method: &str) -> Option<List> {
        Some(match method {
            "permissions.addressReload" => List::Addresses,
            "permissions.trustedReload" => List::Trusted,
            "domain.reload" => List::Domains,
            _ => return None,
        })
    }

    /// Number of the database it is read from.
    pub fn database(self) -> i64 {
        match self {
            List::Addresses | List::Trusted => super::permissions::DATABASE,
            List::Domains => super::domain::DATABASE,
        }
    }

    /// The statement that reads it; `None`: it is not kept.
    pub fn query(self, settings: &Settings) -> Option<String> {
        let has_database = settings.db_urls.iter().any(|(n, _)| *n == self.database());
        let of = match self {
            List::Addresses => settings.permissions.address_query(),
            List::Trusted => settings.permissions.trusted_query(),
            List::Domains => Some(settings.domain.query()),
        };
        of.filter(|_| has_database)
    }

    /// Takes in rows.
    pub fn read(self, rows: &[Vec<SqlValue>]) -> Read {
        match self {
            List::Addresses => all(rows, Address::of_row),
            List::Trusted => all(rows, Trusted::of_row),
            List::Domains => all(rows, super::domain::of_row),
        }
    }
}

fn all<T: Serialize>(rows: &[Vec<SqlValue>], f: impl Fn(&[SqlValue]) -> Option<T>) -> Read {
    let read: Vec<T> = rows.iter().filter_map(|r| f(r)).collect();
    Read { data: encode(&read), rows: read.len(), bad: rows.len() - read.len() }
}

/// Rows as they lie in the store.
pub fn encode<T: Serialize>(rows: &[T]) -> Vec<u8> {
    postcard::to_allocvec(rows).unwrap_or_default()
}

/// The copies of one worker.
#[derive(Clone, Debug, Default)]
pub struct Copies(Rc<RefCell<Held>>);

#[derive(Debug, Default)]
struct Held {
    addresses: (u64, Rc<Addresses>),
    trusted: (u64, Rc<Vec<Trusted>>),
    domains: (u64, Rc<Domains>),
}

/// The addresses, as they are now.
pub fn addresses(env: &Env) -> Rc<Addresses> {
    copy(env, List::Addresses, |h| &mut h.addresses, Addresses::new)
}

/// The trusted peers, as they are now.
pub fn trusted(env: &Env) -> Rc<Vec<Trusted>> {
    copy(env, List::Trusted, |h| &mut h.trusted, |rows| rows)
}

/// The domains, as they are now.
pub fn domains(env: &Env) -> Rc<Domains> {
    copy(env, List::Domains, |h| &mut h.domains, Domains::new)
}

fn copy<T, R: DeserializeOwned>(
    env: &Env,
    list: List,
    slot: fn(&mut Held) -> &mut (u64, Rc<T>),
    make: fn(Vec<R>) -> T,
) -> Rc<T> {
    let mut held = env.copies.0.borrow_mut();
    let (number, copy) = slot(&mut held);
    let name = list.name().as_bytes();
    // A store that cannot be read leaves what was known.
    if let Some(store) = &env.store
        && let Ok(now) = store.list_number(name)
        && now != *number
        && let Ok(Some((now, data))) = store.list(name)
        && let Ok(rows) = postcard::from_bytes::<Vec<R>>(&data)
    {
        *number = now;
        *copy = Rc::new(make(rows));
    }
    copy.clone()
}

/// A field as text; `None` for NULL.
pub fn text(value: Option<&SqlValue>) -> Option<crate::base::Str> {
    match value? {
        SqlValue::Null => None,
        SqlValue::Int(n) | SqlValue::Time(n) => Some(crate::base::Str::from(n.to_string())),
        SqlValue::Text(t) => Some(t.clone()),
    }
}

/// A field as a number; `None` for NULL and for what is none.
pub fn int(value: Option<&SqlValue>) -> Option<i64> {
    match value? {
        SqlValue::Int(n) | SqlValue::Time(n) => Some(*n),
        other => std::str::from_utf8(&text(Some(other))?).ok()?.trim().parse().ok(),
    }
}
