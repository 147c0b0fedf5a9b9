//! Fuzz test of the framer: 200,000 streams that must break nothing, come out the same however they are
//! cut, and never hold more than the limits allow.

#[path = "../torture/corpus.rs"]
mod corpus;
mod mutator;

use reprise::sip::Message;
use reprise::sip::framer::{Frame, FrameError, FrameLimits, Framer};

const LIMITS: FrameLimits = FrameLimits { head: 2048, body: 1024 };

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"\n",
    b"\n\n",
    b"\r",
    b"\r\n ",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 1024\r\n",
    b"Content-Length: 1025\r\n",
    b"Content-Length:\r\n 3\r\n",
    b"l: 3\r\n",
    b"l:\t3 \r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"OPTIONS sip:a@b SIP/2.0\r\n",
    b"SIP/2.0 200 OK\r\n",
    b"SIP/2.0 200 OK\r\nl:0\r\n\r\n",
    b"\0",
    b"\xff",
    b":",
    b" ",
];

/// What came out: messages (None: a ping), and how it ended.
type Cut = (Vec<Option<Vec<u8>>>, Option<FrameError>, bool);

fn cut(data: &[u8], step: usize) -> Cut {
    let mut framer = Framer::new(LIMITS);
    let mut out = Vec::new();
    for piece in data.chunks(step) {
        framer.push(piece);
        loop {
            match framer.cut() {
                Ok(Frame::Message(m)) => out.push(Some(m.to_vec())),
                Ok(Frame::Ping) => out.push(None),
                Ok(Frame::More) => break,
                Err(e) => {
                    assert!(!framer.broken().is_empty());
                    return (out, Some(e), false);
                }
            }
        }
        assert!(framer.held() <= LIMITS.head + LIMITS.body, "{} bytes are held", framer.held());
    }
    (out, None, framer.is_within())
}

/// Whatever comes, reading it whole and in pieces agrees, and each message is one to the parser too.
pub fn fuzz(data: &[u8]) -> usize {
    let whole = cut(data, data.len().max(1));
    for step in [1, 7] {
        assert_eq!(cut(data, step), whole, "in steps of {step}");
    }
    for message in whole.0.iter().flatten() {
        let parsed = Message::parse_slice(message);
        if let Ok(m) = parsed {
            assert_eq!(m.bytes().len(), message.len(), "the parser sees another end than the framer");
        }
    }
    whole.0.len()
}

fn mutate(count: u64, seed: u64) {
    let cases = corpus::cases();
    let mut seeds: Vec<Vec<u8>> = cases.iter().map(|c| c.bytes.clone()).filter(|b| b.len() < 4000).collect();
    let glued = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKx\r\nl: 4\r\n\r\nbody\r\n\r\n";
    seeds.push(glued.repeat(5).into_bytes());
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let mut found = 0;
    mutator::run(&seeds, WORDS, count, seed, |data| found += fuzz(data));
    assert!(found > 10_000, "only {found} messages came out");
}

#[test]
fn mutated_streams_break_nothing() {
    mutate(100_000, 1);
}

#[test]
fn other_mutated_streams_break_nothing() {
    mutate(100_000, 2);
}
