//! Every mishap in every phase of an exchange with a MySQL server: each ends in a failure within the deadline, and
//! leaves nothing behind.

use crate::lp::{AMPLE, Loop, alone, failure, fds, rows, text};
use crate::mysql_faults::{greeting, packet, url};
use crate::support::eventually;
use crate::support::mocks::{Step, TcpMock};
use reprise::ops::backend::Policy;
use reprise::ops::driver::OpKind;
use reprise::ops::{SqlValue, Why};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(250);

/// What the server of a sound exchange waits for before it sends its next packets, and those.
fn exchange() -> Vec<(Option<Step>, Vec<u8>)> {
    let column = |name: &str, kind: u8| {
        let mut p = Vec::new();
        for part in ["def", "d", "t", "t", name, name] {
            p.push(part.len() as u8);
            p.extend_from_slice(part.as_bytes());
        }
        p.extend_from_slice(&[0x0c, 45, 0, 0, 1, 0, 0, kind, 0, 0, 0, 0, 0]);
        p
    };
    let until = |mark: &str| Some(Step::ReadUntil(mark.as_bytes().to_vec()));
    let eof = &[0xfe, 0, 0, 2, 0];
    vec![
        (None, greeting()),
        (Some(Step::Read(40)), packet(2, &[0, 0, 0, 2, 0, 0, 0])),
        (until("NOW())"), packet(1, &[3])),
        (None, packet(2, &column("a", 8))),
        (None, packet(3, &column("b", 253))),
        (None, packet(4, &column("c", 8))),
        (None, packet(5, eof)),
        (None, packet(6, b"\x017\x01x\x010")),
        (None, packet(7, eof)),
        (until("SELECT 1"), packet(1, &[1])),
        (None, packet(2, &column("x", 253))),
        (None, packet(3, eof)),
        (None, packet(4, b"\x05hello")),
        (None, packet(5, eof)),
    ]
}

/// The exchange up to packet `at`, and then something else.
fn script(at: usize, mishap: &dyn Fn(Vec<u8>) -> Vec<Step>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (n, (wait, bytes)) in exchange().into_iter().enumerate() {
        steps.extend(wait);
        if n == at {
            steps.extend(mishap(bytes));
            return steps;
        }
        steps.push(Step::Write(bytes));
    }
    steps.push(Step::Hang);
    steps
}

/// Resident memory of this process, bytes.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn the_sound_exchange_works() {
    let _alone = alone();
    let mock = TcpMock::each(script(usize::MAX, &|_| Vec::new()));
    assert_eq!(Loop::new().one(&url(&mock), "SELECT 1"), text("hello"));
}

#[test]
fn every_mishap_in_every_phase() {
    let _alone = alone();
    let last = exchange().len();
    let changed = |at: usize, with: u8| {
        move |mut bytes: Vec<u8>| {
            if let Some(b) = bytes.get_mut(at) {
                *b ^= with;
            }
            vec![Step::Write(bytes), Step::Hang]
        }
    };
    type Mishap = Box<dyn Fn(Vec<u8>) -> Vec<Step>>;
    let mishaps: Vec<(&str, Mishap)> = vec![
        ("closed", Box::new(|_| vec![Step::Close])),
        ("closed in the middle", Box::new(|b| vec![Step::Write(b[..b.len() - 1].to_vec()), Step::Close])),
        ("half closed", Box::new(|b| vec![Step::Write(b[..3].to_vec()), Step::HalfClose])),
        ("reset", Box::new(|b| vec![Step::Write(b[..4].to_vec()), Step::Sleep(Duration::from_millis(5)), Step::Reset])),
        ("silent", Box::new(|_| vec![Step::Hang])),
        ("dripping", Box::new(|b| vec![Step::Drip(b, Duration::from_millis(200)), Step::Hang])),
        ("out of order", Box::new(changed(3, 0x10))),
        ("too long a length", Box::new(changed(0, 0x80))),
        ("a huge length", Box::new(|b| vec![Step::Write([&[0xff, 0xff, 0xff, b[3]], &b[4..]].concat()), Step::Flood])),
        ("zeros for ever", Box::new(|_| vec![Step::Flood])),
        ("another protocol", Box::new(|_| vec![Step::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Hang])),
    ];
    let before = fds();
    let memory_before = memory();
    for (name, mishap) in &mishaps {
        for at in 0..last {
            let mock = TcpMock::each(script(at, mishap));
            {
                let mut l = Loop::new();
                let begin = Instant::now();
                let f = l.fails(&url(&mock), "SELECT 1", SHORT);
                assert!(
                    begin.elapsed() < SHORT + Duration::from_secs(2),
                    "{name} at packet {at}: {:?}",
                    begin.elapsed()
                );
                let expected = [Why::Timeout, Why::Closed, Why::Garbage, Why::TooLarge, Why::Refused, Why::Denied];
                assert!(expected.contains(&f.why), "{name} at packet {at}: {f}");
                assert_eq!(l.driver.mysql().connections().1, 0, "{name} at packet {at}: no such connection is kept");
                assert!(l.driver.is_empty());
            }
            drop(mock);
        }
    }
    eventually("every socket is closed", AMPLE, || fds() == before);
    let grown = memory().saturating_sub(memory_before);
    assert!(grown < 32 << 20, "{grown} bytes more than before");
}

#[test]
fn an_endless_answer_ends_at_the_limit() {
    let _alone = alone();
    let before = fds();
    let memory_before = memory();
    // Rows that never end, columns that never end, results that never end.
    let rows_of =
        |from: u32| (0..80_000u32).flat_map(move |n| packet((from + n) as u8, b"\x05hello")).collect::<Vec<u8>>();
    let results = (0..5_000u32).flat_map(|n| packet((1 + n) as u8, &[0, 0, 0, 8, 0, 0, 0])).collect::<Vec<u8>>();
    for (at, flood) in [(12, rows_of(4)), (9, results)] {
        let mock = TcpMock::each(script(at, &move |_| vec![Step::Write(flood.clone()), Step::Hang]));
        let mut l = Loop::new();
        let id = l.start(&url(&mock), "SELECT 1", AMPLE);
        let f = failure(l.wait(id));
        assert_eq!(f.why, Why::TooLarge, "{f}");
        assert!(l.longest < Duration::from_millis(500), "{:?}", l.longest);
    }
    eventually("every socket is closed", AMPLE, || fds() == before);
    assert!(memory().saturating_sub(memory_before) < 32 << 20);
}

#[test]
fn many_servers_that_hang_cost_their_deadline_and_no_more() {
    let _alone = alone();
    let before = fds();
    {
        let silent = TcpMock::each(vec![Step::Hang]);
        let mut l = Loop::new();
        l.driver.backends().set_policy(OpKind::Mysql, Policy { failures: 0, ..Policy::of(OpKind::Mysql) });
        let begin = Instant::now();
        let ids: Vec<_> = (0..1000).map(|_| l.start(&url(&silent), "SELECT 1", SHORT)).collect();
        assert!(fds() < before + 40, "those in the queue hold no fd: {}", fds());
        for id in ids {
            assert_eq!(failure(l.wait(id)).why, Why::Timeout);
        }
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        // The one that comes after is served, once there is a server.
        let sound = TcpMock::each(script(usize::MAX, &|_| Vec::new()));
        let id = l.start_with(&url(&sound), "SELECT 1", Vec::new(), AMPLE);
        assert_eq!(rows(l.wait(id)).rows, [vec![SqlValue::Text("hello".into())]]);
    }
    eventually("every socket is closed", AMPLE, || fds() == before);
}
