//! Further branches: parallel and serial forking.

use crate::base::Str;
use crate::modules::host::{SipHost, Target};
use crate::modules::pv_set::MAX_BRANCHES;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

/// AVP that holds the groups that are not tried yet (serial forking).
const SERIAL_AVP: &[u8] = b"_serial_forking";

/// `append_branch`
pub const APPEND_BRANCH: FnSpec<SipHost> = FnSpec {
    opensips: Some("append_branch"),
    kamailio: Some("append_branch"),
    params: &[Param::opt("uri", Kind::Str), Param::opt("q", Kind::Str), Param::opt("flags", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RFOBL"),
    waits: false,
    doc: "Adds a branch; without a URI the current R-URI (with $du, path and flags) becomes one. q is 0 to 1 \
          (\"0.5\") or 0 to 1000.",
    returns: &[(1, "added"), (-1, "not a valid URI, or too many branches")],
    example: r#"append_branch("sip:bob@10.0.0.8", "0.5");"#,
    run: append,
    finish: None,
};

/// `append_msg_branch`
pub const APPEND_MSG_BRANCH: FnSpec<SipHost> =
    FnSpec { opensips: Some("append_msg_branch"), kamailio: None, ..APPEND_BRANCH };

/// `remove_branch`
pub const REMOVE_BRANCH: FnSpec<SipHost> = FnSpec {
    opensips: Some("remove_branch"),
    kamailio: Some("remove_branch"),
    params: &[Param::req("index", Kind::Int)],
    doc: "Removes a branch by number.",
    returns: &[(1, "removed"), (-1, "no such branch")],
    example: "remove_branch(0);",
    run: |call| match call.int(0).and_then(|i| usize::try_from(i).ok()) {
        Some(i) if i < call.host.branches.len() => {
            call.host.branches.remove(i);
            Step::Done(1)
        }
        _ => Step::Done(-1),
    },
    ..APPEND_BRANCH
};

/// `remove_msg_branch`
pub const REMOVE_MSG_BRANCH: FnSpec<SipHost> =
    FnSpec { opensips: Some("remove_msg_branch"), kamailio: None, ..REMOVE_BRANCH };

/// `serialize_branches`
pub const SERIALIZE_BRANCHES: FnSpec<SipHost> = FnSpec {
    opensips: Some("serialize_branches"),
    kamailio: None,
    params: &[Param::req("clear", Kind::Int), Param::opt("keep_order", Kind::Int)],
    doc: "Sorts the branches into groups of equal q, highest first, for next_branches; those left from an earlier \
          call are dropped if clear is 1.",
    returns: &[(1, "done"), (-1, "error")],
    example: "serialize_branches(1);",
    run: serialize,
    ..APPEND_BRANCH
};

/// `next_branches`
pub const NEXT_BRANCHES: FnSpec<SipHost> = FnSpec {
    opensips: Some("next_branches"),
    kamailio: None,
    params: &[],
    doc: "Makes the next group of branches the destination set.",
    returns: &[(1, "more groups follow"), (2, "this is the last one"), (-1, "there is none")],
    example: "if (next_branches()) t_relay();",
    run: next,
    ..APPEND_BRANCH
};

/// A q value as thousandths: `0.5`, `1`, `1.0`, `500`.
pub(in crate::modules) fn q_of(text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if text.contains('.') || text == "1" || text == "0" {
        let q: f64 = text.parse().ok()?;
        return (0.0..=1.0).contains(&q).then_some((q * 1000.0).round() as u16);
    }
    text.parse().ok().filter(|q| *q <= 1000)
}

fn append(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let q = call.text(1).and_then(|t| q_of(&t));
    let flags: Vec<Str> = call
        .text(2)
        .map(|t| t.split(|b| *b == b',' || *b == b' ').filter(|w| !w.is_empty()).map(Str::from).collect())
        .unwrap_or_default();
    let uri = call.text(0).filter(|u| !u.is_empty());
    let h = &mut *call.host;
    if h.branches.len() >= MAX_BRANCHES {
        return Step::Done(-1);
    }
    let target = match uri {
        Some(uri) if Uri::parse(&uri).is_err() => return Step::Done(-1),
        Some(uri) => Target { uri, q, flags, socket: h.socket_out, ..Target::default() },
        None => Target {
            uri: Str::from(h.current_ruri()),
            du: h.du.take(),
            path: h.path.take(),
            q: q.or(h.q),
            flags: std::mem::take(&mut h.bflags),
            socket: h.socket_out,
            attrs: Vec::new(),
        },
    };
    h.branches.push(target);
    Step::Done(1)
}

/// One branch as an AVP text: fields parted by line feeds, which no URI holds.
pub(in crate::modules) fn encode(t: &Target) -> Vec<u8> {
    let socket = t.socket.map(|s| s.to_string()).unwrap_or_default();
    let q = t.q.map(|q| q.to_string()).unwrap_or_default();
    let flags = t.flags.iter().map(Str::as_bytes).collect::<Vec<_>>().join(&b","[..]);
    // What holds one of the separators itself cannot be kept.
    let clean = |s: &Str| !s.iter().any(|b| matches!(b, b'\n' | 0x1e | 0x1f));
    let attrs: Vec<Vec<u8>> = (t.attrs.iter().filter(|(k, v)| clean(k) && clean(v)))
        .map(|(k, v)| [&k[..], &v[..]].join(&[0x1f][..]))
        .collect();
    [
        &t.uri[..],
        t.du.as_deref().unwrap_or_default(),
        t.path.as_deref().unwrap_or_default(),
        q.as_bytes(),
        &flags,
        socket.as_bytes(),
        &attrs.join(&[0x1e][..]),
    ]
    .join(&b"\n"[..])
}

pub(in crate::modules) fn decode(text: &[u8]) -> Option<Target> {
    let f: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
    let [uri, du, path, q, flags, socket, attrs] = f[..] else { return None };
    let opt = |b: &[u8]| (!b.is_empty()).then(|| Str::from(b));
    let num = |b: &[u8]| std::str::from_utf8(b).ok().and_then(|t| t.parse().ok());
    Some(Target {
        uri: Str::from(uri),
        du: opt(du),
        path: opt(path),
        q: num(q),
        flags: flags.split(|b| *b == b',').filter(|w| !w.is_empty()).map(Str::from).collect(),
        socket: num(socket),
        attrs: (attrs.split(|b| *b == 0x1e))
            .filter_map(|pair| {
                let at = pair.iter().position(|b| *b == 0x1f)?;
                Some((Str::from(&pair[..at]), Str::from(&pair[at + 1..])))
            })
            .collect(),
    })
}

fn serialize(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    if call.int(0) == Some(1) {
        call.vm().clear_avp(SERIAL_AVP);
    }
    let keep_order = call.int(1) == Some(1);
    store(call, keep_order);
    Step::Done(1)
}

/// Puts R-URI and branches away for [`next_group`]; false if there is nothing but the R-URI.
fn store(call: &mut Call<'_, SipHost>, keep_order: bool) -> bool {
    let h = &mut *call.host;
    if h.branches.is_empty() {
        return false;
    }
    let mut all = vec![h.main_target()];
    all.append(&mut h.branches);
    if !keep_order {
        all.sort_by_key(|t| std::cmp::Reverse(t.q.unwrap_or(1000)));
    }
    // AVPs push: the last group goes in first. Each value is one branch; a group is a run of equal q.
    for t in all.iter().rev() {
        let text = encode(t);
        call.vm().push_avp(SERIAL_AVP, Value::text(text));
    }
    true
}

fn next(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    Step::Done(match next_group(call) {
        Some(true) => 1,
        Some(false) => 2,
        None => -1,
    })
}

/// Makes the next group of branches the destination set: whether others follow; `None` if there
/// is none.
fn next_group(call: &mut Call<'_, SipHost>) -> Option<bool> {
    let waiting: Vec<Target> = call.vm().avp(SERIAL_AVP).iter().filter_map(|v| decode(&v.to_text()?)).collect();
    let first = waiting.first()?;
    let group = waiting.iter().take_while(|t| t.q == first.q).count();
    call.vm().clear_avp(SERIAL_AVP);
    for t in waiting.get(group..).unwrap_or_default().iter().rev() {
        let text = encode(t);
        call.vm().push_avp(SERIAL_AVP, Value::text(text));
    }
    let h = &mut *call.host;
    h.set_main_target(first);
    h.branches = waiting.get(1..group).unwrap_or_default().to_vec().into();
    Some(waiting.len() > group)
}
