//! What scripts of OpenSIPS say of destinations: a text per destination that all workers know, until the server ends.

use super::opensips::{DS_SELECT_DST, partition};
use super::query::{Seek, look, of_set, seek};
use super::shared::change;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::host_ip;

/// Longest text, bytes.
const LONGEST: usize = 1024;

/// `ds_push_script_attrs`
pub const DS_PUSH_SCRIPT_ATTRS: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_push_script_attrs"),
    params: &[
        Param::req("attrs", Kind::Str),
        Param::req("address", Kind::Str),
        Param::req("port", Kind::Int),
        Param::req("set", Kind::Int),
        Param::opt("partition", Kind::Str),
    ],
    routes: RouteSet::ALL,
    doc: "Keeps a text with the destination of a set that has this address and port (0: any): script_attrs_avp gets it when \
          the destination is chosen, algo_route as `$param(script_attrs)`.",
    returns: &[(1, "done"), (-1, "no such destination, or a text of more than 1024 bytes")],
    example: r#"ds_push_script_attrs("busy", $si, $sp, 1);"#,
    run: push,
    finish: None,
    ..DS_SELECT_DST
};

/// `ds_get_script_attrs`
pub const DS_GET_SCRIPT_ATTRS: FnSpec<SipHost> = FnSpec {
    opensips: Some("ds_get_script_attrs"),
    params: &[
        Param::req("uri", Kind::Str),
        Param::req("set", Kind::Int),
        Param::opt("partition", Kind::Str),
        Param::req("attrs", Kind::Out),
    ],
    doc: "What ds_push_script_attrs has said of the destination with this URI.",
    returns: &[(1, "done"), (-1, "no such destination")],
    example: "ds_get_script_attrs($du, 1, , $var(attrs));",
    run: get,
    ..DS_PUSH_SCRIPT_ATTRS
};

fn push(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    if let Err(why) = partition(call, 4) {
        return Step::Fail(why);
    }
    let text = call.text(0).unwrap_or_default();
    let address = call.text(1).unwrap_or_default();
    let (Some(ip), Some(set)) = (host_ip(&address), call.int(3)) else {
        return Step::Fail(format!("\"{}\" is no address, or the set is no number", address.to_lossy()));
    };
    if text.len() > LONGEST {
        return Step::Fail(format!("attributes of more than {LONGEST} bytes"));
    }
    let port = call.int(2).and_then(|n| u16::try_from(n).ok()).filter(|p| *p != 0);
    let Some(known) = look(call) else { return Step::Done(-1) };
    let wanted =
        Seek { ip: ip.to_canonical(), port, transport: None, active_only: false, listener: None, closest: false };
    let Some(uri) = seek(call.host, &known, Some(set), &wanted).map(|(_, d)| d.uri.clone()) else {
        return Step::Done(-1);
    };
    let done = change(call.host.env(), set, Some(&uri), |_, state| state.script = text.clone());
    match done {
        Ok(list) => Step::Done(if list.is_empty() { -1 } else { 1 }),
        Err(why) => {
            log_line(call.host, -1, &format!("dispatcher: {why}"));
            Step::Done(-1)
        }
    }
}

fn get(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    if let Err(why) = partition(call, 2) {
        return Step::Fail(why);
    }
    let uri: Str = call.text(0).unwrap_or_default();
    let (Some(set), Some(known)) = (call.int(1), look(call)) else { return Step::Done(-1) };
    let found = of_set(&known, set).find(|(d, _)| d.uri == uri).map(|(_, s)| s.script.clone());
    match found {
        Some(text) => {
            call.assign(3, Value::Str(text));
            Step::Done(1)
        }
        None => Step::Done(-1),
    }
}
