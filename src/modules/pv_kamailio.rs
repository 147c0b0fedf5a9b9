//! Pseudo-variables that only the Kamailio dialect has, and those whose name means something else
//! there (kamailio.md section 6.2).

use super::env::bracketed;
use super::host::SipHost;
use super::htable;
use super::http;
use super::kamailio::vars;
use super::pv::Pv;
use super::pv_get::{self, number, ruri};
use super::time_text;
use crate::base::{Str, Time};
use crate::script::host::{Index, PvSpec, SubName};
use crate::script::value::Value;
use crate::sip::header::HeaderId;
use crate::sip::nameaddr::NameAddr;

macro_rules! pvs {
    ($( $variant:ident $sub:ident $doc:literal [ $($name:literal),+ ] )*) => {
        /// A pseudo-variable of the Kamailio dialect.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum Kpv {
            $( #[doc = $doc] $variant, )*
            /// One of a family with a file of its own.
            Family(vars::Var),
        }

        const TABLE: &[(&str, Kpv, SubName)] = &[ $( $( ($name, Kpv::$variant, SubName::$sub), )+ )* ];
    };
}

pvs! {
    Select Required "a select, such as cfg_get.group.name" ["sel"]
    Define Required "text of a define" ["def", "defv"]
    DefineNumber Required "number of a define, 0 if it has none" ["defn"]
    DefineQuoted Required "text of a define in double quotes" ["defs"]
    Formatted Required "a text with variables" ["_s"]
    True Never "1" ["true"]
    MsgField Required "a part of the message" ["msg"]
    MsgKind Never "1 for a request, 2 for a reply" ["mt"]
    MsgKindText Never "rq or rp" ["mts"]
    StatusNumber Never "status of a reply as a number" ["rsi"]
    MethodNumber Never "number of the method" ["rmid"]
    Version Never "version in the first line" ["rv"]
    Scheme Never "scheme of the R-URI" ["rz"]
    RuriLength Never "length of the R-URI" ["rul"]
    RuserLength Never "length of the R-URI's user" ["rUl"]
    OuserLength Never "length of the original R-URI's user" ["oUl"]
    FromLength Never "length of the From URI" ["ful"]
    FuserLength Never "length of the From URI's user" ["fUl"]
    TuserLength Never "length of the To URI's user" ["tUl"]
    BodyText Never "body, the empty text if there is none" ["rb"]
    BodyLength Never "length of the body" ["bs"]
    CseqText Never "CSeq as it stands" ["csb"]
    ContactUri Never "URI of the first Contact" ["ctu"]
    SourceUri Never "sip:address:port of the source" ["su"]
    SourceUriFull Never "the same with its transport" ["sut"]
    SourceSocket Never "proto:address:port of the source" ["sas"]
    SourceIpBracketed Never "source address, IPv6 in brackets" ["siz"]
    RecvUri Never "sip:address:port the message came in on" ["Ru"]
    RecvUriFull Never "the same with its transport" ["Rut"]
    RecvSocket Never "proto:address:port the message came in on" ["Ras"]
    NextHop Required "a part of the next hop" ["nh"]
    Expiry Required "least or greatest expiry of the contacts: min, max" ["expires"]
    RecvName Never "name of the socket the message came in on" ["Rn"]
    AdvertisedIp Never "advertised address of the socket" ["RAi"]
    AdvertisedPort Never "advertised port of the socket" ["RAp"]
    ProtoNumber Never "number of the protocol" ["prid"]
    EnvNumber Required "environment variable as a number" ["envn"]
    Now Never "seconds since 1970" ["TS"]
    NowText Never "time as text" ["TF"]
    Received Never "seconds since 1970 when the message came" ["Ts"]
    ReceivedText Never "time the message came, as text" ["Tf"]
    TimeValue Required "seconds and microseconds" ["TV"]
    TimeField Required "a field of the time the message came" ["time", "utime"]
    TimeFormatted Required "strftime of the time the message came" ["timef", "utimef"]
    Newline Never "line end" ["En"]
    Return Never "carriage return" ["Er"]
    Tab Never "tab" ["Et"]
    Space Never "space" ["Es"]
    Comma Never "comma" ["Ec"]
    Quote Never "double quote" ["Eq"]
    Apostrophe Never "single quote" ["Ek"]
    Colon Never "colon" ["Ei"]
    Semicolon Never "semicolon" ["Ej"]
    Backslash Never "backslash" ["Eb"]
    Backtick Never "backtick" ["Ev"]
    ServerVersion Required "version of the server" ["version"]
    Constant Required "number of a protocol or address family" ["K"]
    Header Required "header by name" ["hdr"]
    Sht Required "item of a table: table=>name" ["sht"]
    ShtExpire Required "seconds until an item ends" ["shtex"]
    ShtCountNames Required "how many items of a table have names that fit" ["shtcn"]
    ShtCountValues Required "how many items of a table have values that fit" ["shtcv"]
    ShtIncrement Required "item of a table, 1 added to it" ["shtinc"]
    ShtDecrement Required "item of a table, 1 taken from it" ["shtdec"]
    ShtRecord Required "key or value of an item that has ended" ["shtrecord"]
    ShtIteratorKey Required "name of the item an iterator stands at" ["shtitkey"]
    ShtIteratorValue Required "value of the item an iterator stands at" ["shtitval"]
    DbResult Required "a part of a result: result=>[row,column]" ["dbr"]
    SqlRows Required "how many rows the last statement on a database changed" ["sqlrows"]
    UacReq Required "a field of the request that uac_req_send sends" ["uac_req"]
    DnsResult Required "a part of what dns_query found: id=>addr[i]" ["dns"]
    SrvResult Required "a part of what srv_query found: id=>target[i]" ["srvquery"]
    NaptrResult Required "a part of what naptr_query found: id=>services[i]" ["naptrquery"]
    PtrResult Required "what ptr_query found: id=>hostname" ["ptrquery"]
    WalkName Required "name of the header a walk stands at" ["hfitname"]
    WalkBody Required "value of the header a walk stands at" ["hfitbody"]
    WalkLine Required "line of the body a walk stands at" ["blitval"]
    LocalTag Required "To-tag of replies made here: s, t, x" ["ltt"]
    MachineName Required "name of this machine: n, f, d, i" ["HN"]
    Charging Required "a part of P-Charging-Vector" ["pcv"]
    UniqueId Never "a text that nobody else has" ["sruid"]
    CurlError Required "text of a number of libcurl" ["curlerror"]
    HttpReplyHeader Required "header of the last answer to http_client" ["httprhdr"]
    HttpWanted Required "what the next http_async_query is to do" ["http_req"]
    HttpQueryId Never "name of the last http_async_query" ["http_req_id"]
    HttpOk Never "1 if there was an answer, else 0" ["http_ok"]
    HttpError Never "why there is no answer" ["http_err"]
    HttpStatus Never "status of the answer" ["http_rs"]
    HttpReason Never "reason phrase of the answer" ["http_rr"]
    HttpHeader Required "header of the answer" ["http_hdr"]
    HttpBody Never "body of the answer" ["http_rb"]
    HttpBodySize Never "size of the body" ["http_bs"]
    HttpWhole Never "the answer with its headers" ["http_mb"]
    HttpWholeSize Never "size of all that" ["http_ml"]
    HttpTime Required "seconds until the exchange got there" ["http_time"]
    QueueKey Required "key of the pair that was fetched last" ["mqk"]
    QueueValue Required "value of the pair that was fetched last" ["mqv"]
    QueueSize Required "how many pairs a queue holds" ["mq_size"]
    DsGroup Required "a number about the set that ds_dsg_fetch has chosen" ["dsg"]
    DsEvent Required "code and flags in event routes of dispatcher" ["dsv"]
    ControlAnswer Required "code or body of what jsonrpc_exec was told" ["jsonrpl"]
    RtimerWorker Never "number of the timer's job" ["rtimer_worker"]
    AsyncTask Required "data or gname of an asynchronous task" ["async"]
    KeyValueTask Required "type, key or val of a key/value task" ["atkv"]
    Rcv Required "a property of what was received" ["rcv"]
    Snd Required "a property of what is about to be sent" ["snd"]
    SndTo Required "a property of where it goes" ["sndto"]
    SndFrom Required "a property of where it leaves from" ["sndfrom"]
    Contacts Required "an attribute of contacts that were fetched: profile=>attribute" ["ulc"]
    Ruid Never "name of the contact that lookup has made the R-URI of" ["ruid"]
    LocationAgent Never "User-Agent of the contact that lookup has made the R-URI of" ["location_ua"]
    DigestNonce Never "digest nonce" ["adn"]
    DigestCnonce Never "digest cnonce" ["adc"]
    DigestResponse Never "digest response" ["adr"]
    DigestOpaque Never "digest opaque" ["ado"]
    DigestAlgorithm Never "digest algorithm" ["aa"]
}

/// What `$msg(...)` knows.
const MSG_FIELDS: &[&str] =
    &["len", "buf", "body", "body_len", "hdrs", "hdrs_len", "hdrc", "fline", "fpart", "lpart", "xlen"];

/// What `$TV(...)` knows.
const TIME_VALUES: &[&str] = &["s", "u", "sn", "un", "Sn", "Fn", "Sm"];

/// Names for "did you mean".
pub const NAMES: &[&str] = &[
    "ru",
    "rU",
    "rd",
    "rp",
    "rP",
    "rm",
    "rs",
    "rr",
    "rb",
    "ou",
    "oU",
    "od",
    "du",
    "dd",
    "ds",
    "fu",
    "fU",
    "fd",
    "fn",
    "ft",
    "tu",
    "tU",
    "td",
    "tn",
    "tt",
    "ci",
    "cs",
    "cl",
    "cT",
    "ct",
    "ua",
    "si",
    "sp",
    "Ri",
    "Rp",
    "proto",
    "pr",
    "af",
    "hdr",
    "hdrc",
    "mb",
    "ml",
    "mi",
    "mt",
    "mts",
    "msg",
    "sel",
    "def",
    "defn",
    "TV",
    "TS",
    "Ts",
    "TF",
    "Tf",
    "time",
    "T_branch_idx",
    "T_reply_code",
    "T",
    "pp",
    "env",
    "rsi",
    "rz",
    "su",
    "var",
    "avp",
    "shv",
    "sht",
    "shtex",
    "shtcn",
    "shtcv",
    "shtinc",
    "shtdec",
    "shtrecord",
    "shtitkey",
    "shtitval",
    "dbr",
    "sqlrows",
    "uac_req",
    "dns",
    "srvquery",
    "naptrquery",
    "ptrquery",
    "hfitname",
    "hfitbody",
    "blitval",
    "ltt",
    "HN",
    "pcv",
    "sruid",
    "curlerror",
    "httprhdr",
    "http_req",
    "http_req_id",
    "http_ok",
    "http_err",
    "http_rs",
    "http_rr",
    "http_hdr",
    "http_rb",
    "http_bs",
    "http_mb",
    "http_ml",
    "http_time",
    "mqk",
    "mqv",
    "mq_size",
    "dsg",
    "dsv",
    "jsonrpl",
    "rtimer_worker",
    "async",
    "atkv",
    "rcv",
    "snd",
    "sndto",
    "sndfrom",
    "ulc",
    "ruid",
    "location_ua",
    "branch",
    "br",
    "fs",
    "bR",
    "sbranch",
    "hfl",
    "hflc",
    "via0",
    "via1",
    "viaZ",
    "rpl",
    "dic",
    "route_uri",
    "rr_count",
    "rr_top_count",
    "mf",
    "mF",
    "Mf",
    "sf",
    "sF",
    "Sf",
    "bf",
    "bF",
    "Bf",
    "conid",
    "tcp",
    "sid",
    "Tb",
    "ksr",
    "ccp",
    "fsn",
    "fsp",
    "RAu",
    "RAut",
    "lsock",
    "Au",
    "AU",
    "mbu",
    "msgbuf",
    "fti",
    "tti",
    "rdir",
];

/// Finds a variable by its name.
pub fn find(name: &str, sub: Option<&str>) -> Option<PvSpec<Pv>> {
    let Some((_, pv, need)) = TABLE.iter().find(|(n, ..)| *n == name) else { return vars::find(name, sub) };
    let known: &[&str] = match pv {
        Kpv::MsgField => MSG_FIELDS,
        Kpv::TimeValue => TIME_VALUES,
        Kpv::HttpWanted => http::async_client::KEYS,
        Kpv::HttpTime => http::vars::TIMES,
        Kpv::DsGroup => super::dispatcher::group::GROUP,
        Kpv::DsEvent => super::dispatcher::group::EVENT,
        Kpv::ControlAnswer => super::jsonrpcs::KEYS,
        Kpv::AsyncTask => &["data", "gname"],
        Kpv::KeyValueTask => &["type", "key", "val"],
        Kpv::LocalTag => &["s", "t", "x"],
        Kpv::MachineName => super::ipops::machine::KEYS,
        Kpv::Charging => super::kamailio::siputils::PCV,
        _ => &[],
    };
    if !known.is_empty() && sub.is_some_and(|s| !known.contains(&s)) {
        return None;
    }
    if *pv == Kpv::Select && sub.is_some_and(|s| !super::select::is_known(s)) {
        return None;
    }
    let packet = match pv {
        Kpv::Rcv => super::packet::RECEIVED,
        Kpv::Snd | Kpv::SndTo | Kpv::SndFrom => super::packet::FIELDS,
        _ => &[],
    };
    if !packet.is_empty() && sub.is_some_and(|s| !packet.contains(&s)) {
        return None;
    }
    let writable = matches!(pv, Kpv::Sht | Kpv::ShtExpire | Kpv::UacReq | Kpv::HttpWanted | Kpv::Rcv);
    Some(PvSpec { pv: Pv::Kamailio(*pv), sub: *need, writable })
}

/// Reads `pv`. Never waits.
pub fn get(h: &mut SipHost, pv: Kpv, sub: Option<&Value>, index: Index, now: Time) -> Value {
    let text = || sub.and_then(Value::to_text).unwrap_or_default();
    if let Kpv::Family(var) = pv {
        return vars::get(h, var, sub, index, now);
    }
    if pv == Kpv::Header && index != Index::All {
        return pv_get::get(h, Pv::Hdr, sub, index, now);
    }
    let mut other = |pv: Pv| pv_get::get(h, pv, None, Index::None, now);
    match pv {
        Kpv::DigestNonce => return other(Pv::AuthNonce),
        Kpv::DigestCnonce => return other(Pv::AuthCnonce),
        Kpv::DigestResponse => return other(Pv::AuthResponse),
        Kpv::DigestOpaque => return other(Pv::AuthOpaque),
        Kpv::DigestAlgorithm => return other(Pv::AuthAlgorithm),
        Kpv::RuserLength => return length(&other(Pv::RUser)),
        Kpv::OuserLength => return length(&other(Pv::OUser)),
        Kpv::FromLength => return length(&other(Pv::FUri)),
        Kpv::FuserLength => return length(&other(Pv::FUser)),
        Kpv::TuserLength => return length(&other(Pv::TUser)),
        Kpv::Sht
        | Kpv::ShtExpire
        | Kpv::ShtCountNames
        | Kpv::ShtCountValues
        | Kpv::ShtIncrement
        | Kpv::ShtDecrement => {
            return htable::items::get(h, pv, sub);
        }
        Kpv::UacReq => return super::uac::request::get(h, sub),
        Kpv::DbResult | Kpv::SqlRows => return super::kamailio::sqlops::get(h, pv, sub),
        Kpv::DnsResult | Kpv::SrvResult | Kpv::NaptrResult | Kpv::PtrResult => {
            return super::ipops::names::get(h, pv, sub);
        }
        Kpv::WalkLine => return super::kamailio::line_walk::get(h, sub),
        Kpv::LocalTag => return super::kamailio::sl_functions::local_tag_of(h),
        Kpv::MachineName => return super::ipops::machine::get(h, &text()),
        Kpv::Charging => return super::kamailio::siputils::charging(h, &text()),
        Kpv::UniqueId => return super::kamailio::unique_id(h, now),
        Kpv::WalkName | Kpv::WalkBody => return super::kamailio::header_walk::get(h, pv, sub),
        Kpv::CurlError
        | Kpv::HttpReplyHeader
        | Kpv::HttpQueryId
        | Kpv::HttpOk
        | Kpv::HttpError
        | Kpv::HttpStatus
        | Kpv::HttpReason
        | Kpv::HttpHeader
        | Kpv::HttpBody
        | Kpv::HttpBodySize
        | Kpv::HttpWhole
        | Kpv::HttpWholeSize
        | Kpv::HttpTime => return http::vars::get(h, pv, sub, index),
        Kpv::DsGroup => return super::dispatcher::group::get(h, &text()),
        Kpv::DsEvent => return super::dispatcher::group::event(h, &text()),
        Kpv::ControlAnswer => return super::jsonrpcs::get(h, &text()),
        Kpv::QueueKey | Kpv::QueueValue | Kpv::QueueSize => return super::mqueue::get(h, pv, sub),
        Kpv::Contacts => return super::usrloc::get(h, sub, index),
        Kpv::Ruid | Kpv::LocationAgent => {
            let found = h.location.as_ref().and_then(|k| k.found.as_ref());
            return found
                .map_or(Value::Null, |f| Value::Str(if pv == Kpv::Ruid { f.ruid.clone() } else { f.agent.clone() }));
        }
        Kpv::RtimerWorker => {
            let job = h.event.iter().find(|(name, _)| **name == *b"rtimer_worker");
            return job.map_or(Value::Null, |(_, n)| Value::Int(Value::Str(n.clone()).to_int().unwrap_or(0)));
        }
        Kpv::AsyncTask | Kpv::KeyValueTask => return super::async_module::task::get(h, pv, sub),
        Kpv::ShtRecord | Kpv::ShtIteratorKey | Kpv::ShtIteratorValue => return htable::items::get(h, pv, sub),
        _ => {}
    }
    let h = &*h;
    match pv {
        Kpv::Select => super::select::get(h, &text()),
        Kpv::Define => define(h, &text()).map_or(Value::Null, Value::Str),
        Kpv::DefineNumber => Value::Int(define(h, &text()).and_then(|t| Value::Str(t).to_int()).unwrap_or(0)),
        Kpv::DefineQuoted => match define(h, &text()) {
            Some(t) => Value::text([b"\"", unquoted(&t), b"\""].concat()),
            None => Value::Null,
        },
        Kpv::Formatted => Value::Str(text()),
        Kpv::True => number(1),
        Kpv::MsgField => msg_field(h, &text()),
        Kpv::MsgKind => number(if h.msg.is_request() { 1 } else { 2 }),
        Kpv::MsgKindText => Value::from(if h.msg.is_request() { "rq" } else { "rp" }),
        Kpv::StatusNumber if h.msg.is_reply() => Value::Int(i64::from(h.msg.status())),
        Kpv::StatusNumber => Value::Null,
        Kpv::MethodNumber => Value::Int(method_number(h.msg.method_bytes())),
        Kpv::Version => Value::from("SIP/2.0"),
        Kpv::Scheme => match ruri(h).and_then(|u| u.iter().position(|b| *b == b':').and_then(|at| u.get(..at))) {
            Some(scheme) => Value::text(scheme),
            None => Value::Null,
        },
        Kpv::RuriLength => Value::Int(ruri(h).map_or(0, <[u8]>::len) as i64),
        Kpv::BodyText => Value::text(h.msg.body()),
        Kpv::BodyLength => Value::Int(h.msg.body().len() as i64),
        Kpv::CseqText => Value::opt(h.msg.header(HeaderId::CSeq).map(|x| Str::from(x.value))),
        Kpv::ContactUri => {
            let first = h.msg.header(HeaderId::Contact).and_then(|x| NameAddr::parse(x.value).ok());
            first.map_or(Value::Null, |n| Value::text(n.uri))
        }
        Kpv::SourceUri => Value::text(format!("sip:{}:{}", bracketed(h.source.ip()), h.source.port())),
        Kpv::SourceUriFull => {
            let address = format!("sip:{}:{}", bracketed(h.source.ip()), h.source.port());
            Value::text(format!("{address};transport={}", proto(h)))
        }
        Kpv::SourceSocket => Value::text(format!("{}:{}:{}", proto(h), bracketed(h.source.ip()), h.source.port())),
        Kpv::SourceIpBracketed => Value::text(bracketed(h.source.ip())),
        Kpv::RecvUri | Kpv::RecvUriFull | Kpv::RecvSocket | Kpv::RecvName => listener(h, pv),
        Kpv::AdvertisedIp | Kpv::AdvertisedPort => listener(h, pv),
        Kpv::ProtoNumber => Value::Int(proto_number(&proto(h))),
        Kpv::EnvNumber => {
            let value = std::env::var(&*text().to_lossy()).ok().and_then(|t| t.trim().parse().ok());
            Value::Int(value.unwrap_or(0))
        }
        Kpv::Now => Value::Int(h.env().clock.micros() / 1_000_000),
        Kpv::NowText => Value::text(time_text::ctime(h.env().clock.micros() / 1_000_000)),
        Kpv::Received => Value::Int(h.received_at / 1_000_000),
        Kpv::ReceivedText => Value::text(time_text::ctime(h.received_at / 1_000_000)),
        Kpv::TimeValue => time_value(h, &text(), now),
        Kpv::TimeField => time_field(&text(), h.received_at / 1_000_000),
        Kpv::TimeFormatted => Value::text(time_text::format(&text().to_lossy(), h.received_at / 1_000_000)),
        Kpv::NextHop => super::kamailio::next_hop(h, &text()),
        Kpv::Expiry => expiry(h, &text()),
        Kpv::Newline => Value::from("\n"),
        Kpv::Return => Value::from("\r"),
        Kpv::Tab => Value::from("\t"),
        Kpv::Space => Value::from(" "),
        Kpv::Comma => Value::from(","),
        Kpv::Quote => Value::from("\""),
        Kpv::Apostrophe => Value::from("'"),
        Kpv::Colon => Value::from(":"),
        Kpv::Semicolon => Value::from(";"),
        Kpv::Backslash => Value::from("\\"),
        Kpv::Backtick => Value::from("`"),
        Kpv::ServerVersion => Value::from(env!("CARGO_PKG_VERSION")),
        Kpv::Header => {
            let all: Vec<&[u8]> = h.msg.headers_named(&text()).map(|x| x.value).collect();
            if all.is_empty() { Value::Null } else { Value::text(all.join(&b","[..])) }
        }
        Kpv::Rcv | Kpv::Snd | Kpv::SndTo | Kpv::SndFrom => super::packet::get(h, pv, &text()),
        Kpv::Constant => constant(&text()).map_or(Value::Null, Value::Int),
        _ => Value::Null,
    }
}

/// The least or greatest expiry of the contacts: each contact's own, else that of the message.
fn expiry(h: &SipHost, which: &[u8]) -> Value {
    let usual = h.msg.expires();
    let own = |n: NameAddr<'_>| {
        let text = n.param(b"expires").and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
        text.or(usual)
    };
    let all = h.msg.contacts().filter_map(own);
    let found = match which {
        b"min" => all.min(),
        b"max" => all.max(),
        _ => None,
    };
    found.or(usual).map_or(Value::Null, |n| Value::Int(n.into()))
}

fn length(v: &Value) -> Value {
    Value::Int(v.to_text().map_or(0, |t| t.len()) as i64)
}

/// The text of a define; the empty text if it has none.
fn define(h: &SipHost, name: &[u8]) -> Option<Str> {
    let (_, value) = h.env().settings.defines.iter().find(|(n, _)| n.as_bytes() == name)?;
    Some(value.clone().unwrap_or_default())
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(text)
}

fn msg_field(h: &SipHost, field: &[u8]) -> Value {
    let bytes = h.msg.bytes();
    let head_end = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |n| n + 2);
    let line_end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |n| n + 1);
    let part = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
    match field {
        b"len" => Value::Int(bytes.len() as i64),
        // The operand `msg:len`: of what is about to be sent, where something is.
        b"xlen" => {
            let sent = h.packet.as_ref().filter(|p| p.to.is_some()).map(|p| p.bytes.len());
            Value::Int(sent.unwrap_or(bytes.len()) as i64)
        }
        b"buf" => Value::text(bytes),
        b"body" => Value::text(h.msg.body()),
        b"body_len" => Value::Int(h.msg.body().len() as i64),
        b"hdrs" => Value::text(part(line_end, head_end)),
        b"hdrs_len" => Value::Int(part(line_end, head_end).len() as i64),
        b"hdrc" => Value::Int(h.msg.headers().count() as i64),
        b"fline" => Value::text(part(0, line_end).trim_ascii_end()),
        b"fpart" => Value::text(part(0, head_end)),
        b"lpart" => Value::text(part(line_end, bytes.len())),
        _ => Value::Null,
    }
}

/// The number that Kamailio gives a method: a bit of its own.
pub fn method_number(method: &[u8]) -> i64 {
    const METHODS: [&[u8]; 14] = [
        b"INVITE",
        b"CANCEL",
        b"ACK",
        b"BYE",
        b"INFO",
        b"REGISTER",
        b"SUBSCRIBE",
        b"NOTIFY",
        b"MESSAGE",
        b"OPTIONS",
        b"PRACK",
        b"UPDATE",
        b"REFER",
        b"PUBLISH",
    ];
    // Each has a bit of its own; the last is for all others.
    METHODS.iter().position(|m| *m == method).map_or(1 << 15, |n| 1 << n)
}

fn proto(h: &SipHost) -> String {
    h.env().listeners.get(usize::from(h.listener)).map_or_else(|| "udp".into(), |l| l.transport.as_param().to_string())
}

fn listener(h: &SipHost, pv: Kpv) -> Value {
    let Some(l) = h.env().listeners.get(usize::from(h.listener)) else { return Value::Null };
    let (ip, port) = (bracketed(l.addr.ip()), l.addr.port());
    let transport = l.transport.as_param();
    match pv {
        Kpv::RecvUri => Value::text(format!("sip:{ip}:{port}")),
        Kpv::RecvUriFull => Value::text(format!("sip:{ip}:{port};transport={transport}")),
        Kpv::RecvSocket => Value::text(format!("{transport}:{ip}:{port}")),
        Kpv::RecvName => Value::opt(l.tag.clone()),
        Kpv::AdvertisedIp => match &l.advertised {
            Some((host, _)) => Value::Str(host.clone()),
            None => Value::text(l.addr.ip().to_string()),
        },
        _ => number(l.advertised.as_ref().and_then(|a| a.1).unwrap_or(port)),
    }
}

/// Number of a protocol by its word.
pub(super) fn proto_number(word: &str) -> i64 {
    constant(word.to_ascii_uppercase().as_bytes()).unwrap_or(0)
}

/// Numbers of protocols and address families.
fn constant(name: &[u8]) -> Option<i64> {
    Some(match name {
        b"UDP" => 1,
        b"TCP" => 2,
        b"TLS" => 3,
        b"SCTP" => 4,
        b"WS" => 5,
        b"WSS" => 6,
        b"IPV4" | b"IPv4" | b"INET" => 2,
        b"IPV6" | b"IPv6" | b"INET6" => 10,
        _ => return None,
    })
}

fn time_value(h: &SipHost, field: &[u8], clock: Time) -> Value {
    let now = h.env().clock.micros();
    let (then, micros) = (h.received_at, 1_000_000);
    match field {
        b"s" => Value::Int(then / micros),
        b"u" => Value::Int(then % micros),
        b"sn" => Value::Int(now / micros),
        b"un" => Value::Int(now % micros),
        b"Sn" => Value::text(format!("{}.{:06}", now / micros, now % micros)),
        // Nanoseconds of a clock that is never set.
        b"Sm" => Value::Int(i64::try_from(clock.as_micros()).unwrap_or(i64::MAX).saturating_mul(1000)),
        b"Fn" => {
            let date = time_text::format("%Y-%m-%d %H:%M:%S", now / micros);
            Value::text(format!("{date}.{:06}", now % micros))
        }
        _ => Value::Null,
    }
}

/// Months and days of the week count from 1, days of the year too.
fn time_field(field: &[u8], seconds: i64) -> Value {
    let name = String::from_utf8_lossy(field).into_owned();
    time_text::part(&name, seconds).map_or(Value::Null, Value::Int)
}
