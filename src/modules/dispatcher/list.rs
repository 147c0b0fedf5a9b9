//! Sets of destinations as a file or a table lists them.

use crate::base::Str;
use crate::net::resolver::locate::Hop;
use crate::sip::Transport;
use crate::sip::uri::{Uri, host_ip};
use serde::{Deserialize, Serialize};

/// Most destinations of all sets.
const MOST: usize = 100_000;

/// A destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Destination {
    /// Its URI, as listed.
    pub uri: Str,
    /// Flags it begins with ([`super::state`]).
    pub flags: u8,
    /// The higher, the earlier.
    pub priority: i64,
    /// Its attributes.
    pub attrs: Attrs,
    /// Text beside it in the table.
    pub description: Str,
}

/// Attributes of a destination: `name=value;...`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attrs {
    /// The whole text.
    pub text: Str,
    /// `duid`: its name for the calls that it has.
    pub duid: Str,
    /// `weight`, 0 to 100.
    pub weight: u32,
    /// `rweight`, 0 to 100.
    pub rweight: u32,
    /// `maxload`: calls it takes; 0 is no limit.
    pub maxload: u32,
    /// `latency`: what its latency is taken for before it has answered, milliseconds.
    pub latency: u32,
    /// `cc`: not its latency counts, but what is above the usual one.
    pub congestion: bool,
    /// `socket` or `sockname`: the socket that requests to it leave from.
    pub socket: Option<Str>,
    /// `ping_socket`: the socket that pings leave from.
    pub ping_socket: Option<Str>,
    /// `ping_from`: From of pings.
    pub ping_from: Option<Str>,
    /// `obproxy`: where pings are sent instead.
    pub proxy: Option<Str>,
    /// `ocrate`: percent of requests that it is spared.
    pub spared: u32,
    /// `ocmin`, `ocmax`: between which the rate is set.
    pub spared_between: (u32, u32),
}

impl Attrs {
    /// Reads `name=value;...`; what is not known is for the script.
    pub fn parse(text: &str) -> Result<Attrs, String> {
        let mut a = Attrs { text: Str::from(text), spared_between: (0, 100), ..Attrs::default() };
        for pair in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').map_or((pair, ""), |(n, v)| (n.trim(), v.trim()));
            let number = |most: u32| {
                let n = value.parse::<u32>().ok().filter(|n| *n <= most);
                n.ok_or_else(|| format!("attribute {name} is a number from 0 to {most}, not `{value}`"))
            };
            let some = || Some(Str::from(value)).filter(|v| !v.is_empty());
            match name {
                "duid" => a.duid = Str::from(value),
                "weight" => a.weight = number(100)?,
                "rweight" => a.rweight = number(100)?,
                "maxload" => a.maxload = number(u32::MAX)?,
                "latency" => a.latency = number(1_000_000)?,
                "cc" => a.congestion = number(1)? != 0,
                "socket" | "sockname" => a.socket = some(),
                "ping_socket" => a.ping_socket = some(),
                "ping_from" => a.ping_from = some(),
                "obproxy" => a.proxy = some(),
                "ocrate" => a.spared = number(100)?,
                "ocmin" => a.spared_between.0 = number(100)?,
                "ocmax" => a.spared_between.1 = number(100)?,
                _ => {}
            }
        }
        Ok(a)
    }
}

impl Destination {
    /// A destination; the error says what is wrong with it.
    pub fn new(uri: &str, flags: i64, priority: i64, attrs: &str) -> Result<Destination, String> {
        let valid = Uri::parse(uri.as_bytes()).is_ok_and(|u| u.is_sip()) && Hop::of_uri(uri.as_bytes()).is_some();
        if !valid {
            return Err(format!("`{uri}` is no SIP URI"));
        }
        let flags = u8::try_from(flags).map_err(|_| format!("the flags are a number from 0 to 255, not {flags}"))?;
        let attrs = Attrs::parse(attrs)?;
        Ok(Destination { uri: Str::from(uri), flags, priority, attrs, description: Str::default() })
    }

    /// The host, port and transport that its URI names.
    pub fn place(&self) -> Option<(&[u8], u16, Transport)> {
        let uri = Uri::parse(&self.uri).ok()?;
        Some((uri.host, uri.port_or_default(), uri.transport().unwrap_or(Transport::Udp)))
    }

    /// The host, if it is a name whose addresses are wanted.
    pub fn name(&self) -> Option<String> {
        let (host, ..) = self.place()?;
        let wanted = host_ip(host).is_none() && self.flags & super::state::NO_DNS == 0;
        wanted.then(|| String::from_utf8_lossy(host).to_ascii_lowercase())
    }
}

/// A set of destinations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// Its number.
    pub id: i64,
    /// Its destinations, in the order in which they are tried.
    pub list: Vec<Destination>,
    /// Number of its first destination among those of all sets.
    pub first: usize,
}

/// All sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// By their numbers.
    pub sets: Vec<Set>,
}

impl List {
    /// The set of this number and its place.
    pub fn set(&self, id: i64) -> Option<(usize, &Set)> {
        let at = self.sets.binary_search_by_key(&id, |s| s.id).ok()?;
        self.sets.get(at).map(|set| (at, set))
    }

    /// How many destinations there are.
    pub fn len(&self) -> usize {
        self.sets.last().map_or(0, |s| s.first + s.list.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every destination with its set and its number among all.
    pub fn all(&self) -> impl Iterator<Item = (&Set, usize, &Destination)> {
        self.sets.iter().flat_map(|s| s.list.iter().enumerate().map(move |(i, d)| (s, s.first + i, d)))
    }

    /// The number of a destination among all.
    pub fn find(&self, set: i64, uri: &[u8]) -> Option<usize> {
        let (_, set) = self.set(set)?;
        set.list.iter().position(|d| *d.uri == *uri).map(|i| set.first + i)
    }

    /// The destination of a number.
    pub fn at(&self, number: usize) -> Option<(&Set, &Destination)> {
        let set = self.sets.iter().find(|s| (s.first..s.first + s.list.len()).contains(&number))?;
        set.list.get(number - set.first).map(|d| (set, d))
    }

    /// Makes the list of destinations with the numbers of their sets: sets by number, destinations by priority, those of
    /// one priority in the order given.
    pub fn of(rows: Vec<(i64, Destination)>) -> Result<List, String> {
        if rows.len() > MOST {
            return Err(format!("more than {MOST} destinations"));
        }
        let mut list = List::default();
        for (id, destination) in rows {
            let at = match list.sets.binary_search_by_key(&id, |s| s.id) {
                Ok(at) => at,
                Err(at) => {
                    list.sets.insert(at, Set { id, ..Set::default() });
                    at
                }
            };
            if let Some(set) = list.sets.get_mut(at) {
                set.list.push(destination);
            }
        }
        let mut first = 0;
        for set in &mut list.sets {
            set.list.sort_by_key(|d| std::cmp::Reverse(d.priority));
            set.first = first;
            first += set.list.len();
        }
        Ok(list)
    }

    /// Reads a list file: `set uri [flags [priority [attributes]]]` per line, `#` begins a comment. Of those with one
    /// priority the last that is listed is the first.
    pub fn parse(text: &str) -> Result<List, String> {
        let mut rows = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let row = parse_line(line).map_err(|why| format!("line {}: {why}", n + 1))?;
            rows.push(row);
        }
        rows.reverse();
        List::of(rows)
    }
}

fn parse_line(line: &str) -> Result<(i64, Destination), String> {
    let (set, rest) = word(line);
    let (uri, rest) = word(rest);
    let (flags, rest) = word(rest);
    let (priority, rest) = word(rest);
    let (attrs, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or("a quote is not closed")?,
        None => word(rest),
    };
    let rest = rest.trim();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err(format!("`{rest}` stands behind the attributes"));
    }
    let number = |what: &str, text: &str| match text {
        "" => Ok(0),
        text => text.parse::<i64>().map_err(|_| format!("the {what} is a number, not `{text}`")),
    };
    let id = set.parse::<i64>().map_err(|_| format!("the set is a number, not `{set}`"))?;
    if i32::try_from(id).is_err() {
        return Err(format!("{id} is no number of a set"));
    }
    let d = Destination::new(uri, number("flags", flags)?, number("priority", priority)?, attrs)?;
    Ok((id, d))
}

/// The first word and what follows it; a comment is nothing.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    if text.starts_with('#') {
        return ("", "");
    }
    match text.find(char::is_whitespace) {
        Some(at) => (&text[..at], text[at..].trim_start()),
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let text = "# gateways\n\n2 sip:10.0.0.3\n1\tsip:10.0.0.1:5080  0 5\n \
                    1 sip:gw.example.com;transport=tcp 8 10 \"duid=gw; weight=50;x=1\" # comment\n\
                    1 sip:10.0.0.2 0 5 maxload=3;cc=1\n1 sip:10.0.0.4 # none\n";
        let list = List::parse(text).unwrap();
        assert_eq!(list.sets.iter().map(|s| (s.id, s.list.len(), s.first)).collect::<Vec<_>>(), [(1, 4, 0), (2, 1, 4)]);
        let uris: Vec<String> = list.sets[0].list.iter().map(|d| d.uri.to_string()).collect();
        assert_eq!(uris, ["sip:gw.example.com;transport=tcp", "sip:10.0.0.2", "sip:10.0.0.1:5080", "sip:10.0.0.4"]);
        let gw = &list.sets[0].list[0];
        assert_eq!((gw.flags, gw.attrs.weight, &gw.attrs.duid[..]), (8, 50, &b"gw"[..]));
        assert_eq!((list.sets[0].list[1].attrs.maxload, list.sets[0].list[1].attrs.congestion), (3, true));
        assert_eq!(list.find(1, b"sip:10.0.0.2"), Some(1));
        assert_eq!(list.at(4).map(|(s, d)| (s.id, d.uri.to_string())), Some((2, "sip:10.0.0.3".to_string())));
        assert!(list.at(5).is_none() && list.find(3, b"sip:10.0.0.3").is_none());
        assert!(List::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bad, why) in [
            ("x sip:a", "line 1: the set is a number"),
            ("1", "no SIP URI"),
            ("1 tel:1", "no SIP URI"),
            ("\n1 sip:a x", "line 2: the flags"),
            ("1 sip:a 0 x", "the priority"),
            ("1 sip:a 300", "from 0 to 255"),
            ("1 sip:a 0 0 weight=200", "from 0 to 100"),
            ("1 sip:a 0 0 \"weight=1", "a quote"),
            ("1 sip:a 0 0 a b", "stands behind"),
            ("99999999999 sip:a", "no number of a set"),
        ] {
            let got = List::parse(bad).unwrap_err();
            assert!(got.contains(why), "{bad}: {got}");
        }
    }
}
