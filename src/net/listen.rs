//! Where the server listens: from the words of a `socket=` line or `-l` to open sockets.
//!
//! Everything here runs in main, before the fork, except [`local_addr`]. One socket per worker and
//! listener: the workers of a UDP listener share its address by `SO_REUSEPORT`.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::str::FromStr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::sockopt;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname, getsockopt, listen, setsockopt,
    socket,
};

/// How SIP messages are carried (RFC 3261 section 18; RFC 7118 for WebSocket).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams in clear.
    Tcp,
    /// Streams over TLS.
    Tls,
    /// WebSocket in clear.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// The name in lower case, as in `transport=` and in socket lines.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// The port used where none is written.
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }

    /// Whether it is carried by connections.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Transport::Udp)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Transport {
    type Err = ListenError;
    fn from_str(s: &str) -> Result<Self, ListenError> {
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]
            .into_iter()
            .find(|t| s.eq_ignore_ascii_case(t.name()))
            .ok_or_else(|| ListenError::UnknownTransport(s.to_owned()))
    }
}

/// Why the server cannot listen there.
#[derive(Debug)]
pub enum ListenError {
    /// Not a transport this server has.
    UnknownTransport(String),
    /// Not of the form `[proto:]host[:port]`.
    BadSyntax(String),
    /// Neither an address nor an interface nor a name that resolves.
    UnknownHost(String),
    /// The system refused.
    Open {
        /// Transport and address that were asked for.
        what: String,
        /// What it said.
        error: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::UnknownTransport(s) => write!(f, "unknown transport \"{s}\" (udp, tcp, tls, ws or wss)"),
            ListenError::BadSyntax(s) => write!(f, "\"{s}\" is not of the form proto:address[:port]"),
            ListenError::UnknownHost(s) => {
                write!(f, "\"{s}\" is not an address of this host, nor an interface, nor a name that resolves")
            }
            ListenError::Open { what, error } => write!(f, "cannot listen on {what}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// A place to listen at, as the operator wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenSpec {
    /// How.
    pub transport: Transport,
    /// IP address, interface name, host name, or `*` for every address of every interface.
    pub host: String,
    /// Port; the transport's own if absent.
    pub port: Option<u16>,
    /// `as HOST[:PORT]`: what to call ourselves in Via and Record-Route.
    pub advertised: Option<(String, Option<u16>)>,
    /// `tag NAME`: the socket's name in scripts.
    pub tag: Option<String>,
    /// `tos N`: type of service of what is sent.
    pub tos: Option<u8>,
    /// `frag`: let the kernel fragment large datagrams.
    pub frag: bool,
    /// `anycast`: the address is shared with other machines.
    pub anycast: bool,
    /// `accept_subdomain`: sub-domains of the host are "myself" as well.
    pub accept_subdomain: bool,
}

impl ListenSpec {
    /// Without any option.
    pub fn new(transport: Transport, host: impl Into<String>, port: Option<u16>) -> ListenSpec {
        ListenSpec {
            transport,
            host: host.into(),
            port,
            advertised: None,
            tag: None,
            tos: None,
            frag: false,
            anycast: false,
            accept_subdomain: false,
        }
    }

    /// Parses `proto:host[:port]` (as `-l` takes it); without `proto:` it is UDP. IPv6 addresses stand
    /// in brackets.
    pub fn parse(text: &str) -> Result<ListenSpec, ListenError> {
        let bad = || ListenError::BadSyntax(text.to_owned());
        let (transport, rest) = match text.split_once(':') {
            Some((proto, rest)) if !text.starts_with('[') && !proto.is_empty() && !rest.is_empty() => {
                match proto.parse::<Transport>() {
                    Ok(t) => (t, rest),
                    // `host:port`
                    Err(_) if rest.bytes().all(|b| b.is_ascii_digit()) => (Transport::Udp, text),
                    Err(e) => return Err(e),
                }
            }
            _ => (Transport::Udp, text),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => {
                let (host, behind) = v6.split_once(']').ok_or_else(bad)?;
                match behind.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if behind.is_empty() => (host, None),
                    None => return Err(bad()),
                }
            }
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.is_empty() || (host.contains(':') && !rest.starts_with('[')) {
            return Err(bad());
        }
        let port = port.map(|p| p.parse::<u16>().map_err(|_| bad())).transpose()?;
        Ok(ListenSpec::new(transport, host, port))
    }

    /// The addresses it stands for. May ask the system's resolver and wait for it: in main, before the
    /// fork, only.
    pub fn resolve(&self) -> Result<Vec<Listener>, ListenError> {
        let port = self.port.unwrap_or(self.transport.default_port());
        let unknown = || ListenError::UnknownHost(self.host.clone());
        let addrs = if self.host == "*" {
            interface_addrs(None)
        } else if let Ok(ip) = self.host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            vec![SocketAddr::new(ip, 0)]
        } else {
            let found = interface_addrs(Some(&self.host));
            if found.is_empty() {
                let found = (self.host.as_str(), port).to_socket_addrs().map_err(|_| unknown())?.next();
                found.into_iter().collect()
            } else {
                found
            }
        };
        if addrs.is_empty() {
            return Err(unknown());
        }
        Ok(addrs
            .into_iter()
            .map(|mut addr| {
                addr.set_port(port);
                Listener {
                    index: 0,
                    transport: self.transport,
                    addr,
                    host: self.host.clone(),
                    advertised: self.advertised.clone().map(|(host, p)| (host, p.unwrap_or(port))),
                    tag: self.tag.clone(),
                    tos: self.tos,
                    frag: self.frag,
                    anycast: self.anycast,
                    accept_subdomain: self.accept_subdomain,
                }
            })
            .collect())
    }
}

/// Addresses of interface `name`, or of all that are up. Link-local version 6 addresses are left out
/// of "all".
fn interface_addrs(name: Option<&str>) -> Vec<SocketAddr> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let mut out: Vec<SocketAddr> = all
        .filter(|i| i.flags.contains(InterfaceFlags::IFF_UP) && name.is_none_or(|n| n == i.interface_name))
        .filter_map(|i| socket_addr(i.address.as_ref()?))
        .filter(|a| !matches!(a.ip(), IpAddr::V6(ip) if name.is_none() && ip.is_unicast_link_local()))
        .collect();
    // An interface usually has one address of version 4 that is meant by its name.
    if name.is_some() && out.iter().any(SocketAddr::is_ipv4) {
        out.retain(SocketAddr::is_ipv4);
    }
    let mut seen = Vec::new();
    out.retain(|a| {
        let new = !seen.contains(a);
        seen.push(*a);
        new
    });
    out
}

fn socket_addr(s: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = s.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    s.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

/// One address the server listens at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Its number among the server's listeners, the same in every process.
    pub index: usize,
    /// How.
    pub transport: Transport,
    /// Where.
    pub addr: SocketAddr,
    /// The host as the operator wrote it.
    pub host: String,
    /// What to call ourselves in Via and Record-Route instead of `addr`.
    pub advertised: Option<(String, u16)>,
    /// Name in scripts.
    pub tag: Option<String>,
    /// Type of service of what is sent.
    pub tos: Option<u8>,
    /// Whether large datagrams may be fragmented.
    pub frag: bool,
    /// Whether the address is shared with other machines.
    pub anycast: bool,
    /// Whether sub-domains of the host are "myself" as well.
    pub accept_subdomain: bool,
}

impl Listener {
    /// Whether it is bound to every address of its version.
    pub fn is_wildcard(&self) -> bool {
        self.addr.ip().is_unspecified()
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.addr)
    }
}

/// Kernel buffer sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketSizes {
    /// Receive buffer of a UDP socket in bytes (`maxbuffer`), as far as the system allows.
    pub max_receive: usize,
    /// Connections the kernel keeps until they are accepted.
    pub backlog: i32,
}

impl Default for SocketSizes {
    fn default() -> Self {
        SocketSizes { max_receive: 4 << 20, backlog: 1024 }
    }
}

/// A listener and its sockets, one per worker.
pub type Opened = (Rc<Listener>, Vec<OwnedFd>);

/// Opens one socket per worker for each listener and numbers the listeners. A port of 0 is replaced
/// by the one the system chose. An address that somebody else has is an error, although
/// `SO_REUSEPORT` would let two servers of one user share it.
pub fn open_all(listeners: Vec<Listener>, workers: usize, sizes: SocketSizes) -> Result<Vec<Opened>, ListenError> {
    let mut out = Vec::with_capacity(listeners.len());
    for (index, mut listener) in listeners.into_iter().enumerate() {
        listener.index = index;
        let what = listener.to_string();
        let fds = open_each(&mut listener, workers.max(1), sizes);
        let fds = fds.map_err(|error| ListenError::Open { what, error })?;
        out.push((Rc::new(listener), fds));
    }
    Ok(out)
}

fn open_each(listener: &mut Listener, workers: usize, sizes: SocketSizes) -> io::Result<Vec<OwnedFd>> {
    if listener.addr.port() != 0 {
        drop(bound(listener, false)?);
    }
    let mut fds = Vec::with_capacity(workers);
    for _ in 0..workers {
        let fd = bound(listener, true)?;
        if listener.addr.port() == 0 {
            listener.addr.set_port(local_addr(fd.as_fd())?.port());
        }
        prepare(listener, &fd, sizes)?;
        fds.push(fd);
    }
    Ok(fds)
}

fn bound(listener: &Listener, share: bool) -> io::Result<OwnedFd> {
    let v6 = listener.addr.is_ipv6();
    let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let kind = if listener.transport.is_stream() { SockType::Stream } else { SockType::Datagram };
    let fd = socket(family, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    if listener.transport.is_stream() {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    if share {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    if v6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(listener.addr))?;
    Ok(fd)
}

fn prepare(listener: &Listener, fd: &OwnedFd, sizes: SocketSizes) -> io::Result<()> {
    let v6 = listener.addr.is_ipv6();
    if let Some(tos) = listener.tos {
        if v6 {
            setsockopt(fd, sockopt::Ipv6TClass, &i32::from(tos))?;
        } else {
            setsockopt(fd, sockopt::Ipv4Tos, &i32::from(tos))?;
        }
    }
    if listener.transport.is_stream() {
        // The system takes no more than net.core.somaxconn of it.
        listen(fd, Backlog::new(sizes.backlog).unwrap_or(Backlog::MAXALLOWABLE))?;
        return Ok(());
    }
    // The kernel doubles what it is told, for its own needs, and reports the double.
    if getsockopt(fd, sockopt::RcvBuf)? / 2 < sizes.max_receive
        && setsockopt(fd, sockopt::RcvBufForce, &sizes.max_receive).is_err()
    {
        setsockopt(fd, sockopt::RcvBuf, &sizes.max_receive)?;
    }
    setsockopt(fd, sockopt::ReceiveTimestampns, &true)?;
    // ICMP errors are told with the datagram they are about.
    if v6 {
        setsockopt(fd, sockopt::Ipv6RecvErr, &true)?;
    } else {
        setsockopt(fd, sockopt::Ipv4RecvErr, &true)?;
    }
    if listener.is_wildcard() {
        if v6 {
            setsockopt(fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(fd, sockopt::Ipv4PacketInfo, &true)?;
        }
    }
    if listener.frag {
        crate::net::sys::allow_fragments(fd.as_fd(), v6)?;
    }
    Ok(())
}

/// The address that what goes to `to` comes from, by the system's routing; nothing is sent and nothing waits
/// (connect(2) of a datagram socket is a look at the routing table).
pub fn source_for(to: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let probe = std::net::UdpSocket::bind(any).ok()?;
    probe.set_nonblocking(true).ok()?;
    probe.connect(to).ok()?;
    probe.local_addr().ok().map(|a| a.ip())
}

/// The address a socket is bound to.
pub fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    socket_addr(&name).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(s: &str) -> (Transport, String, Option<u16>) {
        let l = ListenSpec::parse(s).unwrap();
        (l.transport, l.host, l.port)
    }

    #[test]
    fn reads_what_operators_write() {
        assert_eq!(parsed("udp:127.0.0.1:5070"), (Transport::Udp, "127.0.0.1".into(), Some(5070)));
        assert_eq!(parsed("TLS:eth0"), (Transport::Tls, "eth0".into(), None));
        assert_eq!(parsed("tcp:[::1]:5060"), (Transport::Tcp, "::1".into(), Some(5060)));
        assert_eq!(parsed("[::1]"), (Transport::Udp, "::1".into(), None));
        assert_eq!(parsed("example.org:5062"), (Transport::Udp, "example.org".into(), Some(5062)));
        assert_eq!(parsed("*"), (Transport::Udp, "*".into(), None));
        for bad in ["sctp:1.2.3.4:5060", "udp:::1:5060", "udp:1.2.3.4:99999", "udp:[::1", "udp:[::1]x", "", "udp:"] {
            assert!(ListenSpec::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn finds_interfaces_and_addresses() {
        let lo = ListenSpec::parse("udp:lo:5060").unwrap().resolve().unwrap();
        assert_eq!(lo[0].addr, "127.0.0.1:5060".parse().unwrap());
        let all = ListenSpec::parse("tcp:*").unwrap().resolve().unwrap();
        assert!(all.iter().any(|l| l.addr == "127.0.0.1:5060".parse().unwrap()));
        let mut spec = ListenSpec::parse("udp:0.0.0.0").unwrap();
        spec.advertised = Some(("sip.example.org".into(), None));
        let any = spec.resolve().unwrap();
        assert!(any[0].is_wildcard());
        assert_eq!(any[0].advertised, Some(("sip.example.org".into(), 5060)));
        assert_eq!(any[0].to_string(), "udp:0.0.0.0:5060");
    }

    #[test]
    fn opens_one_socket_per_worker_and_refuses_a_taken_address() {
        let spec = ListenSpec::parse("udp:127.0.0.1:0").unwrap();
        let opened = open_all(spec.resolve().unwrap(), 3, SocketSizes::default()).unwrap();
        let (listener, fds) = &opened[0];
        assert_eq!(fds.len(), 3);
        for fd in fds {
            assert_eq!(local_addr(fd.as_fd()).unwrap(), listener.addr);
        }
        let again = open_all(vec![(**listener).clone()], 1, SocketSizes::default());
        assert!(again.unwrap_err().to_string().contains("cannot listen on udp:127.0.0.1"));
        let tcp = ListenSpec::parse("tcp:127.0.0.1:0").unwrap();
        let opened = open_all(tcp.resolve().unwrap(), 2, SocketSizes::default()).unwrap();
        assert!(std::net::TcpStream::connect(opened[0].0.addr).is_ok());
    }
}
