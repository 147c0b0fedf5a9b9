//! Keep-alive requests of `usrloc` (`ka_mode`): contacts are asked without state from time to time; an answer says that one
//! is there, and how far away. One worker's job, some contacts at a time; whichever worker an answer comes to notes it.

use super::accounting::Reading;
use super::forward::LookupFor;
use super::natping::Walk;
use super::state::{Origin, Worker};
use crate::base::Str;
use crate::modules::acc::record::Expand;
use crate::modules::emit;
use crate::modules::env::Env;
use crate::modules::usrloc::keepalive::Sent;
use crate::modules::usrloc::{self, Binding, Mode, Record};
use crate::net::resolver::locate::{Destination, Hop, Locator, Next};
use crate::script::vm::Run;
use crate::sip::nameaddr::NameAddr;
use crate::sip::{Message, Transport};
use std::net::SocketAddr;
use std::time::Duration;

/// Names of contacts that may be looked up at a time.
const MAX_LOOKUPS: usize = 1000;

/// A request on its way to a contact.
pub(super) struct Ask {
    binding: Binding,
    table: Str,
    aor: Str,
}

impl Worker {
    /// How often contacts are asked, if they are.
    pub(super) fn keepalive_interval(&mut self) -> Option<Duration> {
        let program = self.program();
        let s = &self.env().settings.usrloc;
        if !s.keepalive.on || s.mode == Mode::Database || !usrloc::is_loaded(&program) {
            return None;
        }
        let interval = s.interval;
        self.asking = Walk::over(usrloc::tables(&program, s));
        Some(interval)
    }

    /// Asks some contacts: when to go on, if there are more.
    pub(super) fn ask_contacts(&mut self) -> Option<Duration> {
        let env = self.env().clone();
        if self.drain.is_some() {
            self.asking.stop();
            return None;
        }
        let (page, again) = match self.asking.page(&env) {
            Ok(page) => page,
            Err(why) => {
                emit(-1, "usrloc", &why);
                return None;
            }
        };
        let now = usrloc::now(&env);
        for record in page {
            self.ask_record(&env, record, now);
        }
        again
    }

    fn ask_record(&mut self, env: &Env, record: Record, now: i64) {
        let s = &env.settings.usrloc;
        let mut lost = Vec::new();
        for binding in record.bindings.into_iter().filter(|b| !b.is_over(now)) {
            let Some((hop, transport)) = way(&binding) else { continue };
            if !s.keepalive.wants(&binding, s.nat_bflag.as_ref(), transport == Transport::Udp) {
                continue;
            }
            if s.keepalive.is_lost(&binding, now) {
                lost.push(binding.ruid);
                continue;
            }
            let locator = Locator::new(hop, self.policy(0));
            let ask = Ask { binding, table: record.table.clone(), aor: record.aor.clone() };
            self.ask_on(Box::new(ask), Box::new(locator));
        }
        if lost.is_empty() {
            return;
        }
        let taken = usrloc::records(env, &record.table)
            .and_then(|r| r.take(&record.aor, &lost, s.mode.writes()).map_err(|e| e.to_string()));
        match taken {
            Ok(ended) => ended.into_iter().for_each(|e| {
                let (aor, count) = (e.aor.to_lossy().into_owned(), e.bindings.len());
                emit(3, "usrloc", &format!("{aor}: {count} contacts have not answered for {} s", s.keepalive.timeout));
                self.contacts_ended(e);
            }),
            Err(why) => emit(-1, "usrloc", &why),
        }
        self.write_contacts();
    }

    /// Goes on to send a request as soon as it is known where to.
    pub(super) fn ask_on(&mut self, ask: Box<Ask>, mut locator: Box<Locator>) {
        match locator.next() {
            Next::Ask(question) if self.lookups.len() < MAX_LOOKUPS => {
                self.look_up(question, LookupFor::Contact(ask, locator));
            }
            Next::Try(to) => self.ask_at(&ask, &to),
            Next::Ask(_) | Next::End(_) => {}
        }
    }

    fn ask_at(&mut self, ask: &Ask, to: &Destination) {
        let env = self.env().clone();
        let named = ask.binding.socket.as_ref().and_then(|name| env.find_listener(name));
        let fits = |i: &usize| {
            let l = env.listeners.get(*i);
            l.is_some_and(|l| l.transport == to.transport && l.addr.is_ipv4() == to.addr.is_ipv4())
        };
        let found = named.filter(fits).or_else(|| (0..env.listeners.len()).find(fits));
        let Some(listener) = found.and_then(|i| u16::try_from(i).ok()) else { return };
        let text = self.ask_text(&env, ask, listener);
        self.send(listener, to.addr, &text);
    }

    fn ask_text(&self, env: &Env, ask: &Ask, listener: u16) -> Vec<u8> {
        let ka = &env.settings.usrloc.keepalive;
        let Some(l) = env.listeners.get(usize::from(listener)) else { return Vec::new() };
        let b = &ask.binding;
        let at = self.now.as_micros();
        let sent = Sent { table: ask.table.clone(), aor: ask.aor.clone(), ruid: b.ruid.clone(), at };
        let seal = self.hash(&sent.sealed_text());
        let route = b.path.as_ref().filter(|p| !p.is_empty()).map(|p| [b"Route: ", &p[..], b"\r\n"].concat());
        let to = match ask.aor.contains(&b'@') {
            true => ask.aor.to_vec(),
            false => [&ask.aor[..], b"@", &ka.domain].concat(),
        };
        let via = format!(
            " SIP/2.0\r\nVia: SIP/2.0/{} {}:{};branch=z9hG4bKk{seal:016x}\r\n",
            l.transport.as_str(),
            l.via_host(),
            l.via_port()
        );
        let rest = format!(
            ">\r\nCall-ID: {}{}\r\nCSeq: 1 {}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            mark(env),
            sent.word(seal),
            ka.method.to_lossy()
        );
        [
            &ka.method[..],
            b" ",
            &b.contact,
            via.as_bytes(),
            &route.unwrap_or_default(),
            b"From: <",
            &ka.from,
            format!(">;tag={:x}\r\nTo: <sip:", seal.rotate_left(17)).as_bytes(),
            &to,
            rest.as_bytes(),
        ]
        .concat()
    }

    /// Whether a reply is the answer to one of these requests; if so, that is noted.
    pub(super) fn contact_answers(&mut self, reply: &Message, origin: Origin) -> bool {
        let env = self.env().clone();
        let ka = &env.settings.usrloc.keepalive;
        if !ka.on {
            return false;
        }
        let Some((sent, seal)) = reply.call_id().strip_prefix(mark(&env).as_bytes()).and_then(Sent::read) else {
            return false;
        };
        if self.hash(&sent.sealed_text()) != seal {
            return false;
        }
        let took = self.now.as_micros().saturating_sub(sent.at);
        let now = usrloc::now(&env);
        let noted = usrloc::records(&env, &sent.table).and_then(|records| {
            let note = |record: &mut Record| {
                let found = record.bindings.iter_mut().find(|b| b.ruid == sent.ruid).ok_or(())?;
                (found.alive, found.roundtrip) = (now, u32::try_from(took).unwrap_or(u32::MAX));
                Ok::<(), ()>(())
            };
            records.change(&sent.aor, note).map_err(|e| e.to_string())
        });
        match (noted, ka.log_level) {
            (Err(why), _) => emit(-1, "usrloc", &why),
            (Ok(Ok(())), Some(level)) => {
                let text = self.text_about(&ka.log_text, reply, origin);
                let (whole, part) = (took / 1_000_000, took % 1_000_000);
                let ruid = sent.ruid.to_lossy();
                emit(level, "usrloc", &format!("keepalive roundtrip: {whole}.{part:06} sec - ruid [{ruid}]{text}"));
            }
            _ => {}
        }
        true
    }

    /// A text with variables of a message.
    fn text_about(&mut self, format: &Str, message: &Message, origin: Origin) -> String {
        let Some(route) = self.routes.request else { return String::new() };
        let host = self.host(message.clone(), origin);
        let mut reading = Reading { run: Run::new(self.program(), route, host), now: self.now };
        reading.value(format).to_text().map_or_else(String::new, |t| t.to_lossy().into_owned())
    }
}

/// What the Call-IDs of these requests begin with.
fn mark(env: &Env) -> String {
    format!("ka-{}.", env.tag_prefix)
}

/// The next hop to a contact, and over what: where its REGISTER came from if that is kept, else the first hop of its path,
/// else the other end of its connection, else its URI.
fn way(b: &Binding) -> Option<(Hop, Transport)> {
    let path = b.path.as_ref().filter(|p| !p.is_empty());
    let first = path.and_then(|p| NameAddr::list(p).next()?.ok().map(|n| Str::from(n.uri)));
    let flow = |(transport, addr): &(Str, SocketAddr)| {
        let host = crate::modules::env::bracketed(addr.ip());
        Str::from(format!("sip:{host}:{};transport={}", addr.port(), transport.to_lossy()))
    };
    let uri = b.received.clone().or(first).or_else(|| b.flow.as_ref().map(flow)).unwrap_or_else(|| b.contact.clone());
    let hop = Hop::of_uri(&uri)?;
    let transport = hop.transport.unwrap_or(Transport::Udp);
    Some((hop, transport))
}
