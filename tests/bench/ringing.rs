//! A callee that answers every INVITE with 180 and leaves it at that.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// The callee, until dropped.
pub struct Ringing {
    /// Its SIP address.
    pub addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ringing {
    /// Begins to listen.
    pub fn start() -> Ringing {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20));
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout set");
        let addr = socket.local_addr().expect("own address");
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut buffer = [0u8; 8192];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
                    if let Some(reply) = ring(&String::from_utf8_lossy(&buffer[..n])) {
                        let _ = socket.send_to(reply.as_bytes(), from);
                    }
                }
            })
        };
        Ringing { addr, stop, thread: Some(thread) }
    }
}

/// The 180 to an INVITE (RFC 3261 8.2.6).
fn ring(request: &str) -> Option<String> {
    if !request.starts_with("INVITE ") {
        return None;
    }
    let mut reply = "SIP/2.0 180 Ringing\r\n".to_owned();
    for line in request.split("\r\n").skip(1).take_while(|l| !l.is_empty()) {
        let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "Record-Route:"].iter().any(|n| line.starts_with(n));
        if copied {
            reply.push_str(line);
            if line.starts_with("To:") {
                reply.push_str(";tag=ringing");
            }
            reply.push_str("\r\n");
        }
    }
    reply.push_str("Content-Length: 0\r\n\r\n");
    Some(reply)
}

impl Drop for Ringing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
