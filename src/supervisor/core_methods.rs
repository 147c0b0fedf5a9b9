//! Control methods under the names that Kamailio's operators know (kamailio.md section 8.3): `core.*`, `tm.stats`,
//! `sl.stats`, `system.listMethods`, and the log level as `cfg.*` of `core debug`.

use super::facts;
use super::main_loop::Supervisor;
use crate::base::Time;
use crate::control::jsonrpc::{Request, RpcError};
use crate::net::sys::realtime;
use crate::store::Counter;
use crate::worker::seat::ToChild;
use serde_json::{Map, Value, json};

/// What this file answers.
pub(super) const METHODS: [&str; 21] = [
    "core.aliases_list",
    "core.arg",
    "core.echo",
    "core.flags",
    "core.info",
    "core.modules",
    "core.ppdefines",
    "core.ppdefines_full",
    "core.printi",
    "core.prints",
    "core.ps",
    "core.psx",
    "core.pwd",
    "core.shmmem",
    "core.sockets_list",
    "core.tcp_info",
    "core.uptime",
    "core.version",
    "sl.stats",
    "system.listMethods",
    "tm.stats",
];

/// Kamailio's `debug` 0 shows warnings, which are level 1 here.
const DEBUG_OFFSET: i64 = 1;

impl Supervisor<'_> {
    /// Answers a method of this file; `None`: it is none.
    pub(super) fn core_method(&mut self, request: &Request, now: Time) -> Option<Result<Value, RpcError>> {
        if let Some(done) = self.core_parameter(request) {
            return Some(done);
        }
        let method = request.method.as_str();
        let processes = || -> Vec<(i64, String)> {
            let mut all = vec![(i64::from(std::process::id()), "main".to_string())];
            all.extend(self.places.iter().enumerate().filter_map(|(index, place)| {
                place.tenant.as_ref().map(|t| (i64::from(t.pid.as_raw()), place.title(index)))
            }));
            all
        };
        Some(Ok(match method {
            "core.version" => json!(self.version),
            "core.flags" => json!([]),
            "core.info" => json!({ "version": self.version, "compiler": "rustc", "flags": "" }),
            "core.uptime" => json!({
                "now": date(realtime().as_secs()),
                "up_since": date(self.started_wall.as_secs()),
                "uptime": now.since(self.started).as_secs(),
            }),
            "core.ps" => processes().into_iter().flat_map(|(pid, what)| [json!(pid), json!(what)]).collect(),
            "core.psx" => {
                let line = |(n, (pid, what)): (usize, (i64, String))| json!({ "IDX": n, "PID": pid, "DSC": what });
                processes().into_iter().enumerate().map(line).collect()
            }
            "core.echo" => match &request.params {
                Value::Array(all) => {
                    all.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect()
                }
                _ => json!([]),
            },
            "core.prints" => json!([request.param(0, "text").map(text).unwrap_or_default()]),
            "core.printi" => {
                let given = request.param(0, "number").map(text).unwrap_or_default();
                match given.trim_start_matches("d:").parse::<i64>() {
                    Ok(n) => json!([n]),
                    Err(_) => return Some(Err(RpcError::bad_params("core.printi takes a number"))),
                }
            }
            "core.sockets_list" => facts::sockets(&self.listeners),
            "core.tcp_info" => json!({
                "readers": self.workers, "max_connections": self.facts.max_connections, "max_tls_connections": 0,
                "opened_connections": self.counters.sum(Counter::TcpOpen), "opened_tls_connections": 0,
                "write_queued_bytes": 0,
            }),
            "tm.stats" => self.tm_stats(),
            "sl.stats" => self.by_class(SL),
            "system.listMethods" => json!(self.method_names()),
            other => self.facts.answer(other)?,
        }))
    }

    /// The log level, which is Kamailio's `core.debug`.
    fn core_parameter(&mut self, request: &Request) -> Option<Result<Value, RpcError>> {
        let sets = matches!(request.method.as_str(), "cfg.set" | "cfg.seti" | "cfg.set_now_int");
        let gets = request.method == "cfg.get";
        let is = |at, name, word: &str| request.param(at, name).and_then(Value::as_str) == Some(word);
        if !(sets || gets) || !is(0, "group", "core") || !is(1, "name", "debug") {
            return None;
        }
        if gets {
            return Some(Ok(json!(i64::from(self.log.level()) - DEBUG_OFFSET)));
        }
        let wanted = request.param(2, "value").map(text).unwrap_or_default();
        let level = wanted.trim_start_matches("d:").parse::<i64>().ok().map(|n| (n + DEBUG_OFFSET).clamp(-3, 4));
        let Some(level) = level.and_then(|n| i8::try_from(n).ok()) else {
            return Some(Err(RpcError::bad_params("core debug is a number from -5 to 3")));
        };
        self.set_log_level(level);
        Some(Ok(json!("OK")))
    }

    /// Sets the log level of all processes.
    pub(super) fn set_log_level(&mut self, level: i8) {
        self.log.change_level(level);
        for index in 0..self.places.len() {
            self.tell(index, &ToChild::LogLevel(level));
        }
    }

    fn by_class(&self, classes: [(&str, Counter); 5]) -> Value {
        let entry = |(name, counter): (&str, Counter)| (name.to_string(), json!(self.counters.sum(counter)));
        Value::Object(classes.map(entry).into_iter().collect::<Map<_, _>>())
    }

    fn tm_stats(&self) -> Value {
        let sum = |counter| self.counters.sum(counter);
        let (made, own, now) =
            (sum(Counter::TmUasTransactions), sum(Counter::TmUacTransactions), sum(Counter::TmInUse));
        let all = made.saturating_add(own);
        let mut stats = json!({
            "current": now, "waiting": 0, "total": all, "total_local": own, "rpl_received": sum(Counter::TmReceivedReplies),
            "rpl_generated": sum(Counter::TmLocalReplies),
            "rpl_sent": sum(Counter::TmLocalReplies).saturating_add(sum(Counter::TmRelayedReplies)),
            "created": all, "freed": all.saturating_sub(now), "delayed_free": 0,
        });
        if let (Some(stats), Value::Object(classes)) = (stats.as_object_mut(), self.by_class(TM)) {
            stats.extend(classes);
        }
        stats
    }
}

const SL: [(&str, Counter); 5] = [
    ("2xx", Counter::Sl2xx),
    ("3xx", Counter::Sl3xx),
    ("4xx", Counter::Sl4xx),
    ("5xx", Counter::Sl5xx),
    ("6xx", Counter::Sl6xx),
];

const TM: [(&str, Counter); 5] = [
    ("2xx", Counter::Tm2xx),
    ("3xx", Counter::Tm3xx),
    ("4xx", Counter::Tm4xx),
    ("5xx", Counter::Tm5xx),
    ("6xx", Counter::Tm6xx),
];

/// A parameter as text; `s:` says that it is one, whatever it looks like.
fn text(value: &Value) -> String {
    match value {
        Value::String(s) => s.strip_prefix("s:").unwrap_or(s).to_owned(),
        other => other.to_string(),
    }
}

fn date(seconds: u64) -> String {
    crate::modules::time_text::format("%a %b %e %H:%M:%S %Y", i64::try_from(seconds).unwrap_or(i64::MAX))
}
