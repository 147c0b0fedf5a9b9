//! Relaying over a transport, or to an address, that the script names: `t_forward_nonack` and its like.

use super::relay::{HOST_PORT, T_RELAY_HOST, to_host};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::{RelayFlags, Request};
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::Method;

/// What a function says that would have to speak SCTP.
pub(super) const NO_SCTP: &str = "this server does not speak SCTP: use udp or tcp";

/// `t_relay_to_sctp`
pub const T_RELAY_TO_SCTP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_relay_to_sctp"),
    doc: "As t_relay, over SCTP, which this server does not speak: nothing is sent.",
    returns: &[(-1, "always, with a line in the log")],
    example: r#"if (!t_relay_to_sctp("10.0.0.9", "5060")) t_relay_to_tcp("10.0.0.9", "5060");"#,
    waits: false,
    run: |_call| Step::Fail(NO_SCTP.to_string()),
    ..T_RELAY_HOST
};

/// Transport, and host with port.
pub(super) const PROTO_HOSTPORT: &[Param] = &[Param::req("transport", Kind::Str), Param::req("address", Kind::Str)];

/// `t_relay_to_avp`
pub const T_RELAY_TO_AVP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_relay_to_avp"),
    params: PROTO_HOSTPORT,
    routes: RouteSet::letters("R"),
    doc: "As t_relay, over this transport (udp, tcp, tls) to `host[:port]`, which an AVP may hold.",
    example: r#"t_relay_to_avp("udp", "$avp(gateway)");"#,
    run: |call| to_address(call, RelayFlags::default()),
    ..T_RELAY_HOST
};

/// `t_forward_nonack`
pub const T_FORWARD_NONACK: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_forward_nonack"),
    doc: "As t_relay for requests other than ACK, without an error reply of ours.",
    example: r#"t_forward_nonack("10.0.0.9", "5060");"#,
    run: |call| unless_ack(call, |call| to_host(call, "", QUIET)),
    ..T_RELAY_HOST
};

/// `t_forward_nonack_uri`
pub const T_FORWARD_NONACK_URI: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_forward_nonack_uri"),
    params: &[],
    doc: "As t_forward_nonack, to where the request goes anyway.",
    example: "t_forward_nonack_uri();",
    ..T_FORWARD_NONACK
};

/// `t_forward_nonack_udp`
pub const T_FORWARD_NONACK_UDP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_forward_nonack_udp"),
    params: HOST_PORT,
    doc: "As t_forward_nonack, over UDP.",
    example: r#"t_forward_nonack_udp("10.0.0.9", "5060");"#,
    run: |call| unless_ack(call, |call| to_host(call, "udp:", QUIET)),
    ..T_FORWARD_NONACK
};

/// `t_forward_nonack_tcp`
pub const T_FORWARD_NONACK_TCP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_forward_nonack_tcp"),
    doc: "As t_forward_nonack, over TCP.",
    example: r#"t_forward_nonack_tcp("10.0.0.9", "5060");"#,
    run: |call| unless_ack(call, |call| to_host(call, "tcp:", QUIET)),
    ..T_FORWARD_NONACK_UDP
};

/// `t_forward_nonack_tls`
pub const T_FORWARD_NONACK_TLS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_forward_nonack_tls"),
    doc: "As t_forward_nonack, over TLS.",
    example: r#"t_forward_nonack_tls("10.0.0.9", "5061");"#,
    run: |call| unless_ack(call, |call| to_host(call, "tls:", QUIET)),
    ..T_FORWARD_NONACK_UDP
};

/// `t_forward_nonack_sctp`
pub const T_FORWARD_NONACK_SCTP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_forward_nonack_sctp"),
    params: HOST_PORT,
    doc: "As t_forward_nonack, over SCTP, which this server does not speak: nothing is sent.",
    example: r#"if (!t_forward_nonack_sctp("10.0.0.9", "5060")) t_forward_nonack_tcp("10.0.0.9", "5060");"#,
    ..T_RELAY_TO_SCTP
};

/// `t_forward_nonack_to`
pub const T_FORWARD_NONACK_TO: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_forward_nonack_to"),
    params: PROTO_HOSTPORT,
    doc: "As t_forward_nonack, over this transport (udp, tcp, tls) to `host[:port]`.",
    example: r#"t_forward_nonack_to("udp", "10.0.0.9:5060");"#,
    run: |call| unless_ack(call, |call| to_address(call, QUIET)),
    ..T_FORWARD_NONACK
};

/// Whoever calls these answers by itself.
const QUIET: RelayFlags =
    RelayFlags { no_auto_477: true, no_dns_failover: false, pass_reason: false, allow_no_cancel: false, no_100: false };

fn unless_ack(call: &mut Call<'_, SipHost>, go: fn(&mut Call<'_, SipHost>) -> Step<SipHost>) -> Step<SipHost> {
    if call.host.msg.method() == Method::Ack { Step::Done(-1) } else { go(call) }
}

/// The word of a transport that this server may send over.
pub(super) fn transport(word: &[u8]) -> Result<&'static str, String> {
    match word.trim_ascii().to_ascii_lowercase().as_slice() {
        b"udp" => Ok("udp"),
        b"tcp" => Ok("tcp"),
        b"tls" => Ok("tls"),
        b"sctp" => Err(NO_SCTP.to_string()),
        _ => Err(format!("\"{}\" is no transport: udp, tcp and tls are", String::from_utf8_lossy(word))),
    }
}

/// Over the transport of the first argument to the address of the second.
fn to_address(call: &mut Call<'_, SipHost>, flags: RelayFlags) -> Step<SipHost> {
    let (word, address) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    if address.is_empty() {
        return Step::Fail("the address is empty".to_string());
    }
    match transport(&word) {
        Ok(word) => {
            let proxy = Str::from([word.as_bytes(), b":", &address[..]].concat());
            Step::Wait(Request::Relay { flags, proxy: Some(proxy) })
        }
        Err(why) => Step::Fail(why),
    }
}
