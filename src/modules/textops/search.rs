//! `search` and adding text behind a match.

use super::ROUTES;
use super::find::{Mode, Part, find, room};
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};

/// `search`
pub const SEARCH: FnSpec<SipHost> = FnSpec {
    opensips: Some("search"),
    kamailio: Some("search"),
    params: &[Param::req("pattern", Kind::Regex)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Whether the pattern matches anywhere in the message. `^` and `$` match at line ends; `.` and `[^...]` stay \
          within a line (its CR included). Letter case does not matter.",
    returns: &[(1, "it matches"), (-1, "it does not")],
    example: r#"if (search("^User-Agent:.*friendly-scanner")) drop();"#,
    run: |call| is_there(call, Part::Message),
    finish: None,
};

/// `search_body`
pub const SEARCH_BODY: FnSpec<SipHost> = FnSpec {
    opensips: Some("search_body"),
    kamailio: Some("search_body"),
    doc: "Whether the pattern matches anywhere in the body; read as `search` reads it.",
    example: r#"if (search_body("^a=inactive")) xlog("on hold\n");"#,
    run: |call| is_there(call, Part::Body),
    ..SEARCH
};

/// `search_append`
pub const SEARCH_APPEND: FnSpec<SipHost> = FnSpec {
    opensips: Some("search_append"),
    kamailio: Some("search_append"),
    params: &[Param::req("pattern", Kind::Regex), Param::req("text", Kind::Str)],
    doc: "Adds a text behind the first match of the pattern; the first line of the message is not searched.",
    returns: &[(1, "added"), (-1, "no match")],
    example: r#"search_append("^Max-Forwards: [0-9]+", "\r\nX-Seen: yes");"#,
    run: |call| append(call, Part::BehindFirstLine),
    ..SEARCH
};

/// `search_append_body`
pub const SEARCH_APPEND_BODY: FnSpec<SipHost> = FnSpec {
    opensips: Some("search_append_body"),
    kamailio: Some("search_append_body"),
    doc: "Adds a text behind the first match of the pattern in the body.",
    example: r#"search_append_body("^m=audio .*\n", "a=ptime:20\r\n");"#,
    run: |call| append(call, Part::Body),
    ..SEARCH_APPEND
};

fn is_there(call: &mut Call<'_, SipHost>, part: Part) -> Step<SipHost> {
    match find(call, 0, part, Mode::Lines, 1) {
        Ok(found) => Step::Done(if found.is_empty() { -1 } else { 1 }),
        Err(why) => Step::Fail(why),
    }
}

fn append(call: &mut Call<'_, SipHost>, part: Part) -> Step<SipHost> {
    let found = match find(call, 0, part, Mode::Lines, 1) {
        Ok(found) => found,
        Err(why) => return Step::Fail(why),
    };
    let Some(at) = found.first() else { return Step::Done(-1) };
    let text = call.text(1).unwrap_or_default();
    if let Err(why) = room(call.host, text.len()) {
        return Step::Fail(why);
    }
    call.host.edits.insert_after(at.end, text);
    Step::Done(1)
}
