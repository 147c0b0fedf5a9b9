//! The functions about addresses as OpenSIPS has them.

use super::address::Asked;
use super::{ALL_BRANCHES, ALLOW_FILE, ALLOW_SUFFIX, DENY_FILE, DENY_SUFFIX, allow, ignored, text};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::lists;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::host_ip;

/// The module of OpenSIPS.
pub static OPENSIPS: ModuleSpec<SipHost> = ModuleSpec {
    name: "permissions",
    dialects: &[Dialect::OpenSips],
    functions: &[CHECK_ADDRESS, CHECK_SOURCE, GET_GROUP, allow::ROUTING, allow::REGISTER, allow::URI],
    params: &[
        text("db_url", "the database of the addresses"),
        text("address_table", "default address"),
        text("grp_col", "default grp"),
        text("ip_col", "default ip"),
        text("mask_col", "default mask"),
        text("port_col", "default port"),
        text("proto_col", "default proto"),
        text("pattern_col", "default pattern"),
        text("info_col", "default context_info"),
        ALLOW_FILE,
        DENY_FILE,
        ALLOW_SUFFIX,
        DENY_SUFFIX,
        ALL_BRANCHES,
        ignored("partition", "there is one partition, the default one"),
    ],
    any_param: false,
    needs: &[],
};

const CHECK_ADDRESS: FnSpec<SipHost> = FnSpec {
    opensips: Some("check_address"),
    kamailio: None,
    params: &[
        Param::req("group", Kind::Int),
        Param::req("address", Kind::Str),
        Param::req("port", Kind::Int),
        Param::req("proto", Kind::Str),
        Param::opt("context", Kind::Out),
        Param::opt("pattern", Kind::Str),
        Param::opt("partition", Kind::Str),
    ],
    variadic: false,
    routes: RouteSet::letters("RFBLSTV"),
    waits: false,
    doc: "Whether an address, port and transport are in a group of the table: a host or a network. Group 0, port 0 and \
          transport `any` are any, here and in the table; `none` in the table is no transport. With a text as the sixth \
          argument it must fit the entry's pattern, if that has one. The context of the entry goes to the fifth.",
    returns: &[(1, "it is"), (-1, "it is not, or this is no address")],
    example: r#"if (!check_address(2, $si, $sp, $proto, $avp(ctx))) exit;"#,
    run: |call| {
        let (Some(group), Some(port)) = (call.int(0), call.int(2).and_then(|p| u16::try_from(p).ok())) else {
            return Step::Fail("group and port are numbers".to_string());
        };
        let address = call.text(1).unwrap_or_default();
        let Some(ip) = host_ip(&address) else {
            return Step::Fail(format!("\"{}\" is no address", address.to_lossy()));
        };
        let proto = call.text(3).unwrap_or_default().to_ascii_lowercase();
        if !PROTOCOLS.contains(&proto.as_slice()) {
            return Step::Fail(format!("\"{}\" is no transport", String::from_utf8_lossy(&proto)));
        }
        if let Err(why) = partition(call, 6) {
            return Step::Fail(why);
        }
        check(call, &Asked { group, ip: ip.to_canonical(), port, proto: &proto }, 4)
    },
    finish: None,
};

const CHECK_SOURCE: FnSpec<SipHost> = FnSpec {
    opensips: Some("check_source_address"),
    params: &[
        Param::req("group", Kind::Int),
        Param::opt("context", Kind::Out),
        Param::opt("pattern", Kind::Str),
        Param::opt("partition", Kind::Str),
    ],
    routes: RouteSet::letters("RFBL"),
    doc: "check_address for where the message came from.",
    returns: &[(1, "it is"), (-1, "it is not")],
    example: "if (!check_source_address(1, $avp(ctx))) exit;",
    run: |call| {
        let Some(group) = call.int(0) else { return Step::Fail("the group is a number".to_string()) };
        if let Err(why) = partition(call, 3) {
            return Step::Fail(why);
        }
        let (source, proto) = (call.host.source, proto(call));
        check(call, &Asked { group, ip: source.ip().to_canonical(), port: source.port(), proto: &proto }, 1)
    },
    ..CHECK_ADDRESS
};

const GET_GROUP: FnSpec<SipHost> = FnSpec {
    opensips: Some("get_source_group"),
    params: &[Param::req("group", Kind::Out), Param::opt("partition", Kind::Str)],
    routes: RouteSet::letters("RFBL"),
    doc: "The group of the table that the source of the message is in.",
    returns: &[(1, "done"), (-1, "it is in none")],
    example: r#"if (get_source_group($var(group))) xlog("group $var(group)\n");"#,
    run: |call| {
        if let Err(why) = partition(call, 1) {
            return Step::Fail(why);
        }
        let (source, proto) = (call.host.source, proto(call));
        let asked = Asked { group: 0, ip: source.ip().to_canonical(), port: source.port(), proto: &proto };
        let all = lists::addresses(call.host.env());
        let Some(group) = all.fitting(&asked).next().map(|e| e.group) else { return Step::Done(-1) };
        call.assign(0, Value::Int(group));
        Step::Done(1)
    },
    ..CHECK_ADDRESS
};

const PROTOCOLS: [&[u8]; 7] = [b"any", b"udp", b"tcp", b"tls", b"sctp", b"ws", b"wss"];

/// There is only the default partition.
fn partition(call: &Call<'_, SipHost>, i: usize) -> Result<(), String> {
    match call.text(i).filter(|n| !n.is_empty() && n[..] != *b"default") {
        Some(name) => Err(format!("permissions: there is no partition {}: only the default one", name.to_lossy())),
        None => Ok(()),
    }
}

/// The transport that the message came over.
fn proto(call: &Call<'_, SipHost>) -> Str {
    let h = &*call.host;
    let listener = h.env().listeners.get(usize::from(h.listener));
    Str::from(listener.map_or("udp", |l| l.transport.as_param()))
}

/// Looks for an entry; the arguments from `at` on are the place of its context and the text for its pattern.
fn check(call: &mut Call<'_, SipHost>, asked: &Asked<'_>, at: usize) -> Step<SipHost> {
    let all = lists::addresses(call.host.env());
    let text = call.text(at + 1).filter(|t| !t.is_empty());
    let found = all.fitting(asked).find(|e| match (&e.pattern, &text) {
        (Some(pattern), Some(text)) => call.vm().pattern(pattern).is_ok_and(|r| r.is_match(text)),
        _ => true,
    });
    let Some(found) = found else { return Step::Done(-1) };
    let context = found.tag.clone().map_or(Value::Null, Value::Str);
    if !matches!(context, Value::Null) {
        call.assign(at, context);
    }
    Step::Done(1)
}
