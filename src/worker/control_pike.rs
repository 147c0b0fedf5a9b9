//! What the control socket knows of floods.

use super::seat::CallError;
use super::state::Worker;
use crate::store::floods::Source;
use serde_json::{Value, json};

/// Most sources that one answer lists.
const LISTED: usize = 1000;

impl Worker {
    /// Answers a method of `pike`.
    pub(super) fn pike_call(&self, method: &str, params: &str) -> Result<Value, CallError> {
        let env = self.env();
        let Some(floods) = &env.floods else { return Err(CallError::not_found("requests are not counted")) };
        let params: Value = serde_json::from_str(params).unwrap_or(Value::Null);
        let word = |name: &str| match &params {
            Value::Array(list) => list.first().and_then(Value::as_str),
            Value::Object(map) => map.get(name).and_then(Value::as_str),
            _ => None,
        };
        let (now, limit) = (env.clock.micros(), env.settings.pike.limit);
        let keep = i64::try_from(limit.keep.as_micros()).unwrap_or(i64::MAX);
        let line = |s: &Source| {
            let left = keep.saturating_sub(now.saturating_sub(s.seen)).max(0) / 1_000_000;
            json!({
                "ip_addr": s.ip.to_string(), "leaf_hits_prev": s.before, "leaf_hits_curr": s.now, "expires": left,
                "status": if s.flooder { "HOT" } else { "WARM" },
            })
        };
        match method {
            "pike.list" | "pike:list" | "pike_list" => {
                let all = floods.sources(now, &limit);
                let mut hot: Vec<&Source> = all.iter().filter(|s| s.flooder).collect();
                hot.sort_by_key(|s| s.ip);
                Ok(hot.into_iter().take(LISTED).map(|s| json!({ "IP": s.ip.to_string() })).collect())
            }
            "pike.top" => {
                let wanted = word("filter").unwrap_or("HOT").to_ascii_uppercase();
                if !matches!(wanted.as_str(), "ALL" | "HOT" | "WARM") {
                    return Err(CallError::bad_params("pike.top takes ALL, HOT or WARM"));
                }
                let mut all = floods.sources(now, &limit);
                all.retain(|s| match wanted.as_str() {
                    "HOT" => s.flooder,
                    "WARM" => !s.flooder,
                    _ => true,
                });
                all.sort_by_key(|s| (std::cmp::Reverse(s.before.max(s.now)), s.ip));
                Ok(all.iter().take(LISTED).map(line).collect())
            }
            "pike.rm" | "pike:rm" | "pike_rm" => {
                let ip = word("ip").and_then(|t| crate::sip::uri::host_ip(t.as_bytes()));
                let ip = ip.ok_or_else(|| CallError::bad_params("the address of a source is expected"))?;
                if floods.forget(ip) { Ok(json!("OK")) } else { Err(CallError::not_found("no such source")) }
            }
            _ => Err(CallError::no_such_method()),
        }
    }
}
