//! Names of attributes and values: dictionaries in the format that FreeRADIUS and the radiusclient
//! libraries share. What this client cannot encode (nested and extended attributes) is left out, so that using
//! it is an unknown name and not a wrong packet.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// How deep files may include others.
const MAX_DEPTH: usize = 20;
/// Lines of all files together.
const MAX_LINES: usize = 200_000;

/// What an attribute holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Text.
    Text,
    /// Bytes; written as `0x...`, anything else is taken as it is.
    Octets,
    /// A number of four bytes, or the name of one.
    Integer,
    /// One byte.
    Byte,
    /// Two bytes.
    Short,
    /// Eight bytes.
    Integer64,
    /// Seconds since 1970.
    Date,
    /// IPv4 address.
    Ip4,
    /// IPv6 address.
    Ip6,
}

impl Type {
    fn from_word(word: &str) -> Option<Type> {
        // Some dictionaries name a length: `octets[16]`.
        Some(match word.split('[').next().unwrap_or_default() {
            "string" | "text" => Type::Text,
            "octets" | "abinary" | "ifid" | "ether" => Type::Octets,
            "integer" | "uint32" | "signed" | "int32" => Type::Integer,
            "byte" | "uint8" => Type::Byte,
            "short" | "uint16" => Type::Short,
            "integer64" | "uint64" => Type::Integer64,
            "date" | "time" => Type::Date,
            "ipaddr" | "ipv4addr" | "combo-ip" => Type::Ip4,
            "ipv6addr" => Type::Ip6,
            _ => return None,
        })
    }
}

/// An attribute that has a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// Its name as written.
    pub name: String,
    /// SMI number of its vendor; 0: the standard.
    pub vendor: u32,
    /// Its number.
    pub code: u8,
    /// What it holds.
    pub kind: Type,
    /// It travels within a Digest-Attributes, under this number.
    within: Option<u8>,
    values: Vec<(String, u64)>,
}

/// All names.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    attributes: Vec<Named>,
    /// Position by lower-case name.
    by_name: HashMap<String, usize>,
    vendors: HashMap<String, u32>,
}

/// The standard's attributes that SIP servers use, so that no file is needed for them.
const STANDARD: &str = "
ATTRIBUTE User-Name 1 string
ATTRIBUTE User-Password 2 string
ATTRIBUTE CHAP-Password 3 octets
ATTRIBUTE NAS-IP-Address 4 ipaddr
ATTRIBUTE NAS-Port 5 integer
ATTRIBUTE Service-Type 6 integer
ATTRIBUTE Framed-IP-Address 8 ipaddr
ATTRIBUTE Filter-Id 11 string
ATTRIBUTE Reply-Message 18 string
ATTRIBUTE State 24 octets
ATTRIBUTE Class 25 octets
ATTRIBUTE Session-Timeout 27 integer
ATTRIBUTE Idle-Timeout 28 integer
ATTRIBUTE Called-Station-Id 30 string
ATTRIBUTE Calling-Station-Id 31 string
ATTRIBUTE NAS-Identifier 32 string
ATTRIBUTE Proxy-State 33 octets
ATTRIBUTE Acct-Status-Type 40 integer
ATTRIBUTE Acct-Delay-Time 41 integer
ATTRIBUTE Acct-Input-Octets 42 integer
ATTRIBUTE Acct-Output-Octets 43 integer
ATTRIBUTE Acct-Session-Id 44 string
ATTRIBUTE Acct-Authentic 45 integer
ATTRIBUTE Acct-Session-Time 46 integer
ATTRIBUTE Acct-Terminate-Cause 49 integer
ATTRIBUTE Acct-Multi-Session-Id 50 string
ATTRIBUTE Event-Timestamp 55 date
ATTRIBUTE CHAP-Challenge 60 octets
ATTRIBUTE NAS-Port-Type 61 integer
ATTRIBUTE Connect-Info 77 string
ATTRIBUTE NAS-Port-Id 87 string
ATTRIBUTE NAS-IPv6-Address 95 ipv6addr
ATTRIBUTE Digest-Response 103 string
ATTRIBUTE Digest-Realm 104 string
ATTRIBUTE Digest-Nonce 105 string
ATTRIBUTE Digest-Response-Auth 106 string
ATTRIBUTE Digest-Nextnonce 107 string
ATTRIBUTE Digest-Method 108 string
ATTRIBUTE Digest-URI 109 string
ATTRIBUTE Digest-Qop 110 string
ATTRIBUTE Digest-Algorithm 111 string
ATTRIBUTE Digest-Entity-Body-Hash 112 string
ATTRIBUTE Digest-CNonce 113 string
ATTRIBUTE Digest-Nonce-Count 114 string
ATTRIBUTE Digest-Username 115 string
ATTRIBUTE Digest-Opaque 116 string
ATTRIBUTE Digest-Auth-Param 117 string
ATTRIBUTE Digest-AKA-Auts 118 string
ATTRIBUTE Digest-Domain 119 string
ATTRIBUTE Digest-Stale 120 string
ATTRIBUTE Digest-HA1 121 string
ATTRIBUTE SIP-AOR 122 string
VALUE Service-Type Login-User 1
VALUE Service-Type Framed-User 2
VALUE Service-Type Call-Check 10
VALUE Service-Type Sip-Session 15
VALUE Acct-Status-Type Start 1
VALUE Acct-Status-Type Stop 2
VALUE Acct-Status-Type Interim-Update 3
VALUE Acct-Status-Type Alive 3
VALUE Acct-Status-Type Accounting-On 7
VALUE Acct-Status-Type Accounting-Off 8
VALUE Acct-Status-Type Failed 15
VALUE Acct-Authentic RADIUS 1
VALUE Acct-Authentic Local 2
VALUE Acct-Authentic Remote 3
VALUE Acct-Terminate-Cause User-Request 1
VALUE Acct-Terminate-Cause Lost-Carrier 2
VALUE Acct-Terminate-Cause Session-Timeout 5
VALUE Acct-Terminate-Cause NAS-Error 9
VALUE Acct-Terminate-Cause NAS-Request 10
VALUE NAS-Port-Type Virtual 5
";

/// Digest-Attributes of the draft that came before RFC 5090: what FreeRADIUS understands. Its dictionaries, and
/// those of the radiusclient libraries, give the parts numbers of their own; the part with the first of them
/// travels as number 1.
const DIGEST_ATTRIBUTES: u8 = 207;
const DIGEST_FIRST: u64 = 1063;
const DIGEST_LAST: u64 = 1072;

/// Reads a file: name to text, or why not.
pub type ReadFile<'a> = dyn FnMut(&Path) -> Result<String, String> + 'a;

impl Dictionary {
    /// The names that need no file.
    pub fn standard() -> Dictionary {
        let mut d = Dictionary::default();
        for (i, line) in STANDARD.lines().enumerate() {
            let known = d.line(line, &mut 0);
            debug_assert!(known.is_ok(), "line {i}");
        }
        d
    }

    /// Adds a file and all that it includes. The error names file and line.
    pub fn add_file(&mut self, path: &Path, read: &mut ReadFile<'_>) -> Result<(), String> {
        let mut budget = MAX_LINES;
        self.file(path, read, 0, &mut budget)
    }

    fn file(&mut self, path: &Path, read: &mut ReadFile<'_>, depth: usize, budget: &mut usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("{}: dictionaries include each other more than {MAX_DEPTH} deep", path.display()));
        }
        let text = read(path).map_err(|why| format!("{}: {why}", path.display()))?;
        // The vendor whose block this is; a block does not reach beyond its file.
        let mut block = 0;
        for (i, line) in text.lines().enumerate() {
            *budget = budget
                .checked_sub(1)
                .ok_or_else(|| format!("{}: the dictionaries have more than {MAX_LINES} lines", path.display()))?;
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            match words.as_slice() {
                ["$INCLUDE" | "$include", name] => self.file(&beside(path, name), read, depth + 1, budget)?,
                // A dash: a file that need not be there.
                ["$INCLUDE-", name] => {
                    let file = beside(path, name);
                    if read(&file).is_ok() {
                        self.file(&file, read, depth + 1, budget)?;
                    }
                }
                _ => self.words(&words, &mut block).map_err(|why| format!("{}:{}: {why}", path.display(), i + 1))?,
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str, block: &mut u32) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.words(&words, block)
    }

    fn words(&mut self, words: &[&str], block: &mut u32) -> Result<(), String> {
        match words {
            [] => {}
            ["ATTRIBUTE", name, number, kind, more @ ..] => {
                let vendor = match more.first().and_then(|w| self.vendors.get(&w.to_ascii_lowercase())) {
                    Some(v) => *v,
                    None => *block,
                };
                // Numbers with dots and beyond one byte, and types of several parts, travel in other ways.
                let (code, within) = match int(number) {
                    Some(n @ DIGEST_FIRST..=DIGEST_LAST) if vendor == 0 => {
                        (DIGEST_ATTRIBUTES, u8::try_from(n - DIGEST_FIRST + 1).ok())
                    }
                    Some(n) if n < 256 => (n as u8, None),
                    _ => return Ok(()),
                };
                let Some(kind) = Type::from_word(kind) else { return Ok(()) };
                if more.iter().flat_map(|w| w.split(',')).any(|f| matches!(f, "virtual" | "internal" | "concat")) {
                    return Ok(());
                }
                self.attribute(Named { name: (*name).to_string(), vendor, code, kind, within, values: Vec::new() });
            }
            ["VALUE", attribute, name, number, ..] => {
                let Some(value) = int(number) else { return Ok(()) };
                if let Some(at) = self.by_name.get(&attribute.to_ascii_lowercase())
                    && let Some(a) = self.attributes.get_mut(*at)
                {
                    a.values.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
                    a.values.push(((*name).to_string(), value));
                }
            }
            ["VENDOR", name, number, ..] => {
                let number = int(number).and_then(|n| u32::try_from(n).ok()).ok_or("the vendor's number is none")?;
                self.vendors.insert(name.to_ascii_lowercase(), number);
            }
            ["BEGIN-VENDOR", name, more @ ..] => {
                // Vendors within extended attributes travel in another way: their names stay unknown.
                let known = self.vendors.get(&name.to_ascii_lowercase()).copied();
                let plain = !more.iter().any(|w| w.starts_with("format=") || w.starts_with("parent="));
                *block = known.ok_or_else(|| format!("vendor {name} is not declared"))?;
                if !plain {
                    *block = u32::MAX;
                }
            }
            ["END-VENDOR", ..] => *block = 0,
            // BEGIN-TLV, STRUCT, MEMBER, FLAGS, PROTOCOL ...: nothing of theirs can be encoded here.
            _ => {}
        }
        Ok(())
    }

    fn attribute(&mut self, named: Named) {
        if named.vendor == u32::MAX {
            return;
        }
        let key = named.name.to_ascii_lowercase();
        match self.by_name.get(&key).and_then(|at| self.attributes.get_mut(*at)) {
            Some(old) => {
                let values = std::mem::take(&mut old.values);
                *old = Named { values, ..named };
            }
            None => {
                self.by_name.insert(key, self.attributes.len());
                self.attributes.push(named);
            }
        }
    }

    /// The attribute of this name, whatever the case of its letters.
    pub fn find(&self, name: &str) -> Option<&Named> {
        self.attributes.get(*self.by_name.get(&name.to_ascii_lowercase())?)
    }

    /// All names, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|a| a.name.as_str())
    }
}

impl Named {
    /// A value as it travels. The error says what is expected.
    pub fn encode(&self, text: &[u8]) -> Result<Vec<u8>, &'static str> {
        let word = std::str::from_utf8(text).unwrap_or_default().trim();
        let number = || {
            let named = self.values.iter().find(|(n, _)| n.eq_ignore_ascii_case(word)).map(|(_, v)| *v);
            let signed = || word.parse::<i32>().ok().map(|n| u64::from(n as u32));
            named.or_else(|| int(word)).or_else(signed)
        };
        let value = match self.kind {
            Type::Text => text.to_vec(),
            Type::Octets => match word.strip_prefix("0x").and_then(from_hex) {
                Some(bytes) => bytes,
                None => text.to_vec(),
            },
            Type::Integer | Type::Date => {
                let n = number().and_then(|n| u32::try_from(n).ok()).ok_or("a number or the name of a value")?;
                n.to_be_bytes().to_vec()
            }
            Type::Byte => vec![number().and_then(|n| u8::try_from(n).ok()).ok_or("a number from 0 to 255")?],
            Type::Short => {
                number().and_then(|n| u16::try_from(n).ok()).ok_or("a number from 0 to 65535")?.to_be_bytes().to_vec()
            }
            Type::Integer64 => number().ok_or("a number")?.to_be_bytes().to_vec(),
            Type::Ip4 => word.parse::<Ipv4Addr>().map_err(|_| "an IPv4 address")?.octets().to_vec(),
            Type::Ip6 => {
                word.trim_matches(['[', ']']).parse::<Ipv6Addr>().map_err(|_| "an IPv6 address")?.octets().to_vec()
            }
        };
        let value = match self.within.zip(u8::try_from(value.len() + 2).ok()) {
            Some((number, length)) => [&[number, length], value.as_slice()].concat(),
            None => value,
        };
        if value.len() > super::packet::MAX_VALUE { Err("at most 253 bytes") } else { Ok(value) }
    }

    /// A value as scripts see it: numbers that have a name by their number, as in the peers.
    pub fn decode(&self, value: &[u8]) -> Decoded {
        let number = |n: u64| i64::try_from(n).map_or(Decoded::Bytes(value.to_vec()), Decoded::Int);
        match (self.kind, value) {
            (Type::Integer | Type::Date, [a, b, c, d]) => number(u64::from(u32::from_be_bytes([*a, *b, *c, *d]))),
            (Type::Byte, [a]) => number(u64::from(*a)),
            (Type::Short, [a, b]) => number(u64::from(u16::from_be_bytes([*a, *b]))),
            (Type::Integer64, v) if v.len() == 8 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(v);
                number(u64::from_be_bytes(bytes))
            }
            (Type::Ip4, [a, b, c, d]) => Decoded::Bytes(Ipv4Addr::new(*a, *b, *c, *d).to_string().into_bytes()),
            (Type::Ip6, v) if v.len() == 16 => {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(v);
                Decoded::Bytes(Ipv6Addr::from(bytes).to_string().into_bytes())
            }
            _ => Decoded::Bytes(value.to_vec()),
        }
    }
}

/// A value for scripts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// A number.
    Int(i64),
    /// A text.
    Bytes(Vec<u8>),
}

fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}

fn int(word: &str) -> Option<u64> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &'static [(&'static str, &'static str)]) -> impl FnMut(&Path) -> Result<String, String> {
        move |path| {
            let found = list.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_string()).ok_or_else(|| "no such file".to_string())
        }
    }

    #[test]
    fn files_add_to_the_standard() {
        let mut d = Dictionary::standard();
        let mut read = files(&[
            (
                "/etc/radius/dictionary",
                "$INCLUDE dictionary.sip\n$INCLUDE- missing\nATTRIBUTE  Sip-Method 0x65 integer # old\n",
            ),
            (
                "/etc/radius/dictionary.sip",
                "VENDOR Cisco 9\nBEGIN-VENDOR Cisco\nATTRIBUTE Cisco-AVPair 1 string\nEND-VENDOR Cisco\n\
                 VENDOR\tMine 999\nATTRIBUTE My-Attr 7 ipaddr Mine\nATTRIBUTE Nested 241.1 string\n\
                 ATTRIBUTE Big 300 string\nVALUE Sip-Method INVITE 1\nVALUE Service-Type Other 99\n",
            ),
        ]);
        d.add_file(Path::new("/etc/radius/dictionary"), &mut read).unwrap();
        let avpair = d.find("cisco-avpair").unwrap();
        assert_eq!((avpair.vendor, avpair.code, avpair.kind), (9, 1, Type::Text));
        let mine = d.find("My-Attr").unwrap();
        assert_eq!((mine.vendor, mine.code, mine.kind), (999, 7, Type::Ip4));
        assert_eq!(d.find("Sip-Method").map(|a| a.code), Some(0x65));
        assert!(d.find("Nested").is_none() && d.find("Big").is_none());
        assert_eq!(d.find("Service-Type").unwrap().encode(b"Other"), Ok(vec![0, 0, 0, 99]));
        assert_eq!(d.find("User-Name").map(|a| a.code), Some(1));
    }

    #[test]
    fn parts_of_digest_attributes_travel_within() {
        let mut d = Dictionary::standard();
        assert_eq!(d.find("Digest-Realm").map(|a| (a.code, a.encode(b"r"))), Some((104, Ok(b"r".to_vec()))));
        let mut read = files(&[("/d", "ATTRIBUTE Digest-Realm 1063 string\nATTRIBUTE Digest-User-Name 1072 string\n")]);
        d.add_file(Path::new("/d"), &mut read).unwrap();
        let part = |name: &str| d.find(name).map(|a| (a.code, a.encode(b"x")));
        assert_eq!(part("Digest-Realm"), Some((207, Ok(vec![1, 3, b'x']))));
        assert_eq!(part("Digest-User-Name"), Some((207, Ok(vec![10, 3, b'x']))));
        assert!(d.find("Digest-Realm").unwrap().encode(&[b'x'; 252]).is_err());
    }

    #[test]
    fn errors_name_the_place() {
        let mut read = files(&[("/d", "\nVENDOR X nine\n"), ("/e", "BEGIN-VENDOR Y\n"), ("/f", "$INCLUDE /f\n")]);
        let error = |name: &str, read: &mut dyn FnMut(&Path) -> Result<String, String>| {
            Dictionary::standard().add_file(Path::new(name), read).unwrap_err()
        };
        assert_eq!(error("/d", &mut read), "/d:2: the vendor's number is none");
        assert_eq!(error("/e", &mut read), "/e:1: vendor Y is not declared");
        assert!(error("/f", &mut read).contains("include each other"));
        assert_eq!(error("/none", &mut read), "/none: no such file");
    }

    #[test]
    fn values_by_type() {
        let d = Dictionary::standard();
        let encode = |name: &str, text: &str| d.find(name).unwrap().encode(text.as_bytes());
        assert_eq!(encode("Acct-Status-Type", "stop"), Ok(vec![0, 0, 0, 2]));
        assert_eq!(encode("Acct-Status-Type", "7"), Ok(vec![0, 0, 0, 7]));
        assert_eq!(encode("NAS-Port", "-1"), Ok(vec![255; 4]));
        assert!(encode("Acct-Status-Type", "Sideways").is_err());
        assert_eq!(encode("NAS-IP-Address", "10.0.0.1"), Ok(vec![10, 0, 0, 1]));
        assert!(encode("NAS-IP-Address", "example.com").is_err());
        assert_eq!(encode("State", "0x00ff"), Ok(vec![0, 255]));
        assert_eq!(encode("State", "plain"), Ok(b"plain".to_vec()));
        assert!(encode("User-Name", &"x".repeat(254)).is_err());
        assert_eq!(d.find("Session-Timeout").unwrap().decode(&[0, 0, 1, 0]), Decoded::Int(256));
        assert_eq!(d.find("Session-Timeout").unwrap().decode(b"abc"), Decoded::Bytes(b"abc".to_vec()));
        assert_eq!(d.find("NAS-IP-Address").unwrap().decode(&[127, 0, 0, 1]), Decoded::Bytes(b"127.0.0.1".to_vec()));
    }
}
