//! The functions of `xlog` that name their level.

use crate::modules::core::logging::{XLOG, write_at};
use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, Step};

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[XALERT, XCRIT, XERR, XWARN, XNOTICE, XINFO, XLOGL, XLOGM];

const XALERT: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("xalert"),
    params: &[Param::req("text", Kind::Str)],
    doc: "Writes a line at alert level.",
    example: r#"xalert("$si is blocked\n");"#,
    run: |call| {
        write_at(call, -3, 0);
        Step::Done(1)
    },
    ..XLOG
};

const XCRIT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xcrit"),
    doc: "Writes a line at critical level.",
    example: r#"xcrit("no gateway is left\n");"#,
    run: |call| {
        write_at(call, -2, 0);
        Step::Done(1)
    },
    ..XALERT
};

const XERR: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xerr"),
    doc: "Writes a line at error level.",
    example: r#"xerr("no route to $rU\n");"#,
    run: |call| {
        write_at(call, -1, 0);
        Step::Done(1)
    },
    ..XALERT
};

const XWARN: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xwarn"),
    doc: "Writes a line at warning level.",
    example: r#"xwarn("old client $ua\n");"#,
    run: |call| {
        write_at(call, 1, 0);
        Step::Done(1)
    },
    ..XALERT
};

const XNOTICE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xnotice"),
    doc: "Writes a line at notice level.",
    example: r#"xnotice("call to $rU\n");"#,
    run: |call| {
        write_at(call, 2, 0);
        Step::Done(1)
    },
    ..XALERT
};

const XINFO: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xinfo"),
    doc: "Writes a line at info level.",
    example: r#"xinfo("new call $ci\n");"#,
    run: |call| {
        write_at(call, 3, 0);
        Step::Done(1)
    },
    ..XALERT
};

const XLOGL: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xlogl"),
    params: &[Param::req("level or text", Kind::Str), Param::opt("text", Kind::Str)],
    doc: "Writes a line as xlog does, with the file and line of the call in front of it.",
    example: r#"xlogl("L_INFO", "here\n");"#,
    run: |call| {
        let (file, line) = call.vm().position();
        crate::modules::core::logging::write_located(call, &format!("{file}:{line}: "));
        Step::Done(1)
    },
    ..XALERT
};

const XLOGM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xlogm"),
    params: &[Param::req("level or text", Kind::Str), Param::opt("text", Kind::Str)],
    doc: "Writes a line as xlog does.",
    example: r#"xlogm("L_INFO", "here\n");"#,
    run: |call| {
        crate::modules::core::logging::write_located(call, "");
        Step::Done(1)
    },
    ..XALERT
};
