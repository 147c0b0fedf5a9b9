//! `jsonrpcs`: control methods in scripts (kamailio.md section 5.8). Main is asked as over the control socket; the script
//! waits, so every method may be used, also one that all workers answer. Its transports are `control_socket`.

use super::host::SipHost;
use super::request::{Outcome, Request};
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use serde::{Deserialize, Serialize};

/// Longest request, bytes.
const LONGEST: usize = 64 << 10;
/// Longest answer that is kept, bytes.
const KEPT: usize = 1 << 20;

/// What `$jsonrpl(...)` knows.
pub const KEYS: &[&str] = &["code", "text", "body"];

/// What the last `jsonrpc_exec` of a run was told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    code: i64,
    text: Str,
    body: Str,
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "jsonrpcs",
    dialects: &[Dialect::Kamailio],
    functions: &[EXEC],
    params: &[ModParamSpec {
        name: "pretty_format",
        kind: ModParamKind::Int,
        ignored: false,
        doc: "1 (default): `$jsonrpl(body)` has line ends and blanks for people; 0: it has none",
    }],
    // Transports: the socket is control_socket.
    any_param: true,
    needs: &[],
};

const EXEC: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("jsonrpc_exec"),
    params: &[Param::req("request", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Carries out a method of the control socket; the argument is a JSON-RPC request. The script waits for the answer, at \
          most for async_timeout. `$jsonrpl(code)` is 200, or 500 for an error, `$jsonrpl(text)` the phrase of it, and \
          `$jsonrpl(body)` the whole response.",
    returns: &[(1, "there is an answer, also one that is an error"), (-1, "there is none, or the request is too long")],
    example: r#"jsonrpc_exec('{"jsonrpc": "2.0", "method": "core.uptime", "id": 1}');"#,
    run: |call| {
        call.host.rare.told = None;
        let text = call.text(0).unwrap_or_default();
        if text.len() > LONGEST {
            return Step::Fail(format!("a request of more than {LONGEST} bytes"));
        }
        Step::Wait(Request::Control { text })
    },
    finish: Some(|call, outcome| {
        let Outcome::Told(text) = outcome else { return Step::Done(-1) };
        let pretty = call.host.env().settings.pretty_answers;
        call.host.rare.told = Some(Box::new(told(&text, pretty)));
        Step::Done(1)
    }),
};

/// Takes a response apart.
fn told(text: &[u8], pretty: bool) -> Told {
    let response: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let (code, phrase) = match response.get("error") {
        Some(error) => (500, error.get("message").and_then(|m| m.as_str()).unwrap_or("Error").to_string()),
        None => (200, "OK".to_string()),
    };
    let body = if pretty { serde_json::to_string_pretty(&response).ok() } else { None };
    let body = body.map_or_else(|| Str::from(text), Str::from);
    if body.len() > KEPT {
        let text = Str::from(format!("the answer has more than {KEPT} bytes"));
        return Told { code: 500, text, body: Str::default() };
    }
    Told { code, text: Str::from(phrase), body }
}

/// Reads `$jsonrpl(...)`.
pub fn get(h: &SipHost, name: &[u8]) -> Value {
    let Some(told) = &h.rare.told else { return Value::Null };
    match name {
        b"code" => Value::Int(told.code),
        b"text" => Value::Str(told.text.clone()),
        b"body" => Value::Str(told.body.clone()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_taken_apart() {
        let ok = told(br#"{"jsonrpc":"2.0","id":1,"result":[1]}"#, false);
        assert_eq!((ok.code, ok.text.to_string().as_str()), (200, "OK"));
        assert_eq!(ok.body.to_string(), r#"{"jsonrpc":"2.0","id":1,"result":[1]}"#);
        let bad = told(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method: x"}}"#, true);
        assert_eq!((bad.code, bad.text.to_string().as_str()), (500, "no such method: x"));
        assert!(bad.body.to_string().contains("\n  \"error\""), "{}", bad.body);
        let large = told(format!(r#"{{"result":"{}"}}"#, "x".repeat(KEPT)).as_bytes(), false);
        assert_eq!((large.code, large.body.len()), (500, 0));
    }
}
