//! The message as a whole: as JSON, and its headers by pattern.

use super::MOST;
use super::headers::glob;
use super::parts;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use serde_json::{Map, Value as Json};

/// `sip_to_json`
pub const SIP_TO_JSON: FnSpec<SipHost> = FnSpec {
    opensips: Some("sip_to_json"),
    kamailio: None,
    params: &[Param::req("variable", Kind::Out)],
    variadic: false,
    routes: MOST,
    waits: false,
    doc: "The message as it came, as JSON: `first_line`, `headers` (an object; the values of each name in an array) and \
          `body`. Bytes that are no UTF-8 are replaced.",
    returns: &[(1, "done")],
    example: "sip_to_json($var(json));",
    run: |call| {
        let json = Json::Object(as_json(call.host)).to_string();
        call.assign(0, Value::text(json));
        Step::Done(1)
    },
    finish: None,
};

/// `get_glob_headers_values`
pub const GET_GLOB_HEADERS_VALUES: FnSpec<SipHost> = FnSpec {
    opensips: Some("get_glob_headers_values"),
    kamailio: None,
    params: &[Param::req("pattern", Kind::Str), Param::req("names", Kind::Out), Param::req("values", Kind::Out)],
    doc: "Adds names and values of every header whose name matches the shell pattern (`*`, `?`) to two AVPs; index 0 is \
          the first header.",
    returns: &[(1, "found"), (-1, "there is none")],
    example: r#"get_glob_headers_values("X-*", $avp(names), $avp(values));"#,
    run: |call| {
        let pattern = call.text(0).unwrap_or_default();
        let headers = call.host.msg.headers().filter(|h| glob(&pattern, h.name));
        let found: Vec<(Str, Str)> = headers.map(|h| (Str::from(h.name), Str::from(h.value))).collect();
        // AVPs push: the last one goes first.
        for (name, value) in found.iter().rev() {
            call.assign(1, Value::Str(name.clone()));
            call.assign(2, Value::Str(value.clone()));
        }
        Step::Done(if found.is_empty() { -1 } else { 1 })
    },
    ..SIP_TO_JSON
};

/// `get_updated_body_part`
pub const GET_UPDATED_BODY_PART: FnSpec<SipHost> = FnSpec {
    opensips: Some("get_updated_body_part"),
    kamailio: None,
    params: &[Param::opt("type", Kind::Str), Param::req("variable", Kind::Out)],
    routes: RouteSet::letters("RFOBL"),
    doc: "The body, or its first part of this media type, with the changes made so far.",
    returns: &[(1, "done"), (-1, "there is none")],
    example: r#"get_updated_body_part("application/sdp", $var(sdp));"#,
    run: |call| {
        let wanted = call.text(0).filter(|t| !t.is_empty());
        let Ok(msg) = call.host.edits.applied(&call.host.msg) else { return Step::Done(-1) };
        let body = match &wanted {
            None => Some(msg.body()).filter(|b| !b.is_empty()),
            Some(t) => parts::parts(&msg).into_iter().find(|p| p.media_type.eq_ignore_ascii_case(t)).map(|p| p.body),
        };
        let Some(body) = body else { return Step::Done(-1) };
        call.assign(1, Value::text(body));
        Step::Done(1)
    },
    ..SIP_TO_JSON
};

fn as_json(host: &SipHost) -> Map<String, Json> {
    let text = |b: &[u8]| Json::String(String::from_utf8_lossy(b).into_owned());
    let msg = &host.msg;
    let first = msg.bytes().split(|b| *b == b'\n').next().unwrap_or_default();
    let mut headers = Map::new();
    for h in msg.headers() {
        let name = String::from_utf8_lossy(h.name).into_owned();
        if let Json::Array(list) = headers.entry(name).or_insert_with(|| Json::Array(Vec::new())) {
            list.push(text(&h.unfolded()));
        }
    }
    let mut out = Map::new();
    out.insert("first_line".to_string(), text(first.trim_ascii_end()));
    out.insert("headers".to_string(), Json::Object(headers));
    out.insert("body".to_string(), text(msg.body()));
    out
}
