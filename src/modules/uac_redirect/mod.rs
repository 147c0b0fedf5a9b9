//! `uac_redirect`: following 3xx replies (RFC 3261 16.7 step 4, 8.1.3.4).

use super::core::branches::q_of;
use super::host::{SipHost, Target};
use super::pv_set::MAX_BRANCHES;
use crate::base::Str;
use crate::base::seldom::Vacant;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::sip::Message;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Filters of one run; those of the module's parameters come on top unless they were reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// Contacts that fit one of these are taken.
    pub accept: Vec<Str>,
    /// Contacts that fit one of these are not.
    pub deny: Vec<Str>,
    /// The module's own filters do not count: accept, deny.
    pub without_default: (bool, bool),
    /// Contacts that are followed, by the branch whose reply named them; not yet told to the transaction.
    pub followed: Vec<(u16, Str)>,
}

impl Vacant for Filters {
    fn vacant() -> &'static Self {
        const { &Filters { accept: Vec::new(), deny: Vec::new(), without_default: (false, false), followed: Vec::new() } }
    }
}

/// The module's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// `accept_filter`
    pub accept: Option<Str>,
    /// `deny_filter`
    pub deny: Option<Str>,
    /// `default_filter` is `deny`: what fits no filter is not taken.
    pub deny_others: bool,
    /// `bflags`
    pub flags: Vec<Str>,
}

/// Most filters of a kind.
const MOST_FILTERS: usize = 16;

const fn param(name: &'static str, ignored: bool, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "uac_redirect",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[SET_DENY_FILTER, SET_ACCEPT_FILTER, GET_REDIRECTS],
    params: &[
        param(
            "default_filter",
            false,
            "`accept` or `deny`: what happens to contacts that fit no filter; default accept",
        ),
        param("accept_filter", false, "expression: contacts that fit are taken, whatever else is set"),
        param("deny_filter", false, "expression: contacts that fit are not taken"),
        param("bflags", false, "branch flags of the new branches"),
        param("acc_function", true, "there is no accounting of redirections"),
        param("acc_db_table", true, "there is no accounting of redirections"),
    ],
    any_param: false,
    needs: &["tm"],
};

const SET_DENY_FILTER: FnSpec<SipHost> = FnSpec {
    opensips: Some("set_deny_filter"),
    kamailio: Some("set_deny_filter"),
    params: &[Param::req("filter", Kind::Str), Param::opt("flags", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("F"),
    waits: false,
    doc: "Contacts whose URI fits this expression are not taken by get_redirects. Flags: reset_default (the filter of \
          the module's parameter does not count), reset_added (those set before do not), reset_all.",
    returns: &[(1, "set"), (-1, "not a valid expression, or too many")],
    example: r#"set_deny_filter("^sips:", "reset_all");"#,
    run: |call| set_filter(call, false),
    finish: None,
};

const SET_ACCEPT_FILTER: FnSpec<SipHost> = FnSpec {
    opensips: Some("set_accept_filter"),
    kamailio: Some("set_accept_filter"),
    doc: "Contacts whose URI fits this expression are taken by get_redirects, whatever else is set. Flags as for \
          set_deny_filter.",
    example: r#"set_accept_filter("@example\\.com", "reset_default");"#,
    run: |call| set_filter(call, true),
    ..SET_DENY_FILTER
};

const GET_REDIRECTS: FnSpec<SipHost> = FnSpec {
    opensips: Some("get_redirects"),
    kamailio: Some("get_redirects"),
    params: &[Param::req("max", Kind::Str), Param::opt("reason", Kind::Str)],
    doc: "Takes the contacts of the 3xx replies that the last branches have brought, best q first: the first becomes \
          the R-URI (and $du is reset), the others further branches; t_relay sends them. `max` is `TOTAL` or \
          `TOTAL:PER-REPLY`, with `*` for no limit. URIs that the call has tried already are left out, so redirections \
          end.",
    returns: &[(1, "at least one was taken"), (-1, "none was")],
    example: r#"if (t_check_status("3[0-9][0-9]") && get_redirects("4:2")) t_relay();"#,
    run: get_redirects,
    ..SET_DENY_FILTER
};

fn set_filter(call: &mut Call<'_, SipHost>, accept: bool) -> Step<SipHost> {
    let Some(filter) = call.text(0) else { return Step::Done(-1) };
    if !filter.is_empty()
        && let Err(why) = call.vm().pattern(&filter)
    {
        return Step::Fail(why);
    }
    let flags = call.text(1).unwrap_or_default();
    let filters = &mut *call.host.redirect;
    let (list, default) = match accept {
        true => (&mut filters.accept, &mut filters.without_default.0),
        false => (&mut filters.deny, &mut filters.without_default.1),
    };
    match flags.trim_ascii() {
        b"" => {}
        b"reset_added" => list.clear(),
        b"reset_default" => *default = true,
        b"reset_all" => {
            list.clear();
            *default = true;
        }
        _ => return Step::Fail("the flags are reset_default, reset_added or reset_all".to_string()),
    }
    if filter.is_empty() {
        return Step::Done(1);
    }
    if list.len() >= MOST_FILTERS {
        return Step::Done(-1);
    }
    list.push(filter);
    Step::Done(1)
}

/// `N`, `*`, `N:M`: total and per reply.
fn limits(text: &[u8]) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(text).ok()?;
    let (total, each) = text.split_once(':').unwrap_or((text, "*"));
    let one = |t: &str| match t.trim() {
        "*" | "" => Some(MAX_BRANCHES),
        n => n.parse().ok().map(|n: usize| if n == 0 { MAX_BRANCHES } else { n.min(MAX_BRANCHES) }),
    };
    Some((one(total)?, one(each)?))
}

/// The contacts of a reply, best first.
fn contacts(reply: &Message) -> Vec<(Str, Option<u16>)> {
    let q = |c: &NameAddr<'_>| c.param(b"q").and_then(q_of);
    let mut all: Vec<(Str, Option<u16>)> = (reply.contacts())
        .filter(|c| !c.is_star() && Uri::parse(c.uri).is_ok_and(|u| u.is_sip()))
        .map(|c| (Str::from(c.uri), q(&c)))
        .collect();
    all.sort_by_key(|(_, q)| std::cmp::Reverse(q.unwrap_or(1000)));
    all
}

fn accepted(call: &mut Call<'_, SipHost>, uri: &[u8]) -> bool {
    let parameters = call.host.env().settings.redirect.clone();
    let Filters { accept, deny, without_default, .. } = (*call.host.redirect).clone();
    let accept = accept.into_iter().chain(parameters.accept.filter(|_| !without_default.0));
    let deny = deny.into_iter().chain(parameters.deny.filter(|_| !without_default.1));
    let mut fits = |filter: Str| call.vm().pattern(&filter).is_ok_and(|r| r.is_match(uri));
    if accept.into_iter().any(&mut fits) {
        return true;
    }
    !parameters.deny_others && !deny.into_iter().any(&mut fits)
}

fn get_redirects(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let Some((total, each)) = call.text(0).as_deref().and_then(limits) else {
        return Step::Fail("`TOTAL` or `TOTAL:PER-REPLY` is expected".to_string());
    };
    let first = usize::from(call.host.tm.first_branch);
    let branches = call.host.tm.branches.iter().enumerate().skip(first);
    let replies: Vec<(u16, Message)> =
        branches.filter_map(|(no, b)| Some((u16::try_from(no).ok()?, b.redirect.clone()?))).collect();
    let mut tried: Vec<Str> = call.host.tm.branches.iter().map(|b| b.target.uri.clone()).collect();
    let earlier = tried.len();
    let mut found: Vec<(Str, Option<u16>)> = Vec::new();
    for (_, reply) in &replies {
        let mut of_this = 0;
        for (uri, q) in contacts(reply) {
            if of_this == each || tried.contains(&uri) || !accepted(call, &uri) {
                continue;
            }
            tried.push(uri.clone());
            found.push((uri, q));
            of_this += 1;
        }
    }
    // Stable: replies in their order where q is equal.
    found.sort_by_key(|(_, q)| std::cmp::Reverse(q.unwrap_or(1000)));
    found.truncate(total);
    // RFC 3261 16.7 step 4: what is tried here, or was, is not told upstream.
    let is_tried = |uri: &[u8]| {
        let mut all = tried.iter().take(earlier).chain(found.iter().map(|(uri, _)| uri));
        all.any(|t| t[..] == *uri)
    };
    let followed = replies.iter().flat_map(|(no, reply)| {
        let uris = reply.contacts().filter(|c| is_tried(c.uri)).map(|c| Str::from(c.uri));
        uris.map(|uri| (*no, uri)).collect::<Vec<_>>()
    });
    let followed: Vec<(u16, Str)> = followed.collect();
    let flags = call.host.env().settings.redirect.flags.clone();
    let mut targets = found.into_iter().map(|(uri, q)| Target { uri, q, flags: flags.clone(), ..Target::default() });
    let Some(first) = targets.next() else { return Step::Done(-1) };
    let rest: Vec<Target> = targets.collect();
    let h = &mut *call.host;
    h.redirect.followed = followed;
    let socket = h.socket_out;
    h.set_main_target(&first);
    h.socket_out = socket;
    let room = MAX_BRANCHES.saturating_sub(h.branches.len());
    h.branches.extend(rest.into_iter().take(room));
    Step::Done(1)
}
