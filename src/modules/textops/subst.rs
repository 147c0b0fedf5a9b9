//! `subst`: `/pattern/replacement/flags` on the message, the R-URI or its user part.

use super::ROUTES;
use super::find::{MAX_MATCHES, Part, position, room};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_set::{UriPart, edit_ruri, set_ruri};
use crate::script::pattern::{compile_subst, fill};
use crate::script::registry::{Arg, Call, FnSpec, Kind, Param, RouteSet, Step, Subst};
use crate::script::value::Value;
use crate::sip::Range;
use crate::sip::uri::Uri;

/// Longest URI that a substitution may make, in bytes.
const MAX_URI: usize = 1024;

/// `subst`
pub const SUBST: FnSpec<SipHost> = FnSpec {
    opensips: Some("subst"),
    kamailio: Some("subst"),
    params: &[Param::req("/pattern/replacement/flags", Kind::Subst)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Replaces what the pattern matches in the message but its first line. The first character is the separator. \
          In the replacement `\\1` to `\\9` are what the groups matched, `\\0` is the whole match, and variables are \
          expanded. Flags: `i` letter case does not matter, `g` every match (at most 1000), `s` the text is one \
          line (else `^` and `$` match at line ends and `.` stays within a line).",
    returns: &[(1, "replaced"), (-1, "no match")],
    example: r#"subst("/^P-Charge:(.*)sip:([^@]+)/P-Charge:\1sip:00\2/i");"#,
    run: |call| in_message(call, Part::BehindFirstLine),
    finish: None,
};

/// `subst_body`
pub const SUBST_BODY: FnSpec<SipHost> = FnSpec {
    opensips: Some("subst_body"),
    kamailio: Some("subst_body"),
    doc: "As `subst`, in the body; Content-Length follows.",
    example: r#"subst_body("/^o=([^ ]+) /o=$fU /");"#,
    run: |call| in_message(call, Part::Body),
    ..SUBST
};

/// `subst_uri`
pub const SUBST_URI: FnSpec<SipHost> = FnSpec {
    opensips: Some("subst_uri"),
    kamailio: Some("subst_uri"),
    routes: RouteSet::letters("RFBL"),
    doc: "As `subst`, on the R-URI as it is now; the change is visible at once.",
    returns: &[(1, "changed"), (-1, "no match, or the result is no URI")],
    example: r#"subst_uri("/^sip:([0-9]+)@(.*)$/sip:+\1@\2/");"#,
    run: |call| {
        on_text(
            call,
            |h| Some(Str::from(h.current_ruri())),
            |h, new| Uri::parse(&new).is_ok() && set_ruri(h, Str::from(new)).is_ok(),
        )
    },
    ..SUBST
};

/// `subst_user`
pub const SUBST_USER: FnSpec<SipHost> = FnSpec {
    opensips: Some("subst_user"),
    kamailio: Some("subst_user"),
    doc: "As `subst_uri`, on the user part alone (empty if there is none).",
    returns: &[(1, "changed"), (-1, "no match, or the result is no user part")],
    example: r#"subst_user("/^00//");"#,
    run: |call| {
        on_text(
            call,
            |h| Uri::parse(h.current_ruri()).ok().map(|u| Str::from(u.user.unwrap_or_default())),
            |h, new| {
                let user = if new.is_empty() { Value::Null } else { Value::text(new) };
                edit_ruri(h, UriPart::User, &user).is_ok()
            },
        )
    },
    ..SUBST_URI
};

/// Does something with the substitution in argument `i` and its replacement, whose variables are
/// expanded.
pub fn with_subst<T>(
    call: &mut Call<'_, SipHost>,
    i: usize,
    act: impl FnOnce(&mut SipHost, &Subst, &[u8]) -> T,
) -> Result<T, String> {
    let missing = || "the expression is missing".to_string();
    match call.args.get(i) {
        Some(Arg::Subst(n)) => {
            let format = call.scope.plain().subst(*n).ok_or_else(missing)?.replacement.clone();
            let replacement = call.expand(&format);
            let subst = call.scope.plain().subst(*n).ok_or_else(missing)?;
            Ok(act(call.host, subst, &replacement))
        }
        Some(Arg::Value(v)) => {
            let subst = compile_subst(&v.to_text().unwrap_or_default())?;
            let replacement = call.expand(&subst.replacement);
            Ok(act(call.host, &subst, &replacement))
        }
        _ => Err(missing()),
    }
}

/// Carries out the substitution of argument 0 on a text made from the run, and gives the result
/// back to it; -1 if nothing matched.
fn on_text(
    call: &mut Call<'_, SipHost>,
    read: impl FnOnce(&SipHost) -> Option<Str>,
    write: impl FnOnce(&mut SipHost, Vec<u8>) -> bool,
) -> Step<SipHost> {
    let done = with_subst(call, 0, |host, subst, replacement| {
        let new = read(host).and_then(|text| subst.apply(&text, replacement, MAX_URI + 1));
        new.is_some_and(|new| new.len() <= MAX_URI && write(host, new))
    });
    match done {
        Ok(ok) => Step::Done(if ok { 1 } else { -1 }),
        Err(why) => Step::Fail(why),
    }
}

fn in_message(call: &mut Call<'_, SipHost>, part: Part) -> Step<SipHost> {
    match with_subst(call, 0, |host, subst, replacement| changes(host, subst, replacement, part)) {
        Ok(Ok(list)) if list.is_empty() => Step::Done(-1),
        Ok(Ok(list)) => {
            for (at, text) in list {
                call.host.edits.replace(at, Str::from(text));
            }
            Step::Done(1)
        }
        Ok(Err(why)) | Err(why) => Step::Fail(why),
    }
}

/// What a substitution makes of the message: ranges and their new texts.
fn changes(host: &SipHost, subst: &Subst, replacement: &[u8], part: Part) -> Result<Vec<(Range, Vec<u8>)>, String> {
    let range = part.of(&host.msg);
    let limit = if subst.global { MAX_MATCHES } else { 1 };
    let mut list = Vec::new();
    let mut added = 0usize;
    for groups in subst.regex.captures_iter(host.msg.slice(range)).take(limit) {
        let Some(at) = groups.get(0).and_then(|m| position(range.start as usize, m.start(), m.end())) else { break };
        let mut text = Vec::with_capacity(replacement.len());
        fill(&groups, replacement, &mut text);
        added = added.saturating_add(text.len());
        room(host, added)?;
        list.push((at, text));
    }
    Ok(list)
}
