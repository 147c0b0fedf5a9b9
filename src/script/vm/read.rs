//! Reading variables and expanding format strings. Nothing here waits or changes the run.

use crate::base::{Str, Time};

use super::ast::{Dialect, RouteKind};
use super::avp::key;
use super::host::{Host, Index};
use super::ir::{Base, Format, IndexRef, Name, Part, Transform, TransformArg, VarRef};
use super::machine::{Machine, MemberResult};
use super::pattern::compile_subst;
use super::program::Program;
use super::registry::OutVar;
use super::transform::{self, Op};
use super::value::Value;
use super::xavp::Path;
use smallvec::SmallVec;

/// `{s.eval}` within `{s.eval}` goes no deeper than this.
const MAX_EVAL: u8 = 8;
/// Variables that one instruction may read through `{s.eval}`: its text may come from outside and
/// name itself many times over.
const MAX_EVAL_READS: u32 = 10_000;

/// What reading needs at hand.
pub(super) struct Reader<'a, H: Host> {
    pub(super) p: &'a Program<H>,
    pub(super) m: &'a Machine,
    pub(super) host: &'a mut H,
    pub(super) now: Time,
    /// How deep in `{s.eval}` it is.
    depth: u8,
    /// Variables read there.
    reads: u32,
}

impl<'a, H: Host> Reader<'a, H> {
    pub(super) fn new(p: &'a Program<H>, m: &'a Machine, host: &'a mut H, now: Time) -> Self {
        Reader { p, m, host, now, depth: 0, reads: 0 }
    }

    /// The value of a variable; `None` if it cannot be evaluated.
    pub(super) fn var(&mut self, v: &VarRef<H::Pv>) -> Option<Value> {
        if let (Base::Var(slot), true) = (v.base, v.transforms.is_empty()) {
            return Some(self.m.vars.get(slot as usize).cloned().unwrap_or_default());
        }
        if self.depth > 0 {
            self.reads += 1;
            if self.reads > MAX_EVAL_READS {
                return None;
            }
        }
        let found = self.index(&v.index).and_then(|index| self.at(v, index));
        match v.transforms.last() {
            // A word of a command line stays one, also when there is nothing to be put into it.
            Some(t) if found.is_none() && t.op == Op::EscapeShell => Some(Value::text(transform::shell_word(b""))),
            _ => found,
        }
    }

    /// The value of a variable at an index that replaces the written one.
    pub(super) fn at(&mut self, v: &VarRef<H::Pv>, index: Index) -> Option<Value> {
        let mut value = match &v.sub {
            Name::None => self.base(v.base, None, index),
            Name::Fixed(sub) => self.base(v.base, Some(sub), index),
            Name::Computed(f) => {
                let sub = self.value(f)?;
                self.base(v.base, Some(&sub), index)
            }
        };
        for t in &v.transforms {
            value = self.transform(t, value)?;
        }
        Some(value)
    }

    /// A variable with its name and index evaluated: where something is assigned.
    pub(super) fn place(&mut self, number: u32) -> Option<OutVar> {
        let p = self.p;
        let v = p.vars.get(number as usize)?;
        let sub = match &v.sub {
            Name::None => Value::Null,
            Name::Fixed(sub) => sub.clone(),
            Name::Computed(f) => self.value(f)?,
        };
        Some(OutVar { var: number, sub, index: self.index(&v.index)? })
    }

    /// The present value of a place.
    pub(super) fn placed(&mut self, out: &OutVar) -> Value {
        let Some(v) = self.p.vars.get(out.var as usize) else { return Value::Null };
        let sub = if out.sub.is_null() { None } else { Some(&out.sub) };
        self.base(v.base, sub, out.index)
    }

    pub(super) fn index(&mut self, index: &IndexRef<H::Pv>) -> Option<Index> {
        Some(match index {
            IndexRef::None => Index::None,
            IndexRef::At(n) => Index::At(*n),
            IndexRef::All => Index::All,
            IndexRef::Append => Index::Append,
            IndexRef::Computed(v) => Index::At(self.var(v)?.to_int()?),
        })
    }

    /// A format string as a value: a single variable keeps its type.
    pub(super) fn value(&mut self, f: &Format<H::Pv>) -> Option<Value> {
        match f.parts.as_slice() {
            [Part::Var(v)] => self.var(v),
            [Part::Text(t)] => Some(Value::Str(t.clone())),
            _ => Some(Value::Str(self.text(f))),
        }
    }

    /// A format string as text: what is NULL or cannot be evaluated prints as `<null>`. Text past
    /// the size of a value is cut off.
    pub(super) fn text(&mut self, f: &Format<H::Pv>) -> Str {
        if let [Part::Text(t)] = f.parts.as_slice() {
            return t.clone();
        }
        let max = self.p.limits.max_value;
        let mut out = Vec::with_capacity(64);
        for part in &f.parts {
            match part {
                Part::Text(t) => out.extend_from_slice(t),
                Part::Var(v) => self.var(v).unwrap_or_default().write_to(&mut out),
            }
            if out.len() > max {
                out.truncate(max);
                break;
            }
        }
        Str::from(out)
    }

    /// Expands a text computed at run time; one that is no format string stays as it is.
    pub(super) fn expand(&mut self, text: &[u8]) -> Str {
        if memchr::memchr(b'$', text).is_none() || self.depth >= MAX_EVAL {
            return Str::from(text);
        }
        match self.p.format(text) {
            Some(f) => {
                self.depth += 1;
                let out = self.text(&f);
                self.depth -= 1;
                out
            }
            None => Str::from(text),
        }
    }

    /// The value of a text computed at run time: a single variable keeps its type, what is no format string is itself.
    pub(super) fn computed(&mut self, text: &[u8]) -> Value {
        match self.p.format(text) {
            Some(f) if self.depth < MAX_EVAL => {
                self.depth += 1;
                let out = self.value(&f).unwrap_or_default();
                self.depth -= 1;
                out
            }
            _ => Value::text(text),
        }
    }

    fn base(&mut self, base: Base<H::Pv>, sub: Option<&Value>, index: Index) -> Value {
        let m = self.m;
        match base {
            Base::Host(pv) => self.host.get(pv, sub, index, self.now),
            Base::Var(slot) => m.vars.get(slot as usize).cloned().unwrap_or_default(),
            Base::Unset => self.p.unset_var(),
            Base::Avp => {
                let Some(name) = sub.and_then(Value::to_text) else { return Value::Null };
                let name = key(self.p.dialect, &name);
                match index {
                    Index::None | Index::Append => m.avps.get(name, 0),
                    Index::At(i) => m.avps.get(name, i),
                    Index::All => join(m.avps.values(name).cloned(), b", "),
                }
            }
            Base::Xavp(family) => {
                let (Some(xavps), Some(text)) = (m.avps.xavps(), sub.and_then(Value::to_text)) else {
                    return Value::Null;
                };
                Path::parse(&text).map_or(Value::Null, |path| xavps.read(family, &path))
            }
            Base::AvpCount => {
                let name = sub.and_then(Value::to_text).unwrap_or_default();
                Value::Int(m.avps.values(key(self.p.dialect, &name)).count() as i64)
            }
            Base::XavpCount(family) => {
                let text = sub.and_then(Value::to_text).unwrap_or_default();
                let count = m.avps.xavps().zip(Path::parse(&text)).map_or(0, |(all, path)| all.count(family, &path));
                Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
            }
            Base::Param => match sub {
                Some(v) => match v.to_int() {
                    Some(n) => pick(m.frames.last().map_or(&[][..], |f| &f.params), n.saturating_sub(1)),
                    None => v
                        .to_text()
                        .and_then(|name| m.named.iter().find(|(n, _)| *n == name))
                        .map_or(Value::Null, |(_, v)| v.clone()),
                },
                None => Value::Null,
            },
            Base::Return => sub.and_then(Value::to_int).map_or(Value::Null, |n| pick(&m.returns, n)),
            Base::Rc => Value::Int(m.rc.into()),
            Base::AsyncRc if index == Index::None => self.result(Index::At(0), |r| &r.rc),
            Base::AsyncRc => self.result(index, |r| &r.rc),
            Base::AsyncErr if index == Index::None => m.async_err.clone(),
            Base::AsyncErr => self.result(index, |r| &r.err),
            Base::AsyncPhase if index == Index::None => m.async_phase.clone(),
            Base::AsyncPhase => self.result(index, |r| &r.phase),
            Base::CfgFile => Value::from(self.p.position(m.pc()).0),
            Base::CfgLine => Value::Int(self.p.position(m.pc()).1.into()),
            Base::Route => self.routes(index, |r| r.label()),
            Base::RouteName => self.routes(index, |r| r.name.as_deref().unwrap_or("").to_string()),
            Base::RouteType => match index {
                Index::None => Value::from(kind_name(m.kind)),
                _ => self.routes(index, |r| kind_name(r.kind).to_string()),
            },
            Base::Null => Value::Null,
        }
    }

    /// What came of one of several functions, or of all; negative indices count from the last.
    fn result(&self, index: Index, what: impl Fn(&MemberResult) -> &Value) -> Value {
        let results = &self.m.results;
        match index {
            Index::All => join(results.iter().map(|r| what(r).clone()), b", "),
            Index::At(i) => {
                let i = if i < 0 { i.saturating_add(results.len() as i64) } else { i };
                usize::try_from(i).ok().and_then(|i| results.get(i)).map_or(Value::Null, |r| what(r).clone())
            }
            Index::None | Index::Append => Value::Null,
        }
    }

    /// The stack of route blocks, the innermost at index 0.
    fn routes(&self, index: Index, show: impl Fn(&super::ir::Route) -> String) -> Value {
        let shown = |f: &super::machine::Frame| self.p.route(f.route).map(|r| Value::text(show(r)));
        match index {
            Index::All => join(self.m.frames.iter().filter_map(shown), b" > "),
            Index::At(i) => {
                let all: Vec<Value> = self.m.frames.iter().rev().filter_map(shown).collect();
                pick(&all, if i < 0 { i.saturating_add(all.len() as i64) } else { i })
            }
            _ => self.m.frames.last().and_then(shown).unwrap_or_default(),
        }
    }

    fn transform(&mut self, t: &Transform<H::Pv>, input: Value) -> Option<Value> {
        if input.is_null() && t.op != Op::EscapeShell && !transform::takes_null(t.op) {
            return Some(Value::Null);
        }
        let mut args: SmallVec<[Value; 2]> = SmallVec::new();
        for a in &t.args {
            args.push(match a {
                TransformArg::Fixed(v) => v.clone(),
                TransformArg::Var(v) => self.var(v)?,
            });
        }
        match t.op {
            Op::Eval => {
                let text = input.to_text()?;
                if self.depth >= MAX_EVAL {
                    return None;
                }
                let format = self.p.format(&text)?;
                self.depth += 1;
                let out = self.text(&format);
                self.depth -= 1;
                Some(Value::Str(out))
            }
            Op::Subst => {
                let text = input.to_text()?;
                let max = self.p.limits.max_value;
                let computed;
                let subst = match &t.subst {
                    Some(s) => &**s,
                    None => {
                        computed = compile_subst(&args.first()?.to_text()?).ok()?;
                        &computed
                    }
                };
                let replacement = self.expand(&subst.replacement);
                // No match: the input unchanged.
                Some(subst.apply(&text, &replacement, max).map_or(input, Value::text))
            }
            op if self.p.dialect == Dialect::Kamailio => {
                // What is absent or cannot be done is the empty text there; `{s.int}` takes whole numbers only.
                let spaced = input.to_text().is_some_and(|t| t.trim_ascii().len() != t.len());
                let number = op != Op::Int || (input.to_int().is_some() && !spaced);
                let result = transform::apply(op, &input, &args, self.p.limits.max_value).ok();
                let absent = || if op == Op::UriPort { Value::Int(0) } else { Value::from("") };
                Some(result.filter(|v| number && !v.is_null()).unwrap_or_else(absent))
            }
            op => transform::apply(op, &input, &args, self.p.limits.max_value).ok(),
        }
    }
}

fn pick(list: &[Value], n: i64) -> Value {
    usize::try_from(n).ok().and_then(|n| list.get(n)).cloned().unwrap_or_default()
}

/// Texts of all values with a separator between them; NULL if there are none.
fn join(values: impl Iterator<Item = Value>, separator: &[u8]) -> Value {
    let mut out: Option<Vec<u8>> = None;
    for v in values {
        match &mut out {
            None => {
                let mut text = Vec::new();
                v.write_to(&mut text);
                out = Some(text);
            }
            Some(text) => {
                text.extend_from_slice(separator);
                v.write_to(text);
            }
        }
        if out.as_ref().is_some_and(|o| o.len() > 65_535) {
            break;
        }
    }
    Value::opt(out)
}

/// A block's kind as `$route.type` has it.
fn kind_name(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Request => "request",
        RouteKind::OnReply => "onreply",
        RouteKind::Failure => "failure",
        RouteKind::Branch => "branch",
        RouteKind::Local => "local",
        RouteKind::Error => "error",
        RouteKind::Startup => "startup",
        RouteKind::Timer => "timer",
        RouteKind::Event => "event",
        RouteKind::OnSend => "onsend",
    }
}

/// Assigns to a place. `Err` holds the reason.
pub(super) fn store<H: Host>(
    p: &Program<H>,
    m: &mut Machine,
    host: &mut H,
    out: &OutVar,
    replace: bool,
    value: Value,
) -> Result<(), &'static str> {
    let Some(v) = p.vars.get(out.var as usize) else { return Err("no such variable") };
    match v.base {
        Base::Var(slot) => {
            let value = if value.is_null() { p.unset_slot(slot) } else { value };
            if m.collect {
                m.outputs.retain(|(s, _)| *s != slot);
                m.outputs.push((slot, value.clone()));
            }
            if let Some(v) = m.vars.get_mut(slot as usize) {
                *v = value;
            }
            Ok(())
        }
        Base::Avp => {
            let Some(name) = out.sub.to_text() else { return Err("the AVP's name is NULL") };
            // Kamailio: an index pushes, but for `[*]`.
            let index = match (p.dialect, out.index) {
                (Dialect::Kamailio, Index::At(_)) => Index::None,
                (_, index) => index,
            };
            m.avps
                .assign(key(p.dialect, &name), index, replace, value, &p.limits)
                .map_err(|_| "the run holds as many AVPs as it may")
        }
        Base::Xavp(family) => {
            let text = out.sub.to_text().unwrap_or_default();
            let path = Path::parse(&text).ok_or("its index is no number")?;
            if value.is_null() && m.avps.xavps().is_none() {
                return Ok(());
            }
            match m.avps.xavps_mut().assign(family, &path, value, &p.limits) {
                Ok(true) => Ok(()),
                Ok(false) => Err("there is nothing at this index"),
                Err(_) => Err("the run holds as many structured variables as it may"),
            }
        }
        Base::Host(pv) => {
            let sub = if out.sub.is_null() { None } else { Some(&out.sub) };
            host.set(pv, sub, out.index, replace, value).map_err(|e| match e {
                super::host::SetError::ReadOnly => "it cannot be assigned here",
                super::host::SetError::BadValue(why) => why,
            })
        }
        _ => Err("it cannot be assigned"),
    }
}

/// A value cut to the longest text a value may have; `true` if it was longer.
pub(super) fn clip(value: Value, max: usize) -> (Value, bool) {
    match &value {
        Value::Str(s) if s.len() > max => (Value::text(s.get(..max).unwrap_or_default()), true),
        _ => (value, false),
    }
}
