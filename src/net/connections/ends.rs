//! How connections end.

use crate::net::listen::Transport;
use crate::sip::framer::FrameError;
use crate::store::ConnId;
use smallvec::SmallVec;
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The peer closed it.
    Peer,
    /// It broke.
    Broken(ErrorKind),
    /// It could not be made.
    Refused(ErrorKind),
    /// It could not be made in time.
    ConnectTimeout,
    /// Nothing went over it for long.
    Idle,
    /// Nothing ever came over it.
    Silent,
    /// A message did not come to its end.
    SlowMessage,
    /// The peer does not take what it is sent.
    SlowReader,
    /// What came over it cannot be cut into messages.
    Framing(FrameError),
    /// Others need its place.
    Crowded,
    /// The script or the operator wanted it.
    Ordered,
    /// The server ends.
    Drained,
}

impl Why {
    /// Whether the peer, or we, ended it in an orderly way: what was sent has arrived.
    pub fn is_orderly(self) -> bool {
        matches!(self, Why::Peer | Why::Idle | Why::Silent | Why::Ordered | Why::Drained)
    }

    /// Whether it never stood.
    pub fn never_stood(self) -> bool {
        matches!(self, Why::Refused(_) | Why::ConnectTimeout)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Peer => f.write_str("the peer closed it"),
            Why::Broken(e) => write!(f, "it broke: {e}"),
            Why::Refused(e) => write!(f, "it could not be made: {e}"),
            Why::ConnectTimeout => f.write_str("it could not be made within tcp_connect_timeout"),
            Why::Idle => f.write_str("it was idle for tcp_connection_lifetime"),
            Why::Silent => f.write_str("nothing ever came over it"),
            Why::SlowMessage => f.write_str("a message was not complete within tcp_max_msg_time"),
            Why::SlowReader => f.write_str("the peer does not take what it is sent"),
            Why::Framing(e) => e.fmt(f),
            Why::Crowded => f.write_str("nothing had come over it, and tcp_max_connections was reached"),
            Why::Ordered => f.write_str("it was told to"),
            Why::Drained => f.write_str("the server ends"),
        }
    }
}

/// A connection that ended.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Its name.
    pub id: ConnId,
    /// Why.
    pub why: Why,
    /// How it carried messages.
    pub transport: Transport,
    /// The peer.
    pub remote: SocketAddr,
    /// The listener it came in on, or stood for.
    pub listener: u16,
    /// The peer had made it.
    pub accepted: bool,
    /// A script wanted to hear of its end.
    pub told: bool,
    /// Bytes that were not sent.
    pub lost: usize,
    /// Other workers that had sent on it.
    pub users: SmallVec<[u16; 4]>,
}
