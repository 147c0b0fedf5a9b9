//! The two numbers that name a transaction in the whole server: `$T(id_index)` and `$T(id_label)`.

use crate::base::Key;

/// A transaction and its owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxName {
    /// Seat of the worker that owns it.
    pub worker: u16,
    /// Which tenant of that seat.
    pub incarnation: u32,
    /// The transaction, there.
    pub key: Key,
}

impl TxName {
    /// Index and label. The upper halves say who the owner is.
    pub fn numbers(self) -> (i64, i64) {
        let index = (i64::from(self.incarnation & 0x7fff_ffff) << 32) | i64::from(self.key.index);
        let label = (i64::from(self.worker) << 32) | i64::from(self.key.generation);
        (index, label)
    }

    /// Reads them; `None` if there cannot be such a transaction.
    pub fn read(index: i64, label: i64) -> Option<TxName> {
        let (index, label) = (u64::try_from(index).ok()?, u64::try_from(label).ok()?);
        Some(TxName {
            worker: u16::try_from(label >> 32).ok()?,
            incarnation: u32::try_from(index >> 32).ok()?,
            key: Key { index: index as u32, generation: label as u32 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_name_a_transaction_of_the_whole_server() {
        for name in [
            TxName { worker: 0, incarnation: 1, key: Key { index: 0, generation: 0 } },
            TxName { worker: 7, incarnation: 300, key: Key { index: 1 << 31, generation: u32::MAX } },
            TxName { worker: u16::MAX, incarnation: 0x7fff_ffff, key: Key { index: u32::MAX, generation: 9 } },
        ] {
            let (index, label) = name.numbers();
            assert!(index >= 0 && label >= 0);
            assert_eq!(TxName::read(index, label), Some(name));
        }
        for garbage in [(-1, 0), (0, -1), (i64::MIN, i64::MAX), (0, 1 << 48)] {
            assert_eq!(TxName::read(garbage.0, garbage.1), None, "{garbage:?}");
        }
    }
}
