//! What scripts ask about destinations.

use super::list::Destination;
use super::params::Place;
use super::shared::{Known, known};
use super::state::State;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::Transport;
use crate::sip::uri::Uri;
use std::net::IpAddr;

/// `ds_is_from_list`
pub const DS_IS_FROM_LIST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("ds_is_from_list"),
    params: &[Param::opt("set", Kind::Int), Param::opt("mode", Kind::Int), Param::opt("uri", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RFOBL"),
    waits: false,
    doc: "Whether the message came from a destination of a set (-1 or left out: of any), or a URI names one. Mode, a sum: \
          1 any port, 2 any protocol, 4 only a destination that is active, 8 it came in on the destination's socket, \
          16 the closest match is taken. Without a mode: 2. attrs_pvname and setid_pvname get the attributes and the \
          number of the set.",
    returns: &[(1, "it did"), (-1, "it did not")],
    example: r#"if (ds_is_from_list("1", "3")) xlog("from a gateway\n");"#,
    run: is_from_list,
    finish: None,
};

/// `ds_list_exists`
pub const DS_LIST_EXISTS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_list_exists"),
    params: &[Param::req("set", Kind::Int)],
    routes: RouteSet::ALL,
    doc: "Whether there is a set.",
    returns: &[(1, "there is"), (-1, "there is not")],
    example: r#"if (!ds_list_exists("1")) xlog("set 1 is missing\n");"#,
    run: |call| {
        let exists = call.int(0).zip(look(call)).is_some_and(|(set, known)| known.list.set(set).is_some());
        Step::Done(if exists { 1 } else { -1 })
    },
    ..DS_IS_FROM_LIST
};

/// `ds_list_exist`
pub const DS_LIST_EXIST: FnSpec<SipHost> = FnSpec { kamailio: Some("ds_list_exist"), ..DS_LIST_EXISTS };

/// `ds_is_active`
pub const DS_IS_ACTIVE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_is_active"),
    params: &[Param::req("set", Kind::Int), Param::opt("uri", Kind::Str)],
    doc: "Whether a destination of a set is usable: any, or the one of this URI.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (ds_is_active("1")) xlog("set 1 works\n");"#,
    run: |call| {
        let (Some(set), Some(known)) = (call.int(0), look(call)) else { return Step::Done(-1) };
        let uri = call.text(1).filter(|u| !u.is_empty());
        let active = of_set(&known, set).any(|(d, s)| s.usable() && uri.as_ref().is_none_or(|u| d.uri == *u));
        Step::Done(if active { 1 } else { -1 })
    },
    ..DS_LIST_EXISTS
};

/// The destinations as they stand now.
pub(super) fn look(call: &Call<'_, SipHost>) -> Option<Known> {
    let known = known(call.host.env());
    known.inspect_err(|why| log_line(call.host, -1, &format!("dispatcher: {why}"))).ok()
}

/// The destinations of a set and how they stand.
pub(super) fn of_set(known: &Known, set: i64) -> impl Iterator<Item = (&Destination, &State)> {
    let found = known.list.set(set).map(|(_, s)| s);
    found.into_iter().flat_map(|s| s.list.iter().zip(known.states_of(s)))
}

/// What is looked for.
pub(super) struct Seek {
    pub ip: IpAddr,
    /// `None`: any.
    pub port: Option<u16>,
    /// `None`: any.
    pub transport: Option<Transport>,
    pub active_only: bool,
    /// Number of the listener it came in on, if that has to be the destination's.
    pub listener: Option<usize>,
    /// The best match is taken, not the first.
    pub closest: bool,
}

/// The destination that is meant, with its set.
pub(super) fn seek<'a>(
    h: &SipHost,
    known: &'a Known,
    set: Option<i64>,
    wanted: &Seek,
) -> Option<(i64, &'a Destination)> {
    let mut best: Option<(u8, i64, &Destination)> = None;
    for (s, n, d) in known.list.all() {
        if set.is_some_and(|id| id != s.id) {
            continue;
        }
        let Some((_, port, transport)) = d.place() else { continue };
        let same_port = wanted.port == Some(port);
        let same_transport = wanted.transport == Some(transport);
        let fits = known.is_at(d, wanted.ip)
            && (same_port || wanted.port.is_none())
            && (same_transport || wanted.transport.is_none())
            && (!wanted.active_only || known.states.get(n).is_some_and(State::usable));
        let own_socket = |l: usize| {
            let socket = d.attrs.socket.as_ref();
            socket.is_none_or(|name| h.env().find_listener(name) == Some(l))
        };
        if !fits || !wanted.listener.is_none_or(own_socket) {
            continue;
        }
        let rank = u8::from(same_port) * 2 + u8::from(same_transport);
        if best.is_none_or(|(r, ..)| rank > r) {
            best = Some((rank, s.id, d));
        }
        if !wanted.closest {
            break;
        }
    }
    best.map(|(_, id, d)| (id, d))
}

fn is_from_list(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let Some(known) = look(call) else { return Step::Done(-1) };
    let set = call.int(0).filter(|id| *id != -1);
    let mode = call.int(1).unwrap_or(2);
    let h = &*call.host;
    let transport = h.env().listeners.get(usize::from(h.listener)).map_or(Transport::Udp, |l| l.transport);
    let (ip, port, transport) = match call.text(2).filter(|u| !u.is_empty()) {
        None => (h.source.ip().to_canonical(), h.source.port(), transport),
        Some(uri) => match Uri::parse(&uri).ok().and_then(|u| {
            Some((u.host_ip()?.to_canonical(), u.port_or_default(), u.transport().unwrap_or(Transport::Udp)))
        }) {
            Some(place) => place,
            None => return Step::Fail(format!("`{}` names no address", uri.to_lossy())),
        },
    };
    let closest = mode & 16 != 0;
    let seek_for = Seek {
        ip,
        port: Some(port),
        transport: Some(transport),
        active_only: mode & 4 != 0,
        listener: (mode & 8 != 0).then_some(usize::from(h.listener)),
        closest: true,
    };
    // An exact match first; then what the mode lets pass.
    let any_port = Seek { port: if mode & 1 != 0 { None } else { Some(port) }, ..seek_for };
    let wanted = Seek { transport: if mode & 2 != 0 { None } else { Some(transport) }, closest, ..any_port };
    let found = seek(h, &known, set, &wanted).map(|(id, d)| (id, d.attrs.text.clone()));
    let Some((id, attrs)) = found else { return Step::Done(-1) };
    found_in(call, id, attrs);
    Step::Done(1)
}

/// The variables that the configuration names for what was found.
pub(super) fn found_in(call: &mut Call<'_, SipHost>, id: i64, attrs: Str) {
    let s = &call.host.env().settings.dispatcher;
    let places = [(s.set_place.clone(), Value::Int(id)), (s.attrs_place.clone(), Value::Str(attrs))];
    for (place, value) in places {
        match place {
            Some(Place::Avp(name)) => {
                call.vm().clear_avp(&name);
                call.vm().push_avp(&name, value);
            }
            Some(Place::Var(name)) => call.vm().set_var(&name, value),
            None => {}
        }
    }
}
