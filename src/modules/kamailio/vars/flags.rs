//! Flags as numbers: all of a kind as one (`$mf`, `$sf`, `$bf`), in hexadecimal (`$mF` ...), each by its number (`$Mf(n)` ...).

use super::Var;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::host::SetError;
use crate::script::value::Value;

/// What the names of the script's flags begin with among the message's.
pub const SCRIPT: &str = "(script)";

/// A kind of flags: whether they are the branch's, and what stands before their numbers.
fn kind(var: Var) -> (bool, &'static str) {
    match var {
        Var::ScriptFlags | Var::ScriptFlagsHex | Var::ScriptFlag => (false, SCRIPT),
        Var::BranchFlags | Var::BranchFlagsHex | Var::BranchFlag => (true, ""),
        _ => (false, ""),
    }
}

/// The bit of a flag that has a number, from 0 to 31.
fn bit(flag: &Str, prefix: &str) -> Option<u32> {
    let digits = flag.strip_prefix(prefix.as_bytes())?;
    let number: u32 =
        std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    1u32.checked_shl(number)
}

/// The bits of flags that have numbers.
pub fn mask(flags: &[Str], prefix: &str) -> u32 {
    flags.iter().filter_map(|f| bit(f, prefix)).fold(0, |all, bit| all | bit)
}

/// Replaces the flags that have numbers.
pub fn unmask(flags: &mut Vec<Str>, prefix: &str, bits: u32) {
    flags.retain(|f| bit(f, prefix).is_none());
    flags.extend((0..32).filter(|n| bits & (1 << n) != 0).map(|n| Str::from(format!("{prefix}{n}"))));
}

fn number(sub: Option<&Value>) -> Option<u32> {
    sub.and_then(Value::to_int).and_then(|n| u32::try_from(n).ok()).filter(|n| *n < 32)
}

pub(super) fn get(h: &SipHost, var: Var, sub: Option<&Value>) -> Value {
    let (branch, prefix) = kind(var);
    let all = mask(if branch { &h.bflags } else { &h.flags }, prefix);
    match var {
        Var::MessageFlags | Var::ScriptFlags | Var::BranchFlags => Value::Int(all.into()),
        Var::MessageFlagsHex | Var::ScriptFlagsHex | Var::BranchFlagsHex => Value::text(format!("{all:08x}")),
        _ => number(sub).map_or(Value::Null, |n| Value::Int(i64::from(all >> n & 1))),
    }
}

pub(super) fn set(h: &mut SipHost, var: Var, sub: Option<&Value>, value: &Value) -> Result<(), SetError> {
    let (branch, prefix) = kind(var);
    let flags = if branch { &mut h.bflags } else { &mut h.flags };
    let bits = match var {
        Var::MessageFlags
        | Var::ScriptFlags
        | Var::BranchFlags
        | Var::MessageFlagsHex
        | Var::ScriptFlagsHex
        | Var::BranchFlagsHex => match value {
            Value::Null => 0,
            // The lower half, as a word of 32 bits takes it.
            v => v.as_int().ok_or(SetError::BadValue("flags are a number"))? as u32,
        },
        _ => {
            let n = number(sub).ok_or(SetError::BadValue("a flag is a number from 0 to 31"))?;
            let on = value.as_int().is_some_and(|v| v != 0);
            mask(flags, prefix) & !(1 << n) | u32::from(on) << n
        }
    };
    unmask(flags, prefix, bits);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_bits() {
        let mut flags: Vec<Str> = ["3", "NAT", "(script)4", "40"].map(Str::from).to_vec();
        assert_eq!((mask(&flags, ""), mask(&flags, SCRIPT)), (8, 16));
        unmask(&mut flags, "", 0x8000_0001);
        assert_eq!(mask(&flags, ""), 0x8000_0001);
        assert_eq!(mask(&flags, SCRIPT), 16, "others stay");
        assert!(flags.contains(&Str::from("NAT")));
    }
}
