//! One question to one name server after the other: UDP, and TCP when the answer does not fit.

use super::message::{RecordType, Reply, WireName, decode, encode};
use super::zone::Zone;
use crate::base::{Key, TimerKey};
use crate::net::reactor::{Interest, Io, Source};
use crate::net::stream::Stream;
use mio::net::UdpSocket;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Datagrams looked at in one turn for one query.
const BUDGET: usize = 32;
/// Largest datagram read; more than was asked for.
const DATAGRAM: usize = 4096;

/// How the question travels.
enum Transport {
    Udp(UdpSocket),
    Tcp {
        stream: Stream,
        out: Vec<u8>,
        written: usize,
        input: Vec<u8>,
    },
    /// In a simulation: the answer, if there will be one.
    Scripted(Option<Reply>),
}

/// What came of looking at the socket.
pub(super) enum Look {
    /// Nothing yet.
    Blocked,
    /// The budget is used up.
    More,
    /// An answer.
    Reply(Reply),
    /// The server cannot be reached this way.
    Failed(String),
}

/// One question.
pub(super) struct Query {
    /// Whose it is.
    pub(super) lookup: Key,
    pub(super) kind: RecordType,
    /// Changes when an alias is followed.
    pub(super) name: WireName,
    /// Aliases followed by new queries.
    pub(super) hops: u32,
    /// Seconds for which the aliases on the way hold.
    pub(super) ttl: u32,
    pub(super) edns: bool,
    /// Where the round of the servers began, and how many tries were made.
    pub(super) first: usize,
    pub(super) tries: usize,
    pub(super) timer: Option<TimerKey>,
    pub(super) error: String,
    pub(super) server: Option<SocketAddr>,
    id: u16,
    transport: Option<Transport>,
}

impl Query {
    pub(super) fn new(lookup: Key, kind: RecordType, name: WireName, first: usize) -> Query {
        Query {
            lookup,
            kind,
            name,
            hops: 0,
            ttl: u32::MAX,
            edns: true,
            first,
            tries: 0,
            timer: None,
            error: String::new(),
            server: None,
            id: 0,
            transport: None,
        }
    }

    /// Asks `server` by UDP, from a socket of its own: the kernel draws its port, `id` must be random
    /// (RFC 5452 section 9.2).
    pub(super) fn ask_udp(&mut self, server: SocketAddr, id: u16, token: Key, io: &mut Io<'_>) -> io::Result<()> {
        self.close(io);
        let bytes = self.encode(id)?;
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        // Connected: the kernel drops what others send, and a refusal is heard at once.
        socket.connect(server)?;
        io.register(&socket, Source::Resolver, token, Interest::READABLE)?;
        let sent = socket.send(&bytes);
        self.transport = Some(Transport::Udp(socket));
        self.server = Some(server);
        sent.map(|_| ())
    }

    /// In a simulation: asks the zone; its answer is found in the next turn.
    pub(super) fn ask_zone(&mut self, zone: &Zone, server: SocketAddr, token: Key, io: &mut Io<'_>) -> io::Result<()> {
        self.close(io);
        let answer = zone.ask(&self.name.to_string(), self.kind);
        if answer.is_some() {
            io.again(Source::Resolver, token);
        }
        self.transport = Some(Transport::Scripted(answer));
        self.server = Some(server);
        Ok(())
    }

    /// Asks the same server by TCP (RFC 7766).
    pub(super) fn ask_tcp(&mut self, id: u16, token: Key, io: &mut Io<'_>) -> io::Result<()> {
        let server = self.server.ok_or(ErrorKind::NotConnected)?;
        self.close(io);
        let bytes = self.encode(id)?;
        let length = u16::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
        let mut out = length.to_be_bytes().to_vec();
        out.extend_from_slice(&bytes);
        let stream = Stream::connect(server)?;
        io.register(&stream, Source::Resolver, token, Interest::READABLE | Interest::WRITABLE)?;
        self.transport = Some(Transport::Tcp { stream, out, written: 0, input: Vec::new() });
        Ok(())
    }

    fn encode(&mut self, id: u16) -> io::Result<Vec<u8>> {
        self.id = id;
        encode(id, &self.name, self.kind, self.edns).ok_or_else(|| ErrorKind::InvalidInput.into())
    }

    /// Looks what came, after an event.
    pub(super) fn look(&mut self) -> Look {
        match &mut self.transport {
            Some(Transport::Udp(socket)) => {
                let mut buffer = [0; DATAGRAM];
                for _ in 0..BUDGET {
                    match socket.recv(&mut buffer) {
                        Ok(n) => match decode(buffer.get(..n).unwrap_or_default(), self.id, &self.name, self.kind) {
                            Reply::Foreign => {}
                            reply => return Look::Reply(reply),
                        },
                        Err(e) if e.kind() == ErrorKind::WouldBlock => return Look::Blocked,
                        Err(e) if e.kind() == ErrorKind::Interrupted => {}
                        Err(e) => return Look::Failed(e.to_string()),
                    }
                }
                Look::More
            }
            Some(Transport::Tcp { stream, out, written, input }) => match exchange_tcp(stream, out, written, input) {
                Ok(None) => Look::Blocked,
                Ok(Some(message)) => match decode(&message, self.id, &self.name, self.kind) {
                    Reply::Foreign | Reply::Truncated => Look::Failed("not an answer to the query".into()),
                    reply => Look::Reply(reply),
                },
                Err(e) => Look::Failed(e.to_string()),
            },
            Some(Transport::Scripted(answer)) => answer.take().map_or(Look::Blocked, Look::Reply),
            None => Look::Blocked,
        }
    }

    /// Gives the socket back.
    pub(super) fn close(&mut self, io: &mut Io<'_>) {
        match self.transport.take() {
            Some(Transport::Udp(socket)) => io.deregister(&socket),
            Some(Transport::Tcp { stream, .. }) => io.deregister(&stream),
            Some(Transport::Scripted(_)) | None => {}
        }
        if let Some(timer) = self.timer.take() {
            io.disarm(timer);
        }
    }
}

/// Moves a query over TCP along; the answer without its length once it is complete.
fn exchange_tcp(
    stream: &mut Stream,
    out: &[u8],
    written: &mut usize,
    input: &mut Vec<u8>,
) -> io::Result<Option<Vec<u8>>> {
    if !stream.connected()? {
        return Ok(None);
    }
    while let Some(rest) = out.get(*written..).filter(|r| !r.is_empty()) {
        match stream.write(rest) {
            Ok(n) => *written += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    let mut buffer = [0; DATAGRAM];
    loop {
        if let Some((length, rest)) = input.split_first_chunk::<2>()
            && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
        {
            return Ok(Some(message.to_vec()));
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            // At most 64 KiB and one buffer: the loop ends when the length is reached.
            Ok(n) => input.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e),
        }
    }
}
