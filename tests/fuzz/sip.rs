//! Torture and fuzz tests of the SIP layer: messages in the manner of RFC 4475 and RFC 5118 with
//! what must become of each, then 200,000 mutations of them that must break nothing.

mod mutator;
#[path = "sip_seeds.rs"]
mod seeds;

use reprise::base::Str;
use reprise::sip::{Message, ParseError, validate};
use seeds::{Expect, SEEDS};

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b";;",
    b",",
    b", ",
    b"?",
    b"@",
    b":",
    b"[",
    b"]",
    b"[::1]",
    b"%00",
    b"%",
    b"=",
    b"(",
    b")",
    b" ",
    b"\t",
    b"\xff\xfe",
    b"sip:",
    b"sips:",
    b"tel:+1",
    b"SIP/2.0",
    b"SIP/2.0/UDP ",
    b"Via: SIP/2.0/TCP h;branch=z9hG4bK1\r\n",
    b"v: ",
    b"Content-Length: 0\r\n",
    b"Content-Length: 99999999999\r\n",
    b"l: 3\r\n",
    b"CSeq: 4294967295 INVITE\r\n",
    b"Max-Forwards: 256\r\n",
    b"Route: <sip:a;lr>, <sip:b;lr>\r\n",
    b"Contact: *\r\n",
    b";tag=",
    b";tag=1",
    b";rport",
    b";received=1.2.3.4",
    b";maddr=",
    b";lr",
    b"18446744073709551616",
    b"-1",
    b"INVITE ",
    b"ACK ",
    b"CANCEL ",
];

fn outcome(text: &[u8]) -> Expect {
    match Message::parse(Str::from(text)) {
        Ok(m) => match validate(&m) {
            Ok(()) => Expect::Fine,
            Err(_) if m.is_reply() => Expect::Drop,
            Err(fault) => Expect::Answer(fault.status),
        },
        Err(ParseError::NotSip) => Expect::Drop,
        Err(e) => e.answer().map_or(Expect::Drop, |(_, fault)| Expect::Answer(fault.status)),
    }
}

#[test]
fn torture_messages_get_what_they_deserve() {
    assert!(SEEDS.len() >= 25);
    let wrong: Vec<_> = SEEDS
        .iter()
        .map(|s| (s.name, s.expect, outcome(&s.bytes())))
        .filter(|(_, expect, got)| expect != got)
        .map(|(name, expect, got)| format!("{name}: expected {expect:?}, got {got:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn mutate(count: u64, seed: u64) {
    let seeds: Vec<Vec<u8>> = SEEDS.iter().map(seeds::Seed::bytes).collect();
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    mutator::run(&seeds, WORDS, count, seed, reprise::sip::fuzz::fuzz);
}

#[test]
fn mutations_break_nothing() {
    mutate(100_000, 1);
}

#[test]
fn other_mutations_break_nothing() {
    mutate(100_000, 2);
}
