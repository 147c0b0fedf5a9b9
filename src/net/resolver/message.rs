//! Queries and answers as bytes (RFC 1035, EDNS of RFC 6891), over the codec of the `domain` crate. Pure.

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::message::RecordSection;
use domain::base::{Message, MessageBuilder, Name, ParsedName, Question, ToName};
use domain::rdata::{A, Aaaa, Cname, Naptr, Ptr, Soa, Srv};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::str::FromStr;

/// A name in wire format.
pub type WireName = Name<Vec<u8>>;

/// Records looked at in one section of an answer.
const MAX_RECORDS: usize = 256;
/// Aliases followed within one answer.
const MAX_ALIASES: usize = 16;
/// Largest answer over UDP that is asked for (as DNS flag day 2020 suggests).
const UDP_PAYLOAD: u16 = 1232;
/// No answer is believed for longer, in seconds (RFC 8767 section 4: a week; a day will do).
const MAX_TTL: u32 = 86_400;
/// Nor is "there is none" (RFC 2308 section 5).
const MAX_NEGATIVE_TTL: u32 = 300;

/// What may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Servers of a service (RFC 2782).
    Srv,
    /// Rules that lead to a service (RFC 3403).
    Naptr,
    /// Names of an address (RFC 1035 section 3.5).
    Ptr,
}

impl RecordType {
    fn code(self) -> Rtype {
        match self {
            RecordType::A => Rtype::A,
            RecordType::Aaaa => Rtype::AAAA,
            RecordType::Srv => Rtype::SRV,
            RecordType::Naptr => Rtype::NAPTR,
            RecordType::Ptr => Rtype::PTR,
        }
    }
}

/// One record of an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Record {
    /// A or AAAA.
    Address(IpAddr),
    /// SRV.
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// Share among those of one priority.
        weight: u16,
        /// Port.
        port: u16,
        /// Host name.
        target: String,
    },
    /// NAPTR.
    Naptr {
        /// Lower comes first.
        order: u16,
        /// Lower is preferred within one order.
        preference: u16,
        /// `s`, `a`, `u`, or none.
        flags: String,
        /// As `SIP+D2U`.
        service: String,
        /// What makes a URI of the name that was asked for.
        regexp: String,
        /// Where to go on.
        replacement: String,
    },
    /// PTR.
    Ptr(String),
}

/// What an answer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The records, and for how many seconds they hold.
    Records(Vec<Record>, u32),
    /// The name has none of these (`ttl` seconds).
    NoData(u32),
    /// There is no such name (`ttl` seconds).
    NoName(u32),
    /// Ask for this name instead; known for `ttl` seconds.
    Alias(WireName, u32),
    /// The answer did not fit: ask over TCP.
    Truncated,
    /// The server did not understand the query, perhaps its EDNS part.
    NotUnderstood,
    /// The server failed, or does not want to.
    ServerError(String),
    /// Not an answer to this query: as if it had not come (RFC 5452 section 9.1).
    Foreign,
}

/// A host name in wire format: letters, digits, hyphens, underscores and dots only.
pub fn wire_name(host: &str) -> Option<WireName> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if host.is_empty() || !host.bytes().all(valid) {
        return None;
    }
    WireName::from_str(host).ok()
}

/// A recursive query.
pub fn encode(id: u16, name: &WireName, kind: RecordType, edns: bool) -> Option<Vec<u8>> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(id);
    message.header_mut().set_rd(true);
    let mut question = message.question();
    question.push((name, kind.code())).ok()?;
    let mut additional = question.additional();
    if edns {
        let opt = additional.opt(|opt| {
            opt.set_udp_payload_size(UDP_PAYLOAD);
            Ok(())
        });
        opt.ok()?;
    }
    Some(additional.finish())
}

/// Reads an answer to the query with this id, name and type.
pub fn decode(bytes: &[u8], id: u16, name: &WireName, kind: RecordType) -> Reply {
    let Ok(message) = Message::from_slice(bytes) else { return Reply::Foreign };
    let header = message.header();
    if header.id() != id || !header.qr() {
        return Reply::Foreign;
    }
    // RFC 5452 section 9.1: the question must be ours. A server that did not understand it may leave it out.
    match message.sole_question() {
        Ok(q) if is_ours(&q, name, kind) => {}
        Err(_) if message.header_counts().qdcount() == 0 && header.rcode() == Rcode::FORMERR => {}
        _ => return Reply::Foreign,
    }
    match header.rcode() {
        Rcode::NOERROR if header.tc() => Reply::Truncated,
        Rcode::NOERROR => read_answer(message, name, kind),
        Rcode::NXDOMAIN => Reply::NoName(negative_ttl(message).unwrap_or(0)),
        Rcode::FORMERR | Rcode::NOTIMP => Reply::NotUnderstood,
        other => Reply::ServerError(other.to_string()),
    }
}

fn is_ours(question: &Question<ParsedName<&[u8]>>, name: &WireName, kind: RecordType) -> bool {
    question.qname().name_eq(name) && question.qtype() == kind.code() && question.qclass() == Class::IN
}

fn read_answer(message: &Message<[u8]>, name: &WireName, kind: RecordType) -> Reply {
    let bad = || Reply::ServerError("an answer that cannot be read".into());
    let Ok(section) = message.answer() else { return bad() };
    let Ok(parsed) = section.take(MAX_RECORDS).collect::<Result<Vec<_>, _>>() else { return bad() };
    let mut at = name.clone();
    let mut ttl = MAX_TTL;
    for _ in 0..MAX_ALIASES {
        let here = || parsed.iter().filter(|r| r.class() == Class::IN && r.owner().name_eq(&at));
        let mut records = Vec::new();
        for record in here().filter(|r| r.rtype() == kind.code()) {
            let Some(data) = read_record(record, kind) else { return bad() };
            ttl = ttl.min(record.ttl().as_secs());
            records.push(data);
        }
        if !records.is_empty() {
            return Reply::Records(records, ttl);
        }
        let Some(alias) = here().find(|r| r.rtype() == Rtype::CNAME) else { break };
        let Ok(Some(data)) = alias.to_record::<Cname<_>>() else { return bad() };
        ttl = ttl.min(alias.ttl().as_secs());
        at = data.data().cname().to_vec();
    }
    match negative_ttl(message) {
        Some(negative) => Reply::NoData(negative.min(ttl)),
        None if at.name_eq(name) => Reply::NoData(0),
        None => Reply::Alias(at, ttl),
    }
}

fn read_record(record: &domain::base::record::ParsedRecord<'_, [u8]>, kind: RecordType) -> Option<Record> {
    Some(match kind {
        RecordType::A => {
            let r = record.to_record::<A>().ok()??;
            Record::Address(IpAddr::V4(r.data().addr()))
        }
        RecordType::Aaaa => {
            let r = record.to_record::<Aaaa>().ok()??;
            Record::Address(IpAddr::V6(r.data().addr()))
        }
        RecordType::Srv => {
            let r = record.to_record::<Srv<_>>().ok()??;
            let srv = r.data();
            Record::Srv {
                priority: srv.priority(),
                weight: srv.weight(),
                port: srv.port(),
                target: srv.target().to_string(),
            }
        }
        RecordType::Naptr => {
            let r = record.to_record::<Naptr<_, _>>().ok()??;
            let naptr = r.data();
            let text = |s: &[u8]| String::from_utf8_lossy(s).into_owned();
            Record::Naptr {
                order: naptr.order(),
                preference: naptr.preference(),
                flags: text(naptr.flags().as_slice()),
                service: text(naptr.services().as_slice()),
                regexp: text(naptr.regexp().as_slice()),
                replacement: naptr.replacement().to_string(),
            }
        }
        RecordType::Ptr => {
            let r = record.to_record::<Ptr<_>>().ok()??;
            Record::Ptr(r.data().ptrdname().to_string())
        }
    })
}

/// For how long "there is none" holds (RFC 2308 section 5): from the zone's SOA record. Without one it is
/// not kept.
fn negative_ttl(message: &Message<[u8]>) -> Option<u32> {
    let section: RecordSection<'_, [u8]> = message.authority().ok()?;
    for record in section.take(MAX_RECORDS) {
        let record = record.ok()?;
        if record.rtype() == Rtype::SOA {
            let soa = record.to_record::<Soa<_>>().ok()??;
            return Some(record.ttl().as_secs().min(soa.data().minimum().as_secs()).min(MAX_NEGATIVE_TTL));
        }
    }
    None
}
