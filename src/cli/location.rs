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
}
