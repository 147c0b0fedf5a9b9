//! Selects of Kamailio's language: `@ruri.user`, `$sel(via[1].host)`, `@hf_value["X-A"].params.b` (kamailio.md
//! section 1.14). A path of names, each with an index or a key in brackets.

use super::host::SipHost;
use super::pv_get::ruri;
use crate::base::Str;
use crate::script::value::Value;
use crate::sip::header::HeaderId;
use crate::sip::list::split_list;
use crate::sip::nameaddr::NameAddr;
use crate::sip::params::Params;
use crate::sip::uri::Uri;
use crate::sip::via::Via;

/// One step of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step<'a> {
    /// `.name`
    Name(&'a [u8]),
    /// `["key"]`
    Key(&'a [u8]),
    /// `[1]`
    At(i64),
}

/// A path, taken apart; `None` if it is malformed.
fn steps(path: &[u8]) -> Option<Vec<Step<'_>>> {
    let mut out = Vec::new();
    let mut rest = path;
    loop {
        let end = rest.iter().position(|c| matches!(c, b'.' | b'[')).unwrap_or(rest.len());
        let (name, mut behind) = rest.split_at(end);
        if name.is_empty() || !name.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-')) {
            return None;
        }
        out.push(Step::Name(name));
        while let Some(inner) = behind.strip_prefix(b"[") {
            let (step, after) = match inner.first()? {
                q @ (b'"' | b'\'') => {
                    let inner = inner.get(1..)?;
                    let close = memchr::memchr(*q, inner)?;
                    (Step::Key(inner.get(..close)?), inner.get(close + 1..)?)
                }
                _ => {
                    let close = memchr::memchr(b']', inner)?;
                    let text = inner.get(..close)?;
                    let step = match std::str::from_utf8(text).ok()?.trim().parse() {
                        Ok(n) => Step::At(n),
                        Err(_) => Step::Key(text),
                    };
                    (step, inner.get(close..)?)
                }
            };
            out.push(step);
            behind = after.strip_prefix(b"]")?;
        }
        match behind.strip_prefix(b".") {
            Some(more) => rest = more,
            None if behind.is_empty() => return Some(out),
            None => return None,
        }
    }
}

/// First steps that are known.
const HEADS: &[&str] = &[
    "cfg_get",
    "ruri",
    "from",
    "f",
    "to",
    "t",
    "contact",
    "m",
    "via",
    "v",
    "call_id",
    "callid",
    "cseq",
    "method",
    "reason",
    "status",
    "msg",
    "hf",
    "hf_value",
    "hf_value2",
    "hf_value_exists",
    "rr",
    "record_route",
    "route",
    "src",
    "dst",
    "received",
    "proto",
    "event",
    "expires",
    "refer_to",
    "content_type",
    "next_hop",
    "date",
    "identity",
    "authorization",
    "proxy_authorization",
    "sys",
    "user_agent",
    "max_forwards",
    "version",
];

/// Whether a path begins with something that is known.
pub fn is_known(path: &str) -> bool {
    let path = path.trim().trim_start_matches('@');
    let head = path.split(['.', '[']).next().unwrap_or_default();
    HEADS.contains(&head) && (head == "cfg_get" || steps(path.as_bytes()).is_some())
}

/// Reads a select; the empty text for what is not there.
pub fn get(h: &SipHost, path: &[u8]) -> Value {
    let path = path.trim_ascii();
    let path = path.strip_prefix(b"@").unwrap_or(path);
    if let Some(name) = path.strip_prefix(b"cfg_get.") {
        return super::kamailio::custom::get(h.env(), name).unwrap_or(Value::Null);
    }
    Value::Str(steps(path).and_then(|steps| of_message(h, &steps)).unwrap_or_default())
}

use Step::{At, Key, Name};

fn some(text: impl Into<Str>) -> Option<Str> {
    Some(text.into())
}

fn of_message(h: &SipHost, steps: &[Step<'_>]) -> Option<Str> {
    let (Name(head), rest) = steps.split_first().map(|(head, rest)| (*head, rest))? else { return None };
    let msg = &h.msg;
    let whole = |id: HeaderId| msg.header(id).map(|x| Str::from(x.value));
    match (head, rest) {
        (b"ruri", _) => uri(ruri(h)?, rest),
        (b"next_hop", _) => match &h.du {
            Some(du) => uri(du, rest),
            None => uri(ruri(h)?, rest),
        },
        (b"method", []) => some(msg.method_bytes()),
        (b"status", []) if msg.is_reply() => some(msg.status().to_string()),
        (b"reason", []) if msg.is_reply() => some(msg.reason()),
        (b"from" | b"f", _) => address(msg.header(HeaderId::From)?.value, rest),
        (b"to" | b"t", _) => address(msg.header(HeaderId::To)?.value, rest),
        (b"refer_to", _) => address(msg.header(HeaderId::ReferTo)?.value, rest),
        (b"contact" | b"m", []) => whole(HeaderId::Contact),
        (b"contact" | b"m", _) => address(msg.values_of(HeaderId::Contact).next()?, rest),
        (b"rr" | b"record_route", []) => whole(HeaderId::RecordRoute),
        (b"rr" | b"record_route", _) => address(msg.values_of(HeaderId::RecordRoute).next()?, rest),
        (b"route", []) => whole(HeaderId::Route),
        (b"route", _) => address(msg.values_of(HeaderId::Route).next()?, rest),
        (b"via" | b"v", [At(n), rest @ ..]) => via(&nth(msg.vias().filter_map(Result::ok).collect(), *n)?, rest),
        (b"via" | b"v", _) => via(&msg.top_via()?, rest),
        (b"call_id" | b"callid", []) => some(msg.call_id()),
        (b"cseq", []) => whole(HeaderId::CSeq),
        (b"cseq", [Name(b"num")]) => some(msg.cseq().number.to_string()),
        (b"cseq", [Name(b"method")]) => some(msg.method_bytes()),
        (b"event", []) => whole(HeaderId::Event),
        (b"expires", []) => whole(HeaderId::Expires),
        (b"content_type", []) => whole(HeaderId::ContentType),
        (b"user_agent", []) => whole(HeaderId::UserAgent),
        (b"max_forwards", []) => whole(HeaderId::MaxForwards),
        (b"version", []) => some("SIP/2.0"),
        (b"sys", [Name(b"now")]) => some((h.env().clock.micros() / 1_000_000).to_string()),
        (b"msg", [Name(b"first_line")]) => some(msg.bytes().split(|c| *c == b'\r').next()?),
        (b"date", []) => first(h, b"Date"),
        (b"identity", []) => first(h, b"Identity"),
        (b"authorization", rest) => digest(h, HeaderId::Authorization, rest),
        (b"proxy_authorization", rest) => digest(h, HeaderId::ProxyAuthorization, rest),
        (b"msg", []) => some(msg.bytes()),
        (b"msg", [Name(b"len")]) => some(msg.bytes().len().to_string()),
        (b"msg", [Name(b"body")]) => some(msg.body()),
        (b"proto", []) => some(proto(h)),
        (b"src", [Name(b"ip")]) => some(h.source.ip().to_string()),
        (b"src", [Name(b"port")]) => some(h.source.port().to_string()),
        (b"src", [Name(b"ip_port")]) => some(format!("{}:{}", h.source.ip(), h.source.port())),
        (b"dst" | b"received", [Name(part)]) => own(h, part),
        (b"sys", [Name(b"pid")]) => some(h.env().pid.to_string()),
        (b"sys", [Name(b"unixtime")]) => some((h.env().clock.micros() / 1_000_000).to_string()),
        (b"hf", [Key(name) | Name(name)]) => first(h, name),
        (b"hf", [Key(name) | Name(name), At(n)]) => {
            nth(msg.headers_named(name).map(|x| x.value).collect(), *n).map(Str::from)
        }
        (b"hf_value", [Key(name) | Name(name), rest @ ..]) => header_value(h, name, rest),
        (b"hf_value2", [Key(name) | Name(name), rest @ ..]) => {
            let (at, param) = match rest {
                [] => (1, None),
                [At(n)] => (*n, None),
                [Name(param) | Key(param)] => (1, Some(*param)),
                [At(n), Name(param) | Key(param)] => (*n, Some(*param)),
                _ => return None,
            };
            let value = nth(msg.headers_named(&name_of(name)).map(|x| x.value).collect(), at)?;
            match param {
                Some(param) => super::kamailio::hf_values::param2(value, &name_of(param)).map(Str::from),
                None => some(value),
            }
        }
        (b"hf_value_exists", [Key(name) | Name(name), Key(wanted) | Name(wanted)]) => {
            let name = name_of(name);
            let mut values = msg.headers_named(&name).flat_map(|x| split_list(x.value));
            some(if values.any(|v| v.trim_ascii().eq_ignore_ascii_case(wanted)) { "1" } else { "0" })
        }
        _ => None,
    }
}

/// The one at an index, from the front counted from 1, negative from the end.
fn nth<T>(list: Vec<T>, index: i64) -> Option<T> {
    let n = if index < 0 {
        list.len().checked_sub(usize::try_from(-index).ok()?)?
    } else {
        usize::try_from(index).ok()?.checked_sub(1)?
    };
    list.into_iter().nth(n)
}

fn first(h: &SipHost, name: &[u8]) -> Option<Str> {
    h.msg.headers_named(&name_of(name)).next().map(|x| Str::from(x.value))
}

/// A header's name in a select: `_` stands for `-`.
fn name_of(name: &[u8]) -> Vec<u8> {
    name.iter().map(|c| if *c == b'_' { b'-' } else { *c }).collect()
}

fn proto(h: &SipHost) -> String {
    let own = h.env().listeners.get(usize::from(h.listener));
    own.map_or_else(|| "udp".into(), |l| l.transport.as_param().to_string())
}

fn own(h: &SipHost, part: &[u8]) -> Option<Str> {
    let l = h.env().listeners.get(usize::from(h.listener))?;
    let (ip, port) = (l.addr.ip(), l.addr.port());
    match part {
        b"ip" => some(ip.to_string()),
        b"port" => some(port.to_string()),
        b"ip_port" => some(format!("{ip}:{port}")),
        b"proto" => some(proto(h)),
        b"proto_ip_port" => some(format!("{}:{ip}:{port}", proto(h))),
        _ => None,
    }
}

/// Parts of a URI.
fn uri(text: &[u8], steps: &[Step<'_>]) -> Option<Str> {
    if steps.is_empty() {
        return some(text);
    }
    let uri = Uri::parse(text).ok()?;
    match steps {
        [Name(b"type")] => some(text.get(..memchr::memchr(b':', text)?)?),
        [Name(b"user" | b"name")] => uri.user.map(Str::from),
        [Name(b"pwd")] => uri.password.map(Str::from),
        [Name(b"host")] => some(uri.host),
        [Name(b"port")] => uri.port.map(|p| Str::from(p.to_string())),
        [Name(b"hostport")] => some([uri.host, format!(":{}", uri.port_or_default()).as_bytes()].concat()),
        [Name(b"params"), rest @ ..] => params(&uri.params, rest),
        [Name(b"transport")] => uri.params.value(b"transport").map(Str::from),
        _ => None,
    }
}

/// All parameters, or the one of a name.
fn params(params: &Params<'_>, steps: &[Step<'_>]) -> Option<Str> {
    match steps {
        [] => some(params.text()),
        [Name(name) | Key(name)] => params.get(name).map(|p| Str::from(p.text())),
        _ => None,
    }
}

/// Parts of `"Name" <uri>;params`.
fn address(value: &[u8], steps: &[Step<'_>]) -> Option<Str> {
    if steps.is_empty() {
        return some(value);
    }
    let n = NameAddr::parse(value).ok()?;
    match steps {
        [Name(b"name")] => some(n.display),
        [Name(b"uri"), rest @ ..] => uri(n.uri, rest),
        [Name(b"nameaddr"), Name(b"name")] => some(n.display),
        [Name(b"nameaddr"), Name(b"uri"), rest @ ..] => uri(n.uri, rest),
        [Name(b"nameaddr")] => some(n.without_params()),
        [Name(b"tag")] => n.tag().map(Str::from),
        [Name(b"params" | b"param" | b"p"), rest @ ..] => params(&n.params, rest),
        [Name(name @ (b"q" | b"expires" | b"methods" | b"received" | b"instance"))] => n.param(name).map(Str::from),
        _ => None,
    }
}

fn via(via: &Via<'_>, steps: &[Step<'_>]) -> Option<Str> {
    match steps {
        [] => some(via.raw),
        [Name(b"name")] => some(via.name),
        [Name(b"version")] => some(via.version),
        [Name(b"transport")] => some(via.transport_bytes),
        [Name(b"host")] => some(via.host),
        [Name(b"port")] => via.port.map(|p| Str::from(p.to_string())),
        [Name(b"comment")] => via.comment.map(Str::from),
        [Name(b"params"), rest @ ..] => params(&via.params, rest),
        [Name(name @ (b"branch" | b"received" | b"rport" | b"i" | b"alias" | b"maddr" | b"ttl"))] => {
            via.params.get(name).map(|p| Str::from(p.text()))
        }
        _ => None,
    }
}

/// `name`, `uri` and parameters of the first value (or that at an index) of a header with a list.
fn header_value(h: &SipHost, name: &[u8], steps: &[Step<'_>]) -> Option<Str> {
    let name = name_of(name);
    let values: Vec<&[u8]> = h.msg.headers_named(&name).flat_map(|x| split_list(x.value)).collect();
    let (at, steps) = match steps {
        // All of them.
        [] if !values.is_empty() => return some(values.join(&b","[..])),
        [At(n), rest @ ..] => (*n, rest),
        _ => (1, steps),
    };
    let value = nth(values, at)?.trim_ascii();
    let bare = value.get(..value.iter().position(|c| *c == b';').unwrap_or(value.len()))?;
    match steps {
        [] => some(value),
        [Name(b"name")] => some(NameAddr::parse(value).map_or(bare.trim_ascii(), |n| n.name())),
        [Name(b"params" | b"param" | b"p"), rest @ ..] => {
            let tail = value.get(bare.len()..)?;
            params(&Params::new(tail), rest)
        }
        _ => address(value, steps),
    }
}

/// Fields of credentials.
fn digest(h: &SipHost, id: HeaderId, steps: &[Step<'_>]) -> Option<Str> {
    let (realm, steps) = match steps {
        [Key(realm), rest @ ..] => (Some(*realm), rest),
        _ => (None, steps),
    };
    let field = |value: &[u8], name: &[u8]| -> Option<Str> {
        let list = value.get(memchr::memchr(b' ', value)?..)?;
        split_list(list).find_map(|pair| {
            let pair = pair.trim_ascii();
            let at = memchr::memchr(b'=', pair)?;
            let same = pair.get(..at)?.trim_ascii().eq_ignore_ascii_case(name);
            same.then(|| Str::from(crate::sip::bytes::unquote(pair.get(at + 1..).unwrap_or_default().trim_ascii())))
        })
    };
    let of_realm = |value: &[u8]| realm.is_none_or(|r| field(value, b"realm").is_some_and(|found| found == *r));
    let value = h.msg.headers_of(id).map(|x| x.value).find(|v| of_realm(v))?;
    match steps {
        [] => some(value),
        [Name(b"username"), Name(b"whole")] => field(value, b"username"),
        [
            Name(
                name @ (b"username" | b"realm" | b"nonce" | b"uri" | b"response" | b"algorithm" | b"cnonce" | b"opaque"
                | b"qop" | b"nc"),
            ),
        ] => field(value, name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(steps(b"via[1].host"), Some(vec![Name(b"via"), At(1), Name(b"host")]));
        assert_eq!(steps(b"hf[\"X.A\"][-1]"), Some(vec![Name(b"hf"), Key(b"X.A"), At(-1)]));
        assert_eq!(steps(b"a.b"), Some(vec![Name(b"a"), Name(b"b")]));
        for bad in ["", ".", "a.", "a[", "a[\"x]", "a[1", "a b", "a[1]b"] {
            assert_eq!(steps(bad.as_bytes()), None, "{bad}");
        }
        assert!(is_known("cfg_get.group.name") && is_known("@hf[\"X\"]") && !is_known("nothing.at.all"));
    }
}
