//! Settings of `usrloc` and `registrar`.

use crate::modules::env::Settings;
use crate::modules::{registrar, usrloc};
use crate::script::ast::Dialect;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::program::ModParam;

/// Reads the parameters of both modules.
pub(super) fn read(settings: &mut Settings, dialect: Dialect, params: &[ModParam], diags: &mut Diagnostics) {
    settings.usrloc = usrloc::Settings::of(dialect);
    settings.registrar = registrar::Settings::of(dialect);
    for p in params {
        let set = match p.module.as_str() {
            "usrloc" => settings.usrloc.set(&p.param, &p.value),
            "registrar" => settings.registrar.set(&p.param, &p.value),
            _ => Ok(()),
        };
        if let Err(why) = set {
            diags.push(Diagnostic::error("E0505", p.span, why));
        }
    }
    let named = |p: &&ModParam| p.module == "usrloc" && (p.param.starts_with("ka_") || p.param.ends_with("_tcp"));
    let Some(p) = params.iter().rev().find(named) else { return };
    if let Err(why) = settings.usrloc.check() {
        diags.push(Diagnostic::error("E0505", p.span, why));
    }
    if settings.usrloc.asks_in_vain() {
        let d = Diagnostic::warning("W0501", p.span, format!("`{}` has no effect", p.param));
        diags.push(d.label("with db_mode 3 contacts are in the database alone"));
    }
}
