//! The parts work: what the other tests rely on is tested itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::mariadb::{self, MariaDb};
use crate::support::mocks::{BlackHole, Step, TcpMock, UdpMock};
use crate::support::netns::NetNs;
use crate::support::nginx::{LARGE, Nginx};
use crate::support::probe::{Probe, measure_options};
use crate::support::sip::{SipClient, SipMessage};
use crate::support::sipp::Sipp;
use crate::support::uas::{Answer, Uas};
use crate::support::{ca, eventually, free_port, process};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn ports_are_free_and_given_once() {
    let ports: Vec<u16> = (0..20).map(|_| free_port()).collect();
    let mut unique = ports.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ports.len());
    for port in ports {
        UdpSocket::bind(("127.0.0.1", port)).expect("free for UDP");
    }
}

#[test]
fn children_end_with_their_handle_and_are_counted() {
    let mut command = process::command("sleep");
    command.arg("1000");
    let mut child = process::spawn(command).unwrap();
    let pid = process::pid_of(&child);
    eventually("it runs sleep", SECOND * 5, || {
        process::executable(pid).is_some_and(|p| p.file_name().is_some_and(|n| n == "sleep" || n == "coreutils"))
    });
    assert_eq!(process::threads(pid), 1);
    assert!(process::fd_count(pid) >= 3);
    assert!(process::rss_kib(pid) > 0);
    assert!(process::cpu_ns(pid) > 0);
    let me = i32::try_from(std::process::id()).unwrap();
    assert!(process::children(me).contains(&pid));
    assert!(process::tree(me).contains(&pid));
    process::end(&mut child);
    assert!(!process::alive(pid));
}

#[test]
fn mariadb_answers_and_has_its_users_and_tables() {
    let db = MariaDb::shared();
    assert_eq!(db.sql("SELECT credit FROM reprise.users WHERE uid = 'alice'"), "100");
    assert_eq!(db.number("SELECT COUNT(*) FROM reprise.numbers"), 1000);
    let own = db.fresh_database();
    db.sql(&format!("DELETE FROM {own}.users"));
    assert_eq!(db.number(&format!("SELECT COUNT(*) FROM {own}.users")), 0);
    assert_eq!(db.number("SELECT COUNT(*) FROM reprise.users"), 3);
    let error = db.try_sql("SELECT * FROM reprise.nothing").unwrap_err();
    assert!(error.contains("1146"), "{error}");
}

/// A statement over TCP through the command line client, as another user.
fn sql_as(port: u16, (user, password): (&str, &str), more: &[&str]) -> Result<String, String> {
    let output = process::command("mariadb")
        .args(["--no-defaults", "--batch", "--skip-column-names", "--protocol=TCP", "--host=127.0.0.1"])
        .args([format!("--port={port}"), format!("--user={user}"), format!("--password={password}")])
        .args(more)
        .args(["-e", "SELECT CURRENT_USER(), @@port; SHOW STATUS LIKE 'Ssl_cipher'"])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn mariadb_lets_its_users_in_over_tcp_and_tls() {
    let db = MariaDb::shared();
    let ca = format!("--ssl-ca={}", ca::get().ca.display());
    let native = sql_as(db.port, mariadb::NATIVE, &["--skip-ssl"]).unwrap();
    assert!(native.contains(&db.port.to_string()) && native.contains("Ssl_cipher\t\n"), "{native}");
    sql_as(db.port, mariadb::ED25519, &["--skip-ssl"]).unwrap();
    let tls = sql_as(db.port, mariadb::TLS_ONLY, &[&ca, "--ssl", "--ssl-verify-server-cert"]);
    assert!(tls.as_ref().is_ok_and(|t| t.contains("TLS_")), "{tls:?}");
    sql_as(db.port, mariadb::TLS_ONLY, &["--skip-ssl"]).unwrap_err();
    sql_as(db.port, ("reprise", "wrong"), &["--skip-ssl"]).unwrap_err();
}

#[test]
fn mariadb_can_hang_die_and_come_back() {
    let db = MariaDb::start();
    db.pause();
    let mut greeting = TcpStream::connect(("127.0.0.1", db.port)).expect("the kernel completes the connection");
    greeting.set_read_timeout(Some(SECOND / 5)).unwrap();
    assert!(greeting.read(&mut [0; 1]).is_err(), "a paused server says nothing");
    db.resume();
    greeting.set_read_timeout(Some(SECOND * 10)).unwrap();
    assert_eq!(greeting.read(&mut [0; 1]).unwrap(), 1);
    db.sql("UPDATE reprise.users SET credit = 7 WHERE uid = 'bob'");
    db.restart();
    assert_eq!(db.sql("SELECT credit FROM reprise.users WHERE uid = 'bob'"), "7");
    db.kill();
    assert!(TcpStream::connect(("127.0.0.1", db.port)).is_err());
    db.restart();
    assert_eq!(db.sql("SELECT 1"), "1");
    db.stop();
    assert_eq!(db.pid(), 0);
}

#[test]
fn nginx_answers_in_every_way() {
    let web = Nginx::shared();
    assert_eq!(web.get("/now"), (200, "now".to_owned()));
    let start = Instant::now();
    assert_eq!(web.get("/slow"), (200, "slow".to_owned()));
    let time = start.elapsed();
    assert!(time >= Duration::from_millis(95) && time < SECOND * 2, "{time:?}");
    let start = Instant::now();
    assert_eq!(web.get("/sleep?t=0.3").1, "slept");
    assert!(start.elapsed() >= Duration::from_millis(290));
    assert_eq!(web.get("/status/404"), (404, "status 404".to_owned()));
    assert_eq!(web.get("/status/503").0, 503);
    assert_eq!(web.get("/drip").1, "abc");
    assert_eq!(web.get("/large").1.len(), LARGE);
    assert_eq!(web.get("/abort").0, 0);
    assert_eq!(web.get("/auth").0, 401);
    assert_eq!(web.get("/json").1, r#"{"credit":42,"name":"alice"}"#);

    let curl = |args: &[&str]| process::run("curl", &[&["-sS", "-i", "--http1.1"], args].concat());
    let answer = curl(&["-d", "some body", &web.url("/echo")]);
    assert!(answer.ends_with("some body"), "{answer}");
    assert!(curl(&[&web.url("/chunked")]).contains("Transfer-Encoding: chunked"));
    let headers = curl(&["-H", "X-Test: 1", &web.url("/headers")]);
    assert!(headers.contains("GET /headers HTTP/1.1\r\n") && headers.contains("X-Test: 1\r\n"), "{headers}");
    assert!(curl(&["-u", "alice:wonderland", &web.url("/auth")]).ends_with("welcome"));
}

#[test]
fn nginx_speaks_https_with_good_and_bad_certificates() {
    let web = Nginx::shared();
    let trust = ca::get().ca.to_string_lossy().into_owned();
    let status = |url: String| {
        let output = process::command("curl").args(["-sS", "--cacert", &trust, &url]).output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(status(web.tls_url("/now")), (0, "now".to_owned()));
    assert_eq!(status(format!("https://127.0.0.1:{}/now", web.tls_port)).0, 0);
    // curl's 60: the certificate cannot be authenticated.
    assert_eq!(status(format!("https://localhost:{}/now", web.wrong_name_port)).0, 60);
    assert_eq!(status(format!("https://localhost:{}/now", web.untrusted_port)).0, 60);
    let dates =
        process::run("openssl", &["x509", "-noout", "-enddate", "-in", &ca::get().expired.cert.to_string_lossy()]);
    assert!(dates.contains("2001"), "{dates}");
}

#[test]
fn nginx_counts_requests_and_connections() {
    let web = Nginx::start();
    let url = web.url("/now");
    process::run("curl", &["-sS", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", &url, &url, &url]);
    web.get("/now?alone");
    eventually("four requests in the log", SECOND * 5, || web.count("/now") == 4);
    assert_eq!(web.connections("/now"), 2);
    web.kill();
    assert!(TcpStream::connect(("127.0.0.1", web.port)).is_err());
    web.restart();
    assert_eq!(web.get("/now").0, 200);
    web.pause();
    let mut stream = TcpStream::connect(("127.0.0.1", web.port)).unwrap();
    stream.write_all(b"GET /now HTTP/1.0\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(SECOND / 5)).unwrap();
    assert!(stream.read(&mut [0; 1]).is_err());
    web.resume();
    stream.set_read_timeout(Some(SECOND * 5)).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
}

#[test]
fn sipp_calls_itself() {
    let uas = Sipp::uas("uas-invite", &[]);
    let calls = Sipp::uac("uac-invite", uas.addr, 100, 100, &[]).wait(MINUTE);
    calls.assert_all(100);
    assert_eq!(calls.exit, 0);
    let answered = uas.stop();
    assert_eq!((answered.succeeded, answered.failed), (100, 0), "{answered:?}");

    let uas = Sipp::uas("uas-options", &[]);
    Sipp::uac("uac-options", uas.addr, 200, 500, &[]).wait(MINUTE).assert_all(200);
}

#[test]
fn sipp_cancels_calls() {
    let uas = Sipp::uas("uas-cancel", &[]);
    Sipp::uac("uac-cancel", uas.addr, 20, 50, &[]).wait(MINUTE).assert_all(20);
}

#[test]
fn sipp_counts_failures() {
    let uas = Uas::rejecting(503, "Service Unavailable");
    let calls = Sipp::uac("uac-invite", uas.addr, 10, 100, &[]).wait(MINUTE);
    assert_eq!((calls.succeeded, calls.failed, calls.exit), (0, 10, 1), "{calls:?}");
    assert!(calls.errors.contains("503"), "{}", calls.errors);
}

#[test]
fn sip_client_calls_the_scripted_server() {
    let uas = Uas::answering();
    let client = SipClient::to(uas.addr);
    let (answer, bye) = client.call(&uas.uri());
    assert_eq!(answer.status(), 200);
    assert_eq!(bye.expect("a BYE").status(), 200);
    uas.wait_request("ACK", SECOND);
    assert_eq!(client.options(&uas.uri()).status(), 200);
    assert_eq!((uas.count("INVITE"), uas.count("ACK"), uas.count("BYE"), uas.count("OPTIONS")), (1, 1, 1, 1));

    let text = client.send(
        "OPTIONS sip:[server] SIP/2.0
Via: SIP/2.0/UDP [local];branch=[branch]
From: <sip:a@[local_ip]:[local_port]>;tag=[tag]
To: <sip:b@[server]>
Call-ID: [call_id]
CSeq: 7 OPTIONS
Content-Type: text/plain
l: [len]

hello
",
    );
    assert!(text.ends_with("l: 7\r\n\r\nhello\r\n"), "{text}");
    let answer = client.expect_status(200, SECOND);
    assert_eq!(answer.cseq(), (7, "OPTIONS"));
    client.expect_silence(SECOND / 10);
}

#[test]
fn scripted_server_handles_cancel_and_retransmissions() {
    let uas = Uas::ringing();
    let client = SipClient::to(uas.addr);
    let invite = client.invite(&uas.uri());
    client.send_request(&invite);
    let ringing = client.expect_status(180, SECOND);
    assert!(ringing.tag("To").is_some() && ringing.header("Contact").is_some());
    client.send_request(&invite);
    assert_eq!(client.expect_status(180, SECOND).tag("To"), ringing.tag("To"));
    client.send_request(&invite.cancel());
    let mut finals =
        [client.recv(SECOND).unwrap(), client.recv(SECOND).unwrap()].map(|m| (m.status(), m.method().to_owned()));
    finals.sort();
    assert_eq!(finals, [(200, "CANCEL".to_owned()), (487, "INVITE".to_owned())]);
    assert_eq!(uas.count("INVITE"), 2);

    let late = Uas::start(|_| vec![Answer::new(202, "Accepted").after(Duration::from_millis(80)).header("X-Test: 1")]);
    let start = Instant::now();
    let answer = SipClient::to(late.addr).options(&late.uri());
    assert_eq!((answer.status(), answer.header("x-test")), (202, Some("1")));
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[test]
fn sip_messages_are_split() {
    let from: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let text = "SIP/2.0 401 Go Away\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP b;branch=z9hG4bK2\r\n\
                f: <sip:x@y;tag=no>;tag=yes\r\nSubject: one\r\n two\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n\
                CSeq: 3 REGISTER\r\ni: c1\r\n\r\nbody";
    let message = SipMessage::parse(text.as_bytes(), from).unwrap();
    assert_eq!((message.status(), message.reason(), message.method()), (401, "Go Away", "REGISTER"));
    assert_eq!((message.branch(), message.call_id(), message.body.as_str()), ("z9hG4bK1", "c1", "body"));
    assert_eq!(message.all("Via").len(), 2);
    assert_eq!(message.header("subject"), Some("one two"));
    assert_eq!(message.tag("From"), Some("yes"));
    let client = SipClient::new(9);
    let request = client.request("REGISTER", "sip:r").authorized(&message, "u", "p");
    assert!(request.text().contains("qop=auth, nc=00000001") && request.cseq == 2, "{}", request.text());
    assert!(SipMessage::parse(b"\x00\xff", from).is_none());
}

#[test]
fn probe_measures_answers_and_losses() {
    let fast = Uas::answering();
    let stats = measure_options(fast.addr, 200, SECOND);
    assert!(stats.sent >= 190 && stats.sent <= 210, "{stats:?}");
    assert!(stats.lost == 0 && stats.refused == 0 && stats.p50 <= stats.p99 && stats.p99 <= stats.max, "{stats:?}");
    assert!(stats.p50 < Duration::from_millis(20), "{stats:?}");

    let silent = Uas::silent();
    let probe = Probe::start(silent.addr, 100);
    eventually("requests wait", SECOND * 2, || probe.waiting() >= 10);
    let stats = probe.stop();
    assert!(stats.lost == stats.sent && stats.late_or_lost == stats.sent && stats.p99.is_zero(), "{stats:?}");
}

#[test]
fn black_hole_swallows_connections() {
    BlackHole::tcp().assert_swallows();
}

#[test]
fn namespace_swallows_packets_and_answers_again() {
    let net = NetNs::swallowing();
    let to = SocketAddr::from((net.peer, 9));
    let attempt = || TcpStream::connect_timeout(&to, Duration::from_millis(300)).map(drop).map_err(|e| e.kind());
    assert_eq!(attempt(), Err(std::io::ErrorKind::TimedOut));
    let udp = UdpSocket::bind((net.local, 0)).unwrap();
    udp.connect(to).unwrap();
    udp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    for _ in 0..3 {
        udp.send(b"x").unwrap();
    }
    assert_eq!(udp.recv(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "no ICMP error comes back");

    net.answer();
    assert_eq!(attempt(), Err(std::io::ErrorKind::ConnectionRefused));
    // A service inside, reached from outside.
    let certificate = ca::get().server.clone();
    let mut command = net.command("openssl");
    command
        .args(["s_server", "-accept", "443", "-quiet", "-www", "-cert"])
        .arg(&certificate.cert)
        .arg("-key")
        .arg(&certificate.key);
    let mut child = process::spawn(command).unwrap();
    eventually("the service inside answers", SECOND * 10, || {
        TcpStream::connect_timeout(&SocketAddr::from((net.peer, 443)), SECOND).is_ok()
    });
    net.swallow();
    let hung = TcpStream::connect_timeout(&SocketAddr::from((net.peer, 443)), Duration::from_millis(300));
    assert_eq!(hung.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    process::end(&mut child);
    let name = net.name.clone();
    drop(net);
    assert!(!Path::new("/run/netns").join(name).exists());
}

#[test]
fn scripted_tcp_server_plays_its_scripts() {
    let mock = TcpMock::start(vec![
        vec![
            Step::ReadUntil(b"\r\n\r\n".to_vec()),
            Step::Write(b"first".to_vec()),
            Step::Read(3),
            Step::Drip(b"second".to_vec(), Duration::from_millis(2)),
            Step::Close,
        ],
        vec![Step::Write(b"x".to_vec()), Step::Reset],
        vec![Step::Hang],
    ]);
    let mut first = TcpStream::connect(mock.addr).unwrap();
    first.write_all(b"hello\r\n\r\nab").unwrap();
    let mut five = [0; 5];
    first.read_exact(&mut five).unwrap();
    assert_eq!(&five, b"first");
    first.write_all(b"c").unwrap();
    let mut rest = String::new();
    first.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second");
    assert_eq!(mock.received(0), b"hello\r\n\r\nabc");

    let mut second = TcpStream::connect(mock.addr).unwrap();
    eventually("a reset", SECOND * 5, || match second.read(&mut [0; 8]) {
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
        Ok(n) => {
            assert_ne!(n, 0, "an orderly close");
            false
        }
    });

    let mut third = TcpStream::connect(mock.addr).unwrap();
    third.set_read_timeout(Some(SECOND / 10)).unwrap();
    assert!(third.read(&mut [0; 1]).is_err());
    mock.wait_accepted(3, SECOND);
    assert_eq!((mock.accepted(), mock.open()), (3, 1));

    let flood = TcpMock::each(vec![Step::Flood]);
    let mut stream = TcpStream::connect(flood.addr).unwrap();
    stream.read_exact(&mut vec![0; 1 << 20]).unwrap();
}

#[test]
fn scripted_udp_server_answers() {
    let mock =
        UdpMock::start(|datagram| if datagram == b"?" { vec![b"!".to_vec(), b"!!".to_vec()] } else { Vec::new() });
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SECOND * 2)).unwrap();
    let mut buffer = [0; 8];
    for (ask, answers) in [("x", 0), ("?", 2)] {
        socket.send_to(ask.as_bytes(), mock.addr).unwrap();
        for length in 1..=answers {
            assert_eq!(socket.recv(&mut buffer).unwrap(), length);
        }
    }
    assert_eq!(mock.received(), [b"x".to_vec(), b"?".to_vec()]);
}
