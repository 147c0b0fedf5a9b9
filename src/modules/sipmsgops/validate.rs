//! `sipmsg_validate`: whether a message is as RFC 3261 wants it.

use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::check::strict;

/// `sipmsg_validate`
pub const SIPMSG_VALIDATE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sipmsg_validate"),
    kamailio: None,
    params: &[Param::opt("flags", Kind::Str), Param::opt("reason", Kind::Out)],
    variadic: false,
    routes: RouteSet::letters("RFOB"),
    waits: false,
    doc: "Checks the message as it came. Flags: `s` the SDP, `h` the values of all headers known here, `m` Max-Forwards \
          may be absent, `r` R-URI, `f` From, `t` To, `c` Contact. What cannot be read at all never gets as far as the \
          script. The reason is a text.",
    returns: &[
        (1, "nothing was found"),
        (-1, "there is no message"),
        (-2, "a header (h)"),
        (-3, "no Call-ID"),
        (-4, "a body without Content-Length over a stream transport"),
        (-5, "Content-Length is wrong"),
        (-6, "the SDP (s)"),
        (-7, "CSeq"),
        (-8, "no From"),
        (-9, "no To"),
        (-10, "Via"),
        (-11, "R-URI cannot be read (r)"),
        (-12, "host of the R-URI (r)"),
        (-13, "no Max-Forwards"),
        (-14, "no Contact in an INVITE or its 2xx"),
        (-15, "Path in a request that is no REGISTER"),
        (-16, "405 without Allow"),
        (-17, "423 without Min-Expires"),
        (-18, "407 without Proxy-Authenticate"),
        (-19, "420 without Unsupported"),
        (-20, "401 without WWW-Authenticate"),
        (-21, "a body without Content-Type"),
        (-22, "To cannot be read (t)"),
        (-23, "host of To (t)"),
        (-24, "From cannot be read (f)"),
        (-25, "host of From (f)"),
        (-26, "Contact cannot be read (c)"),
        (-27, "user of the R-URI (r)"),
        (-28, "user of From (f)"),
        (-29, "user of To (t)"),
        (-30, "Contact `*` in a request that is no REGISTER"),
    ],
    example: r#"if (!sipmsg_validate("sh", $var(why))) { send_reply(400, "$var(why)"); exit; }"#,
    run: |call| {
        let flags = call.text(0).unwrap_or_default();
        let stream =
            call.host.env().listeners.get(call.host.listener as usize).is_some_and(|l| l.transport.is_reliable());
        let msg = &call.host.msg;
        let session = super::parts::sdp(msg).map(|range| msg.slice(range));
        let result =
            if call.host.phony { Err((-1, "No Message")) } else { strict::check(msg, &flags, stream, session) };
        match result {
            Ok(()) => Step::Done(1),
            Err((code, reason)) => {
                call.assign(1, Value::from(reason));
                Step::Done(code)
            }
        }
    },
    finish: None,
};
