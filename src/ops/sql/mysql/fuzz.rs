//! The fuzz test's way in: a server that says whatever the input says.

use super::core::{Core, Event, Login};
use super::packet::{Frame, Framer, put_packet};
use crate::base::Str;
use crate::ops::SqlValue;
use crate::ops::sql::Limits;

/// Most bytes the core may want to send in one go: what it was given, and its own small packets.
const MAX_OUTPUT: usize = 4096;

/// Plays `data` to a connection. The first byte chooses the circumstances; the rest is either the byte stream
/// itself, or (bit 6) packets of a length byte and a payload, framed here with the right sequence
/// numbers. Panics only on a bug.
pub fn fuzz(data: &[u8]) {
    let Some((flags, data)) = data.split_first() else { return };
    let bit = |n: u8| flags >> n & 1 == 1;
    let login = Login {
        user: "user".to_string(),
        password: if bit(0) { b"secret".to_vec() } else { Vec::new() },
        database: bit(1).then(|| "db".to_string()),
        tls: bit(2),
        tls_required: bit(2) && bit(3),
        local: bit(3),
        multi_statements: bit(1),
    };
    let limits = Limits { max_rows: 100, max_bytes: 10_000, ..Limits::default() };
    let mut play = Play { core: Core::new(login, limits), params: bit(4), next: 0, over: false };
    if bit(6) {
        let mut rest = data;
        while let Some((length, tail)) = rest.split_first() {
            let (payload, tail) = tail.split_at(tail.len().min(usize::from(*length)));
            let mut packet = Vec::new();
            put_packet(&mut packet, play.next, payload);
            play.next = play.next.wrapping_add(1);
            play.feed(&packet);
            rest = tail;
        }
    } else {
        let size = if bit(5) { 1 } else { 1000 };
        data.chunks(size).for_each(|chunk| play.feed(chunk));
    }
}

struct Play {
    core: Core,
    params: bool,
    next: u8,
    over: bool,
}

impl Play {
    fn feed(&mut self, bytes: &[u8]) {
        let mut events = Vec::new();
        self.core.feed(bytes, &mut events);
        self.act(events);
    }

    fn act(&mut self, events: Vec<Event>) {
        assert!(!self.over || events.is_empty(), "an event after the end: {events:?}");
        for event in events {
            assert!(!self.over, "an event after the end");
            match event {
                Event::StartTls => {
                    self.sent();
                    let mut more = Vec::new();
                    self.core.tls_established(&mut more);
                    self.act(more);
                }
                Event::Ready => {
                    let params = [SqlValue::Int(1), SqlValue::Null, SqlValue::Time(5), SqlValue::Text(Str::from("x"))];
                    let params = if self.params { &params[..] } else { &[] };
                    // A packet behind the one that made it ready has ended it already.
                    let _ = self.core.query(b"SELECT 1", params);
                }
                Event::Answer(Ok(result)) => {
                    assert!(result.rows.len() <= 100, "too many rows");
                    assert!(result.rows.iter().all(|r| r.len() == result.columns.len()), "a row of another width");
                }
                Event::Answer(Err(_)) => {}
                Event::Fatal(_) | Event::Spent => self.over = true,
            }
        }
        self.sent();
        let _ = (self.core.phase(), self.core.answer_begun());
    }

    /// Takes what the core sends, which must be whole packets.
    fn sent(&mut self) {
        let out = self.core.output().to_vec();
        assert!(out.len() <= MAX_OUTPUT, "sends {} bytes", out.len());
        let mut framer = Framer::default();
        framer.push(&out);
        while let Frame::Packet(sequence, _) = framer.next(MAX_OUTPUT) {
            self.next = sequence.wrapping_add(1);
        }
        assert!(framer.is_empty(), "sends half a packet");
        self.core.wrote(out.len());
    }
}
