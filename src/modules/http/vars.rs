//! The variables of both HTTP modules.

use super::{Answered, curl};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_kamailio::Kpv;
use crate::script::host::Index;
use crate::script::value::Value;

/// Redirections that are followed, where any are.
pub const MAX_REDIRECTS: u8 = 30;

/// Reads `$curlerror`, `$httprhdr`, `$http_req_id`, and what came of an asynchronous query.
pub fn get(h: &SipHost, pv: Kpv, sub: Option<&Value>, index: Index) -> Value {
    let name = || sub.and_then(Value::to_text).unwrap_or_default();
    if pv == Kpv::CurlError {
        return sub.and_then(Value::to_int).map_or(Value::Null, |code| Value::from(curl::text(code)));
    }
    let Some(web) = &h.web else { return Value::Null };
    match pv {
        Kpv::HttpReplyHeader => return field(&web.headers, &name(), index),
        Kpv::HttpQueryId if web.id.is_empty() => return Value::Null,
        Kpv::HttpQueryId => return Value::Str(web.id.clone()),
        _ => {}
    }
    let Some(Answered { error, response }) = &web.answer else { return Value::Null };
    if pv == Kpv::HttpOk {
        return Value::Int(i64::from(error.is_none()));
    }
    if let Some(error) = error {
        return if pv == Kpv::HttpError { Value::Str(error.clone()) } else { Value::Null };
    }
    let length = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    match pv {
        Kpv::HttpStatus => Value::Int(i64::from(response.status)),
        Kpv::HttpReason => Value::Str(response.reason.clone()),
        Kpv::HttpHeader => field(&response.headers, &name(), index),
        Kpv::HttpBody => Value::text(&response.body[..]),
        Kpv::HttpBodySize => length(response.body.len()),
        Kpv::HttpWhole => Value::text(whole(response)),
        Kpv::HttpWholeSize => length(whole(response).len()),
        Kpv::HttpTime => time(&response.course, &name()),
        _ => Value::Null,
    }
}

/// A header field by its name: the first without an index, all joined for `[*]`.
fn field(headers: &[(Str, Str)], name: &[u8], index: Index) -> Value {
    let mut values = headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    let found = match index {
        Index::All => {
            let all: Vec<&[u8]> = values.map(|v| &v[..]).collect();
            return if all.is_empty() { Value::Null } else { Value::text(all.join(&b","[..])) };
        }
        Index::At(n) => match usize::try_from(n) {
            Ok(n) => values.nth(n),
            Err(_) => {
                usize::try_from(n.saturating_add(1).saturating_neg()).ok().and_then(|back| values.rev().nth(back))
            }
        },
        _ => values.next(),
    };
    found.map_or(Value::Null, |v| Value::Str(v.clone()))
}

/// The answer as text: status line, fields, body.
fn whole(response: &crate::ops::HttpResponse) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} {}\r\n", response.status, response.reason.to_lossy()).into_bytes();
    for (name, value) in &response.headers {
        for part in [&name[..], b": ", &value[..], b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&response.body);
    out
}

/// What `$http_time(...)` takes.
pub const TIMES: &[&str] =
    &["appconnect", "connect", "lookup", "namelookup", "pretransfer", "redirect", "starttransfer", "total"];

/// Seconds with six digits behind the point.
fn time(times: &crate::ops::HttpCourse, name: &[u8]) -> Value {
    let micros = match name {
        b"lookup" | b"namelookup" => times.resolved,
        b"connect" => times.connected,
        b"appconnect" => times.secured,
        b"pretransfer" => times.ready,
        b"starttransfer" => times.begun,
        b"redirect" => times.redirected,
        b"total" => times.total,
        _ => return Value::Null,
    };
    Value::text(format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_by_name() {
        let headers: Vec<(Str, Str)> =
            [("X-A", "1"), ("b", "2"), ("x-a", "3")].map(|(n, v)| (Str::from(n), Str::from(v))).to_vec();
        let get = |index| field(&headers, b"X-a", index);
        assert_eq!(get(Index::None), Value::from("1"));
        assert_eq!(get(Index::At(1)), Value::from("3"));
        assert_eq!(get(Index::At(-1)), Value::from("3"));
        assert_eq!(get(Index::At(-2)), Value::from("1"));
        assert_eq!(
            (get(Index::At(2)), get(Index::At(-3)), get(Index::At(i64::MIN))),
            (Value::Null, Value::Null, Value::Null)
        );
        assert_eq!(get(Index::All), Value::from("1,3"));
        assert_eq!(field(&headers, b"c", Index::All), Value::Null);
    }
}
