//! Peers that are trusted by their address, protocol and URIs.

use crate::base::Str;
use crate::modules::lists::{int, text};
use crate::ops::SqlValue;
use crate::script::pattern::compile_regex;
use serde::{Deserialize, Serialize};

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trusted {
    /// The source address, as text.
    pub source: Str,
    /// `any`, `none`, or a protocol.
    pub proto: Str,
    /// What the From URI must fit; empty: anything.
    pub from: Str,
    /// What the R-URI must fit; empty: anything.
    pub ruri: Str,
    /// What a match is marked with.
    pub tag: Option<Str>,
    /// Higher ones come first.
    pub priority: i64,
}

/// What is asked about.
pub struct Asked<'a> {
    /// Its source address.
    pub source: &'a [u8],
    /// Its protocol; `any` fits every rule but `none`.
    pub proto: &'a [u8],
    /// Its From URI.
    pub from: &'a [u8],
    /// Its R-URI.
    pub ruri: &'a [u8],
}

impl Trusted {
    /// From a row: source, protocol, From pattern, R-URI pattern, tag, priority.
    pub fn of_row(row: &[SqlValue]) -> Option<Trusted> {
        let part = |n: usize| text(row.get(n)).unwrap_or_default();
        let rule = Trusted {
            source: text(row.first())?,
            proto: Str::from(part(1).to_ascii_lowercase()),
            from: part(2),
            ruri: part(3),
            tag: text(row.get(4)).filter(|t| !t.is_empty()),
            priority: int(row.get(5)).unwrap_or(0),
        };
        let fine = |pattern: &Str| pattern.is_empty() || compile_regex(&pattern.to_lossy()).is_ok();
        (fine(&rule.from) && fine(&rule.ruri)).then_some(rule)
    }

    /// Whether it holds. `fits` says whether a text fits a pattern.
    pub fn holds(&self, asked: &Asked<'_>, fits: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> bool {
        let proto = asked.proto.to_ascii_lowercase();
        *self.source == *asked.source
            && *self.proto != *b"none"
            && (*self.proto == *b"any" || proto == b"any" || *self.proto == *proto)
            && (self.from.is_empty() || fits(&self.from, asked.from))
            && (self.ruri.is_empty() || fits(&self.ruri, asked.ruri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold_by_source_protocol_and_patterns() {
        let text = |t: &str| SqlValue::Text(Str::from(t));
        let row = |proto: &str, from: SqlValue| {
            vec![text("10.0.0.1"), text(proto), from, SqlValue::Null, text("gold"), SqlValue::Int(5)]
        };
        let mut fits = |p: &[u8], t: &[u8]| compile_regex(&String::from_utf8_lossy(p)).unwrap().is_match(t);
        let mut holds = |row: Vec<SqlValue>, source: &[u8], proto: &[u8]| {
            let asked = Asked { source, proto, from: b"sip:alice@example.org", ruri: b"sip:bob@example.org" };
            Trusted::of_row(&row).unwrap().holds(&asked, &mut fits)
        };
        assert!(holds(row("any", SqlValue::Null), b"10.0.0.1", b"tcp"));
        assert!(!holds(row("any", SqlValue::Null), b"10.0.0.2", b"tcp"));
        assert!(holds(row("UDP", text("^sip:alice@")), b"10.0.0.1", b"udp"));
        assert!(!holds(row("UDP", text("^sip:carol@")), b"10.0.0.1", b"udp"));
        assert!(!holds(row("udp", SqlValue::Null), b"10.0.0.1", b"tcp"));
        assert!(holds(row("udp", SqlValue::Null), b"10.0.0.1", b"any"));
        assert!(!holds(row("none", SqlValue::Null), b"10.0.0.1", b"any"));
        assert_eq!(Trusted::of_row(&row("any", text("("))), None);
    }
}
