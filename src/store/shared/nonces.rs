//! Which nonces have been used, and how often (RFC 7616 §3.4.5). There is a fixed number of places; a nonce has one
//! by its number, and shares it with others. A place holds the youngest nonce that was used there: an older one that
//! comes after it does not count any more, so nothing that was used once is taken for new, whatever was forgotten.
//! Nothing is written when a nonce is made.

use super::{Key, Result, Shared};

/// A nonce, as it is remembered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NonceId {
    /// When it was made, in microseconds since 1970.
    pub made: u64,
    /// Its number.
    pub number: u64,
}

/// What the use of a nonce is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NonceUse {
    /// Its first, or with a count that is higher than before.
    Good,
    /// It was used before; with this or a higher count.
    Repeated,
    /// A younger one has its place: it may have been used before.
    Forgotten,
}

const LEN: usize = 20;

impl Shared {
    /// Notes that a nonce is used. `places`: how many there are; `count`: the client's count, `None` if the nonce may be
    /// used once only.
    pub fn use_nonce(&self, places: u64, nonce: NonceId, count: Option<u32>) -> Result<NonceUse> {
        let key = Key::of(b'd').number(nonce.number % places.max(1));
        let count = count.unwrap_or(u32::MAX);
        let judge = |old: Option<Vec<u8>>| match old.as_deref().and_then(decode) {
            Some((other, _)) if other > nonce => NonceUse::Forgotten,
            Some((same, last)) if same == nonce && count <= last => NonceUse::Repeated,
            _ => NonceUse::Good,
        };
        // Nobody is kept waiting for what is refused anyway.
        let verdict = self.read(|view| Ok(judge(view.get(&key)?)))?;
        if verdict != NonceUse::Good {
            return Ok(verdict);
        }
        self.write(|change| {
            let verdict = judge(change.view().get(&key)?);
            if verdict == NonceUse::Good {
                change.put(&key, &encode(nonce, count))?;
            }
            Ok(verdict)
        })
    }
}

fn encode(nonce: NonceId, count: u32) -> [u8; LEN] {
    let mut row = [0; LEN];
    row[..8].copy_from_slice(&nonce.made.to_be_bytes());
    row[8..16].copy_from_slice(&nonce.number.to_be_bytes());
    row[16..].copy_from_slice(&count.to_be_bytes());
    row
}

fn decode(row: &[u8]) -> Option<(NonceId, u32)> {
    let made = u64::from_be_bytes(row.get(..8)?.try_into().ok()?);
    let number = u64::from_be_bytes(row.get(8..16)?.try_into().ok()?);
    Some((NonceId { made, number }, u32::from_be_bytes(row.get(16..)?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(check: impl Fn(&Shared)) {
        check(&Shared::in_memory());
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        check(&Shared::open(dir.path(), 16 << 20, None).unwrap());
    }

    fn id(made: u64, number: u64) -> NonceId {
        NonceId { made, number }
    }

    #[test]
    fn once_is_once_and_counts_grow() {
        both(|store| {
            let used = |nonce, count| store.use_nonce(1 << 20, nonce, count).unwrap();
            assert_eq!(used(id(1, 5), None), NonceUse::Good);
            assert_eq!(used(id(1, 5), None), NonceUse::Repeated);
            assert_eq!(used(id(1, 6), Some(1)), NonceUse::Good);
            assert_eq!(used(id(1, 6), Some(1)), NonceUse::Repeated);
            assert_eq!(used(id(1, 6), Some(9)), NonceUse::Good);
            assert_eq!(used(id(1, 6), Some(8)), NonceUse::Repeated);
            assert_eq!(used(id(1, 6), Some(10)), NonceUse::Good);
            assert_eq!(used(id(1, 6), None), NonceUse::Good);
            assert_eq!(used(id(1, 6), None), NonceUse::Repeated);
        });
    }

    #[test]
    fn a_place_is_the_youngest_ones() {
        both(|store| {
            let used = |nonce| store.use_nonce(4, nonce, None).unwrap();
            assert_eq!(used(id(10, 1)), NonceUse::Good);
            assert_eq!(used(id(20, 5)), NonceUse::Good);
            // The first has lost its place: nobody knows that it was used, and it is refused all the same.
            assert_eq!(used(id(10, 1)), NonceUse::Forgotten);
            assert_eq!(used(id(15, 9)), NonceUse::Forgotten);
            assert_eq!(used(id(20, 5)), NonceUse::Repeated);
            // Those of the same microsecond have an order, too.
            assert_eq!(used(id(20, 1)), NonceUse::Forgotten);
            assert_eq!(used(id(20, 9)), NonceUse::Good);
        });
    }

    #[test]
    fn the_places_are_all_that_is_taken() {
        both(|store| {
            for n in 0..5000u64 {
                assert_eq!(store.use_nonce(64, id(n, n * 7919), Some(1)).unwrap(), NonceUse::Good);
            }
            let mut rows = 0;
            store
                .read(|view| {
                    view.walk(b"d", None, &mut |_, _| {
                        rows += 1;
                        true
                    })
                })
                .unwrap();
            assert_eq!(rows, 64);
        });
    }
}
