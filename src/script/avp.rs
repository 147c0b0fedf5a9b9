//! AVPs: named stacks of values that belong to a message and then to its transaction. Index 0 is
//! the value pushed last.

use super::ast::Dialect;
use super::host::Index;
use super::program::Limits;
use super::value::Value;
use super::xavp::Xavps;
use crate::base::Str;
use crate::base::seldom::Vacant;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// All AVPs of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Avps {
    /// Values of each name, the newest last.
    lists: BTreeMap<Str, Vec<Value>>,
    /// How many values there are.
    count: usize,
    /// Bytes of their texts.
    bytes: usize,
    /// `$xavp` and its like.
    xavps: Option<Box<Xavps>>,
}

impl Vacant for Avps {
    fn vacant() -> &'static Self {
        const { &Avps { lists: BTreeMap::new(), count: 0, bytes: 0, xavps: None } }
    }
}

/// What an AVP is found by: in Kamailio's language `s:name` is an older spelling of `name`.
pub fn key(dialect: Dialect, name: &[u8]) -> &[u8] {
    let bare = if dialect == Dialect::Kamailio { name.strip_prefix(b"s:") } else { None };
    bare.filter(|n| !n.is_empty()).unwrap_or(name)
}

/// The name that an alias stands for (`avp_aliases` of Kamailio's pv); any other as it is.
pub fn unaliased(name: &[u8], aliases: &HashMap<String, String>) -> Str {
    let known = std::str::from_utf8(name).ok().and_then(|n| aliases.get(n));
    known.map_or_else(|| Str::from(name), |n| Str::from(n.as_str()))
}

/// Reads `avp_aliases`: `email=s:email_addr;id=i:100`.
///
/// # Errors
/// What is wrong with it.
pub fn aliases(text: &str) -> Result<HashMap<String, String>, String> {
    let mut out = HashMap::new();
    for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let (alias, name) = part.split_once('=').unwrap_or_default();
        let (alias, name) = (alias.trim(), name.trim());
        let kind = name.split_once(':').filter(|(kind, rest)| {
            !rest.is_empty() && matches!(*kind, "s" | "S") || matches!(*kind, "i" | "I") && rest.parse::<u32>().is_ok()
        });
        let name = match (kind, name.contains(':')) {
            (Some(("s" | "S", rest)), _) => rest.to_owned(),
            (Some((_, rest)), _) => format!("i:{rest}"),
            (None, false) if !name.is_empty() => name.to_owned(),
            _ => return Err(format!("`{part}` is not of the form `alias=s:name` or `alias=i:number`")),
        };
        if alias.is_empty() {
            return Err(format!("`{part}` is not of the form `alias=s:name` or `alias=i:number`"));
        }
        out.insert(alias.to_owned(), name);
    }
    Ok(out)
}

/// The run holds as many AVP values (or bytes of them) as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

fn size(v: &Value) -> usize {
    match v {
        Value::Str(s) | Value::Both(_, s) => s.len(),
        _ => 0,
    }
}

impl Avps {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// `$xavp` and its like, if there have been any.
    pub fn xavps(&self) -> Option<&Xavps> {
        self.xavps.as_deref()
    }

    /// `$xavp` and its like, to change.
    pub fn xavps_mut(&mut self) -> &mut Xavps {
        self.xavps.get_or_insert_default()
    }

    /// The value at an index (0 = newest, negative from the oldest); NULL out of range.
    pub fn get(&self, name: &[u8], index: i64) -> Value {
        let Some(list) = self.lists.get(name) else { return Value::Null };
        slot(list.len(), index).and_then(|n| list.get(n)).cloned().unwrap_or_default()
    }

    /// All values of a name, index 0 first.
    pub fn values(&self, name: &[u8]) -> impl DoubleEndedIterator<Item = &Value> {
        self.lists.get(name).into_iter().flatten().rev()
    }

    /// Every name with its values, index 0 first.
    pub fn all(&self) -> impl Iterator<Item = (&Str, impl Iterator<Item = &Value>)> {
        self.lists.iter().map(|(n, l)| (n, l.iter().rev()))
    }

    /// Pushes a value: it becomes index 0. NULL removes the newest.
    pub fn push(&mut self, name: &[u8], value: Value, limits: &Limits) -> Result<(), Full> {
        if value.is_null() {
            self.remove(name, 0);
            return Ok(());
        }
        self.room(1, size(&value), limits)?;
        self.add(name, value, true);
        Ok(())
    }

    /// Adds a value at the bottom: it becomes the last index.
    pub fn append(&mut self, name: &[u8], value: Value, limits: &Limits) -> Result<(), Full> {
        if value.is_null() {
            return Ok(());
        }
        self.room(1, size(&value), limits)?;
        self.add(name, value, false);
        Ok(())
    }

    /// Overwrites the value at an index (NULL removes it). Out of range it pushes, as `=` does.
    pub fn set(&mut self, name: &[u8], index: i64, value: Value, limits: &Limits) -> Result<(), Full> {
        if value.is_null() {
            self.remove(name, index);
            return Ok(());
        }
        let at = self.lists.get(name).and_then(|l| slot(l.len(), index));
        let Some(at) = at else { return self.push(name, value, limits) };
        self.room(0, size(&value), limits)?;
        if let Some(old) = self.lists.get_mut(name).and_then(|l| l.get_mut(at)) {
            self.bytes = self.bytes.saturating_sub(size(old));
            *old = value;
        }
        Ok(())
    }

    /// Assignment by the index written.
    pub fn assign(
        &mut self,
        name: &[u8],
        index: Index,
        replace: bool,
        value: Value,
        limits: &Limits,
    ) -> Result<(), Full> {
        if replace || index == Index::All {
            self.clear(name);
            return if value.is_null() { Ok(()) } else { self.push(name, value, limits) };
        }
        match index {
            Index::Append => self.append(name, value, limits),
            Index::At(i) => self.set(name, i, value, limits),
            _ => self.push(name, value, limits),
        }
    }

    /// Removes the value at an index.
    pub fn remove(&mut self, name: &[u8], index: i64) {
        let Some(list) = self.lists.get_mut(name) else { return };
        if let Some(at) = slot(list.len(), index) {
            let old = list.remove(at);
            self.count = self.count.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(size(&old));
        }
        if list.is_empty() {
            self.lists.remove(name);
        }
    }

    /// Removes all values of a name; returns how many.
    pub fn clear(&mut self, name: &[u8]) -> usize {
        let Some(list) = self.lists.remove(name) else { return 0 };
        self.count = self.count.saturating_sub(list.len());
        self.bytes = self.bytes.saturating_sub(list.iter().map(size).sum());
        list.len()
    }

    /// Adopts the AVPs of another run behind one's own (what an operation delivered).
    pub fn merge(&mut self, other: Avps, limits: &Limits) -> Result<(), Full> {
        if other.xavps.is_some() {
            self.xavps = other.xavps;
        }
        for (name, list) in other.lists {
            for v in list {
                self.push(&name, v, limits)?;
            }
        }
        Ok(())
    }

    /// Adds to a name's list, at the top or at the bottom.
    fn add(&mut self, name: &[u8], value: Value, top: bool) {
        match self.lists.get_mut(name) {
            Some(list) if top => list.push(value),
            Some(list) => list.insert(0, value),
            None => {
                self.lists.insert(Str::from(name), vec![value]);
            }
        }
    }

    fn room(&mut self, count: usize, bytes: usize, limits: &Limits) -> Result<(), Full> {
        if self.count + count > limits.max_avps || self.bytes + bytes > limits.max_avp_bytes {
            return Err(Full);
        }
        self.count += count;
        self.bytes += bytes;
        Ok(())
    }
}

/// Position in the list (newest last) of an index (newest first).
fn slot(len: usize, index: i64) -> Option<usize> {
    let from_top = if index < 0 { i64::try_from(len).ok()?.checked_add(index)? } else { index };
    let from_top = usize::try_from(from_top).ok()?;
    len.checked_sub(from_top)?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(a: &Avps, name: &str) -> Vec<String> {
        a.values(name.as_bytes()).map(|v| v.to_text().unwrap().to_string()).collect()
    }

    #[test]
    fn is_a_stack() {
        let (mut a, l) = (Avps::default(), Limits::default());
        for v in ["1", "2", "3"] {
            a.assign(b"x", Index::None, false, v.into(), &l).unwrap();
        }
        assert_eq!(texts(&a, "x"), ["3", "2", "1"]);
        assert_eq!(a.get(b"x", 0), "3".into());
        assert_eq!(a.get(b"x", -1), "1".into());
        assert_eq!(a.get(b"x", 3), Value::Null);
        assert_eq!(a.get(b"x", -4), Value::Null);
        a.assign(b"x", Index::At(1), false, "b".into(), &l).unwrap();
        a.assign(b"x", Index::Append, false, "0".into(), &l).unwrap();
        assert_eq!(texts(&a, "x"), ["3", "b", "1", "0"]);
        a.assign(b"x", Index::None, false, Value::Null, &l).unwrap();
        assert_eq!(texts(&a, "x"), ["b", "1", "0"]);
        a.assign(b"x", Index::At(1), false, Value::Null, &l).unwrap();
        assert_eq!(texts(&a, "x"), ["b", "0"]);
        a.assign(b"x", Index::None, true, "only".into(), &l).unwrap();
        assert_eq!(texts(&a, "x"), ["only"]);
        a.assign(b"x", Index::None, true, Value::Null, &l).unwrap();
        assert!(a.is_empty());
        assert_eq!((a.count, a.bytes), (0, 0));
    }

    #[test]
    fn names_have_an_older_spelling() {
        let kamailio = |name: &'static str| key(Dialect::Kamailio, name.as_bytes());
        assert_eq!(
            (kamailio("s:x"), kamailio("x"), kamailio("i:5"), kamailio("s:")),
            (&b"x"[..], &b"x"[..], &b"i:5"[..], &b"s:"[..])
        );
        assert_eq!(key(Dialect::OpenSips, b"s:x"), b"s:x");
    }

    #[test]
    fn names_may_have_aliases() {
        let all = aliases("email=s:email_addr; tmp=i:100;plain=other;").unwrap();
        for (alias, name) in [("email", "email_addr"), ("tmp", "i:100"), ("plain", "other"), ("none", "none")] {
            assert_eq!(unaliased(alias.as_bytes(), &all), Str::from(name));
        }
        for bad in ["x", "x=", "=s:y", "x=i:y", "x=q:y", "x=s:"] {
            assert!(aliases(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn is_bounded() {
        let mut a = Avps::default();
        let l = Limits { max_avps: 2, max_avp_bytes: 10, ..Limits::default() };
        a.push(b"x", "12345".into(), &l).unwrap();
        assert_eq!(a.push(b"x", "123456".into(), &l), Err(Full));
        a.push(b"x", Value::Int(1), &l).unwrap();
        assert_eq!(a.push(b"y", Value::Int(1), &l), Err(Full));
        a.clear(b"x");
        a.push(b"y", Value::Int(1), &l).unwrap();
    }
}
