//! `corex`: what `event_route[network:msg]` may ask.

use crate::modules::host::SipHost;
use crate::script::ast::RouteKind;
use crate::script::registry::{FnSpec, RouteSet, Step};

/// `nio_is_incoming`
pub const NIO_IS_INCOMING: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("nio_is_incoming"),
    params: &[],
    variadic: false,
    routes: RouteSet::of(&[RouteKind::Request, RouteKind::Event]),
    waits: false,
    doc: "In event_route[network:msg]: whether the bytes have come in; else they are about to leave.",
    returns: &[(1, "they have come in"), (-1, "they are about to leave")],
    example: "if (nio_is_incoming()) exit;",
    run: |call| {
        let leaves = call.host.packet.as_ref().is_some_and(|p| p.to.is_some());
        Step::Done(if leaves { -1 } else { 1 })
    },
    finish: None,
};
