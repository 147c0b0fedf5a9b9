//! Choosing a destination, and the next one when it fails.

use super::choose::{Choice, Counter, Lots, Way};
use super::kept::{Kept, keep};
use super::list::{Destination, Set};
use super::shared::known;
use super::{calls, hash, kept};
use crate::base::{Str, Time};
use crate::modules::env::Env;
use crate::modules::host::{SipHost, Target};
use crate::modules::log_line;
use crate::modules::pv_get::random;
use crate::modules::pv_set::MAX_BRANCHES;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::Method;
use crate::sip::uri::Uri;

const PARAMS: &[Param] =
    &[Param::req("set", Kind::Int), Param::req("algorithm", Kind::Int), Param::opt("limit", Kind::Int)];

/// `ds_select_dst`
pub const DS_SELECT_DST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("ds_select_dst"),
    params: PARAMS,
    variadic: false,
    routes: RouteSet::letters("RFBL"),
    waits: false,
    doc: "Makes a destination of a set the destination URI ($du). Algorithms: 0 hash of the Call-ID, 1 of the From URI, \
          2 of the To URI, 3 of the R-URI, 4 round robin, 5 hash of the digest user (round robin without one), 6 by lot, \
          7 hash of hash_pvar, 8 by priority, 9 by weight, 10 by calls, 11 by relative weight, 12 all at once, \
          13 by latency, 14 round robin, 64 round robin that spares some. With flags=2 those that follow (at most \
          `limit` in all) are kept for ds_next_dst.",
    returns: &[(1, "done"), (-1, "no destination is usable, or there is no such set")],
    example: r#"if (!ds_select_dst("1", "4")) { sl_send_reply("503", "No destination"); exit; }"#,
    run: |call| run(call, Place::Destination),
    finish: None,
};

/// `ds_select_domain`
pub const DS_SELECT_DOMAIN: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_select_domain"),
    doc: "As ds_select_dst, but host and port of the R-URI become the destination's.",
    example: r#"if (!ds_select_domain("1", "4")) exit;"#,
    run: |call| run(call, Place::Domain),
    ..DS_SELECT_DST
};

/// `ds_select`
pub const DS_SELECT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_select"),
    doc: "Chooses as ds_select_dst does, and sets nothing; what was chosen is kept, the first of it as the destination in \
          use.",
    example: r#"if (!ds_select("1", "8")) xlog("set 1 is down\n");"#,
    run: |call| run(call, Place::Nowhere),
    ..DS_SELECT_DST
};

/// `ds_next_dst`
pub const DS_NEXT_DST: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_next_dst"),
    params: &[],
    doc: "Makes the next of the destinations that were kept the destination URI ($du); usually in a failure route.",
    returns: &[(1, "done"), (-1, "none is left")],
    example: "if (ds_next_dst()) t_relay();",
    run: |call| next(call, Place::Destination),
    ..DS_SELECT_DST
};

/// `ds_next_domain`
pub const DS_NEXT_DOMAIN: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_next_domain"),
    doc: "As ds_next_dst, but host and port of the R-URI become the destination's.",
    example: "if (ds_next_domain()) t_relay();",
    run: |call| next(call, Place::Domain),
    ..DS_NEXT_DST
};

/// What a destination is put into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The destination URI.
    Destination,
    /// Host and port of the R-URI.
    Domain,
    /// Nothing.
    Nowhere,
}

/// Turns and lots of a set.
struct OfSet<'a> {
    env: &'a Env,
    /// Its place among the sets.
    set: usize,
    now: Time,
}

impl Lots for OfSet<'_> {
    fn turn(&mut self, name: Counter) -> u64 {
        self.env.turns.as_ref().map_or(0, |t| t.next(self.set * 4 + name as usize))
    }

    fn draw(&mut self, n: u64) -> u64 {
        u64::from(random(self.now)) % n.max(1)
    }
}

/// What is asked for.
pub(super) struct Wish {
    /// Number of the set.
    pub set: i64,
    /// How.
    pub way: Way,
    /// Most destinations that are kept; 0 is no limit.
    pub limit: usize,
    /// Those that follow are kept.
    pub failover: bool,
    /// An inactive last destination is better than none.
    pub last_resort: bool,
    /// It becomes a branch of its own if there is a destination already.
    pub append: bool,
    /// How much each destination of the set has to do, as somebody else says; `None`: it is not usable. Only for
    /// [`Way::Load`], which goes by its calls without this.
    pub loads: Option<Vec<Option<u64>>>,
}

fn run(call: &mut Call<'_, SipHost>, place: Place) -> Step<SipHost> {
    let (Some(set), Some(algorithm)) = (call.int(0), call.int(1)) else {
        return Step::Fail("set and algorithm are numbers".to_string());
    };
    let limit = call.int(2).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let wish = match wish(call, set, algorithm, limit, place) {
        Ok(wish) => wish,
        Err(why) => return Step::Fail(why),
    };
    choose(call, &wish, place)
}

/// What is asked for by numbers.
pub(super) fn wish(
    call: &mut Call<'_, SipHost>,
    set: i64,
    algorithm: i64,
    limit: usize,
    place: Place,
) -> Result<Wish, String> {
    let way = way(call, algorithm)?;
    let s = &call.host.env().settings.dispatcher;
    let failover = s.failover || place == Place::Nowhere;
    Ok(Wish { set, way, limit, failover, last_resort: s.last_resort, append: false, loads: None })
}

/// The way of a number.
fn way(call: &mut Call<'_, SipHost>, algorithm: i64) -> Result<Way, String> {
    let user_only = call.host.env().settings.dispatcher.user_only;
    let hashed = |h: Option<u32>| h.map(|h| Way::Hash(u64::from(h))).ok_or_else(|| "a URI cannot be read".to_string());
    let h = &mut *call.host;
    Ok(match algorithm {
        0 => Way::Hash(u64::from(hash::hash(&[h.msg.call_id()]))),
        1 => hashed(hash::of_uri(h.msg.from().uri, user_only))?,
        2 => hashed(hash::of_uri(h.msg.to().uri, user_only))?,
        3 => hashed(hash::of_uri(h.current_ruri(), user_only))?,
        4 | 14 => Way::Round,
        5 => hash::of_user(h).map_or(Way::Round, |hash| Way::Hash(u64::from(hash))),
        6 => Way::Random,
        7 => {
            let text = call.host.env().settings.dispatcher.hash.clone();
            if text.is_empty() {
                return Err("algorithm 7 needs hash_pvar".to_string());
            }
            let text = call.expand(&text);
            Way::Hash(u64::from(hash::hash(&[&text])))
        }
        8 => Way::Priority,
        9 => Way::Weight,
        10 if !h.env().settings.dispatcher.counts_calls => {
            return Err("algorithm 10 needs ds_hash_size".to_string());
        }
        10 => Way::Load,
        11 => Way::Relative,
        12 => Way::All,
        13 => Way::Latency,
        64 => Way::Spared,
        n => {
            log_line(h, 1, &format!("dispatcher: there is no algorithm {n}: the first destination is taken"));
            Way::Priority
        }
    })
}

/// Chooses, and puts the first that was chosen into its place.
pub(super) fn choose(call: &mut Call<'_, SipHost>, wish: &Wish, place: Place) -> Step<SipHost> {
    if let Err(why) = may_set(call, place) {
        return Step::Fail(why);
    }
    match order(call, wish) {
        Ok(chosen) => take(call, wish, &chosen, place),
        Err(why) => Step::Fail(why),
    }
}

/// Whether a destination may be put there.
pub(super) fn may_set(call: &Call<'_, SipHost>, place: Place) -> Result<(), String> {
    if place == Place::Destination && !call.host.env().settings.dispatcher.force && call.host.du.is_some() {
        return Err("there is a destination already (force_dst)".to_string());
    }
    Ok(())
}

/// The destinations of a set in the order in which they are to be tried.
pub(super) fn order(call: &mut Call<'_, SipHost>, wish: &Wish) -> Result<Vec<Kept>, String> {
    let known = known(call.host.env()).map_err(|why| format!("dispatcher: {why}"))?;
    let (at, set) = known.list.set(wish.set).ok_or_else(|| format!("dispatcher: there is no set {}", wish.set))?;
    let loads = match (&wish.loads, wish.way) {
        (Some(loads), _) => loads.iter().map(|l| l.unwrap_or(u64::MAX)).collect(),
        (None, Way::Load) => calls::loads(call.host.env(), set).map_err(|why| format!("dispatcher: {why}"))?,
        _ => Vec::new(),
    };
    let choice = Choice { set, states: known.states_of(set), loads: &loads, last_resort: wish.last_resort };
    let mut order = choice.order(wish.way, &mut OfSet { env: call.host.env(), set: at, now: call.now });
    if let Some(loads) = &wish.loads {
        order.retain(|i| loads.get(*i).is_none_or(Option::is_some));
    }
    if wish.limit > 0 {
        order.truncate(wish.limit);
    }
    Ok(order.iter().filter_map(|i| set.list.get(*i)).map(|d| chosen_of(call.host, set, d)).collect())
}

/// Puts the first of what was chosen into its place, and keeps what follows.
pub(super) fn take(call: &mut Call<'_, SipHost>, wish: &Wish, chosen: &[Kept], place: Place) -> Step<SipHost> {
    let Some(first) = chosen.first() else { return Step::Done(-1) };
    if wish.way == Way::All {
        return if all(call.host, chosen) { Step::Done(1) } else { Step::Done(-1) };
    }
    if wish.way == Way::Load && wish.loads.is_none() && call.host.msg.method() == Method::Invite {
        let lasts = call.host.env().settings.dispatcher.call_begins;
        if first.duid.is_empty() {
            return Step::Fail(format!("dispatcher: {} has no duid, which algorithm 10 needs", first.uri.to_lossy()));
        }
        let call_id = Str::from(call.host.msg.call_id());
        if let Err(why) = calls::give(call.host.env(), &call_id, first.set, &first.duid, lasts) {
            log_line(call.host, -1, &format!("dispatcher: the call is not counted: {why}"));
        }
    }
    let stays = if wish.failover { chosen } else { chosen.get(..1).unwrap_or_default() };
    if !keep(call, stays) {
        return Step::Fail("dispatcher: the run holds too many values to keep what was chosen".to_string());
    }
    show(call, first, stays.len());
    if wish.append && place == Place::Destination && call.host.du.is_some() {
        let target = target(call.host, first);
        if call.host.branches.len() < MAX_BRANCHES {
            call.host.branches.push(target);
        }
        return Step::Done(1);
    }
    Step::Done(if put(call.host, first, place) { 1 } else { -1 })
}

/// Puts the destination in use into its place once more.
pub(super) fn set_current(call: &mut Call<'_, SipHost>, place: Place) -> Step<SipHost> {
    let Some(current) = kept::current(call) else { return Step::Done(-1) };
    Step::Done(if put(call.host, &current, place) { 1 } else { -1 })
}

fn chosen_of(h: &SipHost, set: &Set, d: &Destination) -> Kept {
    let socket = d.attrs.socket.clone().or_else(|| h.env().settings.dispatcher.socket.clone()).unwrap_or_default();
    Kept { set: set.id, uri: d.uri.clone(), socket, attrs: d.attrs.text.clone(), duid: d.attrs.duid.clone() }
}

/// The AVPs that the configuration names for what was chosen.
fn show(call: &mut Call<'_, SipHost>, kept: &Kept, count: usize) {
    let names = call.host.env().settings.dispatcher.avps.clone();
    let [uri, set, number, socket, attrs, script] = names;
    // It is of the destination's state, not of the list.
    let said = script.is_some().then(|| known(call.host.env()).ok()).flatten().and_then(|known| {
        let n = known.list.find(kept.set, &kept.uri)?;
        known.states.get(n).map(|s| s.script.clone())
    });
    let values = [
        (uri, Value::Str(kept.uri.clone())),
        (set, Value::Int(kept.set)),
        (number, Value::Int(i64::try_from(count).unwrap_or(i64::MAX))),
        (socket, Value::Str(kept.socket.clone())),
        (attrs, Value::Str(kept.attrs.clone())),
        (script, Value::Str(said.unwrap_or_default())),
    ];
    for (name, value) in values {
        if let Some(name) = name {
            call.vm().clear_avp(&name);
            call.vm().push_avp(&name, value);
        }
    }
}

fn socket(h: &SipHost, kept: &Kept) -> Option<u16> {
    if kept.socket.is_empty() {
        return None;
    }
    let found = h.env().find_listener(&kept.socket).and_then(|i| u16::try_from(i).ok());
    if found.is_none() {
        log_line(h, -1, &format!("dispatcher: there is no listening socket {}", kept.socket.to_lossy()));
    }
    found
}

/// Puts a destination into its place.
fn put(h: &mut SipHost, kept: &Kept, place: Place) -> bool {
    match place {
        Place::Nowhere => return true,
        Place::Destination => h.du = Some(kept.uri.clone()),
        Place::Domain => {
            let Some(new) = with_domain(h.current_ruri(), &kept.uri) else { return false };
            h.ruri = Some(Str::from(new));
        }
    }
    if let Some(socket) = socket(h, kept) {
        h.socket_out = Some(socket);
    }
    true
}

/// A URI with host, port and transport of another.
fn with_domain(uri: &[u8], domain: &[u8]) -> Option<Vec<u8>> {
    let (uri, domain) = (Uri::parse(uri).ok()?, Uri::parse(domain).ok()?);
    let bare = uri.with_port(None);
    let host = Uri::parse(&bare).ok()?.with_host(domain.host_port());
    let host = Uri::parse(&host).ok()?;
    Some(match domain.param(b"transport") {
        Some(transport) => host.with_param(b"transport", Some(transport)),
        None => host.without_param(b"transport"),
    })
}

fn target(h: &SipHost, kept: &Kept) -> Target {
    Target {
        du: Some(kept.uri.clone()),
        socket: socket(h, kept).or(h.socket_out),
        attrs: Vec::new(),
        ..h.main_target()
    }
}

/// Each gets a branch of its own.
fn all(h: &mut SipHost, chosen: &[Kept]) -> bool {
    let room = MAX_BRANCHES.saturating_sub(h.branches.len());
    let more: Vec<Target> = chosen.iter().skip(1).take(room).map(|k| target(h, k)).collect();
    h.branches.extend(more);
    chosen.first().is_some_and(|first| put(h, first, Place::Destination))
}

/// The next of those that were kept and that is usable now.
pub(super) fn next(call: &mut Call<'_, SipHost>, place: Place) -> Step<SipHost> {
    let known = match known(call.host.env()) {
        Ok(known) => known,
        Err(why) => return Step::Fail(format!("dispatcher: {why}")),
    };
    let usable = |kept: &Kept| {
        let state = known.list.find(kept.set, &kept.uri).and_then(|n| known.states.get(n));
        state.is_none_or(super::state::State::usable)
    };
    let mut rest = kept::all(call);
    if rest.is_empty() {
        return Step::Done(-1);
    }
    let before = rest.remove(0);
    let skipped = rest.iter().take_while(|k| !usable(k)).count();
    rest.drain(..skipped);
    let Some(first) = rest.first().cloned() else { return Step::Done(-1) };
    // The call goes where it is tried now.
    let moved = before.duid != first.duid && !first.duid.is_empty();
    let s = &call.host.env().settings.dispatcher;
    if moved && s.counts_calls && call.host.msg.method() == Method::Invite {
        let (lasts, call_id) = (s.call_begins, Str::from(call.host.msg.call_id()));
        if let Err(why) = calls::give(call.host.env(), &call_id, first.set, &first.duid, lasts) {
            log_line(call.host, -1, &format!("dispatcher: the call is not counted: {why}"));
        }
    }
    keep(call, &rest);
    show(call, &first, rest.len());
    Step::Done(if put(call.host, &first, place) { 1 } else { -1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_replaced() {
        for (uri, domain, want) in [
            ("sip:bob@a.com:5070;x=1", "sip:10.0.0.1:5080", "sip:bob@10.0.0.1:5080;x=1"),
            ("sip:bob@a.com:5070", "sip:10.0.0.1", "sip:bob@10.0.0.1"),
            ("sip:a.com;transport=udp", "sip:[2001:db8::1]:6;transport=tcp", "sip:[2001:db8::1]:6;transport=tcp"),
            ("sip:a.com;transport=tcp", "sip:b", "sip:b"),
        ] {
            let got = with_domain(uri.as_bytes(), domain.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), want);
        }
    }
}
