//! TCP between the peers of a scenario and the server.

use super::message::Msg;
use super::party::Way;
use super::play::{Failure, Stage};
use crate::net::pipe::simulated::Door;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The connections that the peers have, by number.
#[derive(Debug, Default)]
pub struct Streams {
    lines: BTreeMap<usize, Line>,
    /// Peers whose connection the server has ended, in that order.
    pub(super) closed: Vec<usize>,
}

#[derive(Debug)]
struct Line {
    peer: usize,
    /// The server's socket.
    socket: SocketAddr,
    /// What came and is no whole message yet.
    buffer: Vec<u8>,
    open: bool,
}

/// A message that came over a connection.
pub(super) struct Streamed {
    pub line: usize,
    pub socket: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Streams {
    /// A connection of this peer that stands, rather the one with this number.
    fn of(&self, peer: usize, wanted: Option<usize>) -> Option<usize> {
        let open = |n: &usize| self.lines.get(n).is_some_and(|l| l.open && l.peer == peer);
        wanted.filter(open).or_else(|| self.lines.keys().rev().copied().find(open))
    }
}

impl Stage<'_> {
    /// Peers that speak TCP take connections from the beginning.
    pub(super) fn open_doors(&mut self) {
        let listening: Vec<SocketAddr> = self.scenario.peers.iter().filter(|p| p.tcp).map(|p| p.addr).collect();
        for addr in listening {
            self.set_door(addr, Door::Accepts);
        }
    }

    pub(super) fn set_door(&mut self, addr: SocketAddr, door: Door) {
        if let Some(sim) = &mut self.sim {
            sim.set_door(addr, door);
        }
    }

    /// The connection that a peer sends over: the one of `way`, another one it has, or a new one.
    pub(super) fn line_for(&mut self, line: usize, peer: usize, way: Way) -> Result<usize, Failure> {
        if let Some(number) = self.streams.of(peer, way.line) {
            return Ok(number);
        }
        self.connect(line, peer, way.socket)
    }

    fn connect(&mut self, line: usize, peer: usize, socket: SocketAddr) -> Result<usize, Failure> {
        let (name, from) = self.scenario.peers.get(peer).map(|p| (p.name.clone(), p.addr.ip())).unzip();
        self.note(format!("{} connects to the server", name.unwrap_or_default()));
        let made = self.sim.as_mut().zip(from).and_then(|(sim, from)| sim.connect(from, socket));
        let number = made.ok_or_else(|| Failure { line, text: format!("the server has no TCP socket {socket}") })?;
        self.streams.lines.insert(number, Line { peer, socket, buffer: Vec::new(), open: true });
        Ok(number)
    }

    /// A peer ends all its connections.
    pub(super) fn hang_up(&mut self, line: usize, peer: usize) -> Result<(), Failure> {
        let all = self.streams.lines.iter_mut().filter(|(_, l)| l.peer == peer && l.open);
        let numbers: Vec<usize> = all.map(|(n, l)| (std::mem::replace(&mut l.open, false), *n).1).collect();
        if numbers.is_empty() {
            return Err(Failure { line, text: "there is no connection".into() });
        }
        self.note(format!("{} hangs up", self.scenario.peers.get(peer).map_or("", |p| p.name.as_str())));
        for number in numbers {
            if let Some(sim) = &mut self.sim {
                sim.hang_up(number);
            }
        }
        self.pump();
        Ok(())
    }

    /// The server has ended a connection of this peer.
    pub(super) fn expect_closed(&mut self, line: usize, peer: usize) -> Result<(), Failure> {
        match self.streams.closed.iter().position(|p| *p == peer) {
            Some(at) => {
                self.streams.closed.remove(at);
                Ok(())
            }
            None => Err(Failure { line, text: "the server has not ended a connection".into() }),
        }
    }

    /// What has come over connections since the last call.
    pub(super) fn take_streamed(&mut self) -> Vec<Streamed> {
        let Some(sim) = &mut self.sim else { return Vec::new() };
        let taken = sim.take_streamed();
        let listeners: Vec<SocketAddr> = sim.stream_listeners().collect();
        let mut out = Vec::new();
        for (number, ends, bytes) in taken {
            if !self.streams.lines.contains_key(&number) {
                let Some(peer) = self.scenario.peers.iter().position(|p| p.addr == ends.peer) else { continue };
                let socket = listeners.iter().find(|l| l.ip() == ends.worker.ip()).copied().unwrap_or(ends.worker);
                self.note(format!("server connects to {}", self.peer_name(ends.peer)));
                self.streams.lines.insert(number, Line { peer, socket, buffer: Vec::new(), open: true });
            }
            let Some(line) = self.streams.lines.get_mut(&number) else { continue };
            let peer = line.peer;
            let to = self.scenario.peers.get(peer).map_or(ends.peer, |p| p.addr);
            if bytes.is_empty() {
                if std::mem::replace(&mut line.open, false) {
                    self.streams.closed.push(peer);
                    self.note(format!("server ends the connection to {}", self.peer_name(to)));
                }
                continue;
            }
            line.buffer.extend_from_slice(&bytes);
            while let Some(bytes) = cut(&mut line.buffer) {
                out.push(Streamed { line: number, socket: line.socket, to, bytes });
            }
        }
        out
    }
}

/// Takes the first message off what came (RFC 3261 18.3).
fn cut(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let ends = buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    buffer.drain(..ends);
    let head = memchr::memmem::find(buffer, b"\r\n\r\n")? + 4;
    let length = Msg::parse(buffer.get(..head)?).header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let all = head.checked_add(length).filter(|all| *all <= buffer.len())?;
    Some(buffer.drain(..all).collect())
}
