//! Socket definitions of both dialects: `udp:127.0.0.1:5060 as 1.2.3.4:5060 use_workers 4`. What
//! stands between white space is put together again from its tokens and then taken apart.

use super::cursor::{Cursor, Parsed};
use crate::base::names::suggest;
use crate::script::ast::{Ident, SocketSpec};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::Kind;
use crate::script::source::Span;

/// Protocols a socket may name.
const PROTOCOLS: [&str; 12] =
    ["udp", "tcp", "tls", "ws", "wss", "sctp", "bin", "bins", "hep_udp", "hep_tcp", "smpp", "msrp"];

/// Most ports of one definition.
const MAX_PORTS: usize = 1024;

/// How an option of a socket goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketOption {
    /// A word alone.
    Flag,
    /// `as HOST[:PORT]`
    Advertised,
    /// A number of processes.
    Workers,
    /// A number, or `IPTOS_...`.
    Tos,
    /// The socket's name.
    Name,
    /// A name that is of no use here.
    Ignored,
}

/// The options of a dialect, each with its words.
pub type SocketOptions = &'static [(&'static str, SocketOption)];

/// The options of OpenSIPS, 2.2 to 4.1.
pub const OPENSIPS: SocketOptions = &[
    ("as", SocketOption::Advertised),
    ("AS", SocketOption::Advertised),
    ("use_workers", SocketOption::Workers),
    ("use_children", SocketOption::Workers),
    ("use_auto_scaling_profile", SocketOption::Ignored),
    ("tag", SocketOption::Name),
    ("tos", SocketOption::Tos),
    ("anycast", SocketOption::Flag),
    ("frag", SocketOption::Flag),
    ("reuse_port", SocketOption::Flag),
    ("accept_subdomain", SocketOption::Flag),
    ("allow_proxy_protocol", SocketOption::Flag),
    ("send_proxy_protocol", SocketOption::Flag),
];

/// The options of Kamailio.
pub const KAMAILIO: SocketOptions =
    &[("advertise", SocketOption::Advertised), ("name", SocketOption::Name), ("virtual", SocketOption::Flag)];

/// Whether the socket that stands here names its protocol.
pub fn names_protocol(c: &Cursor) -> bool {
    let token = c.peek();
    let known = |text: &str| PROTOCOLS.contains(&text.to_ascii_lowercase().as_str());
    if token.is_str() {
        let text = c.str_lit(token).text;
        return String::from_utf8_lossy(&text).split_once(':').is_some_and(|(proto, _)| known(proto));
    }
    c.peek_at(1).kind == Kind::Colon && known(c.word())
}

/// Takes all tokens up to the next white space (or `;`) as one word; quotes are left out. `None` if none stands here.
pub fn bare_word(c: &mut Cursor) -> Option<(String, Span)> {
    let mut text = String::new();
    let mut first = None;
    loop {
        let token = c.peek();
        let part = match token.kind {
            Kind::Ident | Kind::Int(_) | Kind::Net | Kind::Word | Kind::Colon | Kind::Dot => true,
            Kind::LBracket | Kind::RBracket | Kind::Op(_) | Kind::And | Kind::Or | Kind::Not => true,
            Kind::Str | Kind::RawStr => true,
            Kind::Comma => first.is_some() && matches!(c.peek_at(1).kind, Kind::Int(_)) && starts_number(&text),
            _ => false,
        };
        if !part || (first.is_some() && !c.touches()) {
            break;
        }
        c.bump();
        first.get_or_insert(token.span);
        if token.is_str() {
            text.push_str(&String::from_utf8_lossy(&c.str_lit(token).text));
        } else {
            text.push_str(c.token_text(token));
        }
    }
    first.map(|span| (text, c.since(span)))
}

/// Whether a comma behind this text goes on with a list of ports.
fn starts_number(text: &str) -> bool {
    text.contains(':') && text.bytes().last().is_some_and(|b| b.is_ascii_digit())
}

/// A socket with its options.
pub fn socket(c: &mut Cursor, options: SocketOptions) -> Parsed<SocketSpec> {
    let Some((text, span)) = bare_word(c) else { return c.unexpected("a socket, such as `udp:127.0.0.1:5060`") };
    let mut spec = match address(&text, span) {
        Ok(spec) => spec,
        Err(d) => return c.error(*d),
    };
    loop {
        let token = c.peek();
        // A word that is followed by `=` begins the next parameter (`tos = 8`).
        if matches!(c.peek_at(1).kind, Kind::Assign(_)) {
            break;
        }
        let word = c.word();
        let Some((_, option)) = options.iter().find(|(w, _)| *w == word) else {
            if word.is_empty() || !c.same_line() || word_is_a_socket(c) {
                break;
            }
            let mut d = Diagnostic::error("E0504", token.span, format!("unknown socket option `{word}`"));
            if let Some(near) = suggest(word, options.iter().map(|(w, _)| *w)) {
                d = d.help(format!("did you mean `{near}`?"));
            }
            return c.error(d);
        };
        c.bump();
        option_value(c, word, *option, &mut spec)?;
    }
    spec.span = c.since(span);
    Ok(spec)
}

/// Whether the next word begins another socket of a list.
fn word_is_a_socket(c: &Cursor) -> bool {
    let (word, next) = (c.peek(), c.peek_at(1));
    matches!(next.kind, Kind::Colon | Kind::Dot) && next.span.start == word.span.end
}

fn option_value(c: &mut Cursor, word: &str, option: SocketOption, spec: &mut SocketSpec) -> Parsed<()> {
    let token = c.peek();
    if option != SocketOption::Flag && (!c.same_line() || matches!(token.kind, Kind::Semi | Kind::Eof)) {
        let d = Diagnostic::error("E0504", c.last_span(), format!("`{word}` without a value"));
        return c.error(d);
    }
    match option {
        SocketOption::Flag => spec.options.push(word.to_owned()),
        SocketOption::Workers | SocketOption::Tos => {
            let n = match token.kind {
                Kind::Int(n) => u32::try_from(n).ok().filter(|n| *n <= 1024),
                Kind::Ident if option == SocketOption::Tos => iptos(c.word()),
                _ => None,
            };
            let Some(n) = n else {
                let d = Diagnostic::error("E0504", token.span, format!("`{word}` needs a number"));
                return c.error(d);
            };
            c.bump();
            let place = if option == SocketOption::Tos { &mut spec.tos } else { &mut spec.workers };
            *place = Some(n);
        }
        SocketOption::Name | SocketOption::Ignored => {
            if token.kind != Kind::Ident && !token.is_str() {
                let d = Diagnostic::error("E0504", token.span, format!("`{word}` needs a name"));
                return c.error(d);
            }
            c.bump();
            if option == SocketOption::Name {
                let text = if token.is_str() { c.str_lit(token).text } else { c.token_text(token).as_bytes().to_vec() };
                spec.tag = Some(String::from_utf8_lossy(&text).into_owned());
            }
        }
        SocketOption::Advertised => spec.advertised = Some(advertised(c)?),
    }
    Ok(())
}

/// An advertised `[PROTO:]HOST[:PORT]`.
pub fn advertised(c: &mut Cursor) -> Parsed<(String, Option<u16>)> {
    let Some((text, span)) = bare_word(c) else { return c.unexpected("the advertised address") };
    let address = match text.split_once(':') {
        Some((proto, rest)) if PROTOCOLS.contains(&proto.to_ascii_lowercase().as_str()) => rest,
        _ => &text,
    };
    let Some((host, rest)) = split_host(address) else { return c.error(bad(span, "this is no address")) };
    let port = match rest.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return c.error(bad(span, "the port is no number from 1 to 65535")),
    };
    Ok((host.to_owned(), port))
}

fn iptos(word: &str) -> Option<u32> {
    Some(match word {
        "IPTOS_LOWDELAY" => 0x10,
        "IPTOS_THROUGHPUT" => 0x08,
        "IPTOS_RELIABILITY" => 0x04,
        "IPTOS_MINCOST" | "IPTOS_LOWCOST" => 0x02,
        _ => return None,
    })
}

fn bad(span: Span, why: impl Into<String>) -> Diagnostic {
    Diagnostic::error("E0504", span, why).help("a socket is written PROTOCOL:HOST[:PORT], such as `udp:127.0.0.1:5060`")
}

/// `[PROTO:]HOST[:PORTS]`
fn address(text: &str, span: Span) -> Result<SocketSpec, Box<Diagnostic>> {
    let mut spec = SocketSpec {
        proto: "udp".into(),
        host: String::new(),
        ports: Vec::new(),
        advertised: None,
        tag: None,
        workers: None,
        tos: None,
        options: Vec::new(),
        span,
    };
    let fail = |why: String| Err(Box::new(bad(span, why)));
    let mut rest = text;
    if let Some((first, after)) = text.split_once(':')
        && !text.starts_with('[')
    {
        let lower = first.to_ascii_lowercase();
        let ports_only = after.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b',');
        if PROTOCOLS.contains(&lower.as_str()) {
            (spec.proto, rest) = (lower, after);
        } else if first == "bond" {
            return fail("groups of sockets (`bond`) are not supported".into());
        } else if !ports_only && text.parse::<std::net::Ipv6Addr>().is_err() {
            let mut d = bad(span, format!("`{first}` is no protocol"));
            if let Some(near) = suggest(&lower, PROTOCOLS) {
                d = d.help(format!("did you mean `{near}`?"));
            }
            return Err(Box::new(d));
        }
    }
    let Some((host, ports)) = split_host(rest) else {
        return fail(if rest.is_empty() { "a socket without a host".into() } else { format!("`{rest}` is no host") });
    };
    spec.host = host.to_owned();
    if let Some(ports) = ports
        && let Err(why) = parse_ports(ports, &mut spec.ports)
    {
        return fail(why);
    }
    Ok(spec)
}

/// A host and what follows its `:`. Brackets of an IPv6 address are left out.
fn split_host(text: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return None,
        }
    } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    let good = host == "*" || (!host.is_empty() && host.bytes().all(plain));
    good.then_some((host, rest))
}

/// `5060`, or a list of ranges: `5060-5070,5080`.
fn parse_ports(text: &str, out: &mut Vec<u16>) -> Result<(), String> {
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let port = |t: &str| t.parse::<u16>().ok().filter(|p| *p > 0);
        match (port(low), port(high)) {
            (Some(low), Some(high)) if low <= high => out.extend((low..=high).take(MAX_PORTS + 1)),
            _ => return Err(format!("`{part}` is no port from 1 to 65535")),
        }
        if out.len() > MAX_PORTS {
            return Err(format!("more than {MAX_PORTS} ports in one socket"));
        }
    }
    Ok(())
}

/// One name of `alias`: `[PROTO:]HOST[:PORT]` as written, without quotes; ` accept_subdomain` added if that follows.
pub fn alias(c: &mut Cursor) -> Parsed<Ident> {
    let Some((mut text, span)) = bare_word(c) else { return c.unexpected("a name, such as `example.org`") };
    let named = text.strip_prefix("any:").unwrap_or(&text);
    let named = if named.contains("::") || named.starts_with('[') {
        named
    } else {
        // A port `any` is the same as none.
        named.strip_suffix(":any").unwrap_or(named)
    };
    if let Err(d) = address(named, span) {
        return c.error(*d);
    }
    if c.word() == "accept_subdomain" && !matches!(c.peek_at(1).kind, Kind::Assign(_)) {
        c.bump();
        text.push_str(" accept_subdomain");
    }
    Ok(Ident { text, span: c.since(span) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Result<(String, String, Vec<u16>), String> {
        address(text, Span::default()).map(|s| (s.proto, s.host, s.ports)).map_err(|d| d.message)
    }

    fn ok(text: &str) -> (String, String, Vec<u16>) {
        split(text).unwrap()
    }

    #[test]
    fn addresses() {
        let is = |p: &str, h: &str, ports: &[u16]| (p.to_owned(), h.to_owned(), ports.to_vec());
        assert_eq!(ok("udp:127.0.0.1:5060"), is("udp", "127.0.0.1", &[5060]));
        assert_eq!(ok("UDP:eth0"), is("udp", "eth0", &[]));
        assert_eq!(ok("eth0:5070"), is("udp", "eth0", &[5070]));
        assert_eq!(ok("tls:[2001:db8::1]:5061"), is("tls", "2001:db8::1", &[5061]));
        assert_eq!(ok("::1"), is("udp", "::1", &[]));
        assert_eq!(ok("tcp:*:5060"), is("tcp", "*", &[5060]));
        assert_eq!(ok("udp:my-host.example.org"), is("udp", "my-host.example.org", &[]));
        assert_eq!(ok("udp:h:5060-5062,5080"), is("udp", "h", &[5060, 5061, 5062, 5080]));
    }

    #[test]
    fn bad_addresses() {
        assert_eq!(split("upd:127.0.0.1:5060").unwrap_err(), "`upd` is no protocol");
        assert_eq!(split("udp:h:0").unwrap_err(), "`0` is no port from 1 to 65535");
        assert_eq!(split("udp:h:70000").unwrap_err(), "`70000` is no port from 1 to 65535");
        assert_eq!(split("udp:h:1-9999").unwrap_err(), "more than 1024 ports in one socket");
        assert_eq!(split("udp:[::1").unwrap_err(), "`[::1` is no host");
        assert_eq!(split("udp:").unwrap_err(), "a socket without a host");
    }
}
