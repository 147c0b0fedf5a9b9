//! `$ulc(profile=>attribute)`: the bindings that `reg_fetch_contacts` has found, and the one that has ended.

use super::binding::{Binding, mask};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::host::Index;
use crate::script::value::Value;
use serde::{Deserialize, Serialize};

/// Most profiles of one run.
pub const MOST_PROFILES: usize = 32;

/// Bindings of an address under a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The name.
    pub name: Str,
    /// The table.
    pub table: Str,
    /// The address of record.
    pub aor: Str,
    /// The bindings.
    pub bindings: Vec<Binding>,
}

/// Reads `$ulc(profile=>attribute)`.
pub fn get(h: &SipHost, sub: Option<&Value>, index: Index) -> Value {
    let text = sub.and_then(Value::to_text).unwrap_or_default();
    let Some(at) = memchr::memmem::find(&text, b"=>") else { return Value::Null };
    let (name, rest) = text.split_at(at);
    let attribute = rest.get(2..).unwrap_or_default().trim_ascii();
    let profiles = h.location.as_ref().map(|k| &k.profiles[..]).unwrap_or_default();
    let Some(profile) = profiles.iter().find(|p| *p.name == *name.trim_ascii()) else { return Value::Null };
    let count = profile.bindings.len();
    match attribute {
        b"aor" => return Value::Str(profile.aor.clone()),
        b"domain" => return Value::Str(profile.table.clone()),
        b"aorhash" => return Value::Int(i64::from(hash(&profile.aor))),
        b"count" => return Value::Int(i64::try_from(count).unwrap_or(i64::MAX)),
        _ => {}
    }
    let at = match index {
        Index::At(n) if n < 0 => usize::try_from(n.unsigned_abs()).ok().and_then(|n| count.checked_sub(n)),
        Index::At(n) => usize::try_from(n).ok(),
        _ => Some(0),
    };
    at.and_then(|at| profile.bindings.get(at)).map_or(Value::Null, |b| attribute_of(b, attribute))
}

fn attribute_of(b: &Binding, name: &[u8]) -> Value {
    let some = |t: &Option<Str>| t.clone().map_or(Value::Null, Value::Str);
    match name {
        b"addr" => Value::Str(b.contact.clone()),
        b"path" => Value::Str(b.path.clone().unwrap_or_default()),
        b"received" => Value::Str(b.received.clone().unwrap_or_default()),
        b"expires" => Value::Int(b.expires),
        b"callid" => Value::Str(b.call_id.clone()),
        b"regid" | b"reg_id" | b"reg-id" => Value::Int(i64::from(b.reg_id)),
        b"q" => match b.q {
            None => Value::Int(-1),
            Some(q) => Value::Int(i64::from(q)),
        },
        b"cseq" => Value::Int(i64::from(b.cseq)),
        b"flags" => Value::Int(i64::from(b.flags)),
        b"cflags" => Value::Int(i64::from(mask(&b.bflags))),
        b"user_agent" => Value::Str(b.user_agent.clone()),
        b"socket" => some(&b.socket),
        b"modified" => Value::Int(b.modified),
        b"methods" => Value::Int(b.methods.map_or(i64::from(u32::MAX), i64::from)),
        b"ruid" => Value::Str(b.ruid.clone()),
        b"instance" => some(&b.instance),
        b"conid" => Value::Int(-1),
        b"attr" => some(&b.attr),
        _ => Value::Null,
    }
}

/// A number for a text, the same in every process.
fn hash(text: &[u8]) -> u32 {
    text.iter().fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}
