//! Settings of what all processes share: tables, queues; and of timers.

use crate::modules::env::Settings;
use crate::modules::htable::definition::Table;
use crate::modules::mqueue::{self, Database, Queue};
use crate::modules::rtimer::Timer;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::program::ModParam;
use crate::store::shared::queues::Doubles;
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
        param => {
            settings.table_columns.set(param, &p.value);
        }
    }
}

/// A parameter of `mqueue`; `bare` is what a queue has that `mqueue_name` defines.
pub(super) fn queue(
    settings: &mut Settings,
    bare: &mut (u64, Doubles),
    param: &str,
    p: &ModParam,
    diags: &mut Diagnostics,
) {
    let text = p.value.to_text().unwrap_or_default();
    let number = p.value.to_int().unwrap_or(0);
    let parsed = match param {
        "mqueue" => Queue::parse(&text.to_lossy()),
        "mqueue_name" => {
            let queue = |name| Queue { name, size: bare.0, doubles: bare.1, database: Database::default() };
            mqueue::name(&text.to_lossy()).map(queue)
        }
        "mqueue_size" => {
            bare.0 = u64::try_from(number).unwrap_or(0);
            return;
        }
        "mqueue_addmode" => match mqueue::doubles(number) {
            Ok(mode) => {
                bare.1 = mode;
                return;
            }
            Err(why) => Err(why),
        },
        _ => return,
    };
    match parsed {
        Ok(q) if settings.queues.iter().any(|other| other.name == q.name) => {
            twice(p, "queue", &q.name.to_lossy(), diags);
        }
        Ok(q) => settings.queues.push(q),
        Err(why) => diags.push(Diagnostic::error("E0505", p.span, why)),
    }
}

/// A parameter of `rtimer`; `default` is the interval of timers without one.
pub(super) fn timer(
    settings: &mut Settings,
    default: &mut Duration,
    param: &str,
    p: &ModParam,
    diags: &mut Diagnostics,
) {
    let text = p.value.to_text().unwrap_or_default();
    let failed = match param {
        "default_interval" => {
            *default = Duration::from_secs(p.value.to_int().unwrap_or(120).clamp(1, 1 << 31).unsigned_abs());
            return;
        }
        "timer" => match Timer::parse(&text.to_lossy(), *default) {
            Ok(t) if settings.rtimers.iter().any(|other| other.name == t.name) => {
                return twice(p, "timer", &t.name.to_lossy(), diags);
            }
            Ok(t) => {
                settings.rtimers.push(t);
                return;
            }
            Err(why) => why,
        },
        "exec" => match Timer::exec(&text.to_lossy()) {
            Ok((name, route)) => match settings.rtimers.iter_mut().find(|t| t.name == name) {
                Some(timer) => {
                    // The last that is defined runs first.
                    timer.routes.insert(0, route);
                    return;
                }
                None => format!("there is no timer `{}` above", name.to_lossy()),
            },
            Err(why) => why,
        },
        _ => return,
    };
    diags.push(Diagnostic::error("E0505", p.span, failed));
}

/// Queues that are kept in a database need one.
pub(super) fn check_queues(settings: &Settings, params: &[ModParam], diags: &mut Diagnostics) {
    if settings.db_urls.iter().any(|(n, _)| *n == Database::URL) {
        return;
    }
    for p in params.iter().filter(|p| p.module == "mqueue" && p.param == "mqueue") {
        let queue = Queue::parse(&p.value.to_text().unwrap_or_default().to_lossy());
        if queue.is_ok_and(|q| q.database.is_used()) {
            let d = Diagnostic::error("E0505", p.span, "`dbmode` needs a database");
            diags.push(d.help("modparam(\"mqueue\", \"db_url\", \"mysql://user:password@host/database\")"));
        }
    }
}

fn twice(p: &ModParam, what: &str, name: &str, diags: &mut Diagnostics) {
    diags.push(Diagnostic::error("E0505", p.span, format!("there are two {what}s `{name}`")));
}
