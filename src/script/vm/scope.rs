//! What a script function gets from the machine while it runs: its outputs, AVPs, patterns,
//! route names, its position.

use crate::base::{Str, Time};

use super::ast::RouteKind;
use super::avp::key;
use super::host::Host;
use super::ir::Base;
use super::machine::Machine;
use super::program::{Limits, Program};
use super::read::{Reader, clip, store};
use super::registry::{OutVar, PlainScope, ScopeWith, Subst};
use super::value::Value;
use super::xavp::Xavps;
use regex::bytes::Regex;
use std::rc::Rc;

/// The detached run that a `launch` makes: the function's outputs go there.
pub(super) struct Child<H> {
    pub(super) machine: Machine,
    pub(super) host: H,
}

pub(super) struct Scope<'a, H: Host> {
    pub(super) p: &'a Program<H>,
    pub(super) m: &'a mut Machine,
    pub(super) now: Time,
    pub(super) site: u32,
    pub(super) timeout: Option<u32>,
    pub(super) child: Option<&'a mut Child<H>>,
}

impl<H: Host> Scope<'_, H> {
    /// Where outputs go.
    fn target(&mut self) -> &mut Machine {
        match &mut self.child {
            Some(c) => &mut c.machine,
            None => self.m,
        }
    }

    fn is_avp(&self, out: &OutVar) -> Option<Str> {
        let v = self.p.vars.get(out.var as usize)?;
        if matches!(v.base, Base::Avp) { out.sub.to_text() } else { None }
    }
}

impl<H: Host> ScopeWith<H> for Scope<'_, H> {
    fn assign(&mut self, host: &mut H, out: &OutVar, value: Value) {
        let (value, cut) = clip(value, self.p.limits.max_value);
        let (m, host) = match &mut self.child {
            Some(c) => (&mut c.machine, &mut c.host),
            None => (&mut *self.m, host),
        };
        let name = || self.p.vars.get(out.var as usize).map_or("", |v| &v.text).to_string();
        if cut {
            host.log(-1, &format!("output {} was cut to {} bytes", name(), self.p.limits.max_value));
        }
        if let Err(why) = store(self.p, m, host, out, false, value) {
            host.log(-1, &format!("output {} was not assigned: {why}", name()));
        }
    }

    fn read(&mut self, host: &mut H, out: &OutVar) -> Value {
        Reader::new(self.p, self.m, host, self.now).placed(out)
    }

    fn expand(&mut self, host: &mut H, format: &[u8]) -> Str {
        Reader::new(self.p, self.m, host, self.now).expand(format)
    }

    fn value_of(&mut self, host: &mut H, text: &[u8]) -> Value {
        Reader::new(self.p, self.m, host, self.now).computed(text)
    }

    fn plain(&mut self) -> &mut dyn PlainScope {
        self
    }
}

impl<H: Host> PlainScope for Scope<'_, H> {
    fn avp_values(&self, out: &OutVar) -> Option<Vec<Value>> {
        self.is_avp(out).map(|name| self.avp(&name))
    }

    fn clear_out(&mut self, out: &OutVar) {
        if let Some(name) = self.is_avp(out) {
            let dialect = self.p.dialect;
            self.target().avps.clear(key(dialect, &name));
        }
    }

    fn push_avp(&mut self, name: &[u8], value: Value) {
        let (value, _) = clip(value, self.p.limits.max_value);
        let limits = self.p.limits;
        // A full AVP table drops the value; the functions that push many say so themselves.
        let name = key(self.p.dialect, name);
        let _ = self.target().avps.push(name, value, &limits);
    }

    fn clear_avp(&mut self, name: &[u8]) -> usize {
        let name = key(self.p.dialect, name);
        self.target().avps.clear(name)
    }

    fn avp(&self, name: &[u8]) -> Vec<Value> {
        self.m.avps.values(key(self.p.dialect, name)).cloned().collect()
    }

    fn avps(&self) -> Vec<(Str, Vec<Value>)> {
        self.m.avps.all().map(|(n, l)| (n.clone(), l.cloned().collect())).collect()
    }

    fn xavps(&self) -> Option<&Xavps> {
        self.m.avps.xavps()
    }

    fn xavps_mut(&mut self) -> (&mut Xavps, Limits) {
        let limits = self.p.limits;
        (self.target().avps.xavps_mut(), limits)
    }

    fn vars(&self) -> Vec<(&str, Value)> {
        self.p.slots.iter().map(String::as_str).zip(self.m.vars.iter().cloned()).collect()
    }

    fn set_var(&mut self, name: &[u8], value: Value) {
        let slot = std::str::from_utf8(name).ok().and_then(|n| self.p.slot_by_name.get(n)).copied();
        let Some(slot) = slot else { return };
        let (value, _) = clip(value, self.p.limits.max_value);
        let m = self.target();
        if m.collect {
            m.outputs.retain(|(s, _)| *s != slot);
            m.outputs.push((slot, value.clone()));
        }
        if let Some(v) = m.vars.get_mut(slot as usize) {
            *v = value;
        }
    }

    fn regex(&self, number: u32) -> &Regex {
        self.p.regex(number)
    }

    fn subst(&self, number: u32) -> Option<&Subst> {
        self.p.substs.get(number as usize)
    }

    fn pattern(&self, pattern: &[u8]) -> Result<Rc<Regex>, String> {
        self.p.pattern(pattern)
    }

    fn find_route(&self, kind: RouteKind, name: &[u8]) -> Option<u32> {
        self.p.find_route(kind, Some(std::str::from_utf8(name).ok()?))
    }

    fn rc(&self) -> i32 {
        self.m.rc
    }

    fn route_kind(&self) -> RouteKind {
        self.m.kind
    }

    fn timeout_secs(&self) -> Option<u32> {
        self.timeout
    }

    fn is_plain(&self) -> bool {
        // A launched run has no block yet when its function ends.
        !self.m.collect && self.child.is_none() && !self.m.frames.is_empty()
    }

    fn position(&self) -> (String, u32) {
        match self.p.sites.get(self.site as usize) {
            Some(s) => (self.p.files.get(s.file as usize).cloned().unwrap_or_default(), s.line),
            None => Default::default(),
        }
    }

    fn route_name(&self) -> String {
        let route = match self.m.frames.last() {
            Some(f) => Some(f.route),
            None => self.p.sites.get(self.site as usize).map(|s| s.route),
        };
        route.and_then(|r| self.p.route(r)).map_or(String::new(), |r| r.label())
    }
}
