//! Fuzz tests of the SIP layer: 200,000 mutations of the torture messages that must break nothing.

#[path = "../torture/corpus.rs"]
mod corpus;
mod mutator;

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

fn mutate(count: u64, seed: u64) {
    let cases = corpus::cases();
    let seeds: Vec<&[u8]> = cases.iter().map(|c| c.bytes.as_slice()).collect();
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
