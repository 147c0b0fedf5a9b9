//! JSON-RPC 2.0 messages (jsonrpc.org/specification): reading requests, writing responses.

use serde_json::{Map, Value, json};
use std::fmt;

/// Requests in one batch.
pub const MAX_BATCH: usize = 64;

/// Why a request fails (specification section 5.1).
#[derive(Clone, PartialEq, Debug)]
pub struct RpcError {
    /// Code; -32768 to -32000 are the protocol's.
    pub code: i32,
    /// One sentence.
    pub message: String,
}

impl RpcError {
    /// Any error.
    pub fn new(code: i32, message: impl Into<String>) -> RpcError {
        RpcError { code, message: message.into() }
    }
    /// -32700: not JSON.
    pub fn parse(message: impl Into<String>) -> RpcError {
        RpcError::new(-32700, message)
    }
    /// -32600: JSON, but no request.
    pub fn invalid(message: impl Into<String>) -> RpcError {
        RpcError::new(-32600, message)
    }
    /// -32601: no such method.
    pub fn no_method(method: &str) -> RpcError {
        RpcError::new(-32601, format!("no such method: {method}"))
    }
    /// -32602: the parameters do not fit.
    pub fn bad_params(message: impl Into<String>) -> RpcError {
        RpcError::new(-32602, message)
    }
    /// -32000: the server could not do it.
    pub fn failed(message: impl Into<String>) -> RpcError {
        RpcError::new(-32000, message)
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// A request to be answered; without an `id` it is a notification and gets no answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// To be repeated in the response.
    pub id: Option<Value>,
    /// What to do.
    pub method: String,
    /// An array, an object, or null when absent.
    pub params: Value,
}

impl Request {
    /// The parameter at `position` of an array, or called `name` in an object.
    pub fn param(&self, position: usize, name: &str) -> Option<&Value> {
        match &self.params {
            Value::Array(a) => a.get(position),
            Value::Object(o) => o.get(name),
            _ => None,
        }
    }
}

/// A request, or the id and error to answer with.
pub type Read = Result<Request, (Value, RpcError)>;

/// What one line holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// One request.
    One(Read),
    /// Several, answered together.
    Batch(Vec<Read>),
}

/// Reads one line.
pub fn parse(line: &[u8]) -> Message {
    match serde_json::from_slice::<Value>(line) {
        Err(e) => Message::One(Err((Value::Null, RpcError::parse(format!("not JSON: {e}"))))),
        Ok(Value::Array(all)) if all.is_empty() => {
            Message::One(Err((Value::Null, RpcError::invalid("an empty batch"))))
        }
        Ok(Value::Array(all)) if all.len() > MAX_BATCH => {
            let message = format!("more than {MAX_BATCH} requests in a batch");
            Message::One(Err((Value::Null, RpcError::invalid(message))))
        }
        Ok(Value::Array(all)) => Message::Batch(all.into_iter().map(request).collect()),
        Ok(one) => Message::One(request(one)),
    }
}

fn request(value: Value) -> Read {
    let Value::Object(mut o) = value else {
        return Err((Value::Null, RpcError::invalid("a request is an object")));
    };
    let id = o.remove("id");
    let told = match &id {
        Some(id @ (Value::String(_) | Value::Number(_) | Value::Null)) => id.clone(),
        Some(_) => return Err((Value::Null, RpcError::invalid("id must be a string, a number or null"))),
        None => Value::Null,
    };
    if o.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err((told, RpcError::invalid("\"jsonrpc\" must be \"2.0\"")));
    }
    let Some(Value::String(method)) = o.remove("method") else {
        return Err((told, RpcError::invalid("\"method\" must be a string")));
    };
    let params = o.remove("params").unwrap_or(Value::Null);
    if !matches!(params, Value::Null | Value::Array(_) | Value::Object(_)) {
        return Err((told, RpcError::invalid("\"params\" must be an array or an object")));
    }
    Ok(Request { id, method, params })
}

/// The response to the request `id`.
pub fn response(id: &Value, result: Result<Value, RpcError>) -> Value {
    let mut o = Map::new();
    o.insert("jsonrpc".into(), "2.0".into());
    o.insert("id".into(), id.clone());
    match result {
        Ok(value) => o.insert("result".into(), value),
        Err(e) => o.insert("error".into(), json!({ "code": e.code, "message": e.message })),
    };
    Value::Object(o)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> i32 {
        match parse(line.as_bytes()) {
            Message::One(Err((_, e))) => e.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_have_their_codes() {
        assert_eq!(code("{"), -32700);
        assert_eq!(code("\u{1}"), -32700);
        assert_eq!(code(&"[".repeat(100_000)), -32700);
        assert_eq!(code("[]"), -32600);
        assert_eq!(code("7"), -32600);
        assert_eq!(code(r#"{"method":"ps","id":1}"#), -32600);
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1}"#), -32600);
        assert_eq!(code(r#"{"jsonrpc":"2.0","method":"ps","id":{}}"#), -32600);
        assert_eq!(code(r#"{"jsonrpc":"2.0","method":"ps","params":3,"id":1}"#), -32600);
        assert_eq!(code(&format!("[{}1]", "1,".repeat(MAX_BATCH))), -32600);
    }

    #[test]
    fn requests_and_responses() {
        let Message::One(Ok(r)) = parse(br#"{"jsonrpc":"2.0","method":"stats","params":["core:"],"id":"a"}"#) else {
            panic!()
        };
        assert_eq!((r.method.as_str(), r.param(0, "filter")), ("stats", Some(&json!("core:"))));
        assert_eq!(r.param(1, "x"), None);
        let ok = response(&json!("a"), Ok(json!([1])));
        assert_eq!(ok, json!({"jsonrpc":"2.0","id":"a","result":[1]}));
        let Message::Batch(b) = parse(br#"[{"jsonrpc":"2.0","method":"ps"},1]"#) else { panic!() };
        assert_eq!(b[0].as_ref().unwrap().id, None);
        assert!(b[1].is_err());
    }
}
