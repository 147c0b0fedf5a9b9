//! `avp_op` and `avp_subst`: new values from old ones.

use super::ROUTES;
use super::memory::{Verdict, step};
use super::name;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::textops::with_subst;
use crate::script::registry::{Call, FnSpec, Kind, Param};
use crate::script::value::Value;

/// Longest text that a substitution may make, in bytes.
const MAX_TEXT: usize = 65_535;

/// `avp_op`
pub const AVP_OP: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_op"),
    kamailio: Some("avp_op"),
    params: &[Param::req("from[/to]", Kind::Raw), Param::req("op/value/flags", Kind::Raw)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Calculates with the newest value of an AVP and puts the result in its place, or on top of the other AVP. \
          Operators: add sub mul div mod and or xor, and not (of bits), which takes no value. The value may be a \
          variable. Flags: `g` every value, `d` the values used are removed (with another AVP).",
    returns: &[(1, "done"), (-1, "not set, not a number, division by zero, or too large")],
    example: r#"avp_op("$avp(count)", "add/1");"#,
    run: |call| step(operate(call)),
    finish: None,
};

/// `avp_subst`
pub const AVP_SUBST: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_subst"),
    kamailio: Some("avp_subst"),
    params: &[Param::req("from[/to[/flags]]", Kind::RawOrOut), Param::req("/pattern/replacement/flags", Kind::Subst)],
    doc: "Carries out a substitution (see subst of textops) on the newest value of an AVP and puts the result in its \
          place, or on top of the other AVP. Flags: `g` every value, `d` the values used are removed (with another \
          AVP).",
    returns: &[(1, "at least one value matched"), (-1, "none did")],
    example: r#"avp_subst("$avp(dest)/$avp(user)/g", "/^sip:(.*)@.*$/\1/");"#,
    run: |call| step(substitute(call)),
    ..AVP_OP
};

/// From which AVP, to which, and how.
struct Plan {
    from: name::Avp,
    to: Option<name::Avp>,
    all: bool,
    remove: bool,
}

impl Plan {
    /// From `from[/to[/flags]]`; more flags may come.
    fn of(call: &mut Call<'_, SipHost>) -> Result<Plan, String> {
        if let Some(out) = call.out(0) {
            return Ok(Plan { from: name::avp_of(out)?, to: None, all: false, remove: false });
        }
        let text = call.text(0).unwrap_or_default();
        let parts = name::parts(&text);
        let from = name::one(call, parts.first().copied().unwrap_or_default())?;
        let (to, flags) = match (parts.get(1).copied(), parts.get(2).copied()) {
            (Some(to), flags) if to.first() == Some(&b'$') => (Some(name::one(call, to)?), flags),
            // Without another AVP the flags follow at once, or behind an empty part.
            (Some(b""), flags) => (None, flags),
            (flags, _) => (None, flags),
        };
        let mut plan = Plan { from, to, all: false, remove: false };
        plan.add(flags)?;
        Ok(plan)
    }

    fn add(&mut self, flags: Option<&[u8]>) -> Result<(), String> {
        let flags = name::flags(flags, b"gd")?;
        self.all |= flags.contains(&b'g');
        self.remove |= flags.contains(&b'd');
        Ok(())
    }

    /// Applies `change` to the values; those it gives `None` for stay as they are. Says whether any
    /// was changed.
    fn apply(&self, call: &mut Call<'_, SipHost>, mut change: impl FnMut(&Value) -> Option<Value>) -> bool {
        let mut values = call.vm().avp(&self.from.name);
        let first = name::position(values.len(), self.from.index.unwrap_or(0));
        let chosen = |n: usize| self.all || Some(n) == first;
        let mut results = Vec::new();
        let mut used = vec![false; values.len()];
        for (n, value) in values.iter_mut().enumerate().filter(|(n, _)| chosen(*n)) {
            if let Some(new) = change(value) {
                if let Some(u) = used.get_mut(n) {
                    *u = true;
                }
                if self.to.is_some() {
                    results.push(new);
                } else {
                    *value = new;
                }
            }
        }
        if !used.contains(&true) {
            return false;
        }
        match &self.to {
            None => name::set_all(call, &self.from.name, values),
            Some(to) => {
                if self.remove {
                    let left = values.into_iter().zip(used).filter(|(_, used)| !used).map(|(v, _)| v).collect();
                    name::set_all(call, &self.from.name, left);
                }
                name::push_all(call, &to.name, results);
            }
        }
        true
    }
}

fn operate(call: &mut Call<'_, SipHost>) -> Verdict {
    let mut plan = Plan::of(call)?;
    let text = call.text(1).unwrap_or_default();
    let parts = name::parts(&text);
    plan.add(parts.get(2).copied())?;
    let word = parts.first().copied().unwrap_or_default().to_ascii_lowercase();
    let operator: fn(i64, i64) -> Option<i64> = match &word[..] {
        b"add" => i64::checked_add,
        b"sub" => i64::checked_sub,
        b"mul" => i64::checked_mul,
        b"div" => i64::checked_div,
        b"mod" => i64::checked_rem,
        b"and" => |a, b| Some(a & b),
        b"or" => |a, b| Some(a | b),
        b"xor" => |a, b| Some(a ^ b),
        b"not" => |a, _| Some(!a),
        other => return Err(format!("unknown operator `{}`", other.escape_ascii())),
    };
    let value = match parts.get(1) {
        Some(value) if word != b"not" => name::operand(call, value)?.into_iter().next().and_then(|v| v.to_int()),
        _ => Some(0).filter(|_| word == b"not"),
    };
    let Some(value) = value else { return Err("a number is wanted behind the operator".to_string()) };
    Ok(plan.apply(call, |old| operator(old.to_int()?, value).map(Value::Int)))
}

fn substitute(call: &mut Call<'_, SipHost>) -> Verdict {
    let plan = Plan::of(call)?;
    let old = call.vm().avp(&plan.from.name);
    let mut new = with_subst(call, 1, |_, subst, replacement| {
        let texts = old.iter().map(|v| v.to_text().and_then(|t| subst.apply(&t, replacement, MAX_TEXT)));
        texts.collect::<Vec<_>>()
    })?
    .into_iter();
    // `apply` asks for the chosen values only, so the results are matched by position.
    let first = name::position(old.len(), plan.from.index.unwrap_or(0)).unwrap_or(0);
    if !plan.all {
        new.by_ref().take(first).for_each(drop);
    }
    Ok(plan.apply(call, |_| new.next().flatten().map(|t| Value::Str(Str::from(t)))))
}
