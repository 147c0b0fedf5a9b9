//! Datagrams in batches: `recvmmsg` into reused buffers, `sendmmsg` from a queue.
//!
//! All raw socket calls of the UDP path are here; what is built on them is safe.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

/// Datagrams per `recvmmsg`.
pub const RECV_BATCH: usize = 32;
/// How often a datagram is tried again after an error that may be an earlier one's.
const ICMP_RETRIES: u32 = 8;
/// Bytes kept for one datagram: no UDP payload is larger.
pub const DATAGRAM_BYTES: usize = 65_535;
/// Datagrams per `sendmmsg`.
const SEND_BATCH: usize = 64;
const STRIDE: usize = 65_536;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 128]);

/// What the kernel fills for one datagram, apart from its bytes.
struct Slot {
    iov: libc::iovec,
    name: libc::sockaddr_storage,
    control: Control,
}

/// One datagram of a [`RecvBatch`].
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its bytes.
    pub data: &'a [u8],
    /// Who sent it.
    pub from: SocketAddr,
    /// Wall-clock time since 1970 at which the kernel got it (`SO_TIMESTAMPNS`).
    pub at: Option<Duration>,
    /// The local address it was sent to; only known on wildcard sockets.
    pub to: Option<IpAddr>,
}

/// Buffers for one call's worth of datagrams, used again for every call. Pages of the buffers take
/// memory only once a datagram was so large.
pub struct RecvBatch {
    headers: *mut [libc::mmsghdr],
    slots: *mut [Slot],
    data: *mut [u8],
    count: usize,
    drained: bool,
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl RecvBatch {
    /// Empty buffers.
    pub fn new() -> RecvBatch {
        let data: *mut [u8] = Box::into_raw(vec![0u8; RECV_BATCH * STRIDE].into_boxed_slice());
        let slots: Vec<Slot> = (0..RECV_BATCH)
            .map(|i| Slot {
                iov: libc::iovec {
                    // SAFETY: `i` is below RECV_BATCH and the block holds RECV_BATCH strides.
                    iov_base: unsafe { data.cast::<u8>().add(i * STRIDE) }.cast(),
                    iov_len: DATAGRAM_BYTES,
                },
                // SAFETY: sockaddr_storage is plain data for which all zeroes is a value.
                name: unsafe { mem::zeroed() },
                control: Control([0; 128]),
            })
            .collect();
        let slots: *mut [Slot] = Box::into_raw(slots.into_boxed_slice());
        let headers: Vec<libc::mmsghdr> = (0..RECV_BATCH)
            .map(|i| {
                // SAFETY: `i` is below RECV_BATCH, the number of slots; no reference is made.
                let slot = unsafe { slots.cast::<Slot>().add(i) };
                // SAFETY: msghdr is plain data for which all zeroes is a value; the field addresses
                // are taken from a live slot.
                unsafe {
                    let mut header: libc::mmsghdr = mem::zeroed();
                    header.msg_hdr.msg_name = (&raw mut (*slot).name).cast();
                    header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
                    header.msg_hdr.msg_iov = &raw mut (*slot).iov;
                    header.msg_hdr.msg_iovlen = 1;
                    header.msg_hdr.msg_control = (&raw mut (*slot).control).cast();
                    header.msg_hdr.msg_controllen = size_of::<Control>();
                    header
                }
            })
            .collect();
        let headers = Box::into_raw(headers.into_boxed_slice());
        RecvBatch { headers, slots, data, count: 0, drained: false }
    }

    /// Replaces the batch by what waits at `fd`, at most [`RECV_BATCH`] datagrams. `WouldBlock` if
    /// nothing waits.
    pub fn fill(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: the headers live as long as `self`, which is borrowed mutably: no slice of them exists.
        let headers = unsafe { &mut *self.headers };
        for header in headers.iter_mut().take(self.count) {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = size_of::<Control>();
            header.msg_hdr.msg_flags = 0;
        }
        self.count = 0;
        self.drained = false;
        // SAFETY: recvmmsg(2) writes to at most `vlen` headers and through their pointers, all of which
        // were set in `new` to blocks that live as long as `self`; the lengths say their sizes.
        let rc = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                RECV_BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        match usize::try_from(rc) {
            Ok(n) => {
                self.count = n.min(RECV_BATCH);
                self.drained = self.count < RECV_BATCH;
                Ok(self.count)
            }
            Err(_) => {
                let e = io::Error::last_os_error();
                self.drained = e.kind() == io::ErrorKind::WouldBlock;
                Err(e)
            }
        }
    }

    /// How many datagrams there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the last [`RecvBatch::fill`] found the socket's end: the next edge will tell of more.
    pub fn drained(&self) -> bool {
        self.drained
    }

    /// Datagram `i` of the batch; `None` outside, or if its sender's address makes no sense.
    pub fn get(&self, i: usize) -> Option<Received<'_>> {
        if i >= self.count {
            return None;
        }
        // SAFETY: these blocks live as long as `self` and are written only in `fill`, which needs
        // `&mut self`.
        let (header, slot, data) = unsafe { ((&*self.headers).get(i)?, (&*self.slots).get(i)?, &*self.data) };
        let len = (header.msg_len as usize).min(DATAGRAM_BYTES);
        let start = i * STRIDE;
        let data = data.get(start..start + len)?;
        let from = decode_addr(&slot.name, header.msg_hdr.msg_namelen)?;
        let (at, to) = decode_control(&header.msg_hdr);
        Some(Received { data, from, at, to })
    }

    /// All datagrams of the batch.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        (0..self.count).filter_map(|i| self.get(i))
    }
}

impl Drop for RecvBatch {
    fn drop(&mut self) {
        // SAFETY: the three blocks came from Box::into_raw in `new` and nobody else frees them.
        unsafe {
            drop(Box::from_raw(self.headers));
            drop(Box::from_raw(self.slots));
            drop(Box::from_raw(self.data));
        }
    }
}

fn decode_addr(name: &libc::sockaddr_storage, len: libc::socklen_t) -> Option<SocketAddr> {
    let len = len as usize;
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: sockaddr_storage is large and aligned enough for every sockaddr; the family says
            // that the kernel wrote a sockaddr_in.
            let a = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(a.sin_port))))
        }
        libc::AF_INET6 if len >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above, with sockaddr_in6.
            let a = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(a.sin6_addr.s6_addr);
            let port = u16::from_be(a.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, u32::from_be(a.sin6_flowinfo), a.sin6_scope_id)))
        }
        _ => None,
    }
}

fn encode_addr(addr: &SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match addr {
        SocketAddr::V4(a) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: a.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*a.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is large and aligned enough for every sockaddr.
            unsafe { ptr::from_mut(name).cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(a) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: a.port().to_be(),
                sin6_flowinfo: a.flowinfo().to_be(),
                sin6_addr: libc::in6_addr { s6_addr: a.ip().octets() },
                sin6_scope_id: a.scope_id(),
            };
            // SAFETY: sockaddr_storage is large and aligned enough for every sockaddr.
            unsafe { ptr::from_mut(name).cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Arrival time and destination from a message's control data.
fn decode_control(header: &libc::msghdr) -> (Option<Duration>, Option<IpAddr>) {
    let (mut at, mut to) = (None, None);
    if header.msg_controllen == 0 {
        return (at, to);
    }
    // SAFETY: msg_control points to a live, aligned block and the kernel set msg_controllen to what
    // it wrote there, so the CMSG_ walk stays inside; unaligned reads copy the payload out after its
    // length was checked.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(header);
        while let Some(head) = c.as_ref() {
            let data = libc::CMSG_DATA(c);
            let len = head.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            match (head.cmsg_level, head.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if len >= size_of::<libc::timespec>() => {
                    let t = data.cast::<libc::timespec>().read_unaligned();
                    at = u64::try_from(t.tv_sec).ok().map(|s| Duration::new(s, t.tv_nsec.clamp(0, 999_999_999) as u32));
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if len >= size_of::<libc::in_pktinfo>() => {
                    let i = data.cast::<libc::in_pktinfo>().read_unaligned();
                    to = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(i.ipi_addr.s_addr))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if len >= size_of::<libc::in6_pktinfo>() => {
                    let i = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    to = Some(IpAddr::V6(Ipv6Addr::from(i.ipi6_addr.s6_addr)));
                }
                _ => {}
            }
            c = libc::CMSG_NXTHDR(header, c);
        }
    }
    (at, to)
}

/// Writes the source address to send from; returns the length of the control data.
fn encode_source(from: IpAddr, control: &mut Control) -> usize {
    // SAFETY: the control block is aligned for cmsghdr and larger than CMSG_SPACE of either structure;
    // the header written here describes exactly the payload written behind it.
    unsafe {
        let c = control.0.as_mut_ptr().cast::<libc::cmsghdr>();
        match from {
            IpAddr::V4(ip) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(ip).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let size = size_of::<libc::in_pktinfo>() as libc::c_uint;
                (*c).cmsg_level = libc::IPPROTO_IP;
                (*c).cmsg_type = libc::IP_PKTINFO;
                (*c).cmsg_len = libc::CMSG_LEN(size) as usize;
                libc::CMSG_DATA(c).cast::<libc::in_pktinfo>().write_unaligned(info);
                libc::CMSG_SPACE(size) as usize
            }
            IpAddr::V6(ip) => {
                let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                let size = size_of::<libc::in6_pktinfo>() as libc::c_uint;
                (*c).cmsg_level = libc::IPPROTO_IPV6;
                (*c).cmsg_type = libc::IPV6_PKTINFO;
                (*c).cmsg_len = libc::CMSG_LEN(size) as usize;
                libc::CMSG_DATA(c).cast::<libc::in6_pktinfo>().write_unaligned(info);
                libc::CMSG_SPACE(size) as usize
            }
        }
    }
}

/// A datagram the kernel refused.
#[derive(Debug)]
pub struct SendFailure {
    /// What the caller gave with it.
    pub tag: u64,
    /// Where it was to go.
    pub to: SocketAddr,
    /// Why not.
    pub error: io::Error,
    /// Its first bytes.
    pub head: Vec<u8>,
}

/// What came of a flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flushed {
    /// Datagrams the kernel took.
    pub sent: usize,
    /// Datagrams it refused; they are gone.
    pub failed: usize,
    /// The socket is full: the rest waits for it to become writable.
    pub blocked: bool,
}

struct Entry {
    start: usize,
    len: usize,
    to: SocketAddr,
    from: Option<IpAddr>,
    tag: u64,
}

/// Datagrams of one socket that wait for the end of the turn, or for room in the kernel.
pub struct SendBatch {
    data: Vec<u8>,
    entries: VecDeque<Entry>,
    max_bytes: usize,
    headers: Vec<libc::mmsghdr>,
    iov: Vec<libc::iovec>,
    names: Vec<libc::sockaddr_storage>,
    control: Vec<Control>,
}

impl fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatch").field("waiting", &self.entries.len()).finish_non_exhaustive()
    }
}

impl SendBatch {
    /// A queue of at most `max_bytes` bytes.
    pub fn new(max_bytes: usize) -> SendBatch {
        SendBatch {
            data: Vec::new(),
            entries: VecDeque::new(),
            max_bytes,
            headers: Vec::new(),
            iov: Vec::new(),
            names: Vec::new(),
            control: Vec::new(),
        }
    }

    /// Queues a datagram; false (and not queued) when the queue is full. `from` is the source address
    /// to use on a wildcard socket; `tag` comes back if the datagram fails.
    pub fn push(&mut self, data: &[u8], to: SocketAddr, from: Option<IpAddr>, tag: u64) -> bool {
        // Each entry also costs what describes it.
        let cost = self.data.len() + data.len() + (self.entries.len() + 1) * size_of::<Entry>();
        if cost > self.max_bytes {
            return false;
        }
        let start = self.data.len();
        self.data.extend_from_slice(data);
        self.entries.push_back(Entry { start, len: data.len(), to, from, tag });
        true
    }

    /// How many datagrams wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Hands the queue to the kernel. One datagram's failure does not touch the others.
    pub fn flush(&mut self, fd: BorrowedFd<'_>, failed: &mut dyn FnMut(SendFailure)) -> Flushed {
        let mut result = Flushed::default();
        let mut retried = 0;
        while !self.entries.is_empty() {
            match self.send_some(fd) {
                Ok(n) => {
                    result.sent += n;
                    retried = 0;
                    self.entries.drain(..n.min(self.entries.len()));
                    if n == 0 {
                        result.blocked = true;
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    result.blocked = true;
                    break;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // ICMP errors of earlier datagrams are reported here once each; this one was not tried.
                Err(e) if retried < ICMP_RETRIES && e.raw_os_error().is_some_and(from_icmp) => retried += 1,
                Err(error) => {
                    retried = 0;
                    result.failed += 1;
                    if let Some(entry) = self.entries.pop_front() {
                        let end = entry.start + entry.len.min(crate::net::errqueue::HEAD);
                        let head = self.data.get(entry.start..end).unwrap_or_default().to_vec();
                        failed(SendFailure { tag: entry.tag, to: entry.to, error, head });
                    }
                }
            }
        }
        self.compact();
        result
    }

    /// Frees the bytes of what has left.
    fn compact(&mut self) {
        let first = self.entries.front().map_or(self.data.len(), |e| e.start);
        if self.entries.is_empty() {
            self.data.clear();
            if self.data.capacity() > 1 << 20 {
                self.data.shrink_to(1 << 16);
            }
        } else if first > self.data.len() / 2 {
            self.data.drain(..first);
            for entry in &mut self.entries {
                entry.start -= first;
            }
        }
    }

    fn send_some(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let n = self.entries.len().min(SEND_BATCH);
        self.headers.clear();
        // SAFETY: these are plain data for which all zeroes is a value.
        let (no_header, no_iov, no_name): (libc::mmsghdr, libc::iovec, libc::sockaddr_storage) =
            unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        // All entries are written anew below; the vectors only grow, and not while pointers into them live.
        if self.iov.len() < n {
            self.iov.resize(n, no_iov);
            self.names.resize(n, no_name);
            self.control.resize(n, Control([0; 128]));
        }
        let parts = self.iov.iter_mut().zip(self.names.iter_mut()).zip(self.control.iter_mut());
        for (entry, ((iov, name), control)) in self.entries.iter().zip(parts).take(n) {
            let data = self.data.get(entry.start..entry.start + entry.len).unwrap_or_default();
            iov.iov_base = data.as_ptr().cast_mut().cast();
            iov.iov_len = data.len();
            let mut header = no_header;
            header.msg_hdr.msg_namelen = encode_addr(&entry.to, name);
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_iov = iov;
            header.msg_hdr.msg_iovlen = 1;
            if let Some(from) = entry.from {
                header.msg_hdr.msg_controllen = encode_source(from, control);
                header.msg_hdr.msg_control = ptr::from_mut(control).cast();
            }
            self.headers.push(header);
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: sendmmsg(2) reads `vlen` headers and what they point to: entries of vectors that are
        // not touched between here and the loop above, and bytes of `self.data`. It writes msg_len.
        let rc = unsafe {
            libc::sendmmsg(fd.as_raw_fd(), self.headers.as_mut_ptr(), self.headers.len() as libc::c_uint, flags as _)
        };
        usize::try_from(rc).map_err(|_| io::Error::last_os_error())
    }
}

fn from_icmp(errno: i32) -> bool {
    matches!(
        errno,
        libc::EMSGSIZE
            | libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EPROTO
            | libc::EOPNOTSUPP
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn what_was_not_sent_keeps_its_bytes() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut out = SendBatch::new(1 << 20);
        let push = |out: &mut SendBatch, i: usize| {
            assert!(out.push(&vec![i as u8; 10 + i], b.local_addr().unwrap(), None, i as u64));
        };
        (0..10).for_each(|i| push(&mut out, i));
        // As after a partial send: early ones are gone, sometimes enough of them to move the rest.
        for (gone, from) in [(3, 10), (4, 13), (5, 17)] {
            out.entries.drain(..gone);
            out.compact();
            (from..from + gone).for_each(|i| push(&mut out, i));
        }
        assert!(out.data.len() < 400, "{}", out.data.len());
        let done = out.flush(a.as_fd(), &mut |f| panic!("{f:?}"));
        assert_eq!((done.sent, out.len(), out.data.len()), (10, 0, 0));
        let mut buffer = [0; 100];
        for i in 12..22 {
            let n = b.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..n], vec![i as u8; 10 + i]);
        }
    }
}
