//! What a REGISTER does to the bindings of its address (RFC 3261 10.3, steps 6 and 7): request and stored bindings
//! in, bindings and return code out. Nothing is done by halves: either all contacts are taken, or none.

use super::refusal::Refusal;
use crate::base::Str;
use crate::modules::usrloc::binding::{Binding, Row, sort};
use crate::modules::usrloc::{Matching, binding};
use crate::sip::uri::Uri;
use crate::store::ConnId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Most bindings of an address, whatever `max_contacts` says: the reply names all of them.
pub const MOST_CONTACTS: usize = 150;

/// A contact that a REGISTER names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its URI.
    pub uri: Str,
    /// Seconds it is to live; 0: it is to go.
    pub expires: u32,
    /// Its preference in thousandths.
    pub q: Option<u16>,
    /// Methods it takes, a bit each; `None`: all.
    pub methods: Option<u32>,
    /// `+sip.instance`, with its angle brackets.
    pub instance: Option<Str>,
    /// `reg-id`; 0: none.
    pub reg_id: u32,
    /// `received`
    pub received: Option<Str>,
}

/// Which contacts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Contacts {
    /// None: the bindings are asked for.
    #[default]
    Query,
    /// `*`: all are to go.
    All,
    /// These.
    These(Vec<Wanted>),
}

/// A REGISTER, read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The table.
    pub table: Str,
    /// The address of record.
    pub aor: Str,
    /// Its URI for public names of its contacts (RFC 5627), without parameters.
    pub gruu: Str,
    /// The contacts.
    pub contacts: Contacts,
    /// Its Call-ID.
    pub call_id: Str,
    /// Its CSeq number.
    pub cseq: u32,
    /// Its Path, if that is kept.
    pub path: Option<Str>,
    /// The Path is told in the reply.
    pub show_path: bool,
    /// The other end of the connection it came over, and the transport's name.
    pub flow: Option<(Str, SocketAddr)>,
    /// That connection, where its end matters.
    pub conn: Option<ConnId>,
    /// The client knows RFC 5626.
    pub outbound: bool,
    /// Name of the socket it came in on.
    pub socket: Option<Str>,
    /// Branch flags.
    pub bflags: Vec<Str>,
    /// Flags of the bindings: 1: in memory only.
    pub flags: u32,
    /// Its User-Agent.
    pub user_agent: Str,
    /// What the script attaches.
    pub attr: Option<Str>,
    /// Only the contacts of this request are told in the reply.
    pub own_contacts_only: bool,
}

/// How bindings are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rules {
    /// What makes a contact the same as one that is there.
    pub matching: Matching,
    /// A contact with an instance is the same as one with this instance and `reg-id`.
    pub by_instance: bool,
    /// Most bindings; 0: as many as may be.
    pub max_contacts: usize,
    /// Only the contacts of this request stay.
    pub replace_others: bool,
    /// Older contacts make room for new ones instead of a refusal.
    pub make_room: bool,
    /// Seconds for which the same CSeq again is a repetition.
    pub cseq_delay: i64,
    /// The newest contact comes first.
    pub newest_first: bool,
    /// What is written into a database is [`Row::Missing`] or [`Row::Old`], else [`Row::Same`].
    pub writes: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// All bindings as they are now, in order.
    pub bindings: Vec<Binding>,
    /// Names of those that were set.
    pub set: Vec<Str>,
    /// Those that are gone.
    pub gone: Vec<Binding>,
    /// 1: inserted, 2: updated, 3: deleted, 4: asked for.
    pub code: i32,
}

/// Applies a REGISTER. `now`: seconds since 1970; `name` makes a name that no other binding has.
///
/// # Errors
/// Why it is refused; nothing has changed then.
pub fn register(
    ask: &Ask,
    stored: &[Binding],
    rules: &Rules,
    now: i64,
    name: &mut dyn FnMut() -> Str,
) -> Result<Plan, Refusal> {
    let (ended, mut bindings): (Vec<Binding>, Vec<Binding>) = stored.iter().cloned().partition(|b| b.is_over(now));
    let mut plan = Plan { code: 4, gone: ended, ..Plan::default() };
    match &ask.contacts {
        Contacts::Query => {}
        Contacts::All => {
            for b in &bindings {
                in_order(ask, b, rules, now)?;
            }
            plan.code = 3;
            plan.gone.append(&mut bindings);
        }
        Contacts::These(contacts) => {
            plan.code = 1;
            for wanted in contacts {
                one(ask, wanted, rules, now, &mut bindings, &mut plan, name)?;
            }
            if rules.replace_others {
                let (own, others) = bindings.into_iter().partition(|b| plan.set.contains(&b.ruid));
                bindings = own;
                plan.gone.extend::<Vec<Binding>>(others);
            }
            let most = if rules.max_contacts == 0 { MOST_CONTACTS } else { rules.max_contacts.min(MOST_CONTACTS) };
            if bindings.len() > most && rules.make_room {
                make_room(&mut bindings, most, &mut plan);
            }
            // Who only refreshes what there is may do so, even if less is allowed by now.
            let new = bindings.iter().any(|b| !stored.iter().any(|s| s.ruid == b.ruid));
            if bindings.len() > most && new {
                return Err(Refusal::TooManyContacts);
            }
        }
    }
    sort(&mut bindings, rules.newest_first);
    plan.bindings = bindings;
    Ok(plan)
}

/// The oldest ones go, but none of this request.
fn make_room(bindings: &mut Vec<Binding>, most: usize, plan: &mut Plan) {
    while bindings.len() > most {
        let old = bindings.iter().enumerate().filter(|(_, b)| !plan.set.contains(&b.ruid));
        let Some(at) = old.min_by_key(|(_, b)| b.modified).map(|(at, _)| at) else { return };
        plan.gone.push(bindings.remove(at));
    }
}

fn one(
    ask: &Ask,
    wanted: &Wanted,
    rules: &Rules,
    now: i64,
    bindings: &mut Vec<Binding>,
    plan: &mut Plan,
    name: &mut dyn FnMut() -> Str,
) -> Result<(), Refusal> {
    let found = bindings.iter().position(|b| is_the_same(ask, wanted, b, rules));
    let Some(at) = found else {
        if wanted.expires > 0 {
            let new = set(ask, wanted, rules, now, Binding { ruid: name(), ..Binding::default() });
            plan.set.push(new.ruid.clone());
            plan.code = 1;
            bindings.push(new);
        }
        return Ok(());
    };
    let Some(old) = bindings.get_mut(at) else { return Ok(()) };
    // The same contact twice in one request: the last word counts.
    let again = plan.set.contains(&old.ruid);
    if !again && in_order(ask, old, rules, now)? == Order::Repetition {
        return Ok(());
    }
    if wanted.expires == 0 {
        plan.set.retain(|r| *r != old.ruid);
        plan.gone.push(bindings.remove(at));
        plan.code = 3;
    } else {
        let row = old.row;
        *old = set(ask, wanted, rules, now, old.clone());
        old.row = match row {
            Row::Missing => Row::Missing,
            _ if rules.writes => Row::Old,
            _ => Row::Same,
        };
        if !again {
            plan.set.push(old.ruid.clone());
            plan.code = 2;
        }
    }
    Ok(())
}

fn set(ask: &Ask, wanted: &Wanted, rules: &Rules, now: i64, old: Binding) -> Binding {
    let flow = ask.flow.clone();
    Binding {
        ruid: old.ruid,
        contact: wanted.uri.clone(),
        expires: now.saturating_add(i64::from(wanted.expires)),
        q: wanted.q,
        call_id: ask.call_id.clone(),
        cseq: ask.cseq,
        received: wanted.received.clone(),
        path: ask.path.clone(),
        flags: ask.flags,
        bflags: ask.bflags.clone(),
        user_agent: ask.user_agent.clone(),
        socket: ask.socket.clone(),
        methods: wanted.methods,
        instance: wanted.instance.clone(),
        reg_id: wanted.reg_id,
        modified: now,
        flow,
        conn: ask.conn,
        alive: 0,
        roundtrip: 0,
        attr: ask.attr.clone().or(old.attr),
        row: if rules.writes && ask.flags & binding::MEMORY_ONLY == 0 { Row::Missing } else { Row::Same },
    }
}

fn is_the_same(ask: &Ask, wanted: &Wanted, b: &Binding, rules: &Rules) -> bool {
    if rules.by_instance && wanted.instance.is_some() && b.instance.is_some() {
        return wanted.instance == b.instance && wanted.reg_id == b.reg_id;
    }
    let same_uri = || match (Uri::parse(&wanted.uri), Uri::parse(&b.contact)) {
        (Ok(a), Ok(b)) => a.same_as(&b),
        _ => wanted.uri == b.contact,
    };
    match rules.matching {
        Matching::Contact => same_uri(),
        Matching::ContactAndCallId => ask.call_id == b.call_id && same_uri(),
        Matching::ContactAndPath => ask.path == b.path && same_uri(),
        Matching::CallId => ask.call_id == b.call_id,
    }
}

/// Where a request stands among those that set a binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// It is a later one, or of another client.
    Later,
    /// It is the same once more.
    Repetition,
}

/// 10.3 step 7: of two requests with one Call-ID the one with the higher CSeq is the later one.
fn in_order(ask: &Ask, b: &Binding, rules: &Rules, now: i64) -> Result<Order, Refusal> {
    if ask.call_id != b.call_id || ask.cseq > b.cseq {
        return Ok(Order::Later);
    }
    // What comes twice over UDP is one request.
    if ask.cseq == b.cseq && now < b.modified.saturating_add(rules.cseq_delay) {
        return Ok(Order::Repetition);
    }
    Err(Refusal::OldCseq)
}

#[cfg(test)]
mod tests;
