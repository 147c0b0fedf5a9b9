//! Variables about the transaction and its branches: `$T_*`, `$T(...)`, `$tm.branch.*`.

use super::ids::TxName;
use crate::base::{Key, Str};
use crate::modules::host::{BranchInfo, SipHost, Target};
use crate::modules::pv::Pv;
use crate::modules::pv_get::{at, get_other, joined, ruri, socket};
use crate::script::host::Index;
use crate::script::value::Value;

/// What `$T(...)` knows.
pub const FIELDS: &[&str] = &[
    "id_index",
    "id_label",
    "id_index_n",
    "id_label_n",
    "reply_code",
    "reply_reason",
    "reply_type",
    "reply_last",
    "branch_index",
    "ruri",
    "ruid",
];

/// What `$T_branch(...)` knows.
pub const BRANCH_FIELDS: &[&str] = &["uri", "flags", "ruid"];

fn number(n: impl Into<i64>) -> Value {
    Value::Int(n.into())
}

/// The branch that an index means; without one the branch in work.
fn branch(h: &SipHost, index: Index) -> Option<&BranchInfo> {
    match index {
        Index::At(i) => at(&h.tm.branches, i),
        _ => h.tm.branch.and_then(|b| h.tm.branches.get(usize::from(b))),
    }
}

/// Reads one of them; NULL where there is no transaction or no such branch.
pub fn get(h: &mut SipHost, pv: Pv, sub: Option<&Value>, index: Index) -> Value {
    let h = &*h;
    match pv {
        Pv::TBranchIdx => h.tm.branch.map_or(Value::Null, number),
        Pv::TReplyCode => number(h.tm.reply_code),
        Pv::TBranchLastReply => branch(h, Index::None).map_or(Value::Null, |b| number(b.last)),
        Pv::TReplyReason => reason(h),
        Pv::TReplyLast => last_reply(h),
        Pv::TReplyRuid => branch(h, Index::None).map_or(Value::Null, ruid),
        Pv::TRuri => match h.tm.key {
            Some(_) => ruri(h).map_or(Value::Null, Value::text),
            None => Value::Null,
        },
        Pv::TId => match h.tm.key {
            Some(k) if !h.tm.embryonic => Value::text(format!("{}.{}.{}", h.tm.worker, k.index, k.generation)),
            _ => Value::Null,
        },
        Pv::TFrTimeout => h.tm.fr_timeout.map_or_else(|| seconds(h.env().settings.fr_timeout), |ms| number(ms / 1000)),
        Pv::TFrInvTimeout => {
            h.tm.fr_inv_timeout.map_or_else(|| seconds(h.env().settings.fr_inv_timeout), |ms| number(ms / 1000))
        }
        Pv::TField => field(h, sub),
        Pv::TBranchField => match (branch(h, Index::None), sub.and_then(Value::to_text).as_deref()) {
            (Some(b), Some(b"uri")) => Value::Str(b.target.uri.clone()),
            (Some(b), Some(b"flags")) => joined(&b.target.flags, b" "),
            (Some(b), Some(b"ruid")) => ruid(b),
            _ => Value::Null,
        },
        Pv::TmBranchLast => branch(h, index).map_or(Value::Null, |b| number(b.last)),
        Pv::TmBranchType => branch(h, index).map_or(Value::Null, |_| Value::from("sip")),
        Pv::TmBranchUri
        | Pv::TmBranchDuri
        | Pv::TmBranchPath
        | Pv::TmBranchQ
        | Pv::TmBranchFlags
        | Pv::TmBranchSocket
        | Pv::TmBranchFlag
        | Pv::TmBranchAttr => branch(h, index).map_or(Value::Null, |b| of_target(h, &b.target, pv, sub)),
        _ => get_other(h, pv, sub, index),
    }
}

fn seconds(n: u64) -> Value {
    number(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Phrase of the reply in work, or of the one that has won.
fn reason(h: &SipHost) -> Value {
    let reply = if h.msg.is_reply() { Some(&h.msg) } else { h.other.as_ref().filter(|m| m.is_reply()) };
    match reply {
        Some(reply) => Value::text(reply.reason()),
        None if h.tm.reply_code > 0 => Value::from(crate::sip::reply::default_reason(h.tm.reply_code)),
        None => Value::Null,
    }
}

/// The location record that a branch goes to, if it came from one.
fn ruid(branch: &BranchInfo) -> Value {
    let found = branch.target.attrs.iter().find(|(name, _)| **name == *b"ruid");
    Value::opt(found.map(|(_, id)| id.clone()))
}

fn last_reply(h: &SipHost) -> Value {
    if h.msg.is_reply() {
        return number(h.msg.status());
    }
    match branch(h, Index::None).or(h.tm.branches.iter().rev().find(|b| b.last > 0)) {
        Some(b) => number(b.last),
        None => Value::Null,
    }
}

fn field(h: &SipHost, sub: Option<&Value>) -> Value {
    let name = sub.and_then(Value::to_text).unwrap_or_default();
    let key = h.tm.key.filter(|_| !h.tm.embryonic);
    match &name[..] {
        // Those with `_n`: the transaction was made before (`Host::before_reading`).
        b"id_index" | b"id_index_n" => key.map_or(Value::Null, |key| number(tx_name(h, key).numbers().0)),
        b"id_label" | b"id_label_n" => key.map_or(Value::Null, |key| number(tx_name(h, key).numbers().1)),
        b"reply_code" => number(h.tm.reply_code),
        b"reply_reason" => reason(h),
        b"reply_last" => last_reply(h),
        b"reply_type" => number(i64::from(h.msg.is_request() && h.tm.reply_code > 0 && h.tm.last_local)),
        b"ruid" => branch(h, Index::None).map_or(Value::Null, ruid),
        b"branch_index" => h.tm.branch.map_or(Value::Null, number),
        b"ruri" => key.and(ruri(h)).map_or(Value::Null, Value::text),
        _ => Value::Null,
    }
}

fn tx_name(h: &SipHost, key: Key) -> TxName {
    TxName { worker: h.tm.worker, incarnation: h.tm.incarnation, key }
}

/// A part of a branch by the name that 2.2 writes in parentheses: `$(branch(uri)[0])`.
pub fn part_of_target(h: &SipHost, t: &Target, sub: Option<&Value>) -> Value {
    let pv = match sub.and_then(Value::to_text).as_deref() {
        Some(b"duri") => Pv::TmBranchDuri,
        Some(b"path") => Pv::TmBranchPath,
        Some(b"q") => Pv::TmBranchQ,
        Some(b"flags") => Pv::TmBranchFlags,
        Some(b"socket") => Pv::TmBranchSocket,
        None | Some(b"" | b"uri") => Pv::TmBranchUri,
        Some(_) => return Value::Null,
    };
    of_target(h, t, pv, None)
}

/// A part of a branch.
pub fn of_target(h: &SipHost, t: &Target, pv: Pv, sub: Option<&Value>) -> Value {
    let name = || sub.and_then(Value::to_text).unwrap_or_default();
    match pv {
        Pv::TmBranchUri => Value::Str(t.uri.clone()),
        Pv::TmBranchDuri => Value::opt(t.du.clone()),
        Pv::BranchPath | Pv::TmBranchPath => Value::opt(t.path.clone()),
        Pv::TmBranchQ => t.q.map_or(Value::Null, number),
        Pv::BranchFlagList | Pv::TmBranchFlags => joined(&t.flags, b" "),
        Pv::BranchSocket | Pv::TmBranchSocket => socket(h, t.socket, Pv::SocketOut, None),
        Pv::BranchFlagOf | Pv::TmBranchFlag => number(t.flags.contains(&name())),
        Pv::BranchAttr | Pv::TmBranchAttr => {
            let name: Str = name();
            Value::opt(t.attrs.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()))
        }
        _ => Value::Null,
    }
}
