//! The functions as OpenSIPS has them.

use super::choose::Way;
use super::query::{Seek, found_in, look, of_set, seek};
use super::select::{Place, Wish, choose, next};
use super::state::{DISABLED, INACTIVE, PROBING};
use super::{hash, mark};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::request::{Outcome, Request};
use crate::script::ast::{Dialect, RouteKind};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::host_ip;

/// Destinations that one call of `ds_select_dst` has scored by `algo_route`.
const MOST_SCORED: usize = 256;

const PARAMS: &[Param] = &[
    Param::req("set", Kind::Int),
    Param::req("algorithm", Kind::Int),
    Param::opt("flags", Kind::Str),
    Param::opt("partition", Kind::Str),
    Param::opt("max_results", Kind::Int),
];

/// `ds_select_dst`
pub const DS_SELECT_DST: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_select_dst"),
    kamailio: None,
    params: PARAMS,
    variadic: false,
    routes: RouteSet::letters("RFBL"),
    waits: false,
    doc: "Makes a destination of a set the destination URI ($du). Algorithms: 0 hash of the Call-ID, 1 of the From URI, \
          2 of the To URI, 3 of the R-URI, 4 one after the other, 5 hash of the digest user, 6 by lot, 7 hash of \
          hash_pvar, 8 the first, 9 the one with the least of what pvar_algo_pattern names, 10 the one that algo_route \
          gives the least number; where destinations have weights they count for 0 to 5 and 7. Flags: `f` what follows \
          is kept for ds_next_dst, `u` hashes take the user of a URI alone, `d` the last destination is used when none \
          is usable, `a` the destination becomes a further branch.",
    returns: &[(1, "done"), (-1, "no destination is usable, or there is no such set")],
    example: r#"if (!ds_select_dst(1, 4, "f")) { sl_send_reply(503, "No destination"); exit; }"#,
    run: |call| select(call, Place::Destination),
    finish: Some(|call, outcome| scored(call, &outcome, Place::Destination)),
};

/// `ds_select_domain`
pub const DS_SELECT_DOMAIN: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_select_domain"),
    doc: "As ds_select_dst, but host and port of the R-URI become the destination's.",
    example: r#"if (!ds_select_domain(1, 4)) exit;"#,
    run: |call| select(call, Place::Domain),
    finish: Some(|call, outcome| scored(call, &outcome, Place::Domain)),
    ..DS_SELECT_DST
};

/// `ds_next_dst`
pub const DS_NEXT_DST: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_next_dst"),
    params: &[Param::opt("partition", Kind::Str)],
    routes: RouteSet::letters("RF"),
    doc: "Makes the next of the destinations that were kept the destination URI ($du).",
    returns: &[(1, "done"), (-1, "none is left")],
    example: "if (ds_next_dst()) t_relay();",
    run: |call| match partition(call, 0) {
        Ok(()) => next(call, Place::Destination),
        Err(why) => Step::Fail(why),
    },
    finish: None,
    ..DS_SELECT_DST
};

/// `ds_next_domain`
pub const DS_NEXT_DOMAIN: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_next_domain"),
    doc: "As ds_next_dst, but host and port of the R-URI become the destination's.",
    example: "if (ds_next_domain()) t_relay();",
    run: |call| match partition(call, 0) {
        Ok(()) => next(call, Place::Domain),
        Err(why) => Step::Fail(why),
    },
    ..DS_NEXT_DST
};

/// `ds_mark_dst`
pub const DS_MARK_DST: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_mark_dst"),
    params: &[Param::opt("state", Kind::Str), Param::opt("partition", Kind::Str)],
    routes: RouteSet::letters("RFOBL"),
    doc: "Says how the destination in use stands: `i` inactive (also without an argument), `a` active, `p` it has failed: \
          ds_probing_threshold failures make it one that is not used and probed.",
    returns: &[(1, "done"), (-1, "no destination is in use, or no such state")],
    example: r#"if (t_check_status("503|408")) ds_mark_dst("p");"#,
    run: |call| match partition(call, 1) {
        Ok(()) => mark::mark(call, Dialect::OpenSips),
        Err(why) => Step::Fail(why),
    },
    finish: Some(|_call, _outcome| Step::Done(1)),
    ..DS_SELECT_DST
};

/// `ds_count`
pub const DS_COUNT: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_count"),
    params: &[
        Param::req("set", Kind::Int),
        Param::req("filter", Kind::Str),
        Param::req("result", Kind::Out),
        Param::opt("partition", Kind::Str),
    ],
    routes: RouteSet::letters("RFOBLTV"),
    doc: "Counts the destinations of a set that stand so: `a` active, `i` inactive, `p` probed, and combinations.",
    returns: &[(1, "done"), (-1, "no such set or filter")],
    example: r#"ds_count(1, "a", $var(usable));"#,
    run: count,
    finish: None,
    ..DS_SELECT_DST
};

/// `ds_is_in_list`
pub const DS_IS_IN_LIST: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_is_in_list"),
    params: &[
        Param::req("address", Kind::Str),
        Param::req("port", Kind::Int),
        Param::opt("set", Kind::Int),
        Param::opt("partition", Kind::Str),
        Param::opt("active_only", Kind::Int),
        Param::opt("pattern", Kind::Regex),
    ],
    routes: RouteSet::letters("RFOBL"),
    doc: "Whether an address and port (0: any) is a destination of a set (-1 or left out: of any); with 1 as the fifth \
          argument one that is active, with a pattern one whose attributes match. setid_pvar and attrs_avp get the number \
          of the set and the attributes.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: r#"if (ds_is_in_list($si, $sp, 1)) xlog("from a gateway\n");"#,
    run: in_list,
    finish: None,
    ..DS_SELECT_DST
};

/// There is only the default partition.
pub(super) fn partition(call: &Call<'_, SipHost>, i: usize) -> Result<(), String> {
    match call.text(i).filter(|n| !n.is_empty() && n[..] != *b"default") {
        Some(name) => Err(format!("dispatcher: there is no partition {}: only the default one", name.to_lossy())),
        None => Ok(()),
    }
}

fn select(call: &mut Call<'_, SipHost>, place: Place) -> Step<SipHost> {
    match (call.int(0), call.int(1)) {
        (Some(set), Some(10)) => ask_route(call, set),
        _ => select_with(call, place, None),
    }
}

/// `scores`: what `algo_route` has said.
fn select_with(call: &mut Call<'_, SipHost>, place: Place, scores: Option<Vec<Option<u64>>>) -> Step<SipHost> {
    let (Some(set), Some(algorithm)) = (call.int(0), call.int(1)) else {
        return Step::Fail("set and algorithm are numbers".to_string());
    };
    if let Err(why) = partition(call, 3) {
        return Step::Fail(why);
    }
    let flags = call.text(2).unwrap_or_default().to_lossy().into_owned();
    // 2.2 has the number of results in their place.
    let most = flags.trim().parse::<usize>().ok().or_else(|| call.int(4).and_then(|n| usize::try_from(n).ok()));
    let has = |letter: char| flags.to_ascii_lowercase().contains(letter);
    let (failover, user_only, last_resort) = {
        let s = &call.host.env().settings.dispatcher;
        (s.failover || has('f'), s.user_only || has('u'), s.last_resort || has('d'))
    };
    let pattern = call.host.env().settings.dispatcher.load_pattern.clone();
    let loads = match algorithm {
        9 => pattern.map(|pattern| loads_by_variable(call, &pattern, set)),
        _ => scores,
    };
    let h = &mut *call.host;
    let hashed = |hash: Option<u32>| hash.map(|h| Way::WeightedHash(u64::from(h)));
    let way = match algorithm {
        0 => hashed(Some(hash::hash(&[h.msg.call_id()]))),
        1 => hashed(hash::of_uri(h.msg.from().uri, user_only)),
        2 => hashed(hash::of_uri(h.msg.to().uri, user_only)),
        3 => hashed(hash::of_uri(h.current_ruri(), user_only)),
        4 => Some(Way::WeightSum),
        5 => Some(hash::of_user(h).map_or(Way::WeightSum, |hash| Way::WeightedHash(u64::from(hash)))),
        6 => Some(Way::Random),
        7 => {
            let text = h.env().settings.dispatcher.hash.clone();
            if text.is_empty() {
                return Step::Fail("algorithm 7 needs hash_pvar".to_string());
            }
            let text = call.expand(&text);
            hashed(Some(hash::hash(&[&text])))
        }
        8 => Some(Way::Priority),
        // Without a pattern it is the first.
        9 if loads.is_none() => Some(Way::Priority),
        9 | 10 => Some(Way::Load),
        n => {
            log_line(h, 1, &format!("dispatcher: there is no algorithm {n}: the first destination is taken"));
            Some(Way::Priority)
        }
    };
    let Some(way) = way else { return Step::Fail("a URI cannot be read".to_string()) };
    let limit = most.unwrap_or(0);
    choose(call, &Wish { set, way, limit, failover, last_resort, append: has('a'), loads }, place)
}

/// What `pvar_algo_pattern` says of each destination of a set: the text behind `%u` is its URI. What is no number is 0.
fn loads_by_variable(call: &mut Call<'_, SipHost>, pattern: &[u8], set: i64) -> Vec<Option<u64>> {
    let Some(known) = look(call) else { return Vec::new() };
    let pattern = String::from_utf8_lossy(pattern).into_owned();
    let uris: Vec<String> = of_set(&known, set).map(|(d, _)| d.uri.to_lossy().into_owned()).collect();
    let one = |uri: String| {
        let value = call.value(pattern.replace("%u", &uri).as_bytes());
        Some(value.to_int().and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    };
    uris.into_iter().map(one).collect()
}

/// Has `algo_route` run for each destination of a set.
fn ask_route(call: &mut Call<'_, SipHost>, set: i64) -> Step<SipHost> {
    let Some(name) = call.host.env().settings.dispatcher.algo_route.clone() else {
        return Step::Fail("algorithm 10 needs algo_route".to_string());
    };
    let Some(route) = call.vm().find_route(RouteKind::Request, &name) else {
        return Step::Fail(format!("algo_route: there is no route[{}]", name.to_lossy()));
    };
    let Some(known) = look(call) else { return Step::Done(-1) };
    let param = |name: &str, value: &Str| (Str::from(name), value.clone());
    let of = |(d, s): (&super::list::Destination, &super::state::State)| {
        vec![param("dst_uri", &d.uri), param("attrs", &d.attrs.text), param("script_attrs", &s.script)]
    };
    let params: Vec<Vec<(Str, Str)>> = of_set(&known, set).map(of).collect();
    if params.is_empty() {
        return Step::Done(-1);
    }
    if params.len() > MOST_SCORED {
        return Step::Fail(format!("algorithm 10 is for sets of at most {MOST_SCORED} destinations"));
    }
    Step::Wait(Request::Score { route, params })
}

/// The routes have said how much each destination has to do; what is negative is not used.
fn scored(call: &mut Call<'_, SipHost>, outcome: &Outcome, place: Place) -> Step<SipHost> {
    let Outcome::Scores(scores) = outcome else {
        return Step::Fail("algo_route cannot be run here".to_string());
    };
    let loads = scores.iter().map(|n| u64::try_from(*n).ok()).collect();
    select_with(call, place, Some(loads))
}

fn count(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    if let Err(why) = partition(call, 3) {
        return Step::Fail(why);
    }
    let filter = call.text(1).unwrap_or_default().to_ascii_lowercase();
    if filter.is_empty() || filter.iter().any(|b| !matches!(b, b'a' | b'i' | b'p')) {
        return Step::Fail("the filter is made of a, i and p".to_string());
    }
    let (Some(set), Some(known)) = (call.int(0), look(call)) else { return Step::Done(-1) };
    if known.list.set(set).is_none() {
        return Step::Done(-1);
    }
    let has = |letter: u8| filter.contains(&letter);
    let fits = |flags: u8| match (flags & (INACTIVE | DISABLED) != 0, flags & PROBING != 0) {
        (false, _) => has(b'a'),
        (true, true) => has(b'p'),
        (true, false) => has(b'i'),
    };
    let n = of_set(&known, set).filter(|(_, s)| fits(s.flags)).count();
    call.assign(2, Value::Int(i64::try_from(n).unwrap_or(i64::MAX)));
    Step::Done(1)
}

fn in_list(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let text = call.text(0).unwrap_or_default();
    let Some(ip) = host_ip(&text) else {
        return Step::Fail(format!("\"{}\" is no address", text.to_lossy()));
    };
    let port = call.int(1).and_then(|n| u16::try_from(n).ok()).filter(|p| *p != 0);
    let set = call.int(2).filter(|id| *id != -1);
    // 2.2 has the fourth argument for what is the fifth since.
    let old = call.text(3).and_then(|t| t.to_lossy().trim().parse::<i64>().ok());
    if old.is_none()
        && let Err(why) = partition(call, 3)
    {
        return Step::Fail(why);
    }
    let active_only = call.int(4).or(old).is_some_and(|n| n != 0);
    let Some(known) = look(call) else { return Step::Done(-1) };
    let wanted = Seek { ip: ip.to_canonical(), port, transport: None, active_only, listener: None, closest: false };
    let found = seek(call.host, &known, set, &wanted).map(|(id, d)| (id, d.attrs.text.clone()));
    let Some((id, attrs)) = found else { return Step::Done(-1) };
    if call.given(5) {
        match call.is_match(5, &attrs) {
            Ok(true) => {}
            Ok(false) => return Step::Done(-1),
            Err(why) => return Step::Fail(why),
        }
    }
    let avp = call.host.env().settings.dispatcher.avps[4].clone();
    if let Some(name) = avp {
        call.vm().clear_avp(&name);
        call.vm().push_avp(&name, Value::Str(attrs.clone()));
    }
    found_in(call, id, attrs);
    Step::Done(1)
}
