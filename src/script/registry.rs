//! How a script function describes itself: name in each dialect, typed parameters, allowed
//! routes, whether it may wait, return codes, an example. Argument checks, `reprise functions`,
//! the manual and the example's test all come from here.

use super::ast::{Dialect, RouteKind};
use super::host::{Host, Index};
use super::program::Limits;
use super::value::Value;
use super::xavp::Xavps;
use crate::base::{Str, Time};
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// A set of route kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteSet(pub u16);

impl RouteSet {
    /// Nowhere.
    pub const NONE: RouteSet = RouteSet(0);
    /// Everywhere.
    pub const ALL: RouteSet = RouteSet(0xffff);

    /// The set of exactly these kinds.
    pub const fn of(kinds: &[RouteKind]) -> RouteSet {
        let mut bits = 0;
        let mut i = 0;
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u16;
            i += 1;
        }
        RouteSet(bits)
    }

    /// The set from OpenSIPS' letters: R F O B L S T V E.
    pub const fn letters(letters: &str) -> RouteSet {
        let b = letters.as_bytes();
        let mut bits = 0;
        let mut i = 0;
        while i < b.len() {
            bits |= 1
                << match b[i] {
                    b'R' => RouteKind::Request as u16,
                    b'F' => RouteKind::Failure as u16,
                    b'O' => RouteKind::OnReply as u16,
                    b'B' => RouteKind::Branch as u16,
                    b'L' => RouteKind::Local as u16,
                    b'S' => RouteKind::Startup as u16,
                    b'T' => RouteKind::Timer as u16,
                    b'V' => RouteKind::Event as u16,
                    b'E' => RouteKind::Error as u16,
                    _ => RouteKind::OnSend as u16,
                };
            i += 1;
        }
        RouteSet(bits)
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: RouteKind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }
}

/// What a parameter takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A format string, expanded when called: arrives as `Arg::Value(Str)`.
    Str,
    /// A string that is not expanded (the function interprets it).
    Raw,
    /// A number, a variable that holds one, or a numeric string (2.2's quoted numbers).
    Int,
    /// A number or a format string.
    IntOrStr,
    /// A writable variable (2.2: also quoted): arrives as `Arg::Out`.
    Out,
    /// A variable, quoted or not: arrives as `Arg::Value` with its type (left out: NULL).
    Var,
    /// Either: a literal or expression as a format string (`Arg::Value`), or a single writable
    /// variable, also quoted (`Arg::Out`); the function decides.
    StrOrOut,
    /// A format string (`Arg::Value`); written as the last argument, a writable variable (`Arg::Out`).
    StrThenOut,
    /// A string that is not expanded (the function interprets it), or a single writable variable
    /// without quotes (`Arg::Out`).
    RawOrOut,
    /// A condition: arrives as `Arg::Value(Int)`, 1 if it holds, else 0.
    Condition,
    /// `"$avp(a);$avp(b)"`: writable variables: arrives as `Arg::Outs`.
    OutList,
    /// A regular expression; literals are compiled at load time.
    Regex,
    /// Name of a route block of this kind; literals are checked at load time. Arrives as
    /// `Arg::Route`, or as `Arg::Value(Null)` for the literal `"0"` / `""` (disarm).
    Route(RouteKind),
    /// The rest of the name of an event_route that begins so; else as `Route`.
    Event(&'static str),
    /// A flag name (2.2: also a bare word or number).
    Flag,
    /// `/regex/replacement/flags`: compiled at load time when literal: arrives as `Arg::Subst`.
    Subst,
    /// Name of a list that this parameter of this module defines, `NAME = (ATTRIBUTE=$variable, ...)`.
    /// Arrives as `Arg::Map`.
    Map(&'static str, &'static str),
    /// A name that this parameter of this module defines (`NAME` or `NAME=...`), or one of these; literals are checked
    /// at load time.
    Defined(&'static str, &'static str, &'static [&'static str]),
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name for messages and the manual.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether it may be left out.
    pub required: bool,
}

impl Param {
    /// A parameter that must be given.
    pub const fn req(name: &'static str, kind: Kind) -> Param {
        Param { name, kind, required: true }
    }
    /// A parameter that may be left out.
    pub const fn opt(name: &'static str, kind: Kind) -> Param {
        Param { name, kind, required: false }
    }
}

/// A script function.
pub struct FnSpec<H: Host> {
    /// Name in the OpenSIPS dialect.
    pub opensips: Option<&'static str>,
    /// Name in the Kamailio dialect.
    pub kamailio: Option<&'static str>,
    /// Parameters in order.
    pub params: &'static [Param],
    /// Further parameters of the last one's kind are accepted.
    pub variadic: bool,
    /// Where it may be called.
    pub routes: RouteSet,
    /// Whether it may wait (has a `finish`).
    pub waits: bool,
    /// What it does.
    pub doc: &'static str,
    /// Return codes and what they mean.
    pub returns: &'static [(i32, &'static str)],
    /// One line of script that uses it.
    pub example: &'static str,
    /// Starts it.
    pub run: fn(&mut Call<'_, H>) -> Step<H>,
    /// Goes on with the outcome of the operation it waited for; may wait again.
    pub finish: Option<Finish<H>>,
}

/// How a function goes on after a wait.
pub type Finish<H> = fn(&mut Call<'_, H>, <H as Host>::Outcome) -> Step<H>;

/// What one instruction of a function ended in.
pub enum Step<H: Host> {
    /// The return code; 0 ends the script as `exit` does.
    Done(i32),
    /// Park the run on this operation; `finish` gets the outcome.
    Wait(H::Request),
    /// A script error: logged with the position, return code -1.
    Fail(String),
    /// The run goes on in this route block as behind an `async()`: the call stack is forgotten, `$var` begins anew. Started
    /// by `async()`, `launch()` or with others at once, it is the same as `Done(1)`.
    Continue(u32),
    /// This route block runs next, as by `route()`, and its value is the call's code. Only for plain calls.
    Route(u32),
    /// The call is over with code 1, and beside the run another one begins on `host`: it waits for `request`, then `finish`
    /// gets the outcome there, and then `route` runs. Only for plain calls.
    Beside {
        /// What the other run works on.
        host: Box<H>,
        /// What it waits for.
        request: Box<H::Request>,
        /// Number of its route block.
        route: u32,
    },
}

/// An evaluated argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Arg {
    /// Left out.
    None,
    /// A value.
    Value(Value),
    /// A writable variable.
    Out(OutVar),
    /// Several of them.
    Outs(Vec<OutVar>),
    /// A regular expression compiled at load time: its number in the program.
    Regex(u32),
    /// A substitution compiled at load time: its number in the program.
    Subst(u32),
    /// A route block known at load time: its number in the program.
    Route(u32),
    /// A list of a module parameter.
    Map(Vec<MapEntry>),
}

/// One line of a list such as `(User-Name=$var(u), ...)`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MapEntry {
    /// What stands before the `=`.
    pub name: Str,
    /// Value of the variable when the function was called.
    pub value: Value,
    /// The variable, if it can be assigned to.
    pub place: Option<OutVar>,
}

/// A writable variable with its name and index evaluated: where an output goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutVar {
    /// Number of the variable in the program's table.
    pub var: u32,
    /// Evaluated text in parentheses.
    pub sub: Value,
    /// Evaluated index.
    pub index: Index,
}

/// `/regex/replacement/flags`
#[derive(Clone, Debug)]
pub struct Subst {
    /// What is searched.
    pub regex: Regex,
    /// Replacement with `\1`..`\9` and variables in it, as written.
    pub replacement: Str,
    /// `g`: all matches.
    pub global: bool,
}

/// A function call in progress.
pub struct Call<'a, H: Host> {
    /// The message and everything else outside of the machine.
    pub host: &'a mut H,
    /// Evaluated arguments; always as many as `params` (left out = `Arg::None`).
    pub args: &'a [Arg],
    /// The machine's side; [`Call::assign`], [`Call::expand`] and [`Call::vm`] wrap it.
    pub scope: &'a mut dyn ScopeWith<H>,
    /// The time of this turn of the loop.
    pub now: Time,
    /// What a function that waits more than once keeps between its steps.
    pub state: &'a mut FnState,
}

/// The machine's services that need the host at hand.
pub trait ScopeWith<H: Host> {
    /// Assigns an output variable (`=`; AVPs push).
    fn assign(&mut self, host: &mut H, out: &OutVar, value: Value);
    /// Reads a variable that was passed as `Arg::Out`.
    fn read(&mut self, host: &mut H, out: &OutVar) -> Value;
    /// Expands a format string at run time (`{s.eval}`, replacements, accounting formats).
    fn expand(&mut self, host: &mut H, format: &[u8]) -> Str;
    /// The value of a text with variables in it; a single variable keeps its type.
    fn value_of(&mut self, host: &mut H, text: &[u8]) -> Value;
    /// The parts that do not.
    fn plain(&mut self) -> &mut dyn PlainScope;
}

/// The machine's services that do not need the host.
pub trait PlainScope {
    /// All values of an AVP passed as `Arg::Out`, index 0 first; `None` if it is no AVP.
    fn avp_values(&self, out: &OutVar) -> Option<Vec<Value>>;
    /// Removes all values of the AVP behind `out`.
    fn clear_out(&mut self, out: &OutVar);
    /// Pushes a value onto the AVP `name`: it becomes index 0.
    fn push_avp(&mut self, name: &[u8], value: Value);
    /// Removes all values of the AVP `name`; returns how many.
    fn clear_avp(&mut self, name: &[u8]) -> usize;
    /// All values of the AVP `name`, index 0 first.
    fn avp(&self, name: &[u8]) -> Vec<Value>;
    /// Every AVP with its values, index 0 first.
    fn avps(&self) -> Vec<(Str, Vec<Value>)>;
    /// `$xavp`, `$xavu` and `$xavi`, if there have been any.
    fn xavps(&self) -> Option<&Xavps>;
    /// `$xavp`, `$xavu` and `$xavi`, to change, and what they may hold. Those of the launched run in a `launch`.
    fn xavps_mut(&mut self) -> (&mut Xavps, Limits);
    /// Every `$var` that the script names, with its value.
    fn vars(&self) -> Vec<(&str, Value)>;
    /// Assigns `$var(name)`; without effect if the script nowhere names it.
    fn set_var(&mut self, name: &[u8], value: Value);
    /// A regular expression compiled at load time.
    fn regex(&self, number: u32) -> &Regex;
    /// A substitution compiled at load time; `None` for a number out of range.
    fn subst(&self, number: u32) -> Option<&Subst>;
    /// A pattern computed at run time, compiled once and kept; `Err` says why it is not valid.
    fn pattern(&self, pattern: &[u8]) -> Result<Rc<Regex>, String>;
    /// The route block `name` of this kind, for names computed at run time.
    fn find_route(&self, kind: RouteKind, name: &[u8]) -> Option<u32>;
    /// `$rc` before this call.
    fn rc(&self) -> i32;
    /// Kind of the route block the run began in.
    fn route_kind(&self) -> RouteKind;
    /// The deadline argument of `async(f(), route, SECONDS)`, if one was given and not 0.
    fn timeout_secs(&self) -> Option<u32>;
    /// Whether it was called plainly: neither by `async()` nor by `launch()`.
    fn is_plain(&self) -> bool;
    /// File and line of the call.
    fn position(&self) -> (String, u32);
    /// Name of the innermost route block.
    fn route_name(&self) -> String;
}

/// Small state a waiting function keeps between its steps (travels with the run).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FnState {
    /// Which step comes next; 0 at the start.
    pub step: u32,
    /// Anything else.
    pub data: Vec<Value>,
}

impl<H: Host> Call<'_, H> {
    /// The text of argument `i`; `None` if left out or NULL.
    pub fn text(&self, i: usize) -> Option<Str> {
        match self.args.get(i) {
            Some(Arg::Value(v)) => v.to_text(),
            _ => None,
        }
    }

    /// The number of argument `i`; `None` if left out or not a number.
    pub fn int(&self, i: usize) -> Option<i64> {
        match self.args.get(i) {
            Some(Arg::Value(v)) => v.to_int(),
            _ => None,
        }
    }

    /// The output variable of argument `i`, if given.
    pub fn out(&self, i: usize) -> Option<&OutVar> {
        match self.args.get(i) {
            Some(Arg::Out(o)) => Some(o),
            _ => None,
        }
    }

    /// Assigns output argument `i`, if given.
    pub fn assign(&mut self, i: usize, value: Value) {
        if let Some(Arg::Out(o)) = self.args.get(i) {
            self.scope.assign(self.host, o, value);
        }
    }

    /// Assigns an output variable.
    pub fn assign_to(&mut self, out: &OutVar, value: Value) {
        self.scope.assign(self.host, out, value);
    }

    /// Expands a format string.
    pub fn expand(&mut self, format: &[u8]) -> Str {
        self.scope.expand(self.host, format)
    }

    /// The value of a text with variables in it; a single variable keeps its type.
    pub fn value(&mut self, text: &[u8]) -> Value {
        self.scope.value_of(self.host, text)
    }

    /// Whether argument `i` was given.
    pub fn given(&self, i: usize) -> bool {
        !matches!(self.args.get(i), None | Some(Arg::None))
    }

    /// The machine's services.
    pub fn vm(&mut self) -> &mut dyn PlainScope {
        self.scope.plain()
    }

    /// Tests `text` against the regular expression in argument `i` (load-time or computed).
    /// `Err` holds the reason why a computed one is not valid.
    pub fn is_match(&mut self, i: usize, text: &[u8]) -> Result<bool, String> {
        match self.args.get(i) {
            Some(Arg::Regex(n)) => Ok(self.scope.plain().regex(*n).is_match(text)),
            Some(Arg::Value(v)) => {
                let pattern = v.to_text().unwrap_or_default();
                self.scope.plain().pattern(&pattern).map(|r| r.is_match(text))
            }
            _ => Ok(false),
        }
    }
}

/// Type of a module parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModParamKind {
    /// A number.
    Int,
    /// A string.
    Str,
    /// Either.
    Any,
}

/// One parameter of a module.
#[derive(Clone, Copy, Debug)]
pub struct ModParamSpec {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ModParamKind,
    /// `true` if reprise takes it and has no use for it (a limit it does not have, a peer's memory knob).
    pub ignored: bool,
    /// What it means, with the default and the unit.
    pub doc: &'static str,
}

/// A script module.
pub struct ModuleSpec<H: Host> {
    /// Name as in `loadmodule "NAME.so"`.
    pub name: &'static str,
    /// Dialects that have it.
    pub dialects: &'static [Dialect],
    /// Its functions.
    pub functions: &'static [FnSpec<H>],
    /// Its parameters.
    pub params: &'static [ModParamSpec],
    /// Any further parameter is accepted (modules that reprise only tolerates).
    pub any_param: bool,
    /// Modules that must be loaded too.
    pub needs: &'static [&'static str],
}

/// All modules of a dialect. The module named `core` is always loaded.
pub struct Catalog<H: Host> {
    /// The modules.
    pub modules: &'static [&'static ModuleSpec<H>],
    /// Modules that offer functions which stand with another one: its functions of this dialect
    /// are there when the first is loaded.
    pub offers: &'static [(&'static str, &'static [&'static ModuleSpec<H>])],
}

impl<H: Host> Catalog<H> {
    /// The functions a module brings, as lists.
    pub fn functions(&self, module: &'static ModuleSpec<H>) -> impl Iterator<Item = &'static FnSpec<H>> + use<H> {
        let offered = self.offers.iter().filter(move |(name, _)| *name == module.name).flat_map(|(_, list)| *list);
        std::iter::once(module).chain(offered.copied()).flat_map(|m| m.functions)
    }
}
