//! Name resolution on a real loop, against name servers that do as they are told.

#![allow(clippy::unwrap_used)]

#[path = "support/dns.rs"]
mod dns;
mod oploop;

use dns::{A, AAAA, Asked, CNAME, Dns, NAPTR, SRV, Zone, naptr, srv, wire};
use oploop::{Loop, alone, open_fds};
use reprise::base::Key;
use reprise::net::reactor::{Source, clock};
use reprise::net::resolver::{Answer, Fault, Found, Question, Record, ResolverConfig, Want};
use reprise::ops::driver::Driver;
use reprise::ops::{CancelReason, HttpMethod, HttpOptions, HttpRequest, Outcome, Phase, Request, Why};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);
/// How long a server is waited for that answers: longer than any machine stops for a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one is waited for that does not.
const SHORT: Duration = Duration::from_millis(200);

fn config(servers: &[SocketAddr]) -> ResolverConfig {
    let servers = servers.to_vec();
    ResolverConfig { servers, timeout: PATIENCE, family_grace: PATIENCE, ..ResolverConfig::parse("", "") }
}

/// For servers of which some never answer.
fn brief(servers: &[SocketAddr]) -> ResolverConfig {
    ResolverConfig { timeout: SHORT, ..config(servers) }
}

fn resolver(servers: &[&Dns]) -> Loop {
    let servers: Vec<_> = servers.iter().map(|d| d.addr).collect();
    Loop::with(Driver::with_resolver(config(&servers)))
}

fn ask(l: &mut Loop, host: &str, index: u32) {
    ask_for(l, host, Want::Addresses, index);
}

fn ask_for(l: &mut Loop, host: &str, want: Want, index: u32) {
    let now = clock();
    let key = Key { index, generation: 7 };
    let question = Question { name: host.into(), want };
    l.driver.resolve_for(Source::Transaction, key, question, l.reactor.io(now));
}

fn next_answer(l: &mut Loop) -> (u32, Answer) {
    let begin = Instant::now();
    loop {
        if let Some(((source, key), answer)) = l.driver.poll_resolved() {
            assert_eq!((source, key.generation), (Source::Transaction, 7));
            return (key.index, answer);
        }
        assert!(begin.elapsed() < LONG);
        l.turn(Duration::from_millis(20));
    }
}

fn next(l: &mut Loop) -> (u32, Result<Vec<IpAddr>, String>) {
    let (index, answer) = next_answer(l);
    let ips = answer.map_err(|f| f.text).map(|found| match found {
        Found::Addresses(ips) => ips,
        Found::Records(records) => panic!("{records:?}"),
    });
    (index, ips)
}

fn lookup(l: &mut Loop, host: &str) -> Result<Vec<IpAddr>, String> {
    ask(l, host, 1);
    next(l).1
}

fn ips(text: &[&str]) -> Result<Vec<IpAddr>, String> {
    Ok(text.iter().map(|t| t.parse().unwrap()).collect())
}

/// Every socket and timer of the look-ups is gone.
fn clean(l: &Loop, fds: usize) {
    assert_eq!((open_fds(), l.reactor.timers()), (fds, 0));
}

#[test]
fn both_families_ipv4_first_and_kept_while_they_hold() {
    let _alone = alone();
    let dns = Dns::start(|q| {
        q.addresses(if q.name == "zero.test" { 0 } else { 1 }, &["2001:db8::1", "192.0.2.1", "192.0.2.2"])
    });
    let mut l = resolver(&[&dns]);
    let fds = open_fds();
    let all = ips(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assert_eq!(lookup(&mut l, "Www.Test"), all);
    let asked = dns.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|q| q.name == "www.test" && q.edns && !q.tcp));
    assert_eq!(lookup(&mut l, "www.test."), all);
    assert_eq!(lookup(&mut l, "www.test"), all);
    assert_eq!(dns.count(), 2, "known already");
    l.run_for(Duration::from_millis(1100));
    assert_eq!(lookup(&mut l, "www.test"), all);
    assert_eq!(dns.count(), 4, "known no longer");
    lookup(&mut l, "zero.test").unwrap();
    lookup(&mut l, "zero.test").unwrap();
    assert_eq!(dns.count(), 8, "not to be kept");
    clean(&l, fds);
}

#[test]
fn what_needs_no_server() {
    let _alone = alone();
    let dns = Dns::silent();
    let hosts = "192.0.2.9 db.test db\n2001:db8::9 db.test\n";
    let config = ResolverConfig { servers: vec![dns.addr], ..ResolverConfig::parse("search corp.test", hosts) };
    let mut l = Loop::with(Driver::with_resolver(config));
    assert_eq!(lookup(&mut l, "192.0.2.1"), ips(&["192.0.2.1"]));
    assert_eq!(lookup(&mut l, "2001:db8::1"), ips(&["2001:db8::1"]));
    assert_eq!(lookup(&mut l, "[2001:db8::1]"), ips(&["2001:db8::1"]));
    assert_eq!(lookup(&mut l, "localhost"), ips(&["127.0.0.1", "::1"]));
    assert_eq!(lookup(&mut l, "DB"), ips(&["192.0.2.9"]));
    assert_eq!(lookup(&mut l, "db.test."), ips(&["192.0.2.9", "2001:db8::9"]));
    let long = format!("{}.test", "a".repeat(64));
    for bad in ["", "a b", "a..b", ".", "a/b", "x\0y", "\u{e9}.test", &long, &"a.".repeat(200)] {
        assert!(lookup(&mut l, bad).is_err(), "{bad:?}");
    }
    assert_eq!(dns.count(), 0);
}

#[test]
fn many_wait_for_one_look_up() {
    let _alone = alone();
    let dns = Dns::start(|q| {
        std::thread::sleep(Duration::from_millis(50));
        q.addresses(60, &["192.0.2.1"])
    });
    let mut l = resolver(&[&dns]);
    let fds = open_fds();
    for i in 0..500 {
        ask(&mut l, "shared.test", i);
    }
    let answers: Vec<_> = (0..500).map(|_| next(&mut l)).collect();
    assert!(answers.iter().all(|(_, a)| *a == ips(&["192.0.2.1"])));
    assert_eq!(answers.iter().map(|(i, _)| *i).collect::<HashSet<_>>().len(), 500);
    assert_eq!(dns.count(), 2);
    clean(&l, fds);
}

#[test]
fn names_that_are_not_there() {
    let _alone = alone();
    let dns = Dns::start(|q| match q.name.as_str() {
        "gone.test" => vec![q.reply(3, false, &[], Some(60))],
        "gone2.test" => vec![q.reply(3, false, &[], None)],
        _ => vec![q.reply(0, false, &[], Some(1))],
    });
    let mut l = resolver(&[&dns]);
    let fds = open_fds();
    assert_eq!(lookup(&mut l, "gone.test"), Err("gone.test: no such name".into()));
    assert_eq!(lookup(&mut l, "gone.test"), Err("gone.test: no such name".into()));
    assert_eq!(dns.count(), 2);
    assert!(lookup(&mut l, "gone2.test").is_err() && lookup(&mut l, "gone2.test").is_err());
    assert_eq!(dns.count(), 6, "without an SOA it is not kept");
    assert_eq!(lookup(&mut l, "empty.test"), Err("empty.test: the name has no address".into()));
    assert!(lookup(&mut l, "empty.test").is_err());
    assert_eq!(dns.count(), 8);
    l.run_for(Duration::from_millis(1100));
    assert!(lookup(&mut l, "empty.test").is_err());
    assert_eq!(dns.count(), 10);
    clean(&l, fds);
}

#[test]
fn aliases() {
    let _alone = alone();
    let dns = Dns::start(|q| {
        let alias = |from: &'static str, to: &str| (from, CNAME, 60, wire(to));
        match q.name.as_str() {
            "here.test" => {
                let mut all = vec![alias("mid.test", "end.test"), alias("here.test", "mid.test")];
                all.extend(q.data(&["192.0.2.5"]).into_iter().map(|d| ("end.test", q.kind, 60, d)));
                vec![q.reply(0, false, &all, None)]
            }
            "away.test" => vec![q.reply(0, false, &[alias("away.test", "target.test")], None)],
            "target.test" => q.addresses(60, &["192.0.2.6"]),
            "loop.test" => vec![q.reply(0, false, &[alias("loop.test", "loop.test")], None)],
            "ping.test" => vec![q.reply(0, false, &[alias("ping.test", "pong.test")], None)],
            "pong.test" => vec![q.reply(0, false, &[alias("pong.test", "ping.test")], None)],
            "dead.test" => vec![q.reply(3, false, &[alias("dead.test", "gone.test")], Some(60))],
            // Records of others prove nothing.
            _ => q.addresses_of("other.test", 60, &["192.0.2.66"]),
        }
    });
    let mut l = resolver(&[&dns]);
    let fds = open_fds();
    assert_eq!(lookup(&mut l, "here.test"), ips(&["192.0.2.5"]));
    assert_eq!(lookup(&mut l, "away.test"), ips(&["192.0.2.6"]));
    assert_eq!(dns.asked().iter().filter(|q| q.name == "target.test").count(), 2);
    assert!(lookup(&mut l, "loop.test").is_err());
    assert!(lookup(&mut l, "ping.test").is_err());
    assert!(dns.count() < 40);
    assert!(lookup(&mut l, "dead.test").is_err());
    assert_eq!(lookup(&mut l, "stray.test"), Err("stray.test: the name has no address".into()));
    clean(&l, fds);
}

#[test]
fn answers_that_are_none_are_ignored() {
    let _alone = alone();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dns = Dns::start(move |q| {
        let good = q.addresses(60, &["192.0.2.1", "2001:db8::1"]).remove(0);
        let forged = q.addresses(60, &["192.0.2.66", "2001:db8::66"]).remove(0);
        let _ = stranger.send_to(&forged, q.from);
        let other = Asked { name: "evil.test".into(), ..q.clone() };
        let kind = Asked { kind: 16, ..q.clone() };
        let mut wrong_id = forged.clone();
        wrong_id[0] ^= 0x80;
        let mut query = forged.clone();
        query[2] &= 0x7f;
        let mut no_question = forged.clone();
        no_question[5] = 0;
        let upper: Vec<_> = good.iter().map(|b| if *b == b'w' { b'W' } else { *b }).collect();
        let short = forged[..11].to_vec();
        let others = other.addresses(60, &["192.0.2.66"]).remove(0);
        let kinds = kind.reply(0, false, &[], Some(60));
        vec![vec![], short, wrong_id, query, no_question, others, kinds, upper]
    });
    let mut l = resolver(&[&dns]);
    assert_eq!(lookup(&mut l, "www.test"), ips(&["192.0.2.1", "2001:db8::1"]));
    assert_eq!(dns.count(), 2);
}

#[test]
fn what_does_not_fit_comes_over_tcp() {
    let _alone = alone();
    let dns = Dns::start(|q| match (q.tcp, q.name.as_str()) {
        (false, _) => vec![q.reply(0, true, &[], None)],
        (true, "cut.test") => vec![],
        (true, _) => {
            let many: Vec<_> = (0..200u8).map(|i| (q.name.as_str(), A, 60, vec![192, 0, 2, i])).collect();
            vec![q.reply(0, false, if q.kind == A { &many } else { &[] }, Some(60))]
        }
    });
    let mut l = resolver(&[&dns]);
    let fds = open_fds();
    assert_eq!(lookup(&mut l, "many.test").unwrap().len(), 200);
    assert_eq!(dns.asked().iter().filter(|q| q.tcp).count(), 2);
    assert!(lookup(&mut l, "cut.test").is_err());
    l.until(LONG, "the connections closed", |_| open_fds() == fds);
    clean(&l, fds);
}

#[test]
fn servers_in_turn() {
    let _alone = alone();
    let refused = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = Dns::silent();
    let failing = Dns::start(|q| vec![q.reply(2, false, &[], None)]);
    let broken = Dns::start(|q| {
        // The right question, then a record that is cut off.
        let whole = q.addresses(60, &["192.0.2.1", "2001:db8::1"]).remove(0);
        vec![whole[..whole.len() - 2].to_vec()]
    });
    let good = Dns::start(|q| q.addresses(0, &["192.0.2.1"]));
    for first in [refused, failing.addr, broken.addr] {
        let mut l = Loop::with(Driver::with_resolver(config(&[first, good.addr])));
        let begin = Instant::now();
        assert_eq!(lookup(&mut l, "www.test"), ips(&["192.0.2.1"]));
        assert!(begin.elapsed() < PATIENCE, "no time is lost");
    }
    let mut l = Loop::with(Driver::with_resolver(brief(&[silent.addr, good.addr])));
    let fds = open_fds();
    let begin = Instant::now();
    assert_eq!(lookup(&mut l, "www.test"), ips(&["192.0.2.1"]));
    assert!(begin.elapsed() >= SHORT && begin.elapsed() < LONG);
    for _ in 0..5 {
        assert_eq!(lookup(&mut l, "www.test"), ips(&["192.0.2.1"]));
    }
    assert_eq!(silent.count(), 2, "the silent one is not asked first again");
    clean(&l, fds);
}

#[test]
fn nobody_answers() {
    let _alone = alone();
    let silent = Dns::silent();
    let mut l = Loop::with(Driver::with_resolver(brief(&[silent.addr; 2])));
    let fds = open_fds();
    let begin = Instant::now();
    let error = lookup(&mut l, "www.test").unwrap_err();
    assert!(error.starts_with("www.test: name server 127.0.0.1: no answer"), "{error}");
    assert!(begin.elapsed() >= 4 * SHORT && begin.elapsed() < LONG);
    assert_eq!(silent.count(), 8);
    clean(&l, fds);
    // The whole look-up is bounded, too, however many servers and domains there are.
    let many = ResolverConfig { total: 2 * SHORT, ..brief(&[silent.addr; 8]) };
    drop(l);
    let mut l = Loop::with(Driver::with_resolver(many));
    let begin = Instant::now();
    assert!(lookup(&mut l, "www.test").is_err());
    assert!(begin.elapsed() < 16 * SHORT);
    clean(&l, fds);
    // None is configured.
    let mut l = Loop::with(Driver::with_resolver(config(&[])));
    assert!(lookup(&mut l, "www.test").is_err());
}

#[test]
fn one_family_does_not_hold_up_the_other() {
    let _alone = alone();
    let dns = Dns::start(|q| match q.kind {
        AAAA => Vec::new(),
        _ => q.addresses(60, &["192.0.2.1"]),
    });
    let slow = ResolverConfig { timeout: LONG, family_grace: SHORT, ..config(&[dns.addr]) };
    let mut l = Loop::with(Driver::with_resolver(slow));
    let fds = open_fds();
    let begin = Instant::now();
    assert_eq!(lookup(&mut l, "www.test"), ips(&["192.0.2.1"]));
    assert!(begin.elapsed() < LONG);
    clean(&l, fds);
}

#[test]
fn a_server_without_edns() {
    let _alone = alone();
    let dns = Dns::start(|q| if q.edns { vec![q.reply(1, false, &[], None)] } else { q.addresses(60, &["192.0.2.1"]) });
    let mut l = resolver(&[&dns]);
    assert_eq!(lookup(&mut l, "www.test"), ips(&["192.0.2.1"]));
    assert_eq!(dns.count(), 4);
}

#[test]
fn search_domains() {
    let _alone = alone();
    let dns = Dns::start(|q| match q.name.as_str() {
        "db.b.test" | "a.b.c" => q.addresses(60, &["192.0.2.1"]),
        _ => vec![q.reply(3, false, &[], Some(60))],
    });
    let search = ResolverConfig { search: vec!["a.test".into(), "b.test".into()], ..config(&[dns.addr]) };
    let mut l = Loop::with(Driver::with_resolver(search));
    assert_eq!(lookup(&mut l, "db"), ips(&["192.0.2.1"]));
    let names: Vec<_> = dns.asked().into_iter().filter(|q| q.kind == A).map(|q| q.name).collect();
    assert_eq!(names, ["db.a.test", "db.b.test"]);
    assert_eq!(lookup(&mut l, "a.b.c"), ips(&["192.0.2.1"]));
    assert!(lookup(&mut l, "db.").is_err());
    assert!(lookup(&mut l, "no.where").is_err());
}

#[test]
fn look_ups_are_bounded() {
    let _alone = alone();
    let silent = Dns::silent();
    let tight = ResolverConfig { in_flight: 10, queue: 20, attempts: 1, ..brief(&[silent.addr]) };
    let mut l = Loop::with(Driver::with_resolver(tight));
    let fds = open_fds();
    for i in 0..40 {
        ask(&mut l, &format!("n{i}.test"), i);
    }
    assert_eq!(open_fds(), fds + 20, "two queries for each of ten");
    let mut full = 0;
    for _ in 0..40 {
        full += usize::from(next(&mut l).1.unwrap_err().ends_with("too many look-ups"));
    }
    assert_eq!(full, 10);
    clean(&l, fds);
}

#[test]
fn ids_and_ports_are_hard_to_guess() {
    let _alone = alone();
    let dns = Dns::start(|q| q.addresses(0, &["192.0.2.1"]));
    let mut l = resolver(&[&dns]);
    for _ in 0..100 {
        lookup(&mut l, "www.test").unwrap();
    }
    let asked = dns.asked();
    let ids: HashSet<_> = asked.iter().map(|q| q.id).collect();
    let ports: HashSet<_> = asked.iter().map(|q| q.from.port()).collect();
    assert!(ids.len() > 95 && ports.len() > 80, "{} ids, {} ports of {}", ids.len(), ports.len(), asked.len());
    let steps: HashSet<_> = asked.windows(2).map(|w| w[1].id.wrapping_sub(w[0].id)).collect();
    assert!(steps.len() > 95);
}

fn web(host: &str, port: u16) -> Request {
    Request::Http(HttpRequest {
        method: HttpMethod::Get,
        url: format!("http://{host}:{port}/").into(),
        headers: Vec::new(),
        body: None,
        options: Rc::new(HttpOptions { connect_timeout: Duration::ZERO, ..HttpOptions::default() }),
    })
}

#[test]
fn an_operation_that_resolves() {
    let _alone = alone();
    let dns = Dns::start(|q| {
        if q.name == "slow.test" {
            std::thread::sleep(SHORT);
        }
        match q.name.as_str() {
            "gone.test" => vec![q.reply(3, false, &[], None)],
            "web.test" => q.addresses(60, &["127.0.0.2", "127.0.0.1"]),
            _ => q.addresses(60, &["127.0.0.1"]),
        }
    });
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let web_server = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let _ = stream.read(&mut [0; 1000]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let mut l = resolver(&[&dns]);
    let fds = open_fds();
    let Outcome::Http(r) = l.run(web("web.test", port), LONG) else { panic!() };
    assert_eq!(r.body, b"ok");
    web_server.join().unwrap();
    let Outcome::Failed(f) = l.run(web("gone.test", port), LONG) else { panic!() };
    assert_eq!((f.why, f.phase, f.detail.as_str()), (Why::Refused, Phase::Resolve, "gone.test: no such name"));

    // Given up while the name is looked up: the answer that comes later finds nobody.
    let id = l.start(web("slow.test", port), LONG);
    assert_eq!(l.driver.info(id).unwrap().phase, Phase::Resolve);
    l.cancel(id, CancelReason::Gone);
    let Outcome::Failed(f) = l.wait(id) else { panic!() };
    assert_eq!((f.why, f.phase), (Why::Cancelled, Phase::Resolve));
    let Outcome::Failed(f) = l.run(web("slow.test", port), Duration::from_millis(50)) else { panic!() };
    assert_eq!((f.why, f.phase), (Why::Timeout, Phase::Resolve));
    // One descriptor less: the web server's listener.
    l.until(LONG, "the look-ups ended", |l| l.reactor.timers() == 0 && open_fds() == fds - 1);
    assert!(l.driver.is_empty() && l.done.is_empty());
    assert_eq!(l.driver.poll_resolved(), None);
    clean(&l, fds - 1);
}

fn records(l: &mut Loop, name: &str, want: Want) -> Answer {
    ask_for(l, name, want, 1);
    next_answer(l).1
}

#[test]
fn services_and_rules() {
    let _alone = alone();
    let zone = Zone::default()
        .record("_sip._udp.x.test", SRV, srv(1, 2, 5070, "A.x.test"))
        .record("_sip._udp.x.test", SRV, srv(3, 4, 5071, "b.x.test"))
        .record("x.test", NAPTR, naptr(5, 6, "s", "SIP+D2U", "_sip._udp.x.test"))
        .record("alias.test", CNAME, wire("x.test"));
    let dns = zone.serve();
    let mut l = resolver(&[&dns]);
    let fds = open_fds();
    for _ in 0..3 {
        let Ok(Found::Records(found)) = records(&mut l, "_SIP._udp.x.test", Want::Srv) else { panic!() };
        let Record::Srv { priority, weight, port, target } = &found[0] else { panic!("{found:?}") };
        assert_eq!((found.len(), *priority, *weight, *port), (2, 1, 2, 5070));
        assert!(target.eq_ignore_ascii_case("a.x.test") || target.eq_ignore_ascii_case("a.x.test."), "{target}");
        let Ok(Found::Records(found)) = records(&mut l, "x.test", Want::Naptr) else { panic!() };
        let Record::Naptr { order, preference, flags, service, .. } = &found[0] else { panic!("{found:?}") };
        assert_eq!((*order, *preference, flags.as_str(), service.as_str()), (5, 6, "s", "SIP+D2U"));
        let failure = records(&mut l, "x.test", Want::Srv).unwrap_err();
        assert_eq!((failure.fault, failure.text.as_str()), (Fault::Absent, "x.test: the name has no SRV record"));
        let failure = records(&mut l, "gone.test", Want::Naptr).unwrap_err();
        assert_eq!((failure.fault, failure.text.as_str()), (Fault::Absent, "gone.test: no such name"));
    }
    assert_eq!(dns.count(), 4, "each is asked once");
    for bad in ["", "a b", "192.0.2.1 "] {
        assert_eq!(records(&mut l, bad, Want::Srv).unwrap_err().fault, Fault::Refused);
    }
    clean(&l, fds);
}

#[test]
fn one_version_only_is_asked_for() {
    let _alone = alone();
    let dns = Dns::start(|q| q.addresses(60, &["192.0.2.1", "2001:db8::1"]));
    let config = ResolverConfig { servers: vec![dns.addr], ..ResolverConfig::parse("", "2001:db8::7 six.test\n") };
    let mut l = Loop::with(Driver::with_resolver(config));
    let addresses = |answer: Answer| match answer {
        Ok(Found::Addresses(ips)) => ips,
        other => panic!("{other:?}"),
    };
    assert_eq!(addresses(records(&mut l, "www.test", Want::V4)), ips(&["192.0.2.1"]).unwrap());
    assert_eq!(dns.asked().iter().map(|q| q.kind).collect::<Vec<_>>(), [A]);
    assert_eq!(addresses(records(&mut l, "www.test", Want::V6)), ips(&["2001:db8::1"]).unwrap());
    assert_eq!(dns.count(), 2);
    assert_eq!(lookup(&mut l, "www.test").unwrap().len(), 2, "both are known");
    assert_eq!(dns.count(), 2);
    // The hosts file knows one version: the name server is asked for the other.
    assert_eq!(addresses(records(&mut l, "six.test", Want::V6)), ips(&["2001:db8::7"]).unwrap());
    assert_eq!(dns.count(), 2);
    assert_eq!(addresses(records(&mut l, "six.test", Want::V4)), ips(&["192.0.2.1"]).unwrap());
}

#[test]
fn failures_are_remembered_for_a_moment() {
    let _alone = alone();
    let lame = Dns::start(|q| vec![q.reply(5, false, &[], None)]);
    let mut l = resolver(&[&lame]);
    let fds = open_fds();
    let failure = records(&mut l, "www.test", Want::Srv).unwrap_err();
    assert_eq!(failure.fault, Fault::Unanswered);
    let asked = lame.count();
    for _ in 0..100 {
        assert_eq!(records(&mut l, "www.test", Want::Srv).unwrap_err(), failure);
    }
    assert_eq!(lame.count(), asked, "RFC 9520 section 3.2");
    l.run_for(Duration::from_millis(2100));
    records(&mut l, "www.test", Want::Srv).unwrap_err();
    assert!(lame.count() > asked);
    clean(&l, fds);
}

#[test]
fn a_lame_server_is_left_for_the_next() {
    let _alone = alone();
    let refusing = Dns::start(|q| vec![q.reply(5, false, &[], None)]);
    // Not implemented, and nothing at all for what it does not know.
    let old = Dns::start(|q| if q.kind == NAPTR { vec![q.reply(4, false, &[], None)] } else { Vec::new() });
    let good = Zone::default().record("x.test", NAPTR, naptr(1, 1, "s", "SIP+D2U", "_sip._udp.x.test")).serve();
    for first in [&refusing, &old] {
        let mut l = resolver(&[first, &good]);
        let fds = open_fds();
        assert!(matches!(records(&mut l, "x.test", Want::Naptr), Ok(Found::Records(r)) if r.len() == 1));
        assert!(first.count() >= 1);
        clean(&l, fds);
    }
}

#[test]
fn services_that_do_not_fit_come_over_tcp() {
    let _alone = alone();
    let dns = Dns::start(|q| {
        if !q.tcp {
            return vec![q.reply(0, true, &[], None)];
        }
        let many: Vec<_> = (0..100u16).map(|i| (q.name.as_str(), SRV, 60, srv(i, 0, 5060, "host.x.test"))).collect();
        vec![q.reply(0, false, &many, None)]
    });
    let mut l = resolver(&[&dns]);
    let fds = open_fds();
    assert!(matches!(records(&mut l, "_sip._udp.x.test", Want::Srv), Ok(Found::Records(r)) if r.len() == 100));
    l.until(LONG, "the connection closed", |_| open_fds() == fds);
    clean(&l, fds);
}

#[test]
fn short_names_of_services_are_searched_and_full_ones_are_not() {
    let _alone = alone();
    let dns = Zone::default().record("_sip._udp.pbx.corp.test", SRV, srv(1, 1, 5060, "pbx.corp.test")).serve();
    let config = ResolverConfig { search: vec!["corp.test".into()], ..config(&[dns.addr]) };
    let mut l = Loop::with(Driver::with_resolver(config));
    assert!(records(&mut l, "_sip._udp.pbx", Want::Srv).is_ok());
    assert!(records(&mut l, "_sip._udp.far.away", Want::Srv).is_err());
    let names: Vec<_> = dns.asked().into_iter().map(|q| q.name).collect();
    assert_eq!(names, ["_sip._udp.pbx.corp.test", "_sip._udp.far.away"]);
}

#[test]
fn times_to_live_have_bounds_and_the_files_may_change() {
    let _alone = alone();
    let dns = Dns::start(|q| q.addresses(if q.name == "zero.test" { 0 } else { 3600 }, &["192.0.2.1"]));
    let bounded = ResolverConfig { min_ttl: 60, max_ttl: 1, ..config(&[dns.addr]) };
    let mut l = Loop::with(Driver::with_resolver(ResolverConfig { max_ttl: 100, ..bounded.clone() }));
    lookup(&mut l, "zero.test").unwrap();
    lookup(&mut l, "zero.test").unwrap();
    assert_eq!(dns.count(), 2, "kept longer than it says");
    let mut l = Loop::with(Driver::with_resolver(ResolverConfig { min_ttl: 0, ..bounded }));
    lookup(&mut l, "long.test").unwrap();
    l.run_for(Duration::from_millis(1100));
    lookup(&mut l, "long.test").unwrap();
    assert_eq!(dns.count(), 5, "kept shorter than it says (that there is no AAAA is kept)");
    // A name that the hosts file has now wins at once; other servers are asked from now on.
    let other = Dns::start(|q| q.addresses(60, &["192.0.2.2"]));
    let hosts = ResolverConfig::parse("", "192.0.2.9 long.test\n").hosts;
    l.driver.configure_resolver(ResolverConfig { hosts, ..config(&[other.addr]) });
    assert_eq!(lookup(&mut l, "long.test"), ips(&["192.0.2.9"]));
    assert_eq!(lookup(&mut l, "else.test"), ips(&["192.0.2.2"]));
}
