//! Datagrams that did not arrive: ICMP errors and refusals of the kernel (RFC 3261 section 18.4). The branch
//! parameter in what came back says whose they are; it is sealed, so nobody outside can forge one.

use super::state::Worker;
use crate::base::Key;
use crate::net::bus::Bus;
use crate::net::errqueue;
use crate::store::Counter;
use crate::transaction::BranchId;

/// Another worker's datagram did not arrive.
pub(super) const BUS_UNREACHABLE: u8 = 16;
/// Errors taken from one socket in a turn; the kernel keeps about as many.
const BUDGET: usize = 4096;

impl Worker {
    /// A socket has errors for us.
    pub(super) fn socket_errors(&mut self, key: Key) {
        for _ in 0..BUDGET {
            let index = key.index as usize;
            let socket = match key.generation {
                0 => self.udp.get(index).and_then(Option::as_ref),
                other => self.adopted_socket(index, other),
            };
            let Some(error) = socket.and_then(|s| s.fd()).and_then(errqueue::next) else { return };
            if errqueue::is_undelivered(error.errno) {
                self.counters.inc(Counter::UdpUnreachable);
                self.undelivered(&error.head, error.errno);
            }
        }
    }

    /// A datagram with this beginning did not arrive.
    pub(super) fn undelivered(&mut self, head: &[u8], errno: i32) {
        let Some(branch) = our_branch(head) else { return };
        let Some(id) = BranchId::parse(branch) else { return };
        let owner = usize::from(id.worker);
        if owner == self.me {
            return self.unreachable(id, errno);
        }
        // The kernel gives the error to any of the sockets that share the port.
        if owner < self.count && self.bus.peer(owner).is_some_and(|p| p.incarnation == id.incarnation) {
            let mut payload = errno.to_be_bytes().to_vec();
            payload.extend_from_slice(branch);
            let _ = self.bus.send(owner, BUS_UNREACHABLE, &payload);
        }
    }

    /// Another worker has heard of it.
    pub(super) fn unreachable_told(&mut self, payload: &[u8]) {
        if let Some((errno, branch)) = payload.split_first_chunk::<4>()
            && let Some(id) = BranchId::parse(branch)
            && usize::from(id.worker) == self.me
        {
            self.unreachable(id, i32::from_be_bytes(*errno));
        }
    }

    /// The request of a branch did not arrive: the branch fails, unless it has had a reply. Where the way is only
    /// disturbed and there is no other destination, the retransmissions go on.
    fn unreachable(&mut self, id: BranchId, errno: i32) {
        if !self.tm.is_branch(&id) {
            return;
        }
        let Some(view) = self.tm.branch(id.tx, id.branch) else { return };
        if view.last_status != 0 || !view.pending {
            return;
        }
        let other = self.branch_data(id.tx, id.branch).is_some_and(|d| d.spare.is_some());
        if other || errqueue::is_hard(errno) {
            let _ = self.tm.fail_branch(self.now, id.tx, id.branch, 503);
            self.flush_transactions();
        }
    }
}

/// The branch parameter of the top Via of a request that begins so, if it is not an ACK or a CANCEL.
fn our_branch(head: &[u8]) -> Option<&[u8]> {
    if [&b"SIP/2.0 "[..], b"ACK ", b"CANCEL "].iter().any(|start| head.starts_with(start)) {
        return None;
    }
    let at = memchr::memmem::find(head, b";branch=")? + b";branch=".len();
    let rest = head.get(at..)?;
    let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | b';' | b',' | b' ')).unwrap_or(rest.len());
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_found_in_what_comes_back() {
        let head = b"INVITE sip:a@b;x=1 SIP/2.0\r\nVia: SIP/2.0/UDP h:5060;branch=z9hG4bKrpabc.def\r\nVia: x";
        assert_eq!(our_branch(head), Some(&b"z9hG4bKrpabc.def"[..]));
        assert_eq!(our_branch(&head[..62]), Some(&b"z9h"[..]), "cut off: it will not parse");
        assert_eq!(our_branch(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKrpabc\r\n"), None);
        assert_eq!(our_branch(b"ACK sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKrpabc\r\n"), None);
        assert_eq!(our_branch(b""), None);
    }
}
