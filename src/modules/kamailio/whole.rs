//! `textopsx`: the message as a whole.

use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, RouteSet, Step};
use crate::sip::edits::Edits;

/// The functions.
pub const TEXTOPSX: &[FnSpec<SipHost>] = &[MSG_APPLY_CHANGES];

const MSG_APPLY_CHANGES: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("msg_apply_changes"),
    params: &[],
    variadic: false,
    routes: RouteSet::letters("RO"),
    waits: false,
    doc: "Makes the pending changes part of the message: variables and further changes see them. Not behind the making of \
          the transaction.",
    returns: &[(1, "done"), (-1, "there is a transaction already, or the result would be no message")],
    example: r#"append_hf("X-A: 1\r\n"); msg_apply_changes();"#,
    run: |call| {
        let host = &mut *call.host;
        if host.phony || (host.msg.is_request() && host.tm.key.is_some() && !host.tm.embryonic) {
            return Step::Done(-1);
        }
        match host.edits.applied(&host.msg) {
            Ok(message) => {
                host.msg = message;
                host.edits = Edits::default();
                Step::Done(1)
            }
            Err(_) => Step::Done(-1),
        }
    },
    finish: None,
};
