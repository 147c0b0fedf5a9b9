//! `aaa_radius`: questions to RADIUS servers, with attributes that the script names in sets
//! (opensips.md section 3.6).

use super::host::SipHost;
use super::request::{Outcome, Request};
use crate::base::Str;
use crate::ops;
use crate::ops::radius::dictionary::{Decoded, Named};
use crate::ops::radius::packet::{ACCESS_ACCEPT, Attribute};
use crate::ops::radius::{Kind as Ask, RadiusRequest};
use crate::script::ast::Dialect;
use crate::script::registry::{
    Arg, Call, FnSpec, Kind, MapEntry, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step,
};
use crate::script::value::Value;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "aaa_radius",
    dialects: &[Dialect::OpenSips],
    functions: &[RADIUS_SEND_AUTH, RADIUS_SEND_ACCT],
    params: &[
        ModParamSpec {
            name: "radius_config",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "configuration file of the radiusclient libraries: servers, secrets, dictionaries, time-outs",
        },
        ModParamSpec {
            name: "sets",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "a set of attributes, `NAME = (ATTRIBUTE=$variable, ...)`; may be given many times",
        },
        ModParamSpec {
            name: "fetch_all_values",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: an AVP gets every value of an attribute that comes several times; default 0: the first",
        },
        ModParamSpec {
            name: "syslog_name",
            kind: ModParamKind::Str,
            ignored: true,
            doc: "failures go to the server's own log",
        },
    ],
    any_param: false,
    needs: &[],
};

const SET: Kind = Kind::Map("aaa_radius", "sets");

const RADIUS_SEND_AUTH: FnSpec<SipHost> = FnSpec {
    opensips: Some("radius_send_auth"),
    kamailio: None,
    params: &[Param::req("input_set", SET), Param::req("output_set", SET)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Sends an Access-Request with the attributes of the first set (a NULL variable is left out) and assigns what \
          comes back, accepted or rejected, to the variables of the second.",
    returns: &[
        (1, "accepted"),
        (-2, "rejected, or the server wants to ask back"),
        (-1, "no answer, or it could not be asked"),
    ],
    example: r#"async(radius_send_auth("login", "rights"), got_it, 5);"#,
    run: |call| ask(call, Ask::Auth),
    finish: Some(|call, outcome| {
        let Outcome::Op(ops::Outcome::Radius(answer)) = outcome else { return Step::Done(-1) };
        let code = if answer.code == ACCESS_ACCEPT { 1 } else { -2 };
        deliver(call, &answer.attributes);
        Step::Done(code)
    }),
};

const RADIUS_SEND_ACCT: FnSpec<SipHost> = FnSpec {
    opensips: Some("radius_send_acct"),
    params: &[Param::req("input_set", SET)],
    doc: "Sends an Accounting-Request with the attributes of the set.",
    returns: &[(1, "the server has taken it"), (-1, "no answer, or it could not be asked")],
    example: r#"async(radius_send_acct("ticket"), got_it);"#,
    run: |call| ask(call, Ask::Acct),
    finish: Some(|_, outcome| Step::Done(if matches!(outcome, Outcome::Op(ops::Outcome::Radius(_))) { 1 } else { -1 })),
    ..RADIUS_SEND_AUTH
};

fn ask(call: &mut Call<'_, SipHost>, kind: Ask) -> Step<SipHost> {
    let Some(Arg::Map(set)) = call.args.first() else { return Step::Done(-1) };
    let Some(config) = call.host.env().settings.radius.clone() else {
        return Step::Fail("no radius_config is given".to_string());
    };
    let mut attributes = Vec::with_capacity(set.len());
    for entry in set {
        let Some(text) = entry.value.to_text() else { continue };
        let Some(named) = config.dictionary.find(&entry.name.to_lossy()) else {
            return Step::Fail(format!("attribute {} is in no dictionary", entry.name));
        };
        match named.encode(&text) {
            Ok(value) => attributes.push(Attribute { vendor: named.vendor, code: named.code, value }),
            Err(expected) => return Step::Fail(format!("{}: `{text}` is not {expected}", named.name)),
        }
    }
    // As long as it may take to ask every server as often as configured.
    let servers = match kind {
        Ask::Auth => config.auth.len(),
        Ask::Acct => config.acct.len(),
    };
    let tries = f64::from(config.retries) + 1.0;
    let limit = config.timeout.as_secs_f64() * 1.1 * tries * servers.max(1) as f64 + 1.0;
    let op = ops::Request::Radius(RadiusRequest { kind, attributes });
    Step::Wait(Request::Op { op, limit: Some(limit) })
}

/// Assigns what came back to the variables of the output set.
fn deliver(call: &mut Call<'_, SipHost>, attributes: &[Attribute]) {
    let Some(Arg::Map(set)) = call.args.get(1) else { return };
    let set: Vec<MapEntry> = set.clone();
    let Some(config) = call.host.env().settings.radius.clone() else { return };
    let all = call.host.env().settings.radius_fetch_all;
    for entry in &set {
        let (Some(place), Some(named)) = (&entry.place, config.dictionary.find(&entry.name.to_lossy())) else {
            continue;
        };
        let values = attributes.iter().filter(|a| a.vendor == named.vendor && a.code == named.code);
        let values: Vec<Value> =
            values.map(|a| value(named, &a.value)).take(if all { usize::MAX } else { 1 }).collect();
        // The first one ends at index 0 of an AVP.
        for v in values.into_iter().rev() {
            call.assign_to(place, v);
        }
    }
}

fn value(named: &Named, bytes: &[u8]) -> Value {
    match named.decode(bytes) {
        Decoded::Int(n) => Value::Int(n),
        Decoded::Bytes(b) => Value::Str(Str::from(b)),
    }
}
