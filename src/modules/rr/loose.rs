//! `loose_route`: following the Route set (RFC 3261 16.4, 16.12).

use super::direction::is_upstream;
use crate::base::Str;
use crate::modules::env::Env;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::header::HeaderId;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;

/// `loose_route`
pub const LOOSE_ROUTE: FnSpec<SipHost> = FnSpec {
    opensips: Some("loose_route"),
    kamailio: None,
    params: &[],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: false,
    doc: "Follows the Route headers: removes our own, sets the next hop, and undoes what a strict router did.",
    returns: &[
        (1, "the request follows a Route set"),
        (-1, "no Route, or only our own preloaded one, which is removed"),
    ],
    example: "if (has_totag() && loose_route()) route(relay);",
    run: |call| Step::Done(code(route(call, false))),
    finish: None,
};

/// `loose_route` of Kamailio, which tells apart what there was not to follow.
pub const LOOSE_ROUTE_KAMAILIO: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("loose_route"),
    returns: &[
        (1, "the request follows a Route set"),
        (-1, "no Route"),
        (-3, "only our own preloaded one, which is removed"),
    ],
    run: |call| {
        let followed = route(call, false);
        Step::Done(if followed == Followed::Preloaded { -3 } else { code(followed) })
    },
    ..LOOSE_ROUTE
};

fn code(followed: Followed) -> i32 {
    if followed == Followed::Yes { 1 } else { -1 }
}

/// `loose_route_preloaded`
pub const LOOSE_ROUTE_PRELOADED: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("loose_route_preloaded"),
    doc: "Does what loose_route does, and says whether the request begins a dialog and brings a Route that names this server alone, as a \
          client behind it does that has learnt the way from a registration.",
    returns: &[(1, "it does; that Route is removed"), (-1, "it does not")],
    example: "if (!has_totag() && loose_route_preloaded()) route(relay);",
    run: |call| Step::Done(if route(call, false) == Followed::Preloaded { 1 } else { -1 }),
    ..LOOSE_ROUTE
};

/// `loose_route_mode`
pub const LOOSE_ROUTE_MODE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("loose_route_mode"),
    params: &[Param::req("mode", Kind::Int)],
    doc: "Like loose_route; with mode 1 what a strict router did is not undone, for a server whose address clients write into their \
          Contacts.",
    example: r#"if (has_totag() && loose_route_mode("1")) route(relay);"#,
    run: |call| {
        let only_loose = call.int(0).is_some_and(|mode| mode != 0);
        let followed = route(call, only_loose);
        Step::Done(if followed == Followed::Preloaded { -3 } else { code(followed) })
    },
    returns: LOOSE_ROUTE_KAMAILIO.returns,
    ..LOOSE_ROUTE_PRELOADED
};

/// `rr_next_hop_route`
pub const RR_NEXT_HOP_ROUTE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("rr_next_hop_route"),
    routes: RouteSet::ALL,
    doc: "Whether the next hop stands in a Route header; behind loose_route.",
    returns: &[(1, "it does"), (-1, "it does not")],
    example: r#"if (loose_route() && rr_next_hop_route()) xlog("to $du\n");"#,
    run: |call| Step::Done(if call.host.rr.next_hop { 1 } else { -1 }),
    ..LOOSE_ROUTE_PRELOADED
};

/// What became of a request's Route set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Followed {
    /// There is nothing to follow.
    No,
    /// It is followed.
    Yes,
    /// There was only one of ours, in a request that begins a dialog.
    Preloaded,
}

/// Follows the Route set. `only_loose`: what a strict router did is not undone.
fn route(call: &mut Call<'_, SipHost>, only_loose: bool) -> Followed {
    let mut next_hop = false;
    let followed = follow(call.host, only_loose, &mut next_hop);
    crate::modules::uac::follow_dialog(call.host);
    if next_hop != call.host.rr.next_hop {
        call.host.rr.next_hop = next_hop;
    }
    followed
}

/// `check_route_param`
pub const CHECK_ROUTE_PARAM: FnSpec<SipHost> = FnSpec {
    opensips: Some("check_route_param"),
    kamailio: Some("check_route_param"),
    params: &[Param::req("expression", Kind::Regex)],
    doc: "Whether the parameters of our own Route, which loose_route removed, match.",
    returns: &[(1, "they do"), (-1, "they do not")],
    example: r#"if (check_route_param("nat=yes")) setflag("NAT");"#,
    run: |call| {
        let params = call.host.rr.own_params.clone().unwrap_or_default();
        match call.is_match(0, &params) {
            Ok(yes) => Step::Done(if yes { 1 } else { -1 }),
            Err(why) => Step::Fail(why),
        }
    },
    ..LOOSE_ROUTE
};

/// `is_direction`
pub const IS_DIRECTION: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_direction"),
    kamailio: Some("is_direction"),
    params: &[Param::req("direction", Kind::Str)],
    doc: "Whether the request goes `downstream` (as the first one of the dialog) or `upstream`; needs the `ftag` that \
          record_route adds.",
    returns: &[(1, "it does"), (-1, "it does not")],
    example: r#"if (is_direction("upstream")) xlog("from the callee\n");"#,
    run: |call| {
        let wanted = call.text(0).unwrap_or_default();
        let downstream = !is_upstream(call.host);
        match &wanted[..] {
            b"downstream" => Step::Done(if downstream { 1 } else { -1 }),
            b"upstream" => Step::Done(if downstream { -1 } else { 1 }),
            _ => Step::Fail("\"upstream\" or \"downstream\" is expected".to_string()),
        }
    },
    ..LOOSE_ROUTE
};

/// One value of the Route headers, copied out of the message.
struct Route {
    uri: Vec<u8>,
    loose: bool,
    mine: bool,
    params: Vec<u8>,
    double: bool,
}

/// `next_hop`: whether the next hop stands in a Route behind one of ours.
fn follow(h: &mut SipHost, only_loose: bool, next_hop: &mut bool) -> Followed {
    let env = h.env.clone();
    let mut routes = Vec::new();
    for value in h.msg.values_of(HeaderId::Route) {
        let Ok(n) = NameAddr::parse(value) else { return Followed::No };
        let Ok(uri) = n.parse_uri() else { return Followed::No };
        routes.push(Route {
            uri: n.uri.to_vec(),
            loose: uri.lr(),
            mine: is_mine(&env, &uri),
            params: uri.params.raw().to_vec(),
            double: uri.params.value(b"r2").is_some_and(|v| v == b"on"),
        });
    }
    if routes.is_empty() {
        return Followed::No;
    }
    let in_dialog = h.msg.to_tag().is_some();
    // A strict router before us put our Record-Route into the R-URI and the target into the last
    // Route (16.4): undo that.
    let ruri_is_mine = Uri::parse(h.msg.request_uri()).is_ok_and(|u| u.user.is_none() && is_mine(&env, &u) && u.lr());
    if ruri_is_mine && in_dialog && !only_loose {
        let Some(last) = routes.pop() else { return Followed::No };
        h.rr.own_params = Uri::parse(h.msg.request_uri()).ok().map(|u| Str::from(u.params.raw()));
        h.ruri = Some(Str::from(last.uri));
        if routes.is_empty() {
            write_routes(h, &routes);
            return Followed::Yes;
        }
    }
    let mut consumed = 0;
    if routes[0].mine {
        h.rr.own_params = Some(Str::from(routes[0].params.clone()));
        consumed = 1;
        if env.settings.rr.force_socket {
            leave_from(h, &env, &routes[0]);
        }
        // Our second value of a double Record-Route.
        if routes[0].double
            && let Some(second) = routes.get(1).filter(|r| r.mine)
        {
            // The first was for the side the request came from, the second is for where it leaves.
            leave_from(h, &env, second);
            consumed = 2;
        }
    }
    let rest = &routes[consumed..];
    *next_hop = consumed > 0 && !rest.is_empty();
    if consumed == 0 && !in_dialog {
        // A preloaded Route that is not ours: the client wants it that way (16.12).
        h.du = Some(Str::from(rest[0].uri.clone()));
        return Followed::Yes;
    }
    match rest.first() {
        None => {
            write_routes(h, rest);
            // Only our own preloaded Route: there is nothing to follow.
            if in_dialog { Followed::Yes } else { Followed::Preloaded }
        }
        Some(next) if next.loose => {
            h.du = Some(Str::from(next.uri.clone()));
            write_routes(h, rest);
            Followed::Yes
        }
        Some(next) => {
            // A strict router comes next (16.6 step 6): it wants itself in the R-URI, the target last.
            let target = h.current_ruri().to_vec();
            h.ruri = Some(Str::from(next.uri.clone()));
            let mut list: Vec<&[u8]> = rest[1..].iter().map(|r| &r.uri[..]).collect();
            list.push(&target);
            let lines = route_lines(&list);
            replace_routes(h, lines);
            Followed::Yes
        }
    }
}

/// The request leaves from the socket that a Route of ours names: by its name, if we have written that, else by its address.
fn leave_from(h: &mut SipHost, env: &Env, route: &Route) {
    let Ok(uri) = Uri::parse(&route.uri) else { return };
    let named = uri.param(b"sn").filter(|_| env.settings.rr.socket_names);
    let named = named.and_then(|name| env.listeners.iter().position(|l| l.tag.as_deref() == Some(name)));
    if let Some(listener) = named.or_else(|| env.listener_of(&uri)) {
        h.socket_out = u16::try_from(listener).ok();
    }
}

/// Whether a Route URI is ours: host and port (5060 where none is written) name one of our sockets.
fn is_mine(env: &Env, uri: &Uri<'_>) -> bool {
    env.is_myself(uri.host, Some(uri.port_or_default()))
}

fn route_lines(uris: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for uri in uris {
        out.extend_from_slice(b"Route: <");
        out.extend_from_slice(uri);
        out.extend_from_slice(b">\r\n");
    }
    out
}

fn write_routes(h: &mut SipHost, rest: &[Route]) {
    let list: Vec<&[u8]> = rest.iter().map(|r| &r.uri[..]).collect();
    let lines = route_lines(&list);
    replace_routes(h, lines);
}

/// Puts `lines` in the place of the first Route header and removes the others: what is inserted before Route stands
/// above them.
fn replace_routes(h: &mut SipHost, lines: Vec<u8>) {
    let mut lines = Some(Str::from(lines)).filter(|l| !l.is_empty());
    for header in h.msg.headers_of(HeaderId::Route) {
        match lines.take() {
            Some(lines) => h.edits.replace(header.line(), lines),
            None if !h.edits.is_deleted(header.line()) => h.edits.remove_header(&header),
            None => {}
        }
    }
}
