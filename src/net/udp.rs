//! A UDP socket of one worker: batches in, a queue out. Non-blocking always.
//!
//! In a simulation it is a [`Wire`] instead: what is queued is collected there, nothing comes in by itself.

use crate::net::batch::{Flushed, RecvBatch, SendBatch, SendFailure};
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

/// What may wait for a full kernel buffer, per socket.
pub const SEND_QUEUE_BYTES: usize = 4 << 20;

/// A datagram that a simulated socket sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// Address of the socket.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Takes what the simulated sockets of one process send, in order.
pub type Wire = Rc<RefCell<Vec<Sent>>>;

/// What a socket stands on.
#[derive(Debug)]
enum End {
    Kernel(OwnedFd),
    Wire(Wire),
}

/// A bound socket.
#[derive(Debug)]
pub struct UdpSocket {
    end: End,
    local: SocketAddr,
    out: SendBatch,
}

impl UdpSocket {
    /// Wraps a socket that was opened by [`crate::net::listen`] or handed down from main.
    pub fn from_fd(fd: OwnedFd) -> io::Result<UdpSocket> {
        let local = crate::net::listen::local_addr(fd.as_fd())?;
        Ok(UdpSocket { end: End::Kernel(fd), local, out: SendBatch::new(SEND_QUEUE_BYTES) })
    }

    /// A socket of a simulation.
    pub fn simulated(local: SocketAddr, wire: Wire) -> UdpSocket {
        UdpSocket { end: End::Wire(wire), local, out: SendBatch::new(0) }
    }

    /// The fd to be watched; a simulated socket has none.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.end {
            End::Kernel(fd) => Some(fd.as_fd()),
            End::Wire(_) => None,
        }
    }

    /// The address it is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Replaces `batch` by what waits; how many datagrams that is. `WouldBlock` if nothing waits.
    /// Edge-triggered callers go on until `WouldBlock` or [`RecvBatch::drained`].
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        match &self.end {
            End::Kernel(fd) => batch.fill(fd.as_fd()),
            End::Wire(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Queues a datagram for the next [`UdpSocket::flush`]; false if the queue is full and it was
    /// dropped. `from`: the source address to use, for a socket bound to the wildcard address
    /// (ignored on others). `tag` comes back in [`SendFailure`].
    pub fn queue(&mut self, data: &[u8], to: SocketAddr, from: Option<IpAddr>, tag: u64) -> bool {
        if let End::Wire(wire) = &self.end {
            wire.borrow_mut().push(Sent { from: self.local, to, bytes: data.to_vec() });
            return true;
        }
        let from = if self.local.ip().is_unspecified() { from } else { None };
        self.out.push(data, to, from, tag)
    }

    /// Hands what is queued to the kernel; failures of single datagrams are told to `failed`. When the
    /// result says blocked, the rest waits for the socket to become writable.
    pub fn flush(&mut self, failed: &mut dyn FnMut(SendFailure)) -> Flushed {
        match &self.end {
            End::Kernel(fd) => self.out.flush(fd.as_fd(), failed),
            End::Wire(_) => Flushed::default(),
        }
    }

    /// Whether something is queued: after a flush, that is what to watch for writability.
    pub fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// How many datagrams are queued.
    pub fn queued(&self) -> usize {
        self.out.len()
    }
}

impl AsRawFd for UdpSocket {
    /// -1 for a simulated socket.
    fn as_raw_fd(&self) -> RawFd {
        self.fd().map_or(-1, |fd| fd.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listen::{ListenSpec, SocketSizes, open_all};
    use crate::net::sys::realtime;

    fn socket(addr: &str) -> UdpSocket {
        let spec = ListenSpec::parse(&format!("udp:{addr}:0")).unwrap();
        let listeners = spec.resolve().unwrap();
        let mut opened = open_all(listeners, 1, SocketSizes::default()).unwrap();
        UdpSocket::from_fd(opened.remove(0).1.remove(0)).unwrap()
    }

    fn wait(s: &UdpSocket) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        poll(&mut [PollFd::new(s.fd().unwrap(), PollFlags::POLLIN)], PollTimeout::from(2000u16)).unwrap();
    }

    fn no_failure(f: SendFailure) {
        panic!("{f:?}")
    }

    #[test]
    fn batches_go_there_and_back() {
        let mut a = socket("127.0.0.1");
        let b = socket("127.0.0.1");
        for i in 0..100u32 {
            assert!(a.queue(format!("datagram {i}").as_bytes(), b.local(), None, 0));
        }
        assert_eq!(a.flush(&mut no_failure), Flushed { sent: 100, failed: 0, blocked: false });
        let mut batch = RecvBatch::new();
        let mut n = 0;
        loop {
            wait(&b);
            b.recv_batch(&mut batch).unwrap();
            for got in batch.iter() {
                assert_eq!(got.data, format!("datagram {n}").as_bytes());
                assert_eq!((got.from, got.to), (a.local(), None));
                assert!(realtime().saturating_sub(got.at.unwrap()).as_secs() < 5);
                n += 1;
            }
            if n == 100 {
                break;
            }
        }
        assert!(batch.drained());
        assert_eq!(b.recv_batch(&mut batch).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(batch.is_empty() && batch.get(0).is_none());
    }

    #[test]
    fn the_largest_datagram_passes() {
        let mut a = socket("127.0.0.1");
        let b = socket("127.0.0.1");
        let large = vec![b'x'; 65_507];
        assert!(a.queue(&large, b.local(), None, 0));
        assert!(a.queue(&[], b.local(), None, 0));
        assert_eq!(a.flush(&mut no_failure).sent, 2);
        wait(&b);
        let mut batch = RecvBatch::new();
        assert_eq!(b.recv_batch(&mut batch).unwrap(), 2);
        assert!(batch.get(0).unwrap().data == large);
        assert!(batch.get(1).unwrap().data.is_empty());
    }

    #[test]
    fn one_failure_does_not_lose_the_others() {
        let mut a = socket("127.0.0.1");
        let b = socket("127.0.0.1");
        let nobody = socket("127.0.0.1").local();
        assert!(a.queue(b"1", b.local(), None, 1));
        assert!(a.queue(&vec![0; 65_520], b.local(), None, 2));
        assert!(a.queue(b"nobody listens", nobody, None, 3));
        assert!(a.queue(b"wrong family", "[::1]:9".parse().unwrap(), None, 4));
        assert!(a.queue(b"5", b.local(), None, 5));
        let mut failed = Vec::new();
        let done = a.flush(&mut |f| failed.push(f.tag));
        assert_eq!((done.sent, done.failed, done.blocked), (3, 2, false));
        assert_eq!(failed, [2, 4]);
        wait(&b);
        let mut batch = RecvBatch::new();
        assert_eq!(b.recv_batch(&mut batch).unwrap(), 2);
        assert_eq!(batch.get(1).unwrap().data, b"5");
    }

    #[test]
    fn a_wildcard_socket_knows_and_chooses_its_address() {
        let mut a = socket("0.0.0.0");
        let mut b = socket("127.0.0.1");
        let to: SocketAddr = format!("127.0.0.2:{}", a.local().port()).parse().unwrap();
        assert!(b.queue(b"hello", to, None, 0));
        b.flush(&mut no_failure);
        wait(&a);
        let mut batch = RecvBatch::new();
        assert_eq!(a.recv_batch(&mut batch).unwrap(), 1);
        let got = batch.get(0).unwrap();
        assert_eq!(got.to, Some(to.ip()));
        assert!(a.queue(b"back", got.from, got.to, 0));
        a.flush(&mut no_failure);
        wait(&b);
        b.recv_batch(&mut batch).unwrap();
        assert_eq!(batch.get(0).unwrap().from, to);
    }

    #[test]
    fn version_6_works_where_there_is_any() {
        let Ok(listeners) = ListenSpec::parse("udp:[::1]:0").unwrap().resolve() else { return };
        let Ok(mut opened) = open_all(listeners, 2, SocketSizes::default()) else { return };
        let (_, mut fds) = opened.remove(0);
        let mut a = UdpSocket::from_fd(fds.remove(0)).unwrap();
        assert!(a.queue(b"x", a.local(), None, 0));
        assert_eq!(a.flush(&mut no_failure).sent, 1);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut out = SendBatch::new(10_000);
        let to = "127.0.0.1:9".parse().unwrap();
        let n = (0..1000).take_while(|_| out.push(&[0; 100], to, None, 0)).count();
        assert!((10..100).contains(&n));
    }
}
