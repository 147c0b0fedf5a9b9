//! Taking contacts away: `unregister`, OpenSIPS' `remove`.

use super::request::address;
use crate::base::Str;
use crate::modules::env::Env;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::request::{Outcome, Request};
use crate::modules::usrloc::{self, Binding, Mode, Record, Row};
use crate::ops;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

/// `unregister`
pub const UNREGISTER: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("unregister"),
    params: &[Param::req("table", Kind::Str), Param::req("uri", Kind::Str), Param::opt("ruid", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Removes the contacts of an address, or the one with this ruid. A ruid alone is enough if the contact has an \
          instance.",
    returns: &[(1, "removed, or there was none"), (-1, "error"), (-2, "there is no contact with this ruid")],
    example: r#"unregister("location", "$ru");"#,
    run: |call| {
        let ruid = call.text(2).filter(|r| !r.is_empty());
        let uri = call.text(1).unwrap_or_default();
        match address(call.host, &uri) {
            Some(aor) if ruid.is_some() => remove(call, aor, Chosen { ruid, ..Chosen::default() }),
            Some(aor) => none_is_fine(remove(call, aor, Chosen::default())),
            None => by_name(call, ruid),
        }
    },
    finish: Some(|call, outcome| match call.given(2) {
        true => finish(call, outcome),
        false => none_is_fine(finish(call, outcome)),
    }),
};

/// `remove`
pub const REMOVE: FnSpec<SipHost> = FnSpec {
    opensips: Some("remove"),
    kamailio: None,
    params: &[
        Param::req("table", Kind::Str),
        Param::req("address", Kind::Str),
        Param::opt("contact", Kind::Str),
        Param::opt("next_hop", Kind::Str),
        Param::opt("instance", Kind::Str),
        Param::opt("flag", Kind::Str),
    ],
    routes: RouteSet::letters("RO"),
    doc: "Removes the contacts of an address: all, or those with this URI, next hop (host or address, with or without \
          port), instance and branch flag.",
    returns: &[(1, "removed, or there was none"), (-1, "error")],
    example: r#"remove("location", "$tu");"#,
    run: |call| {
        let some = |i| call.text(i).filter(|t| !t.is_empty());
        let chosen = Chosen { ruid: None, contact: some(2), next_hop: some(3), instance: some(4), flag: some(5) };
        let uri = call.text(1).unwrap_or_default();
        match address(call.host, &uri) {
            Some(aor) => none_is_fine(remove(call, aor, chosen)),
            None => Step::Done(-1),
        }
    },
    finish: Some(|call, outcome| none_is_fine(finish(call, outcome))),
    ..UNREGISTER
};

fn none_is_fine(step: Step<SipHost>) -> Step<SipHost> {
    match step {
        Step::Done(-2) => Step::Done(1),
        step => step,
    }
}

/// Which contacts are meant; all if nothing is said.
#[derive(Default)]
struct Chosen {
    ruid: Option<Str>,
    contact: Option<Str>,
    next_hop: Option<Str>,
    instance: Option<Str>,
    flag: Option<Str>,
}

impl Chosen {
    fn is_all(&self) -> bool {
        [&self.ruid, &self.contact, &self.next_hop, &self.instance, &self.flag].iter().all(|c| c.is_none())
    }

    fn takes(&self, b: &Binding) -> bool {
        let same_uri = |wanted: &Str| match (Uri::parse(wanted), Uri::parse(&b.contact)) {
            (Ok(a), Ok(b)) => a.same_as(&b),
            _ => *wanted == b.contact,
        };
        let hop = |wanted: &Str| {
            let next = b.received.as_deref().unwrap_or(&b.contact);
            Uri::parse(next).is_ok_and(|u| *u.host_port() == **wanted || u.host.eq_ignore_ascii_case(wanted))
        };
        self.ruid.as_ref().is_none_or(|r| *r == b.ruid)
            && self.contact.as_ref().is_none_or(same_uri)
            && self.next_hop.as_ref().is_none_or(hop)
            && self.instance.as_ref().is_none_or(|i| b.instance.as_ref() == Some(i))
            && self.flag.as_ref().is_none_or(|f| b.bflags.contains(f))
    }
}

fn by_name(call: &mut Call<'_, SipHost>, ruid: Option<Str>) -> Step<SipHost> {
    let Some(ruid) = ruid else { return Step::Done(-1) };
    let table = call.text(0).unwrap_or_default();
    let found = usrloc::records(call.host.env(), &table).and_then(|r| r.aor_of(&ruid).map_err(|e| e.to_string()));
    match found {
        Ok(Some(aor)) => remove(call, aor, Chosen { ruid: Some(ruid), ..Chosen::default() }),
        Ok(None) => Step::Done(-2),
        Err(why) => failed(call, &why),
    }
}

fn failed(call: &Call<'_, SipHost>, why: &str) -> Step<SipHost> {
    log_line(call.host, -1, &format!("registrar: {why}"));
    Step::Done(-1)
}

/// Removes bindings of an address from the shared store; the database will have to forget their rows. How many they
/// were, and the names of the rows.
///
/// # Errors
/// Why nothing was changed.
fn from_store(env: &Env, table: &[u8], aor: &[u8], chosen: &Chosen) -> Result<(usize, Vec<Str>), String> {
    let records = usrloc::records(env, table)?;
    let writes = env.settings.usrloc.mode.writes();
    let out = |record: &mut Record| {
        let gone: Vec<Binding> = record.bindings.extract_if(.., |b| chosen.takes(b)).collect();
        Ok::<Vec<Binding>, ()>(gone)
    };
    let gone = records.change(aor, out).map_err(|e| e.to_string())?.unwrap_or_default();
    let rows = gone.iter().filter(|b| writes && b.row != Row::Missing && !b.in_memory_only());
    let rows: Vec<Str> = rows.map(|b| b.ruid.clone()).collect();
    records.bury(&rows).map_err(|e| e.to_string())?;
    Ok((gone.len(), rows))
}

/// Removes the bindings of an address from the shared store: all, or the one with this URI. How many they were.
///
/// # Errors
/// Why nothing was changed.
pub fn forget(env: &Env, table: &[u8], aor: &[u8], contact: Option<&[u8]>) -> Result<usize, String> {
    let chosen = Chosen { contact: contact.map(Str::from), ..Chosen::default() };
    from_store(env, table, aor, &chosen).map(|(count, _)| count)
}

fn remove(call: &mut Call<'_, SipHost>, aor: Str, chosen: Chosen) -> Step<SipHost> {
    let name = call.text(0).unwrap_or_default();
    let mode = call.host.env().settings.usrloc.mode;
    let query = |request| Step::Wait(Request::Op { op: ops::Request::Sql(request), limit: None });
    if mode == Mode::Database {
        let request = usrloc::table(call.host.env(), &name).map(|table| match (&chosen.ruid, chosen.is_all()) {
            (Some(ruid), _) => Some(table.remove(std::slice::from_ref(ruid))),
            (None, true) => Some(table.remove_aor(&aor)),
            (None, false) => None,
        });
        return match request {
            Ok(Some(request)) => query(request),
            Ok(None) => failed(call, "with bindings in the database alone, all contacts of an address are removed"),
            Err(why) => failed(call, &why),
        };
    }
    let (count, rows) = match from_store(call.host.env(), &name, &aor, &chosen) {
        Ok(done) => done,
        Err(why) => return failed(call, &why),
    };
    if mode == Mode::WriteThrough && !rows.is_empty() {
        let request = usrloc::table(call.host.env(), &name).map(|table| table.remove(&rows));
        if let Ok(request) = request {
            call.state.data = rows.into_iter().map(Value::Str).collect();
            return query(request);
        }
    }
    Step::Done(if count > 0 { 1 } else { -2 })
}

fn finish(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let Outcome::Op(ops::Outcome::Sql(result)) = outcome else {
        // In the shared store they are gone; the database hears of it again.
        return Step::Done(if call.state.data.is_empty() { -1 } else { 1 });
    };
    if call.state.data.is_empty() {
        return Step::Done(if result.affected > 0 { 1 } else { -2 });
    }
    let rows: Vec<Str> = std::mem::take(&mut call.state.data).iter().filter_map(Value::to_text).collect();
    let table = call.text(0).unwrap_or_default();
    let done = usrloc::records(call.host.env(), &table).and_then(|r| r.forget(&rows).map_err(|e| e.to_string()));
    if let Err(why) = done {
        log_line(call.host, 1, &format!("registrar: {why}"));
    }
    Step::Done(1)
}
