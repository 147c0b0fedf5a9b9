//! Typed messages between main and one child, over a non-blocking `SOCK_SEQPACKET` pair.
//!
//! A message is one packet, or several when it is large. Sending never blocks: what the kernel does
//! not take is kept, up to a bound. Open files may go along with a message. Both ends are the same program, so what cannot be decoded means
//! a bug (or memory gone bad) and closes the channel.

use crate::net::sys::receive_with_files;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};

/// Bytes of one packet: a flag and a part of the message.
const PACKET: usize = 32 << 10;
/// Largest message in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;
/// What may wait for the other end to read.
const MAX_QUEUED: usize = 32 << 20;
const LAST: u8 = 1;
/// Most files that may go along with one message.
pub const MAX_FILES: usize = 200;

/// Why a message was not sent or received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelError {
    /// The other end is gone.
    Closed,
    /// The other end does not read; the message was dropped.
    Full,
    /// The message is larger than [`MAX_MESSAGE`].
    TooLarge,
    /// What arrived is not a message.
    Garbage,
    /// The system's word.
    Os(Errno),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelError::Closed => f.write_str("the other end is gone"),
            ChannelError::Full => f.write_str("the other end does not read"),
            ChannelError::TooLarge => f.write_str("the message is too large"),
            ChannelError::Garbage => f.write_str("what arrived is not a message"),
            ChannelError::Os(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for ChannelError {}

struct Packet {
    bytes: Vec<u8>,
    files: Vec<OwnedFd>,
}

/// One end: sends `S`, receives `R`.
pub struct Channel<S, R> {
    fd: OwnedFd,
    out: VecDeque<Packet>,
    out_bytes: usize,
    partial: Vec<u8>,
    packet: Vec<u8>,
    files: Vec<OwnedFd>,
    sends: PhantomData<fn(S)>,
    receives: PhantomData<fn() -> R>,
}

impl<S, R> fmt::Debug for Channel<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("fd", &self.fd).field("queued", &self.out_bytes).finish_non_exhaustive()
    }
}

/// Both ends of a new channel.
pub fn pair<A, B>() -> io::Result<(Channel<A, B>, Channel<B, A>)> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok((Channel::new(a), Channel::new(b)))
}

impl<S, R> Channel<S, R> {
    fn new(fd: OwnedFd) -> Self {
        Channel {
            fd,
            out: VecDeque::new(),
            out_bytes: 0,
            partial: Vec::new(),
            packet: Vec::new(),
            files: Vec::new(),
            sends: PhantomData,
            receives: PhantomData,
        }
    }

    /// Whether something waits for the socket to become writable.
    pub fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// Sends what waits; true when nothing waits any more.
    pub fn flush(&mut self) -> Result<bool, ChannelError> {
        while let Some(packet) = self.out.front() {
            let files: Vec<RawFd> = packet.files.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&files)];
            let rights = if files.is_empty() { &[] } else { &rights[..] };
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match sendmsg::<()>(self.fd.as_raw_fd(), &[IoSlice::new(&packet.bytes)], rights, flags, None) {
                Ok(_) => {
                    self.out_bytes = self.out_bytes.saturating_sub(packet.bytes.len());
                    self.out.pop_front();
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => return Err(ChannelError::Closed),
                Err(e) => return Err(ChannelError::Os(e)),
            }
        }
        Ok(true)
    }
}

impl<S: Serialize, R> Channel<S, R> {
    /// Sends `message`, or queues what the kernel does not take now.
    pub fn send(&mut self, message: &S) -> Result<(), ChannelError> {
        self.send_with(message, Vec::new())
    }

    /// Sends `message` and, along with it, open files (at most [`MAX_FILES`]): the receiver gets copies
    /// of its own from [`Channel::take_files`].
    pub fn send_with(&mut self, message: &S, files: Vec<OwnedFd>) -> Result<(), ChannelError> {
        if files.len() > MAX_FILES {
            return Err(ChannelError::TooLarge);
        }
        let mut files = Some(files);
        let bytes = postcard::to_stdvec(message).map_err(|_| ChannelError::TooLarge)?;
        if bytes.len() > MAX_MESSAGE {
            return Err(ChannelError::TooLarge);
        }
        if self.out_bytes + bytes.len() > MAX_QUEUED {
            return Err(ChannelError::Full);
        }
        let parts = bytes.chunks(PACKET - 1);
        let count = parts.len();
        for (i, part) in parts.enumerate() {
            let mut packet = Vec::with_capacity(part.len() + 1);
            packet.push(if i + 1 == count { LAST } else { 0 });
            packet.extend_from_slice(part);
            self.out_bytes += packet.len();
            let files = files.take().unwrap_or_default();
            self.out.push_back(Packet { bytes: packet, files });
        }
        self.flush().map(|_| ())
    }
}

impl<S, R: DeserializeOwned> Channel<S, R> {
    /// The next message; `None` when none is there yet.
    pub fn recv(&mut self) -> Result<Option<R>, ChannelError> {
        self.packet.resize(PACKET, 0);
        loop {
            let n = match receive_with_files(self.fd.as_fd(), &mut self.packet, &mut self.files) {
                Ok(0) => return Err(ChannelError::Closed),
                Ok(n) => n,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(Errno::ECONNRESET) => return Err(ChannelError::Closed),
                Err(e) => return Err(ChannelError::Os(e)),
            };
            if self.files.len() > 4 * MAX_FILES {
                // Nobody takes them.
                self.files.clear();
            }
            let Some((flag, part)) = self.packet.get(..n).and_then(|p| p.split_first()) else { continue };
            if self.partial.len() + part.len() > MAX_MESSAGE {
                return Err(ChannelError::Garbage);
            }
            self.partial.extend_from_slice(part);
            if *flag == LAST {
                let message = postcard::from_bytes(&self.partial).map_err(|_| ChannelError::Garbage);
                self.partial.clear();
                self.partial.shrink_to(PACKET);
                return message.map(Some);
            }
        }
    }
}

impl<S, R> Channel<S, R> {
    /// The files that came along with what was received so far. Whoever gets a message that speaks of
    /// files calls this right away.
    pub fn take_files(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.files)
    }
}

impl<S, R> AsFd for Channel<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<S, R> AsRawFd for Channel<S, R> {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_messages_pass_both_ways() {
        let (mut a, mut b) = pair::<String, u32>().unwrap();
        assert_eq!(b.recv(), Ok(None));
        a.send(&"hello".to_owned()).unwrap();
        b.send(&7).unwrap();
        assert_eq!(b.recv(), Ok(Some("hello".to_owned())));
        assert_eq!(a.recv(), Ok(Some(7)));
        let large = "x".repeat(3_000_000);
        a.send(&large).unwrap();
        assert!(a.wants_write());
        let mut got = None;
        for _ in 0..1000 {
            got = b.recv().unwrap();
            if got.is_some() {
                break;
            }
            a.flush().unwrap();
        }
        assert!(got.unwrap() == large);
        assert!(!a.wants_write());
    }

    #[test]
    fn files_go_along() {
        use std::io::{Read, Seek, Write};
        let (mut a, mut b) = pair::<Vec<u8>, ()>().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        a.send_with(&vec![1; 100_000], vec![file.try_clone().unwrap().into(), file.try_clone().unwrap().into()])
            .unwrap();
        a.send(&vec![2]).unwrap();
        assert!(b.take_files().is_empty());
        assert_eq!(b.recv().unwrap().unwrap().len(), 100_000);
        let files = b.take_files();
        assert_eq!(files.len(), 2);
        assert!(b.take_files().is_empty());
        assert_eq!(b.recv(), Ok(Some(vec![2])));
        assert!(b.take_files().is_empty());
        let mut there = std::fs::File::from(files.into_iter().next().unwrap());
        there.write_all(b"hello").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        let many = (0..=MAX_FILES).map(|_| file.try_clone().unwrap().into()).collect();
        assert_eq!(a.send_with(&vec![], many), Err(ChannelError::TooLarge));
    }

    #[test]
    fn a_reader_that_stands_still_is_bounded_and_a_dead_one_is_seen() {
        let (mut a, b) = pair::<Vec<u8>, ()>().unwrap();
        let chunk = vec![0u8; 1 << 20];
        assert!((0..100).any(|_| a.send(&chunk) == Err(ChannelError::Full)));
        assert_eq!(a.send(&vec![0; MAX_MESSAGE + 1]), Err(ChannelError::TooLarge));
        drop(b);
        assert_eq!(a.flush(), Err(ChannelError::Closed));
        assert_eq!(a.recv(), Err(ChannelError::Closed));
    }
}
