//! `cfg.*` of the control socket: parameters of the configuration's own, read and changed for all workers at once.

use super::control_store::Params;
use super::seat::CallError;
use super::state::Worker;
use crate::modules::kamailio::custom;
use crate::script::value::Value as Script;
use serde_json::{Value, json};

impl Worker {
    /// Answers `cfg.METHOD [GROUP NAME [VALUE]]`.
    pub(super) fn cfg_call(&self, method: &str, params: &str) -> Result<Value, CallError> {
        let params = Params::parse(params)?;
        let env = self.env();
        let custom = &env.settings.custom;
        let group = || params.text(0, "group");
        let name = || Ok::<_, CallError>(format!("{}.{}", group()?, params.text(1, "name")?));
        let json_of = |v: &Script| match v {
            Script::Int(n) | Script::Both(n, _) => json!(n),
            v => json!(v.to_text().unwrap_or_default().to_lossy()),
        };
        let refused = |why: String| CallError { code: 400, message: why };
        match method {
            "cfg.list" => {
                let wanted = group().ok();
                let all = custom.iter().map(|(name, _)| name.to_lossy().into_owned());
                let split = all.filter_map(|n| n.split_once('.').map(|(g, n)| (g.to_owned(), n.to_owned())));
                let lines = split.filter(|(g, _)| wanted.as_ref().is_none_or(|w| w == g));
                Ok(lines.map(|(g, n)| json!(format!("{g}: {n}"))).collect())
            }
            // Nothing waits to be committed: a change holds at once.
            "cfg.diff" => Ok(json!([])),
            "cfg.get" => {
                let Ok(_) = params.text(1, "name") else {
                    let prefix = format!("{}.", group()?);
                    let of_group = custom.iter().filter(|(n, _)| n.starts_with(prefix.as_bytes()));
                    let entry = |(n, _): &(crate::base::Str, Script)| {
                        let value = custom::get(env, n).unwrap_or(Script::Null);
                        (n.to_lossy().trim_start_matches(prefix.as_str()).to_owned(), json_of(&value))
                    };
                    return Ok(Value::Object(of_group.map(entry).collect()));
                };
                let name = name()?;
                let value = custom::get(env, name.as_bytes());
                value.map(|v| json_of(&v)).ok_or_else(|| CallError::not_found(format!("no parameter {name}")))
            }
            "cfg.help" => {
                let name = name()?;
                let value = custom::get(env, name.as_bytes());
                let value = value.ok_or_else(|| CallError::not_found(format!("no parameter {name}")))?;
                Ok(json!({ "name": name, "type": if value.as_int().is_some() { "int" } else { "string" } }))
            }
            "cfg.seti" | "cfg.set_now_int" => {
                let value = Script::Int(params.number(2, "value")?);
                custom::set(env, name()?.as_bytes(), &value).map_err(refused)?;
                Ok(json!("OK"))
            }
            "cfg.set" | "cfg.sets" | "cfg.set_now_string" => {
                let value = Script::text(params.text(2, "value")?);
                custom::set(env, name()?.as_bytes(), &value).map_err(refused)?;
                Ok(json!("OK"))
            }
            "cfg.reset" => {
                custom::reset(env, name()?.as_bytes()).map_err(refused)?;
                Ok(json!("OK"))
            }
            _ => Err(CallError::no_such_method()),
        }
    }
}
