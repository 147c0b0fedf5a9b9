//! `async` of Kamailio: a request is suspended in its transaction and goes on later (kamailio.md
//! section 2). Behind a sleep the run stays in its worker, so nothing of it is lost: `async_sleep` goes on with the next
//! statement at any depth, with every variable; `async_route` goes on in a route as behind `async()`.
//! `async_task_route` sends the run to a process of a task group ([`groups`]), its transaction stays where it is.

pub mod groups;
pub mod task;

use super::host::SipHost;
use super::request::{BESIDE, NOT_BESIDE, Outcome, Request};
use crate::ops;
use crate::script::ast::{Dialect, RouteKind};
use crate::script::registry::{Arg, Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use std::time::Duration;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "async",
    dialects: &[Dialect::Kamailio],
    functions: &[
        ASYNC_SLEEP,
        ASYNC_MS_SLEEP,
        ASYNC_ROUTE,
        ASYNC_MS_ROUTE,
        ASYNC_TASK_ROUTE,
        ASYNC_TASK_GROUP_ROUTE,
        task::ASYNC_TASK_DATA,
        task::ASYNC_TASK_GROUP_DATA,
        task::ASYNC_TKV_EMIT,
    ],
    params: &[
        ModParamSpec {
            name: "workers",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "0: async_sleep and async_route return -1; else no effect, since the workers do it; default 1",
        },
        ModParamSpec {
            name: "ms_timer",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "0 (default): async_ms_sleep and async_ms_route return -1; any other number lets them work, to the millisecond",
        },
        ModParamSpec {
            name: "return",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "what functions that suspend give when they have: 0 (default) ends the script there, any other number lets \
                  it go on beside its own continuation, which begins with the message as the script has left it, and not \
                  before that has ended; what the script relays or answers has no continuation",
        },
        ModParamSpec {
            name: "mode",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: the module may be loaded without tm, for tasks with data only; default 0",
        },
    ],
    any_param: false,
    // tm, unless `mode` is 1: checked with the settings.
    needs: &[],
};

/// The module's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `workers` is not 0.
    pub seconds: bool,
    /// `ms_timer` is not 0.
    pub millis: bool,
    /// `return`
    pub returns: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { seconds: true, millis: false, returns: 0 }
    }
}

/// Longest name of a route.
const MAX_NAME: usize = 62;

const ROUTES: RouteSet = RouteSet::letters("RF");

const ASYNC_SLEEP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("async_sleep"),
    params: &[Param::req("seconds", Kind::Int)],
    variadic: false,
    routes: ROUTES,
    waits: true,
    doc: "Suspends the request in its transaction, which is made if need be, for 1 to 99 seconds. The script goes on \
          behind the call, in any block and sub-route, and has lost nothing.",
    returns: &[(1, "the time has passed"), (-1, "not suspended: a number out of range, no request, no transaction")],
    example: r#"async_sleep("2");"#,
    run: |call| suspend(call, Unit::Seconds, 0, None, None),
    finish: Some(go_on),
};

const ASYNC_MS_SLEEP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("async_ms_sleep"),
    params: &[Param::req("milliseconds", Kind::Int)],
    doc: "The same for 1 to 29999 milliseconds; needs the module parameter ms_timer.",
    example: r#"async_ms_sleep("250");"#,
    run: |call| suspend(call, Unit::Millis, 0, None, None),
    ..ASYNC_SLEEP
};

const ASYNC_ROUTE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("async_route"),
    params: &[Param::req("route", Kind::Route(RouteKind::Request)), Param::req("seconds", Kind::Int)],
    doc: "Suspends the request in its transaction for 1 to 99 seconds and then runs a route, whose name may be computed. \
          The statements behind the call are not run; `$var` begins anew in the route.",
    returns: &[(
        -1,
        "not suspended: the route is missing or its name too long, a number out of range, no request, no transaction",
    )],
    example: r#"async_route("later", "5");"#,
    run: |call| suspend(call, Unit::Seconds, 1, Some(0), None),
    ..ASYNC_SLEEP
};

const ASYNC_MS_ROUTE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("async_ms_route"),
    params: &[Param::req("route", Kind::Route(RouteKind::Request)), Param::req("milliseconds", Kind::Int)],
    doc: "The same for 1 to 29999 milliseconds; needs the module parameter ms_timer.",
    example: r#"async_ms_route("later", "250");"#,
    run: |call| suspend(call, Unit::Millis, 1, Some(0), None),
    ..ASYNC_ROUTE
};

const ASYNC_TASK_ROUTE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("async_task_route"),
    params: &[Param::req("route", Kind::Route(RouteKind::Request)), Param::opt("group", Kind::Str)],
    doc: "Makes the transaction and runs a route as soon as possible in a process of a task group, `default` if none is \
          named. The statements behind the call are not run; `$var` begins anew in the route. Needs `async_workers`.",
    returns: &[(
        -1,
        "the route or the group is missing or its name too long, no request, no transaction, no process takes it",
    )],
    example: r#"async_task_route("later");"#,
    run: |call| {
        let group = task::group(call, 1);
        suspend(call, Unit::None, 0, Some(0), Some(group))
    },
    ..ASYNC_ROUTE
};

const ASYNC_TASK_GROUP_ROUTE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("async_task_group_route"),
    params: &[Param::req("route", Kind::Route(RouteKind::Request)), Param::req("group", Kind::Str)],
    doc: "The same in the group that is named. Both names may be computed.",
    example: r#"async_task_group_route("later", "default");"#,
    ..ASYNC_TASK_ROUTE
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Millis,
    None,
}

/// Judges the arguments and asks for the transaction: `amount` and `route` are numbers of arguments, `group` that of
/// a task group.
fn suspend(
    call: &mut Call<'_, SipHost>,
    unit: Unit,
    amount: usize,
    route: Option<usize>,
    group: Option<Result<u16, String>>,
) -> Step<SipHost> {
    let settings = call.host.env().settings.async_module;
    let n = call.int(amount).unwrap_or(0);
    let micros = match unit {
        Unit::Seconds if !settings.seconds => return Step::Fail("the module parameter workers is 0".into()),
        Unit::Millis if !settings.millis => return Step::Fail("the module parameter ms_timer is not set".into()),
        Unit::Seconds if !(1..100).contains(&n) => return Step::Fail(format!("{n} is not 1 to 99 seconds")),
        Unit::Millis if !(1..30_000).contains(&n) => return Step::Fail(format!("{n} is not 1 to 29999 milliseconds")),
        Unit::Seconds => n * 1_000_000,
        Unit::Millis => n * 1000,
        Unit::None => 0,
    };
    if call.host.phony || !call.host.msg.is_request() {
        return Step::Fail("there is no request to suspend".into());
    }
    let target = match route.map(|i| wanted(call, i)) {
        None => Value::Null,
        Some(Ok(n)) => Value::Int(i64::from(n)),
        Some(Err(why)) => return Step::Fail(why),
    };
    let group = match group {
        None => Value::Null,
        Some(Ok(n)) => Value::Int(i64::from(n)),
        Some(Err(why)) => return Step::Fail(why),
    };
    call.state.step = 1;
    call.state.data = vec![Value::Int(micros), target, group];
    Step::Wait(Request::NewTransaction)
}

/// The route that argument `i` names.
fn wanted(call: &mut Call<'_, SipHost>, i: usize) -> Result<u32, String> {
    match call.args.get(i) {
        Some(Arg::Route(n)) => Ok(*n),
        _ => {
            let name = call.text(i).unwrap_or_default();
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(format!("a route's name has 1 to {MAX_NAME} bytes"));
            }
            let found = call.vm().find_route(RouteKind::Request, &name);
            found.ok_or_else(|| format!("there is no route[{}]", name.to_lossy()))
        }
    }
}

/// The transaction is there, or the time has passed.
fn go_on(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let number = |i: usize| call.state.data.get(i).and_then(Value::as_int);
    let (micros, target) = (number(0).unwrap_or(0), number(1));
    let group = number(2).and_then(|n| u16::try_from(n).ok());
    let returns = call.host.env().settings.async_module.returns;
    if call.state.step == 1 {
        match outcome.code() {
            // A retransmission: whoever made the transaction goes on.
            0 => return Step::Done(0),
            1 | -10 => {}
            _ => return Step::Fail("no transaction could be made".into()),
        }
        let length = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        if returns != 0 {
            call.state.step = 3;
            return Step::Wait(Request::Beside { after: length, group });
        }
        call.state.step = 2;
        if let Some(group) = group {
            return Step::Wait(Request::Travel { group });
        }
        return Step::Wait(Request::Op { op: ops::Request::Sleep(length), limit: None });
    }
    match (call.state.step, outcome.code()) {
        (3, BESIDE) => return Step::Done(returns),
        (3, NOT_BESIDE) => return Step::Done(-1),
        // The copy, wherever it is.
        (3, _) => {
            return match target.and_then(|n| u32::try_from(n).ok()) {
                Some(route) => Step::Continue(route),
                None => Step::Done(returns),
            };
        }
        _ => {}
    }
    // A run that has travelled is with its group now.
    if !matches!(outcome, Outcome::Op(ops::Outcome::Slept) | Outcome::Code(1)) {
        return Step::Done(-1);
    }
    match target.and_then(|n| u32::try_from(n).ok()) {
        Some(route) => Step::Continue(route),
        None => Step::Done(1),
    }
}
