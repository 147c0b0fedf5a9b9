//! Settings of what all processes share: tables.

use crate::modules::env::Settings;
use crate::modules::htable::definition::Table;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::program::ModParam;
use std::time::Duration;

/// A parameter of `htable`.
pub(super) fn table(settings: &mut Settings, param: &str, p: &ModParam, diags: &mut Diagnostics) {
    match param {
        "htable" => {
            let parsed = Table::parse(&p.value.to_text().unwrap_or_default().to_lossy());
            let there = |t: &Table| settings.tables.iter().any(|other| other.name == t.name);
            match parsed {
                Ok(t) if there(&t) => twice(p, "table", &t.name.to_lossy(), diags),
                Ok(t) => settings.tables.push(t),
                Err(why) => diags.push(Diagnostic::error("E0505", p.span, why)),
            }
        }
        "timer_interval" => {
            let seconds = p.value.to_int().unwrap_or(20).clamp(1, 86_400);
            settings.table_interval = Duration::from_secs(seconds.unsigned_abs());
        }
        _ => {}
    }
}

fn twice(p: &ModParam, what: &str, name: &str, diags: &mut Diagnostics) {
    diags.push(Diagnostic::error("E0505", p.span, format!("there are two {what}s `{name}`")));
}
