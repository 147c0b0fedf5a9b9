//! A binding: one contact of an address of record (RFC 3261 section 10), and the record with all of them.

use crate::base::Str;
use crate::sip::bytes::push_number;
use crate::store::ConnId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How a binding stands to its row in the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// There is none yet.
    #[default]
    Missing,
    /// It says something older.
    Old,
    /// It says the same, or none is wanted.
    Same,
}

/// One contact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Names it in the server and in the database, whatever becomes of its URI.
    pub ruid: Str,
    /// The Contact's URI.
    pub contact: Str,
    /// When it ends, in seconds since 1970; 0: never.
    pub expires: i64,
    /// Preference in thousandths; `None`: not given.
    pub q: Option<u16>,
    /// Call-ID of the REGISTER that set it last.
    pub call_id: Str,
    /// And its CSeq number.
    pub cseq: u32,
    /// Next hop instead of the URI: where the REGISTER came from, seen through a NAT.
    pub received: Option<Str>,
    /// Its Path: a list of Route values (RFC 3327).
    pub path: Option<Str>,
    /// `$ulc(x=>flags)`: 1: it is kept in memory only.
    pub flags: u32,
    /// Branch flags that were set when it was saved.
    pub bflags: Vec<Str>,
    /// User-Agent of the REGISTER.
    pub user_agent: Str,
    /// Name of the socket the REGISTER came in on, `proto:address:port`.
    pub socket: Option<Str>,
    /// Methods that it takes, a bit each; `None`: all.
    pub methods: Option<u32>,
    /// `+sip.instance` (RFC 5626), with its angle brackets.
    pub instance: Option<Str>,
    /// `reg-id` (RFC 5626); 0: none.
    pub reg_id: u32,
    /// When it was set last, in seconds since 1970.
    pub modified: i64,
    /// The other end of the connection it came over, and its transport's name.
    pub flow: Option<(Str, SocketAddr)>,
    /// That connection, where its end matters (`handle_lost_tcp`, `close_expired_tcp`).
    pub conn: Option<ConnId>,
    /// When it last answered a keep-alive request (`ka_mode`), in seconds since 1970; 0: never.
    pub alive: i64,
    /// How long that answer took, in microseconds.
    pub roundtrip: u32,
    /// What the script attached (`attr_avp`).
    pub attr: Option<Str>,
    /// How it stands to its row.
    pub row: Row,
}

/// Bit of [`Binding::flags`]: it does not go into the database.
pub const MEMORY_ONLY: u32 = 1;

impl Binding {
    /// Whether it has ended.
    pub fn is_over(&self, now: i64) -> bool {
        self.expires != 0 && self.expires <= now
    }

    /// Seconds that it has left; 0 for one that never ends.
    pub fn left(&self, now: i64) -> i64 {
        if self.expires == 0 { 0 } else { (self.expires - now).max(0) }
    }

    /// Whether another one says the same, as far as a database knows.
    pub fn says_the_same_as(&self, other: &Binding) -> bool {
        let alike =
            Binding { row: self.row, conn: self.conn, alive: self.alive, roundtrip: self.roundtrip, ..other.clone() };
        alike == *self
    }

    /// Whether it is kept out of the database.
    pub fn in_memory_only(&self) -> bool {
        self.flags & MEMORY_ONLY != 0
    }
}

/// The bindings of an address of record, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The table (Kamailio's domain of usrloc).
    pub table: Str,
    /// The address of record.
    pub aor: Str,
    /// Its bindings.
    pub bindings: Vec<Binding>,
}

impl Record {
    /// When the first of its bindings ends, in seconds since 1970.
    pub fn next_end(&self) -> Option<i64> {
        self.bindings.iter().map(|b| b.expires).filter(|t| *t != 0).min()
    }

    /// Whether the database does not say the same.
    pub fn is_ahead(&self) -> bool {
        self.bindings.iter().any(|b| b.row != Row::Same && !b.in_memory_only())
    }
}

/// Puts the bindings in order: by q, or the newest first. What is equal stays as it is.
pub fn sort(bindings: &mut [Binding], newest_first: bool) {
    if newest_first {
        bindings.sort_by_key(|b| std::cmp::Reverse(b.modified));
    } else {
        // One without q stands last, as in the peers; RFC 3261 16.6 leaves it open.
        bindings.sort_by_key(|b| std::cmp::Reverse(b.q.map_or(-1, i32::from)));
    }
}

/// Writes a preference: `0.5`, `1`, `0`.
pub fn push_q(out: &mut Vec<u8>, q: u16) {
    match q {
        0 => out.push(b'0'),
        1000.. => out.push(b'1'),
        q => {
            let digits = format!("{q:03}");
            out.extend_from_slice(b"0.");
            out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
        }
    }
}

/// The bits of flags that have numbers.
pub fn mask(flags: &[Str]) -> u32 {
    let number = |f: &Str| std::str::from_utf8(f).ok()?.parse::<u32>().ok();
    flags.iter().filter_map(number).filter_map(|n| 1u32.checked_shl(n)).fold(0, |all, bit| all | bit)
}

/// The numbers of the bits of a mask, as flags.
pub fn unmask(bits: u32) -> Vec<Str> {
    let name = |n: u32| {
        let mut text = Vec::with_capacity(2);
        push_number(&mut text, u64::from(n));
        Str::from(text)
    };
    (0..32).filter(|n| bits & (1 << n) != 0).map(name).collect()
}

/// User and domain of an address of record; the domain is empty if it has none.
pub fn split_aor(aor: &[u8]) -> (&[u8], &[u8]) {
    match aor.iter().rposition(|b| *b == b'@') {
        Some(at) => (aor.get(..at).unwrap_or_default(), aor.get(at + 1..).unwrap_or_default()),
        None => (aor, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_written_short() {
        let text = |q| {
            let mut out = Vec::new();
            push_q(&mut out, q);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            [0, 1, 50, 500, 700, 999, 1000, 2000].map(text),
            ["0", "0.001", "0.05", "0.5", "0.7", "0.999", "1", "1"]
        );
    }

    #[test]
    fn flags_and_their_mask() {
        let flags: Vec<Str> = ["6", "0", "NAT", "31", "32"].map(Str::from).to_vec();
        assert_eq!(mask(&flags), 1 | 1 << 6 | 1 << 31);
        assert_eq!(unmask(mask(&flags)), ["0", "6", "31"].map(Str::from));
        assert_eq!(unmask(0), Vec::<Str>::new());
    }

    #[test]
    fn addresses_of_record() {
        assert_eq!(split_aor(b"bob@example.com"), (&b"bob"[..], &b"example.com"[..]));
        assert_eq!(split_aor(b"b@b@example.com"), (&b"b@b"[..], &b"example.com"[..]));
        assert_eq!(split_aor(b"bob"), (&b"bob"[..], &b""[..]));
    }

    #[test]
    fn order() {
        let b = |name: &str, q, modified| Binding { ruid: Str::from(name), q, modified, ..Binding::default() };
        let mut all = vec![b("none", None, 1), b("low", Some(1), 2), b("high", Some(900), 3), b("same", Some(900), 4)];
        let names = |all: &[Binding]| all.iter().map(|b| b.ruid.to_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        sort(&mut all, false);
        assert_eq!(names(&all), "high same low none");
        sort(&mut all, true);
        assert_eq!(names(&all), "same high low none");
    }
}
