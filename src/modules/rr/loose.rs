//! `loose_route`: following the Route set (RFC 3261 16.4, 16.12).

use crate::base::Str;
use crate::modules::env::Env;
use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::header::HeaderId;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;

/// `loose_route`
pub const LOOSE_ROUTE: FnSpec<SipHost> = FnSpec {
    opensips: Some("loose_route"),
    kamailio: Some("loose_route"),
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
    run: |call| {
        let followed = follow(call.host);
        crate::modules::uac::follow_dialog(call.host);
        Step::Done(if followed { 1 } else { -1 })
    },
    finish: None,
};

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
        let ftag = call
            .host
            .rr
            .own_params
            .as_ref()
            .and_then(|p| p.split(|b| *b == b';').find_map(|part| part.strip_prefix(b"ftag=").map(<[u8]>::to_vec)));
        let downstream = match (ftag, call.host.msg.from_tag()) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
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

fn follow(h: &mut SipHost) -> bool {
    let env = h.env.clone();
    let mut routes = Vec::new();
    for value in h.msg.values_of(HeaderId::Route) {
        let Ok(n) = NameAddr::parse(value) else { return false };
        let Ok(uri) = n.parse_uri() else { return false };
        routes.push(Route {
            uri: n.uri.to_vec(),
            loose: uri.lr(),
            mine: is_mine(&env, &uri),
            params: uri.params.raw().to_vec(),
            double: uri.params.value(b"r2").is_some_and(|v| v == b"on"),
        });
    }
    if routes.is_empty() {
        return false;
    }
    let in_dialog = h.msg.to_tag().is_some();
    // A strict router before us put our Record-Route into the R-URI and the target into the last
    // Route (16.4): undo that.
    let ruri_is_mine = Uri::parse(h.msg.request_uri()).is_ok_and(|u| u.user.is_none() && is_mine(&env, &u) && u.lr());
    if ruri_is_mine && in_dialog {
        let Some(last) = routes.pop() else { return false };
        h.rr.own_params = Uri::parse(h.msg.request_uri()).ok().map(|u| Str::from(u.params.raw()));
        h.ruri = Some(Str::from(last.uri));
        if routes.is_empty() {
            write_routes(h, &routes);
            return true;
        }
    }
    let mut consumed = 0;
    if routes[0].mine {
        h.rr.own_params = Some(Str::from(routes[0].params.clone()));
        consumed = 1;
        // Our second value of a double Record-Route.
        if routes[0].double
            && let Some(second) = routes.get(1).filter(|r| r.mine)
        {
            // The first was for the side the request came from, the second is for where it leaves.
            if let Ok(uri) = Uri::parse(&second.uri)
                && let Some(listener) = env.listener_of(&uri)
            {
                h.socket_out = Some(listener as u16);
            }
            consumed = 2;
        }
    }
    let rest = &routes[consumed..];
    if consumed == 0 && !in_dialog {
        // A preloaded Route that is not ours: the client wants it that way (16.12).
        h.du = Some(Str::from(rest[0].uri.clone()));
        return true;
    }
    match rest.first() {
        None => {
            write_routes(h, rest);
            // Only our own preloaded Route: there is nothing to follow.
            in_dialog
        }
        Some(next) if next.loose => {
            h.du = Some(Str::from(next.uri.clone()));
            write_routes(h, rest);
            true
        }
        Some(next) => {
            // A strict router comes next (16.6 step 6): it wants itself in the R-URI, the target last.
            let target = h.current_ruri().to_vec();
            h.ruri = Some(Str::from(next.uri.clone()));
            let mut list: Vec<&[u8]> = rest[1..].iter().map(|r| &r.uri[..]).collect();
            list.push(&target);
            let lines = route_lines(&list);
            replace_routes(h, lines);
            true
        }
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
