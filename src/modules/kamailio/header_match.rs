//! Headers by their names, numbers and values: what of `textops` no other module has (kamailio.md section 5.1). The
//! names that end in `_pv` are those of releases in which the plain ones took no variables.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::sipmsgops::{headers, tests_of};
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};

pub(super) const REMOVE_HF_EXP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("remove_hf_exp"),
    params: &[Param::req("remove", Kind::Regex), Param::req("keep", Kind::Regex)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Removes every header whose name matches the first pattern and not the second one.",
    returns: &[(1, "removed"), (-1, "there was none")],
    example: r#"remove_hf_exp("^X-", "^X-Keep");"#,
    run: |call| {
        let names: Vec<Str> = call.host.msg.headers().map(|h| Str::from(h.name)).collect();
        let mut gone = Vec::new();
        for name in names {
            match (call.is_match(0, &name), call.is_match(1, &name)) {
                (Ok(true), Ok(false)) => gone.push(name),
                (Ok(_), Ok(_)) => {}
                (Err(why), _) | (_, Err(why)) => return Step::Fail(why),
            }
        }
        headers::remove_where(call, |name, _| gone.iter().any(|g| **g == *name))
    },
    finish: None,
};

pub(super) const IS_PRESENT_HF_RE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_present_hf_re"),
    params: &[Param::req("pattern", Kind::Regex)],
    doc: "Whether the message came with a header whose name matches.",
    returns: &[(1, "it has one"), (-1, "it has none")],
    example: r#"if (is_present_hf_re("^P-")) xlog("from a carrier\n");"#,
    run: |call| {
        let names: Vec<Str> = call.host.msg.headers().map(|h| Str::from(h.name)).collect();
        for name in names {
            match call.is_match(0, &name) {
                Ok(true) => return Step::Done(1),
                Ok(false) => {}
                Err(why) => return Step::Fail(why),
            }
        }
        Step::Done(-1)
    },
    ..REMOVE_HF_EXP
};

pub(super) const REMOVE_HF_IDX: FnSpec<SipHost> = FnSpec {
    kamailio: Some("remove_hf_idx"),
    params: &[Param::req("name", Kind::Str), Param::req("number", Kind::Int)],
    doc: "Removes one of the headers of a name: 0 is the first, -1 the last.",
    returns: &[(1, "removed"), (-1, "there is no such header")],
    example: r#"remove_hf_idx("X-Trace", "-1");"#,
    run: |call| {
        let (name, Some(number)) = (call.text(0).unwrap_or_default(), call.int(1)) else { return Step::Done(-1) };
        let h = &mut *call.host;
        let starts: Vec<u32> = h.msg.headers_named(name.trim_ascii()).map(|x| x.start).collect();
        let at = if number < 0 { number.saturating_add(starts.len() as i64) } else { number };
        let start = usize::try_from(at).ok().and_then(|at| starts.get(at));
        let found = h.msg.headers().find(|x| Some(&x.start) == start);
        match found {
            Some(header) if !h.edits.is_deleted(header.line()) => {
                h.edits.remove_header(&header);
                Step::Done(1)
            }
            _ => Step::Done(-1),
        }
    },
    ..REMOVE_HF_EXP
};

pub(super) const REMOVE_HF_MATCH: FnSpec<SipHost> = FnSpec {
    kamailio: Some("remove_hf_match"),
    params: &[Param::req("name", Kind::Str), Param::req("how", Kind::Str), Param::req("what", Kind::Str)],
    doc: "Removes the headers of a name whose value is a text (`eq`), is another one (`ne`), holds it (`in`), or matches it \
          as a pattern (`re`).",
    returns: &[(1, "removed"), (-2, "there was none")],
    example: r#"remove_hf_match("X-Info", "re", "^data");"#,
    run: |call| {
        let (name, how) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let what = call.text(2).unwrap_or_default();
        let all: Vec<Str> = call.host.msg.headers_named(name.trim_ascii()).map(|h| Str::from(h.value)).collect();
        let mut gone: Vec<Str> = Vec::new();
        for value in all {
            let fits = match &how[..] {
                b"eq" => value == what,
                b"ne" => value != what,
                b"in" => memchr::memmem::find(&value, &what).is_some(),
                b"re" => match call.is_match(2, &value) {
                    Ok(fits) => fits,
                    Err(why) => return Step::Fail(why),
                },
                _ => return Step::Fail("the second argument is `eq`, `ne`, `in` or `re`".into()),
            };
            if fits {
                gone.push(value);
            }
        }
        if gone.is_empty() {
            return Step::Done(-2);
        }
        let name = name.trim_ascii();
        headers::remove_where(call, |own, value| {
            crate::sip::header::same_name(own, name) && gone.iter().any(|g| **g == *value)
        })
    },
    ..REMOVE_HF_EXP
};

pub(super) const REMOVE_HF_EXP_PV: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("remove_hf_exp_pv"),
    example: r#"remove_hf_exp_pv("^$var(prefix)", "^X-Keep");"#,
    ..REMOVE_HF_EXP
};

pub(super) const REMOVE_HF_PV: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("remove_hf_pv"),
    example: r#"remove_hf_pv("$var(name)");"#,
    ..headers::REMOVE_HF
};

pub(super) const REMOVE_HF_RE_PV: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("remove_hf_re_pv"),
    example: r#"remove_hf_re_pv("^$var(prefix)");"#,
    ..headers::REMOVE_HF_RE
};

pub(super) const IS_PRESENT_HF_PV: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("is_present_hf_pv"),
    example: r#"if (is_present_hf_pv("$var(name)")) xlog("$var(name)\n");"#,
    ..tests_of::IS_PRESENT_HF
};

pub(super) const IS_PRESENT_HF_RE_PV: FnSpec<SipHost> = FnSpec {
    kamailio: Some("is_present_hf_re_pv"),
    example: r#"if (is_present_hf_re_pv("^$var(prefix)")) xlog("$var(prefix)\n");"#,
    ..IS_PRESENT_HF_RE
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::Bench;

    fn bench() -> Bench {
        Bench::new(
            "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a:b\r\nTo: a:b\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
             X-A: one\r\nX-A: two\r\nx-a: three\r\nX-B: one\r\nP-Charge: 1\r\n\r\n",
        )
    }

    /// What is left of the headers in question.
    fn left(b: &Bench) -> String {
        let sent = b.sent();
        let lines = sent.lines().filter(|l| l.starts_with(['X', 'x', 'P']));
        lines.map(|l| l.split(": ").nth(1).unwrap_or_default()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn headers_are_found_by_number_and_value() {
        for (number, code, rest) in [
            ("0", 1, "two three one 1"),
            ("2", 1, "one two one 1"),
            ("-1", 1, "one two one 1"),
            ("-3", 1, "two three one 1"),
            ("3", -1, "one two three one 1"),
            ("-4", -1, "one two three one 1"),
        ] {
            let mut b = bench();
            assert_eq!(b.call(&REMOVE_HF_IDX, &["X-A", number]), code, "{number}");
            assert_eq!(left(&b), rest, "{number}");
            assert_eq!(b.call(&REMOVE_HF_IDX, &["X-A", number]), -1, "{number}: once");
        }
        for (how, what, code, rest) in [
            ("eq", "two", 1, "one three one 1"),
            ("ne", "two", 1, "two one 1"),
            ("in", "w", 1, "one three one 1"),
            ("re", "^T", 1, "one one 1"),
            ("eq", "x", -2, "one two three one 1"),
            ("gt", "x", -1000, "one two three one 1"),
            ("re", "(", -1000, "one two three one 1"),
        ] {
            let mut b = bench();
            assert_eq!(b.call(&REMOVE_HF_MATCH, &["X-A", how, what]), code, "{how} {what}");
            assert_eq!(left(&b), rest, "{how} {what}");
        }
    }

    #[test]
    fn headers_are_found_by_patterns_of_their_names() {
        let mut b = bench();
        assert_eq!(b.call(&IS_PRESENT_HF_RE, &["^p-"]), 1);
        assert_eq!(b.call(&IS_PRESENT_HF_RE, &["^q-"]), -1);
        assert_eq!(b.call(&REMOVE_HF_EXP, &["^X-", "B$"]), 1);
        assert_eq!(left(&b), "one 1");
        assert_eq!(b.call(&REMOVE_HF_PV, &["x-b"]), 1);
        assert_eq!(b.call(&REMOVE_HF_RE_PV, &["^P"]), 1);
        assert_eq!(left(&b), "");
    }
}
