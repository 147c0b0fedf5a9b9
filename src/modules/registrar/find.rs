//! The bindings of addresses, wherever they are kept: at once from the shared store, or after a wait from the database.

use super::request::address;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::request::{Outcome, Request};
use crate::modules::usrloc::{self, Binding, Mode};
use crate::ops;
use crate::script::registry::{Call, Step};
use crate::sip::uri::Uri;
use serde::{Deserialize, Serialize};

/// What bindings are asked for by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Wanted {
    /// An address of record.
    Address(Str),
    /// The name of a binding (a temporary GRUU).
    Name(Str),
    /// Nothing can be found by this.
    Nothing,
}

impl Wanted {
    /// What a URI asks for.
    pub fn by(h: &SipHost, uri: &[u8]) -> Wanted {
        let Ok(parsed) = Uri::parse(uri) else { return Wanted::Nothing };
        // RFC 5627: `gr` without a value marks a temporary name.
        if h.env().settings.registrar.gruu
            && parsed.params.get(b"gr").is_some_and(|p| p.text().is_empty())
            && let Some(user) = parsed.user
        {
            return Wanted::Name(Str::from(user));
        }
        address(h, uri).map_or(Wanted::Nothing, Wanted::Address)
    }
}

/// A look-up of several addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Looking {
    table: Str,
    wanted: Vec<Wanted>,
    found: Vec<Vec<Binding>>,
}

/// What is done with what was found: a list of bindings per address, those that have ended left out.
pub type Then = fn(&mut Call<'_, SipHost>, Vec<Vec<Binding>>) -> Step<SipHost>;
/// Code for a store or a database that does not answer.
pub const FAILED: i32 = -3;

/// Looks up addresses; `then` goes on, at once or when the database has answered ([`go_on`]).
pub fn start(call: &mut Call<'_, SipHost>, table: Str, wanted: Vec<Wanted>, then: Then) -> Step<SipHost> {
    if call.host.env().settings.usrloc.mode == Mode::Database {
        let looking = Box::new(Looking { table, wanted, found: Vec::new() });
        return next(call, looking, then);
    }
    match in_store(call.host, &table, &wanted) {
        Ok(found) => then(call, found),
        Err(why) => {
            log_line(call.host, -1, &format!("registrar: {why}"));
            Step::Done(FAILED)
        }
    }
}

fn in_store(h: &SipHost, table: &[u8], wanted: &[Wanted]) -> Result<Vec<Vec<Binding>>, String> {
    let records = usrloc::records(h.env(), table)?;
    let now = usrloc::now(h.env());
    let one = |wanted: &Wanted| -> crate::store::shared::Result<Vec<Binding>> {
        let aor = match wanted {
            Wanted::Address(aor) => Some(aor.clone()),
            Wanted::Name(ruid) => records.aor_of(ruid)?,
            Wanted::Nothing => None,
        };
        let Some(aor) = aor else { return Ok(Vec::new()) };
        let mut bindings = records.get(&aor)?.bindings;
        bindings.retain(|b| !b.is_over(now));
        if let Wanted::Name(ruid) = wanted {
            bindings.retain(|b| b.ruid == *ruid);
        }
        Ok(bindings)
    };
    wanted.iter().map(|w| one(w).map_err(|e| e.to_string())).collect()
}

/// Asks the database for the next address.
fn next(call: &mut Call<'_, SipHost>, mut looking: Box<Looking>, then: Then) -> Step<SipHost> {
    loop {
        let Some(wanted) = looking.wanted.get(looking.found.len()) else { return then(call, looking.found) };
        let table = match usrloc::table(call.host.env(), &looking.table) {
            Ok(table) => table,
            Err(why) => {
                log_line(call.host, -1, &format!("registrar: {why}"));
                return Step::Done(FAILED);
            }
        };
        let request = match wanted {
            Wanted::Address(aor) => table.select(aor),
            Wanted::Name(ruid) => table.select_named(ruid),
            Wanted::Nothing => {
                looking.found.push(Vec::new());
                continue;
            }
        };
        call.host.location.get_or_insert_default().looking = Some(looking);
        return Step::Wait(Request::Op { op: ops::Request::Sql(request), limit: None });
    }
}

/// The database has answered.
pub fn go_on(call: &mut Call<'_, SipHost>, outcome: Outcome, then: Then) -> Step<SipHost> {
    let Some(mut looking) = call.host.location.as_mut().and_then(|k| k.looking.take()) else {
        return Step::Done(FAILED);
    };
    let Outcome::Op(ops::Outcome::Sql(result)) = outcome else { return Step::Done(FAILED) };
    let now = usrloc::now(call.host.env());
    let newest_first = call.host.env().settings.usrloc.newest_first;
    let mut bindings: Vec<Binding> = match usrloc::table(call.host.env(), &looking.table) {
        Ok(table) => result.rows.iter().filter_map(|row| table.read(row)).map(|(_, b)| b).collect(),
        Err(_) => return Step::Done(FAILED),
    };
    bindings.retain(|b| !b.is_over(now));
    // A table is in no order of its own: the older contact comes first, as it would in memory.
    bindings.sort_by_key(|b| b.modified);
    usrloc::binding::sort(&mut bindings, newest_first);
    looking.found.push(bindings);
    next(call, looking, then)
}
