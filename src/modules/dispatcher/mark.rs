//! What scripts say of destinations: how they stand, which calls have ended.

use super::kept::current;
use super::shared::change;
use super::state::{Change, Word};
use super::{calls, shared};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::request::Request;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::Method;

/// `ds_mark_dst`
pub const DS_MARK_DST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("ds_mark_dst"),
    params: &[Param::opt("state", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RFOBL"),
    waits: false,
    doc: "Says how the destination in use stands: `a` active, `i` inactive (also without an argument), `t` it has failed \
          once (ds_probing_threshold failures make it inactive), `d` disabled; each with `p`, and `p` for an active \
          one: it is probed from now on (with ds_probing_mode=1 in any case).",
    returns: &[(1, "done"), (-1, "no destination is in use, or no such state")],
    example: r#"if (t_check_status("503|408")) ds_mark_dst("tp");"#,
    run: |call| mark(call, Dialect::Kamailio),
    finish: Some(|_call, _outcome| Step::Done(1)),
};

/// `ds_load_update`
pub const DS_LOAD_UPDATE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_load_update"),
    params: &[],
    routes: RouteSet::letters("RFO"),
    doc: "Keeps the count of calls of algorithm 10: a BYE or CANCEL, or a negative reply to an INVITE, ends the call; a \
          2xx to an INVITE lets it last for ds_hash_expire seconds.",
    returns: &[(1, "done"), (-1, "the call is not known, or the message says nothing about it")],
    example: "ds_load_update();",
    run: |call| {
        let h = &*call.host;
        let (env, call_id) = (h.env(), h.msg.call_id());
        let done = match (h.msg.is_request(), h.msg.method(), h.msg.status()) {
            (true, Method::Bye | Method::Cancel, _) => calls::end(env, call_id),
            (false, Method::Invite, 300..) => calls::end(env, call_id),
            (false, Method::Invite, 200..) => calls::keep(env, call_id, env.settings.dispatcher.call_lasts),
            _ => Ok(false),
        };
        told(call, done)
    },
    finish: None,
    ..DS_MARK_DST
};

/// `ds_load_unset`
pub const DS_LOAD_UNSET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_load_unset"),
    doc: "The call is counted no more.",
    returns: &[(1, "done"), (-1, "the call is not known")],
    example: "ds_load_unset();",
    run: |call| {
        let done = calls::end(call.host.env(), call.host.msg.call_id());
        told(call, done)
    },
    ..DS_LOAD_UPDATE
};

/// `ds_oc_set_attrs`
pub const DS_OC_SET_ATTRS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_oc_set_attrs"),
    params: &[Param::req("set", Kind::Int), Param::req("uri", Kind::Str), Param::req("rate", Kind::Int)],
    routes: RouteSet::ALL,
    doc: "Sets the percentage of requests that algorithm 64 spares a destination, within its ocmin and ocmax.",
    returns: &[(1, "done"), (-1, "no such destination, or no percentage")],
    example: r#"ds_oc_set_attrs("1", "sip:10.0.0.1:5060", "50");"#,
    run: |call| {
        let rate = call.int(2).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= 100);
        let (Some(set), Some(rate)) = (call.int(0), rate) else { return Step::Done(-1) };
        let uri = call.text(1).unwrap_or_default();
        let done = change(call.host.env(), set, Some(&uri), |d, state| {
            let (least, most) = d.attrs.spared_between;
            state.spared = u8::try_from(rate.clamp(least.min(most), most)).ok();
        });
        told(call, done.map(|list| !list.is_empty()))
    },
    ..DS_LOAD_UPDATE
};

fn told(call: &Call<'_, SipHost>, done: Result<bool, String>) -> Step<SipHost> {
    match done {
        Ok(true) => Step::Done(1),
        Ok(false) => Step::Done(-1),
        Err(why) => {
            log_line(call.host, -1, &format!("dispatcher: {why}"));
            Step::Done(-1)
        }
    }
}

pub(super) fn mark(call: &mut Call<'_, SipHost>, dialect: Dialect) -> Step<SipHost> {
    let text = call.text(0).filter(|t| !t.is_empty()).unwrap_or_else(|| Str::from("i"));
    let Some((word, probing)) = Word::parse(&text) else {
        return Step::Fail(format!("`{}` is no state of a destination", text.to_lossy()));
    };
    let Some(kept) = current(call) else { return Step::Done(-1) };
    said(call, dialect, (word, probing), kept.set, &kept.uri)
}

/// The first argument says how this destination stands.
pub(super) fn marked(call: &mut Call<'_, SipHost>, dialect: Dialect, set: i64, uri: &[u8]) -> Step<SipHost> {
    let text = call.text(0).unwrap_or_default();
    match Word::parse(&text) {
        Some(word) => said(call, dialect, word, set, uri),
        None => Step::Fail(format!("`{}` is no state of a destination", text.to_lossy())),
    }
}

fn said(
    call: &mut Call<'_, SipHost>,
    dialect: Dialect,
    (word, probing): (Word, bool),
    set: i64,
    uri: &[u8],
) -> Step<SipHost> {
    let settings = &call.host.env().settings.dispatcher;
    // OpenSIPS' `p` is a failure that counts towards the threshold.
    let word = match (dialect, word, probing) {
        (Dialect::OpenSips, Word::Active, true) => Word::Trying,
        (_, word, _) => word,
    };
    let thresholds = (word == Word::Trying).then_some(settings.thresholds);
    let probing = probing || (settings.mode == 1 && word != Word::Disabled);
    let changed = shared::change(call.host.env(), set, Some(uri), |_, state| {
        (state.hear(word, probing, thresholds), state.flags)
    });
    match changed {
        Err(why) => Step::Fail(format!("dispatcher: {why}")),
        Ok(list) => match list.into_iter().next() {
            None => Step::Done(-1),
            Some((_, (None, _))) => Step::Done(1),
            Some((uri, (Some(change), flags))) => Step::Wait(Request::RaiseEvent {
                name: Str::from(event_name(dialect, change)),
                params: event_params(set, uri, change, flags, None),
            }),
        },
    }
}

/// The event of a destination that has gone down or come up.
pub fn event_name(dialect: Dialect, change: Change) -> &'static str {
    match (dialect, change) {
        (Dialect::OpenSips, _) => "E_DISPATCHER_STATUS",
        (Dialect::Kamailio, Change::Up) => "dispatcher:dst-up",
        (Dialect::Kamailio, Change::Down) => "dispatcher:dst-down",
    }
}

/// What the event says; the address is also the R-URI of its run. `code`: the status that a ping was answered with.
pub fn event_params(set: i64, uri: Str, change: Change, flags: u8, code: Option<u16>) -> Vec<(Str, Str)> {
    let status = if change == Change::Up { "active" } else { "inactive" };
    let code = code.map(|code| (Str::from("code"), Str::from(code.to_string())));
    let all = vec![
        (Str::from("partition"), Str::from("default")),
        (Str::from("group"), Str::from(set.to_string())),
        (Str::from("address"), uri),
        (Str::from("status"), Str::from(status)),
        (Str::from("flags"), Str::from(flags.to_string())),
    ];
    all.into_iter().chain(code).collect()
}
