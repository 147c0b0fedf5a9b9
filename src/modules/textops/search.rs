//! `search` and adding text behind a match.

use super::ROUTES;
use super::find::{Mode, Part, exact, find, pattern, room};
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;

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

/// `search_str`
pub const SEARCH_STR: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("search_str"),
    params: &[Param::req("text", Kind::Str), Param::req("pattern", Kind::Regex)],
    routes: RouteSet::ALL,
    doc: "Whether the pattern matches anywhere in a text; read as `search` reads it.",
    example: r#"if (search_str("$ru", ";transport=tcp")) xlog("$ru\n");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        match pattern(call, 1, Mode::Lines) {
            Ok(regex) => Step::Done(if !text.is_empty() && regex.is_match(&text) { 1 } else { -1 }),
            Err(why) => Step::Fail(why),
        }
    },
    ..SEARCH
};

/// `regex_substring`
pub const REGEX_SUBSTRING: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("regex_substring"),
    params: &[
        Param::req("text", Kind::Str),
        Param::req("pattern", Kind::Str),
        Param::req("group", Kind::Int),
        Param::req("groups", Kind::Int),
        Param::req("variable", Kind::Out),
    ],
    routes: RouteSet::ALL,
    doc: "Stores what a group of the pattern's first match in a text is: 0 is the whole match. `groups` is how many of them \
          count, with the whole match. Letter case matters; the text is one line.",
    returns: &[(1, "stored"), (-1, "there is no such group"), (-2, "no match")],
    example: r#"regex_substring("$rU", "^\+49([0-9]+)", 1, 2, "$var(number)");"#,
    run: |call| {
        let (text, source) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let group = call.int(2).and_then(|n| usize::try_from(n).ok());
        let count = call.int(3).and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
        let Some(group) = group.filter(|n| *n < count) else { return Step::Done(-1) };
        let regex = match exact(call, &source) {
            Ok(regex) => regex,
            Err(why) => return Step::Fail(why),
        };
        let Some(groups) = regex.captures(&text) else { return Step::Done(-2) };
        match groups.get(group) {
            Some(found) => {
                call.assign(4, Value::text(found.as_bytes()));
                Step::Done(1)
            }
            None => Step::Done(-1),
        }
    },
    ..SEARCH
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
