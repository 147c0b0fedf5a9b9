//! Destinations that have failed, for a while (`disable_dns_blacklist=no`).

use crate::base::Time;
use crate::net::resolver::locate::Destination;
use std::collections::HashMap;
use std::time::Duration;

/// How long a destination stays on the list, if nothing else is said.
pub(super) const STAY: Duration = Duration::from_secs(240);
/// Destinations on the list.
const MAX: usize = 4096;

/// The temporary blacklist of one worker.
#[derive(Debug, Default)]
pub struct Blacklist {
    until: HashMap<Destination, Time>,
}

impl Blacklist {
    /// Puts a destination on the list. A full list takes no more until something on it expires.
    pub fn add(&mut self, destination: Destination, now: Time, stay: Duration) {
        if self.until.len() >= MAX {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() < MAX {
            self.until.insert(destination, now + stay);
        }
    }

    /// Whether a destination is on the list.
    pub fn has(&mut self, destination: &Destination, now: Time) -> bool {
        match self.until.get(destination) {
            Some(until) if *until > now => true,
            Some(_) => {
                self.until.remove(destination);
                false
            }
            None => false,
        }
    }

    /// How many there are, expired ones included.
    pub fn len(&self) -> usize {
        self.until.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Transport;

    fn to(port: u16) -> Destination {
        Destination { transport: Transport::Udp, addr: ([10, 0, (port >> 8) as u8, port as u8], port).into() }
    }

    #[test]
    fn entries_expire_and_are_bounded() {
        let mut list = Blacklist::default();
        let at = |s: u64| Time::from_millis(s * 1000);
        list.add(to(1), at(0), STAY);
        list.add(to(2), at(0), Duration::from_secs(5));
        assert!(list.has(&to(1), at(239)) && list.has(&to(2), at(4)));
        assert!(!list.has(&to(2), at(5)) && !list.has(&to(3), at(0)) && !list.has(&to(1), at(240)));
        assert!(!list.has(&Destination { transport: Transport::Tcp, ..to(1) }, at(0)));
        for port in 0..10_000 {
            list.add(to(port), at(300), STAY);
        }
        assert_eq!(list.len(), MAX);
        list.add(to(20_000), at(540), STAY);
        assert_eq!(list.len(), 1, "what has expired makes room");
    }
}
