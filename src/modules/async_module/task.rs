//! Tasks: a route runs in a process of a task group on a message that stands in, with a text or a key and a value
//! from whoever gave it away (kamailio.md sections 2.7 and 2.8).

use super::groups::DEFAULT;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::pv_kamailio::Kpv;
use crate::modules::request::{Outcome, Request};
use crate::script::ast::RouteKind;
use crate::script::registry::{Arg, Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;

/// Longest value of a key/value task, bytes.
const MOST_VALUE: usize = 1024;

/// Names under which a task's texts travel in [`SipHost::event`].
const DATA: &str = "async:data";
const GROUP: &str = "async:gname";
const TYPE: &str = "atkv:type";
const KEY: &str = "atkv:key";
const VALUE: &str = "atkv:val";

/// The group that argument `i` names; `default` if it is left out.
pub(super) fn group(call: &Call<'_, SipHost>, i: usize) -> Result<u16, String> {
    let name = match call.args.get(i) {
        None | Some(Arg::None) => Str::from(DEFAULT),
        Some(_) => call.text(i).unwrap_or_default(),
    };
    let found = call.host.env().settings.groups.iter().position(|g| g.name == name);
    let found = found.and_then(|n| u16::try_from(n).ok());
    found.ok_or_else(|| format!("there is no task group `{}`", name.to_lossy()))
}

pub(super) const ASYNC_TASK_DATA: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("async_task_data"),
    params: &[
        Param::req("route", Kind::Route(RouteKind::Request)),
        Param::req("data", Kind::Str),
        Param::opt("data of a group", Kind::Str),
    ],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Runs a route in a process of the task group `default`, without this script's message: on one that stands in, \
          with the text as `$async(data)`. This script goes on at once. With three arguments the second names the group. \
          Nothing can be suspended in the route.",
    returns: &[
        (1, "given away"),
        (-1, "the route or the group is missing or its name too long, or more waits for the group than it may"),
    ],
    example: r#"async_task_data("later", "caller: $fU - callee: $tU");"#,
    run: |call| match call.args.get(2) {
        None | Some(Arg::None) => data(call, None, 1),
        Some(_) => data(call, Some(1), 2),
    },
    finish: Some(|_call, outcome: Outcome| Step::Done(outcome.code())),
};

pub(super) const ASYNC_TASK_GROUP_DATA: FnSpec<SipHost> = FnSpec {
    kamailio: Some("async_task_group_data"),
    params: &[
        Param::req("route", Kind::Route(RouteKind::Request)),
        Param::req("group", Kind::Str),
        Param::req("data", Kind::Str),
    ],
    doc: "The same in the group that is named, which is `$async(gname)` in the route.",
    example: r#"async_task_group_data("later", "default", "caller: $fU - callee: $tU");"#,
    run: |call| data(call, Some(1), 2),
    ..ASYNC_TASK_DATA
};

pub(super) const ASYNC_TKV_EMIT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("async_tkv_emit"),
    params: &[Param::req("type", Kind::Int), Param::req("key", Kind::Str), Param::req("value", Kind::Str)],
    doc: "Runs the event route of key/value tasks (`async_tkv_evcb`) in a process of their task group (`async_tkv_gname`) \
          with `$atkv(type)`, `$atkv(key)` and `$atkv(val)`. This script goes on at once.",
    returns: &[
        (1, "given away"),
        (
            -1,
            "no group or no event route, the value is longer than 1024 bytes, or more waits for the group than it may",
        ),
    ],
    example: r#"async_tkv_emit("8000", "call", "caller='$fU';callee='$tU'");"#,
    run: |call| {
        let settings = &call.host.env().settings;
        let Some(group) = settings.tkv_group else {
            return Step::Fail("there is no group for key/value tasks (async_tkv_gname)".into());
        };
        let name = settings.tkv_event.clone();
        let Some(route) = call.vm().find_route(RouteKind::Event, &name) else {
            return Step::Fail(format!("there is no event_route[{}] (async_tkv_evcb)", name.to_lossy()));
        };
        let value = call.text(2).unwrap_or_default();
        if value.len() > MOST_VALUE {
            return Step::Fail(format!("a value of {} bytes is longer than {MOST_VALUE}", value.len()));
        }
        let kind = Str::from(call.int(0).unwrap_or(0).to_string());
        let key = call.text(1).unwrap_or_default();
        let event = vec![(Str::from(TYPE), kind), (Str::from(KEY), key), (Str::from(VALUE), value)];
        Step::Wait(Request::Task { group, route, event })
    },
    ..ASYNC_TASK_DATA
};

/// Gives a route and a text away; `name` and `text` are numbers of arguments.
fn data(call: &mut Call<'_, SipHost>, name: Option<usize>, text: usize) -> Step<SipHost> {
    let group = match group(call, name.unwrap_or(usize::MAX)) {
        Ok(n) => n,
        Err(why) => return Step::Fail(why),
    };
    let route = match super::wanted(call, 0) {
        Ok(n) => n,
        Err(why) => return Step::Fail(why),
    };
    let shown = call.host.env().settings.groups.get(usize::from(group)).map(|g| g.name.clone());
    let data = call.text(text).unwrap_or_default();
    let event = vec![(Str::from(DATA), data), (Str::from(GROUP), shown.unwrap_or_default())];
    Step::Wait(Request::Task { group, route, event })
}

/// Reads `$async(...)` or `$atkv(...)`; NULL outside of tasks.
pub fn get(h: &SipHost, pv: Kpv, sub: Option<&Value>) -> Value {
    let family = if pv == Kpv::AsyncTask { "async" } else { "atkv" };
    let sub = sub.and_then(Value::to_text).unwrap_or_default();
    let name = [family.as_bytes(), b":", &sub].concat();
    let Some((_, text)) = h.event.iter().find(|(n, _)| **n == *name) else { return Value::Null };
    if name == TYPE.as_bytes() {
        return Value::Int(Value::Str(text.clone()).to_int().unwrap_or(0));
    }
    Value::Str(text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::env::Env;
    use std::rc::Rc;

    #[test]
    fn variables_of_tasks_are_read() {
        let mut host = SipHost::without_message(Rc::new(Env::unattached()));
        let sub = |s: &str| Some(Value::from(s));
        assert!(get(&host, Kpv::AsyncTask, sub("data").as_ref()).is_null());
        host.event = vec![(Str::from(DATA), Str::from("x")), (Str::from(TYPE), Str::from("8000"))].into();
        assert_eq!(get(&host, Kpv::AsyncTask, sub("data").as_ref()), Value::from("x"));
        assert_eq!(get(&host, Kpv::KeyValueTask, sub("type").as_ref()), Value::Int(8000));
        assert!(get(&host, Kpv::KeyValueTask, sub("key").as_ref()).is_null());
    }
}
