//! Values of headers and their parameters by number: `append_hf_value` and its like of `textopsx`. Headers hold lists,
//! separated by commas, of values that may have parameters (`;name=value`); the functions that end in 2 take a header for one value
//! whose parameters are separated by commas, as those of Authorization are.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::Range;
use crate::sip::list::split_list;

/// Longest value that a script may write, in bytes.
const MAX_VALUE: usize = 16 * 1024;

/// Which values of a header are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    /// No number is written.
    Plain,
    /// Number 1 is the first, -1 the last.
    At(i64),
    All,
}

/// `NAME[number].parameter`
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    name: Str,
    which: Which,
    param: Option<Str>,
}

impl Place {
    /// What the text says; `Err` says why it says nothing.
    fn parse(text: &[u8]) -> Result<Place, String> {
        let wrong = || {
            let text = String::from_utf8_lossy(text);
            format!("`{text}` is no header such as `Name`, `Name[1]`, `Name[*]`, `Name[-1].parameter`")
        };
        let is_name =
            |b: &[u8]| !b.is_empty() && b.iter().all(|b| b.is_ascii_alphanumeric() || b"-_!%*+`'~".contains(b));
        let text = text.trim_ascii();
        let end = text.iter().position(|b| matches!(b, b'[' | b'.')).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let (which, rest) = match rest.strip_prefix(b"[") {
            None => (Which::Plain, rest),
            Some(rest) => {
                let close = rest.iter().position(|b| *b == b']').ok_or_else(wrong)?;
                let (number, rest) = (rest[..close].trim_ascii(), &rest[close + 1..]);
                let which = match number {
                    b"" => Which::Plain,
                    b"*" => Which::All,
                    n => Which::At(std::str::from_utf8(n).ok().and_then(|n| n.parse().ok()).ok_or_else(wrong)?),
                };
                (which, rest.trim_ascii())
            }
        };
        let param = match rest {
            b"" => None,
            rest => Some(Str::from(rest.strip_prefix(b".").ok_or_else(wrong)?.trim_ascii())),
        };
        if !is_name(name.trim_ascii()) || param.as_ref().is_some_and(|p| !is_name(p)) || which == Which::At(0) {
            return Err(wrong());
        }
        Ok(Place { name: Str::from(name.trim_ascii()), which, param })
    }

    /// Those of a list that are meant; no number means the first.
    fn choose<T: Copy>(&self, all: &[T]) -> Vec<T> {
        let n = match self.which {
            Which::All => return all.to_vec(),
            Which::Plain => 1,
            Which::At(n) => n,
        };
        let at = if n < 0 { n.saturating_add(all.len() as i64) } else { n.saturating_sub(1) };
        usize::try_from(at).ok().and_then(|at| all.get(at)).copied().into_iter().collect()
    }
}

/// A value of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spot {
    /// First byte of its header.
    header: u32,
    /// Which of the header's values it is, from 0.
    number: usize,
    /// Where it lies in the message.
    range: Range,
}

/// The values of all headers of a name, in order; with `whole`, a header is one value.
fn spots(h: &SipHost, name: &[u8], whole: bool) -> Vec<Spot> {
    let mut out = Vec::new();
    for header in h.msg.headers_named(name) {
        if whole {
            out.push(Spot { header: header.start, number: 0, range: header.value_range });
            continue;
        }
        for (number, value) in split_list(header.value).enumerate() {
            if let Some(range) = h.msg.range_of(value) {
                out.push(Spot { header: header.start, number, range });
            }
        }
    }
    out
}

/// A parameter, by its place in the text of its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ParamAt {
    /// With its separator: what goes if it is removed.
    whole: (usize, usize),
    /// From behind its name to its end.
    tail: (usize, usize),
}

/// The pieces of a text between separators outside of quotes and angle brackets.
fn pieces(text: &[u8], separator: u8) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let (mut start, mut i, mut quoted, mut inside) = (0, 0, false, false);
    while let Some(b) = text.get(i) {
        match b {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b'<' if !quoted => inside = true,
            b'>' if !quoted => inside = false,
            b if *b == separator && !quoted && !inside => {
                out.push((start, i));
                start = i + 1;
            }
            _ => {}
        }
        i += 1;
    }
    out.push((start, text.len()));
    out
}

/// Without white space at either end.
fn trimmed(text: &[u8], (start, end): (usize, usize)) -> (usize, usize) {
    let part = text.get(start..end).unwrap_or_default();
    let from = start + (part.len() - part.trim_ascii_start().len());
    (from, from + part.trim_ascii().len())
}

/// Where the parameter `name` of a value lies; `commas`: as in Authorization.
fn find_param(text: &[u8], name: &[u8], commas: bool) -> Option<ParamAt> {
    let all = pieces(text, if commas { b',' } else { b';' });
    // Of parameters behind semicolons, what stands in front of the first is the value.
    for (n, piece) in all.iter().enumerate().skip(usize::from(!commas)) {
        let (mut start, end) = trimmed(text, *piece);
        let own = text.get(start..end)?;
        let head = own.iter().position(|b| *b == b'=').unwrap_or(own.len());
        let label = own.get(..head)?.trim_ascii_end();
        // The scheme stands in front of the first parameter.
        let skip = label.iter().rposition(u8::is_ascii_whitespace).filter(|_| commas && n == 0).map_or(0, |at| at + 1);
        let label_end = start + label.len();
        start += skip;
        if !text.get(start..label_end)?.eq_ignore_ascii_case(name) || (commas && head == own.len()) {
            continue;
        }
        let whole = match (n, all.get(n + 1)) {
            // The first one takes the comma behind it along.
            (0, Some(next)) => (start, trimmed(text, *next).0),
            (0, None) => (start, end),
            _ => (text.get(..piece.0 - 1)?.trim_ascii_end().len(), end),
        };
        return Some(ParamAt { whole, tail: (label_end, end) });
    }
    None
}

fn verdict(yes: bool) -> Step<SipHost> {
    Step::Done(if yes { 1 } else { -1 })
}

/// The place in argument 0.
fn place(call: &Call<'_, SipHost>) -> Result<Place, String> {
    Place::parse(&call.text(0).unwrap_or_default())
}

/// The value in argument 1, if it can stand in a header.
fn value(call: &Call<'_, SipHost>) -> Option<Str> {
    let text = call.text(1)?;
    let fit = text.len() <= MAX_VALUE && !text.iter().any(|b| b.is_ascii_control() && *b != b'\t');
    fit.then(|| Str::from(text.trim_ascii()))
}

const WITH_VALUE: &[Param] = &[Param::req("header", Kind::Str), Param::req("value", Kind::Str)];

pub(super) const APPEND_HF_VALUE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("append_hf_value"),
    params: WITH_VALUE,
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Adds a value. `Name`: as a header of its own behind the last one of this name; `Name[2]`: in the list, behind the \
          second value; `Name[-1]`: behind the last one. A header of its own where there is no such value.",
    returns: &[(1, "added"), (-1, "the value is empty, larger than 16 KiB or holds line ends")],
    example: r#"append_hf_value("X-Trace[1]", "$Ri");"#,
    run: |call| add(call, false),
    finish: None,
};

pub(super) const INSERT_HF_VALUE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("insert_hf_value"),
    doc: "Adds a value. `Name`: as a header of its own in front of the first one of this name; `Name[2]`: in the list, in \
          front of the second value.",
    returns: &[(1, "added"), (-1, "there is no such value; this one is empty, larger than 16 KiB or holds line ends")],
    example: r#"insert_hf_value("X-Trace", "$Ri");"#,
    run: |call| add(call, true),
    ..APPEND_HF_VALUE
};

fn add(call: &mut Call<'_, SipHost>, in_front: bool) -> Step<SipHost> {
    let place = match place(call) {
        Ok(place) if place.param.is_none() && place.which != Which::All => place,
        Ok(_) => return Step::Fail("a value is added to a header or at a number: `Name` or `Name[1]`".into()),
        Err(why) => return Step::Fail(why),
    };
    let Some(value) = value(call).filter(|v| !v.is_empty()) else { return Step::Done(-1) };
    let h = &mut *call.host;
    let chosen = match place.which {
        Which::Plain => None,
        _ => place.choose(&spots(h, &place.name, false)).first().copied(),
    };
    match chosen {
        Some(spot) if in_front => {
            // Right behind the comma in front of it.
            let ahead = h.msg.slice(Range::new(0, spot.range.start));
            let comma = memchr::memrchr(b',', ahead).filter(|_| spot.number > 0);
            let at = comma.map_or(spot.range.start, |at| at as u32 + 1);
            h.edits.insert_before(at, Str::from([&value[..], b","].concat()));
        }
        Some(spot) => h.edits.insert_after(spot.range.end, Str::from([b",", &value[..]].concat())),
        None if in_front && !matches!(place.which, Which::Plain | Which::At(1)) => return Step::Done(-1),
        None => own_line(h, &place.name, &value, in_front),
    }
    Step::Done(1)
}

/// A header of its own, in front of the first or behind the last one of its name.
fn own_line(h: &mut SipHost, name: &[u8], value: &[u8], in_front: bool) {
    let line = Str::from([name, b": ", value, b"\r\n"].concat());
    let mut same = h.msg.headers_named(name);
    match if in_front { same.next() } else { same.next_back() } {
        Some(header) if in_front => h.edits.insert_top(header.start, line),
        Some(header) => h.edits.insert_after(header.line().end, line),
        None if in_front => h.edits.insert_header_first(&h.msg, line),
        None => h.edits.append_header(&h.msg, line),
    }
}

const PLACE: &[Param] = &[Param::req("header", Kind::Str)];

pub(super) const REMOVE_HF_VALUE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("remove_hf_value"),
    params: PLACE,
    doc: "Removes a value: `Name` the first, `Name[-1]` the last, `Name[*]` every one; or a parameter of it: `Name[2].tag`.",
    returns: &[(1, "removed"), (-1, "there is none")],
    example: r#"remove_hf_value("X-Trace[-1]");"#,
    run: |call| remove(call, false),
    ..APPEND_HF_VALUE
};

pub(super) const REMOVE_HF_VALUE2: FnSpec<SipHost> = FnSpec {
    kamailio: Some("remove_hf_value2"),
    doc: "Removes a header, or a parameter of it, where a header is one value with parameters between commas: \
          `Authorization.opaque`, `Authorization[2].opaque`.",
    example: r#"remove_hf_value2("Authorization[*].integrity-protected");"#,
    run: |call| remove(call, true),
    ..REMOVE_HF_VALUE
};

fn remove(call: &mut Call<'_, SipHost>, whole: bool) -> Step<SipHost> {
    let place = match place(call) {
        Ok(place) => place,
        Err(why) => return Step::Fail(why),
    };
    let h = &mut *call.host;
    let chosen = place.choose(&spots(h, &place.name, whole));
    let mut done = false;
    for spot in chosen {
        match &place.param {
            Some(name) => {
                if let Some(param) = find_param(h.msg.slice(spot.range), name, whole) {
                    h.edits.delete(within(spot.range, param.whole));
                    done = true;
                }
            }
            None => done |= drop_value(h, spot, whole),
        }
    }
    verdict(done)
}

/// Removes a value, or its whole header.
fn drop_value(h: &mut SipHost, spot: Spot, whole: bool) -> bool {
    let msg = h.msg.clone();
    let Some(header) = msg.headers().find(|x| x.start == spot.header) else { return false };
    if h.edits.is_deleted(spot.range) && !spot.range.is_empty() {
        return false;
    }
    if whole {
        h.edits.remove_header(&header);
        return true;
    }
    h.edits.remove_value(&msg, &header, spot.number)
}

fn within(range: Range, (start, end): (usize, usize)) -> Range {
    let at = |n: usize| range.start.saturating_add(u32::try_from(n).unwrap_or(u32::MAX)).min(range.end);
    Range::new(at(start), at(end))
}

pub(super) const ASSIGN_HF_VALUE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("assign_hf_value"),
    doc: "Puts a value in the place of another one: `Name` the first, `Name[-1]` the last, `Name[*]` every one; or sets a \
          parameter of it: `Name[2].tag` (without `=` if it is empty).",
    returns: &[(1, "set"), (-1, "there is no such value, or this one is larger than 16 KiB or holds line ends")],
    example: r#"assign_hf_value("X-Trace[1].hop", "$Ri");"#,
    run: |call| assign(call, false),
    ..APPEND_HF_VALUE
};

pub(super) const ASSIGN_HF_VALUE2: FnSpec<SipHost> = FnSpec {
    kamailio: Some("assign_hf_value2"),
    doc: "The same where a header is one value with parameters between commas, as Authorization is.",
    example: r#"assign_hf_value2("Authorization.integrity-protected", "\"yes\"");"#,
    run: |call| assign(call, true),
    ..ASSIGN_HF_VALUE
};

fn assign(call: &mut Call<'_, SipHost>, whole: bool) -> Step<SipHost> {
    let place = match place(call) {
        Ok(place) => place,
        Err(why) => return Step::Fail(why),
    };
    let Some(value) = value(call) else { return Step::Done(-1) };
    let h = &mut *call.host;
    let chosen = place.choose(&spots(h, &place.name, whole));
    for spot in &chosen {
        match &place.param {
            Some(name) => set_param(h, spot.range, name, &value, whole),
            None if whole => {
                let msg = h.msg.clone();
                if let Some(header) = msg.headers().find(|x| x.start == spot.header) {
                    h.edits.set_header_value(&header, value.clone());
                }
            }
            None => h.edits.replace(spot.range, value.clone()),
        }
    }
    verdict(!chosen.is_empty())
}

fn set_param(h: &mut SipHost, range: Range, name: &[u8], value: &[u8], commas: bool) {
    let text = h.msg.slice(range);
    let found = find_param(text, name, commas);
    let has_params = text.contains(&b'=');
    let tail = if value.is_empty() { Vec::new() } else { [b"=", value].concat() };
    match found {
        Some(param) => {
            let at = within(range, param.tail);
            if at.is_empty() {
                h.edits.insert_after(at.end, Str::from(tail));
            } else if tail.is_empty() {
                h.edits.delete(at);
            } else {
                h.edits.replace(at, Str::from(tail));
            }
        }
        None => {
            // Behind a scheme alone there is nothing that a comma could separate.
            let separator: &[u8] = match (commas, has_params) {
                (false, _) => b";",
                (true, true) => b",",
                (true, false) => b" ",
            };
            h.edits.insert_after(range.end, Str::from([separator, name, &tail[..]].concat()));
        }
    }
}

pub(super) const INCLUDE_HF_VALUE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("include_hf_value"),
    doc: "Adds a value to a header that is a set, such as Supported, unless it is in it.",
    returns: &[(1, "it is in it now"), (-1, "the value is empty, larger than 16 KiB or holds line ends")],
    example: r#"include_hf_value("Supported", "path");"#,
    run: |call| {
        let (name, value) = match set(call) {
            Ok((name, Some(value))) => (name, value),
            Ok(_) => return Step::Done(-1),
            Err(why) => return Step::Fail(why),
        };
        let h = &mut *call.host;
        if members(h, &name, &value).is_empty() {
            match spots(h, &name, false).last() {
                Some(spot) => h.edits.insert_after(spot.range.end, Str::from([b",", &value[..]].concat())),
                None => own_line(h, &name, &value, false),
            }
        }
        Step::Done(1)
    },
    ..APPEND_HF_VALUE
};

pub(super) const EXCLUDE_HF_VALUE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("exclude_hf_value"),
    doc: "Removes a value from a header that is a set, such as Supported.",
    returns: &[(1, "it is not in it now")],
    example: r#"exclude_hf_value("Supported", "100rel");"#,
    run: |call| match set(call) {
        Ok((name, Some(value))) => {
            for spot in members(call.host, &name, &value) {
                drop_value(call.host, spot, false);
            }
            Step::Done(1)
        }
        Ok(_) => Step::Done(-1),
        Err(why) => Step::Fail(why),
    },
    ..INCLUDE_HF_VALUE
};

pub(super) const HF_VALUE_EXISTS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("hf_value_exists"),
    doc: "Whether a value is in a header that is a set, such as Supported.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (hf_value_exists("Supported", "100rel")) xlog("$ua\n");"#,
    run: |call| match set(call) {
        Ok((name, Some(value))) => verdict(!members(call.host, &name, &value).is_empty()),
        Ok(_) => Step::Done(-1),
        Err(why) => Step::Fail(why),
    },
    ..INCLUDE_HF_VALUE
};

/// The header and the value of a function about sets.
fn set(call: &Call<'_, SipHost>) -> Result<(Str, Option<Str>), String> {
    let place = place(call)?;
    if place.param.is_some() || place.which != Which::Plain {
        return Err("a set is a header without a number: `Supported`".into());
    }
    Ok((place.name, value(call).filter(|v| !v.is_empty())))
}

/// The values of a set that are this one; letter case does not matter.
fn members(h: &SipHost, name: &[u8], value: &[u8]) -> Vec<Spot> {
    let all = spots(h, name, false).into_iter();
    all.filter(|s| h.msg.slice(s.range).eq_ignore_ascii_case(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::Bench;

    fn bench() -> Bench {
        Bench::new(
            "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
             Foo: <sip:a;x=1>;y=2 , \"b, c\";p\r\nBar: 1\r\nFoo: three\r\nSupported: path, 100rel\r\n\
             Authorization: Digest realm=\"r, s\", nonce=n,opaque=o\r\n\r\n",
        )
    }

    /// The headers in question, as sent.
    fn sent(b: &Bench) -> String {
        let sent = b.sent();
        let lines: Vec<_> = sent.lines().skip(6).filter(|l| !l.is_empty()).collect();
        lines.join("|")
    }

    const FOO: &str = "Foo: <sip:a;x=1>;y=2 , \"b, c\";p|Bar: 1|Foo: three";
    const REST: &str = "|Supported: path, 100rel|Authorization: Digest realm=\"r, s\", nonce=n,opaque=o";

    /// Calls a function on a fresh message: its code and what became of it.
    #[track_caller]
    fn does(f: &FnSpec<SipHost>, args: &[&str], code: i32, head: &str, rest: &str) {
        let mut b = bench();
        assert_eq!(b.call(f, args), code, "{args:?}");
        assert_eq!(sent(&b), format!("{head}{rest}"), "{args:?}");
    }

    #[test]
    fn values_are_added() {
        does(&APPEND_HF_VALUE, &["Foo", "v"], 1, &format!("{FOO}|Foo: v"), REST);
        does(&INSERT_HF_VALUE, &["Foo", "v"], 1, &format!("Foo: v|{FOO}"), REST);
        does(&APPEND_HF_VALUE, &["foo[1]", "v"], 1, &FOO.replace("y=2", "y=2,v"), REST);
        does(&INSERT_HF_VALUE, &["foo[2]", "v"], 1, &FOO.replace(", \"b", ",v, \"b"), REST);
        does(&APPEND_HF_VALUE, &["foo[-1]", "v"], 1, &FOO.replace("three", "three,v"), REST);
        does(&APPEND_HF_VALUE, &["foo[9]", "v"], 1, &format!("{FOO}|foo: v"), REST);
        does(&INSERT_HF_VALUE, &["foo[9]", "v"], -1, FOO, REST);
        does(&APPEND_HF_VALUE, &["New", "v"], 1, FOO, &format!("{REST}|New: v"));
        does(&APPEND_HF_VALUE, &["Foo", "a\r\nb"], -1, FOO, REST);
        does(&APPEND_HF_VALUE, &["Foo[*]", "v"], -1000, FOO, REST);
        for bad in ["", "Foo[", "Foo[x]", "Foo[0]", "Foo]", "Foo[1]x", "Foo.", "Foo: x"] {
            does(&APPEND_HF_VALUE, &[bad, "v"], -1000, FOO, REST);
        }
    }

    #[test]
    fn values_and_parameters_are_removed() {
        does(&REMOVE_HF_VALUE, &["Foo"], 1, "Foo: \"b, c\";p|Bar: 1|Foo: three", REST);
        does(&REMOVE_HF_VALUE, &["Foo[2]"], 1, "Foo: <sip:a;x=1>;y=2|Bar: 1|Foo: three", REST);
        does(&REMOVE_HF_VALUE, &["Foo[-1]"], 1, "Foo: <sip:a;x=1>;y=2 , \"b, c\";p|Bar: 1", REST);
        does(&REMOVE_HF_VALUE, &["Foo[*]"], 1, "Bar: 1", REST);
        does(&REMOVE_HF_VALUE, &["Foo[7]"], -1, FOO, REST);
        does(&REMOVE_HF_VALUE, &["Foo.y"], 1, &FOO.replace(";y=2", ""), REST);
        does(&REMOVE_HF_VALUE, &["Foo.x"], -1, FOO, REST);
        does(&REMOVE_HF_VALUE, &["Foo[2].P"], 1, &FOO.replace(";p", ""), REST);
        does(&REMOVE_HF_VALUE2, &["Foo[2]"], 1, "Foo: <sip:a;x=1>;y=2 , \"b, c\";p|Bar: 1", REST);
        does(&REMOVE_HF_VALUE2, &["Authorization.nonce"], 1, FOO, &REST.replace(", nonce=n", ""));
        does(&REMOVE_HF_VALUE2, &["Authorization.realm"], 1, FOO, &REST.replace("realm=\"r, s\", ", ""));
        does(&REMOVE_HF_VALUE2, &["Authorization.opaque"], 1, FOO, &REST.replace(",opaque=o", ""));
        does(&REMOVE_HF_VALUE2, &["Authorization.Digest"], -1, FOO, REST);
    }

    #[test]
    fn values_and_parameters_are_assigned() {
        does(&ASSIGN_HF_VALUE, &["Foo", "v"], 1, &FOO.replace("<sip:a;x=1>;y=2", "v"), REST);
        does(&ASSIGN_HF_VALUE, &["Foo[*]", "v"], 1, "Foo: v , v|Bar: 1|Foo: v", REST);
        does(&ASSIGN_HF_VALUE, &["Foo.y", "v"], 1, &FOO.replace("y=2", "y=v"), REST);
        does(&ASSIGN_HF_VALUE, &["Foo.y", ""], 1, &FOO.replace("y=2", "y"), REST);
        does(&ASSIGN_HF_VALUE, &["Foo.z", "v"], 1, &FOO.replace("y=2", "y=2;z=v"), REST);
        does(&ASSIGN_HF_VALUE, &["Foo[2].p", "v"], 1, &FOO.replace(";p", ";p=v"), REST);
        does(&ASSIGN_HF_VALUE, &["Foo[3].lr", ""], 1, &FOO.replace("three", "three;lr"), REST);
        does(&ASSIGN_HF_VALUE, &["None", "v"], -1, FOO, REST);
        does(&ASSIGN_HF_VALUE2, &["Authorization.nonce", "v"], 1, FOO, &REST.replace("nonce=n", "nonce=v"));
        does(&ASSIGN_HF_VALUE2, &["Authorization.new", "v"], 1, FOO, &REST.replace("opaque=o", "opaque=o,new=v"));
        does(&ASSIGN_HF_VALUE2, &["Bar.new", "v"], 1, &FOO.replace("Bar: 1", "Bar: 1 new=v"), REST);
    }

    #[test]
    fn sets() {
        does(&HF_VALUE_EXISTS, &["Supported", "PATH"], 1, FOO, REST);
        does(&HF_VALUE_EXISTS, &["Supported", "timer"], -1, FOO, REST);
        does(&INCLUDE_HF_VALUE, &["Supported", "path"], 1, FOO, REST);
        does(&INCLUDE_HF_VALUE, &["Supported", "timer"], 1, FOO, &REST.replace("100rel", "100rel,timer"));
        does(&INCLUDE_HF_VALUE, &["Require", "timer"], 1, FOO, &format!("{REST}|Require: timer"));
        does(&EXCLUDE_HF_VALUE, &["Supported", "path"], 1, FOO, &REST.replace("path, ", ""));
        does(&EXCLUDE_HF_VALUE, &["Supported", "timer"], 1, FOO, REST);
        does(&EXCLUDE_HF_VALUE, &["Supported[1]", "timer"], -1000, FOO, REST);
    }
}
