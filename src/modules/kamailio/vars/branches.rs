//! Branches by their parts: `$(branch(uri)[1])`, `$br`, `$bR`; and the branch that is put together in `$sbranch(...)`, which
//! `sbranch_set_ruri` and `sbranch_append` use.

use super::Var;
use super::flags::{mask, unmask};
use crate::base::Str;
use crate::modules::core::branches::q_of;
use crate::modules::env::bracketed;
use crate::modules::host::{SipHost, Target};
use crate::modules::pv_get::at;
use crate::modules::pv_set::MAX_BRANCHES;
use crate::script::host::{Index, SetError};
use crate::script::registry::{FnSpec, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

/// What `$branch(...)` knows.
pub const KEYS: &[&str] =
    &["uri", "dst_uri", "path", "q", "send_socket", "count", "flags", "ruid", "location_ua", "otcpid", "instance"];
/// What `$sbranch(...)` knows.
pub const STATIC_KEYS: &[&str] = KEYS;

/// `sbranch_set_ruri`
pub const SBRANCH_SET_RURI: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("sbranch_set_ruri"),
    params: &[],
    variadic: false,
    routes: RouteSet::letters("RFB"),
    waits: false,
    doc: "Makes the branch of `$sbranch(...)` the R-URI with all that belongs to it; what `$sbranch(...)` holds stays.",
    returns: &[(1, "done"), (-1, "it has no URI")],
    example: r#"$sbranch(uri) = "sip:bob@10.0.0.8"; sbranch_set_ruri();"#,
    run: |call| match call.host.rare.branch.as_deref().filter(|t| !t.uri.is_empty()).cloned() {
        Some(target) => {
            call.host.set_main_target(&target);
            Step::Done(1)
        }
        None => Step::Done(-1),
    },
    finish: None,
};

/// `sbranch_append`
pub const SBRANCH_APPEND: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sbranch_append"),
    doc: "Adds the branch of `$sbranch(...)`; what `$sbranch(...)` holds stays.",
    returns: &[(1, "added"), (-1, "it has no URI, or there are too many branches")],
    example: r#"$sbranch(uri) = "sip:bob@10.0.0.8"; sbranch_append();"#,
    run: |call| {
        let found = call.host.rare.branch.as_deref().filter(|t| !t.uri.is_empty()).cloned();
        match found {
            Some(target) if call.host.branches.len() < MAX_BRANCHES => {
                call.host.branches.push(target);
                Step::Done(1)
            }
            _ => Step::Done(-1),
        }
    },
    ..SBRANCH_SET_RURI
};

/// `sbranch_reset`
pub const SBRANCH_RESET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sbranch_reset"),
    doc: "Empties `$sbranch(...)`.",
    returns: &[(1, "always")],
    example: "sbranch_reset();",
    run: |call| {
        if call.host.rare.branch.is_some() {
            call.host.rare.branch = None;
        }
        Step::Done(1)
    },
    ..SBRANCH_SET_RURI
};

pub(super) fn get(h: &SipHost, var: Var, sub: Option<&Value>, index: Index) -> Value {
    let key = sub.and_then(Value::to_text).unwrap_or_default();
    match var {
        Var::FirstBranch => h.branches.first().map_or(Value::Null, |b| Value::Str(b.uri.clone())),
        Var::AllBranches => {
            let shown = |b: &Target| match b.q {
                Some(q) => [b"<", &b.uri[..], format!(">;q={}", q_text(q)).as_bytes()].concat(),
                None => b.uri.to_vec(),
            };
            let all: Vec<Vec<u8>> = h.branches.iter().map(shown).collect();
            if all.is_empty() { Value::Null } else { Value::text(all.join(&b", "[..])) }
        }
        Var::StaticBranch => h.rare.branch.as_deref().map_or(Value::Null, |b| part(h, b, &key)),
        _ if key[..] == *b"count" && h.branches.is_empty() => Value::Null,
        _ if key[..] == *b"count" => Value::Int(h.branches.len() as i64),
        _ => {
            let found = match index {
                Index::At(i) => at(&h.branches, i),
                _ => h.branches.first(),
            };
            found.map_or(Value::Null, |b| part(h, b, &key))
        }
    }
}

fn part(h: &SipHost, b: &Target, key: &[u8]) -> Value {
    let some = |t: Option<&Str>| Value::opt(t.filter(|t| !t.is_empty()).cloned());
    match key {
        b"uri" => some(Some(&b.uri)),
        b"dst_uri" => some(b.du.as_ref()),
        b"path" => some(b.path.as_ref()),
        b"q" => b.q.map_or(Value::Null, |q| Value::Int(q.into())),
        b"send_socket" => match b.socket.and_then(|i| h.env().listeners.get(usize::from(i))) {
            Some(l) => Value::text(format!("{}:{}:{}", l.transport.as_param(), bracketed(l.addr.ip()), l.addr.port())),
            None => Value::Null,
        },
        b"flags" => Value::Int(mask(&b.flags, "").into()),
        name => Value::opt(b.attrs.iter().find(|(n, _)| **n == *name).map(|(_, v)| v.clone())),
    }
}

/// A q value as Contact has it.
fn q_text(q: u16) -> String {
    match q {
        1000.. => "1".to_string(),
        0 => "0".to_string(),
        q => format!("0.{q:03}").trim_end_matches('0').to_string(),
    }
}

pub(super) fn set(h: &mut SipHost, var: Var, sub: Option<&Value>, index: Index, value: &Value) -> Result<(), SetError> {
    let key = sub.and_then(Value::to_text).unwrap_or_default();
    if var == Var::FirstBranch {
        return add(h, value);
    }
    if key[..] == *b"count" {
        return Err(SetError::BadValue("the number of branches cannot be assigned"));
    }
    let change = Change::of(h, &key, value)?;
    if var == Var::StaticBranch {
        // There is nothing to be taken away from nothing.
        if h.rare.branch.is_none() && value.is_null() {
            return Ok(());
        }
        change.apply(h.rare.branch.get_or_insert_default());
        return Ok(());
    }
    let n = h.branches.len() as i64;
    let i = match index {
        Index::At(i) if i < 0 => n + i,
        Index::At(i) => i,
        _ => 0,
    };
    let at = usize::try_from(i).ok().filter(|i| *i < h.branches.len());
    let at = at.ok_or(SetError::BadValue("no such branch"))?;
    if key[..] == *b"uri" && value.is_null() {
        h.branches.remove(at);
    } else if let Some(b) = h.branches.get_mut(at) {
        change.apply(b);
    }
    Ok(())
}

/// A further branch.
fn add(h: &mut SipHost, value: &Value) -> Result<(), SetError> {
    if value.is_null() {
        h.branches.clear();
        return Ok(());
    }
    let uri = value.to_text().filter(|t| Uri::parse(t).is_ok()).ok_or(SetError::BadValue("not a valid URI"))?;
    if h.branches.len() >= MAX_BRANCHES {
        return Err(SetError::BadValue("too many branches"));
    }
    h.branches.push(Target { uri, ..Target::default() });
    Ok(())
}

/// What a part of a branch becomes.
enum Change {
    Uri(Str),
    Du(Option<Str>),
    Path(Option<Str>),
    Q(Option<u16>),
    Socket(Option<u16>),
    Flags(u32),
    Attr(Str, Option<Str>),
}

impl Change {
    fn of(h: &SipHost, key: &[u8], value: &Value) -> Result<Change, SetError> {
        let text = value.to_text();
        Ok(match key {
            b"uri" => match text {
                Some(uri) if Uri::parse(&uri).is_err() => return Err(SetError::BadValue("not a valid URI")),
                uri => Change::Uri(uri.unwrap_or_default()),
            },
            b"dst_uri" => match text {
                Some(uri) if Uri::parse(&uri).is_err() => return Err(SetError::BadValue("not a valid URI")),
                uri => Change::Du(uri),
            },
            b"path" => Change::Path(text),
            b"q" => match text {
                None => Change::Q(None),
                Some(q) => {
                    Change::Q(Some(q_of(&q).ok_or(SetError::BadValue("q is a number from 0 to 1, or from 0 to 1000"))?))
                }
            },
            b"send_socket" => match text {
                None => Change::Socket(None),
                Some(name) => {
                    let found = h.env().find_listener(&name).and_then(|i| u16::try_from(i).ok());
                    Change::Socket(Some(found.ok_or(SetError::BadValue("no such listening socket"))?))
                }
            },
            b"flags" => match value {
                Value::Null => Change::Flags(0),
                v => Change::Flags(v.to_int().ok_or(SetError::BadValue("flags are a number"))? as u32),
            },
            key => Change::Attr(Str::from(key), text),
        })
    }

    fn apply(self, b: &mut Target) {
        match self {
            Change::Uri(uri) => b.uri = uri,
            Change::Du(uri) => b.du = uri,
            Change::Path(path) => b.path = path,
            Change::Q(q) => b.q = q,
            Change::Socket(socket) => b.socket = socket,
            Change::Flags(bits) => unmask(&mut b.flags, "", bits),
            Change::Attr(name, value) => {
                b.attrs.retain(|(n, _)| *n != name);
                b.attrs.extend(value.map(|v| (name, v)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_values_as_text() {
        for (q, text) in [(1000, "1"), (0, "0"), (500, "0.5"), (250, "0.25"), (7, "0.007"), (100, "0.1")] {
            assert_eq!(q_text(q), text);
        }
    }
}
