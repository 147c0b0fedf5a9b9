//! Counters of the script's own: `counters` (Kamailio) and `statistics` (both languages), and `$stat`. They are numbers of
//! the whole server, in the table that the server counts in itself; `reprise ctl stats` shows them among the others.

use super::host::SipHost;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;

/// Group of counters whose name says none.
pub const GROUP: &str = "script";

/// Most counters that a script may have.
pub const MAX: usize = 10_000;

/// A counter that a parameter defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defined {
    /// `group:name`
    pub name: String,
    /// What it says it counts.
    pub description: String,
}

/// `counters`
pub static COUNTERS: ModuleSpec<SipHost> = ModuleSpec {
    name: "counters",
    dialects: &[Dialect::Kamailio],
    functions: &[CNT_INC, CNT_ADD, CNT_RESET],
    params: &[
        ModParamSpec {
            name: "script_counter",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "a counter, `[GROUP.]NAME [DESCRIPTION]`; may be given several times",
        },
        ModParamSpec {
            name: "script_cnt_grp_name",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "group of counters whose name says none; default \"script\"",
        },
    ],
    any_param: false,
    needs: &[],
};

/// `statistics`
pub static STATISTICS: ModuleSpec<SipHost> = ModuleSpec {
    name: "statistics",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[UPDATE_STAT, RESET_STAT],
    params: &[
        ModParamSpec {
            name: "variable",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "a counter, `[GROUP:]NAME` or `[GROUP:]NAME/no_reset`, in the group `script` unless it says another; may be \
                  given several times",
        },
        ModParamSpec {
            name: "stat_groups",
            kind: ModParamKind::Str,
            ignored: true,
            doc: "a group need not be declared",
        },
    ],
    any_param: false,
    needs: &[],
};

const CNT_INC: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("cnt_inc"),
    params: &[Param::req("counter", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Adds 1 to a counter that `script_counter` defines, `GROUP.NAME` or `NAME`.",
    returns: &[(1, "done"), (-1, "there is no such counter")],
    example: r#"cnt_inc("calls");"#,
    run: |call| change(call, Some(1)),
    finish: None,
};

const CNT_ADD: FnSpec<SipHost> = FnSpec {
    kamailio: Some("cnt_add"),
    params: &[Param::req("counter", Kind::Str), Param::req("number", Kind::Int)],
    doc: "Adds a number to a counter.",
    example: r#"cnt_add("script.bytes", "$ml");"#,
    run: |call| {
        let by = call.int(1);
        change(call, by)
    },
    ..CNT_INC
};

const CNT_RESET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("cnt_reset"),
    doc: "Sets a counter to 0.",
    example: r#"cnt_reset("calls");"#,
    run: reset,
    ..CNT_INC
};

const UPDATE_STAT: FnSpec<SipHost> = FnSpec {
    opensips: Some("update_stat"),
    kamailio: Some("update_stat"),
    params: &[Param::req("counter", Kind::Str), Param::req("number", Kind::Str)],
    doc: "Adds a number, with or without its sign, to a counter that `variable` defines.",
    returns: &[(1, "done"), (-1, "there is no such counter, or this is no number")],
    example: r#"update_stat("calls", "+1");"#,
    run: |call| {
        let text = call.text(1).unwrap_or_default().to_lossy().into_owned();
        let by = text.trim().strip_prefix('+').unwrap_or(text.trim()).parse().ok();
        change(call, by)
    },
    ..CNT_INC
};

const RESET_STAT: FnSpec<SipHost> = FnSpec {
    opensips: Some("reset_stat"),
    kamailio: Some("reset_stat"),
    doc: "Sets a counter to 0.",
    example: r#"reset_stat("calls");"#,
    run: reset,
    ..CNT_INC
};

/// `GROUP.NAME`, `GROUP:NAME` or `NAME` as the table has it.
pub fn full_name(text: &str, group: &str) -> String {
    match text.split_once(['.', ':']) {
        Some((group, name)) => format!("{group}:{name}"),
        None => format!("{group}:{text}"),
    }
}

/// The number of the counter that argument 0 names.
fn find(call: &Call<'_, SipHost>) -> Result<usize, String> {
    let text = call.text(0).unwrap_or_default();
    let settings = &call.host.env().settings;
    let name = full_name(&text.to_lossy(), &settings.counter_group);
    let found = settings.counters.iter().position(|c| c.name == name);
    found.ok_or_else(|| format!("there is no counter `{}`", text.to_lossy()))
}

fn change(call: &mut Call<'_, SipHost>, by: Option<i64>) -> Step<SipHost> {
    let Some(by) = by else { return Step::Fail("this is no number".into()) };
    match find(call) {
        Ok(n) => {
            if let Some(counters) = &call.host.env().counters {
                counters.add_extra(n, by as u64);
            }
            Step::Done(1)
        }
        Err(why) => Step::Fail(why),
    }
}

fn reset(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    match find(call) {
        Ok(n) => {
            if let Some(counters) = &call.host.env().counters {
                counters.table().reset_extra(n);
            }
            Step::Done(1)
        }
        Err(why) => Step::Fail(why),
    }
}

/// Reads `$stat(name)`: any statistic of the server, the script's own included.
pub fn stat(h: &SipHost, sub: Option<&Value>) -> Value {
    let Some(counters) = &h.env().counters else { return Value::Null };
    let name: Str = sub.and_then(Value::to_text).unwrap_or_default();
    let name = name.to_lossy().replacen('.', ":", 1);
    if name.is_empty() || name.ends_with(':') {
        return Value::Null;
    }
    counters.table().total(&name).map_or(Value::Null, |n| Value::Int(n as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::env::Env;
    use crate::modules::testing::Bench;
    use crate::store::CounterTable;

    fn bench() -> Bench {
        let mut env = Env::unattached();
        let names = ["script:calls", "gw:failed"];
        let defined = |name: &str| Defined { name: name.into(), description: String::new() };
        env.settings.counters = names.map(defined).to_vec();
        env.counters = Some(CounterTable::new(2, names.map(String::from).to_vec()).unwrap().row(1));
        Bench::with(
            "OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n",
            env,
        )
    }

    fn value(b: &Bench, name: &str) -> Value {
        stat(&b.host, Some(&Value::from(name)))
    }

    #[test]
    fn counting() {
        let mut b = bench();
        assert_eq!(b.call(&CNT_INC, &["calls"]), 1);
        assert_eq!(b.call(&CNT_INC, &["script.calls"]), 1);
        assert_eq!(b.call(&CNT_ADD, &["gw.failed", "40"]), 1);
        assert_eq!(b.call(&UPDATE_STAT, &["gw:failed", "+3"]), 1);
        assert_eq!(b.call(&UPDATE_STAT, &["gw:failed", "-1"]), 1);
        assert_eq!((value(&b, "calls"), value(&b, "gw.failed")), (Value::Int(2), Value::Int(42)));
        assert_eq!(b.call(&CNT_RESET, &["calls"]), 1);
        assert_eq!(value(&b, "script:calls"), Value::Int(0));
        assert_eq!(b.call(&CNT_ADD, &["calls", "-5"]), 1);
        assert_eq!(value(&b, "calls"), Value::Int(-5));
        assert_eq!(value(&b, "rcv_requests"), Value::Int(0));
        assert_eq!((value(&b, "nonsense"), value(&b, "core:"), value(&b, "")), (Value::Null, Value::Null, Value::Null));
        assert_eq!(b.call(&CNT_INC, &["nonsense"]), -1000);
        assert_eq!(b.call(&UPDATE_STAT, &["calls", "many"]), -1000);
    }
}
