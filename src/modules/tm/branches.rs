//! Branches of a transaction that is under way, and what is added to all that it sends.

use super::send::{T_NEWTRAN, code};
use crate::base::Str;
use crate::modules::core::branches::q_of;
use crate::modules::host::{SipHost, Target};
use crate::modules::request::{ReplyRequest, Request};
use crate::modules::sl;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

/// `t_wait_for_new_branches`
pub const T_WAIT_FOR_NEW_BRANCHES: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_wait_for_new_branches"),
    kamailio: None,
    params: &[Param::opt("branches", Kind::Int)],
    routes: RouteSet::letters("R"),
    doc: "Makes the transaction of an INVITE, if need be, and keeps it open for branches that t_inject_branches adds: \
          no negative reply is chosen before that many were added (any number, if it is left out), before \
          t_wait_no_more_branches, or before fr_inv_timeout has passed; then 408, if there was no branch at all. It \
          returns at once.",
    returns: &[(1, "done"), (-1, "no INVITE, cancelled, or answered already")],
    example: "t_wait_for_new_branches();",
    run: |call| {
        let count = match call.int(0) {
            None => None,
            Some(n) => match u16::try_from(n) {
                Ok(n) if n > 0 => Some(n),
                _ => return Step::Fail(format!("{n} is no number of branches")),
            },
        };
        Step::Wait(Request::AwaitBranches { count })
    },
    finish: Some(code),
    ..T_NEWTRAN
};

/// `t_wait_no_more_branches`
pub const T_WAIT_NO_MORE_BRANCHES: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_wait_no_more_branches"),
    params: &[],
    routes: RouteSet::letters("RFOB"),
    doc: "Ends what t_wait_for_new_branches began: the transaction ends with the branches it has.",
    returns: &[(1, "done"), (-1, "no branches were waited for")],
    example: "t_wait_no_more_branches();",
    run: |_call| Step::Wait(Request::NoMoreBranches),
    ..T_WAIT_FOR_NEW_BRANCHES
};

/// `t_inject_branches`
pub const T_INJECT_BRANCHES: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_inject_branches"),
    params: &[Param::req("source", Kind::Str), Param::opt("flags", Kind::Str)],
    routes: RouteSet::letters("ROV"),
    waits: true,
    doc: "Adds branches to the transaction while it is under way. Source `msg`: the branches that were appended to \
          the message (not the R-URI); `event`: one, from $avp(uri), $avp(received), $avp(path), $avp(qval) and \
          $avp(bflags). Flags, comma-separated: cancel (the branches that are out are cancelled), last (no others will \
          come).",
    returns: &[(1, "at least one was sent"), (-1, "none was"), (-3, "the transaction had its end")],
    example: r#"t_inject_branches("msg", "last");"#,
    run: inject,
    ..T_WAIT_FOR_NEW_BRANCHES
};

fn inject(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let (mut cancel, mut last) = (false, false);
    for word in call.text(1).unwrap_or_default().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        match word {
            b"" => {}
            b"cancel" => cancel = true,
            b"last" => last = true,
            _ => return Step::Fail("\"cancel\" and \"last\" are the flags of t_inject_branches".to_string()),
        }
    }
    let targets = match call.text(0).as_deref() {
        Some(b"msg") => call.host.branches.take(),
        Some(b"event") => match event_target(call) {
            Some(target) => vec![target],
            None => return Step::Fail("$avp(uri) holds no valid URI".to_string()),
        },
        _ => return Step::Fail("\"msg\" or \"event\" is expected".to_string()),
    };
    if targets.is_empty() && !last && !cancel {
        return Step::Done(-1);
    }
    Step::Wait(Request::Inject { targets, cancel, last })
}

/// The branch that the attributes of an event about a contact describe.
fn event_target(call: &mut Call<'_, SipHost>) -> Option<Target> {
    let mut avp = |name: &[u8]| call.vm().avp(name).first().and_then(Value::to_text).filter(|t| !t.is_empty());
    let uri = avp(b"uri").filter(|u| Uri::parse(u).is_ok())?;
    Some(Target {
        uri,
        du: avp(b"received").filter(|u| Uri::parse(u).is_ok()),
        path: avp(b"path"),
        q: avp(b"qval").and_then(|q| q_of(&q)),
        flags: avp(b"bflags").map(|f| words(&f)).unwrap_or_default(),
        ..Target::default()
    })
}

fn words(text: &[u8]) -> Vec<Str> {
    text.split(|b| matches!(b, b' ' | b',')).filter(|w| !w.is_empty()).take(64).map(Str::from).collect()
}

/// Longest text that a script may add to all requests of a transaction.
const MOST_HEADERS: usize = 16_384;

/// `t_add_hdrs`
pub const T_ADD_HDRS: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_add_hdrs"),
    params: &[Param::req("headers", Kind::Str)],
    routes: RouteSet::letters("R"),
    waits: false,
    doc: "Adds header lines, each with its line end, to everything that is sent in this transaction from now on: the \
          requests of all branches, also of those that a failure route makes, ACKs and CANCELs.",
    returns: &[(1, "added"), (-1, "not header lines, or too many")],
    example: r#"t_add_hdrs("X-Route: a\r\n");"#,
    run: |call| {
        let Some(lines) = call.text(0).and_then(|t| header_lines(&t)) else { return Step::Done(-1) };
        let all = [&call.host.tm.headers[..], &lines[..]].concat();
        if all.len() > MOST_HEADERS {
            return Step::Done(-1);
        }
        call.host.tm.headers = Str::from(all);
        Step::Wait(Request::Settings)
    },
    ..T_WAIT_FOR_NEW_BRANCHES
};

/// `t_add_cancel_reason`
pub const T_ADD_CANCEL_REASON: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_add_cancel_reason"),
    params: &[Param::req("header", Kind::Str)],
    doc: "The CANCELs to the branches carry this header line; for the INVITE, or (before t_relay) for its CANCEL.",
    returns: &[(1, "set"), (-1, "not a header line")],
    example: r#"t_add_cancel_reason("Reason: SIP;cause=200;text=\"Call completed elsewhere\"");"#,
    run: |call| match call.text(0).and_then(|t| header_lines(&t)) {
        Some(lines) => {
            call.host.tm.cancel_reason = Some(Str::from(lines.trim_ascii_end()));
            Step::Wait(Request::Settings)
        }
        None => Step::Done(-1),
    },
    ..T_ADD_HDRS
};

/// Header lines with any line ends, as lines with CRLF; `None` if that is not what it is.
fn header_lines(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + 2);
    for line in text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end).filter(|l| !l.is_empty()) {
        let at = line.iter().position(|b| *b == b':')?;
        if !crate::sip::bytes::is_token(line[..at].trim_ascii()) || line.contains(&b'\r') {
            return None;
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    (!out.is_empty()).then_some(out)
}

const BY_CALLID: &[Param] = &[
    Param::req("code", Kind::Int),
    Param::req("reason", Kind::Str),
    Param::opt("callid", Kind::Str),
    Param::opt("cseq", Kind::Int),
];

/// `t_reply_by_callid`
pub const T_REPLY_BY_CALLID: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_reply_by_callid"),
    params: BY_CALLID,
    routes: RouteSet::letters("R"),
    doc: "Replies to another request that has no final reply yet: the one with this Call-ID (else with that of the \
          message in work) and CSeq number (else any).",
    returns: &[(1, "sent"), (-1, "there is no such request")],
    example: r#"t_reply_by_callid(480, "Gone", "$hdr(X-Other-Call)");"#,
    run: |call| by_callid(call, 2, 3),
    ..T_ADD_HDRS
};

fn by_callid(call: &mut Call<'_, SipHost>, call_id: usize, cseq: usize) -> Step<SipHost> {
    let id = call.text(call_id).filter(|t| !t.is_empty()).unwrap_or_else(|| Str::from(call.host.msg.call_id()));
    let cseq = call.int(cseq).and_then(|n| u32::try_from(n).ok());
    let (code, reason) = (call.int(0), call.text(1));
    match sl::checked(code, reason) {
        Ok(reply) => Step::Wait(Request::ReplyByCallId { reply, call_id: id, cseq }),
        Err(why) => Step::Fail(why),
    }
}

/// `t_reply_callid`
pub const T_REPLY_CALLID: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_reply_callid"),
    params: &[
        Param::req("callid", Kind::Str),
        Param::req("cseq", Kind::IntOrStr),
        Param::req("code", Kind::IntOrStr),
        Param::req("reason", Kind::Str),
    ],
    doc: "Replies to another request that has no final reply yet.",
    example: r#"t_reply_callid("$hdr(X-Other-Call)", "1", "480", "Gone");"#,
    run: |call| {
        let (code, reason) = (call.int(2), call.text(3));
        let (Some(call_id), cseq) = (call.text(0), call.int(1).and_then(|n| u32::try_from(n).ok())) else {
            return Step::Done(-1);
        };
        match sl::checked(code, reason) {
            Ok(reply) => {
                let reply: ReplyRequest = reply;
                Step::Wait(Request::ReplyByCallId { reply, call_id, cseq })
            }
            Err(why) => Step::Fail(why),
        }
    },
    ..T_REPLY_BY_CALLID
};

/// `t_cancel_callid`
pub const T_CANCEL_CALLID: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_cancel_callid"),
    params: &[
        Param::req("callid", Kind::Str),
        Param::req("cseq", Kind::IntOrStr),
        Param::opt("flag", Kind::Str),
        Param::opt("code", Kind::IntOrStr),
    ],
    doc: "Cancels another INVITE that has no final reply yet. Its routes are run as after a CANCEL of the caller.",
    returns: &[(1, "done"), (-1, "there is no such INVITE")],
    example: r#"t_cancel_callid("$hdr(X-Other-Call)", "1");"#,
    run: |call| match call.text(0) {
        Some(call_id) => {
            let cseq = call.int(1).and_then(|n| u32::try_from(n).ok());
            Step::Wait(Request::CancelByCallId { call_id, cseq })
        }
        None => Step::Done(-1),
    },
    ..T_REPLY_BY_CALLID
};

/// `t_get_branch_idx_by_attr`
pub const T_GET_BRANCH_IDX_BY_ATTR: FnSpec<SipHost> = FnSpec {
    opensips: Some("t_get_branch_idx_by_attr"),
    params: &[
        Param::req("attribute", Kind::Str),
        Param::opt("text", Kind::Str),
        Param::opt("number", Kind::Int),
        Param::opt("index", Kind::Out),
        Param::opt("offset", Kind::Int),
    ],
    routes: RouteSet::letters("FOB"),
    doc: "Looks for the branch of the transaction whose attribute ($msg.branch.attr) has this text or number, from \
          the branch `offset` on; its number goes into `index`.",
    returns: &[(1, "found"), (-1, "there is none")],
    example: r#"if (t_get_branch_idx_by_attr("site", "b", , $var(i))) xlog("branch $var(i)\n");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let wanted = match (call.text(1), call.int(2)) {
            (Some(text), _) => text,
            (None, Some(n)) => Str::from(n.to_string().as_str()),
            (None, None) => return Step::Fail("a text or a number to compare with is expected".to_string()),
        };
        let from = call.int(4).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let fits = |(_, b): &(usize, &crate::modules::host::BranchInfo)| {
            b.target.attrs.iter().any(|(n, v)| *n == name && *v == wanted)
        };
        let found = call.host.tm.branches.iter().enumerate().skip(from).find(fits).map(|(i, _)| i);
        match found {
            Some(i) => {
                call.assign(3, Value::Int(i as i64));
                Step::Done(1)
            }
            None => Step::Done(-1),
        }
    },
    ..T_ADD_HDRS
};
