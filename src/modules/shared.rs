//! What scripts share between all processes: access to the store of the server.

use super::host::SipHost;
use crate::script::host::SetError;
use crate::script::value::Value;
use crate::store::shared::StoreError;

/// What a run hears if there is no store.
const NONE: &str = "there is no shared store";

/// Writes why the store could not be used.
fn complain(h: &SipHost, why: impl std::fmt::Display) {
    super::log_line(h, -1, &why.to_string());
}

/// Reads `$shv(name)`.
pub fn get_variable(h: &SipHost, name: Option<&Value>) -> Value {
    let name = name.and_then(Value::to_text).unwrap_or_default();
    let Some(store) = &h.env().store else { return Value::Int(0) };
    store.variable(&name).unwrap_or_else(|why| {
        complain(h, why);
        Value::Int(0)
    })
}

/// Sets `$shv(name)`.
pub fn set_variable(h: &SipHost, name: Option<&Value>, value: &Value) -> Result<(), SetError> {
    let name = name.and_then(Value::to_text).unwrap_or_default();
    let Some(store) = &h.env().store else { return Err(SetError::BadValue(NONE)) };
    store.set_variable(&name, value).map_err(refused)
}

/// Why an assignment failed.
pub fn refused(why: StoreError) -> SetError {
    SetError::BadValue(match why {
        StoreError::Busy => "another process holds the shared store",
        StoreError::Full => "the shared store is full (store_size)",
        _ => "the shared store cannot be written",
    })
}
