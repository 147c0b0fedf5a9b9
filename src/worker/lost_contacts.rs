//! Contacts of users and the connections that they were registered over: `handle_lost_tcp` ends the contact with the
//! connection, `close_expired_tcp` the connection with the contact.

use super::state::Worker;
use super::streams::ConnOrder;
use crate::modules::emit;
use crate::modules::usrloc::Mode;
use crate::modules::usrloc::records::{BATCH, Ended, connections, take_lost};
use crate::net::bus::Bus;
use crate::store::ConnId;
use std::time::Duration;

/// Until connections are looked at again, if there are more.
const AGAIN: Duration = Duration::from_millis(5);

impl Worker {
    fn follows_lost(&self) -> bool {
        let s = &self.env().settings.usrloc;
        s.lost_tcp && s.mode != Mode::Database
    }

    /// A connection of this worker has ended, or one that a dead worker had.
    pub(super) fn contacts_of_lost(&mut self, conn: ConnId) {
        self.take_lost_contacts((conn.worker, conn.incarnation, Some(conn.key)));
    }

    /// A worker has died, and its connections with it.
    pub(super) fn contacts_of_dead(&mut self, index: usize, incarnation: u32) {
        // One of the others does it.
        if self.owner_of(format!("lost#{index}").as_bytes()) == self.me
            && let Ok(worker) = u16::try_from(index)
        {
            self.take_lost_contacts((worker, incarnation, None));
        }
    }

    fn take_lost_contacts(&mut self, lost: (u16, u32, Option<crate::base::Key>)) {
        if !self.follows_lost() {
            return;
        }
        let Some(store) = self.env().store.clone() else { return };
        let bury = self.env().settings.usrloc.mode.writes();
        let mut any = false;
        loop {
            match take_lost(&store, lost, bury) {
                Ok(taken) if taken.is_empty() => break,
                Ok(taken) => {
                    any = true;
                    for ended in taken {
                        let (aor, count) = (ended.aor.to_lossy().into_owned(), ended.bindings.len());
                        emit(3, "usrloc", &format!("{aor}: {count} contacts end with their connection"));
                        self.contacts_ended(ended);
                    }
                }
                Err(why) => {
                    emit(-1, "usrloc", &why.to_string());
                    break;
                }
            }
        }
        if any {
            self.write_contacts();
        }
    }

    /// Looks whether the connections of contacts are still there: a REGISTER may be saved behind the end of its own. When to
    /// go on, if there are more.
    pub(super) fn look_after_connections(&mut self) -> Option<Duration> {
        let store = self.env().store.clone().filter(|_| self.follows_lost())?;
        let after = self.location.conns.take();
        let page = match connections(&store, after.as_deref(), BATCH) {
            Ok(page) => page,
            Err(why) => {
                emit(-1, "usrloc", &why.to_string());
                return None;
            }
        };
        for (_, conn) in &page {
            let mine = usize::from(conn.worker) == self.me;
            let tenant = if mine { Some(self.bus.me()) } else { self.bus.peer(usize::from(conn.worker)) };
            match tenant {
                Some(peer) if peer.incarnation == conn.incarnation => {
                    self.order_conn(*conn, ConnOrder::Look);
                }
                _ => self.contacts_of_lost(*conn),
            }
        }
        self.location.conns = page.last().filter(|_| page.len() == BATCH).map(|(key, _)| key.clone());
        self.location.conns.is_some().then_some(AGAIN)
    }

    /// Contacts have ended: so do their connections, if that is wanted.
    pub(super) fn close_with(&mut self, ended: &Ended) {
        if !self.env().settings.usrloc.close_tcp {
            return;
        }
        for conn in ended.bindings.iter().filter_map(|b| b.conn) {
            self.order_conn(conn, ConnOrder::Close);
        }
    }
}
