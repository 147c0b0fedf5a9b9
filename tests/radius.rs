//! RADIUS operations on a loop of the tests' own.

#![allow(clippy::unwrap_used)]

mod oploop;

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use oploop::Loop;
use reprise::ops::backend::Policy;
use reprise::ops::driver::OpKind;
use reprise::ops::radius::config::Config;
use reprise::ops::radius::{Kind, RadiusRequest};
use reprise::ops::{Outcome, Request, Why};

/// Ports of 127.0.0.1 where nobody listens.
fn closed(count: usize) -> Vec<u16> {
    let sockets: Vec<_> = (0..count).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    sockets.iter().map(|s| s.local_addr().unwrap().port()).collect()
}

fn asking(servers: &[String]) -> Loop {
    let text: String = servers.iter().map(|s| format!("authserver {s}:secret\n")).collect();
    let config = Config::load(Path::new("client.conf"), &mut |_| Ok(format!("{text}radius_timeout 5\n"))).unwrap();
    let mut l = Loop::new();
    l.driver.radius().configure(Rc::new(config));
    let policy = Policy { failures: 0, ..Policy::of(OpKind::Radius) };
    l.driver.backends().set_policy(OpKind::Radius, policy);
    l
}

/// The system reports a refusal once for each socket, to whoever asks it something next: perhaps to the next question.
#[test]
fn a_refusal_reaches_all_that_wait() {
    let [one, two] = closed(2)[..] else { unreachable!() };
    for servers in [
        vec![format!("127.0.0.1:{one}")],
        vec![format!("127.0.0.1:{one}"), format!("127.0.0.1:{two}")],
        // The same one again is no reason to go round in circles.
        vec![format!("127.0.0.1:{one}"); 3],
    ] {
        let mut l = asking(&servers);
        let begin = Instant::now();
        let question = || Request::Radius(RadiusRequest { kind: Kind::Auth, attributes: Vec::new() });
        let ids: Vec<_> = (0..500).map(|_| l.start(question(), Duration::from_secs(20))).collect();
        for id in ids {
            match l.wait(id) {
                Outcome::Failed(f) => assert_eq!(f.why, Why::Refused, "{f}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(4), "nobody waited for a time-out: {:?}", begin.elapsed());
    }
}
