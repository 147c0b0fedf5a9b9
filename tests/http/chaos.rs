//! Many exchanges of every kind at once, with deadlines and cancellations at any moment: each ends once, and nothing is
//! left.

use super::*;
use reprise::ops::http::proxy::Proxy;
use support::tinyproxy::TinyProxy;

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

#[test]
fn whatever_happens_each_ends_once_and_nothing_is_left() {
    let _alone = alone();
    let nginx = Nginx::start();
    let proxy = TinyProxy::start();
    let mut l = with_names();
    l.driver.backends().set_policy(OpKind::Http, Policy { failures: 0, ..Policy::of(OpKind::Http) });
    let clean = Clean::before(&l);
    let hole = BlackHole::tcp();
    let mocks = [
        TcpMock::each(vec![until("\r\n\r\n"), write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Step::Hang]),
        TcpMock::each(vec![until("\r\n\r\n"), Step::Reset]),
        TcpMock::each(vec![write("\x16\x03\x01 garbage"), Step::Close]),
        TcpMock::each(vec![until("\r\n\r\n"), write(OK), Step::Read(1), Step::Close]),
        TcpMock::each(vec![Step::Drip(OK.into(), Duration::from_millis(20)), Step::Close]),
        TcpMock::each(vec![Step::Hang]),
    ];
    let mut places: Vec<String> = [
        "/now",
        "/loop",
        "/redirect",
        "/drip",
        "/gzip",
        "/zeros",
        "/abort",
        "/close",
        "/sleep?t=1",
        "/trailer",
        "/large",
    ]
    .map(|path| nginx.url(path))
    .to_vec();
    places.extend(["/now", "/gzip", "/to/302?/drip", "/to/302?http://127.0.0.1/"].map(|path| nginx.tls_url(path)));
    places.extend(mocks.iter().flat_map(|m| [format!("http://{}/", m.addr), format!("https://{}/", m.addr)]));
    places.extend(mocks.iter().map(|m| nginx.url(&format!("/to/307?http://{}/", m.addr))));
    places.push(format!("http://{}/", hole.addr));
    places.push(format!("http://many.test:{}/", hole.addr.port()));
    places.push(format!("http://many.test:{}/now", nginx.port));
    places.push(format!("http://127.0.0.1:{}/", free_port()));
    places.push("http://nowhere.test/".into());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut running, mut ended) = (Vec::new(), 0);
    let mut cancelled = 0;
    for round in 0..1500 {
        let place = &places[dice.roll(places.len())];
        let mut r = if dice.roll(3) == 0 {
            post(place, &vec![b'x'; dice.roll(200_000)])
        } else {
            trusting(place, &ca::get().ca)
        };
        r = set(r, |o| {
            o.ca_file = Some(ca::get().ca.to_str().unwrap().into());
            o.redirects = 2;
            o.compression = dice.roll(2) == 0;
            o.expect = dice.roll(2) == 0;
            o.max_body = 4 << 20;
            o.first_byte_limit = Duration::from_millis(dice.roll(300) as u64);
            if dice.roll(4) == 0 {
                o.proxy = Some(Proxy::parse(&proxy.url()).unwrap());
            }
        });
        running.push(l.start(Request::Http(r), Duration::from_millis(1 + dice.roll(500) as u64)));
        if dice.roll(4) == 0 {
            let id = running[dice.roll(running.len())];
            if l.driver.info(id).is_some() {
                l.cancel(id, CancelReason::Gone);
                cancelled += 1;
            }
        }
        while running.len() > 60 || (round == 1499 && !running.is_empty()) {
            l.turn(Duration::from_millis(5));
            running.retain(|id| !l.done.contains_key(id));
            ended += l.done.len();
            l.done.clear();
        }
    }
    assert_eq!(ended, 1500);
    assert!(cancelled > 100, "{cancelled}");
    // What was good keeps working, and what nobody needs any more goes away.
    assert_eq!(ok(&mut l, get(&nginx.url("/now"))).body, b"now");
    drop((hole, mocks, proxy));
    nginx.kill();
    l.until(LONG, "the end of all connections", |l| l.reactor.timers() == 0);
    clean.after(&mut l);
}

fn with_names() -> Loop {
    let hosts = "127.0.0.1 many.test\n127.0.0.9 many.test\n::1 many.test\n";
    let config = ResolverConfig { servers: Vec::new(), ..ResolverConfig::parse("", hosts) };
    Loop::with(Driver::with_resolver(config))
}
