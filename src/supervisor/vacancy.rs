//! Seats that stay empty for a while, since their workers keep dying.
//!
//! The sockets of an empty seat would swallow their share of the datagrams, and what its worker owned
//! would be nobody's. So the others are told, and one of them reads those sockets as well until
//! somebody sits there again. With one worker there are no others: what arrives waits in the kernel.

use super::main_loop::Supervisor;
use crate::worker::seat::ToChild;
use std::os::fd::OwnedFd;

impl Supervisor<'_> {
    /// The seat gets no new tenant for now.
    pub(super) fn vacate(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index).filter(|p| p.is_worker() || p.is_task()) else { return };
        place.vacant = true;
        self.tell_others(index, &ToChild::SeatVacant { index });
        self.lend_sockets();
    }

    /// Somebody sits there again; the others learn it from [`ToChild::PeerRespawned`].
    pub(super) fn occupy(&mut self, index: usize) {
        if let Some(place) = self.places.get_mut(index) {
            place.vacant = false;
            place.caretaker = None;
        }
    }

    /// Tells a worker that begins which seats are empty.
    pub(super) fn tell_vacancies(&mut self, to: usize) {
        for index in 0..self.places.len() {
            if self.places.get(index).is_some_and(|p| p.vacant) {
                self.tell(to, &ToChild::SeatVacant { index });
            }
        }
    }

    /// Sees to it that each empty seat's sockets are read by somebody who lives.
    pub(super) fn lend_sockets(&mut self) {
        for index in 0..self.places.len() {
            let Some(place) = self.places.get(index).filter(|p| p.vacant && p.is_worker()) else { continue };
            let serves = |i: usize, life: u32| {
                self.places.get(i).is_some_and(|p| p.incarnation == life && p.tenant.as_ref().is_some_and(|t| t.ready))
            };
            if place.caretaker.is_some_and(|(i, life)| serves(i, life)) {
                continue;
            }
            let next = (1..self.workers).map(|n| (index + n) % self.workers).find_map(|i| {
                let life = self.places.get(i)?.incarnation;
                serves(i, life).then_some((i, life))
            });
            let Some((to, life)) = next else { continue };
            let copies: Result<Vec<OwnedFd>, _> = place.sockets.iter().map(OwnedFd::try_clone).collect();
            match copies {
                Ok(files) => {
                    log::info!("worker {to} reads the sockets of worker {index} meanwhile");
                    if let Some(tenant) = self.places.get_mut(to).and_then(|p| p.tenant.as_mut()) {
                        tenant.tell_with(&ToChild::AdoptSockets { index }, files);
                    }
                    if let Some(place) = self.places.get_mut(index) {
                        place.caretaker = Some((to, life));
                    }
                }
                Err(e) => log::error!("cannot lend the sockets of worker {index}: {e}"),
            }
        }
    }
}
