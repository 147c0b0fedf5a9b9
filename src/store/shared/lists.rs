//! Lists that are read as a whole and replaced as a whole, such as tables of a database that every worker keeps a copy of:
//! each has a number that changes when it does.

use super::{Key, Result, Shared, StoreError};

fn number_row(name: &[u8]) -> Key {
    Key::of(b'L').name(name)
}

fn data_row(name: &[u8]) -> Key {
    Key::of(b'l').name(name)
}

fn number(bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Garbled)
}

impl Shared {
    /// The number of a list; 0: there is none.
    pub fn list_number(&self, name: &[u8]) -> Result<u64> {
        self.read(|view| view.get(&number_row(name))?.map_or(Ok(0), |bytes| number(&bytes)))
    }

    /// A list and its number.
    pub fn list(&self, name: &[u8]) -> Result<Option<(u64, Vec<u8>)>> {
        self.read(|view| {
            let (Some(n), Some(data)) = (view.get(&number_row(name))?, view.get(&data_row(name))?) else {
                return Ok(None);
            };
            Ok(Some((number(&n)?, data)))
        })
    }

    /// Replaces a list; its new number.
    pub fn set_list(&self, name: &[u8], data: &[u8]) -> Result<u64> {
        self.write(|change| {
            let old = change.view().get(&number_row(name))?.map_or(Ok(0), |bytes| number(&bytes))?;
            let new = old.wrapping_add(1).max(1);
            change.put(&number_row(name), &new.to_be_bytes())?;
            change.put(&data_row(name), data)?;
            Ok(new)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_changes_as_a_whole() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        for store in [Shared::in_memory(), Shared::open(dir.path(), 16 << 20, None).unwrap()] {
            assert_eq!((store.list_number(b"a"), store.list(b"a")), (Ok(0), Ok(None)));
            assert_eq!(store.set_list(b"a", b"one"), Ok(1));
            let long = vec![b'x'; 3 << 20];
            assert_eq!(store.set_list(b"a", &long), Ok(2));
            assert_eq!(store.list_number(b"a"), Ok(2));
            assert_eq!(store.list(b"a"), Ok(Some((2, long))));
            assert_eq!(store.list_number(b"b"), Ok(0));
        }
    }
}
