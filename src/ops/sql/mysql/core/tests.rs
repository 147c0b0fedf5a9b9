use super::*;
use crate::base::Str;
use std::time::Duration;

/// The server's side of a connection: feeds packets with the sequence numbers the core expects.
struct Server {
    core: Core,
    events: Vec<Event>,
    next: u8,
    /// Payloads the core has sent.
    sent: Vec<Vec<u8>>,
}

fn login() -> Login {
    Login {
        user: "u".to_string(),
        password: b"secret".to_vec(),
        database: Some("d".to_string()),
        tls: false,
        tls_required: false,
        local: false,
        multi_statements: false,
    }
}

fn greeting(plugin: &[u8], tls: bool) -> Vec<u8> {
    let mut p = vec![10];
    p.extend_from_slice(b"8.0.30\0");
    p.extend_from_slice(&77u32.to_le_bytes());
    p.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 0]);
    let capabilities: u32 = if tls { 0xffff_ffff } else { !0x800 };
    p.extend_from_slice(&capabilities.to_le_bytes()[..2]);
    p.extend_from_slice(&[45, 2, 0]);
    p.extend_from_slice(&capabilities.to_le_bytes()[2..]);
    p.push(21);
    p.extend_from_slice(&[0; 10]);
    p.extend((9..=20).chain([0]));
    p.extend_from_slice(plugin);
    p.push(0);
    p
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const EOF: &[u8] = &[0xfe, 0, 0, 2, 0];

fn column(name: &str, kind: u8, flags: u16) -> Vec<u8> {
    let mut p = Vec::new();
    for part in ["def", "d", "t", "t", name, name] {
        p.push(part.len() as u8);
        p.extend_from_slice(part.as_bytes());
    }
    p.extend_from_slice(&[0x0c, 45, 0, 0, 1, 0, 0, kind]);
    p.extend_from_slice(&flags.to_le_bytes());
    p.extend_from_slice(&[0, 0, 0]);
    p
}

impl Server {
    fn new(login: Login) -> Server {
        let limits = Limits { max_rows: 10, max_bytes: 100_000, connect_timeout: Duration::ZERO, ..Limits::default() };
        Server { core: Core::new(login, limits), events: Vec::new(), next: 0, sent: Vec::new() }
    }

    /// A connection whose login is over.
    fn ready() -> Server {
        let mut s = Server::new(login());
        s.send(&greeting(b"mysql_native_password", false));
        s.send(OK);
        s.rows(&[column("x", 8, 0)], &[b"\x010"]);
        assert!(matches!(s.events.pop(), Some(Event::Ready)));
        s.sent.clear();
        s
    }

    fn send(&mut self, payload: &[u8]) {
        let mut packet = Vec::new();
        put_packet(&mut packet, self.next, payload);
        self.raw(&packet);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.next = self.next.wrapping_add(1);
        self.core.feed(bytes, &mut self.events);
        self.drain();
    }

    fn drain(&mut self) {
        let out = self.core.output().to_vec();
        let mut framer = Framer::default();
        framer.push(&out);
        while let Frame::Packet(sequence, payload) = framer.next(usize::MAX) {
            self.next = sequence.wrapping_add(1);
            self.sent.push(payload.to_vec());
        }
        assert!(framer.is_empty());
        self.core.wrote(out.len());
    }

    fn rows(&mut self, columns: &[Vec<u8>], rows: &[&[u8]]) {
        self.send(&[columns.len() as u8]);
        columns.iter().for_each(|c| self.send(c));
        self.send(EOF);
        rows.iter().for_each(|r| self.send(r));
        self.send(EOF);
    }

    fn query(&mut self, text: &str, params: &[SqlValue]) {
        self.core.query(text.as_bytes(), params).unwrap();
        self.drain();
    }

    fn answer(&mut self) -> Result<SqlResult, Failure> {
        match self.events.remove(0) {
            Event::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn fatal(&mut self) -> (Why, Phase) {
        match self.events.remove(0) {
            Event::Fatal(f) => (f.why, f.phase),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_native_login_byte_by_byte() {
    let mut s = Server::new(login());
    s.send(&greeting(b"mysql_native_password", false));
    let response = &s.sent[0];
    assert_eq!(response[4..9], [0xff, 0xff, 0xff, 0, 45]);
    let scramble = [
        0xb3, 0x2b, 0xb3, 0xa5, 0x83, 0xe1, 0x34, 0x0c, 0x0a, 0x11, 0x08, 0xd5, 0x8b, 0x1b, 0xe4, 0x97, 0x81, 0xad,
        0x8c, 0x2f,
    ];
    let tail = [&b"u\0\x14"[..], &scramble, b"d\0mysql_native_password\0"].concat();
    assert_eq!(response[32..], tail);
    assert_eq!(s.core.phase(), Phase::Login);
    assert_eq!(s.core.thread(), 77);
    s.send(OK);
    assert_eq!(s.sent[1], [&[3], SETUP].concat());
    s.rows(&[column("id", 8, 0), column("who", 253, 0), column("x", 8, 0)], &[b"\x0277\x04me:1\x0519800"]);
    let session = s.core.session();
    assert_eq!(session.killable(s.core.thread()), Some((77, Str::from("me:1"))));
    assert_eq!(session.offset, 19_800);
}

#[test]
fn tls_comes_before_the_password() {
    let mut s = Server::new(Login { tls: true, tls_required: true, ..login() });
    s.send(&greeting(b"caching_sha2_password", true));
    assert!(matches!(s.events.pop(), Some(Event::StartTls)));
    assert_eq!((s.sent.len(), s.sent[0].len()), (1, 32));
    assert_eq!(s.core.phase(), Phase::Tls);
    s.core.tls_established(&mut s.events);
    s.drain();
    assert_eq!(s.sent.len(), 2);
    // Full authentication is the password itself, under TLS's protection.
    s.send(&[1, 4]);
    assert_eq!(s.sent[2], b"secret\0");
    s.send(OK);
    assert!(s.sent[3].starts_with(b"\x03SELECT"));

    // Bytes ahead of the handshake are an attack.
    let mut s = Server::new(Login { tls: true, ..login() });
    let mut wire = Vec::new();
    put_packet(&mut wire, 0, &greeting(b"caching_sha2_password", true));
    put_packet(&mut wire, 2, OK);
    s.raw(&wire);
    assert!(matches!(s.events.remove(0), Event::StartTls));
    assert_eq!(s.fatal(), (Why::Garbage, Phase::Tls));

    let mut s = Server::new(Login { tls: true, tls_required: true, ..login() });
    s.send(&greeting(b"mysql_native_password", false));
    assert_eq!(s.fatal(), (Why::Refused, Phase::Tls));
    let mut s = Server::new(Login { tls: true, ..login() });
    s.send(&greeting(b"mysql_native_password", false));
    assert!(s.events.is_empty(), "preferred, not required");
}

#[test]
fn rows_of_every_type() {
    let mut s = Server::ready();
    s.query("SELECT", &[]);
    assert_eq!(s.sent, [b"\x03SELECT"]);
    assert_eq!((s.core.phase(), s.core.answer_begun()), (Phase::Wait, false));
    let columns = [
        column("i", 3, 0),
        column("u", 8, 32),
        column("bit", 16, 32),
        column("t", 12, 0),
        column("d", 10, 0),
        column("v", 253, 0),
        column("n", 3, 0),
        column("dec", 246, 0),
    ];
    let row = b"\x02-7\x1418446744073709551615\x02\x01\x02\x132024-02-29 12:34:56\x0a2024-02-29\x01x\xfb\x041.50";
    s.send(&[8]);
    assert!(s.core.answer_begun());
    columns.iter().for_each(|c| s.send(c));
    s.send(EOF);
    s.send(row);
    assert_eq!(s.core.phase(), Phase::Receive);
    s.send(EOF);
    let r = s.answer().unwrap();
    assert_eq!(r.columns, ["i", "u", "bit", "t", "d", "v", "n", "dec"].map(Str::from));
    let want = vec![
        SqlValue::Int(-7),
        SqlValue::Text(Str::from("18446744073709551615")),
        SqlValue::Int(258),
        SqlValue::Time(1_709_210_096),
        SqlValue::Time(1_709_164_800),
        SqlValue::Text(Str::from("x")),
        SqlValue::Null,
        SqlValue::Text(Str::from("1.50")),
    ];
    assert_eq!(r.rows, [want]);
    assert!(matches!(s.events[..], [Event::Ready]));
}

#[test]
fn prepared_statements_are_prepared_executed_closed() {
    let mut s = Server::ready();
    s.query("SELECT ?, ?", &[SqlValue::Int(5), SqlValue::Text(Str::from("a"))]);
    assert_eq!(s.sent, [b"\x16SELECT ?, ?"]);
    s.send(&[0, 9, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0]);
    for _ in 0..2 {
        s.send(&column("?", 253, 0));
        s.send(&column("?", 253, 0));
        s.send(EOF);
    }
    let execute = [&[0x17, 9, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 8, 0, 0xfd, 0, 5][..], &[0; 7], b"\x01a"].concat();
    assert_eq!(s.sent[1], execute);
    s.rows(&[column("a", 8, 0), column("b", 253, 0)], &[&[0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, b'a'], &[0, 0x0c]]);
    let r = s.answer().unwrap();
    let null = vec![SqlValue::Null, SqlValue::Null];
    assert_eq!(r.rows, [vec![SqlValue::Int(5), SqlValue::Text(Str::from("a"))], null]);
    // The statement stays: the next time it is only executed, and a wrong number of values is seen at once.
    assert!(matches!(s.events[..], [Event::Ready]));
    s.events.clear();
    s.sent.clear();
    let refused = s.core.query(b"SELECT ?, ?", &[SqlValue::Null]).unwrap_err();
    assert_eq!(refused.detail, "the query has 2 placeholders, 1 values given");
    s.query("SELECT ?, ?", &[SqlValue::Int(5), SqlValue::Text(Str::from("a"))]);
    assert_eq!(s.sent, std::slice::from_ref(&execute));
    // A server that has lost it is asked from the beginning, once.
    s.send(b"\xff\xdb\x04#HY000Unknown prepared statement handler");
    assert_eq!(s.sent[1], b"\x16SELECT ?, ?");
    s.send(&[0, 10, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    s.send(&column("?", 253, 0));
    s.send(&column("?", 253, 0));
    s.send(EOF);
    assert_eq!(s.sent[2][..5], [0x17, 10, 0, 0, 0]);
    s.send(b"\xff\xdb\x04#HY000Unknown prepared statement handler");
    assert_eq!(s.answer().unwrap_err().why, Why::Denied);
    // The wrong number of values is said after everything was read.
    s.events.clear();
    s.query("SELECT ?", &[SqlValue::Null, SqlValue::Null]);
    s.send(&[0, 10, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    s.send(&column("?", 253, 0));
    assert!(s.events.is_empty());
    s.send(EOF);
    assert_eq!(s.answer().unwrap_err().why, Why::BadRequest);
    assert!(matches!(s.events[..], [Event::Ready]));
}

#[test]
fn a_bounded_number_of_statements_is_kept() {
    let mut s = Server::ready();
    let mut run = |n: u32, query: &str| {
        s.sent.clear();
        s.events.clear();
        s.query(query, &[SqlValue::Null]);
        if s.sent[0][0] == 0x16 {
            s.send(&[&[0][..], &n.to_le_bytes(), &[0, 0, 1, 0, 0, 0, 0]].concat());
            s.send(&column("?", 253, 0));
            s.send(EOF);
        }
        s.send(OK);
        assert!(s.answer().is_ok());
        s.sent.iter().map(|p| (p[0], p.get(1).copied().unwrap_or(0))).collect::<Vec<_>>()
    };
    for n in 0..32 {
        assert_eq!(run(n, &format!("DELETE {n} ?")), [(0x16, b'D'), (0x17, n as u8)]);
    }
    assert_eq!(run(0, "DELETE 0 ?"), [(0x17, 0)]);
    // One more: the one not used for the longest time is closed.
    assert_eq!(run(50, "DELETE 50 ?"), [(0x16, b'D'), (0x19, 1), (0x17, 50)]);
    assert_eq!(run(0, "DELETE 0 ?"), [(0x17, 0)]);
    // A long text is closed after use.
    let long = format!("DELETE {} ?", "x".repeat(5000));
    assert_eq!(run(60, &long), [(0x16, b'D'), (0x17, 60), (0x19, 60)]);
}

#[test]
fn what_a_query_leaves_in_the_session_is_reset() {
    let mut s = Server::ready();
    s.query("SELECT ?", &[SqlValue::Null]);
    s.send(&[0, 9, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    s.send(&column("?", 253, 0));
    s.send(EOF);
    s.send(OK);
    s.events.clear();
    s.sent.clear();
    s.query("SET @x = 1", &[]);
    s.send(OK);
    assert!(s.answer().is_ok());
    assert_eq!(s.sent[1], [0x1f]);
    s.send(OK);
    assert_eq!(s.sent[2], [&[3], NAMES].concat());
    assert!(s.events.is_empty());
    s.send(OK);
    assert!(matches!(s.events[..], [Event::Ready]));
    // The reset has taken the prepared statements along.
    s.sent.clear();
    s.query("SELECT ?", &[SqlValue::Null]);
    assert_eq!(s.sent[0][0], 0x16);
    // A server that refuses, or has no such command: the connection is given up.
    let mut s = Server::ready();
    s.query("SET @x = 1", &[]);
    s.send(OK);
    s.send(b"\xff\x17\x04#08S01Unknown command");
    assert!(matches!(s.events[..], [Event::Answer(_), Event::Spent]));
    let mut s = Server::new(login());
    let old = greeting(b"mysql_native_password", false);
    s.send(&[&old[..1], b"5.6.51\0", &old[8..]].concat());
    s.send(OK);
    s.send(b"\xff\x48\x04#42000no");
    s.events.clear();
    s.query("SET @x = 1", &[]);
    s.send(OK);
    assert!(matches!(s.events[..], [Event::Answer(_), Event::Spent]));
    assert_eq!(s.sent.last().map(Vec::as_slice), Some(&[1u8][..]), "with a good-bye");
}

#[test]
fn several_results_keep_the_first_with_columns() {
    let mut s = Server::ready();
    s.query("SELECT p()", &[]);
    s.send(&[0, 1, 0, 10, 0, 0, 0]);
    for (value, status) in [(b'1', 10), (b'2', 10)] {
        s.send(&[1]);
        s.send(&column("x", 3, 0));
        s.send(&[0xfe, 0, 0, status, 0]);
        s.send(&[1, value]);
        s.send(&[0xfe, 0, 0, status, 0]);
    }
    assert!(s.events.is_empty());
    s.send(OK);
    assert_eq!(s.answer().unwrap().rows, [vec![SqlValue::Int(1)]]);
    // An error in a later result is the answer.
    s.events.clear();
    s.query("SELECT p()", &[]);
    s.send(&[0, 1, 0, 10, 0, 0, 0]);
    s.send(b"\xff\x28\x04#42000oops");
    let f = s.answer().unwrap_err();
    assert_eq!((f.why, f.detail.as_str()), (Why::Denied, "1064 (42000): oops"));
    assert!(matches!(s.events[..], [Event::Ready]));
}

#[test]
fn an_open_transaction_is_rolled_back_before_the_next_query() {
    let mut s = Server::ready();
    s.query("BEGIN", &[]);
    s.send(&[0, 0, 0, 3, 0, 0, 0]);
    assert!(s.answer().is_ok());
    assert!(s.events.is_empty());
    assert_eq!(s.sent[1], b"\x03ROLLBACK");
    s.send(OK);
    assert!(matches!(s.events[..], [Event::Ready]));
}

#[test]
fn limits_and_lies_are_fatal() {
    let begin = |rows: usize| {
        let mut s = Server::ready();
        s.query("SELECT", &[]);
        s.send(&[1]);
        s.send(&column("x", 253, 0));
        s.send(EOF);
        (0..rows).for_each(|_| s.send(b"\x01x"));
        s
    };
    let mut s = begin(10);
    assert!(s.events.is_empty());
    s.send(b"\x01x");
    assert_eq!(s.fatal(), (Why::TooLarge, Phase::Receive));
    let mut s = begin(1);
    s.send(&[&[0xfd, 0x90, 0x5f, 1][..], &[b'x'; 90_000]].concat());
    assert!(s.events.is_empty());
    s.send(&[&[0xfc, 0x50, 0xc3][..], &[b'x'; 50_000]].concat());
    assert_eq!(s.fatal(), (Why::TooLarge, Phase::Receive));
    for lie in [&b"\x05x"[..], b"\x01xx", b"", b"\xfe\x01", b"\xfd\xff\xff\xff"] {
        let mut s = begin(1);
        s.send(lie);
        assert_eq!(s.fatal(), (Why::Garbage, Phase::Receive), "{lie:?}");
        s.send(OK);
        assert!(s.events.is_empty(), "after the end nothing more is said");
    }
    let mut s = begin(0);
    s.next = s.next.wrapping_add(1);
    s.send(b"\x01x");
    assert_eq!(s.fatal(), (Why::Garbage, Phase::Receive), "out of order");
    for header in [&b"\xfb/etc/passwd"[..], b"\xfc\x00\x00", b"\xfc\xff\xff", b"\x01\x01", b"", b"\xfe"] {
        let mut s = Server::ready();
        s.query("SELECT", &[]);
        s.send(header);
        assert_eq!(s.fatal().0, Why::Garbage, "{header:?}");
    }
    let mut s = Server::ready();
    s.send(OK);
    assert_eq!(s.fatal().0, Why::Garbage, "nobody asked");
    let mut s = Server::ready();
    s.send(b"\xff\xc7\x0f#08S01idle for too long");
    assert_eq!(s.fatal().0, Why::Closed);
    let mut s = Server::new(login());
    s.send(b"\xff\x10\x04Too many connections");
    assert_eq!(s.fatal(), (Why::Refused, Phase::Login));
}

#[test]
fn a_query_needs_a_ready_connection_and_a_fitting_size() {
    let mut s = Server::new(login());
    assert_eq!(s.core.query(b"SELECT", &[]).unwrap_err().why, Why::BadRequest);
    let mut s = Server::ready();
    assert_eq!(s.core.query(&vec![b' '; MAX_QUERY], &[]).unwrap_err().why, Why::BadRequest);
    assert_eq!(s.core.query(b"", &vec![SqlValue::Null; 70_000]).unwrap_err().why, Why::BadRequest);
    assert!(s.core.query(&vec![b' '; MAX_QUERY - 16], &[]).is_ok());
}
