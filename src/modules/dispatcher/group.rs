//! What scripts ask about a whole set, or one destination of it (`$dsg`), and what event routes hear (`$dsv`).

use super::mark::{DS_MARK_DST, marked};
use super::query::{DS_LIST_EXISTS, of_set};
use super::shared::known;
use super::state::State;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use serde::{Deserialize, Serialize};

/// What `$dsg(...)` knows.
pub const GROUP: &[&str] = &["count", "active", "inactive", "pactive", "ocrate"];
/// What `$dsv(...)` knows.
pub const EVENT: &[&str] = &["code", "flags"];

/// Which set a run has fetched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fetched {
    set: i64,
    uri: Option<Str>,
}

/// `ds_dsg_fetch`
pub const DS_DSG_FETCH: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_dsg_fetch"),
    params: &[Param::req("set", Kind::Int)],
    doc: "Chooses the set that $dsg(...) is about from now on: `count` of its destinations, how many are `active` and \
          `inactive`, and `pactive` percent.",
    returns: &[(1, "done"), (-1, "there is no such set")],
    example: r#"if (ds_dsg_fetch("1")) xlog("$dsg(active) of $dsg(count)\n");"#,
    run: |call| fetch(call, None),
    ..DS_LIST_EXISTS
};

/// `ds_dsg_fetch_uri`
pub const DS_DSG_FETCH_URI: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_dsg_fetch_uri"),
    params: &[Param::req("set", Kind::Int), Param::req("uri", Kind::Str)],
    doc: "As ds_dsg_fetch; $dsg(ocrate) is about the destination with this URI.",
    returns: &[(1, "done"), (-1, "there is no such set or destination")],
    example: r#"if (ds_dsg_fetch_uri("1", "sip:10.0.0.1:5060")) xlog("$dsg(ocrate)\n");"#,
    run: |call| {
        let uri = call.text(1).unwrap_or_default();
        fetch(call, Some(uri))
    },
    ..DS_DSG_FETCH
};

/// `ds_mark_addr`
pub const DS_MARK_ADDR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_mark_addr"),
    params: &[Param::req("state", Kind::Str), Param::req("set", Kind::Int), Param::req("uri", Kind::Str)],
    routes: RouteSet::ALL,
    doc: "Says how a destination stands, as ds_mark_dst does of the one in use.",
    returns: &[(1, "done"), (-1, "no such destination or state")],
    example: r#"ds_mark_addr("ip", "1", "sip:10.0.0.1:5060");"#,
    run: |call| {
        let (Some(set), Some(uri)) = (call.int(1), call.text(2)) else { return Step::Done(-1) };
        marked(call, Dialect::Kamailio, set, &uri)
    },
    ..DS_MARK_DST
};

fn fetch(call: &mut Call<'_, SipHost>, uri: Option<Str>) -> Step<SipHost> {
    let Some(set) = call.int(0) else { return Step::Fail("the set is a number".to_string()) };
    let known = match known(call.host.env()) {
        Ok(known) => known,
        Err(why) => return Step::Fail(format!("dispatcher: {why}")),
    };
    let there = match &uri {
        None => known.list.set(set).is_some(),
        Some(uri) => known.list.find(set, uri).is_some(),
    };
    if !there {
        return Step::Done(-1);
    }
    call.host.rare.group = Some(Box::new(Fetched { set, uri }));
    Step::Done(1)
}

/// Reads `$dsg(...)`.
pub fn get(h: &SipHost, name: &[u8]) -> Value {
    let Some(fetched) = &h.rare.group else { return Value::Null };
    let Ok(known) = known(h.env()) else { return Value::Null };
    let all: Vec<&State> = of_set(&known, fetched.set).map(|(_, s)| s).collect();
    let active = all.iter().filter(|s| s.usable()).count();
    let number = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    match name {
        b"count" => number(all.len()),
        b"active" => number(active),
        b"inactive" => number(all.len() - active),
        b"pactive" => number((active * 100).checked_div(all.len()).unwrap_or(0)),
        b"ocrate" => {
            let uri = fetched.uri.as_ref();
            let found = uri.and_then(|u| of_set(&known, fetched.set).find(|(d, _)| d.uri == *u));
            found.map_or(Value::Null, |(d, s)| Value::Int(s.spared.map_or(d.attrs.spared.into(), i64::from)))
        }
        _ => Value::Null,
    }
}

/// Reads `$dsv(...)`.
pub fn event(h: &SipHost, name: &[u8]) -> Value {
    let found = h.event.iter().find(|(n, _)| n[..] == *name);
    found.and_then(|(_, v)| Value::Str(v.clone()).to_int()).map_or(Value::Null, Value::Int)
}
