//! The functions as OpenSIPS has them.

use super::choose::Way;
use super::query::{Seek, found_in, look, of_set, seek};
use super::select::{Place, Wish, choose, next};
use super::state::{DISABLED, INACTIVE, PROBING};
use super::{hash, mark};
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::host_ip;

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
          hash_pvar, 8 the first; where destinations have weights they count for 0 to 5 and 7. Flags: `f` what follows \
          is kept for ds_next_dst, `u` hashes take the user of a URI alone, `d` the last destination is used when none \
          is usable, `a` the destination becomes a further branch.",
    returns: &[(1, "done"), (-1, "no destination is usable, or there is no such set")],
    example: r#"if (!ds_select_dst(1, 4, "f")) { sl_send_reply(503, "No destination"); exit; }"#,
    run: |call| select(call, Place::Destination),
    finish: None,
};

/// `ds_select_domain`
pub const DS_SELECT_DOMAIN: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_select_domain"),
    doc: "As ds_select_dst, but host and port of the R-URI become the destination's.",
    example: r#"if (!ds_select_domain(1, 4)) exit;"#,
    run: |call| select(call, Place::Domain),
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
    run: |call| next(call, Place::Destination),
    ..DS_SELECT_DST
};

/// `ds_next_domain`
pub const DS_NEXT_DOMAIN: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_next_domain"),
    doc: "As ds_next_dst, but host and port of the R-URI become the destination's.",
    example: "if (ds_next_domain()) t_relay();",
    run: |call| next(call, Place::Domain),
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
    run: |call| mark::mark(call, Dialect::OpenSips),
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
    ..DS_SELECT_DST
};

/// There is only the default partition.
fn partition(call: &Call<'_, SipHost>, i: usize) {
    if let Some(name) = call.text(i).filter(|n| !n.is_empty() && n[..] != *b"default") {
        log_line(call.host, 1, &format!("dispatcher: partition {} is taken for the default one", name.to_lossy()));
    }
}

fn select(call: &mut Call<'_, SipHost>, place: Place) -> Step<SipHost> {
    let (Some(set), Some(algorithm)) = (call.int(0), call.int(1)) else {
        return Step::Fail("set and algorithm are numbers".to_string());
    };
    partition(call, 3);
    let flags = call.text(2).unwrap_or_default().to_lossy().into_owned();
    // 2.2 has the number of results in their place.
    let most = flags.trim().parse::<usize>().ok().or_else(|| call.int(4).and_then(|n| usize::try_from(n).ok()));
    let has = |letter: char| flags.to_ascii_lowercase().contains(letter);
    let (failover, user_only, last_resort) = {
        let s = &call.host.env().settings.dispatcher;
        (s.failover || has('f'), s.user_only || has('u'), s.last_resort || has('d'))
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
        9 | 10 => return Step::Fail(format!("algorithm {algorithm} is not there: 0 to 8 are")),
        n => {
            log_line(h, 1, &format!("dispatcher: there is no algorithm {n}: the first destination is taken"));
            Some(Way::Priority)
        }
    };
    let Some(way) = way else { return Step::Fail("a URI cannot be read".to_string()) };
    let wish = Wish { set, way, limit: most.unwrap_or(0), failover, last_resort, append: has('a') };
    choose(call, &wish, place)
}

fn count(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    partition(call, 3);
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
    if old.is_none() {
        partition(call, 3);
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
