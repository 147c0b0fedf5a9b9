//! A checked, compiled script: what the lowering produces and every run shares. Immutable
//! while runs use it, but for two caches (patterns and formats computed at run time) and the
//! values `$var` starts with.

use super::ast::{Dialect, RouteKind};
use super::host::Host;
use super::ir::{
    AsyncSite, CallSite, Format, Instr, LaunchSite, Net, Route, RouteSite, SeveralSite, SwitchTable, VarRef,
};
use super::pattern::compile_regex;
use super::registry::Subst;
use super::resolve::{Problem, Resolver, Slots};
use super::source::Span;
use super::value::Value;
use crate::base::Str;
use regex::bytes::Regex;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// What stands in front of the names of variables that are NULL until they are assigned (`$vn`).
pub const NULL_AT_FIRST: &str = "\u{1}vn:";

/// Bounds that keep a script from growing or looping without end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Turns of one `while` (core parameter `max_while_loops`).
    pub max_while_loops: u32,
    /// Nested `route()` calls.
    pub max_frames: usize,
    /// Bytes of one value.
    pub max_value: usize,
    /// AVP values of one run.
    pub max_avps: usize,
    /// Bytes of all AVPs of one run.
    pub max_avp_bytes: usize,
}

impl Limits {
    /// The bounds a program of this dialect begins with.
    fn of(dialect: Dialect) -> Limits {
        match dialect {
            Dialect::OpenSips => Limits::default(),
            Dialect::Kamailio => Limits { max_while_loops: 100, ..Limits::default() },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_while_loops: 10_000,
            max_frames: 100,
            max_value: 65_535,
            max_avps: 10_000,
            max_avp_bytes: 16 << 20,
        }
    }
}

/// Where a statement stands, cheaply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Line {
    /// Index into [`Program::files`].
    pub file: u32,
    /// From 1.
    pub line: u32,
}

/// Where a call stands, for people.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The function.
    pub function: String,
    /// The route block.
    pub route: String,
    /// Its file.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
}

/// One `modparam`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ModParam {
    /// Module (a pattern in the script gives one entry per module it matches).
    pub module: String,
    /// Parameter.
    pub param: String,
    /// Value.
    pub value: Value,
    /// Where it was set.
    pub span: Span,
}

/// Format strings computed at run time; `None`: the text is none.
type Formats<P> = HashMap<Str, Option<Rc<Format<P>>>>;

/// A compiled script.
pub struct Program<H: Host> {
    /// Its language.
    pub dialect: Dialect,
    /// Loaded modules, `core` first.
    pub modules: Vec<&'static str>,
    /// Module parameters in file order.
    pub modparams: Vec<ModParam>,
    /// Bounds; the owner may change them before the first run.
    pub limits: Limits,
    /// The instructions of all blocks.
    pub code: Vec<Instr>,
    /// Where each instruction comes from.
    pub lines: Vec<Line>,
    /// File names.
    pub files: Vec<String>,
    /// Route blocks in file order.
    pub routes: Vec<Route>,
    /// Constants.
    pub consts: Vec<Value>,
    /// Variables.
    pub vars: Vec<VarRef<H::Pv>>,
    /// Format strings.
    pub formats: Vec<Format<H::Pv>>,
    /// Patterns compiled at load time.
    pub regexes: Vec<Regex>,
    /// Substitutions compiled at load time.
    pub substs: Vec<Subst>,
    /// Function calls.
    pub sites: Vec<CallSite<H>>,
    /// `async()` statements.
    pub asyncs: Vec<AsyncSite>,
    /// `launch()` statements.
    pub launches: Vec<LaunchSite>,
    /// Statements that start several functions at once.
    pub severals: Vec<SeveralSite>,
    /// `route()` calls.
    pub calls: Vec<RouteSite>,
    /// Switches.
    pub switches: Vec<SwitchTable>,
    /// Networks.
    pub nets: Vec<Net>,
    /// Names of the `$var` slots.
    pub slots: Vec<String>,
    /// Tells programs apart: a run is decoded only with the program it began with.
    pub fingerprint: u64,
    pub(super) slot_by_name: HashMap<String, u32>,
    /// Kamailio: other names of AVPs (`avp_aliases`).
    pub(super) avp_aliases: HashMap<String, String>,
    pub(super) route_by_name: HashMap<(RouteKind, Option<Box<str>>), u32>,
    pub(super) initial: RefCell<Rc<[Value]>>,
    pub(super) patterns: RefCell<HashMap<Str, Rc<Regex>>>,
    pub(super) computed: RefCell<Formats<H::Pv>>,
    /// Matches nothing.
    nothing: Regex,
}

/// Entries a run-time cache may hold before it is emptied.
const CACHE_CAP: usize = 512;
/// Longest text that is worth remembering.
const CACHE_KEY_CAP: usize = 4096;

/// Keeps a compiled text in a bounded cache.
fn remember<T>(cache: &mut HashMap<Str, T>, key: &[u8], value: T) {
    if key.len() > CACHE_KEY_CAP {
        return;
    }
    if cache.len() >= CACHE_CAP {
        cache.clear();
    }
    cache.insert(Str::from(key), value);
}

impl<H: Host> Program<H> {
    /// A program without anything in it.
    pub(super) fn empty(dialect: Dialect) -> Program<H> {
        Program {
            dialect,
            modules: Vec::new(),
            modparams: Vec::new(),
            limits: Limits::of(dialect),
            code: Vec::new(),
            lines: Vec::new(),
            files: Vec::new(),
            routes: Vec::new(),
            consts: Vec::new(),
            vars: Vec::new(),
            formats: Vec::new(),
            regexes: Vec::new(),
            substs: Vec::new(),
            sites: Vec::new(),
            asyncs: Vec::new(),
            launches: Vec::new(),
            severals: Vec::new(),
            calls: Vec::new(),
            switches: Vec::new(),
            nets: Vec::new(),
            slots: Vec::new(),
            fingerprint: 0,
            slot_by_name: HashMap::new(),
            avp_aliases: HashMap::new(),
            route_by_name: HashMap::new(),
            initial: RefCell::new(Rc::from([])),
            patterns: RefCell::default(),
            computed: RefCell::default(),
            nothing: Regex::new(r"[^\s\S]").expect("a constant pattern"),
        }
    }

    /// The route block of this kind and name; `None` = the main one (also named `0`).
    pub fn find_route(&self, kind: RouteKind, name: Option<&str>) -> Option<u32> {
        let name = name.filter(|n| *n != "0");
        // One small key per look-up by name; route calls with literal names never come here.
        self.route_by_name.get(&(kind, name.map(Box::from))).copied()
    }

    /// A route block by its number.
    pub fn route(&self, number: u32) -> Option<&Route> {
        self.routes.get(number as usize)
    }

    /// All route blocks of a kind, with their numbers.
    pub fn routes_of(&self, kind: RouteKind) -> impl Iterator<Item = (u32, &Route)> {
        self.routes.iter().enumerate().filter(move |(_, r)| r.kind == kind).map(|(i, r)| (i as u32, r))
    }

    /// Whether a module is loaded.
    pub fn has_module(&self, name: &str) -> bool {
        self.modules.contains(&name)
    }

    /// Where a call stands.
    pub fn place(&self, site: u32) -> Place {
        let Some(site) = self.sites.get(site as usize) else { return Place::default() };
        Place {
            function: site.name.to_string(),
            route: self.route(site.route).map_or(String::new(), |r| r.label()),
            file: self.files.get(site.file as usize).cloned().unwrap_or_default(),
            line: site.line,
        }
    }

    /// File and line of an instruction.
    pub fn position(&self, pc: u32) -> (&str, u32) {
        let line = self.lines.get(pc as usize).copied().unwrap_or_default();
        (self.files.get(line.file as usize).map_or("", String::as_str), line.line)
    }

    /// The value `$var(name)` starts with in every run from now on (`varset`). Names the script
    /// never uses are ignored.
    pub fn set_initial(&self, name: &str, value: Value) {
        if let Some(slot) = self.slot_by_name.get(name) {
            let mut all: Vec<Value> = self.initial.borrow().to_vec();
            if let Some(v) = all.get_mut(*slot as usize) {
                *v = value;
            }
            *self.initial.borrow_mut() = all.into();
        }
    }

    /// The values all `$var` start with in every run from now on: those a finished
    /// startup_route left ([`super::vm::Finished::vars`]).
    pub fn set_initial_vars(&self, mut vars: Vec<Value>) {
        let unset = self.unset_var();
        vars.resize(self.slots.len(), unset);
        *self.initial.borrow_mut() = vars.into();
    }

    /// The values `$var` starts with, by slot.
    pub fn initial_vars(&self) -> Rc<[Value]> {
        self.initial.borrow().clone()
    }

    /// What the variable of a slot holds that was never assigned.
    pub fn unset_slot(&self, slot: u32) -> Value {
        match self.slots.get(slot as usize) {
            Some(name) if name.starts_with(NULL_AT_FIRST) => Value::Null,
            _ => self.unset_var(),
        }
    }

    /// What a `$var` holds that was never assigned.
    pub fn unset_var(&self) -> Value {
        match self.dialect {
            Dialect::OpenSips => Value::Null,
            Dialect::Kamailio => Value::Int(0),
        }
    }

    /// Adds a writable variable that a module parameter names (`$avp(x)` and the like), for use
    /// in a [`super::registry::OutVar`].
    pub fn intern_var(&mut self, text: &str) -> Result<u32, Problem> {
        if let Some(n) = self.vars.iter().position(|v| &*v.text == text) {
            return Ok(n as u32);
        }
        let mut resolver = Resolver {
            dialect: self.dialect,
            slots: Slots::Grow { names: &mut self.slots, by_name: &mut self.slot_by_name },
            aliases: &self.avp_aliases,
        };
        let var = resolver.var_text::<H>(text.as_bytes())?;
        self.vars.push(var);
        let mut initial: Vec<Value> = self.initial.borrow().to_vec();
        initial.resize(self.slots.len(), self.unset_var());
        *self.initial.borrow_mut() = initial.into();
        Ok((self.vars.len() - 1) as u32)
    }

    /// A pattern computed at run time, compiled once.
    pub fn pattern(&self, pattern: &[u8]) -> Result<Rc<Regex>, String> {
        if let Some(r) = self.patterns.borrow().get(pattern) {
            return Ok(r.clone());
        }
        let compiled = Rc::new(compile_regex(&String::from_utf8_lossy(pattern))?);
        remember(&mut self.patterns.borrow_mut(), pattern, compiled.clone());
        Ok(compiled)
    }

    /// A format string computed at run time, compiled once; `None` if it is not valid.
    pub fn format(&self, text: &[u8]) -> Option<Rc<Format<H::Pv>>> {
        if let Some(f) = self.computed.borrow().get(text) {
            return f.clone();
        }
        let slots = Slots::Fixed(&self.slot_by_name);
        let mut resolver = Resolver { dialect: self.dialect, slots, aliases: &self.avp_aliases };
        let format = resolver.format::<H>(text).ok().map(Rc::new);
        remember(&mut self.computed.borrow_mut(), text, format.clone());
        format
    }

    /// A pattern compiled at load time; one that matches nothing for a number out of range.
    pub fn regex(&self, number: u32) -> &Regex {
        self.regexes.get(number as usize).unwrap_or(&self.nothing)
    }
}
