//! Shared variables (`$shv`): a number or a text by name; what was never set is the number 0 (cfgutils of
//! OpenSIPS, pv of Kamailio).

use super::{Key, Result, Shared, Stored};
use crate::base::Str;
use crate::script::value::Value;

fn key(name: &[u8]) -> Key {
    Key::of(b'v').name(name)
}

fn flags_key() -> Key {
    Key::of(b'0').name(b"gflags")
}

fn bits(row: Option<&[u8]>, initial: u32) -> u32 {
    row.and_then(|bytes| bytes.try_into().ok()).map_or(initial, u32::from_be_bytes)
}

impl Shared {
    /// The value of a variable.
    pub fn variable(&self, name: &[u8]) -> Result<Value> {
        let row = self.read(|view| view.get(&key(name)))?;
        Ok(match row.as_deref().map(Stored::decode).transpose()? {
            // Two long names with one hash: whoever was first has it.
            Some(row) if *row.name == *name => row.value,
            _ => Value::Int(0),
        })
    }

    /// Sets a variable; NULL makes it 0 again.
    pub fn set_variable(&self, name: &[u8], value: &Value) -> Result<()> {
        self.write(|change| match value {
            Value::Null => change.remove(&key(name)).map(|_| ()),
            value => change.put(&key(name), &Stored::new(name, value).encode()),
        })
    }

    /// Sets those that the configuration begins with, unless they are set: whoever comes first does it.
    pub fn begin_with(&self, variables: &[(Str, Value)]) -> Result<()> {
        let mark = Key::of(b'0').name(b"shvset");
        if variables.is_empty() || self.read(|view| view.get(&mark))?.is_some() {
            return Ok(());
        }
        self.write(|change| {
            if change.view().get(&mark)?.is_some() {
                return Ok(());
            }
            for (name, value) in variables {
                change.put(&key(name), &Stored::new(name, value).encode())?;
            }
            change.put(&mark, &[])
        })
    }

    /// The 32 flags of the server; `initial`: as the configuration begins with them.
    pub fn flags(&self, initial: u32) -> Result<u32> {
        Ok(bits(self.read(|view| view.get(&flags_key()))?.as_deref(), initial))
    }

    /// Sets and clears flags of the server; gives those that are set then.
    pub fn change_flags(&self, initial: u32, set: u32, clear: u32) -> Result<u32> {
        self.write(|change| {
            let flags = (bits(change.view().get(&flags_key())?.as_deref(), initial) | set) & !clear;
            change.put(&flags_key(), &flags.to_be_bytes())?;
            Ok(flags)
        })
    }

    /// All variables that are set, in the order of their keys.
    pub fn variables(&self) -> Result<Vec<(Str, Value)>> {
        let mut all = Vec::new();
        self.read(|view| {
            view.walk(b"v", None, &mut |_, bytes| {
                all.extend(Stored::decode(bytes).ok().map(|row| (row.name, row.value)));
                true
            })
        })?;
        Ok(all)
    }
}
