//! Keys of rows: what kind of thing, whose, and its name. LMDB's keys are short, scripts' are not: a long name is
//! hashed, and the row's value carries the name in full.

use sha2::{Digest, Sha256};

/// Longest name that stands in a key as it is; a hash behind a mark takes less.
const LONGEST: usize = 200;
/// Longest name of a table or queue.
pub const LONGEST_OWNER: usize = 100;

/// Builds the key of a row. Parts of fixed size and names with their lengths, so that no two things have one key.
#[derive(Clone, Debug)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of this kind.
    pub fn of(kind: u8) -> Key {
        Key(vec![kind])
    }

    /// Whose row it is: the name of a table or queue. Longer names than [`LONGEST_OWNER`] are hashed.
    pub fn owner(mut self, name: &[u8]) -> Key {
        self.sized(name, LONGEST_OWNER);
        self
    }

    /// A number, in the order of numbers.
    pub fn number(mut self, n: u64) -> Key {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }

    /// The name of a thing; the last part.
    pub fn name(mut self, name: &[u8]) -> Key {
        if name.len() <= LONGEST {
            self.0.push(0);
            self.0.extend_from_slice(name);
        } else {
            self.0.push(1);
            self.0.extend_from_slice(&Sha256::digest(name));
        }
        self
    }

    /// The rest of a key that begins another way.
    pub fn raw(mut self, rest: &[u8]) -> Key {
        self.0.extend_from_slice(rest);
        self
    }

    fn sized(&mut self, name: &[u8], longest: usize) {
        match u8::try_from(name.len()) {
            Ok(n) if usize::from(n) <= longest => {
                self.0.push(n);
                self.0.extend_from_slice(name);
            }
            _ => {
                self.0.push(u8::MAX);
                self.0.extend_from_slice(&Sha256::digest(name));
            }
        }
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_things_have_one_key() {
        let long = [b'x'; 3000];
        let keys = [
            Key::of(b't').owner(b"a").name(b"bc"),
            Key::of(b't').owner(b"ab").name(b"c"),
            Key::of(b't').owner(b"a").name(b""),
            Key::of(b't').owner(b"a").name(&long),
            Key::of(b't').owner(b"a").name(&long[1..]),
            Key::of(b't').owner(&long).name(b"bc"),
            Key::of(b'v').name(b"bc"),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(a.len() <= 400, "LMDB takes 511 bytes");
            assert!(keys.iter().skip(i + 1).all(|b| a[..] != b[..]));
        }
        let (nine, ten) = (Key::of(b'q').number(9), Key::of(b'q').number(10));
        assert!(nine[..] < ten[..]);
    }
}
