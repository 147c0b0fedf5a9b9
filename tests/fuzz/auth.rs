//! Fuzz tests of digest credentials: 200,000 mutations that must break nothing.

mod mutator;

const SEEDS: &[&[u8]] = &[
    br#"Digest username="bob", realm="biloxi.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="sip:bob@biloxi.com", qop=auth, nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41""#,
    br#"Digest username="Mufasa",realm="http-auth@example.org",nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",uri="/dir/index.html",algorithm=SHA-256,response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1""#,
    b"digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, realm=\"a, \\\"b\\\"\", nonce=n, uri=sip:x, algorithm=MD5-sess, response=0123456789abcdef0123456789abcdef, qop=\"auth-int\", nc=ffffffff, cnonce=c",
    br#"Digest username="a@b@c", realm="", nonce="AGV0Y2hlcmUAAAAAAAAAAAAAAAAAAAAAAAAAAA", uri="sip:x", response="0123456789abcdef0123456789abcdef""#,
    b"Basic YWxpY2U6eA==",
    b"Digest",
    b"",
];

const WORDS: &[&[u8]] = &[
    b"username=\"",
    b"username*=UTF-8''",
    b"realm=\"",
    b"nonce=\"",
    b"uri=\"",
    b"response=\"",
    b"0123456789abcdef0123456789abcdef",
    b"algorithm=SHA-512-256-sess",
    b"qop=auth-int",
    b"nc=00000001",
    b"cnonce=\"\"",
    b"Digest ",
    b"\"",
    b"\\\"",
    b"\\",
    b",",
    b", ,",
    b"=",
    b"==",
    b" ",
    b"\r\n ",
    b"\t",
    b"\0",
    b"%",
    b"%00",
    b"<",
    b"\xff\xfe",
    b"@",
    b"'",
];

#[test]
fn mutations_break_nothing() {
    mutator::run(SEEDS, WORDS, 100_000, 1, reprise::sip::fuzz::fuzz_credentials);
}

#[test]
fn other_mutations_break_nothing() {
    mutator::run(SEEDS, WORDS, 100_000, 2, reprise::sip::fuzz::fuzz_credentials);
}
