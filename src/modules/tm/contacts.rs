//! Serial forking by q, as the other dialect writes it. Contacts that are not tried yet lie in `$xavp(contacts_avp)`, those of an instance
//! that is being tried over another flow in `$xavp(contact_flows_avp)`; without such a name in an AVP of ours.

use super::send::T_NEWTRAN;
use crate::base::Str;
use crate::modules::core::branches::{decode, encode};
use crate::modules::host::{SipHost, Target};
use crate::modules::pv_get::random;
use crate::modules::usrloc::Found;
use crate::modules::usrloc::binding::{mask, unmask};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::script::xavp::{Family, Fields, Node};

/// Value of the field `q_flag` of a contact that is the last of its class.
const LAST: i64 = 4;
/// The attribute that says so in an AVP.
const LAST_MARK: &str = "last_of_class";

/// `t_load_contacts`
pub const T_LOAD_CONTACTS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_load_contacts"),
    params: &[Param::opt("mode", Kind::IntOrStr)],
    routes: RouteSet::letters("RF"),
    doc: "Puts R-URI and branches away for t_next_contacts. Does nothing if there is only the R-URI. Mode 0 (also without \
          an argument): in classes of equal q, the highest first, those without q last; 1: one after the other, by lot with \
          their q as weights, those without q and with 0 last. They lie in `$xavp(NAME)`, NAME being the parameter contacts_avp, \
          with the fields uri, dst_uri, path, sock, flags, q_flag (4: the last of its class), instance, ruid, ua.",
    returns: &[(1, "done"), (-1, "no such mode")],
    example: "t_load_contacts();",
    run: |call| {
        let by_lot = match call.int(0) {
            None if call.given(0) => return Step::Done(-1),
            None | Some(0) => false,
            Some(1) => true,
            Some(_) => return Step::Done(-1),
        };
        if call.host.branches.is_empty() {
            return Step::Done(1);
        }
        let mut all = vec![call.host.main_target()];
        all.append(&mut call.host.branches);
        let waiting = if by_lot { drawn(all, call) } else { classes(all) };
        keep(call, List::Contacts, waiting)
    },
    finish: None,
    ..T_NEWTRAN
};

/// `t_next_contacts`
pub const T_NEXT_CONTACTS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_next_contacts"),
    params: &[],
    doc: "Makes the next class of contacts the destination set: its first one the R-URI, the others branches. Of those with \
          the same +sip.instance only the first; the others lie in `$xavp(NAME)`, NAME being the parameter contact_flows_avp, for \
          t_next_contact_flow.",
    returns: &[(1, "done"), (-2, "there is none left")],
    example: "if (t_next_contacts()) t_relay();",
    run: next,
    ..T_LOAD_CONTACTS
};

/// `t_next_contact_flow`
pub const T_NEXT_CONTACT_FLOW: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_next_contact_flow"),
    params: &[],
    routes: RouteSet::letters("RFV"),
    doc: "In `event_route[tm:branch-failure:NAME]`: another flow (RFC 5626) to the instance whose branch has failed becomes the \
          R-URI. Needs the parameter contact_flows_avp.",
    returns: &[
        (1, "done"),
        (-1, "none of those that are left goes to this instance"),
        (-2, "there are none left, or the branch's contact has no instance"),
    ],
    example: "if (t_next_contact_flow()) t_relay();",
    run: next_flow,
    ..T_LOAD_CONTACTS
};

/// A contact that is not tried yet.
#[derive(Clone, Debug, PartialEq)]
struct Waiting {
    target: Target,
    /// The next one is of another class.
    last: bool,
}

/// Which of the two lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Contacts,
    Flows,
}

impl List {
    /// Name of the `$xavp`, if the configuration gives one.
    fn xavp(self, h: &SipHost) -> Option<Str> {
        let s = &h.env().settings.tm;
        if self == List::Contacts { s.contacts.clone() } else { s.flows.clone() }
    }

    fn avp(self) -> &'static [u8] {
        if self == List::Contacts { b"_tm_contacts" } else { b"_tm_contact_flows" }
    }
}

/// By q: whoever has none stands last.
fn classes(mut all: Vec<Target>) -> Vec<Waiting> {
    all.sort_by_key(|t| std::cmp::Reverse(t.q.map_or(-1, i32::from)));
    let qs: Vec<Option<u16>> = all.iter().map(|t| t.q).collect();
    let last = |i: usize| qs.get(i + 1) != qs.get(i);
    all.into_iter().enumerate().map(|(i, target)| Waiting { target, last: last(i) }).collect()
}

/// Each by itself, by lot.
fn drawn(all: Vec<Target>, call: &Call<'_, SipHost>) -> Vec<Waiting> {
    let (mut hopeful, rest): (Vec<Target>, Vec<Target>) = all.into_iter().partition(|t| t.q.is_some_and(|q| q > 0));
    let mut order = Vec::with_capacity(hopeful.len() + rest.len());
    while !hopeful.is_empty() {
        let total: u32 = hopeful.iter().map(|t| u32::from(t.q.unwrap_or(0))).sum();
        let mut lot = random(call.now) % total.max(1);
        let at = hopeful.iter().position(|t| {
            let q = u32::from(t.q.unwrap_or(0));
            let hit = lot < q;
            lot = lot.saturating_sub(q);
            hit
        });
        order.push(hopeful.remove(at.unwrap_or(0)));
    }
    order.extend(rest);
    order.into_iter().map(|target| Waiting { target, last: true }).collect()
}

fn next(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let mut waiting = stored(call, List::Contacts);
    let Some(end) = waiting.iter().position(|w| w.last).or(waiting.len().checked_sub(1)) else {
        return Step::Done(-2);
    };
    let rest = waiting.split_off(end + 1);
    let mut class = waiting.into_iter().map(|w| w.target);
    let Some(first) = class.next() else { return Step::Done(-2) };
    let others: Vec<Target> = class.collect();
    let several = !others.is_empty();
    let mut seen: Vec<Str> = instance(&first).into_iter().collect();
    let (mut branches, mut flows) = (Vec::new(), Vec::new());
    for target in others {
        match instance(&target) {
            Some(known) if seen.contains(&known) => flows.push(Waiting { target, last: false }),
            known => {
                seen.extend(known);
                branches.push(target);
            }
        }
    }
    become_ruri(call.host, &first);
    call.host.branches = branches.into();
    if several && let Step::Fail(why) = keep(call, List::Flows, flows) {
        return Step::Fail(why);
    }
    keep(call, List::Contacts, rest)
}

fn next_flow(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let failed = call.host.tm.branch.and_then(|b| call.host.tm.branches.get(usize::from(b)));
    let wanted = match failed {
        Some(branch) => instance(&branch.target),
        None => instance(&call.host.main_target()),
    };
    let mut flows = stored(call, List::Flows);
    let Some(wanted) = wanted.filter(|_| !flows.is_empty()) else { return Step::Done(-2) };
    let Some(at) = flows.iter().position(|w| instance(&w.target).as_ref() == Some(&wanted)) else {
        return Step::Done(-1);
    };
    let flow = flows.remove(at);
    become_ruri(call.host, &flow.target);
    keep(call, List::Flows, flows)
}

/// The `+sip.instance` of a contact.
fn instance(target: &Target) -> Option<Str> {
    target.attrs.iter().find(|(name, _)| **name == *b"instance").map(|(_, v)| v.clone())
}

fn become_ruri(h: &mut SipHost, target: &Target) {
    h.set_main_target(target);
    if let Some(found) = Found::of(&target.uri, &target.attrs) {
        h.location.get_or_insert_default().found = Some(found);
    }
}

/// Puts a list in the place of the one there is.
fn keep(call: &mut Call<'_, SipHost>, list: List, waiting: Vec<Waiting>) -> Step<SipHost> {
    let Some(name) = list.xavp(call.host) else {
        call.vm().clear_avp(list.avp());
        for w in waiting.into_iter().rev() {
            let mut target = w.target;
            if w.last {
                target.attrs.push((Str::from(LAST_MARK), Str::from("1")));
            }
            call.vm().push_avp(list.avp(), Value::text(encode(&target)));
        }
        return Step::Done(1);
    };
    let nodes: Vec<Node> = waiting.iter().map(|w| node(call.host, w)).collect();
    let (all, limits) = call.vm().xavps_mut();
    match all.replace(Family::Xavp, &name, nodes, &limits) {
        Ok(()) => Step::Done(1),
        Err(_) => Step::Fail(format!("there is no room for $xavp({})", name.to_lossy())),
    }
}

fn stored(call: &mut Call<'_, SipHost>, list: List) -> Vec<Waiting> {
    let Some(name) = list.xavp(call.host) else {
        let one = |v: &Value| {
            let mut target = decode(&v.to_text()?)?;
            let all = target.attrs.len();
            target.attrs.retain(|(n, _)| **n != *LAST_MARK.as_bytes());
            Some(Waiting { last: target.attrs.len() < all, target })
        };
        return call.vm().avp(list.avp()).iter().filter_map(one).collect();
    };
    let nodes: Vec<Fields> = match call.vm().xavps() {
        Some(all) => all
            .named(Family::Xavp, &name)
            .filter_map(|n| if let Node::Fields(f) = n { Some(f.clone()) } else { None })
            .collect(),
        None => Vec::new(),
    };
    nodes.iter().filter_map(|fields| waiting_of(call.host, fields)).collect()
}

/// A contact as the fields of an `$xavp`.
fn node(h: &SipHost, w: &Waiting) -> Node {
    let t = &w.target;
    let mut fields: Vec<(&str, Value)> = vec![("uri", Value::Str(t.uri.clone()))];
    let mut text = |name, value: Option<Str>| fields.extend(value.map(|v| (name, Value::Str(v))));
    text("dst_uri", t.du.clone());
    text("path", t.path.clone());
    let socket = t.socket.and_then(|n| h.env().listeners.get(usize::from(n)));
    text("sock", socket.map(|l| Str::from(l.name())));
    for (name, value) in &t.attrs {
        match &name[..] {
            b"instance" => text("instance", Some(value.clone())),
            b"ruid" => text("ruid", Some(value.clone())),
            b"ua" => text("ua", Some(value.clone())),
            _ => {}
        }
    }
    fields.push(("flags", Value::Int(i64::from(mask(&t.flags)))));
    fields.push(("q_flag", Value::Int(if w.last { LAST } else { 0 })));
    Node::Fields(Fields::in_order(fields.into_iter()))
}

fn waiting_of(h: &SipHost, fields: &Fields) -> Option<Waiting> {
    let text = |name: &[u8]| fields.get(name).and_then(Value::to_text).filter(|t| !t.is_empty());
    let number = |name: &[u8]| fields.get(name).and_then(Value::to_int).unwrap_or(0);
    let uri = text(b"uri")?;
    let attrs = ["ruid", "ua", "instance"].into_iter();
    let socket = text(b"sock").and_then(|name| h.env().find_listener(&name));
    let target = Target {
        uri,
        du: text(b"dst_uri"),
        path: text(b"path"),
        q: None,
        flags: unmask(u32::try_from(number(b"flags")).unwrap_or(0)),
        socket: socket.and_then(|n| u16::try_from(n).ok()),
        attrs: attrs.filter_map(|n| Some((Str::from(n), text(n.as_bytes())?))).collect(),
    };
    Some(Waiting { target, last: number(b"q_flag") == LAST })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::env::Env;
    use crate::modules::testing::Bench;

    const REQUEST: &str = "INVITE sip:first@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK1\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

    /// With `$xavp`s of these names, or without.
    fn bench(contacts: &[(&str, Option<u16>, &str)], named: bool) -> Bench {
        let mut env = Env::clone(Bench::new(REQUEST).host.env());
        if named {
            env.settings.tm.contacts = Some(Str::from("tm_contacts"));
            env.settings.tm.flows = Some(Str::from("tm_flows"));
        }
        let mut bench = Bench::with(REQUEST, env);
        bench.host.q = Some(500);
        let target = |(uri, q, instance): &(&str, Option<u16>, &str)| {
            let uri = Str::from(*uri);
            let found = Found {
                ruid: Str::from("r"),
                instance: Some(Str::from(*instance)).filter(|i| !i.is_empty()),
                ..Found::default()
            };
            Target { uri, q: *q, flags: vec![Str::from("6")], attrs: found.attributes(), ..Target::default() }
        };
        bench.host.branches = contacts.iter().map(target).collect::<Vec<_>>().into();
        bench
    }

    /// The destination set: the R-URI and the branches.
    fn set(bench: &Bench) -> Vec<String> {
        let uris = [String::from_utf8_lossy(bench.host.current_ruri()).into_owned()];
        let branches = bench.host.branches.iter().map(|b| b.uri.to_lossy().into_owned());
        uris.into_iter().chain(branches).collect()
    }

    #[test]
    fn classes_of_equal_q_come_one_after_the_other() {
        for named in [false, true] {
            let mut bench = bench(
                &[
                    ("sip:low@10.0.0.2", Some(100), ""),
                    ("sip:high@10.0.0.3", Some(900), ""),
                    ("sip:same@10.0.0.4", Some(500), ""),
                    ("sip:none@10.0.0.5", None, ""),
                ],
                named,
            );
            assert_eq!(bench.call(&T_LOAD_CONTACTS, &[]), 1);
            assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), 1);
            assert_eq!(set(&bench), ["sip:high@10.0.0.3"]);
            assert_eq!(bench.host.bflags, [Str::from("6")]);
            assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), 1);
            assert_eq!(set(&bench), ["sip:first@10.0.0.1", "sip:same@10.0.0.4"]);
            assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), 1);
            assert_eq!(set(&bench), ["sip:low@10.0.0.2"]);
            assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), 1);
            assert_eq!(set(&bench), ["sip:none@10.0.0.5"]);
            assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), -2);
        }
    }

    #[test]
    fn one_contact_needs_no_order() {
        let mut bench = bench(&[], true);
        assert_eq!(bench.call(&T_LOAD_CONTACTS, &[]), 1);
        assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), -2);
        assert_eq!(set(&bench), ["sip:first@10.0.0.1"]);
        assert_eq!(bench.call(&T_LOAD_CONTACTS, &["2"]), -1, "no such mode");
    }

    #[test]
    fn by_lot_each_comes_once_and_alone() {
        let mut firsts = std::collections::BTreeMap::new();
        for _ in 0..400 {
            let mut bench =
                bench(&[("sip:b@h", Some(1000), ""), ("sip:c@h", None, ""), ("sip:d@h", Some(0), "")], true);
            assert_eq!(bench.call(&T_LOAD_CONTACTS, &["1"]), 1);
            let mut order = Vec::new();
            while bench.call(&T_NEXT_CONTACTS, &[]) == 1 {
                let set = set(&bench);
                assert_eq!(set.len(), 1);
                order.extend(set);
            }
            assert_eq!(order[2..], ["sip:c@h", "sip:d@h"], "what has no q is for the end");
            *firsts.entry(order[0].clone()).or_insert(0) += 1;
        }
        // Two to one.
        let (a, b) = (firsts["sip:first@10.0.0.1"], firsts["sip:b@h"]);
        assert!(a > 60 && b > 180, "{firsts:?}");
    }

    #[test]
    fn of_one_instance_one_flow_is_tried_at_a_time() {
        for named in [false, true] {
            let contacts = [
                ("sip:x1@h", Some(900), "<urn:x>"),
                ("sip:x2@h", Some(900), "<urn:x>"),
                ("sip:y@h", Some(900), "<urn:y>"),
                ("sip:x3@h", Some(900), "<urn:x>"),
            ];
            let mut bench = bench(&contacts, named);
            assert_eq!(bench.call(&T_LOAD_CONTACTS, &[]), 1);
            assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), 1);
            assert_eq!(set(&bench), ["sip:x1@h", "sip:y@h"]);
            // The branch to x has failed.
            let info = crate::modules::host::BranchInfo { target: bench.host.main_target(), ..Default::default() };
            assert_eq!(instance(&info.target), Some(Str::from("<urn:x>")));
            bench.host.tm.branches = vec![info];
            bench.host.tm.branch = Some(0);
            bench.host.branches.reset();
            assert_eq!(bench.call(&T_NEXT_CONTACT_FLOW, &[]), 1);
            assert_eq!(set(&bench), ["sip:x2@h"]);
            assert_eq!(bench.call(&T_NEXT_CONTACT_FLOW, &[]), 1);
            assert_eq!(set(&bench), ["sip:x3@h"]);
            assert_eq!(bench.call(&T_NEXT_CONTACT_FLOW, &[]), -2);
        }
    }
}
