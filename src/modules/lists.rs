//! Tables of a database, and files, that every worker keeps a copy of: addresses, trusted peers, rules, domains. The shared
//! store has them with a number; a worker whose copy has another number makes a new one.

use super::domain::{Attributes, Domains};
use super::env::{Env, Settings};
use super::permissions;
use super::permissions::address::{Address, Addresses};
use super::permissions::rules::{RuleFile, Rules};
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
    /// `permissions`: files of rules.
    Rules,
    /// `domain`
    Domains,
    /// `domain`: attributes of domains.
    Attributes,
}

/// All of them.
pub const ALL: [List; 5] = [List::Addresses, List::Trusted, List::Rules, List::Domains, List::Attributes];

/// Where a list comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A statement brings it.
    Query(String),
    /// These files do.
    Files(Vec<String>),
}

/// A file with its text; `None`: it is not there.
pub type File = (String, Option<String>);

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
            List::Rules => "permissions: rules",
            List::Domains => "domain",
            List::Attributes => "domain: attributes",
        }
    }

    /// The list that a control method reads anew.
    pub fn reloaded_by(method: &str) -> Option<List> {
        Some(match method {
            "permissions.addressReload" | "permissions:address_reload" | "address_reload" => List::Addresses,
            "permissions.trustedReload" => List::Trusted,
            "permissions.rulesReload" | "permissions:rules_reload" => List::Rules,
            "domain.reload" => List::Domains,
            _ => return None,
        })
    }

    /// The list that is read anew together with it.
    pub fn companion(self) -> Option<List> {
        (self == List::Domains).then_some(List::Attributes)
    }

    /// Number of the database it is read from.
    pub fn database(self) -> i64 {
        match self {
            List::Addresses | List::Trusted | List::Rules => permissions::DATABASE,
            List::Domains | List::Attributes => super::domain::DATABASE,
        }
    }

    /// Where it comes from; `None`: it is not kept.
    pub fn source(self, settings: &Settings) -> Option<Source> {
        let s = &settings.permissions;
        let has_database = settings.db_urls.iter().any(|(n, _)| *n == self.database());
        let query = match self {
            List::Addresses => match &s.file {
                Some((path, _)) => return Some(Source::Files(vec![path.clone()])),
                None => s.address_query(),
            },
            List::Rules => {
                let files: Vec<String> = s.rules.iter().map(|f| f.path.to_lossy().into_owned()).collect();
                return (!files.is_empty()).then_some(Source::Files(files));
            }
            List::Trusted => s.trusted_query(),
            List::Domains => Some(settings.domain.query()),
            List::Attributes => settings.domain.attribute_query(),
        };
        query.filter(|_| has_database).map(Source::Query)
    }

    /// Takes in rows.
    pub fn read(self, rows: &[Vec<SqlValue>]) -> Read {
        match self {
            List::Addresses => all(rows, Address::of_row),
            List::Trusted => all(rows, Trusted::of_row),
            List::Domains => all(rows, super::domain::of_row),
            List::Attributes => all(rows, super::domain::attribute_of_row),
            List::Rules => Read { data: Vec::new(), rows: 0, bad: rows.len() },
        }
    }

    /// Takes in files.
    ///
    /// # Errors
    /// What is wrong in which line, or which file is missed.
    pub fn read_files(self, files: &[File]) -> Result<Read, String> {
        match self {
            List::Addresses => {
                let (path, text) = files.first().ok_or("there is no file")?;
                let text = text.as_deref().ok_or_else(|| format!("{path} is not there"))?;
                let list = permissions::Settings::addresses_in(path, text)?;
                Ok(Read { data: encode(&list), rows: list.len(), bad: 0 })
            }
            _ => {
                let list = rules_in(files)?;
                Ok(Read { data: encode(&list), rows: list.iter().map(|f| f.rules.len()).sum(), bad: 0 })
            }
        }
    }

    /// What main has read of its files before the start; `None`: it has none.
    pub fn at_start(self, settings: &Settings) -> Option<Vec<u8>> {
        let s = &settings.permissions;
        match self {
            List::Addresses => s.file.as_ref().map(|(_, list)| encode(list)),
            List::Rules => (!s.rules.is_empty()).then(|| encode(&s.rules)),
            _ => None,
        }
    }
}

/// The rules of files; one that is not there has none.
///
/// # Errors
/// What is wrong in which line.
pub fn rules_in(files: &[File]) -> Result<Vec<RuleFile>, String> {
    files.iter().map(|(path, text)| RuleFile::parse(path, text.as_deref().unwrap_or_default())).collect()
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
    rules: (u64, Rc<Rules>),
    domains: (u64, Rc<Domains>),
    attributes: (u64, Rc<Attributes>),
}

/// The addresses, as they are now.
pub fn addresses(env: &Env) -> Rc<Addresses> {
    copy(env, List::Addresses, |h| &mut h.addresses, Addresses::new)
}

/// The trusted peers, as they are now.
pub fn trusted(env: &Env) -> Rc<Vec<Trusted>> {
    copy(env, List::Trusted, |h| &mut h.trusted, |rows| rows)
}

/// The rules of files, as they are now.
pub fn rules(env: &Env) -> Rc<Rules> {
    copy(env, List::Rules, |h| &mut h.rules, Rules::new)
}

/// The attributes of domains, as they are now.
pub fn attributes(env: &Env) -> Rc<Attributes> {
    copy(env, List::Attributes, |h| &mut h.attributes, Attributes::new)
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
