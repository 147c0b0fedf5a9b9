//! Parameters of TCP that change what the system does with a socket, as the system shows them.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};

use crate::common::{SECOND, listening, proxy, serve, stat};
use crate::support::reprise::Reprise;
use crate::support::sip::unique;
use crate::support::tcp::{TcpSip, TcpUas};
use crate::support::uas::{Answer, Uas};
use crate::support::{free_port, process};

/// A proxy on UDP and TCP of one port.
fn both(port: u16, globals: &str, relay: &str, routes: &str) -> String {
    proxy(port, &format!("socket=tcp:127.0.0.1:{port}\n{globals}"), relay, routes)
}

/// The sockets of a process, as copies: options belong to the socket, not to the descriptor.
#[allow(unsafe_code)]
fn sockets(pid: i32) -> Vec<OwnedFd> {
    let owned = |fd: i64| -> OwnedFd {
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the system call has just made this descriptor, for nobody else.
        unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
    };
    // SAFETY: takes two numbers, no memory.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) });
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let numbers = links.filter_map(|e| {
        let target = std::fs::read_link(e.path()).ok()?;
        let number: i32 = e.file_name().to_str()?.parse().ok()?;
        target.to_string_lossy().starts_with("socket:").then_some(number)
    });
    // SAFETY: takes three numbers, no memory.
    numbers.map(|n| owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), n, 0) })).collect()
}

/// The sockets of a process whose peer has this port.
fn connected_to(pid: i32, port: u16) -> Vec<OwnedFd> {
    use nix::sys::socket::{SockaddrIn, getpeername};
    let leads = |fd: &OwnedFd| getpeername::<SockaddrIn>(fd.as_raw_fd()).is_ok_and(|a| a.port() == port);
    sockets(pid).into_iter().filter(leads).collect()
}

#[test]
fn idle_connections_are_probed_as_told() {
    let globals = "tcp_keepalive=1\ntcp_keepidle=41\ntcp_keepinterval=7\ntcp_keepcount=3\n";
    let uas = TcpUas::answering();
    let relay = format!("    $du = \"sip:{};transport=tcp\";\n    route(out);", uas.addr);
    let (server, port) = serve(|port| both(port, globals, &relay, ""), &["-n", "1"]);
    let client = TcpSip::new(port);
    assert_eq!(client.ask(&client.request("MESSAGE", "sip:bob@example.test")).status(), 200);
    // One that was accepted, one that was made.
    for peer in [client.local.port(), uas.addr.port()] {
        let found = connected_to(server.worker_pids()[0], peer);
        let [socket] = &found[..] else { panic!("{} sockets with peer {peer}", found.len()) };
        assert!(getsockopt(socket, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(socket, sockopt::TcpKeepIdle).unwrap(), 41);
        assert_eq!(getsockopt(socket, sockopt::TcpKeepInterval).unwrap(), 7);
        assert_eq!(getsockopt(socket, sockopt::TcpKeepCount).unwrap(), 3);
    }
}

#[test]
fn probes_can_be_turned_off() {
    let (server, port) = serve(|port| both(port, "tcp_keepalive=0\ntcp_keepidle=41\n", "    exit;", ""), &["-n", "1"]);
    let client = TcpSip::new(port);
    assert_eq!(client.options().status(), 200);
    let found = connected_to(server.worker_pids()[0], client.local.port());
    assert_eq!(found.len(), 1);
    assert!(!getsockopt(&found[0], sockopt::KeepAlive).unwrap());
}

/// The backlog of each socket that listens on a port: what `ss` shows as its send queue.
fn backlogs(port: u16) -> Vec<u32> {
    let text = process::run("ss", &["-H", "-l", "-t", "-n", "sport", "=", &format!(":{port}")]);
    text.lines().filter_map(|l| l.split_whitespace().nth(2)?.parse().ok()).collect()
}

#[test]
fn the_backlog_is_as_told_up_to_what_the_system_allows() {
    let most: u32 = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    for (value, shown) in [("7", 7), ("4097", 4097.min(most)), ("2147483647", most)] {
        let port = free_port();
        let config =
            listening(port, &format!("socket=tcp:127.0.0.1:{port}\ntcp_socket_backlog={value}"), "route { exit; }");
        let _server = Reprise::start(&config, &["-n", "2"]);
        assert_eq!(backlogs(port), [shown, shown], "tcp_socket_backlog={value}");
        assert!(TcpSip::new(port).stream().peer_addr().is_ok());
    }
}

#[test]
fn a_flag_forbids_new_connections_for_replies() {
    // Relayed replies, and those of the script's own after a wait.
    let uas = Uas::start(|_| vec![Answer::new(200, "OK").after(SECOND)]);
    let relay = format!(
        r#"    setflag("NO_NEW");
    if ($rU == "own") {{
        t_newtran();
        sleep(1);
        t_reply(480, "Later");
        exit;
    }}
    $du = "sip:{}";
    route(out);"#,
        uas.addr
    );
    let globals = "tcp_no_new_conn_rplflag=NO_NEW\n";
    let (server, port) = serve(|port| both(port, globals, &relay, ""), &["-n", "2"]);
    for (number, user) in ["bob", "own"].into_iter().enumerate() {
        let back = TcpListener::bind("127.0.0.1:0").unwrap();
        back.set_nonblocking(true).unwrap();
        let client = TcpSip::new(port);
        let mut request = client.request("MESSAGE", &format!("sip:{user}@example.test"));
        request.via = format!("SIP/2.0/TCP {};branch={}", back.local_addr().unwrap(), unique("z9hG4bK-t-"));
        let mark = server.log_mark();
        client.send(request.text());
        crate::support::eventually("it has begun", SECOND * 5, || {
            stat(&server, "tm:UAS_transactions") == number as u64 + 1
        });
        drop(client);
        server.wait_log_after(mark, "a reply to .* is lost: its connection is gone", SECOND * 10);
        assert!(back.accept().is_err(), "nobody connects");
    }
    assert_eq!(stat(&server, "net:tcp_connects"), 0);
}
