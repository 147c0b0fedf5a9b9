//! `sanity` of Kamailio: checks that a script asks for, and the replies to what fails them. The
//! checks themselves are those of [`crate::sip::check`].

use super::host::SipHost;
use super::request::{Outcome, ReplyRequest, Request};
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::check::{Checks, Policy, UriChecks, check, parts};
use crate::sip::reply::may_answer;
use serde::{Deserialize, Serialize};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "sanity",
    dialects: &[Dialect::Kamailio],
    functions: &[SANITY_CHECK, SANITY_REPLY],
    params: &[
        ModParamSpec {
            name: "default_checks",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "sum of the checks that sanity_check makes without an argument; default 3047",
        },
        ModParamSpec {
            name: "uri_checks",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "sum of the URIs that check 1024 reads; default 7",
        },
        ModParamSpec {
            name: "proxy_require",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "extensions that check 512 lets pass, separated by commas; default: none",
        },
        ModParamSpec {
            name: "autodrop",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1 (default): the script ends when a check fails; 0: sanity_check returns -1",
        },
        ModParamSpec {
            name: "noreply",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: nothing is answered before sanity_reply is called; default 0",
        },
    ],
    any_param: false,
    needs: &["sl"],
};

/// The module's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `default_checks`
    pub checks: u32,
    /// `uri_checks`
    pub uris: u32,
    /// `proxy_require`
    pub extensions: Vec<Str>,
    /// `autodrop`
    pub autodrop: bool,
    /// `noreply`
    pub noreply: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { checks: 3047, uris: 7, extensions: Vec::new(), autodrop: true, noreply: false }
    }
}

impl Settings {
    /// Takes over a module parameter; says whether there is one of this name.
    pub fn set(&mut self, param: &str, value: &Value) -> bool {
        let int = || value.to_int().unwrap_or_default();
        match param {
            "default_checks" => self.checks = u32::try_from(int()).unwrap_or_default(),
            "uri_checks" => self.uris = u32::try_from(int()).unwrap_or_default(),
            "proxy_require" => {
                let text = value.to_text().unwrap_or_default();
                let tokens = text.split(|b| *b == b',').map(<[u8]>::trim_ascii);
                self.extensions = tokens.filter(|t| !t.is_empty()).map(Str::from).collect();
            }
            "autodrop" => self.autodrop = int() != 0,
            "noreply" => self.noreply = int() != 0,
            _ => return false,
        }
        true
    }
}

/// The answer to a request that failed a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Status code.
    pub code: u16,
    /// Reason phrase.
    pub reason: Str,
    /// Further header lines, with their CRLF.
    pub headers: Vec<u8>,
    /// It was sent.
    pub sent: bool,
}

/// Bits that scripts can ask for.
const KNOWN: u32 = (1 << 17) - 1;

const SANITY_CHECK: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("sanity_check"),
    params: &[
        Param::opt("msg_checks", Kind::Int),
        Param::opt("uri_checks", Kind::Int),
        Param::opt("noreply", Kind::Int),
    ],
    variadic: false,
    routes: RouteSet::letters("RO"),
    waits: false,
    doc: "Makes the checks whose numbers add up to msg_checks, and answers the request that fails one (not an ACK, not \
          with noreply 1). 1 the version, 2 scheme sip, sips, tel or tels (416), 4 Via, From, To, Call-ID and CSeq \
          are there, 32 method in CSeq, 64 number in CSeq, 128 Content-Length, 256 Expires, 512 Proxy-Require \
          (420), 1024 the URIs that uri_checks names (1 R-URI, 2 From, 4 To, 8 Contact), 2048 complete digest \
          credentials only, 4096 at most one tag in From and To, 8192 digest credentials are complete, 16384 top \
          Via, 32768 single headers stand once, Max-Forwards, Contact, Route and Record-Route can be read, 65536 R-URI \
          of at most 2048 bytes (414), header values of at most 8192. 8 and 16 check nothing. What the server checks \
          by itself never fails here.",
    returns: &[(1, "nothing was found"), (0, "a check failed: the script ends (autodrop=1)"), (-1, "a check failed")],
    example: r#"if (!sanity_check("17895", "7")) { xlog("malformed message\n"); exit; }"#,
    run: |call| {
        let settings = &call.host.env.settings.sanity;
        let number = |given: Option<i64>, default: u32| match given {
            None => Ok(default),
            Some(n) => u32::try_from(n).map_err(|_| n),
        };
        let (checks, uris) = match (number(call.int(0), settings.checks), number(call.int(1), settings.uris)) {
            (Ok(checks), Ok(uris)) => (checks & KNOWN, uris),
            (Err(n), _) | (_, Err(n)) => return Step::Fail(format!("{n} is no sum of checks")),
        };
        let noreply = call.int(2).map_or(settings.noreply, |n| n != 0);
        let policy = Policy { checks: Checks(checks), uris: UriChecks(uris), extensions: &settings.extensions };
        let msg = &call.host.msg;
        let Err(fault) = check(msg, &policy) else {
            call.host.refusal = None;
            return Step::Done(1);
        };
        let mut headers = Vec::new();
        if fault.status == 420 {
            // RFC 3261 8.2.2.3
            let list: Vec<&[u8]> = parts::unsupported(msg, &settings.extensions).collect();
            headers = [b"Unsupported: ", list.join(&b", "[..]).as_slice(), b"\r\n"].concat();
        }
        let refusal = Refusal { code: fault.status, reason: Str::from(fault.reason), headers, sent: false };
        call.host.refusal = Some(Box::new(refusal));
        if noreply || call.host.phony || !may_answer(&call.host.msg) {
            return Step::Done(verdict(call));
        }
        reply(call)
    },
    finish: Some(|call, outcome| {
        answered(call, &outcome);
        Step::Done(verdict(call))
    }),
};

const SANITY_REPLY: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("sanity_reply"),
    params: &[],
    variadic: false,
    routes: RouteSet::letters("RO"),
    waits: false,
    doc: "Sends the answer to what sanity_check has found, if that has not done so (noreply).",
    returns: &[(1, "sent, now or before"), (-1, "not sent, or nothing was found")],
    example: r#"if (!sanity_check("1024", "6", 1)) { sanity_reply(); exit; }"#,
    run: |call| match &call.host.refusal {
        Some(refusal) if refusal.sent => Step::Done(1),
        Some(_) if may_answer(&call.host.msg) => reply(call),
        _ => Step::Done(-1),
    },
    finish: Some(|call, outcome| {
        answered(call, &outcome);
        Step::Done(outcome.code())
    }),
};

/// What a failed check returns.
fn verdict(call: &Call<'_, SipHost>) -> i32 {
    if call.host.env().settings.sanity.autodrop { 0 } else { -1 }
}

/// Asks the worker for the reply. Its headers stand behind those of the script until it is sent.
fn reply(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let Some(refusal) = call.host.refusal.as_deref() else { return Step::Done(-1) };
    let request = ReplyRequest { code: refusal.code, reason: refusal.reason.clone(), body: None };
    let headers = refusal.headers.clone();
    call.state.data = vec![Value::Int(call.host.reply_headers.len() as i64)];
    call.host.reply_headers.extend_from_slice(&headers);
    Step::Wait(Request::AnyReply(request))
}

fn answered(call: &mut Call<'_, SipHost>, outcome: &Outcome) {
    let before = call.state.data.first().and_then(Value::to_int).and_then(|n| usize::try_from(n).ok());
    call.host.reply_headers.truncate(before.unwrap_or_default());
    if let Some(refusal) = call.host.refusal.as_deref_mut() {
        refusal.sent = outcome.code() > 0;
    }
}

#[cfg(test)]
mod tests;
