use super::*;
use crate::base::Key;
use crate::store::latency::LatencyTable;

const MYSQL: OpKind = OpKind::Mysql;

fn op(n: u32) -> OpId {
    Key { index: n, generation: 0 }
}

fn at(ms: u64) -> Time {
    Time::from_micros(1_000_000_000 + ms * 1000)
}

fn fine() -> Outcome {
    Outcome::Slept
}

fn failed(why: Why, phase: Phase) -> Outcome {
    Outcome::Failed(Failure::new(why, phase, "said no"))
}

fn refused() -> Outcome {
    failed(Why::Refused, Phase::Connect)
}

/// Two at once, three in the queue, three failures open it for a second.
fn small() -> Policy {
    Policy { in_flight: 2, queue: 3, failures: 3, ..Policy::default() }
}

fn backends(policy: Policy) -> (Backends, GateId) {
    let mut b = Backends::new();
    b.set_policy(MYSQL, policy);
    let gate = b.gate(MYSQL, b"mysql://u:p@h/d", || "mysql://u@h/d".to_string());
    (b, gate)
}

fn drain(b: &mut Backends) -> Vec<u32> {
    std::iter::from_fn(|| b.next_waiting()).map(|id| id.index).collect()
}

/// Lets one operation in and ends it.
fn pass(b: &mut Backends, gate: GateId, n: u32, outcome: &Outcome, now: Time) -> bool {
    match b.admit(op(n), gate, now) {
        Admission::Go => {
            b.ended(op(n), gate, outcome, now);
            true
        }
        Admission::Wait => panic!("nothing is in flight"),
        Admission::Refuse(f) => {
            assert_eq!(f.why, Why::Open);
            false
        }
    }
}

#[test]
fn a_limit_in_flight_and_a_bounded_queue() {
    let (mut b, gate) = backends(small());
    assert!(matches!(b.admit(op(1), gate, at(0)), Admission::Go));
    assert!(matches!(b.admit(op(2), gate, at(0)), Admission::Go));
    for n in 3..6 {
        assert!(matches!(b.admit(op(n), gate, at(0)), Admission::Wait));
    }
    let Admission::Refuse(f) = b.admit(op(6), gate, at(0)) else { panic!() };
    assert_eq!((f.why, f.phase), (Why::Overload, Phase::Queue));
    assert!(f.detail.contains("mysql://u@h/d: 3 operations wait already"), "{}", f.detail);
    assert!(drain(&mut b).is_empty());
    // One that waits is withdrawn, one that runs ends.
    b.ended(op(3), gate, &failed(Why::Cancelled, Phase::Queue), at(1));
    assert!(drain(&mut b).is_empty());
    b.ended(op(1), gate, &fine(), at(2));
    assert_eq!(drain(&mut b), [4]);
    b.ended(op(2), gate, &fine(), at(2));
    b.ended(op(4), gate, &fine(), at(2));
    assert_eq!(drain(&mut b), [5]);
    b.ended(op(5), gate, &fine(), at(3));
    assert!(drain(&mut b).is_empty() && b.running(gate).is_none());
}

#[test]
fn one_that_is_given_up_while_it_waits_never_has_its_turn() {
    let (mut b, gate) = backends(small());
    for n in 1..6 {
        let _ = b.admit(op(n), gate, at(0));
    }
    // All are given up in the same turn; the one that runs is told first.
    let late = failed(Why::Timeout, Phase::Connect);
    for n in 3..6 {
        b.withdraw(op(n), gate);
    }
    b.ended(op(1), gate, &late, at(1));
    assert!(drain(&mut b).is_empty());
    for n in 3..6 {
        b.ended(op(n), gate, &late, at(1));
    }
    // They have seen nothing of the backend: one failure is not three.
    assert!(matches!(b.admit(op(6), gate, at(1)), Admission::Go));
    assert!(matches!(b.admit(op(7), gate, at(1)), Admission::Wait));
}

#[test]
fn a_limit_over_all_backends_of_a_kind_is_shared_fairly() {
    let mut b = Backends::new();
    b.set_policy(OpKind::Http, Policy { in_flight: 2, in_flight_total: 3, ..Policy::default() });
    let gates: Vec<_> = (0..3u8).map(|n| b.gate(OpKind::Http, &[n], || format!("http://{n}"))).collect();
    let mut n = 0;
    let mut waiting = 0;
    for gate in &gates {
        for _ in 0..3 {
            n += 1;
            waiting += usize::from(matches!(b.admit(op(n), *gate, at(0)), Admission::Wait));
        }
    }
    assert_eq!(waiting, 6);
    // 1 and 2 run for the first host, 4 for the second: all get their turn.
    let mut running = vec![(1, 0), (2, 0), (4, 1)];
    let mut seen = Vec::new();
    while let Some((id, gate)) = running.pop() {
        b.ended(op(id), gates[gate], &fine(), at(1));
        for id in drain(&mut b) {
            seen.push(id);
            running.push((id, (id as usize - 1) / 3));
        }
        assert!(running.len() <= 3);
    }
    seen.sort_unstable();
    assert_eq!(seen, [3, 5, 6, 7, 8, 9]);
}

#[test]
fn the_circuit_opens_is_probed_and_closes() {
    let (mut b, gate) = backends(small());
    // A success in between begins the count anew.
    for outcome in [refused(), refused(), fine(), refused(), refused()] {
        assert!(pass(&mut b, gate, 1, &outcome, at(0)));
    }
    // Two are in flight, two wait; one more failure turns the latter away.
    for n in 1..3 {
        assert!(matches!(b.admit(op(n), gate, at(0)), Admission::Go));
    }
    for n in 3..5 {
        assert!(matches!(b.admit(op(n), gate, at(0)), Admission::Wait));
    }
    b.ended(op(1), gate, &refused(), at(0));
    let away: Vec<_> = std::iter::from_fn(|| b.turned_away()).collect();
    assert_eq!(away.iter().map(|(id, _)| id.index).collect::<Vec<_>>(), [3, 4]);
    let text = &away[0].1.detail;
    assert!(
        text.contains("3 failures in a row, the last: refused in phase connect: said no; next attempt in"),
        "{text}"
    );
    assert!(drain(&mut b).is_empty());
    for (id, f) in away {
        b.ended(id, gate, &Outcome::Failed(f), at(0));
    }
    // A straggler's failure changes nothing.
    b.ended(op(2), gate, &refused(), at(1));
    assert!(!pass(&mut b, gate, 5, &fine(), at(700)), "open for 750 to 1250 ms");
    // One probe at a time.
    assert!(matches!(b.admit(op(6), gate, at(1251)), Admission::Go));
    assert!(!pass(&mut b, gate, 7, &fine(), at(1260)));
    b.ended(op(6), gate, &refused(), at(1300));
    assert!(!pass(&mut b, gate, 8, &fine(), at(1300 + 1400)), "twice as long now");
    // A probe that nobody wanted any more says nothing: the next one is the probe.
    assert!(pass(&mut b, gate, 9, &failed(Why::Cancelled, Phase::Wait), at(1300 + 2501)));
    assert!(pass(&mut b, gate, 10, &fine(), at(1300 + 2502)));
    for n in 11..20 {
        assert!(pass(&mut b, gate, n, &fine(), at(4000)));
    }
    // The pause begins anew with the next time it opens, and never exceeds its limit.
    let mut now = 5000;
    for _ in 0..3 {
        assert!(pass(&mut b, gate, 1, &refused(), at(now)));
    }
    for _ in 0..8 {
        let opened = now;
        while !pass(&mut b, gate, 1, &refused(), at(now)) {
            now += 10;
        }
        assert!((740..=12_510).contains(&(now - opened)), "{}", now - opened);
    }
}

#[test]
fn a_success_that_comes_late_closes_it() {
    let (mut b, gate) = backends(small());
    assert!(matches!(b.admit(op(1), gate, at(0)), Admission::Go));
    for _ in 0..3 {
        assert!(pass(&mut b, gate, 2, &failed(Why::Timeout, Phase::Wait), at(0)));
    }
    assert!(!pass(&mut b, gate, 2, &fine(), at(1)));
    b.ended(op(1), gate, &fine(), at(2));
    assert!(pass(&mut b, gate, 2, &fine(), at(3)));
}

#[test]
fn what_counts_as_a_failure_of_the_backend() {
    let ill = [
        (Why::Timeout, Phase::Connect),
        (Why::Timeout, Phase::Wait),
        (Why::Refused, Phase::Resolve),
        (Why::Closed, Phase::Receive),
        (Why::Garbage, Phase::Login),
        (Why::Denied, Phase::Login),
    ];
    let nothing = [
        (Why::Timeout, Phase::Queue),
        (Why::Cancelled, Phase::Wait),
        (Why::Overload, Phase::Queue),
        (Why::Open, Phase::Queue),
        (Why::BadRequest, Phase::Send),
        (Why::System, Phase::Connect),
    ];
    let well = [(Why::Denied, Phase::Wait), (Why::TooLarge, Phase::Receive)];
    for (why, phase) in ill {
        assert_eq!(verdict(&failed(why, phase)), Verdict::Ill, "{why} {phase}");
    }
    for (why, phase) in nothing {
        assert_eq!(verdict(&failed(why, phase)), Verdict::Nothing, "{why} {phase}");
    }
    for (why, phase) in well {
        assert_eq!(verdict(&failed(why, phase)), Verdict::Well, "{why} {phase}");
    }
    // No breaker at all.
    let (mut b, gate) = backends(Policy { failures: 0, ..small() });
    for n in 0..100 {
        assert!(pass(&mut b, gate, n, &refused(), at(0)));
    }
}

#[test]
fn the_number_of_backends_is_bounded() {
    let mut b = Backends::new();
    b.set_policy(OpKind::Http, small());
    // One that runs and one that has failed are kept; quiet ones are forgotten, the longest unused first.
    let busy = b.gate(OpKind::Http, b"busy", || "busy".into());
    assert!(matches!(b.admit(op(0), busy, at(0)), Admission::Go));
    let ill = b.gate(OpKind::Http, b"ill", || "ill".into());
    assert!(pass(&mut b, ill, 1, &refused(), at(0)));
    for n in 0..5000u32 {
        let gate = b.gate(OpKind::Http, &n.to_le_bytes(), || n.to_string());
        assert!(pass(&mut b, gate, 2, &fine(), at(0)));
        assert_eq!(&*b.name(gate), n.to_string());
    }
    assert_eq!(b.gates.len(), MAX_BACKENDS);
    assert_eq!(b.by_key.values().map(HashMap::len).sum::<usize>(), MAX_BACKENDS);
    assert_eq!((b.gate(OpKind::Http, b"busy", String::new), b.gate(OpKind::Http, b"ill", String::new)), (busy, ill));
    // None can be forgotten: the rest share a gate, whose failures are nobody's.
    for n in 0..MAX_BACKENDS as u32 * 2 {
        let gate = b.gate(MYSQL, &n.to_le_bytes(), || n.to_string());
        let _ = b.admit(op(100 + n), gate, at(0));
    }
    assert_eq!(b.gates.len(), MAX_BACKENDS + 1);
    let shared = b.gate(MYSQL, b"one more", || "one more".into());
    assert_eq!(&*b.name(shared), "(others)");
}

#[test]
fn what_happens_is_counted() {
    let table = LatencyTable::new(1).unwrap();
    let mut b = Backends::new();
    b.set_latencies(table.row(0));
    b.set_policy(MYSQL, small());
    let gate = b.gate(MYSQL, b"key", || "mysql://u@h/d".into());
    for n in 1..5 {
        let _ = b.admit(op(n), gate, at(0));
    }
    let r = table.read().remove(0);
    assert_eq!((r.running, r.waiting, r.open), (2, 2, 0));
    for (n, outcome) in [(1, fine()), (2, refused()), (3, refused()), (4, refused())] {
        b.ended(op(n), gate, &outcome, at(40));
        b.count(gate, &outcome, Duration::from_millis(40));
        drain(&mut b);
    }
    let r = table.read().remove(0);
    assert_eq!((r.running, r.waiting, r.open, r.opened), (0, 0, 1, 1));
    assert_eq!((r.total(Ending::Ok), r.total(Ending::Failed), r.percentile(50)), (1, 3, Some(50)));
}

#[test]
fn a_pause_doubles_with_jitter() {
    let ms = Duration::from_millis;
    let mut p = Backoff::new(3);
    let mut now = at(0);
    for step in [100, 200, 400, 800, 1000, 1000] {
        let pause = p.failed(now, ms(100), ms(1000));
        assert!(pause >= ms(step * 3 / 4) && pause <= ms(step * 5 / 4 + 1), "{pause:?} of {step}");
        // Failures within the pause count once.
        assert_eq!(p.failed(now, ms(100), ms(1000)), pause);
        now = now + pause;
        assert!(p.left(now).is_zero());
    }
    p.reset();
    assert!(p.failed(now, ms(100), ms(1000)) <= ms(126));
    let different: std::collections::HashSet<_> =
        (0..50).map(|n| Backoff::new(n).failed(now, ms(100), ms(1000))).collect();
    assert!(different.len() > 20, "processes do not march in step");
}
