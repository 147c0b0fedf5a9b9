//! The control methods that main answers itself.

use super::asked::To;
use super::main_loop::Supervisor;
use super::statistics;
use crate::base::Time;
use crate::control::jsonrpc::{Request, RpcError};
use crate::control::merge::Merge;
use crate::control::server::Incoming;
use crate::net::sys::realtime;
use crate::store::latency::{BackendReading, ENDINGS};
use crate::worker::seat::{SeatKind, ToChild};
use serde_json::{Map, Value, json};
use std::fs;

use nix::unistd::{SysconfVar, sysconf};

const OWN: [&str; 7] = ["backends", "log_level", "ps", "stats", "uptime", "version", "which"];

/// Methods that task workers are asked as well.
const IN_GROUPS: [&str; 2] = ["waits", "kill-wait"];

impl Supervisor<'_> {
    /// Answers a request, or passes it on to the workers.
    pub(super) fn on_request(&mut self, to: To, request: Request, now: Time, more: &mut Vec<Incoming>) {
        if let Some(result) = self.core_method(&request, now) {
            return self.reply(to, result, now, more);
        }
        if let Some(forwarded) = self.forwarded.iter().find(|f| f.method == request.method).cloned() {
            let mut living: Vec<(usize, u32)> = self
                .places
                .iter()
                .enumerate()
                .filter(|(_, p)| p.is_worker() || (p.is_task() && IN_GROUPS.contains(&request.method.as_str())))
                .filter(|(_, p)| p.tenant.as_ref().is_some_and(|t| t.ready))
                .map(|(i, p)| (i, p.incarnation))
                .collect();
            if forwarded.merge == Merge::One {
                living.truncate(1);
            }
            let id = self.calls.begin(to, forwarded.merge, living.clone(), now);
            let params = if request.params.is_null() { "[]".to_owned() } else { request.params.to_string() };
            let call = ToChild::Call { id, method: forwarded.method, params };
            for (seat, life) in living {
                self.tell(seat, &call);
                if self.places.get(seat).is_none_or(|p| p.tenant.is_none()) {
                    self.calls.died(seat, life);
                }
            }
            return;
        }
        let result = self.own_method(&request, now);
        self.reply(to, result, now, more);
    }

    fn own_method(&mut self, request: &Request, now: Time) -> Result<Value, RpcError> {
        match request.method.as_str() {
            "ps" => Ok(self.ps(now)),
            "backends" => Ok(self.backends()),
            "stats" => self.stats(request),
            "uptime" => {
                let started = self.started_wall.as_secs();
                Ok(json!({
                    "now": realtime().as_secs(),
                    "up_since": started,
                    "up_time": now.since(self.started).as_secs(),
                }))
            }
            "version" => Ok(json!({ "server": self.version })),
            "log_level" => self.log_level(request),
            "which" => Ok(json!(self.method_names())),
            method if statistics::METHODS.contains(&method) => self.statistics_method(request),
            other => Err(RpcError::no_method(other)),
        }
    }

    /// Every method there is.
    pub(super) fn method_names(&self) -> Vec<String> {
        let own = OWN.iter().chain(&super::core_methods::METHODS).chain(&statistics::METHODS).map(|m| (*m).to_owned());
        let mut all: Vec<String> = own.chain(self.forwarded.iter().map(|f| f.method.clone())).collect();
        all.sort();
        all
    }

    fn ps(&self, now: Time) -> Value {
        let main = std::process::id();
        let mut all = vec![json!({
            "index": null, "pid": main, "kind": "main", "incarnation": 1,
            "uptime": now.since(self.started).as_secs(), "rss": rss(main as i32), "state": self.stage_name(),
        })];
        for (index, place) in self.places.iter().enumerate() {
            let kind = match place.kind {
                SeatKind::Worker => "worker",
                SeatKind::Task => "task",
                SeatKind::Helper => place.name.as_str(),
            };
            let life = place.incarnation;
            let mut row = match &place.tenant {
                Some(t) => {
                    let state = if t.idle {
                        "idle"
                    } else if t.ready {
                        "running"
                    } else {
                        "starting"
                    };
                    json!({
                        "index": index, "pid": t.pid.as_raw(), "kind": kind, "incarnation": life,
                        "uptime": now.since(t.born).as_secs(), "rss": rss(t.pid.as_raw()), "state": state,
                    })
                }
                None => json!({
                    "index": index, "pid": null, "kind": kind, "incarnation": life,
                    "uptime": 0, "rss": 0, "state": "dead",
                }),
            };
            if place.is_task() {
                row["group"] = json!(place.name);
            }
            all.push(row);
        }
        Value::Array(all)
    }

    /// The backends of operations: how they stand, how their operations ended and how long those took.
    fn backends(&self) -> Value {
        let row = |r: BackendReading| {
            let mut row = Map::from_iter([
                ("kind".to_string(), json!(r.kind)),
                ("backend".to_string(), json!(r.name)),
                ("running".to_string(), json!(r.running)),
                ("waiting".to_string(), json!(r.waiting)),
                ("open".to_string(), json!(r.open)),
                ("opened".to_string(), json!(r.opened)),
            ]);
            row.extend(ENDINGS.map(|(ending, word)| (word.to_string(), json!(r.total(ending)))));
            row.extend([50, 95, 99].map(|p| (format!("p{p}_ms"), json!(r.percentile(p)))));
            Value::Object(row)
        };
        self.counters.latencies().read().into_iter().map(row).collect()
    }

    fn stats(&self, request: &Request) -> Result<Value, RpcError> {
        let filter = match request.param(0, "filter") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) if s == "all" || s.is_empty() => None,
            Some(Value::String(s)) => Some(s.as_str()),
            Some(_) => return Err(RpcError::bad_params("stats takes a name, or a group with a colon (core:)")),
        };
        let each = match request.param(1, "each") {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(Value::String(s)) if s == "each" => true,
            Some(_) => return Err(RpcError::bad_params("the second parameter of stats is \"each\"")),
        };
        let found = self.counters.read(filter);
        if found.is_empty() {
            return Err(RpcError::bad_params(format!("no such statistic: {}", filter.unwrap_or("all"))));
        }
        let entry = |r: crate::store::counters::Reading| {
            let value = if each {
                let workers: Vec<u64> = r.per_process.iter().take(self.places.len()).copied().collect();
                json!({ "total": r.total, "each": workers })
            } else {
                json!(r.total)
            };
            (r.name, value)
        };
        Ok(Value::Object(found.into_iter().map(entry).collect::<Map<_, _>>()))
    }

    fn log_level(&mut self, request: &Request) -> Result<Value, RpcError> {
        let wanted = match request.param(0, "level") {
            None | Some(Value::Null) => return Ok(json!({ "log_level": self.log.level() })),
            Some(Value::Number(n)) => n.as_i64(),
            Some(Value::String(s)) => s.parse().ok(),
            Some(_) => None,
        };
        let level = wanted.and_then(|l| i8::try_from(l).ok()).filter(|l| (-3..=4).contains(l));
        let Some(level) = level else { return Err(RpcError::bad_params("the level is a number from -3 to 4")) };
        self.set_log_level(level);
        Ok(json!({ "log_level": level }))
    }
}

/// Resident memory of a process in bytes.
fn rss(pid: i32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|p| u64::try_from(p).ok()).unwrap_or(4096);
    pages.saturating_mul(page)
}
