//! Parameters of the configuration's own (`group.name = value`), which the control socket can change for all workers
//! while the server runs (kamailio.md sections 1.7 and 8.3). What was changed lies in the shared store.

use crate::base::Str;
use crate::modules::env::Env;
use crate::script::value::Value;
use crate::store::Shared;
use crate::store::shared::tables::Ends;

/// The table of the changed ones: a name that no table of a configuration can have.
const CHANGED: &[u8] = b"\0cfg";

/// The parameter, as it is now; `None`: there is none of this name.
pub fn get(env: &Env, name: &[u8]) -> Option<Value> {
    let (_, configured) = declared(env, name)?;
    let changed = env.store.as_ref().and_then(|s| s.item(CHANGED, name, 0).ok().flatten());
    Some(changed.map_or_else(|| configured.clone(), |item| item.value))
}

/// Changes a parameter; its type stays.
pub fn set(env: &Env, name: &[u8], value: &Value) -> Result<(), String> {
    let (_, configured) = declared(env, name).ok_or_else(|| unknown(name))?;
    let value = match (configured.as_int(), value) {
        (Some(_), v) => Value::Int(v.to_int().ok_or_else(|| format!("{} is a number", shown(name)))?),
        (None, v) => Value::Str(v.to_text().unwrap_or_default()),
    };
    store(env)?.set_item(CHANGED, name, &value, Ends::At(0), 0).map_err(|e| e.to_string())
}

/// A parameter is again as configured.
pub fn reset(env: &Env, name: &[u8]) -> Result<(), String> {
    declared(env, name).ok_or_else(|| unknown(name))?;
    store(env)?.remove_item(CHANGED, name, 0).map(|_| ()).map_err(|e| e.to_string())
}

fn declared<'a>(env: &'a Env, name: &[u8]) -> Option<&'a (Str, Value)> {
    env.settings.custom.iter().find(|(n, _)| n.as_bytes() == name)
}

fn store(env: &Env) -> Result<&Shared, String> {
    env.store.as_ref().ok_or_else(|| "there is no shared store".to_string())
}

fn unknown(name: &[u8]) -> String {
    format!("the configuration has no parameter {}; cfg.list names them", shown(name))
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
