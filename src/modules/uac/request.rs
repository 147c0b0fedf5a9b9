//! `uac_req_send`: a request of the server's own, put together in `$uac_req(...)`.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::Request;
use crate::script::host::SetError;
use crate::script::registry::{FnSpec, RouteSet, Step};
use crate::script::value::Value;
use serde::{Deserialize, Serialize};

/// Names of the fields that a script sets.
const FIELDS: [&str; 19] = [
    "method", "ruri", "furi", "ftag", "turi", "ttag", "callid", "cseqno", "hdrs", "body", "ouri", "sock", "auser",
    "apasswd", "evroute", "evparam", "flags", "evcode", "evtype",
];

/// Most bytes of all fields.
const MOST: usize = 64 * 1024;

/// A request that is being put together; in `event_route[uac:reply]` the one that was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    fields: Vec<(Str, Value)>,
}

impl Draft {
    /// A field.
    pub fn get(&self, name: &[u8]) -> Value {
        self.fields.iter().find(|(n, _)| **n == *name).map_or(Value::Null, |(_, v)| v.clone())
    }

    /// The text of a field, if it has one.
    pub fn text(&self, name: &str) -> Option<Str> {
        self.get(name.as_bytes()).to_text().filter(|t| !t.is_empty())
    }

    /// Sets a field; NULL removes it.
    pub fn put(&mut self, name: &str, value: Value) {
        self.fields.retain(|(n, _)| **n != *name.as_bytes());
        if !value.is_null() {
            self.fields.push((Str::from(name), value));
        }
    }

    /// The user for a challenge that its answer may bring.
    pub fn login(&self) -> Option<super::auth::Login> {
        let (user, password) = (self.text("auser")?, self.text("apasswd")?);
        Some(super::auth::Login { realm: None, user, password })
    }

    fn size(&self) -> usize {
        self.fields.iter().map(|(_, v)| v.to_text().map_or(0, |t| t.len())).sum()
    }
}

/// Reads `$uac_req(name)`.
pub fn get(h: &SipHost, sub: Option<&Value>) -> Value {
    let name = sub.and_then(Value::to_text).unwrap_or_default();
    h.rare.uac.as_ref().map_or(Value::Null, |draft| draft.get(&name))
}

/// Sets `$uac_req(name)`; `$uac_req(all) = $null` empties all.
pub fn set(h: &mut SipHost, sub: Option<&Value>, value: Value) -> Result<(), SetError> {
    let name = sub.and_then(Value::to_text).unwrap_or_default();
    if name[..] == *b"all" {
        if !value.is_null() {
            return Err(SetError::BadValue("`all` takes only $null"));
        }
        h.rare.uac = None;
        return Ok(());
    }
    let field = FIELDS.iter().find(|f| name[..] == *f.as_bytes());
    let Some(field) = field else { return Err(SetError::BadValue("$uac_req has no such field")) };
    if matches!(*field, "evcode" | "evtype") {
        return Err(SetError::ReadOnly);
    }
    let mut draft = h.rare.uac.take().unwrap_or_default();
    draft.put(field, value);
    let fits = draft.size() <= MOST;
    h.rare.uac = Some(draft);
    if fits { Ok(()) } else { Err(SetError::BadValue("the request is too large")) }
}

/// `uac_req_send`
pub const UAC_REQ_SEND: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("uac_req_send"),
    params: &[],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Sends the request that was put together in `$uac_req(...)`: method, ruri, furi and turi, and if they are wanted \
          ftag, ttag, callid, cseqno, hdrs (lines of headers), body, ouri (the next hop), sock. With `evroute` 1, \
          `event_route[uac:reply]` runs with the final reply: `$uac_req(evcode)` is its status, `$uac_req(evtype)` 1 \
          if it came and 2 if none did; `evparam` is there again. With `auser` and `apasswd` (with `flags` 1 the hash of \
          user, realm and password) a 401 or 407 is answered once; the event route hears of both replies.",
    returns: &[(1, "it is on its way"), (-1, "something is missing or not valid")],
    example: r#"uac_req_send();"#,
    run: |call| {
        let Some(draft) = call.host.rare.uac.clone() else { return Step::Fail("$uac_req(...) is empty".to_string()) };
        for name in ["method", "ruri", "furi", "turi"] {
            if draft.text(name).is_none() {
                return Step::Fail(format!("$uac_req({name}) is not set"));
            }
        }
        Step::Wait(Request::UacSend { draft })
    },
    finish: Some(|_call, outcome| Step::Done(outcome.code())),
};
