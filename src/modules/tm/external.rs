//! Requests that a program outside answers: `t_write_req` and `t_write_unix` write what the program needs to know into a
//! FIFO or to a Unix socket, as lines; the transaction waits for its answer (`reprise ctl t_reply`) as a suspended one does.

use super::ids::TxName;
use super::send::{T_NEWTRAN, code};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::registrar::settings::avp_value;
use crate::modules::request::{Place, Request};
use crate::modules::usrloc::binding::mask;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;
use crate::sip::{HeaderId, Message, Method};

/// Version of the lines.
const VERSION: &[u8] = b"0.3";
/// Longest name of an action.
const ACTION: usize = 115;
/// Most bytes that `tw_append` may add.
const APPENDED: usize = 4096;

/// `t_write_req`
pub const T_WRITE_REQ: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_write_req"),
    params: &[Param::req("fifo", Kind::Str), Param::req("action", Kind::Str)],
    routes: RouteSet::letters("RF"),
    doc: "Writes the request as lines into a FIFO that a program reads, for it to answer: version 0.3, `sip_request.ACTION`, \
          method, user and host of the R-URI, the address and the port (`.`: 5060) it came in on, R-URI as received, \
          R-URI for the callee's own requests, From, To, Call-ID, tags of From and To, CSeq number, `INDEX:LABEL` \
          for ctl t_reply, the route set and the next hop (`.`: none), further lines with `P-MsgFlags` and those of \
          tw_append, `.`, the body (INVITE, INFO or as tw_append says, else `.`). Action: `NAME`, or `NAME/APPEND` with the \
          name of a tw_append. The transaction must be there (t_newtran); it stays open behind the script; without an \
          answer within fr_timer its failure_route runs, else it is answered 408.",
    returns: &[
        (1, "written"),
        (-1, "not written: no transaction, nobody reads the FIFO, it is full or none, or the message lacks something"),
    ],
    example: r#"if (!t_newtran() || !t_write_req("/run/app/fifo", "invite")) sl_reply_error();"#,
    run: |call| write(call, Place::Fifo),
    finish: Some(code),
    ..T_NEWTRAN
};

/// `t_write_unix`
pub const T_WRITE_UNIX: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_write_unix"),
    params: &[Param::req("socket", Kind::Str), Param::req("action", Kind::Str)],
    doc: "As t_write_req, as one datagram to a Unix socket. A socket that takes nothing now is not waited for.",
    returns: &[
        (1, "sent"),
        (-1, "not sent: no transaction, no such socket, it is full, or the message lacks something"),
    ],
    example: r#"if (!t_newtran() || !t_write_unix("/run/app/socket", "invite/extra")) sl_reply_error();"#,
    run: |call| write(call, Place::Socket),
    ..T_WRITE_REQ
};

fn write(call: &mut Call<'_, SipHost>, place: fn(Str) -> Place) -> Step<SipHost> {
    let path = call.text(0).unwrap_or_default();
    if path.is_empty() || path.contains(&0) {
        return Step::Fail("the path is empty".to_string());
    }
    if call.host.phony || !call.host.msg.is_request() || call.host.msg.method() == Method::Ack {
        return Step::Done(-1);
    }
    let Some(key) = call.host.tm.key.filter(|_| !call.host.tm.embryonic) else {
        return Step::Fail("there is no transaction: call t_newtran() before".to_string());
    };
    let (worker, incarnation) = (call.host.tm.worker, call.host.tm.incarnation);
    let action = call.text(1).unwrap_or_default();
    let (action, append) = match split(&action) {
        Ok(parts) => parts,
        Err(why) => return Step::Fail(why),
    };
    let append = match append {
        Some(name) => match call.host.env().settings.tm.append(&name) {
            Some(found) => Some(found.clone()),
            None => return Step::Fail(format!("there is no tw_append `{}`", name.to_lossy())),
        },
        None => None,
    };
    let further = match further_lines(call, append.as_ref()) {
        Ok(lines) => lines,
        Err(why) => return Step::Fail(why),
    };
    let name = TxName { worker, incarnation, key };
    match lines(call.host, &action, name, &further, append.is_some_and(|a| a.body)) {
        Ok(bytes) => Step::Wait(Request::HandOut { place: place(path), bytes: Str::from(bytes) }),
        Err(why) => Step::Fail(why),
    }
}

/// `NAME` or `NAME/APPEND`
///
/// # Errors
/// What is missing.
pub fn split(action: &[u8]) -> Result<(Str, Option<Str>), String> {
    let mut parts = action.splitn(2, |b| *b == b'/');
    let name = parts.next().unwrap_or_default();
    let append = parts.next();
    if name.is_empty() || name.len() > ACTION || name.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        return Err(format!("an action has a name of 1 to {ACTION} bytes"));
    }
    match append {
        Some(b"") => Err("behind the `/` stands the name of a tw_append".to_string()),
        append => Ok((Str::from(name), append.map(Str::from))),
    }
}

/// Flags, what `tw_append` names, and the dot behind them.
fn further_lines(call: &mut Call<'_, SipHost>, append: Option<&Append>) -> Result<Vec<u8>, String> {
    // The number stands there with its last hexadecimal digit first.
    let flags: String = format!("{:x}", mask(&call.host.flags)).chars().rev().collect();
    let mut out = format!("P-MsgFlags: {flags}\n").into_bytes();
    for element in append.map_or(&[][..], |a| &a.elements) {
        let value = match &element.source {
            Part::Avp(name) => {
                let vm = call.vm();
                avp_value(&|name| vm.avp(name).first().and_then(Value::to_text), name).map(|t| t.to_vec())
            }
            Part::Header(name) => call.host.msg.headers_named(name).next().map(|h| h.unfolded().to_vec()),
        };
        let Some(value) = value else { continue };
        if value.iter().any(|b| matches!(b, b'\r' | b'\n')) {
            return Err(format!("`{}` holds a line break", element.title.to_lossy()));
        }
        out.extend_from_slice(&[&element.title[..], b": ", value.trim_ascii(), b"\n"].concat());
        if out.len() > APPENDED {
            return Err(format!("tw_append adds more than {APPENDED} bytes"));
        }
    }
    out.push(b'.');
    Ok(out)
}

/// All lines, each with its end.
fn lines(h: &SipHost, action: &[u8], name: TxName, further: &[u8], with_body: bool) -> Result<Vec<u8>, String> {
    let msg = &h.msg;
    let uri = Uri::parse(h.current_ruri()).map_err(|_| "the R-URI cannot be read".to_string())?;
    let listener = h.env().listeners.get(usize::from(h.listener)).ok_or("the request came from nowhere")?;
    let address = crate::modules::env::bracketed(listener.addr.ip());
    let port = match listener.addr.port() {
        5060 => ".".to_string(),
        port => port.to_string(),
    };
    let (index, label) = name.numbers();
    let way = Way::back(msg);
    let body = if with_body || matches!(msg.method_bytes(), b"INVITE" | b"INFO") { msg.body() } else { b"." };
    let command = [b"sip_request.", action].concat();
    let numbers = format!("{index}:{label}");
    let cseq = msg.cseq().number.to_string();
    let all: [&[u8]; 20] = [
        VERSION,
        &command,
        msg.method_bytes(),
        uri.user.unwrap_or_default(),
        uri.host,
        address.as_bytes(),
        port.as_bytes(),
        msg.request_uri(),
        or_dot(&way.target),
        bare(msg.value(HeaderId::From)),
        bare(msg.value(HeaderId::To)),
        msg.call_id(),
        msg.from_tag().unwrap_or_default(),
        msg.to_tag().unwrap_or_default(),
        cseq.as_bytes(),
        numbers.as_bytes(),
        or_dot(&way.routes),
        or_dot(&way.next_hop),
        further,
        body,
    ];
    let mut out = Vec::with_capacity(1024 + body.len());
    for line in all {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    Ok(out)
}

/// A name and an address without parameters such as the tag.
fn bare(text: &[u8]) -> &[u8] {
    NameAddr::parse(text).map_or(text, |a| a.address())
}

fn or_dot(text: &[u8]) -> &[u8] {
    if text.is_empty() { b"." } else { text }
}

/// How the callee's own requests of the dialog go (RFC 3261 12.1.1).
#[derive(Debug, Default, PartialEq)]
struct Way {
    /// R-URI.
    target: Vec<u8>,
    /// `<uri>,<uri>`
    routes: Vec<u8>,
    /// The first of them, if it is a loose router.
    next_hop: Vec<u8>,
}

impl Way {
    fn back(msg: &Message) -> Way {
        let contact = msg.contacts().next().map(|c| c.uri.to_vec());
        let target = contact.unwrap_or_else(|| msg.from().uri.to_vec());
        let routes: Vec<Vec<u8>> = (msg.values_of(HeaderId::RecordRoute))
            .filter_map(|r| NameAddr::parse(r).ok().map(|n| n.uri.to_vec()))
            .collect();
        let join = |list: &[Vec<u8>]| {
            let marked: Vec<Vec<u8>> = list.iter().map(|u| [b"<", &u[..], b">"].concat()).collect();
            marked.join(&b","[..])
        };
        match routes.first() {
            None => Way { target, ..Way::default() },
            Some(first) if Uri::parse(first).is_ok_and(|u| u.params.has(b"lr")) => {
                Way { target, routes: join(&routes), next_hop: first.clone() }
            }
            // A strict router is the R-URI, and the target the last of the route set.
            Some(first) => {
                let mut rest: Vec<Vec<u8>> = routes.get(1..).unwrap_or_default().to_vec();
                rest.push(target);
                Way { target: first.clone(), routes: join(&rest), next_hop: Vec::new() }
            }
        }
    }
}

/// `tw_append`: what a program gets to know besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Its name.
    pub name: Str,
    elements: Vec<Element>,
    /// The body, of any method.
    body: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Element {
    title: Str,
    source: Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Avp(Str),
    Header(Str),
}

impl Append {
    /// Reads `name:element[;element ...]`; an element is `[title=]avp[NAME]`, `[title=]hdr[NAME]` or `msg[body]`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &[u8]) -> Result<Append, String> {
        const FORM: &str = "tw_append is `name:[title=]avp[NAME];[title=]hdr[NAME];msg[body]`";
        let text = std::str::from_utf8(text).map_err(|_| FORM.to_string())?;
        let (name, list) = text.split_once(':').ok_or(FORM)?;
        let name = name.trim();
        if name.is_empty() || name.contains([' ', '/', '[', ']', '=', ';']) || list.trim().is_empty() {
            return Err(FORM.to_string());
        }
        let mut all = Append { name: Str::from(name), elements: Vec::new(), body: false };
        for element in list.split(';').map(str::trim) {
            let (head, inner) = element
                .strip_suffix(']')
                .and_then(|e| e.split_once('['))
                .ok_or_else(|| format!("{FORM}, not `{element}`"))?;
            let inner = inner.trim();
            let (title, kind) = match head.split_once('=') {
                Some((title, kind)) => (Some(title.trim()), kind.trim()),
                None => (None, head.trim()),
            };
            let bad = title.is_some_and(str::is_empty) || inner.is_empty() || inner.contains(char::is_whitespace);
            if bad {
                return Err(format!("{FORM}, not `{element}`"));
            }
            let (plain, source) = match kind.to_ascii_lowercase().as_str() {
                "msg" if inner.eq_ignore_ascii_case("body") => {
                    all.body = true;
                    continue;
                }
                "msg" => return Err("of the message tw_append knows `msg[body]`".to_string()),
                "avp" => {
                    let name = avp_name(inner);
                    (name, Part::Avp(Str::from(name)))
                }
                "hdr" => (inner, Part::Header(Str::from(inner))),
                _ => return Err(format!("{FORM}, not `{element}`")),
            };
            all.elements.push(Element { title: Str::from(title.unwrap_or(plain)), source });
        }
        Ok(all)
    }
}

/// The name in `$avp(name)`, `$avp(s:name)`, `s:name`, `i:5` or `name`.
fn avp_name(text: &str) -> &str {
    let inner = text.strip_prefix("$avp(").and_then(|t| t.strip_suffix(')')).unwrap_or(text);
    let inner = inner.strip_prefix('$').unwrap_or(inner);
    inner.strip_prefix("s:").or_else(|| inner.strip_prefix("i:")).unwrap_or(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::env::{Env, Listen};
    use crate::modules::testing::Bench;
    use crate::sip::Transport;

    const REQUEST: &str = "INVITE sip:bob@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK1\r\n\
        Record-Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n\
        From: \"A\" <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\nContact: <sip:a@10.0.0.9>\r\n\
        X-Plan: gold\r\nContent-Length: 3\r\n\r\nabc";

    fn listening() -> Env {
        let addr = ([10, 0, 0, 1], 5060).into();
        let listener = Listen { transport: Transport::Udp, addr, advertised: None, tag: None };
        Env { listeners: vec![listener], ..Env::unattached() }
    }

    #[test]
    fn lists_are_read_or_refused() {
        let all = Append::parse(b"extra: email=avp[s:mail];hdr[X-Plan];msg[body]").unwrap();
        assert_eq!((all.name.to_lossy().as_ref(), all.body, all.elements.len()), ("extra", true, 2));
        assert_eq!(all.elements[0], Element { title: Str::from("email"), source: Part::Avp(Str::from("mail")) });
        assert_eq!(all.elements[1].title, Str::from("X-Plan"));
        for bad in ["", "x", "x:", ":avp[a]", "x:avp[]", "x:avp a", "x:msg[head]", "x:foo[a]", "x:=avp[a]", "x:avp[a];"]
        {
            assert!(Append::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(split(b"act/extra"), Ok((Str::from("act"), Some(Str::from("extra")))));
        assert!(split(b"").is_err() && split(b"/x").is_err() && split(b"x/").is_err());
    }

    #[test]
    fn what_the_program_reads() {
        let bench = Bench::with(REQUEST, listening());
        let name = TxName { worker: 0, incarnation: 0, key: crate::base::Key { index: 4, generation: 9 } };
        let text = lines(&bench.host, b"invite", name, b"P-MsgFlags: 0\n.", false).unwrap();
        let text = String::from_utf8(text).unwrap();
        let all: Vec<&str> = text.split('\n').collect();
        assert_eq!(
            (all[0], all[1], all[2], all[3], all[4]),
            ("0.3", "sip_request.invite", "INVITE", "bob", "10.0.0.1")
        );
        assert_eq!(
            &all[7..15],
            ["sip:bob@10.0.0.1", "sip:a@10.0.0.9", "\"A\" <sip:a@b>", "<sip:b@b>", "c", "1", "", "7"]
        );
        assert_eq!(
            &all[15..],
            [
                "4:9",
                "<sip:p1.example.com;lr>,<sip:p2.example.com;lr>",
                "sip:p1.example.com;lr",
                "P-MsgFlags: 0",
                ".",
                "abc",
                ""
            ]
        );
    }

    #[test]
    fn a_strict_router_is_the_target() {
        let text = REQUEST.replace(";lr", "");
        let way = Way::back(&Message::parse(Str::from(text.as_str())).unwrap());
        assert_eq!(way.target, b"sip:p1.example.com");
        assert_eq!(String::from_utf8(way.routes).unwrap(), "<sip:p2.example.com>,<sip:a@10.0.0.9>");
        assert_eq!(way.next_hop, b"");
    }
}
