use super::*;
use crate::base::{Key, Time};
use crate::net::listen::{ListenSpec, SocketSizes, open_all};
use std::net::{SocketAddr, UdpSocket};

const SEED: u32 = 0x5eed_1234;

/// A group of sockets with the program, each to be read without waiting.
fn group(workers: usize) -> (Vec<UdpSocket>, SocketAddr) {
    let spec = ListenSpec::parse("udp:127.0.0.1:0").unwrap();
    let mut opened = open_all(spec.resolve().unwrap(), workers, SocketSizes::default()).unwrap();
    let (listener, fds) = opened.remove(0);
    attach(&fds, SEED).unwrap();
    (fds.into_iter().map(UdpSocket::from).collect(), listener.addr)
}

/// Which of the group gets what `from` sends. Over loopback it is there when `send_to` returns.
fn taker(group: &[UdpSocket], to: SocketAddr, from: &UdpSocket, text: &str) -> usize {
    from.send_to(text.as_bytes(), to).unwrap();
    let mut buffer = [0; 4096];
    let mut takers = group.iter().enumerate().filter(|(_, s)| s.recv(&mut buffer).is_ok()).map(|(i, _)| i);
    let taker = takers.next().expect("somebody gets it");
    assert_eq!(takers.next(), None);
    taker
}

fn request(line: &str, before: usize) -> String {
    format!(
        "INVITE sip:bob@biloxi.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnashds8\r\n\
         Subject: {}\r\n{line}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
        "x".repeat(before)
    )
}

#[test]
fn requests_reach_their_owner() {
    for workers in [2, 3, 7] {
        let (sockets, addr) = group(workers);
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut seen = vec![0; workers];
        for i in 0..200usize {
            let id = format!("{:x}{i}-{}@192.0.2.{i}", i * 7919, "a".repeat(i % 60));
            let name = ["Call-ID: ", "Call-ID:", "call-id: ", "CALL-ID: "][i % 4];
            let text = request(&format!("{name}{id}"), i * 3);
            let owner = owner(SEED, id.as_bytes(), workers);
            assert_eq!(taker(&sockets, addr, &from, &text), owner, "{text}");
            seen[owner] += 1;
        }
        assert!(seen.iter().all(|n| *n > 200 / workers / 3), "{seen:?}");
    }
}

#[test]
fn replies_reach_the_worker_in_our_via() {
    use crate::transaction::{BranchId, Keys};
    let (sockets, addr) = group(3);
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    let keys = Keys::new([7; 16], true, true);
    for i in 0..100u32 {
        let worker = (i % 3) as u16;
        let id = BranchId::new(&keys, worker, i, Key { index: i * 31, generation: i }, 0, Time::from_millis(9));
        let text = format!(
            "SIP/2.0 {} {}\r\nVia: SIP/2.0/UDP 127.0.0.1:{};branch={}\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKb\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
            200,
            "O".repeat(1 + i as usize % 60),
            addr.port(),
            id.text(7)
        );
        assert_eq!(taker(&sockets, addr, &from, &text), usize::from(worker), "{text}");
    }
}

#[test]
fn what_is_not_understood_goes_by_its_addresses() {
    let (sockets, addr) = group(4);
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    let odd = [
        "\r\n\r\n".to_owned(),
        "SIP/2.0 200 OK\r\n".to_owned(),
        format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n{}", "X: y\r\n".repeat(100)),
        // A worker that does not exist.
        format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKrp{}\r\n{}", "7".repeat(32), "X: y\r\n".repeat(50)),
        request("i: abc", 100),
        request("Call-ID: abc", 2000),
        // Part of the name, in another place.
        request("Subject: call-i\r\nX: y\r\nCall-ID: abc", 100),
        "x".repeat(40),
        "x".repeat(3000),
    ];
    let takers: Vec<usize> = odd.iter().map(|t| taker(&sockets, addr, &from, t)).collect();
    assert!(takers.iter().all(|t| *t == takers[0]), "{takers:?}");
    // Other addresses, other sockets.
    let mut seen = [false; 4];
    for _ in 0..64 {
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        seen[taker(&sockets, addr, &from, &odd[8])] = true;
    }
    assert!(seen.iter().filter(|s| **s).count() > 1);
}

#[test]
fn one_socket_needs_no_choice() {
    let (sockets, addr) = group(1);
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(taker(&sockets, addr, &from, "anything"), 0);
    assert_eq!(owner(SEED, b"anything", 1), 0);
    assert_eq!(owner(SEED, b"", 0), 0);
    assert!(program(SEED, 64).len() < 4096, "the kernel takes no more: {}", program(SEED, 64).len());
}
