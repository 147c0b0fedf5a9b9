//! What the control socket knows of the shared store: variables, tables, queues.

use super::load_lists::DUMPS;
use super::seat::CallError;
use super::state::Worker;
use crate::modules::htable::items::{Place, place_in};
use crate::script::value::Value as Script;
use crate::store::Shared;
use crate::store::shared::StoreError;
use serde_json::{Value, json};

/// Most items that one answer holds.
pub(super) const MOST_SHOWN: usize = 10_000;

impl From<StoreError> for CallError {
    fn from(why: StoreError) -> CallError {
        CallError { code: -32000, message: why.to_string() }
    }
}

/// Parameters by position or name.
pub(super) struct Params(Value);

impl Params {
    pub(super) fn parse(text: &str) -> Result<Params, CallError> {
        let parsed = serde_json::from_str(text);
        parsed.map(Params).map_err(|_| CallError::bad_params("the parameters are not JSON"))
    }

    pub(super) fn find(&self, at: usize, name: &str) -> Option<&Value> {
        match &self.0 {
            Value::Array(list) => list.get(at),
            Value::Object(map) => map.get(name),
            _ => None,
        }
    }

    pub(super) fn text(&self, at: usize, name: &str) -> Result<String, CallError> {
        match self.find(at, name) {
            // `s:` says that it is a text, whatever it looks like.
            Some(Value::String(text)) => Ok(text.strip_prefix("s:").unwrap_or(text).to_owned()),
            Some(Value::Number(n)) => Ok(n.to_string()),
            _ => Err(CallError::bad_params(format!("{name} is missing"))),
        }
    }

    pub(super) fn number(&self, at: usize, name: &str) -> Result<i64, CallError> {
        let text = self.text(at, name)?;
        let digits = text.strip_prefix("d:").unwrap_or(&text);
        digits.parse().map_err(|_| CallError::bad_params(format!("{name} is no number")))
    }
}

/// A value as JSON.
fn shown(value: &Script) -> Value {
    match value {
        Script::Null => Value::Null,
        Script::Int(n) | Script::Both(n, _) => json!(n),
        Script::Str(text) => json!(text.to_lossy()),
    }
}

fn kind(value: &Script) -> &'static str {
    if value.as_int().is_some() { "int" } else { "str" }
}

impl Worker {
    /// Answers a method about the store; `None`: it is about something else.
    pub(super) fn store_call(&self, method: &str, params: &str) -> Option<Result<Value, CallError>> {
        let call = match method {
            "pv.shvGet" | "shv_get" | "cfgutils:shv_get" => Worker::get_shared,
            "pv.shvSet" | "shv_set" | "cfgutils:shv_set" => Worker::set_shared,
            "nathelper.enable_ping" | "nathelper:enable_ping" | "nh_enable_ping" => {
                return Some(self.natping_call(params));
            }
            // `uac.reg_dump` is about no table.
            m if m.starts_with("uac") => return None,
            m if m.starts_with("pike") => return Some(self.pike_call(m, params)),
            m if m.starts_with("mqueue.") => return Some(self.queue_call(m, params)),
            m if DUMPS.contains(&m) => return Some(self.list_call(m)),
            m if m.starts_with("cfg.") => return Some(self.cfg_call(m, params)),
            m if m.starts_with("dlgs.") => return Some(self.dialogs_call(m, params)),
            m if m.starts_with("htable.") => return Some(self.table_call(m, params)),
            _ => return None,
        };
        Some(Params::parse(params).and_then(|p| call(self, &p)))
    }

    pub(super) fn shared(&self) -> Result<&Shared, CallError> {
        self.env().store.as_ref().ok_or_else(|| CallError::not_found("there is no shared store"))
    }

    fn get_shared(&self, params: &Params) -> Result<Value, CallError> {
        let row = |name: &str, value: &Script| json!({ "name": name, "type": kind(value), "value": shown(value) });
        match params.text(0, "name") {
            Ok(name) => Ok(row(&name, &self.shared()?.variable(name.as_bytes())?)),
            Err(_) => {
                let all = self.shared()?.variables()?;
                Ok(all.iter().take(MOST_SHOWN).map(|(name, value)| row(&name.to_lossy(), value)).collect())
            }
        }
    }

    fn set_shared(&self, params: &Params) -> Result<Value, CallError> {
        let name = params.text(0, "name")?;
        let value = match params.text(1, "type")?.as_str() {
            "int" | "i" => Script::Int(params.number(2, "value")?),
            "str" | "s" => Script::text(params.text(2, "value")?),
            _ => return Err(CallError::bad_params("the type is int or str")),
        };
        self.shared()?.set_variable(name.as_bytes(), &value)?;
        Ok(json!("OK"))
    }

    fn table_call(&self, method: &str, params: &str) -> Result<Value, CallError> {
        let params = Params::parse(params)?;
        let tables = &self.env().settings.tables;
        let count = |p: &Place<'_>| -> Result<usize, CallError> {
            let mut n = 0;
            p.each(&mut |_| {
                n += 1;
                true
            })?;
            Ok(n)
        };
        let of = |name: &[u8]| place_in(self.env(), name).map_err(CallError::not_found);
        match method {
            "htable.listTables" => {
                let line = |t: &crate::modules::htable::definition::Table| {
                    json!({
                        "name": t.name.to_lossy(), "dbtable": "", "dbmode": 0, "expire": t.expire,
                        "updateexpire": i64::from(t.renew), "size": t.slots, "dmqreplicate": 0,
                    })
                };
                return Ok(tables.iter().map(line).collect());
            }
            "htable.stats" => {
                let line = |t: &crate::modules::htable::definition::Table| -> Result<Value, CallError> {
                    Ok(json!({ "name": t.name.to_lossy(), "slots": t.slots, "all": count(&of(&t.name)?)? }))
                };
                return tables.iter().map(line).collect::<Result<Value, _>>();
            }
            _ => {}
        }
        let table = params.text(0, "table")?;
        let p = of(table.as_bytes())?;
        let item = |name: &str, value: &Script| json!({ "name": name, "value": shown(value), "type": kind(value) });
        match method {
            "htable.dump" => {
                let mut all = Vec::new();
                p.each(&mut |i| {
                    all.push(item(&i.name.to_lossy(), &i.value));
                    all.len() < MOST_SHOWN
                })?;
                Ok(if all.is_empty() { json!([]) } else { json!([{ "entry": 0, "size": all.len(), "slot": all }]) })
            }
            "htable.flush" => {
                p.store.remove_items(&p.table.name, &mut |_| true)?;
                Ok(json!("OK"))
            }
            _ => {
                let name = params.text(1, "key")?;
                let found = || p.store.item(&p.table.name, name.as_bytes(), p.now);
                let none = || CallError::not_found("there is no such item");
                match method {
                    "htable.get" => {
                        let value = found()?.map(|i| i.value).or(p.table.first.map(Script::Int)).ok_or_else(none)?;
                        Ok(json!({ "item": item(&name, &value) }))
                    }
                    "htable.delete" => {
                        let there = p.store.remove_item(&p.table.name, name.as_bytes(), p.now)?;
                        if there { Ok(json!("OK")) } else { Err(none()) }
                    }
                    "htable.sets" | "htable.setxs" | "htable.seti" | "htable.setxi" => {
                        let value = match method {
                            "htable.sets" | "htable.setxs" => Script::text(params.text(2, "value")?),
                            _ => Script::Int(params.number(2, "value")?),
                        };
                        p.set(name.as_bytes(), &value)?;
                        if method.starts_with("htable.setx") {
                            p.live_on(name.as_bytes(), params.number(3, "expire")?)?;
                        }
                        Ok(json!("OK"))
                    }
                    "htable.setex" => match p.live_on(name.as_bytes(), params.number(2, "expire")?)? {
                        true => Ok(json!("OK")),
                        false => Err(none()),
                    },
                    _ => Err(CallError::no_such_method()),
                }
            }
        }
    }

    fn queue_call(&self, method: &str, params: &str) -> Result<Value, CallError> {
        let params = Params::parse(params)?;
        let queues = &self.env().settings.queues;
        let line = |name: &crate::base::Str| -> Result<Value, CallError> {
            Ok(json!({ "name": name.to_lossy(), "size": self.shared()?.queue_len(name)? }))
        };
        if method == "mqueue.get_sizes" {
            return queues.iter().map(|q| line(&q.name)).collect::<Result<Value, _>>();
        }
        let name = params.text(0, "queue")?;
        let found = queues.iter().find(|q| *q.name == *name.as_bytes());
        let queue = found.ok_or_else(|| CallError::not_found("there is no such queue"))?;
        match method {
            "mqueue.get_size" => line(&queue.name),
            "mqueue.fetch" => match self.shared()?.queue_fetch(&queue.name)? {
                Some(pair) => Ok(json!({ "key": pair.name.to_lossy(), "value": shown(&pair.value) })),
                None => Err(CallError { code: 404, message: "the queue is empty".into() }),
            },
            _ => Err(CallError::no_such_method()),
        }
    }
}
