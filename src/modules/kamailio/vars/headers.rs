//! What stands in headers that are lists: their values one by one, the Vias, the Record-Routes.

use super::Var;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_get::at;
use crate::modules::pv_kamailio::proto_number;
use crate::script::host::Index;
use crate::script::value::Value;
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;
use crate::sip::via::Via;

/// What `$via0(...)` and its like know.
pub const VIA_KEYS: &[&str] = &[
    "host",
    "port",
    "proto",
    "protoid",
    "branch",
    "rport",
    "received",
    "i",
    "params",
    "oc",
    "ocalgo",
    "ocvalidity",
    "ocseq",
];
/// What `$rpl(...)` knows.
pub const REPLY_KEYS: &[&str] = &["duri", "dhost", "dport", "dproto", "dprotoid", "cntvia", "cntrr"];

pub(super) fn get(h: &SipHost, var: Var, sub: Option<&Value>, index: Index) -> Value {
    let text = || sub.and_then(Value::to_text).unwrap_or_default();
    match var {
        Var::ListValue => {
            let values = values(&h.msg, &text());
            match index {
                Index::All if values.is_empty() => Value::Null,
                Index::All => Value::text(values.join(&b","[..])),
                Index::At(i) => at(&values, i).map_or(Value::Null, |v| Value::text(*v)),
                _ => values.first().map_or(Value::Null, |v| Value::text(*v)),
            }
        }
        Var::ListCount => Value::Int(values(&h.msg, &text()).len() as i64),
        Var::TopVia => h.msg.top_via().map_or(Value::Null, |v| via_part(&v, &text())),
        Var::SecondVia => match h.msg.vias().nth(1) {
            Some(Ok(v)) => via_part(&v, &text()),
            _ => Value::Null,
        },
        Var::LastVia => match h.msg.vias().last() {
            Some(Ok(v)) => via_part(&v, &text()),
            _ => Value::Null,
        },
        Var::ReplyTarget => reply_part(h, &text()),
        Var::DiversionCounter => {
            let first = h.msg.headers_named(b"Diversion").next();
            let value = first.and_then(|x| NameAddr::parse(x.value).ok()).and_then(|n| n.param(b"counter"));
            Value::opt(value.map(Str::from))
        }
        Var::RouteUri => {
            let first = h.msg.values_of(HeaderId::Route).next().and_then(|v| NameAddr::parse(v).ok());
            first.map_or(Value::Null, |n| Value::text(n.uri))
        }
        Var::RecordCount => Value::Int(h.msg.values_of(HeaderId::RecordRoute).count() as i64),
        _ => Value::Int(top_records(&h.msg)),
    }
}

/// The values of a header: one by one where it is a list that every server reads, else as they stand.
fn values<'a>(msg: &'a Message, name: &[u8]) -> Vec<&'a [u8]> {
    match HeaderId::from_name(name) {
        id @ (HeaderId::Contact | HeaderId::Route | HeaderId::RecordRoute | HeaderId::Via) => {
            msg.values_of(id).map(<[u8]>::trim_ascii).collect()
        }
        _ => msg.headers_named(name).map(|x| x.value).collect(),
    }
}

/// How many Record-Routes the topmost server has written: two if the first says so.
fn top_records(msg: &Message) -> i64 {
    let mut all = msg.values_of(HeaderId::RecordRoute);
    let Some(first) = all.next() else { return 0 };
    let double = NameAddr::parse(first).ok().and_then(|n| Some(Uri::parse(n.uri).ok()?.param(b"r2").is_some()));
    if double == Some(true) { 2 } else { 1 }
}

fn via_part(via: &Via<'_>, key: &[u8]) -> Value {
    let param = |name: &[u8]| Value::opt(via.params.value(name).map(Str::from));
    let number = |name: &[u8]| {
        let value = via.params.value(name).and_then(|v| std::str::from_utf8(v).ok()?.parse::<i64>().ok());
        value.map_or(Value::Null, Value::Int)
    };
    match key {
        b"host" => Value::text(via.host),
        b"port" => Value::Int(via.port_or_default().into()),
        b"proto" => Value::text(via.transport.as_str()),
        b"protoid" => Value::Int(proto_number(via.transport.as_param())),
        b"branch" => Value::opt(via.branch().map(Str::from)),
        b"received" => Value::opt(via.received().map(Str::from)),
        b"params" => {
            let text = via.params.raw().trim_ascii();
            let text = text.strip_prefix(b";").unwrap_or(text);
            if text.is_empty() { Value::Null } else { Value::text(text) }
        }
        b"oc" => number(b"oc"),
        b"ocvalidity" => number(b"oc-validity"),
        b"ocalgo" => param(b"oc-algo"),
        b"ocseq" => param(b"oc-seq"),
        name => param(name),
    }
}

/// Where a reply goes: what the second Via says (RFC 3261 18.2.2).
fn reply_part(h: &SipHost, key: &[u8]) -> Value {
    if !h.msg.is_reply() {
        return Value::Null;
    }
    match key {
        b"cntvia" => return Value::Int(h.msg.values_of(HeaderId::Via).count() as i64),
        b"cntrr" => return Value::Int(h.msg.values_of(HeaderId::RecordRoute).count() as i64),
        _ => {}
    }
    let Some(Ok(via)) = h.msg.vias().nth(1) else { return Value::Null };
    let (host, _) = via.reply_target();
    let port = via.rport().unwrap_or_else(|| via.port_or_default());
    match key {
        b"duri" => {
            let mut uri = [b"sip:", host, b":", port.to_string().as_bytes()].concat();
            uri.extend_from_slice(b";transport=");
            uri.extend_from_slice(via.transport.as_param().as_bytes());
            Value::text(uri)
        }
        b"dhost" => Value::text(host),
        b"dport" => Value::Int(port.into()),
        b"dproto" => Value::text(via.transport.as_param()),
        b"dprotoid" => Value::Int(proto_number(via.transport.as_param())),
        _ => Value::Null,
    }
}
