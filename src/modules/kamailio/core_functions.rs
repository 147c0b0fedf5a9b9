//! Small functions of the core: switches of one message.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, RouteSet, Step};

/// A message flag that keeps replies from opening a connection.
pub const REPLY_NO_CONNECT: &str = "(reply_no_connect)";
/// A branch flag that keeps requests from opening a connection.
pub const FORWARD_NO_CONNECT: &str = "(forward_no_connect)";

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[SET_REPLY_NO_CONNECT, SET_FORWARD_NO_CONNECT, CLEAR_BRANCHES];

const SET_REPLY_NO_CONNECT: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("set_reply_no_connect"),
    params: &[],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "No connection is opened for the replies to this request: they use the one it came over, or are dropped.",
    returns: &[(1, "always")],
    example: "set_reply_no_connect();",
    run: |call| {
        set(call, REPLY_NO_CONNECT);
        Step::Done(1)
    },
    finish: None,
};

const SET_FORWARD_NO_CONNECT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("set_forward_no_connect"),
    doc: "No connection is opened for this request: it uses one that exists, or its branch fails.",
    example: "set_forward_no_connect();",
    run: |call| {
        let flag = Str::from(FORWARD_NO_CONNECT);
        if !call.host.bflags.contains(&flag) {
            call.host.bflags.push(flag);
        }
        Step::Done(1)
    },
    ..SET_REPLY_NO_CONNECT
};

const CLEAR_BRANCHES: FnSpec<SipHost> = FnSpec {
    kamailio: Some("clear_branches"),
    doc: "Removes all further branches.",
    example: "clear_branches();",
    run: |call| {
        call.host.branches.clear();
        Step::Done(1)
    },
    ..SET_REPLY_NO_CONNECT
};

fn set(call: &mut Call<'_, SipHost>, flag: &str) {
    let flag = Str::from(flag);
    if !call.host.flags.contains(&flag) {
        call.host.flags.push(flag);
    }
}
