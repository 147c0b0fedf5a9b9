//! What parameters of Kamailio's `tm` and the script say about each other.

use crate::modules::env::Settings;
use crate::modules::host::SipHost;
use crate::modules::tm::external;
use crate::script::ast::RouteKind;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::ir::ArgPlan;
use crate::script::program::{ModParam, Program};

/// Reports a route of `on_sl_reply` and names of `tw_append` that do not exist.
pub(super) fn check(program: &Program<SipHost>, params: &[ModParam], settings: &Settings, diags: &mut Diagnostics) {
    if let Some(name) = &settings.tm.stray_reply {
        let name = name.to_lossy();
        let span = params.iter().rev().find(|p| p.module == "tm" && p.param == "on_sl_reply").map(|p| p.span);
        if let (Some(span), None) = (span, program.find_route(RouteKind::OnReply, Some(&name))) {
            diags.push(Diagnostic::error("E0205", span, format!("there is no `onreply_route[{name}]`")));
        }
    }
    for site in program.sites.iter().filter(|s| matches!(&*s.name, "t_write_req" | "t_write_unix")) {
        let Some(ArgPlan::Const(n)) = site.args.get(1) else { continue };
        let Some(action) = program.consts.get(*n as usize).and_then(|v| v.to_text()) else { continue };
        match external::split(&action) {
            Ok((_, Some(name))) if settings.tm.append(&name).is_none() => {
                let d = Diagnostic::error("E0302", site.span, format!("there is no tw_append `{}`", name.to_lossy()));
                let form = format!("modparam(\"tm\", \"tw_append\", \"{}:hdr[Subject]\")", name.to_lossy());
                diags.push(d.help(format!("define it: {form}")));
            }
            Ok(_) => {}
            Err(why) => diags.push(Diagnostic::error("E0302", site.span, why)),
        }
    }
}
