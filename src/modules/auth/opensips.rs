//! `auth` of OpenSIPS (opensips.md section 4.12).

use super::challenge::{Wanted, send, sent};
use super::check::{self, Secret, Spend};
use super::{INT, OPENSIPS_CODES, STR, Side, Verdict, ignored, param, realm};
use crate::modules::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};
use crate::sip::digest::Qop;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "auth",
    dialects: &[Dialect::OpenSips],
    functions: &[WWW_CHALLENGE, PROXY_CHALLENGE, PV_WWW_AUTHORIZE, PV_PROXY_AUTHORIZE, CONSUME_CREDENTIALS],
    params: &[
        param("secret", STR, "what nonces are sealed with; default: drawn at the start, the same for all workers"),
        param("nonce_expire", INT, "seconds that a nonce is good for; default 30"),
        param("disable_nonce_check", INT, "1: a nonce may be used again until it expires; default 0: once"),
        param("calculate_ha1", INT, "1: password_spec holds passwords; default 0: hashes (HA1)"),
        param("username_spec", STR, "variable with the user name for pv_www_authorize and pv_proxy_authorize"),
        param("password_spec", STR, "variable with the password or hash for them"),
        param("realm_prefix", STR, "beginning of host names that is no part of a realm taken from them"),
        ignored("rpid_prefix", "Remote-Party-ID is not added"),
        ignored("rpid_suffix", "Remote-Party-ID is not added"),
        ignored("rpid_avp", "Remote-Party-ID is not added"),
    ],
    any_param: false,
    needs: &[],
};

const WWW_CHALLENGE: FnSpec<SipHost> = FnSpec {
    opensips: Some("www_challenge"),
    kamailio: None,
    params: &[Param::req("realm", Kind::Str), Param::opt("qop", Kind::Str), Param::opt("algorithms", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: false,
    doc: "Replies 401 with a challenge. An empty realm is the host of To. Qop: `auth`, `auth-int`, both with a comma between them; 2.2: `0` \
          or `1`. Algorithms with commas between them, the best first, each get a challenge of their own: MD5, SHA-256, SHA-512-256, also with \
          `-sess`; without them it is MD5.",
    returns: &[(1, "sent"), (-1, "not sent")],
    example: r#"if (!www_authorize("", "subscriber")) { www_challenge("", "auth"); exit; }"#,
    run: |call| ask(call, Side::Www),
    finish: Some(sent),
};

const PROXY_CHALLENGE: FnSpec<SipHost> = FnSpec {
    opensips: Some("proxy_challenge"),
    doc: "As www_challenge, with 407; an empty realm is the host of From.",
    example: r#"if (!proxy_authorize("", "subscriber")) { proxy_challenge("", "auth"); exit; }"#,
    run: |call| ask(call, Side::Proxy),
    ..WWW_CHALLENGE
};

fn ask(call: &mut Call<'_, SipHost>, side: Side) -> Step<SipHost> {
    let realm = realm(call, 0, side);
    let qop = match call.text(1).as_deref() {
        None | Some(b"0") => Some(Qop::None),
        Some(b"1") => Some(Qop::Auth),
        Some(list) => Qop::parse(list),
    };
    let Some(qop) = qop else {
        return Step::Fail("qop is \"auth\", \"auth-int\", or both with a comma between them".to_string());
    };
    if realm.is_empty() {
        return Step::Fail("there is no realm: neither an argument nor a host in the request".to_string());
    }
    let mut wanted = Wanted::new(call.host, side, realm, qop);
    if let Some(list) = call.text(2) {
        match super::settings::algorithms(&list) {
            Ok(list) => wanted.algorithms = list,
            Err(why) => return Step::Fail(why),
        }
    }
    send(call, &wanted)
}

const PV_WWW_AUTHORIZE: FnSpec<SipHost> = FnSpec {
    opensips: Some("pv_www_authorize"),
    params: &[Param::req("realm", Kind::Str)],
    doc: "Checks the Authorization header for this realm (empty: the host of To) against the variables of username_spec and password_spec.",
    returns: OPENSIPS_CODES,
    example: r#"if (!pv_www_authorize("example.com")) { www_challenge("example.com", "auth"); exit; }"#,
    run: |call| compare(call, Side::Www),
    finish: None,
    ..WWW_CHALLENGE
};

const PV_PROXY_AUTHORIZE: FnSpec<SipHost> = FnSpec {
    opensips: Some("pv_proxy_authorize"),
    doc: "As pv_www_authorize, for the Proxy-Authorization header; an empty realm is the host of From.",
    example: r#"if (!pv_proxy_authorize("example.com")) { proxy_challenge("example.com", "auth"); exit; }"#,
    run: |call| compare(call, Side::Proxy),
    ..PV_WWW_AUTHORIZE
};

fn compare(call: &mut Call<'_, SipHost>, side: Side) -> Step<SipHost> {
    let realm = realm(call, 0, side);
    let settings = call.host.env().settings.auth.clone();
    let (Some(username), Some(password)) = (&settings.username, &settings.password) else {
        return Step::Fail("auth needs the parameters `username_spec` and `password_spec` for this".to_string());
    };
    let verdict = match check::begin(call.host, side, &realm, Spend::First) {
        Err(verdict) => verdict,
        Ok(()) => {
            let (wanted, secret) = (call.expand(username), call.expand(password));
            let given = check::user(call.host, side, &realm);
            if secret == "<null>" || given.is_none_or(|(user, _)| user != wanted) {
                Verdict::UnknownUser
            } else {
                let secret = if settings.clear_text { Secret::Clear(&secret) } else { Secret::Ha1(&secret) };
                check::prove(call.host, side, &realm, secret, None, Spend::First)
            }
        }
    };
    Step::Done(verdict.code(Dialect::OpenSips))
}

const CONSUME_CREDENTIALS: FnSpec<SipHost> = FnSpec {
    opensips: Some("consume_credentials"),
    params: &[],
    doc: "Removes the header whose credentials a check has looked at: nobody behind this server needs to see it.",
    returns: &[(1, "removed"), (-1, "no check has found any")],
    example: "consume_credentials();",
    run: super::kamailio::consume,
    finish: None,
    ..WWW_CHALLENGE
};
