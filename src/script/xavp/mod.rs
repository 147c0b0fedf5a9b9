//! Kamailio's structured variables, `$xavp`, `$xavu` and `$xavi`: lists of values by name, each a plain value or
//! a list of named values of its own. They lie beside the AVPs ([`super::avp::Avps`]) and go wherever these go:
//! into the transaction, through waits, with a run that travels. Two levels, as the language can write.

mod path;

pub use path::{At, Path};

use super::avp::Full;
use super::program::Limits;
use super::value::Value;
use crate::base::Str;
use serde::{Deserialize, Serialize};

/// Which of the three stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Family {
    /// `$xavp`: several of a name.
    Xavp,
    /// `$xavu`: one of a name.
    Xavu,
    /// `$xavi`: several of a name, and names in any case.
    Xavi,
}

impl Family {
    /// Its word: `xavp`, `xavu` or `xavi`.
    pub fn word(self) -> &'static str {
        match self {
            Family::Xavp => "xavp",
            Family::Xavu => "xavu",
            Family::Xavi => "xavi",
        }
    }

    fn same(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Family::Xavi => a.eq_ignore_ascii_case(b),
            _ => a == b,
        }
    }
}

/// Named values, the newest (index 0) last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fields(Vec<(Str, Value)>);

/// What a name of the first level holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Node {
    /// A plain value: `$xavp(name) = 1`.
    Leaf(Value),
    /// Named values: `$xavp(name=>field)`.
    Fields(Fields),
}

/// All of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Xavps {
    /// By [`Family`]; the newest (index 0) last.
    lists: [Vec<(Str, Node)>; 3],
    /// How many values there are, those that hold others included.
    count: usize,
    /// Bytes of their names and texts.
    bytes: usize,
}

fn size(name: &[u8], v: &Value) -> usize {
    name.len()
        + match v {
            Value::Str(s) | Value::Both(_, s) => s.len(),
            _ => 0,
        }
}

impl Fields {
    /// From names and values in the order in which they are to be seen: the first becomes the front.
    pub fn in_order<N: Into<Str>>(list: impl DoubleEndedIterator<Item = (N, Value)>) -> Fields {
        Fields(list.rev().map(|(n, v)| (n.into(), v)).collect())
    }

    /// All, the front first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Str, &Value)> {
        self.0.iter().rev().map(|(n, v)| (n, v))
    }

    /// The first value of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Value> {
        self.iter().find(|(n, _)| ***n == *name).map(|(_, v)| v)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Node {
    /// How many values it is, and their bytes without its name.
    fn weight(&self) -> (usize, usize) {
        match self {
            Node::Leaf(v) => (1, size(b"", v)),
            Node::Fields(f) => (1 + f.0.len(), f.0.iter().map(|(n, v)| size(n, v)).sum()),
        }
    }
}

/// Position in a list (newest last) of an index (newest first) among the entries that `fits`.
fn locate<T>(list: &[(Str, T)], fits: impl Fn(&[u8]) -> bool, index: i64) -> Option<usize> {
    let mut found = list.iter().enumerate().filter(|(_, (n, _))| fits(n)).map(|(i, _)| i);
    if index >= 0 {
        found.nth_back(usize::try_from(index).ok()?)
    } else {
        found.nth(usize::try_from(index.checked_neg()?.checked_sub(1)?).ok()?)
    }
}

impl Xavps {
    fn list(&self, family: Family) -> &Vec<(Str, Node)> {
        &self.lists[family as usize]
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.lists.iter().all(Vec::is_empty)
    }

    /// All of a family, the front first.
    pub fn all(&self, family: Family) -> impl Iterator<Item = (&Str, &Node)> {
        self.list(family).iter().rev().map(|(n, v)| (n, v))
    }

    /// All of a name, index 0 first.
    pub fn named(&self, family: Family, name: &[u8]) -> impl Iterator<Item = &Node> {
        self.all(family).filter(move |(n, _)| family.same(n, name)).map(|(_, v)| v)
    }

    /// The one at an index (0 = front, negative from the end).
    pub fn get(&self, family: Family, name: &[u8], index: i64) -> Option<&Node> {
        let at = locate(self.list(family), |n| family.same(n, name), index)?;
        self.list(family).get(at).map(|(_, v)| v)
    }

    /// A field of the first of a name: `$xavp(name=>field)`.
    pub fn field(&self, family: Family, name: &[u8], field: &[u8]) -> Option<&Value> {
        let Node::Fields(fields) = self.get(family, name, 0)? else { return None };
        fields.0.iter().rev().find(|(n, _)| family.same(n, field)).map(|(_, v)| v)
    }

    /// Puts one in front: it becomes index 0 of its name. A `$xavu` takes the place of the one there is.
    pub fn push(&mut self, family: Family, name: &[u8], node: Node, limits: &Limits) -> Result<(), Full> {
        if family == Family::Xavu {
            self.remove_all(family, name);
        }
        self.add(family, name, node, limits, true)
    }

    /// Puts one at the end: it becomes the last index of its name.
    pub fn append(&mut self, family: Family, name: &[u8], node: Node, limits: &Limits) -> Result<(), Full> {
        if family == Family::Xavu {
            self.remove_all(family, name);
        }
        self.add(family, name, node, limits, false)
    }

    /// All of a name become these; the first of the list is index 0.
    pub fn replace(&mut self, family: Family, name: &[u8], nodes: Vec<Node>, limits: &Limits) -> Result<(), Full> {
        self.remove_all(family, name);
        nodes.into_iter().rev().try_for_each(|n| self.add(family, name, n, limits, true))
    }

    /// Puts another in the place of the one at an index; `false` if there is none.
    pub fn put(&mut self, family: Family, name: &[u8], index: i64, node: Node, limits: &Limits) -> Result<bool, Full> {
        let Some(at) = locate(self.list(family), |n| family.same(n, name), index) else { return Ok(false) };
        let (count, bytes) = node.weight();
        self.room(count, bytes, limits)?;
        if let Some((_, old)) = self.lists[family as usize].get_mut(at) {
            let (count, bytes) = old.weight();
            *old = node;
            self.forget(count, bytes);
        }
        Ok(true)
    }

    /// Removes the one at an index; says whether there was one.
    pub fn remove(&mut self, family: Family, name: &[u8], index: i64) -> bool {
        let Some(at) = locate(self.list(family), |n| family.same(n, name), index) else { return false };
        let (name, node) = self.lists[family as usize].remove(at);
        let (count, bytes) = node.weight();
        self.forget(count, bytes + name.len());
        true
    }

    /// Removes all of a name; says how many there were.
    pub fn remove_all(&mut self, family: Family, name: &[u8]) -> usize {
        let list = &mut self.lists[family as usize];
        let before = list.len();
        let (mut count, mut bytes) = (0, 0);
        list.retain(|(n, v)| {
            let gone = family.same(n, name);
            if gone {
                let weight = v.weight();
                count += weight.0;
                bytes += weight.1 + n.len();
            }
            !gone
        });
        let after = list.len();
        self.forget(count, bytes);
        before - after
    }

    /// A field of the one at an index gets a value: `$xavp(name[index]=>field) = value`. One that is there is replaced,
    /// else it is put in front. `false` if there is nothing of that name, or a plain value.
    pub fn set_field(
        &mut self,
        family: Family,
        name: &[u8],
        index: i64,
        field: &[u8],
        value: Value,
        limits: &Limits,
    ) -> Result<bool, Full> {
        let Some(at) = self.fields_at(family, name, index) else { return Ok(false) };
        self.room(1, size(field, &value), limits)?;
        let mut gone = None;
        if let Some(fields) = self.fields_mut(family, at) {
            match locate(fields, |n| family.same(n, field), 0).and_then(|i| fields.get_mut(i)) {
                Some((n, old)) => {
                    gone = Some(size(n, old));
                    *old = value;
                }
                None => fields.push((Str::from(field), value)),
            }
        }
        if let Some(bytes) = gone {
            self.forget(1, bytes);
        }
        Ok(true)
    }

    /// A field of the first of a name gets a value; what is missing is made.
    pub fn set(
        &mut self,
        family: Family,
        name: &[u8],
        field: &[u8],
        value: Value,
        limits: &Limits,
    ) -> Result<(), Full> {
        match self.get(family, name, 0) {
            Some(Node::Fields(_)) => self.set_field(family, name, 0, field, value, limits).map(|_| ()),
            _ => self.push(family, name, Node::Fields(Fields(vec![(Str::from(field), value)])), limits),
        }
    }

    /// A further field, in front of those of the same name.
    fn push_field(
        &mut self,
        family: Family,
        at: usize,
        field: &[u8],
        value: Value,
        limits: &Limits,
    ) -> Result<(), Full> {
        self.room(1, size(field, &value), limits)?;
        if let Some(fields) = self.fields_mut(family, at) {
            fields.push((Str::from(field), value));
        }
        Ok(())
    }

    /// Removes fields of this name from the one at an index: all of them, or the one at an index.
    pub fn remove_field(&mut self, family: Family, name: &[u8], index: i64, field: &[u8], which: At) -> bool {
        let Some(at) = self.fields_at(family, name, index) else { return false };
        let mut gone = Vec::new();
        if let Some(fields) = self.fields_mut(family, at) {
            match which {
                At::All => fields.retain(|(n, v)| {
                    let same = family.same(n, field);
                    if same {
                        gone.push(size(n, v));
                    }
                    !same
                }),
                At::None | At::Index(_) => {
                    if let Some(i) = locate(fields, |n| family.same(n, field), which.number()) {
                        let (n, v) = fields.remove(i);
                        gone.push(size(&n, &v));
                    }
                }
            }
        }
        self.forget(gone.len(), gone.iter().sum());
        !gone.is_empty()
    }

    /// Where the one at an index stands, if it holds fields.
    fn fields_at(&self, family: Family, name: &[u8], index: i64) -> Option<usize> {
        let at = locate(self.list(family), |n| family.same(n, name), index)?;
        matches!(self.list(family).get(at), Some((_, Node::Fields(_)))).then_some(at)
    }

    fn fields_mut(&mut self, family: Family, at: usize) -> Option<&mut Vec<(Str, Value)>> {
        match self.lists[family as usize].get_mut(at) {
            Some((_, Node::Fields(f))) => Some(&mut f.0),
            _ => None,
        }
    }

    fn add(&mut self, family: Family, name: &[u8], node: Node, limits: &Limits, front: bool) -> Result<(), Full> {
        let (count, bytes) = node.weight();
        self.room(count, bytes + name.len(), limits)?;
        let list = &mut self.lists[family as usize];
        let at = if front { list.len() } else { 0 };
        list.insert(at, (Str::from(name), node));
        Ok(())
    }

    fn room(&mut self, count: usize, bytes: usize, limits: &Limits) -> Result<(), Full> {
        if self.count + count > limits.max_avps || self.bytes + bytes > limits.max_avp_bytes {
            return Err(Full);
        }
        self.count += count;
        self.bytes += bytes;
        Ok(())
    }

    fn forget(&mut self, count: usize, bytes: usize) {
        self.count = self.count.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Reads `$xavp(path)`. Of several fields of a name (`[*]`) all texts, with `, ` between them.
    pub fn read(&self, family: Family, path: &Path<'_>) -> Value {
        let Some(node) = self.get(family, path.name, path.at.number()) else { return Value::Null };
        match (node, &path.field) {
            (Node::Leaf(v), None) => v.clone(),
            (Node::Fields(_), None) => Value::text(format!("<<{}:{}>>", family.word(), path.name.escape_ascii())),
            (Node::Leaf(_), Some(_)) => Value::Null,
            (Node::Fields(f), Some((field, At::All))) => joined(f.iter().filter(|(n, _)| family.same(n, field))),
            (Node::Fields(f), Some((field, at))) => {
                let found = locate(&f.0, |n| family.same(n, field), at.number());
                found.and_then(|i| f.0.get(i)).map_or(Value::Null, |(_, v)| v.clone())
            }
        }
    }

    /// How many values `$xavp(path)` means: of a name, or fields of a name; without an index all there are.
    pub fn count(&self, family: Family, path: &Path<'_>) -> usize {
        let chosen: Vec<&Node> = match path.at {
            At::Index(i) => self.get(family, path.name, i).into_iter().collect(),
            At::None | At::All => self.named(family, path.name).collect(),
        };
        let Some((field, at)) = &path.field else { return chosen.len() };
        let of = |node: &&Node| match (node, at) {
            (Node::Leaf(_), _) => 0,
            (Node::Fields(f), At::Index(i)) => usize::from(locate(&f.0, |n| family.same(n, field), *i).is_some()),
            (Node::Fields(f), _) => f.0.iter().filter(|(n, _)| family.same(n, field)).count(),
        };
        chosen.iter().map(of).sum()
    }

    /// Assigns `$xavp(path) = value`; NULL removes. Without an index a name gets a further value, in front; with one
    /// the value there is replaced. `Ok(false)`: there is no such place, or the language has no meaning for this.
    pub fn assign(&mut self, family: Family, path: &Path<'_>, value: Value, limits: &Limits) -> Result<bool, Full> {
        if value.is_null() {
            self.erase(family, path);
            return Ok(true);
        }
        let indexed = path.at != At::None || path.field.is_some_and(|(_, at)| at != At::None);
        if family == Family::Xavu {
            return match path.field {
                _ if indexed => Ok(false),
                Some((field, _)) => self.set(family, path.name, field, value, limits).map(|()| true),
                None => self.push(family, path.name, Node::Leaf(value), limits).map(|()| true),
            };
        }
        let Some((field, at)) = path.field else {
            return match path.at {
                At::None => self.push(family, path.name, Node::Leaf(value), limits).map(|()| true),
                At::Index(i @ 0..) => self.put(family, path.name, i, Node::Leaf(value), limits),
                At::Index(_) | At::All => Ok(false),
            };
        };
        let root = match path.at {
            At::None => {
                let node = Node::Fields(Fields(vec![(Str::from(field), value)]));
                return self.push(family, path.name, node, limits).map(|()| true);
            }
            At::Index(i @ 0..) => self.fields_at(family, path.name, i),
            At::Index(_) | At::All => None,
        };
        match (root, at) {
            (Some(root), At::None) => self.push_field(family, root, field, value, limits).map(|()| true),
            (Some(root), At::Index(j @ 0..)) => self.put_field(family, root, field, j, value, limits),
            _ => Ok(false),
        }
    }

    /// Another value in the place of the field at an index; `false` if there is none.
    fn put_field(
        &mut self,
        family: Family,
        root: usize,
        field: &[u8],
        index: i64,
        value: Value,
        limits: &Limits,
    ) -> Result<bool, Full> {
        let Some(fields) = self.fields_mut(family, root) else { return Ok(false) };
        let Some(i) = locate(fields, |n| family.same(n, field), index) else { return Ok(false) };
        let old = fields.get(i).map_or(0, |(n, v)| size(n, v));
        self.room(1, size(field, &value), limits)?;
        if let Some((_, v)) = self.fields_mut(family, root).and_then(|f| f.get_mut(i)) {
            *v = value;
        }
        self.forget(1, old);
        Ok(true)
    }

    fn erase(&mut self, family: Family, path: &Path<'_>) {
        match (path.field, path.at) {
            (_, At::Index(..0)) | (Some((_, At::Index(..0))), _) => {}
            (None, At::All) => {
                self.remove_all(family, path.name);
            }
            (None, at) => {
                self.remove(family, path.name, at.number());
            }
            (Some((field, which)), At::All) => {
                let all = i64::try_from(self.named(family, path.name).count()).unwrap_or(i64::MAX);
                for i in 0..all {
                    self.remove_field(family, path.name, i, field, which);
                }
            }
            (Some((field, which)), at) => {
                self.remove_field(family, path.name, at.number(), field, which);
            }
        }
    }
}

/// All texts with `, ` between them; NULL if there are none.
fn joined<'a>(fields: impl Iterator<Item = (&'a Str, &'a Value)>) -> Value {
    /// As long as any value may be.
    const MOST: usize = 65_535;
    let mut text: Option<Vec<u8>> = None;
    for (_, value) in fields {
        let text = match &mut text {
            Some(text) => {
                text.extend_from_slice(b", ");
                text
            }
            none => none.insert(Vec::new()),
        };
        value.write_to(text);
        if text.len() > MOST {
            text.truncate(MOST);
            break;
        }
    }
    Value::opt(text)
}

#[cfg(test)]
mod tests;
