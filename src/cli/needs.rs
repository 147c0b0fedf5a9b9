//! Modules that need others only in some of their ways to work.

use crate::modules::env::Settings;
use crate::modules::host::SipHost;
use crate::script::ast::{Config, Item};
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::program::{ModParam, Program};

/// Reports what is missing.
pub(super) fn check(config: &Config, program: &Program<SipHost>, settings: &Settings, diags: &mut Diagnostics) {
    // Only for tasks with data `async` can do without.
    let without = |p: &ModParam| p.module == "async" && p.param == "mode" && p.value.to_int() == Some(1);
    if !program.modparams.iter().any(without) {
        need(config, program, ("async", "tm"), diags);
    }
    // What brings addresses back stands in the Record-Route.
    if settings.uac.automatic() {
        need(config, program, ("uac", "rr"), diags);
    }
    let dialog = |p: &&ModParam| p.module == "uac" && p.param == "restore_dlg" && p.value.to_int() != Some(0);
    if let Some(p) = program.modparams.iter().rfind(dialog) {
        let text = "`restore_dlg` needs the module `dialog`, which is not there";
        let help =
            "the addresses are brought back all the same, by what record_route writes: the script has to call it";
        diags.push(Diagnostic::warning("W0501", p.span, text).help(help));
    }
}

fn need(config: &Config, program: &Program<SipHost>, (module, other): (&str, &str), diags: &mut Diagnostics) {
    if !program.has_module(module) || program.has_module(other) {
        return;
    }
    let loads = |item: &Item| match item {
        Item::LoadModule { file, span } => {
            let path = String::from_utf8_lossy(&file.text).into_owned();
            let name = path.rsplit('/').next().unwrap_or_default();
            (name.strip_suffix(".so").unwrap_or(name) == module).then_some(*span)
        }
        _ => None,
    };
    if let Some(span) = config.items.iter().find_map(loads) {
        let text = format!("module `{module}` needs module `{other}`, which is not loaded");
        diags.push(Diagnostic::error("E0203", span, text).help(format!("add `loadmodule \"{other}.so\"`")));
    }
}
