//! The statistics as Kamailio's and OpenSIPS' own tools ask for them: `stats.*`, `cnt.*`, `get_statistics`.

use super::main_loop::Supervisor;
use crate::control::jsonrpc::{Request, RpcError};
use crate::store::counters::Reading;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The methods.
pub(super) const METHODS: [&str; 13] = [
    "cnt.get",
    "cnt.get_raw",
    "cnt.grp_get_all",
    "cnt.grps_list",
    "cnt.reset",
    "cnt.var_list",
    "get_statistics",
    "reset_statistics",
    "stats.clear_statistics",
    "stats.fetch",
    "stats.fetchn",
    "stats.get_statistics",
    "stats.reset_statistics",
];

impl Supervisor<'_> {
    /// Answers one of [`METHODS`].
    pub(super) fn statistics_method(&self, request: &Request) -> Result<Value, RpcError> {
        match request.method.as_str() {
            "stats.get_statistics" => {
                let line = |r: &Reading| json!(format!("{} = {}", r.name, r.total));
                Ok(self.chosen(request)?.iter().map(line).collect())
            }
            "stats.fetch" => {
                let pair = |r: Reading| (r.name.replacen(':', ".", 1), json!(r.total.to_string()));
                Ok(Value::Object(self.chosen(request)?.into_iter().map(pair).collect()))
            }
            "stats.fetchn" => {
                let pair = |r: Reading| (r.name.replacen(':', ".", 1), json!(r.total));
                Ok(Value::Object(self.chosen(request)?.into_iter().map(pair).collect()))
            }
            "get_statistics" => {
                let pair = |r: Reading| (r.name, json!(r.total));
                Ok(Value::Object(self.chosen(request)?.into_iter().map(pair).collect()))
            }
            "stats.reset_statistics" | "stats.clear_statistics" | "reset_statistics" => {
                self.reset(&self.chosen(request)?)
            }
            "cnt.grps_list" => {
                let groups: BTreeSet<String> =
                    self.counters.read(None).iter().map(|r| group_of(r).to_string()).collect();
                Ok(json!(groups))
            }
            "cnt.var_list" => {
                let names: Vec<String> = self.group(request)?.iter().map(|r| name_of(r).to_string()).collect();
                Ok(json!(names))
            }
            "cnt.grp_get_all" => {
                let pair = |r: Reading| (name_of(&r).to_string(), json!(r.total));
                Ok(Value::Object(self.group(request)?.into_iter().map(pair).collect::<Map<_, _>>()))
            }
            "cnt.reset" => {
                let found = self.one(request)?;
                self.reset(&[found])
            }
            _ => Ok(json!(self.one(request)?.total)),
        }
    }

    /// What the parameters name: `all`, groups with a colon behind them, names with or without their group.
    fn chosen(&self, request: &Request) -> Result<Vec<Reading>, RpcError> {
        let words: Vec<String> = match &request.params {
            Value::Array(list) => list.iter().flat_map(words_of).collect(),
            Value::Object(map) => map.values().flat_map(words_of).collect(),
            _ => Vec::new(),
        };
        if words.is_empty() {
            return Err(RpcError::bad_params("name statistics: `all`, groups (`core:`), or names (`rcv_requests`)"));
        }
        let mut all = Vec::new();
        for word in words {
            // Kamailio writes a dot between group and name.
            let word = if word.contains(':') { word } else { word.replacen('.', ":", 1) };
            let found = if word == "all" { self.counters.read(None) } else { self.counters.read(Some(&word)) };
            if found.is_empty() {
                return Err(RpcError::bad_params(format!("no such statistic: {word}")));
            }
            all.extend(found);
        }
        Ok(all)
    }

    fn group(&self, request: &Request) -> Result<Vec<Reading>, RpcError> {
        let group = text(request, 0, "group")?;
        let found = self.counters.read(Some(&format!("{group}:")));
        if found.is_empty() { Err(RpcError::bad_params(format!("no such group: {group}"))) } else { Ok(found) }
    }

    fn one(&self, request: &Request) -> Result<Reading, RpcError> {
        let (group, name) = (text(request, 0, "group")?, text(request, 1, "name")?);
        let found = self.counters.read(Some(&format!("{group}:{name}"))).into_iter().next();
        found.ok_or_else(|| RpcError::bad_params(format!("no such counter: {group}.{name}")))
    }

    /// Sets counters of the script's own to 0; the server's grow for as long as it runs.
    fn reset(&self, readings: &[Reading]) -> Result<Value, RpcError> {
        let own: Vec<usize> = readings.iter().filter_map(|r| self.counters.extra(&r.name)).collect();
        if own.is_empty() {
            return Err(RpcError::bad_params("only counters that the configuration defines can be reset"));
        }
        for n in own {
            self.counters.reset_extra(n);
        }
        Ok(json!("OK"))
    }
}

fn words_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(s) => s.split_ascii_whitespace().map(str::to_owned).collect(),
        Value::Array(list) => list.iter().flat_map(words_of).collect(),
        _ => Vec::new(),
    }
}

fn group_of(r: &Reading) -> &str {
    r.name.split_once(':').map_or("", |(group, _)| group)
}

fn name_of(r: &Reading) -> &str {
    r.name.split_once(':').map_or(r.name.as_str(), |(_, name)| name)
}

fn text(request: &Request, at: usize, name: &str) -> Result<String, RpcError> {
    let found = request.param(at, name).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| RpcError::bad_params("the group and the name of a counter are expected"))
}
