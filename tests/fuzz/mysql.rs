//! Fuzz test of the MySQL protocol: whole conversations as a server speaks them, mutated 200,000 times.

mod mutator;

use reprise::ops::sql::mysql::fuzz::fuzz;

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const EOF: &[u8] = &[0xfe, 0, 0, 2, 0];
const MORE: &[u8] = &[0xfe, 0, 0, 10, 0];

const WORDS: &[&[u8]] = &[
    &[0xfb],
    &[0xfc],
    &[0xfc, 0xff, 0xff],
    &[0xfd, 0xff, 0xff, 0xff],
    &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xfe, 0, 0, 0, 0, 0, 0, 0, 0x80],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0, 0, 0],
    &[7, 0, 0, 0, 2, 0, 0, 0],
    &[5, 0xfe, 0, 0, 2, 0],
    &[7, 0, 0, 0, 2, 0, 0, 0],
    &[1, 0],
    &[1, 1],
    &[2, 1, 3],
    &[2, 1, 4],
    b"#42000",
    b"mysql_native_password\0",
    b"caching_sha2_password\0",
    b"client_ed25519\0",
    b"mysql_clear_password\0",
    b"-----BEGIN PUBLIC KEY-----",
    b"-----END PUBLIC KEY-----",
    b"2024-02-29 12:34:56",
    b"0000-00-00",
    b"18446744073709551615",
];

fn greeting(plugin: &str, capabilities: u32) -> Vec<u8> {
    let mut p = vec![10];
    p.extend_from_slice(b"5.5.5-10.11.6-MariaDB\0\x07\0\0\0abcdefgh\0");
    p.extend_from_slice(&capabilities.to_le_bytes()[..2]);
    p.extend_from_slice(&[45, 2, 0]);
    p.extend_from_slice(&capabilities.to_le_bytes()[2..]);
    p.extend_from_slice(&[21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    p.extend_from_slice(b"ijklmnopqrst\0");
    p.extend_from_slice(plugin.as_bytes());
    p.push(0);
    p
}

fn column(kind: u8, flags: u8) -> Vec<u8> {
    [&b"\x03def\x01d\x01t\x01t\x01x\x01x\x0c\x2d\0\x01\0\0\0"[..], &[kind, flags, 0, 0, 0, 0]].concat()
}

/// A conversation: circumstances, then packets.
fn conversation(flags: u8, packets: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![flags | 0x40];
    for p in packets {
        out.push(p.len() as u8);
        out.extend_from_slice(p);
    }
    out
}

/// The same as a byte stream; the sequence numbers are given.
fn stream(flags: u8, packets: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = vec![flags & !0x40];
    for (sequence, p) in packets {
        out.extend_from_slice(&(p.len() as u32).to_le_bytes()[..3]);
        out.push(*sequence);
        out.extend_from_slice(p);
    }
    out
}

fn seeds() -> Vec<Vec<u8>> {
    let hello = greeting("mysql_native_password", 0xffff_f7ff);
    let sha2 = greeting("caching_sha2_password", 0xffff_ffff);
    let (text, int, date) = (column(253, 0), column(8, 32), column(12, 0));
    // Login, the refused question about the time zone, then a query is under way.
    let login: [&[u8]; 3] = [&hello, OK, b"\xff\x28\x04#42000no"];
    let with = |more: &[&[u8]]| conversation(0x43, &[&login[..], more].concat());
    let prepared = |more: &[&[u8]]| conversation(0x53, &[&login[..], more].concat());
    let switch_ed = [&b"\xfeclient_ed25519\0"[..], &[7; 32]].concat();
    let switch_native = b"\xfemysql_native_password\0abcdefghijklmnopqrst\0";
    let mut out = vec![
        with(&[OK, OK, OK]),
        with(&[&[3], &text, &int, &date, EOF, b"\x01a\x0518446\x132024-02-29 12:34:56", b"\xfb\xfb\xfb", EOF, OK]),
        with(&[&[1], &int, MORE, b"\x017", MORE, &[1], &text, EOF, b"\x01x", EOF, OK]),
        with(&[b"\xff\x28\x04#42000You have an error", OK, &[1], &int, EOF, b"\xff\x28\x04#42000late"]),
        with(&[b"\xfb/etc/passwd"]),
        with(&[&[0, 0, 0, 3, 0, 0, 0], OK, OK]),
        with(&[&[0xfc, 44, 1], &int, &int]),
        prepared(&[&[0, 9, 0, 0, 0, 2, 0, 4, 0, 0, 0, 0], &text, &text, &text, &text, EOF, &int, &date, EOF]),
        prepared(&[&[0, 9, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0], &text, &text, &text, &text, EOF, OK, OK]),
        prepared(&[&[0, 9, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], &text, EOF, OK]),
        conversation(0x41, &[&hello, switch_native, OK, &[1], &int, EOF, b"\x0519800", EOF, OK]),
        conversation(0x41, &[&hello, &switch_ed, OK, &[1], &int, EOF, b"\x0519800", EOF, OK]),
        conversation(0x41, &[&sha2, &[1, 3], OK, OK, OK]),
        conversation(0x49, &[&sha2, &[1, 4], OK, OK, OK]),
        conversation(0x45, &[&sha2, &[1, 4], OK, OK, OK]),
        conversation(0x41, &[&sha2, &[1, 4], b"\x01-----BEGIN PUBLIC KEY-----MFww-----END PUBLIC KEY-----"]),
        conversation(0x4f, &[&hello]),
        conversation(0x41, &[b"\xff\x10\x04Too many connections"]),
        stream(0x03, &[(0, &hello), (2, OK), (1, b"\xff\x28\x04#42000no"), (1, &[1]), (2, &int), (3, EOF)]),
        stream(0x23, &[(0, &hello), (2, OK), (1, OK), (1, OK), (1, OK)]),
    ];
    // Binary rows of every type.
    let kinds = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 16, 246, 253];
    let columns: Vec<Vec<u8>> = kinds.iter().map(|k| column(*k, 0)).collect();
    let row = [&[0; 4][..], &[1; 1 + 2 + 4 + 4 + 8], &[7, 0xe8, 7, 2, 29, 1, 2, 3], &[2; 8 + 4], &[4, 0xe8, 7, 2, 29]]
        .concat();
    let rest = [&[8, 0, 0, 0, 0, 0, 1, 2, 3][..], &[0], &[1; 2], &[1, 1], &[2, b'1', b'2'], &[1, b'x']].concat();
    let row = [row, rest].concat();
    let head = [0u8, 9, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let count = [kinds.len() as u8];
    let mut packets: Vec<&[u8]> = vec![&head, &text, &text, &text, &text, EOF, &count];
    packets.extend(columns.iter().map(Vec::as_slice));
    packets.extend([EOF, &row, &row, EOF, OK]);
    out.push(prepared(&packets));
    out
}

fn mutate(count: u64, seed: u64) {
    let seeds = seeds();
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    mutator::run(&seeds, WORDS, count, seed, fuzz);
}

#[test]
fn mutations_break_nothing() {
    mutate(100_000, 1);
}

#[test]
fn other_mutations_break_nothing() {
    mutate(100_000, 0x5eed);
}
