//! The functions of `xlog` that name their level.

use crate::modules::core::logging::{XLOG, write_at, write_located};
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[
    at::<-3>("xalert", "Writes a line at alert level.", r#"xalert("$si is blocked\n");"#),
    at::<-2>("xcrit", "Writes a line at critical level.", r#"xcrit("no gateway is left\n");"#),
    at::<-1>("xerr", "Writes a line at error level.", r#"xerr("no route to $rU\n");"#),
    at::<1>("xwarn", "Writes a line at warning level.", r#"xwarn("old client $ua\n");"#),
    at::<2>("xnotice", "Writes a line at notice level.", r#"xnotice("call to $rU\n");"#),
    at::<3>("xinfo", "Writes a line at info level.", r#"xinfo("new call $ci\n");"#),
    XLOGL,
    XLOGM,
];

const TEXT: &[Param] = &[Param::req("text", Kind::Str)];

/// A function whose level is in its name.
const fn at<const LEVEL: i32>(name: &'static str, doc: &'static str, example: &'static str) -> FnSpec<SipHost> {
    FnSpec { opensips: None, kamailio: Some(name), params: TEXT, doc, example, run: write::<LEVEL>, ..XLOG }
}

fn write<const LEVEL: i32>(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    write_at(call, LEVEL, 0);
    Step::Done(1)
}

const XLOGL: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("xlogl"),
    params: &[Param::req("level or text", Kind::Str), Param::opt("text", Kind::Str)],
    doc: "Writes a line as xlog does, with the file and line of the call in front of it.",
    example: r#"xlogl("L_INFO", "here\n");"#,
    run: |call| {
        let (file, line) = call.vm().position();
        write_located(call, &format!("{file}:{line}: "));
        Step::Done(1)
    },
    ..XLOG
};

const XLOGM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xlogm"),
    doc: "Writes a line as xlog does.",
    example: r#"xlogm("L_INFO", "here\n");"#,
    run: |call| {
        write_located(call, "");
        Step::Done(1)
    },
    ..XLOGL
};
