//! `lookup` and its kin: the R-URI becomes the contacts of its user (RFC 3261 16.5).

use super::attributes;
use super::find::{self, Wanted};
use super::reply::bare;
use super::request::method_bit;
use crate::base::Str;
use crate::modules::host::{SipHost, Target};
use crate::modules::log_line;
use crate::modules::pv_set::MAX_BRANCHES;
use crate::modules::usrloc::{Binding, Found};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;

const CODES: &[(i32, &str)] = &[
    (1, "found"),
    (-1, "no contact"),
    (-2, "no contact takes the method (method_filtering)"),
    (-3, "the address cannot be read, or the database did not answer"),
];

/// `lookup`
pub const LOOKUP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("lookup"),
    params: &[Param::req("table", Kind::Str), Param::opt("uri", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RF"),
    waits: true,
    doc: "Replaces the R-URI by the best contact of its user (or of `uri`): with its path, next hop, q, branch flags and \
          socket. Further contacts become branches (append_branches).",
    returns: CODES,
    example: r#"if (!lookup("location")) sl_send_reply("404", "Not Found");"#,
    run: |call| {
        let uri = call.text(1).filter(|u| !u.is_empty());
        begin(call, uri, find_all)
    },
    finish: Some(|call, outcome| find::go_on(call, outcome, find_all)),
};

/// `lookup` with OpenSIPS' flags.
pub const LOOKUP_FLAGS: FnSpec<SipHost> = FnSpec {
    opensips: Some("lookup"),
    kamailio: None,
    params: &[Param::req("table", Kind::Str), Param::opt("flags", Kind::Str), Param::opt("address", Kind::Str)],
    doc: "Replaces the R-URI by the best contact of its user (or of `address`): with its path, next hop, q, branch flags \
          and socket. Further contacts become branches. Flags, with commas between: no-branches, to-branches-only (the \
          R-URI stays), branch (contacts of the branches' users too), method-filtering, ua-filtering=/EXPRESSION/, \
          case-insensitive, extended-regexp, global; or the letters b B r m u i e g.",
    example: r#"if (!lookup("location", "method-filtering")) t_reply(404, "Not Found");"#,
    run: |call| {
        let flags = call.text(1).unwrap_or_default();
        let flags = match Flags::parse(&flags.to_lossy()) {
            Ok(flags) => flags,
            Err(why) => return Step::Fail(format!("lookup: {why}")),
        };
        let uri = call.text(2).filter(|u| !u.is_empty());
        if flags.branches {
            return begin_branches(call, find_flagged);
        }
        begin(call, uri, find_flagged)
    },
    finish: Some(|call, outcome| find::go_on(call, outcome, find_flagged)),
    ..LOOKUP
};

/// `lookup_to_dset`
pub const LOOKUP_TO_DSET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("lookup_to_dset"),
    doc: "Makes all contacts of the R-URI's user (or of `uri`) branches; the R-URI stays.",
    example: r#"lookup_to_dset("location");"#,
    run: |call| {
        let uri = call.text(1).filter(|u| !u.is_empty());
        begin(call, uri, find_to_dset)
    },
    finish: Some(|call, outcome| find::go_on(call, outcome, find_to_dset)),
    ..LOOKUP
};

/// `lookup_branches`
pub const LOOKUP_BRANCHES: FnSpec<SipHost> = FnSpec {
    params: &[Param::req("table", Kind::Str)],
    kamailio: Some("lookup_branches"),
    doc: "As `lookup`, for the R-URI and for each branch that has nothing but a URI: contacts take their places. Those \
          of which no contact is known are left out.",
    example: r#"lookup_branches("location");"#,
    run: |call| begin_branches(call, find_branches),
    finish: Some(|call, outcome| find::go_on(call, outcome, find_branches)),
    ..LOOKUP
};

/// What `lookup` is told in OpenSIPS' language.
#[derive(Clone, Debug, Default, PartialEq)]
struct Flags {
    no_branches: bool,
    keep_ruri: bool,
    branches: bool,
    methods: bool,
    agent: Option<String>,
    any_case: bool,
}

impl Flags {
    fn parse(text: &str) -> Result<Flags, String> {
        let mut flags = Flags::default();
        let text = text.trim();
        // The expression may hold commas.
        let (text, agent) = match text.split_once("ua-filtering=") {
            Some((before, rest)) => {
                let rest = rest.strip_prefix('/').ok_or("ua-filtering is `ua-filtering=/EXPRESSION/`")?;
                let (agent, after) = rest.rsplit_once('/').ok_or("ua-filtering is `ua-filtering=/EXPRESSION/`")?;
                (format!("{before}{after}"), Some(agent.to_string()))
            }
            None => match text.split_once("u/") {
                Some((before, rest)) if !before.contains('-') => {
                    let (agent, after) = rest.rsplit_once('/').ok_or("`u` is `u/EXPRESSION/`")?;
                    (format!("{before}{after}"), Some(agent.to_string()))
                }
                _ => (text.to_string(), None),
            },
        };
        flags.agent = agent;
        let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
        for word in words {
            match word {
                "no-branches" => flags.no_branches = true,
                "to-branches-only" => flags.keep_ruri = true,
                "branch" => flags.branches = true,
                "method-filtering" => flags.methods = true,
                "case-insensitive" => flags.any_case = true,
                "extended-regexp" | "global" | "sort-by-latency" => {}
                w if w.starts_with("max-ping-latency") => {}
                letters if letters.bytes().all(|b| b"bBrmieg".contains(&b)) => {
                    flags.no_branches |= letters.contains('b');
                    flags.keep_ruri |= letters.contains('B');
                    flags.branches |= letters.contains('r');
                    flags.methods |= letters.contains('m');
                    flags.any_case |= letters.contains('i');
                }
                other => return Err(format!("`{other}` is no flag of lookup")),
            }
        }
        Ok(flags)
    }
}

fn begin(call: &mut Call<'_, SipHost>, uri: Option<Str>, then: find::Then) -> Step<SipHost> {
    if !call.host.msg.is_request() {
        return Step::Done(find::FAILED);
    }
    let uri = uri.unwrap_or_else(|| Str::from(call.host.current_ruri()));
    let wanted = Wanted::by(call.host, &uri);
    if wanted == Wanted::Nothing {
        log_line(call.host, 1, &format!("lookup: \"{}\" is no address of a user", uri.to_lossy()));
        return Step::Done(find::FAILED);
    }
    let table = call.text(0).unwrap_or_default();
    find::start(call, table, vec![wanted], then)
}

/// Whether a branch has nothing but a URI.
fn is_bare(target: &Target) -> bool {
    target.du.is_none() && target.path.is_none()
}

fn begin_branches(call: &mut Call<'_, SipHost>, then: find::Then) -> Step<SipHost> {
    let h = &*call.host;
    if !h.msg.is_request() {
        return Step::Done(find::FAILED);
    }
    let mut wanted = vec![Wanted::by(h, h.current_ruri())];
    wanted.extend(h.branches.iter().map(|t| if is_bare(t) { Wanted::by(h, &t.uri) } else { Wanted::Nothing }));
    let table = call.text(0).unwrap_or_default();
    find::start(call, table, wanted, then)
}

/// The contacts that the request may go to, or the code for none.
fn usable(h: &SipHost, uri: &[u8], found: Vec<Binding>, methods: bool) -> Result<Vec<Binding>, i32> {
    let mut found = found;
    // RFC 5627: a public name means one instance.
    if h.env().settings.registrar.gruu
        && let Ok(uri) = Uri::parse(uri)
        && let Some(instance) = uri.param(b"gr").filter(|i| !i.is_empty())
    {
        found.retain(|b| b.instance.as_deref().is_some_and(|i| bare(i) == instance));
    }
    // RFC 5626 section 5.3: of the flows of one instance one is used, the one that was made last.
    let newest = |b: &Binding, all: &[Binding]| {
        !all.iter().any(|o| o.reg_id > 0 && o.instance == b.instance && (o.modified, &o.ruid) > (b.modified, &b.ruid))
    };
    // The others are for t_next_contact_flow, if it has a place for them.
    if h.env().settings.registrar.uses_flows() && h.env().settings.tm.flows.is_none() {
        let all = found.clone();
        found.retain(|b| b.reg_id == 0 || newest(b, &all));
    }
    if found.is_empty() {
        return Err(-1);
    }
    if methods {
        let bit = method_bit(h.msg.method_bytes());
        found.retain(|b| b.methods.is_none_or(|m| m & bit != 0));
        if found.is_empty() {
            return Err(-2);
        }
    }
    Ok(found)
}

/// A contact as a destination.
pub fn target(h: &SipHost, b: &Binding) -> Target {
    let first_of_path = b.path.as_deref().and_then(|path| {
        let first = NameAddr::list(path).next()?.ok()?;
        Some(Str::from(first.uri))
    });
    // RFC 5626: a flow is used as long as it is there.
    let flow =
        b.flow.as_ref().filter(|_| b.reg_id > 0 && h.env().settings.registrar.uses_flows()).map(|(transport, addr)| {
            let host = crate::modules::env::bracketed(addr.ip());
            Str::from(format!("sip:{host}:{};transport={}", addr.port(), transport.to_lossy()))
        });
    let socket = b.socket.as_deref().and_then(|name| h.env().find_listener(name));
    Target {
        uri: b.contact.clone(),
        du: first_of_path.or_else(|| b.received.clone()).or(flow),
        path: b.path.clone(),
        q: b.q,
        flags: b.bflags.clone(),
        socket: socket.and_then(|n| u16::try_from(n).ok()),
        attrs: found(b).attributes(),
    }
}

fn found(b: &Binding) -> Found {
    Found {
        contact: b.contact.clone(),
        ruid: b.ruid.clone(),
        agent: b.user_agent.clone(),
        instance: b.instance.clone(),
    }
}

/// The first contact becomes the R-URI.
fn take(call: &mut Call<'_, SipHost>, b: &Binding) {
    attributes::tell(call, b);
    let main = target(call.host, b);
    let h = &mut *call.host;
    h.set_main_target(&main);
    h.location.get_or_insert_default().found = Some(found(b));
    let attr = h.env().settings.registrar.attr_avp.clone();
    if let (Some(name), Some(attr)) = (attr, &b.attr) {
        call.vm().push_avp(&name, Value::Str(attr.clone()));
    }
}

/// Further ones become branches.
fn append(h: &mut SipHost, found: &[Binding]) {
    for b in found {
        if h.branches.len() >= MAX_BRANCHES {
            log_line(h, 1, "lookup: more contacts than a request may have branches");
            return;
        }
        let target = target(h, b);
        h.branches.push(target);
    }
}

fn find_all(call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>) -> Step<SipHost> {
    let settings = &call.host.env().settings.registrar;
    let (methods, further) = (settings.method_filtering, settings.append_branches);
    let uri = call.text(1).filter(|u| !u.is_empty()).unwrap_or_else(|| Str::from(call.host.current_ruri()));
    match usable(call.host, &uri, found.into_iter().next().unwrap_or_default(), methods) {
        Ok(found) => {
            found.first().iter().for_each(|b| take(call, b));
            if further {
                append(call.host, found.get(1..).unwrap_or_default());
            }
            Step::Done(1)
        }
        Err(code) => Step::Done(code),
    }
}

fn find_to_dset(call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>) -> Step<SipHost> {
    let methods = call.host.env().settings.registrar.method_filtering;
    let uri = call.text(1).filter(|u| !u.is_empty()).unwrap_or_else(|| Str::from(call.host.current_ruri()));
    match usable(call.host, &uri, found.into_iter().next().unwrap_or_default(), methods) {
        Ok(found) => {
            append(call.host, &found);
            Step::Done(1)
        }
        Err(code) => Step::Done(code),
    }
}

fn find_flagged(call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>) -> Step<SipHost> {
    let flags = call.text(1).unwrap_or_default();
    let flags = Flags::parse(&flags.to_lossy()).unwrap_or_default();
    let uri = call.text(2).filter(|u| !u.is_empty()).unwrap_or_else(|| Str::from(call.host.current_ruri()));
    let settings = &call.host.env().settings.registrar;
    let (methods, further) = (flags.methods || settings.method_filtering, settings.append_branches);
    let mut found = found;
    if let Some(agent) = &flags.agent {
        let pattern = if flags.any_case { format!("(?i){agent}") } else { agent.clone() };
        match call.vm().pattern(pattern.as_bytes()) {
            Ok(re) => found.iter_mut().for_each(|list| list.retain(|b| re.is_match(&b.user_agent))),
            Err(why) => return Step::Fail(format!("lookup: {why}")),
        }
    }
    if flags.branches {
        return branches(call, found, methods);
    }
    match usable(call.host, &uri, found.into_iter().next().unwrap_or_default(), methods) {
        Ok(found) if flags.keep_ruri => {
            append(call.host, &found);
            Step::Done(1)
        }
        Ok(found) => {
            found.first().iter().for_each(|b| take(call, b));
            if further && !flags.no_branches {
                append(call.host, found.get(1..).unwrap_or_default());
            }
            Step::Done(1)
        }
        Err(code) => Step::Done(code),
    }
}

fn find_branches(call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>) -> Step<SipHost> {
    let methods = call.host.env().settings.registrar.method_filtering;
    branches(call, found, methods)
}

/// The contacts of R-URI and branches take their places.
fn branches(call: &mut Call<'_, SipHost>, found: Vec<Vec<Binding>>, methods: bool) -> Step<SipHost> {
    let old: Vec<Target> = call.host.branches.take();
    let mut uris = vec![Str::from(call.host.current_ruri())];
    uris.extend(old.iter().map(|t| t.uri.clone()));
    let mut contacts = Vec::new();
    let mut worst = -1;
    for (at, (list, uri)) in found.into_iter().zip(&uris).enumerate() {
        let kept = at.checked_sub(1).and_then(|n| old.get(n)).filter(|t| !is_bare(t));
        if let Some(kept) = kept {
            contacts.push(Place::Kept(kept.clone()));
            continue;
        }
        match usable(call.host, uri, list, methods) {
            Ok(found) => contacts.extend(found.into_iter().map(|b| Place::Found(Box::new(b)))),
            Err(code) => worst = worst.min(code),
        }
    }
    if !contacts.iter().any(|c| matches!(c, Place::Found(_))) {
        call.host.branches = old.into();
        return Step::Done(worst);
    }
    // Whoever was found first is the R-URI.
    let first = contacts.iter().position(|c| matches!(c, Place::Found(_))).unwrap_or(0);
    if let Place::Found(b) = contacts.remove(first) {
        take(call, &b);
    }
    for contact in contacts {
        match contact {
            Place::Found(b) => append(call.host, &[*b]),
            Place::Kept(t) if call.host.branches.len() < MAX_BRANCHES => call.host.branches.push(t),
            Place::Kept(_) => {}
        }
    }
    Step::Done(1)
}

enum Place {
    Found(Box<Binding>),
    Kept(Target),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags() {
        let f = Flags::parse("method-filtering, no-branches,ua-filtering=/^a,b/,case-insensitive").unwrap();
        assert!(f.methods && f.no_branches && f.any_case && !f.keep_ruri);
        assert_eq!(f.agent.as_deref(), Some("^a,b"));
        let f = Flags::parse("mbu/x-y/i").unwrap();
        assert!(f.methods && f.no_branches && f.any_case);
        assert_eq!(f.agent.as_deref(), Some("x-y"));
        assert_eq!(Flags::parse("m").unwrap(), Flags { methods: true, ..Flags::default() });
        assert_eq!(Flags::parse("").unwrap(), Flags::default());
        for bad in ["x", "no-such", "ua-filtering=x", "u/x"] {
            assert!(Flags::parse(bad).is_err(), "{bad}");
        }
    }
}
