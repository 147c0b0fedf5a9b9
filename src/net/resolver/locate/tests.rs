//! RFC 3263 as a table: next hops, what the name server knows, and what is tried in which order.

use super::*;
use crate::net::resolver::message::Record;

/// A name server's data: `owner type data`.
struct Zone(Vec<(&'static str, Record)>, Vec<(&'static str, Fault)>);

fn naptr(order: u16, preference: u16, flags: &str, service: &str, to: &str) -> Record {
    let (flags, service, replacement) = (flags.into(), service.into(), to.into());
    Record::Naptr { order, preference, flags, service, regexp: String::new(), replacement }
}

fn srv(priority: u16, port: u16, target: &str) -> Record {
    Record::Srv { priority, weight: 0, port, target: target.into() }
}

fn a(ip: &str) -> Record {
    Record::Address(ip.parse().unwrap())
}

impl Zone {
    fn answer(&self, question: &Question) -> Result<Found, Failure> {
        let name = question.name.trim_end_matches('.');
        if let Some((_, fault)) = self.1.iter().find(|(n, _)| *n == name) {
            return Err(Failure { fault: *fault, text: format!("{name}: no answer") });
        }
        let all = self.0.iter().filter(|(n, _)| *n == name).map(|(_, r)| r.clone());
        let fits: Vec<Record> = all
            .filter(|r| match (r, question.want) {
                (Record::Address(ip), want) => want.is_address() && want.fits(ip),
                (Record::Srv { .. }, want) => want == Want::Srv,
                (Record::Naptr { .. }, want) => want == Want::Naptr,
                (Record::Ptr(_), want) => want == Want::Ptr,
            })
            .collect();
        if fits.is_empty() {
            return Err(Failure { fault: Fault::Absent, text: format!("{name}: no such name") });
        }
        Ok(match question.want {
            Want::Srv | Want::Naptr | Want::Ptr => Found::Records(fits.into()),
            _ => Found::Addresses(
                fits.into_iter().filter_map(|r| if let Record::Address(ip) = r { Some(ip) } else { None }).collect(),
            ),
        })
    }
}

/// The zone of most tests.
fn example() -> Zone {
    Zone(
        vec![
            // The example of RFC 3263 section 4.1, with UDP last.
            ("all.test", naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.all.test")),
            ("all.test", naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.all.test")),
            ("all.test", naptr(100, 50, "S", "sip+d2u", "_sip._udp.all.test.")),
            ("all.test", naptr(10, 50, "u", "E2U+sip", ".")),
            ("_sips._tcp.all.test", srv(0, 5071, "s1.all.test")),
            ("_sip._tcp.all.test", srv(0, 5072, "s1.all.test")),
            ("_sip._udp.all.test", srv(1, 5060, "s2.all.test")),
            ("_sip._udp.all.test", srv(0, 5073, "s1.all.test.")),
            ("s1.all.test", a("10.0.0.1")),
            ("s1.all.test", a("2001:db8::1")),
            ("s2.all.test", a("10.0.0.2")),
            ("all.test", a("10.0.0.9")),
            // SRV only.
            ("_sip._tcp.srv.test", srv(0, 5080, "s2.all.test")),
            ("srv.test", a("10.0.0.8")),
            // Addresses only.
            ("plain.test", a("10.0.0.7")),
            ("six.test", a("2001:db8::6")),
            // One order, two preferences; flag "a" leads to addresses.
            ("pref.test", naptr(1, 20, "s", "SIP+D2U", "_sip._udp.all.test")),
            ("pref.test", naptr(1, 10, "a", "SIP+D2T", "plain.test")),
            // NAPTR that leads nowhere.
            ("lost.test", naptr(1, 1, "s", "SIP+D2U", "_sip._udp.gone.test")),
            ("lost.test", a("10.0.0.6")),
            // Nothing for us.
            ("mail.test", naptr(1, 1, "s", "E2U+email", "_smtp._tcp.mail.test")),
            ("mail.test", a("10.0.0.5")),
            // "Decidedly not available".
            ("_sip._udp.no.test", srv(0, 0, ".")),
            ("no.test", a("10.0.0.4")),
            // A target without an address, then one that has one.
            ("_sip._udp.half.test", srv(0, 1, "gone.test")),
            ("_sip._udp.half.test", srv(1, 2, "plain.test")),
        ],
        vec![("broken.test", Fault::Unanswered), ("_sip._udp.broken.test", Fault::Unanswered)],
    )
}

fn reach(list: &[Transport], v6: bool) -> Reach {
    let mut reach = Reach::default();
    for t in list {
        reach.add(*t, false);
        if v6 {
            reach.add(*t, true);
        }
    }
    reach
}

const UDP: &[Transport] = &[Transport::Udp];
const BOTH: &[Transport] = &[Transport::Udp, Transport::Tcp];
const ALL: &[Transport] = &[Transport::Udp, Transport::Tcp, Transport::Tls];

/// All destinations and all questions.
fn run(zone: &Zone, uri: &str, policy: Policy) -> (Vec<String>, Vec<String>, Option<String>) {
    let mut l = Locator::new(Hop::of_uri(uri.as_bytes()).unwrap(), policy);
    let (mut found, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        match l.next() {
            Next::Ask(q) => {
                assert_eq!(l.next(), Next::Ask(q.clone()), "a question is repeated until it is answered");
                asked.push(format!("{:?} {}", q.want, q.name));
                l.answer(zone.answer(&q));
            }
            Next::Try(d) => found.push(format!("{} {}", d.transport.as_param(), d.addr)),
            Next::End(why) => {
                assert!(!l.may_have_more());
                return (found, asked, why);
            }
        }
    }
    panic!("no end");
}

fn found(uri: &str, transports: &[Transport], v6: bool) -> Vec<String> {
    run(&example(), uri, Policy::new(reach(transports, v6))).0
}

#[test]
fn the_table() {
    let cases: &[(&str, &[Transport], bool, &[&str])] = &[
        // Numeric: nothing is looked up.
        ("sip:10.1.1.1", UDP, false, &["udp 10.1.1.1:5060"]),
        ("sip:10.1.1.1:7", ALL, false, &["udp 10.1.1.1:7"]),
        ("sip:10.1.1.1;transport=tcp", BOTH, false, &["tcp 10.1.1.1:5060"]),
        ("sip:10.1.1.1;transport=tls", ALL, false, &["tls 10.1.1.1:5061"]),
        ("sips:10.1.1.1", ALL, false, &["tls 10.1.1.1:5061"]),
        ("sips:10.1.1.1:7;transport=tcp", ALL, false, &["tls 10.1.1.1:7"]),
        ("sip:10.1.1.1", &[Transport::Tcp], false, &["tcp 10.1.1.1:5060"]),
        ("sip:[2001:db8::9]", UDP, true, &["udp [2001:db8::9]:5060"]),
        ("sip:x.test;maddr=10.1.1.2", UDP, false, &["udp 10.1.1.2:5060"]),
        // What cannot be sent.
        ("sip:[2001:db8::9]", UDP, false, &[]),
        ("sip:10.1.1.1;transport=tcp", UDP, false, &[]),
        ("sip:10.1.1.1;transport=sctp", ALL, false, &[]),
        ("sip:10.1.1.1;transport=x", ALL, false, &[]),
        ("sips:10.1.1.1", BOTH, false, &[]),
        ("sips:10.1.1.1;transport=udp", ALL, false, &[]),
        ("sips:all.test", BOTH, false, &[]),
        // A port: addresses only.
        ("sip:all.test:5090", UDP, false, &["udp 10.0.0.9:5090"]),
        ("sips:all.test:5090", ALL, false, &["tls 10.0.0.9:5090"]),
        ("sip:all.test:5090;transport=tcp", BOTH, false, &["tcp 10.0.0.9:5090"]),
        // A transport: its SRV, else addresses.
        ("sip:all.test;transport=udp", ALL, false, &["udp 10.0.0.1:5073", "udp 10.0.0.2:5060"]),
        ("sip:all.test;transport=tls", ALL, false, &["tls 10.0.0.1:5071"]),
        ("sip:plain.test;transport=tcp", BOTH, false, &["tcp 10.0.0.7:5060"]),
        ("sips:plain.test;transport=tcp", ALL, false, &["tls 10.0.0.7:5061"]),
        // NAPTR: the lowest order among what can be sent.
        ("sip:all.test", UDP, false, &["udp 10.0.0.1:5073", "udp 10.0.0.2:5060"]),
        ("sip:all.test", BOTH, false, &["tcp 10.0.0.1:5072"]),
        ("sip:all.test", ALL, false, &["tls 10.0.0.1:5071"]),
        ("sips:all.test", ALL, false, &["tls 10.0.0.1:5071"]),
        ("sip:all.test", UDP, true, &["udp 10.0.0.1:5073", "udp [2001:db8::1]:5073", "udp 10.0.0.2:5060"]),
        // Within one order by preference.
        ("sip:pref.test", BOTH, false, &["tcp 10.0.0.7:5060", "udp 10.0.0.1:5073", "udp 10.0.0.2:5060"]),
        ("sip:pref.test", UDP, false, &["udp 10.0.0.1:5073", "udp 10.0.0.2:5060"]),
        // It leads nowhere, or is not about SIP: go on.
        ("sip:lost.test", UDP, false, &["udp 10.0.0.6:5060"]),
        ("sip:mail.test", UDP, false, &["udp 10.0.0.5:5060"]),
        // No NAPTR: SRV of the transports in turn.
        ("sip:srv.test", BOTH, false, &["tcp 10.0.0.2:5080"]),
        ("sip:srv.test", UDP, false, &["udp 10.0.0.8:5060"]),
        ("sip:plain.test", ALL, false, &["udp 10.0.0.7:5060"]),
        ("sips:plain.test", ALL, false, &["tls 10.0.0.7:5061"]),
        ("sip:six.test", UDP, true, &["udp [2001:db8::6]:5060"]),
        ("sip:six.test", UDP, false, &[]),
        // Not offered: no address is guessed.
        ("sip:no.test", UDP, false, &[]),
        ("sip:no.test:5060", UDP, false, &["udp 10.0.0.4:5060"]),
        ("sip:half.test", UDP, false, &["udp 10.0.0.7:2"]),
        ("sip:gone.test", ALL, true, &[]),
        ("sip:broken.test", UDP, true, &[]),
    ];
    for (uri, transports, v6, want) in cases {
        let (got, _, why) = run(&example(), uri, Policy::new(reach(transports, *v6)));
        assert_eq!(got, *want, "{uri} over {transports:?}, IPv6 {v6}");
        assert_eq!(why.is_some(), want.is_empty(), "{uri}: a reason if and only if there is nothing: {why:?}");
    }
}

#[test]
fn only_what_is_needed_is_asked() {
    let policy = Policy::new(reach(UDP, false));
    let asked = |uri: &str, policy: Policy| run(&example(), uri, policy).1;
    assert_eq!(asked("sip:10.1.1.1", policy), [""; 0]);
    assert_eq!(asked("sip:all.test:5060", policy), ["V4 all.test"]);
    assert_eq!(asked("sip:plain.test", policy), ["Naptr plain.test", "Srv _sip._udp.plain.test", "V4 plain.test"]);
    assert_eq!(
        asked("sip:plain.test", Policy { naptr: false, ..policy }),
        ["Srv _sip._udp.plain.test", "V4 plain.test"]
    );
    assert_eq!(
        asked("sip:srv.test;transport=tcp", Policy::new(reach(BOTH, true))),
        ["Srv _sip._tcp.srv.test", "Addresses s2.all.test."]
    );
    // Names are expanded one by one.
    let mut l = Locator::new(Hop::of_uri(b"sip:all.test;transport=udp").unwrap(), policy);
    let zone = example();
    for want in [Want::Srv, Want::V4] {
        let Next::Ask(q) = l.next() else { panic!() };
        assert_eq!(q.want, want);
        l.answer(zone.answer(&q));
    }
    assert!(matches!(l.next(), Next::Try(_)) && l.may_have_more());
    let Next::Ask(q) = l.next() else { panic!() };
    assert_eq!(q.name, "s2.all.test.");
}

#[test]
fn without_ipv6_only_if_told() {
    let policy = Policy { ipv6: false, ..Policy::new(reach(UDP, true)) };
    assert_eq!(run(&example(), "sip:all.test;transport=udp", policy).0, ["udp 10.0.0.1:5073", "udp 10.0.0.2:5060"]);
    assert_eq!(run(&example(), "sip:[2001:db8::9]", policy).0, ["udp [2001:db8::9]:5060"], "a written one is sent to");
}

#[test]
fn reasons_name_what_is_wrong() {
    let why = |uri: &str, t: &[Transport]| run(&example(), uri, Policy::new(reach(t, false))).2.unwrap();
    assert_eq!(why("sip:gone.test", UDP), "gone.test: no such name");
    assert_eq!(why("sip:broken.test", UDP), "broken.test: no answer");
    assert_eq!(why("sips:all.test", UDP), "sips URIs need a TLS socket");
    assert_eq!(why("sip:10.1.1.1;transport=tcp", UDP), "no socket sends tcp for sip URIs");
    assert_eq!(why("sip:no.test", UDP), "no.test: the domain offers no SIP over UDP");
}

#[test]
fn equals_share_by_seed_and_a_seed_repeats_itself() {
    let zone = Zone(
        vec![
            ("_sip._udp.w.test", Record::Srv { priority: 0, weight: 30, port: 1, target: "s1.w.test".into() }),
            ("_sip._udp.w.test", Record::Srv { priority: 0, weight: 10, port: 2, target: "s2.w.test".into() }),
            ("s1.w.test", a("10.0.0.1")),
            ("s2.w.test", a("10.0.0.2")),
            ("rr.test", a("10.0.0.3")),
            ("rr.test", a("10.0.0.4")),
        ],
        Vec::new(),
    );
    let policy = |seed| Policy { seed, ..Policy::new(reach(UDP, false)) };
    let (mut first, mut third) = (0, 0);
    for seed in 0..4000 {
        let order = run(&zone, "sip:w.test", policy(seed)).0;
        assert_eq!(order.len(), 2, "the others come after it");
        assert_eq!(order, run(&zone, "sip:w.test", policy(seed)).0);
        first += u32::from(order[0] == "udp 10.0.0.1:1");
        third += u32::from(run(&zone, "sip:rr.test:5060", policy(seed)).0[0] == "udp 10.0.0.3:5060");
    }
    assert!((2850..3150).contains(&first), "{first} of 4000, weight 30 of 40");
    assert!((1850..2150).contains(&third), "{third} of 4000, one of two addresses");
}

#[test]
fn the_search_is_bounded_and_repeats_nothing() {
    let mut many = vec![("_sip._udp.m.test", srv(0, 5060, "x.m.test")), ("x.m.test", a("10.9.9.9"))];
    for i in 0..250u16 {
        many.push(("_sip._udp.m.test", srv(i, 5060, "x.m.test")));
        many.push(("_sip._udp.n.test", srv(i, i + 1, "x.m.test")));
    }
    let zone = Zone(many, Vec::new());
    let policy = Policy::new(reach(UDP, false));
    assert_eq!(run(&zone, "sip:m.test", policy).0, ["udp 10.9.9.9:5060"]);
    assert_eq!(run(&zone, "sip:n.test", policy).0.len(), MAX_GIVEN);
    // Answers of the wrong kind, and answers nobody asked for, do no harm.
    let mut l = Locator::new(Hop::of_uri(b"sip:x.test").unwrap(), policy);
    l.answer(Ok(Found::Addresses(vec!["10.0.0.1".parse().unwrap()])));
    for _ in 0..3 {
        assert!(matches!(l.next(), Next::Ask(_)));
        let Next::Ask(q) = l.next() else { panic!() };
        let wrong = if q.want.is_address() {
            Found::Records([srv(0, 1, "y.test")].into())
        } else {
            Found::Addresses(vec!["10.0.0.1".parse().unwrap()])
        };
        l.answer(Ok(wrong));
    }
    assert!(matches!(l.next(), Next::End(Some(_))));
}

#[test]
fn all_transports_of_the_table_are_known_services() {
    assert_eq!(found("sip:all.test", &[Transport::Sctp], false), [""; 0]);
    for t in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Sctp, Transport::TlsSctp] {
        assert!(service(t, "d").is_some());
    }
    for s in ["SIP+D2U", "SIP+D2T", "SIPS+D2T", "SIP+D2S", "SIPS+D2S", "SIP+D2W", "SIPS+D2W"] {
        assert!(naptr_transport(s).is_some());
    }
}

#[test]
fn whatever_the_name_servers_say_the_search_ends() {
    let names = ["a.test", "b.test.", ".", "", "_sip._udp.a.test", "a.test"];
    for seed in 0..4000u64 {
        let mut dice = Dice::new(seed);
        let mut draw = |n: u64| dice.below(n);
        let mut reach = Reach::default();
        for t in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Sctp] {
            if draw(2) == 0 {
                reach.add(t, draw(2) == 0);
            }
        }
        let uris = ["sip:a.test", "sips:a.test", "sip:a.test;transport=tcp", "sip:a.test:1", "sip:10.0.0.1"];
        let hop = Hop::of_uri(uris[draw(5) as usize].as_bytes()).unwrap();
        let mut l = Locator::new(hop, Policy { naptr: draw(2) == 0, seed, ..Policy::new(reach) });
        let (mut asked, mut tried) = (0, Vec::new());
        loop {
            match l.next() {
                Next::End(_) => break,
                Next::Try(d) => {
                    assert!(reach.fits(d.transport, &d.addr.ip()), "{d:?}");
                    tried.push(d);
                }
                Next::Ask(_) => {
                    asked += 1;
                    let n = draw(40);
                    let name = names[draw(6) as usize];
                    let answer = match draw(5) {
                        0 => Err(Failure { fault: Fault::Absent, text: "no".into() }),
                        1 => Err(Failure { fault: Fault::Unanswered, text: "no".into() }),
                        2 => Ok(Found::Records((0..n).map(|i| srv(draw(3) as u16, i as u16, name)).collect())),
                        3 => {
                            Ok(Found::Records((0..n).map(|_| naptr(draw(3) as u16, 1, "s", "SIP+D2U", name)).collect()))
                        }
                        _ => Ok(Found::Addresses(vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()])),
                    };
                    l.answer(answer);
                }
            }
        }
        assert!(tried.len() <= MAX_GIVEN && asked <= MAX_QUESTIONS, "{asked} questions");
        let different: std::collections::HashSet<_> = tried.iter().collect();
        assert_eq!(different.len(), tried.len());
    }
}
