//! What a worker does when another's seat stands empty for a while: it takes its share of what that one
//! owned, and one worker reads the empty seat's sockets as well.

use super::state::Worker;
use crate::base::Key;
use crate::modules::emit;
use crate::net::listen as net;
use crate::net::reactor::{Interest, Source};
use crate::net::udp::UdpSocket;
use crate::sip::Transport;

/// A socket of an empty seat. It is only read: replies leave from this worker's own.
pub struct Adopted {
    seat: usize,
    listener: usize,
    socket: UdpSocket,
}

impl Adopted {
    /// Own sockets have generation 0.
    fn key(&self) -> Key {
        Key { index: self.listener as u32, generation: self.seat as u32 + 1 }
    }
}

impl Worker {
    /// A seat stands empty: what it would own is shared among the others.
    pub(super) fn seat_vacant(&mut self, seat: usize) {
        let before = self.owners.clone();
        // A task worker only wants to know whom it may ask.
        if self.owners.set_vacant(seat, true) && self.group.is_none() {
            self.share_timer_routes();
            self.locks_of_empty_seat(seat, &before);
        }
    }

    /// Somebody sits there again.
    pub(super) fn seat_taken(&mut self, seat: usize) {
        if self.group.is_some() {
            self.owners.set_vacant(seat, false);
            return;
        }
        let (theirs, others) = std::mem::take(&mut self.adopted).into_iter().partition(|a: &Adopted| a.seat == seat);
        self.adopted = others;
        for adopted in theirs {
            if let Some(fd) = adopted.socket.fd() {
                self.reactor.io(self.now).deregister(&fd);
            }
        }
        self.streams.return_listeners(seat, self.reactor.io(self.now));
        if self.owners.set_vacant(seat, false) {
            self.share_timer_routes();
        }
        if seat < self.count {
            self.locks_of_new_tenant(seat);
        }
    }

    /// Reads the sockets of an empty seat as well; they came from main, in the order of the listeners.
    pub(super) fn adopt(&mut self, seat: usize) {
        let files = self.main.take_files();
        if !self.owners.is_vacant(seat) {
            return;
        }
        for (listener, file) in files.into_iter().enumerate() {
            match self.env().listeners.get(listener).map(|l| l.transport) {
                Some(Transport::Udp) => {}
                Some(Transport::Tcp) => {
                    let io = self.reactor.io(self.now);
                    if let Err(e) = self.streams.adopt_listener(seat, net::Transport::Tcp, listener as u16, file, io) {
                        emit(-1, "worker", &format!("cannot watch a socket of worker {seat}: {e}"));
                    }
                    continue;
                }
                _ => continue,
            }
            let Ok(socket) = UdpSocket::from_fd(file) else { continue };
            let adopted = Adopted { seat, listener, socket };
            let mut io = self.reactor.io(self.now);
            match io.register(&adopted.socket, Source::Udp, adopted.key(), Interest::READABLE) {
                Ok(()) => {
                    io.again(Source::Udp, adopted.key());
                    self.adopted.push(adopted);
                }
                Err(e) => emit(-1, "worker", &format!("cannot watch a socket of worker {seat}: {e}")),
            }
        }
    }

    /// The adopted socket that an event is about.
    pub(super) fn adopted_socket(&self, listener: usize, generation: u32) -> Option<&UdpSocket> {
        let found = self.adopted.iter().find(|a| a.listener == listener && a.key().generation == generation);
        found.map(|a| &a.socket)
    }
}
