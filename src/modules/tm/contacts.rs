//! Serial forking by q, as the other dialect writes it.

use super::send::T_NEWTRAN;
use crate::modules::core::branches::{forget_stored, next_group, store};
use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};

/// `t_load_contacts`
pub const T_LOAD_CONTACTS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_load_contacts"),
    params: &[Param::opt("mode", Kind::IntOrStr)],
    routes: RouteSet::letters("RF"),
    doc: "Puts R-URI and branches away in groups of equal q, highest first, for t_next_contacts. Does nothing if there \
          is only the R-URI. Mode 0 (also without an argument) orders by q; 1 keeps the order.",
    returns: &[(1, "done"), (-1, "no such mode")],
    example: "t_load_contacts();",
    run: |call| {
        let keep_order = match call.int(0) {
            None if call.given(0) => return Step::Done(-1),
            None | Some(0) => false,
            Some(1) => true,
            Some(_) => return Step::Done(-1),
        };
        if !call.host.branches.is_empty() {
            forget_stored(call);
            store(call, keep_order);
        }
        Step::Done(1)
    },
    finish: None,
    ..T_NEWTRAN
};

/// `t_next_contacts`
pub const T_NEXT_CONTACTS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_next_contacts"),
    params: &[],
    doc: "Makes the next group of contacts the destination set: its first one the R-URI, the others branches.",
    returns: &[(1, "done"), (-2, "there is none left")],
    example: "if (t_next_contacts()) t_relay();",
    run: |call| Step::Done(if next_group(call).is_some() { 1 } else { -2 }),
    ..T_LOAD_CONTACTS
};
