//! Keep-alives of `nathelper`: contacts behind a NAT are sent something from time to time, so that the way to them stays
//! open. One worker's job, some contacts at a time.

use super::state::Worker;
use crate::base::Str;
use crate::modules::emit;
use crate::modules::env::Env;
use crate::modules::nathelper::Pings;
use crate::modules::usrloc::{self, Binding, Mode, Record};
use crate::net::resolver::locate::Hop;
use crate::sip::nameaddr::NameAddr;
use crate::sip::{Message, Transport};
use std::net::SocketAddr;
use std::time::Duration;

/// Addresses of record that are looked at before others have a turn.
const PAGE: usize = 100;
/// Until then.
const AGAIN: Duration = Duration::from_millis(5);
/// What keeps a way open and is no message.
const NOTHING: [u8; 4] = [0; 4];

/// A walk over the contacts.
#[derive(Default)]
pub struct Walk {
    tables: Vec<Str>,
    /// The table, and the row behind which it goes on.
    at: Option<(usize, Option<Vec<u8>>)>,
    sent: u64,
}

impl Walk {
    /// One over these tables.
    pub(super) fn over(tables: Vec<Str>) -> Walk {
        Walk { tables, ..Walk::default() }
    }

    /// It is given up; the next one begins anew.
    pub(super) fn stop(&mut self) {
        self.at = None;
    }

    /// The next records, with their table: when to go on, if there are more.
    pub(super) fn page(&mut self, env: &Env) -> Result<(Vec<Record>, Option<Duration>), String> {
        let (n, after) = self.at.take().unwrap_or_default();
        let Some(table) = self.tables.get(n) else { return Ok((Vec::new(), None)) };
        let page = usrloc::records(env, table)?.page(after.as_deref(), PAGE).map_err(|e| e.to_string())?;
        self.at = match page.last() {
            Some((key, _)) if page.len() == PAGE => Some((n, Some(key.clone()))),
            _ if n + 1 < self.tables.len() => Some((n + 1, None)),
            _ => None,
        };
        let again = self.at.is_some().then_some(AGAIN);
        Ok((page.into_iter().map(|(_, record)| record).collect(), again))
    }
}

impl Worker {
    /// How often contacts are pinged, if they are.
    pub(super) fn natping_interval(&mut self) -> Option<Duration> {
        let program = self.program();
        let interval = self.env().settings.nathelper.pings.interval;
        if interval.is_zero() || !usrloc::is_loaded(&program) {
            return None;
        }
        if self.env().settings.usrloc.mode == Mode::Database {
            emit(1, "nathelper", "contacts that are in the database alone (db_mode 3) are not pinged");
            return None;
        }
        self.natping = Walk::over(usrloc::tables(&program, &self.env().settings.usrloc));
        Some(interval)
    }

    /// Pings some contacts: when to go on, if there are more.
    pub(super) fn ping_contacts(&mut self) -> Option<Duration> {
        let env = self.env().clone();
        let pings = &env.settings.nathelper.pings;
        if self.drain.is_some() || !pings_are_on(&env) {
            self.natping.stop();
            return None;
        }
        let (page, again) = match self.natping.page(&env) {
            Ok(page) => page,
            Err(why) => {
                emit(-1, "nathelper", &why);
                return None;
            }
        };
        let now = usrloc::now(&env);
        for record in &page {
            for binding in record.bindings.iter().filter(|b| !b.is_over(now)) {
                self.ping_contact(pings, binding, env.settings.usrloc.nat_bflag.as_ref());
            }
        }
        again
    }

    fn ping_contact(&mut self, pings: &Pings, b: &Binding, nat_flag: Option<&Str>) {
        let has = |flag: Option<&Str>| flag.is_some_and(|f| b.bflags.contains(f));
        if has(pings.disable.as_ref()) || pings.nated_only && !has(nat_flag) {
            return;
        }
        let request = has(pings.flag.as_ref()).then_some(pings.from.as_ref()).flatten();
        let path = b.path.as_ref().filter(|p| !p.is_empty());
        let first = path.and_then(|p| NameAddr::list(p).next()?.ok().map(|n| n.uri.to_vec()));
        let uri = match (&first, request) {
            (Some(first), Some(_)) => first.clone(),
            (Some(first), None) if pings.path => first.clone(),
            (Some(_), None) => return,
            (None, _) => b.received.as_ref().unwrap_or(&b.contact).to_vec(),
        };
        let Some(hop) = Hop::of_uri(&uri).filter(|h| h.transport.is_none_or(|t| t == Transport::Udp)) else { return };
        let Some(addr) = hop.literal() else { return };
        let Some(listener) = self.ping_listener(pings, b, addr) else { return };
        let text = match request {
            Some(from) => self.ping_text(pings, from, b, path, listener, addr),
            None => NOTHING.to_vec(),
        };
        self.send(listener, addr, &text);
    }

    /// The socket that a contact was registered at, or another one that can reach it.
    fn ping_listener(&self, pings: &Pings, b: &Binding, addr: SocketAddr) -> Option<u16> {
        let env = self.env();
        let fits = |i: &usize| {
            let l = env.listeners.get(*i);
            l.is_some_and(|l| l.transport == Transport::Udp && l.addr.is_ipv4() == addr.is_ipv4())
        };
        let named = |name: &Option<Str>| name.as_ref().and_then(|n| env.find_listener(n)).filter(fits);
        let found = named(&pings.socket).or_else(|| named(&b.socket));
        found.or_else(|| (0..env.listeners.len()).find(fits)).and_then(|i| u16::try_from(i).ok())
    }

    fn ping_text(
        &mut self,
        pings: &Pings,
        from: &Str,
        b: &Binding,
        path: Option<&Str>,
        listener: u16,
        addr: SocketAddr,
    ) -> Vec<u8> {
        let env = self.env().clone();
        let Some(l) = env.listeners.get(usize::from(listener)) else { return Vec::new() };
        self.natping.sent = self.natping.sent.wrapping_add(1);
        let to = addr.to_string();
        let seed = [&self.now.as_micros().to_be_bytes()[..], &self.natping.sent.to_be_bytes(), to.as_bytes()];
        let id = self.hash(&seed.concat());
        let route = path.map(|p| [b"Route: ", &p[..], b"\r\n"].concat()).unwrap_or_default();
        let via =
            format!(" SIP/2.0\r\nVia: SIP/2.0/UDP {}:{};branch=z9hG4bKp{id:016x}\r\n", l.via_host(), l.via_port());
        let rest = format!(
            ">\r\nCall-ID: {}{id:016x}\r\nCSeq: 1 {}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            ping_mark(&env),
            pings.method.to_lossy()
        );
        let tag = format!(">;tag={:x}\r\nTo: <", id.rotate_left(17));
        [
            &pings.method[..],
            b" ",
            &b.contact,
            via.as_bytes(),
            &route,
            b"From: <",
            from,
            tag.as_bytes(),
            &b.contact,
            rest.as_bytes(),
        ]
        .concat()
    }

    /// Whether a reply is one to a ping: nobody waits for it.
    pub(super) fn answers_ping(&self, reply: &Message) -> bool {
        let env = self.env();
        !env.settings.nathelper.pings.interval.is_zero() && reply.call_id().starts_with(ping_mark(env).as_bytes())
    }
}

/// What the Call-IDs of this server's pings begin with.
fn ping_mark(env: &Env) -> String {
    format!("ping-{}", env.tag_prefix)
}

fn pings_are_on(env: &Env) -> bool {
    crate::modules::nathelper::pings_are_on(env)
}
