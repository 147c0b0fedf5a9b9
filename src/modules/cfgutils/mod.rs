//! `cfgutils`: sleeping, chance, locks, time (opensips.md sections 3.5, 4.11).

mod kamailio;

use super::host::SipHost;
use super::pv_get::random;
use super::request::{Outcome, Request};
use crate::base::Str;
use crate::ops;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use std::time::Duration;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "cfgutils",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        SLEEP,
        USLEEP,
        RAND_EVENT,
        RAND_SET_PROB,
        RAND_RESET_PROB,
        RAND_GET_PROB,
        GET_STATIC_LOCK,
        RELEASE_STATIC_LOCK,
        GET_DYNAMIC_LOCK,
        RELEASE_DYNAMIC_LOCK,
        STRINGS_SHARE_LOCK,
        GET_ACCURATE_TIME,
        TS_USEC_DELTA,
        kamailio::LOCK,
        kamailio::UNLOCK,
        kamailio::TRYLOCK,
        kamailio::CHECK_ROUTE_EXISTS,
        kamailio::ROUTE_IF_EXISTS,
        kamailio::SET_GFLAG,
        kamailio::RESET_GFLAG,
        kamailio::IS_GFLAG,
        kamailio::CORE_HASH,
        kamailio::ABORT,
        kamailio::PKG_STATUS,
        kamailio::PKG_SUMMARY,
        kamailio::SHM_STATUS,
        kamailio::SHM_SUMMARY,
    ],
    params: &[
        ModParamSpec {
            name: "initial_probability",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "percent for rand_event; default 10",
        },
        ModParamSpec { name: "varset", kind: ModParamKind::Str, ignored: false, doc: "`name=s:text` or `name=i:5`" },
        ModParamSpec {
            name: "shvset",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "`name=s:text` or `name=i:5`: a `$shv` from the start",
        },
        ModParamSpec {
            name: "lock_pool_size",
            kind: ModParamKind::Int,
            ignored: true,
            doc: "each key has its own lock",
        },
        ModParamSpec { name: "shv_hash_size", kind: ModParamKind::Int, ignored: true, doc: "not needed" },
        ModParamSpec {
            name: "initial_gflags",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "the flags that are set from the start, as the sum of their bits; default 0",
        },
        ModParamSpec {
            name: "lock_set_size",
            kind: ModParamKind::Int,
            ignored: true,
            doc: "each key has its own lock",
        },
        ModParamSpec { name: "hash_file", kind: ModParamKind::Str, ignored: true, doc: "not needed" },
    ],
    any_param: false,
    needs: &[],
};

const ROUTES: RouteSet = RouteSet::letters("RFOBLSTVE");

const SLEEP: FnSpec<SipHost> = FnSpec {
    opensips: Some("sleep"),
    kamailio: Some("sleep"),
    params: &[Param::req("seconds", Kind::Int)],
    variadic: false,
    routes: ROUTES,
    waits: true,
    doc: "Waits this many seconds; 0 goes on at once.",
    returns: &[(1, "the time has passed"), (-1, "cut off")],
    example: "sleep(2);",
    run: |call| sleep(call, 1_000_000),
    finish: Some(slept),
};

const USLEEP: FnSpec<SipHost> = FnSpec {
    opensips: Some("usleep"),
    kamailio: Some("usleep"),
    params: &[Param::req("microseconds", Kind::Int)],
    doc: "Waits this many microseconds; 0 goes on at once.",
    example: "usleep(20000);",
    run: |call| sleep(call, 1),
    ..SLEEP
};

fn sleep(call: &mut Call<'_, SipHost>, unit: u64) -> Step<SipHost> {
    // 2.2 read a text that is no number as 0.
    let n = call.int(0).unwrap_or(0).clamp(0, 86_400 * 365);
    let length = Duration::from_micros(n as u64 * unit);
    Step::Wait(Request::Op { op: ops::Request::Sleep(length), limit: None })
}

fn slept(_call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    Step::Done(if matches!(outcome, Outcome::Op(ops::Outcome::Slept)) { 1 } else { -1 })
}

const RAND_EVENT: FnSpec<SipHost> = FnSpec {
    opensips: Some("rand_event"),
    kamailio: Some("rand_event"),
    params: &[Param::opt("probability", Kind::Int)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "True with the given (or set) probability in percent.",
    returns: &[(1, "it happened"), (-1, "it did not")],
    example: "if (rand_event(20)) exit;",
    run: |call| {
        let set = call.host.probability.unwrap_or(call.host.env().settings.rand_probability);
        let p = call.int(0).unwrap_or(i64::from(set));
        Step::Done(if i64::from(random(call.now) % 100) < p { 1 } else { -1 })
    },
    finish: None,
};

const RAND_SET_PROB: FnSpec<SipHost> = FnSpec {
    opensips: Some("rand_set_prob"),
    kamailio: Some("rand_set_prob"),
    params: &[Param::req("probability", Kind::Int)],
    doc: "Sets the probability of rand_event for this run.",
    returns: &[(1, "set"), (-1, "not from 0 to 100")],
    example: "rand_set_prob(20);",
    run: |call| match call.int(0) {
        Some(p) if (0..=100).contains(&p) => {
            call.host.probability = Some(p as u8);
            Step::Done(1)
        }
        _ => Step::Done(-1),
    },
    ..RAND_EVENT
};

const RAND_RESET_PROB: FnSpec<SipHost> = FnSpec {
    opensips: Some("rand_reset_prob"),
    kamailio: Some("rand_reset_prob"),
    params: &[],
    doc: "Back to `initial_probability`.",
    returns: &[(1, "done")],
    example: "rand_reset_prob();",
    run: |call| {
        call.host.probability = None;
        Step::Done(1)
    },
    ..RAND_EVENT
};

const RAND_GET_PROB: FnSpec<SipHost> = FnSpec {
    opensips: Some("rand_get_prob"),
    kamailio: Some("rand_get_prob"),
    params: &[],
    doc: "The probability as return code.",
    returns: &[(1, "the percentage itself")],
    example: "rand_get_prob();",
    run: |call| {
        let p = call.host.probability.unwrap_or(call.host.env().settings.rand_probability);
        Step::Done(i32::from(p))
    },
    ..RAND_EVENT
};

const GET_DYNAMIC_LOCK: FnSpec<SipHost> = FnSpec {
    opensips: Some("get_dynamic_lock"),
    kamailio: None,
    params: &[Param::req("key", Kind::Str)],
    variadic: false,
    routes: ROUTES,
    waits: true,
    doc: "Takes the lock of this name, waiting while another run holds it, in whichever worker. It belongs to the \
          run: its end releases it, and so does the death of its process.",
    returns: &[(1, "taken"), (-1, "not before the deadline")],
    example: r#"get_dynamic_lock("$fU");"#,
    run: |call| match call.text(0) {
        Some(key) => Step::Wait(Request::Lock { key }),
        None => Step::Fail("the lock's name is NULL".to_string()),
    },
    finish: Some(|_call, outcome| Step::Done(outcome.code())),
};

const GET_STATIC_LOCK: FnSpec<SipHost> = FnSpec { opensips: Some("get_static_lock"), ..GET_DYNAMIC_LOCK };

const RELEASE_DYNAMIC_LOCK: FnSpec<SipHost> = FnSpec {
    opensips: Some("release_dynamic_lock"),
    waits: false,
    doc: "Releases a lock this run holds.",
    returns: &[(1, "released"), (-1, "this run does not hold it")],
    example: r#"release_dynamic_lock("$fU");"#,
    run: |call| match call.text(0) {
        Some(key) => Step::Wait(Request::Unlock { key }),
        None => Step::Fail("the lock's name is NULL".to_string()),
    },
    ..GET_DYNAMIC_LOCK
};

const RELEASE_STATIC_LOCK: FnSpec<SipHost> = FnSpec { opensips: Some("release_static_lock"), ..RELEASE_DYNAMIC_LOCK };

const STRINGS_SHARE_LOCK: FnSpec<SipHost> = FnSpec {
    opensips: Some("strings_share_lock"),
    params: &[Param::req("key1", Kind::Str), Param::req("key2", Kind::Str)],
    waits: false,
    doc: "Whether the two names mean the same lock: whoever wants both would wait for himself. Each name has a \
          lock of its own, and a run that holds a lock gets it again, so this is true for equal names only.",
    returns: &[(1, "they do"), (-1, "they do not")],
    example: r#"if (!strings_share_lock("$fU", "$tU")) get_dynamic_lock("$tU");"#,
    run: |call| match (call.text(0), call.text(1)) {
        (Some(a), Some(b)) => Step::Done(if a == b { 1 } else { -1 }),
        _ => Step::Fail("the lock's name is NULL".to_string()),
    },
    finish: None,
    ..GET_DYNAMIC_LOCK
};

const GET_ACCURATE_TIME: FnSpec<SipHost> = FnSpec {
    opensips: Some("get_accurate_time"),
    kamailio: None,
    params: &[Param::req("seconds", Kind::Out), Param::req("microseconds", Kind::Out), Param::opt("text", Kind::Out)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "The time now, as seconds since 1970 and microseconds of the second.",
    returns: &[(1, "done")],
    example: "get_accurate_time($var(s), $var(us));",
    run: |call| {
        let now = call.host.env().clock.micros();
        call.assign(0, Value::Int(now / 1_000_000));
        call.assign(1, Value::Int(now % 1_000_000));
        call.assign(2, Value::text(format!("{}.{:06}", now / 1_000_000, now % 1_000_000)));
        Step::Done(1)
    },
    finish: None,
};

const TS_USEC_DELTA: FnSpec<SipHost> = FnSpec {
    opensips: Some("ts_usec_delta"),
    params: &[
        Param::req("seconds1", Kind::Int),
        Param::req("microseconds1", Kind::Int),
        Param::req("seconds2", Kind::Int),
        Param::req("microseconds2", Kind::Int),
        Param::opt("text", Kind::Out),
        Param::opt("number", Kind::Out),
    ],
    doc: "The distance of two times in microseconds.",
    returns: &[(1, "done"), (-1, "an argument is no number")],
    example: "ts_usec_delta($var(s1), $var(u1), $var(s2), $var(u2), , $var(d));",
    run: |call| {
        let (Some(s1), Some(u1), Some(s2), Some(u2)) = (call.int(0), call.int(1), call.int(2), call.int(3)) else {
            return Step::Done(-1);
        };
        let micros = |s: i64, u: i64| s.saturating_mul(1_000_000).saturating_add(u);
        let d = micros(s1, u1).saturating_sub(micros(s2, u2)).saturating_abs();
        call.assign(4, Value::Str(Str::from(d.to_string())));
        call.assign(5, Value::Int(d));
        Step::Done(1)
    },
    ..GET_ACCURATE_TIME
};
