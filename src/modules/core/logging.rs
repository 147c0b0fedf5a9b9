//! `xlog` and other ways to write a line.

use crate::modules::emit_judged;
use crate::modules::host::SipHost;
use crate::script::registry::{Arg, Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;

/// `xlog`
pub const XLOG: FnSpec<SipHost> = FnSpec {
    opensips: Some("xlog"),
    kamailio: None,
    params: &[Param::req("level or text", Kind::Str), Param::opt("text", Kind::Str)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Writes a line, optionally at a level: L_ALERT, L_CRIT, L_ERR, L_WARN, L_NOTICE, L_INFO, L_DBG.",
    returns: &[(1, "always")],
    example: r#"xlog("L_INFO", "call from $fu\n");"#,
    run: |call| {
        let (level, text) = if call.given(1) { (level_of(call), call.text(1)) } else { (None, call.text(0)) };
        let level = level.unwrap_or(call.host.env().settings.xlog_print_level);
        write_line(call, level, &text.unwrap_or_default());
        Step::Done(1)
    },
    finish: None,
};

/// `xdbg`
pub const XDBG: FnSpec<SipHost> = FnSpec {
    opensips: Some("xdbg"),
    kamailio: None,
    params: &[Param::req("text", Kind::Str)],
    doc: "Writes a line at debug level.",
    example: r#"xdbg("here with $rm\n");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        write_line(call, 4, &text);
        Step::Done(1)
    },
    ..XLOG
};

/// `log`
pub const LOG: FnSpec<SipHost> = FnSpec {
    opensips: Some("log"),
    kamailio: Some("log"),
    params: &[Param::req("level or text", Kind::IntOrStr), Param::opt("text", Kind::Raw)],
    doc: "Writes a text without variables, optionally at a numeric level; default 4 (debug).",
    example: r#"log(1, "reached\n");"#,
    run: |call| {
        let (level, text) = if call.given(1) { (call.int(0).unwrap_or(4), call.text(1)) } else { (4, call.text(0)) };
        write_line(call, level.clamp(-3, 4) as i32, &text.unwrap_or_default());
        Step::Done(1)
    },
    ..XLOG
};

/// `avp_print`
pub const AVP_PRINT: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_print"),
    kamailio: Some("pv_avp_print"),
    params: &[],
    doc: "Writes all AVPs of this run.",
    example: "avp_print();",
    run: |call| {
        for (name, values) in call.vm().avps() {
            let mut text = b"$avp(".to_vec();
            text.extend_from_slice(&name);
            text.extend_from_slice(b") =");
            for v in &values {
                text.push(b' ');
                v.write_to(&mut text);
            }
            write_line(call, 3, &text);
        }
        Step::Done(1)
    },
    ..XLOG
};

/// `pv_printf`
pub const PV_PRINTF: FnSpec<SipHost> = FnSpec {
    opensips: Some("pv_printf"),
    kamailio: Some("pv_printf"),
    params: &[Param::req("variable", Kind::Out), Param::req("text", Kind::Str)],
    doc: "Assigns a formatted text.",
    returns: &[(1, "assigned")],
    example: r#"pv_printf($var(x), "$rm from $fu");"#,
    run: |call| {
        let text = call.text(1).unwrap_or_default();
        call.assign(0, Value::Str(text));
        Step::Done(1)
    },
    ..XLOG
};

/// `error`
pub const ERROR: FnSpec<SipHost> = FnSpec {
    opensips: Some("error"),
    kamailio: None,
    params: &[Param::req("class", Kind::Raw), Param::req("reason", Kind::Raw)],
    doc: "Writes an error line.",
    example: r#"error("routing", "no gateway");"#,
    run: |call| {
        let text = [&call.text(0).unwrap_or_default()[..], b": ", &call.text(1).unwrap_or_default()].concat();
        write_line(call, -1, &text);
        Step::Done(1)
    },
    ..XLOG
};

/// `script_trace`
pub const SCRIPT_TRACE: FnSpec<SipHost> = FnSpec {
    opensips: Some("script_trace"),
    kamailio: None,
    params: &[Param::opt("level", Kind::Int), Param::opt("format", Kind::Raw), Param::opt("info", Kind::Raw)],
    doc: "Accepted; what a script does is seen with `reprise ctl waits` and the printed program.",
    example: "script_trace();",
    run: |_call| Step::Done(1),
    ..XLOG
};

/// The level an `L_...` word means; the third character decides, as in the peers.
fn level_of(call: &Call<'_, SipHost>) -> Option<i32> {
    let Some(Arg::Value(v)) = call.args.first() else { return None };
    if let Some(n) = v.as_int() {
        return Some(n.clamp(-3, 4) as i32);
    }
    let text = v.to_text()?;
    Some(match text.get(2)? {
        b'A' => -3,
        b'C' => -2,
        b'E' => -1,
        b'W' => 1,
        b'N' => 2,
        b'I' => 3,
        b'D' => 4,
        _ => return None,
    })
}

/// Writes a line at a level, if `xlog_level` lets it.
pub fn write_line(call: &mut Call<'_, SipHost>, level: i32, text: &[u8]) {
    let limit = call.host.levels.1.unwrap_or_else(|| call.host.env().xlog_level());
    if level <= limit {
        let text = &text[..text.len().min(call.host.env().settings.xlog_size)];
        emit_judged(level, &String::from_utf8_lossy(text));
    }
}
