use super::*;

fn bus(peers: usize, ring_bytes: usize) -> (BusHub, Vec<BusEnd>) {
    let hub = BusHub::new(BusConfig { peers, ring_bytes, max_value: 1 << 20, ..BusConfig::default() }).unwrap();
    for i in 0..peers {
        hub.set_incarnation(i, 1);
    }
    let ends = (0..peers).map(|i| hub.end(i).unwrap()).collect();
    (hub, ends)
}

fn readable(end: &BusEnd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(end.fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

#[test]
fn values_arrive_in_order_and_whole() {
    let (_hub, mut e) = bus(2, 4096);
    let mut buf = Vec::new();
    let mut expected = 0u32;
    for round in 0..5000u32 {
        let len = (round as usize * 37) % 900;
        let mut value = round.to_le_bytes().to_vec();
        value.resize(4 + len, round as u8);
        while e[0].send(1, 7, &value) == Err(BusError::Full) {
            let env = e[1].recv(&mut buf).unwrap();
            assert_eq!((env.from.index, env.kind), (0, 7));
            assert_eq!(buf[..4], expected.to_le_bytes());
            assert_eq!(buf.len(), 4 + (expected as usize * 37) % 900);
            expected += 1;
        }
    }
    let rest = e[1].drain(usize::MAX, &mut |_, v| {
        assert_eq!(v[..4], expected.to_le_bytes());
        expected += 1;
    });
    assert!(rest > 0);
    assert_eq!(expected, 5000);
    assert_eq!(e[1].corrupt(), 0);
}

#[test]
fn refuses_what_cannot_be() {
    let (hub, mut e) = bus(2, 4096);
    assert_eq!(e[0].send(0, 1, b"x"), Err(BusError::NoSuchPeer));
    assert_eq!(e[0].send(2, 1, b"x"), Err(BusError::NoSuchPeer));
    assert_eq!(e[0].send(1, 1, &vec![0; (1 << 20) + 1]), Err(BusError::TooLarge));
    hub.set_incarnation(1, 2);
    assert_eq!(e[0].send_to(Peer { index: 1, incarnation: 1 }, 1, b"x"), Err(BusError::Gone));
    assert_eq!(e[0].send_to(Peer { index: 1, incarnation: 2 }, 1, b"x"), Ok(()));
    assert!(hub.end(2).is_none());
}

#[test]
fn large_values_go_in_pieces_and_keep_the_order() {
    let (_hub, mut e) = bus(2, 4096);
    let large: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
    e[0].send(1, 1, b"before").unwrap();
    e[0].send(1, 2, &large).unwrap();
    assert!(e[0].backlog() > 0);
    assert_eq!(e[0].send(1, 3, b"behind"), Err(BusError::Full));
    let mut got = Vec::new();
    let mut buf = Vec::new();
    for _ in 0..200 {
        while let Some(env) = e[1].recv(&mut buf) {
            got.push((env.kind, buf.clone()));
        }
        e[0].flush();
    }
    assert_eq!(e[0].backlog(), 0);
    e[0].send(1, 3, b"behind").unwrap();
    assert_eq!(e[1].recv(&mut buf).unwrap().kind, 3);
    assert_eq!(got.len(), 2);
    assert_eq!(got[0], (1, b"before".to_vec()));
    assert!(got[1] == (2, large));
}

#[test]
fn wakes_only_who_sleeps() {
    let (_hub, mut e) = bus(3, 4096);
    e[0].send(1, 1, b"a").unwrap();
    assert!(!readable(&e[1]));
    assert!(!e[1].prepare_sleep());
    let mut buf = Vec::new();
    assert!(e[1].recv(&mut buf).is_some());
    assert!(e[1].prepare_sleep());
    e[0].send(1, 1, b"b").unwrap();
    e[2].send(1, 1, b"c").unwrap();
    assert!(readable(&e[1]));
    assert_eq!(e[1].drain(10, &mut |_, _| ()), 2);
    assert!(!readable(&e[1]));
}

#[test]
fn room_wakes_who_waits_for_it() {
    let (_hub, mut e) = bus(2, 4096);
    while e[0].send(1, 1, &[0; 500]).is_ok() {}
    e[0].want_space(1);
    assert!(e[0].prepare_sleep());
    assert!(!readable(&e[0]));
    e[1].drain(100, &mut |_, _| ());
    assert!(readable(&e[0]));
    assert!(!e[0].prepare_sleep());
    assert!(e[0].prepare_sleep());
}

#[test]
fn a_busy_sender_does_not_starve_others() {
    let (_hub, mut e) = bus(3, 1 << 16);
    for _ in 0..300 {
        e[0].send(2, 1, b"x").unwrap();
    }
    e[1].send(2, 1, b"y").unwrap();
    let mut position = None;
    let mut n = 0;
    e[2].drain(400, &mut |env, _| {
        n += 1;
        if env.from.index == 1 {
            position = Some(n);
        }
    });
    assert_eq!(n, 301);
    assert!(position.unwrap() <= RING_QUOTA as usize + 1);
}

#[test]
fn a_replacement_gets_only_what_is_for_anybody() {
    let (hub, mut e) = bus(2, 1 << 16);
    e[0].send(1, 1, b"answer to the dead one").unwrap();
    e[0].send(1, ANY_INCARNATION | 2, b"a datagram").unwrap();
    let large = vec![9u8; 60_000];
    e[0].send(1, ANY_INCARNATION | 3, &large).unwrap();
    hub.set_incarnation(1, 2);
    hub.peer_died();
    let mut second = hub.end(1).unwrap();
    let mut buf = Vec::new();
    let env = second.recv(&mut buf).unwrap();
    assert_eq!((env.kind, &buf[..], env.to_incarnation), (ANY_INCARNATION | 2, &b"a datagram"[..], 1));
    assert_eq!(second.recv(&mut buf).unwrap().kind, ANY_INCARNATION | 3);
    assert_eq!(buf, large);
    assert!(second.recv(&mut buf).is_none());
    assert_eq!(second.me().incarnation, 2);
}

#[test]
fn the_rest_of_a_dead_senders_value_is_forgotten() {
    let (hub, mut e) = bus(2, 4096);
    e[0].send(1, 1, &vec![1u8; 50_000]).unwrap();
    let mut buf = Vec::new();
    assert!(e[1].recv(&mut buf).is_none());
    e[0].flush();
    hub.set_incarnation(0, 2);
    let mut again = hub.end(0).unwrap();
    assert!(e[1].recv(&mut buf).is_none());
    again.send(1, 2, b"fresh").unwrap();
    let env = e[1].recv(&mut buf).unwrap();
    assert_eq!((env.from.incarnation, &buf[..]), (2, &b"fresh"[..]));
}

#[test]
fn a_push_that_was_not_published_never_happened() {
    let (hub, mut e) = bus(2, 4096);
    e[0].send(1, 1, b"one").unwrap();
    // The producer dies after it wrote the bytes and before it moved the tail.
    let header = Header { kind: 2, flags: PIECE_FIRST | PIECE_LAST, from: 1, to: 1, len: 0 };
    assert!(e[0].out[1].ring.push(header, &[], &[0xee; 800]));
    hub.set_incarnation(0, 2);
    let mut again = hub.end(0).unwrap();
    again.send(1, 3, b"two").unwrap();
    let mut kinds = Vec::new();
    e[1].drain(10, &mut |env, _| kinds.push(env.kind));
    assert_eq!(kinds, [1, 3]);
    assert_eq!(e[1].corrupt(), 0);
}

#[test]
fn nonsense_in_a_ring_is_survived() {
    let (_hub, mut e) = bus(2, 4096);
    let mut seed = 0x1234_5678_9abc_def1u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let base = 2 * SEAT_BYTES + ring::CONTROL + 4096;
    for _ in 0..2000 {
        let _ = e[0].send(1, 1, &[1; 100]);
        let at = base + (random() % (ring::CONTROL as u64 + 4096)) as usize;
        e[0].shared.region.put(at, &random().to_le_bytes());
        e[1].drain(50, &mut |_, v| assert!(v.len() <= 1 << 20));
        e[0].flush();
        let _ = e[1].prepare_sleep();
    }
    assert!(e[1].corrupt() > 0);
}
