//! Choosing from several sets at once, and putting what was chosen somewhere later.

use super::kept::Kept;
use super::select::{DS_NEXT_DST, DS_SELECT_DST, Place, Wish, may_set, order, set_current, take, wish};
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};

/// Sets that one call may name.
const MOST: usize = 64;

/// `ds_select_routes`
pub const DS_SELECT_ROUTES: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_select_routes"),
    params: &[Param::req("rules", Kind::Str), Param::req("mode", Kind::Str), Param::opt("limit", Kind::Int)],
    doc: "Chooses from several sets, `set=algorithm;set=algorithm...`, with the algorithms of ds_select_dst: those of the \
          first set come first. Mode: `0` or `d` makes the first destination $du, `1` or `r` puts it into the R-URI, `2` or \
          `x` only keeps them. With flags=2 all of them, at most `limit`, are kept for ds_next_dst.",
    returns: &[(1, "done"), (-1, "no destination is usable, or a rule cannot be read")],
    example: r#"if (!ds_select_routes("1=4;2=8", "d")) { sl_send_reply("503", "No destination"); exit; }"#,
    run: select,
    ..DS_SELECT_DST
};

/// `ds_set_dst`
pub const DS_SET_DST: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_set_dst"),
    doc: "Makes the destination in use the destination URI ($du), as behind ds_select.",
    returns: &[(1, "done"), (-1, "none is in use")],
    example: r#"if (ds_select("1", "4")) ds_set_dst();"#,
    run: |call| set_current(call, Place::Destination),
    ..DS_NEXT_DST
};

/// `ds_set_domain`
pub const DS_SET_DOMAIN: FnSpec<SipHost> = FnSpec {
    kamailio: Some("ds_set_domain"),
    doc: "As ds_set_dst, but host and port of the R-URI become the destination's.",
    example: r#"if (ds_select("1", "4")) ds_set_domain();"#,
    run: |call| set_current(call, Place::Domain),
    ..DS_SET_DST
};

fn select(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let text = call.text(0).unwrap_or_default().to_lossy().into_owned();
    let place = match call.text(1).unwrap_or_default().first() {
        Some(b'0' | b'd' | b'D') => Place::Destination,
        Some(b'1' | b'r' | b'R') => Place::Domain,
        Some(b'2' | b'x' | b'X') => Place::Nowhere,
        _ => return Step::Fail("the mode is d, r or x".to_string()),
    };
    let limit = call.int(2).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    match rules(&text).and_then(|rules| may_set(call, place).and_then(|()| chosen(call, &rules, limit, place))) {
        Ok(Some((first, all))) => take(call, &first, &all, place),
        Ok(None) => Step::Done(-1),
        Err(why) => Step::Fail(why),
    }
}

/// Reads `set=algorithm;...`.
fn rules(text: &str) -> Result<Vec<(i64, i64)>, String> {
    let parts: Vec<&str> = text.split(';').map(str::trim).filter(|p| !p.is_empty()).collect();
    if parts.is_empty() || parts.len() > MOST {
        return Err(format!("the rules are 1 to {MOST} pairs set=algorithm"));
    }
    let number = |t: &str| t.trim().parse::<i64>().ok();
    let pair = |part: &&str| part.split_once('=').and_then(|(set, alg)| Some((number(set)?, number(alg)?)));
    parts.iter().map(|p| pair(p).ok_or_else(|| format!("`{p}` is no pair set=algorithm"))).collect()
}

/// What the rules choose together, and how its first was chosen.
fn chosen(
    call: &mut Call<'_, SipHost>,
    rules: &[(i64, i64)],
    limit: usize,
    place: Place,
) -> Result<Option<(Wish, Vec<Kept>)>, String> {
    let mut first = None;
    let mut all = Vec::new();
    for (set, algorithm) in rules {
        let wish = wish(call, *set, *algorithm, limit, place)?;
        // A set that is not there has nothing to give.
        let more = match order(call, &wish) {
            Ok(more) => more,
            Err(why) => {
                crate::modules::log_line(call.host, -1, &why);
                continue;
            }
        };
        if !more.is_empty() && first.is_none() {
            first = Some(wish);
        }
        all.extend(more);
    }
    if limit > 0 {
        all.truncate(limit);
    }
    Ok(first.map(|wish| (wish, all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_pairs() {
        assert_eq!(rules("1=4;2=8"), Ok(vec![(1, 4), (2, 8)]));
        assert_eq!(rules(" -1 = 4 ; "), Ok(vec![(-1, 4)]));
        for bad in ["", ";", "1", "1=x", "a=1"] {
            assert!(rules(bad).is_err(), "{bad}");
        }
    }
}
