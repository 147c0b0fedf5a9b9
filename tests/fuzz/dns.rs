//! Fuzz test of the DNS answer reader: 200,000 mutated answers.

mod mutator;

use reprise::net::resolver::message::{Record, RecordType, Reply, decode, encode, wire_name};

const ID: u16 = 0x1234;
const NAME: &str = "www.example.test";
const KINDS: [RecordType; 4] = [RecordType::A, RecordType::Aaaa, RecordType::Srv, RecordType::Naptr];

/// Whatever comes, it is read or refused; what is read is of the type asked for.
pub fn fuzz(data: &[u8]) {
    let Some(name) = wire_name(NAME) else { return };
    for kind in KINDS {
        match decode(data, ID, &name, kind) {
            Reply::Records(records, ttl) => {
                assert!(!records.is_empty() && records.len() <= 256 && ttl <= 86_400);
                for record in records {
                    match (record, kind) {
                        (Record::Address(ip), RecordType::A) => assert!(ip.is_ipv4()),
                        (Record::Address(ip), RecordType::Aaaa) => assert!(ip.is_ipv6()),
                        (Record::Srv { target, .. }, RecordType::Srv) => assert!(target.len() <= 1024),
                        (Record::Naptr { replacement, .. }, RecordType::Naptr) => assert!(replacement.len() <= 1024),
                        (record, kind) => panic!("{record:?} for {kind:?}"),
                    }
                }
            }
            Reply::NoData(ttl) | Reply::NoName(ttl) => assert!(ttl <= 300),
            Reply::Alias(target, _) => assert!(encode(1, &target, kind, true).is_some()),
            _ => {}
        }
    }
}

/// An answer with this type in its question and these sections behind it.
fn answer(kind: u8, flags: [u8; 2], counts: [u8; 3], records: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0x12, 0x34, flags[0], flags[1], 0, 1, 0, counts[0], 0, counts[1], 0, counts[2]];
    out.extend(b"\x03www\x07example\x04test\0\0");
    out.extend([kind, 0, 1]);
    out.extend(records.concat());
    out
}

const A: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
const AAAA: &[u8] = b"\xc0\x0c\0\x1c\0\x01\0\0\0\x3c\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";
const CNAME: &[u8] = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03end\xc0\x10";
const A_OF_END: &[u8] = b"\x03end\xc0\x10\0\x01\0\x01\0\0\0\x05\0\x04\xc0\0\x02\x02";
const SRV: &[u8] = b"\xc0\x0c\0\x21\0\x01\0\0\0\x3c\0\x0c\0\x0a\0\x05\x13\xc4\x03sip\xc0\x10";
const NAPTR: &[u8] = b"\xc0\x0c\0\x23\0\x01\0\0\0\x3c\0\x1b\0\x01\0\x02\x01s\x07SIP+D2U\0\x04_sip\x04_udp\xc0\x10";
const SOA: &[u8] =
    b"\xc0\x10\0\x06\0\x01\0\0\x0e\x10\0\x1b\x02ns\xc0\x10\xc0\x10\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x1e";
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";

fn seeds() -> Vec<Vec<u8>> {
    vec![
        answer(1, [0x81, 0x80], [1, 0, 1], &[A, OPT]),
        answer(1, [0x81, 0x80], [2, 0, 0], &[CNAME, A_OF_END]),
        answer(1, [0x81, 0x80], [1, 0, 0], &[CNAME]),
        answer(28, [0x81, 0x80], [1, 0, 0], &[AAAA]),
        answer(28, [0x81, 0x80], [0, 1, 1], &[SOA, OPT]),
        answer(33, [0x81, 0x80], [1, 0, 0], &[SRV]),
        answer(35, [0x81, 0x80], [1, 0, 0], &[NAPTR]),
        answer(1, [0x81, 0x83], [0, 1, 0], &[SOA]),
        answer(1, [0x83, 0x80], [0, 0, 0], &[]),
        answer(1, [0x81, 0x81], [0, 0, 0], &[]),
        answer(1, [0x81, 0x82], [0, 0, 0], &[]),
    ]
}

const WORDS: &[&[u8]] = &[
    b"\xc0\x0c",
    b"\xc0\x10",
    b"\xc0\x00",
    b"\xc0\x2c",
    b"\xff\xff",
    b"\0\0",
    b"\0",
    b"\x3f",
    b"\x40",
    b"\x80",
    A,
    AAAA,
    CNAME,
    A_OF_END,
    SRV,
    NAPTR,
    SOA,
    OPT,
];

#[test]
fn the_seeds_are_what_they_seem() {
    let name = wire_name(NAME).expect("a name");
    let all = seeds();
    let read = |i: usize, kind| decode(&all[i], ID, &name, kind);
    let ip = |text: &str| Record::Address(text.parse().expect("an address"));
    assert_eq!(read(0, RecordType::A), Reply::Records(vec![ip("192.0.2.1")], 60));
    assert_eq!(read(0, RecordType::Aaaa), Reply::Foreign);
    assert_eq!(read(1, RecordType::A), Reply::Records(vec![ip("192.0.2.2")], 5));
    assert_eq!(read(2, RecordType::A), Reply::Alias(wire_name("end.example.test").expect("a name"), 60));
    assert_eq!(read(3, RecordType::Aaaa), Reply::Records(vec![ip("2001:db8::1")], 60));
    assert_eq!(read(4, RecordType::Aaaa), Reply::NoData(30));
    let srv = Record::Srv { priority: 10, weight: 5, port: 5060, target: "sip.example.test".into() };
    assert_eq!(read(5, RecordType::Srv), Reply::Records(vec![srv], 60));
    let naptr = Record::Naptr {
        order: 1,
        preference: 2,
        flags: "s".into(),
        service: "SIP+D2U".into(),
        regexp: String::new(),
        replacement: "_sip._udp.example.test".into(),
    };
    assert_eq!(read(6, RecordType::Naptr), Reply::Records(vec![naptr], 60));
    assert_eq!(read(7, RecordType::A), Reply::NoName(30));
    assert_eq!(read(8, RecordType::A), Reply::Truncated);
    assert_eq!(read(9, RecordType::A), Reply::NotUnderstood);
    assert_eq!(read(10, RecordType::A), Reply::ServerError("SERVFAIL".into()));
}

#[test]
fn mutated_answers() {
    let seeds = seeds();
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    mutator::run(&seeds, WORDS, 200_000, 2, fuzz);
}
