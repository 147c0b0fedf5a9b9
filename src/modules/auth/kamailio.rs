//! `auth` of Kamailio (kamailio.md section 5.5).

use super::challenge::{Wanted, send, sent};
use super::check::{self, Address, Secret, Spend};
use super::{INT, KAMAILIO_CODES, Kept, STR, Side, Verdict, ignored, param};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::request::{ReplyRequest, Request};
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::digest::{Algorithm, Qop};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "auth",
    dialects: &[Dialect::Kamailio],
    functions: &[
        CONSUME_CREDENTIALS,
        HAS_CREDENTIALS,
        WWW_CHALLENGE,
        PROXY_CHALLENGE,
        AUTH_CHALLENGE,
        PV_WWW_AUTHENTICATE,
        PV_PROXY_AUTHENTICATE,
        PV_WWW_AUTHORIZE,
        PV_PROXY_AUTHORIZE,
        PV_AUTH_CHECK,
        AUTH_GET_WWW_AUTHENTICATE,
        AUTH_ALGORITHM,
    ],
    params: &[
        param(
            "auth_checks_register",
            INT,
            "what the nonce of a REGISTER is bound to: 1 R-URI, 2 Call-ID, 4 tag of From, 8 source address; default 0",
        ),
        param("auth_checks_no_dlg", INT, "the same for other requests without a tag in To"),
        param("auth_checks_in_dlg", INT, "the same for requests within a dialog"),
        param(
            "qop",
            STR,
            "`auth`, `auth-int`, both with a comma between them, or empty (the default): what challenges ask for unless their flags say more",
        ),
        param("nonce_count", INT, "1: the client's count of a nonce must grow (needs qop); default 0"),
        param("one_time_nonce", INT, "1: a nonce may be used once; default 0"),
        param(
            "nc_array_size",
            INT,
            "nonces that nonce_count and one_time_nonce remember, from 1024 to 16777216; default 1048576",
        ),
        param("nc_array_order", INT, "the same as a power of two"),
        param("otn_in_flight_no", INT, "the same"),
        param("otn_in_flight_order", INT, "the same as a power of two"),
        ignored("nid_pool_no", "processes do not share nonces out"),
        param("secret", STR, "what nonces are sealed with; default: drawn at the start, the same for all workers"),
        param("nonce_expire", INT, "seconds that a nonce is good for; default 300"),
        param("nonce_auth_max_drift", INT, "seconds that a nonce may come from the future; default 3"),
        param("www_challenge_header", STR, "header with the challenge of a 401; default WWW-Authenticate"),
        param("proxy_challenge_header", STR, "header with the challenge of a 407; default Proxy-Authenticate"),
        param("force_stateless_reply", INT, "1: challenges are sent without a transaction"),
        param("realm_prefix", STR, "beginning of host names that does not count when they are compared with the realm"),
        param("use_domain", INT, "1: pv_auth_check compares hosts with the realm, too; default 0"),
        param(
            "algorithm",
            STR,
            "MD5, SHA-256, SHA-512-256, each also with -sess, or several with commas between them; default: MD5, without naming it",
        ),
        param("challenge_attr", STR, "the AVP that checks put challenges into; default $avp(digest_challenge)"),
        ignored("protect_contacts", "what a nonce is bound to auth_checks_* say"),
        param("add_authinfo_hdr", INT, "only 0"),
    ],
    any_param: false,
    needs: &[],
};

const REALM: Param = Param::req("realm", Kind::Str);
const FLAGS: Param = Param::req("flags", Kind::Int);
const ROUTES: RouteSet = RouteSet::letters("R");

const CONSUME_CREDENTIALS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("consume_credentials"),
    params: &[],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Removes the header whose credentials a check has looked at: nobody behind this server needs to see it.",
    returns: &[(1, "removed"), (-1, "no check has found any")],
    example: "consume_credentials();",
    run: consume,
    finish: None,
};

/// Removes the header with the credentials.
pub(super) fn consume(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let start = call.host.auth.as_mut().and_then(|kept| kept.found.take());
    let Some(start) = start else { return Step::Done(-1) };
    let SipHost { msg, edits, .. } = &mut *call.host;
    match msg.headers().find(|header| header.start == start) {
        Some(header) => {
            edits.remove_header(&header);
            Step::Done(1)
        }
        None => Step::Done(-1),
    }
}

const HAS_CREDENTIALS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("has_credentials"),
    params: &[REALM],
    routes: RouteSet::ALL,
    doc: "Whether the request has an Authorization or Proxy-Authorization header for this realm.",
    returns: &[(1, "it has"), (-1, "it has not")],
    example: r#"if (!has_credentials("$fd")) auth_challenge("$fd", "0");"#,
    run: |call| {
        let realm = call.text(0).unwrap_or_default();
        Step::Done(if check::has(call.host, &realm) { 1 } else { -1 })
    },
    ..CONSUME_CREDENTIALS
};

const WWW_CHALLENGE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("www_challenge"),
    params: &[REALM, FLAGS, Param::opt("algorithms", Kind::Str)],
    routes: RouteSet::letters("RFO"),
    doc: "Replies 401 with a challenge. Flags, added up: 1 qop=auth, 2 qop=auth-int, 4 no 500 if that cannot be \
          done, 16 stale=true (by itself after a check that found the nonce too old). Algorithms with commas between them, the \
          best first, each get a challenge of their own; without them the parameter `algorithm` holds. The reply leaves through the \
          transaction if there is one.",
    returns: &[(1, "sent"), (-1, "not sent, or an argument is wrong")],
    example: r#"if (!www_authenticate("$td", "subscriber")) { www_challenge("$td", "1"); exit; }"#,
    run: |call| ask(call, Side::Www),
    finish: Some(sent),
    ..CONSUME_CREDENTIALS
};

const PROXY_CHALLENGE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("proxy_challenge"),
    doc: "As www_challenge, with 407.",
    example: r#"if (!proxy_authenticate("$fd", "subscriber")) { proxy_challenge("$fd", "1"); exit; }"#,
    run: |call| ask(call, Side::Proxy),
    ..WWW_CHALLENGE
};

const AUTH_CHALLENGE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("auth_challenge"),
    doc: "www_challenge for a REGISTER, proxy_challenge for any other request.",
    example: r#"if (!auth_check("$fd", "subscriber", "1")) { auth_challenge("$fd", "0"); exit; }"#,
    run: |call| {
        let side = Side::of(&call.host.msg);
        ask(call, side)
    },
    ..WWW_CHALLENGE
};

/// What flags ask for; the parameter `qop` without any.
fn qop(call: &Call<'_, SipHost>, auth: bool, auth_int: bool) -> Qop {
    match (auth, auth_int) {
        (true, true) => Qop::Both,
        (true, false) => Qop::Auth,
        (false, true) => Qop::AuthInt,
        (false, false) => call.host.env().settings.auth.qop,
    }
}

fn ask(call: &mut Call<'_, SipHost>, side: Side) -> Step<SipHost> {
    let realm = call.text(0).unwrap_or_default();
    let flags = call.int(1).unwrap_or(0);
    let chosen = call.text(2).map(|list| super::settings::algorithms(&list)).transpose();
    let wrong = match &chosen {
        _ if realm.is_empty() => Some("the realm is empty".to_string()),
        Err(why) => Some(why.clone()),
        Ok(_) => None,
    };
    if let Some(why) = wrong {
        log_line(call.host, -1, &format!("auth: no challenge: {why}"));
        if flags & 4 != 0 || call.host.msg.method() == crate::sip::Method::Ack {
            return Step::Done(-1);
        }
        call.state.step = 1;
        let reply = ReplyRequest { code: 500, reason: Str::from("Internal Server Error"), body: None };
        return Step::Wait(Request::AnyReply(reply));
    }
    let mut wanted = Wanted::new(call.host, side, realm, qop(call, flags & 1 != 0, flags & 2 != 0));
    wanted.stale |= flags & 16 != 0;
    if let Ok(Some(list)) = chosen
        && !list.is_empty()
    {
        wanted.algorithms = list;
    }
    send(call, &wanted)
}

const PV_WWW_AUTHENTICATE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_www_authenticate"),
    params: &[REALM, Param::req("password", Kind::Str), FLAGS, Param::opt("method", Kind::Str)],
    doc: "Checks the Authorization header for this realm against a password. Flags, added up: 1 the password is a \
          hash (HA1); 2, 4, 8 where it fails, a challenge without qop, with auth, with auth-int is put into `$avp(digest_challenge)` \
          (parameter challenge_attr), for append_to_reply; 16 that one says stale=true; 32 a nonce is spent only if the password is right. Method: another \
          one than the request's.",
    returns: KAMAILIO_CODES,
    example: r#"if (!pv_www_authenticate("$td", "123abc", "0")) { www_challenge("$td", "1"); exit; }"#,
    run: |call| compare(call, Side::Www),
    ..CONSUME_CREDENTIALS
};

const PV_PROXY_AUTHENTICATE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_proxy_authenticate"),
    doc: "As pv_www_authenticate, for the Proxy-Authorization header.",
    example: r#"if (!pv_proxy_authenticate("$fd", "$avp(password)", "0")) { proxy_challenge("$fd", "1"); exit; }"#,
    run: |call| compare(call, Side::Proxy),
    ..PV_WWW_AUTHENTICATE
};

const PV_WWW_AUTHORIZE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_www_authorize"),
    params: &[REALM, Param::req("password", Kind::Str), FLAGS],
    doc: "The same as pv_www_authenticate.",
    example: r#"if (!pv_www_authorize("$td", "123abc", "0")) { www_challenge("$td", "1"); exit; }"#,
    ..PV_WWW_AUTHENTICATE
};

const PV_PROXY_AUTHORIZE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_proxy_authorize"),
    params: &[REALM, Param::req("password", Kind::Str), FLAGS],
    doc: "The same as pv_proxy_authenticate.",
    example: r#"if (!pv_proxy_authorize("$fd", "$avp(password)", "0")) { proxy_challenge("$fd", "1"); exit; }"#,
    ..PV_PROXY_AUTHENTICATE
};

const PV_AUTH_CHECK: FnSpec<SipHost> = FnSpec {
    kamailio: Some("pv_auth_check"),
    params: &[REALM, Param::req("password", Kind::Str), FLAGS, Param::req("checks", Kind::Int)],
    doc: "pv_www_authenticate for a REGISTER, pv_proxy_authenticate for any other request. Checks 1: the user of To (REGISTER) or \
          From must be that of the credentials; with the parameter use_domain its host must be the realm.",
    example: r#"if (!pv_auth_check("$fd", "$avp(password)", "0", "1")) { auth_challenge("$fd", "1"); exit; }"#,
    run: |call| {
        let side = Side::of(&call.host.msg);
        let step = compare(call, side);
        match step {
            Step::Done(1) if call.int(3).unwrap_or(0) & 1 != 0 => identity(call, side),
            step => step,
        }
    },
    ..PV_WWW_AUTHENTICATE
};

fn compare(call: &mut Call<'_, SipHost>, side: Side) -> Step<SipHost> {
    let (realm, password) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    let flags = call.int(2).unwrap_or(0);
    let spend = if flags & 32 != 0 { Spend::OnSuccess } else { Spend::First };
    // pv_auth_check has a number in its place.
    let method = call.text(3).filter(|m| m.first().is_some_and(u8::is_ascii_alphabetic));
    let verdict = match check::begin(call.host, side, &realm, spend) {
        Err(verdict) => verdict,
        Ok(()) if password.is_empty() => {
            log_line(call.host, -1, "auth: the password is empty");
            Verdict::Error
        }
        Ok(()) => {
            let secret = if flags & 1 != 0 { Secret::Ha1(&password) } else { Secret::Clear(&password) };
            check::prove(call.host, side, &realm, secret, method.as_deref(), spend)
        }
    };
    let wanted = match flags & 14 {
        0 => None,
        bits if bits & 8 != 0 => Some(if bits & 4 != 0 { Qop::Both } else { Qop::AuthInt }),
        bits if bits & 4 != 0 => Some(Qop::Auth),
        _ => Some(Qop::None),
    };
    if let Some(qop) = wanted.filter(|_| verdict != Verdict::Accepted && !realm.is_empty()) {
        let mut wanted = Wanted::new(call.host, side, realm, qop);
        wanted.stale |= flags & 16 != 0;
        let lines = wanted.lines(call.host);
        let avp = call.host.env().settings.auth.challenge_avp.clone();
        call.vm().clear_avp(&avp);
        call.vm().push_avp(&avp, Value::text(lines));
    }
    Step::Done(verdict.code(Dialect::Kamailio))
}

/// Whether the credentials are those of who the request says it is from.
fn identity(call: &mut Call<'_, SipHost>, side: Side) -> Step<SipHost> {
    let realm = call.text(0).unwrap_or_default();
    let Some((user, _)) = check::user(call.host, side, &realm) else { return Step::Done(1) };
    let address = if side == Side::Www { Address::To } else { Address::From };
    let settings = &call.host.env().settings.auth;
    let same_host = || {
        let host = address.host(&call.host.msg);
        settings.without_prefix(&host).eq_ignore_ascii_case(settings.without_prefix(&realm))
    };
    let own = check::is_user(&call.host.msg, &user, &[address]) && (!settings.use_domain || same_host());
    let verdict = if own { Verdict::Accepted } else { Verdict::OtherUser };
    Step::Done(verdict.code(Dialect::Kamailio))
}

const AUTH_GET_WWW_AUTHENTICATE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("auth_get_www_authenticate"),
    params: &[REALM, FLAGS, Param::req("variable", Kind::Out)],
    routes: RouteSet::ALL,
    doc: "Puts a WWW-Authenticate header line with a challenge into a variable, for append_to_reply. Flags, added up: 1 qop=auth, 2 qop=auth-int, 16 \
          stale=true.",
    returns: &[(1, "done"), (-1, "the realm is empty")],
    example: r#"auth_get_www_authenticate("$fd", "1", "$var(challenge)");"#,
    run: |call| {
        let (realm, flags) = (call.text(0).unwrap_or_default(), call.int(1).unwrap_or(0));
        if realm.is_empty() {
            return Step::Done(-1);
        }
        let mut wanted = Wanted::new(call.host, Side::Www, realm, qop(call, flags & 1 != 0, flags & 2 != 0));
        wanted.stale |= flags & 16 != 0;
        let lines = wanted.lines(call.host);
        call.assign(2, Value::text(lines));
        Step::Done(1)
    },
    ..CONSUME_CREDENTIALS
};

const AUTH_ALGORITHM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("auth_algorithm"),
    params: &[Param::req("algorithm", Kind::Str)],
    routes: RouteSet::ALL,
    doc: "The challenges of this run offer this algorithm instead of the one of the parameter `algorithm`.",
    returns: &[(1, "done"), (-1, "there is no such algorithm")],
    example: r#"auth_algorithm("SHA-256");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let Some(algorithm) = Algorithm::parse(&name) else { return Step::Done(-1) };
        let kept: &mut Kept = call.host.auth.get_or_insert_default();
        kept.algorithm = Some(Str::from(algorithm.name()));
        Step::Done(1)
    },
    ..CONSUME_CREDENTIALS
};
