//! `replace`: a fixed text instead of what a pattern matches.

use super::ROUTES;
use super::find::{MAX_MATCHES, Mode, Part, find, room};
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};

/// `replace`
pub const REPLACE: FnSpec<SipHost> = FnSpec {
    opensips: Some("replace"),
    kamailio: Some("replace"),
    params: &[Param::req("pattern", Kind::Regex), Param::req("text", Kind::Str)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Replaces the first match of the pattern by a text; the first line of the message is not searched. `^` and \
          `$` match at line ends; `.` and `[^...]` stay within a line (its CR included). Letter case does not matter.",
    returns: &[(1, "replaced"), (-1, "no match")],
    example: r#"replace("^User-Agent: [^\r]*", "User-Agent: PBX");"#,
    run: |call| change(call, Part::BehindFirstLine, Mode::Lines, 1),
    finish: None,
};

/// `replace_all`
pub const REPLACE_ALL: FnSpec<SipHost> = FnSpec {
    opensips: Some("replace_all"),
    kamailio: Some("replace_all"),
    doc: "Replaces every match of the pattern by a text (at most 1000 of them); otherwise as `replace`.",
    example: r#"replace_all("10\.0\.0\.1", "203.0.113.1");"#,
    run: |call| change(call, Part::BehindFirstLine, Mode::Lines, MAX_MATCHES),
    ..REPLACE
};

/// `replace_body`
pub const REPLACE_BODY: FnSpec<SipHost> = FnSpec {
    opensips: Some("replace_body"),
    kamailio: Some("replace_body"),
    doc: "Replaces the first match of the pattern in the body by a text; Content-Length follows.",
    example: r#"replace_body("^c=IN IP4 [0-9.]+", "c=IN IP4 203.0.113.1");"#,
    run: |call| change(call, Part::Body, Mode::Lines, 1),
    ..REPLACE
};

/// `replace_body_all`
pub const REPLACE_BODY_ALL: FnSpec<SipHost> = FnSpec {
    opensips: Some("replace_body_all"),
    kamailio: Some("replace_body_all"),
    doc: "Replaces every match of the pattern in the body by a text (at most 1000 of them); Content-Length follows.",
    example: r#"replace_body_all("^a=crypto:.*\n", "");"#,
    run: |call| change(call, Part::Body, Mode::Lines, MAX_MATCHES),
    ..REPLACE
};

/// `replace_body_atonce`
pub const REPLACE_BODY_ATONCE: FnSpec<SipHost> = FnSpec {
    opensips: Some("replace_body_atonce"),
    kamailio: Some("replace_body_atonce"),
    doc: "As `replace_body`, but the pattern sees the body as one line: `^` and `$` are its ends, and `.` matches line \
          ends too.",
    example: r#"replace_body_atonce("^.+$", "v=0\r\n");"#,
    run: |call| change(call, Part::Body, Mode::Whole, 1),
    ..REPLACE
};

/// `replace_hdrs`
pub const REPLACE_HDRS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("replace_hdrs"),
    doc: "As `replace`, but only the headers are searched.",
    example: r#"replace_hdrs("^User-Agent: [^\r]*", "User-Agent: PBX");"#,
    run: |call| change(call, Part::Headers, Mode::Lines, 1),
    ..REPLACE
};

fn change(call: &mut Call<'_, SipHost>, part: Part, mode: Mode, limit: usize) -> Step<SipHost> {
    let found = match find(call, 0, part, mode, limit) {
        Ok(found) => found,
        Err(why) => return Step::Fail(why),
    };
    if found.is_empty() {
        return Step::Done(-1);
    }
    let text = call.text(1).unwrap_or_default();
    if let Err(why) = room(call.host, text.len().saturating_mul(found.len())) {
        return Step::Fail(why);
    }
    for range in found {
        call.host.edits.replace(range, text.clone());
    }
    Step::Done(1)
}
