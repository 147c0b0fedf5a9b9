//! The variables of tables: `$sht(table=>name)` and its kin.

use super::choose::{Choice, Of};
use super::definition::{Table, end_after};
use crate::modules::env::Env;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::pv_kamailio::Kpv;
use crate::modules::shared::refused;
use crate::script::host::SetError;
use crate::script::value::Value;
use crate::store::Shared;
use crate::store::shared::{Result as StoreResult, Stored};

/// The store, a table of it and what time it is.
pub struct Place<'a> {
    /// The store.
    pub store: &'a Shared,
    /// The table.
    pub table: &'a Table,
    /// Microseconds since 1970.
    pub now: i64,
}

impl Place<'_> {
    /// An item's value: the table's first value if there is none.
    pub fn value(&self, name: &[u8]) -> StoreResult<Value> {
        let item = self.store.item(&self.table.name, name, self.now)?;
        Ok(item.map_or_else(|| self.table.first.map_or(Value::Null, Value::Int), |item| item.value))
    }

    /// Writes an item; NULL removes it.
    pub fn set(&self, name: &[u8], value: &Value) -> StoreResult<()> {
        match value {
            Value::Null => self.store.remove_item(&self.table.name, name, self.now).map(|_| ()),
            value => self.store.set_item(&self.table.name, name, value, self.table.ends(self.now), self.now),
        }
    }

    /// Adds to a number.
    pub fn add(&self, name: &[u8], by: i64) -> StoreResult<Option<i64>> {
        self.store.add(&self.table.name, name, by, self.table.first, self.table.ends(self.now), self.now)
    }

    /// An item lives that many seconds from now on, if its table's items end at all; whether there is such an item.
    pub fn live_on(&self, name: &[u8], seconds: i64) -> StoreResult<bool> {
        if self.table.expire == 0 {
            return Ok(self.store.item(&self.table.name, name, self.now)?.is_some());
        }
        let at = end_after(seconds, self.now).max(self.now);
        self.store.set_end(&self.table.name, name, at, self.now)
    }

    /// How many items are meant.
    pub fn count(&self, choice: &Choice) -> StoreResult<i64> {
        let mut n = 0;
        self.each(&mut |item| {
            n += i64::from(choice.takes(item));
            true
        })?;
        Ok(n)
    }

    /// Shows every item until `f` says false.
    pub fn each(&self, f: &mut dyn FnMut(&Stored) -> bool) -> StoreResult<()> {
        self.store.items(&self.table.name, None, self.now, &mut |_, item| f(&item))
    }

    /// Removes the items that are meant.
    pub fn remove(&self, choice: &Choice) -> StoreResult<usize> {
        self.store.remove_items(&self.table.name, &mut |item| choice.takes(item))
    }
}

/// The table of this name.
pub fn place<'a>(h: &'a SipHost, table: &[u8]) -> Result<Place<'a>, String> {
    place_in(h.env(), table)
}

/// The same for whoever has no run.
pub fn place_in<'a>(env: &'a Env, table: &[u8]) -> Result<Place<'a>, String> {
    let found = env.settings.tables.iter().find(|t| *t.name == *table);
    let table = found.ok_or_else(|| format!("there is no table `{}`", String::from_utf8_lossy(table)))?;
    let store = env.store.as_ref().ok_or("there is no shared store")?;
    Ok(Place { store, table, now: env.clock.micros() })
}

/// `table=>name`, taken apart.
pub fn split(text: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let at = memchr::memmem::find(text, b"=>").ok_or("an item is written `table=>name`")?;
    let (table, rest) = text.split_at(at);
    Ok((table.trim_ascii(), rest.get(2..).unwrap_or_default()))
}

/// Reads a variable of this module.
pub fn get(h: &SipHost, pv: Kpv, sub: Option<&Value>) -> Value {
    let text = sub.and_then(Value::to_text).unwrap_or_default();
    read(h, pv, &text).unwrap_or_else(|why| {
        log_line(h, -1, &format!("htable: {why}"));
        Value::Null
    })
}

fn read(h: &SipHost, pv: Kpv, text: &[u8]) -> Result<Value, String> {
    let event = |name: &[u8]| h.event.iter().find(|(n, _)| **n == *name).map(|(_, v)| v.clone());
    match pv {
        Kpv::ShtRecord => return Ok(Value::opt(event(text))),
        Kpv::ShtIteratorKey | Kpv::ShtIteratorValue => {
            let item = h.iterators.iter().find(|i| *i.name == *text).and_then(|i| i.item.as_ref());
            return Ok(match (pv, item) {
                (Kpv::ShtIteratorKey, Some((name, _))) => Value::Str(name.clone()),
                (_, Some((_, value))) => value.clone(),
                _ => Value::Null,
            });
        }
        _ => {}
    }
    let (table, name) = split(text)?;
    let place = place(h, table)?;
    let value = match pv {
        Kpv::Sht => place.value(name),
        Kpv::ShtExpire => place.store.item(&place.table.name, name, place.now).map(|item| match item {
            Some(item) if item.expires != 0 => Value::Int((item.expires - place.now) / 1_000_000),
            Some(_) => Value::Int(0),
            None => Value::Null,
        }),
        Kpv::ShtIncrement => place.add(name, 1).map(|n| n.map_or(Value::Null, Value::Int)),
        Kpv::ShtDecrement => place.add(name, -1).map(|n| n.map_or(Value::Null, Value::Int)),
        Kpv::ShtCountNames => place.count(&Choice::glued(Of::Name, name)?).map(Value::Int),
        _ => place.count(&Choice::glued(Of::Value, name)?).map(Value::Int),
    };
    value.map_err(|e| e.to_string())
}

/// Assigns `$sht(table=>name)` or `$shtex(table=>name)`.
pub fn set(h: &SipHost, pv: Kpv, sub: Option<&Value>, value: &Value) -> Result<(), SetError> {
    let text = sub.and_then(Value::to_text).unwrap_or_default();
    let bad = |_: String| SetError::BadValue("an item is written `table=>name`, and its table must be defined");
    let (table, name) = split(&text).map_err(bad)?;
    let place = place(h, table).map_err(bad)?;
    if pv == Kpv::Sht {
        return place.set(name, value).map_err(refused);
    }
    let seconds = value.to_int().ok_or(SetError::BadValue("the time to live is a number of seconds"))?;
    place.live_on(name, seconds).map(|_| ()).map_err(refused)
}
