//! `replace_str` and its like: one fixed text instead of another.

use super::find::{MAX_MATCHES, Part, position, room};
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};

/// `replace_str`
pub const REPLACE_STR: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("replace_str"),
    params: &[Param::req("old", Kind::Str), Param::req("new", Kind::Str), Param::req("which", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Replaces a text by another one wherever it stands in headers and body: `f` the first time, `a` every time (at \
          most 1000). Letter case matters; the first line of the message is not searched.",
    returns: &[(1, "replaced, or the text does not occur"), (-1, "it is empty, or there is no body to be searched")],
    example: r#"replace_str("10.0.0.1", "203.0.113.1", "a");"#,
    run: |call| change(call, Part::BehindFirstLine),
    finish: None,
};

/// `replace_hdrs_str`
pub const REPLACE_HDRS_STR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("replace_hdrs_str"),
    doc: "As `replace_str`, in the headers alone.",
    example: r#"replace_hdrs_str("10.0.0.1", "203.0.113.1", "a");"#,
    run: |call| change(call, Part::Headers),
    ..REPLACE_STR
};

/// `replace_body_str`
pub const REPLACE_BODY_STR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("replace_body_str"),
    doc: "As `replace_str`, in the body alone; Content-Length follows.",
    example: r#"replace_body_str("10.0.0.1", "203.0.113.1", "a");"#,
    run: |call| change(call, Part::Body),
    ..REPLACE_STR
};

fn change(call: &mut Call<'_, SipHost>, part: Part) -> Step<SipHost> {
    let (old, new) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    let limit = match call.text(2).unwrap_or_default().first() {
        Some(b'a' | b'A') => MAX_MATCHES,
        Some(b'f' | b'F') => 1,
        _ => return Step::Fail("the last argument is `f` (the first time) or `a` (every time)".into()),
    };
    let range = part.of(&call.host.msg);
    if old.is_empty() || range.is_empty() {
        return Step::Done(-1);
    }
    let found = memchr::memmem::find_iter(call.host.msg.slice(range), &old[..]).take(limit);
    let base = range.start as usize;
    let found: Vec<_> = found.filter_map(|at| position(base, at, at + old.len())).collect();
    if let Err(why) = room(call.host, new.len().saturating_mul(found.len())) {
        return Step::Fail(why);
    }
    for range in found {
        call.host.edits.replace(range, new.clone());
    }
    Step::Done(1)
}
