//! The script's door to the world. The machine owns `$var`, `$avp`, `$param`, `$rc` and the
//! control flow; everything else (the message, flags, the clock, operations) is the host's.

use super::ast::Dialect;
use super::registry::{Catalog, FnSpec};
use super::value::Value;
use crate::base::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Which value of a multi-value variable: `$(name[index])`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Index {
    /// No index written: the first (AVPs: the newest) value.
    #[default]
    None,
    /// `[i]`; negative counts from the end.
    At(i64),
    /// `[*]`: all, joined.
    All,
    /// `[append]`: assignment only.
    Append,
}

/// What may stand in a variable's parentheses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubName {
    /// Nothing: `$ru`.
    Never,
    /// May: `$socket_in`, `$socket_in(ip)`.
    Optional,
    /// Must: `$hdr(Name)`.
    Required,
}

/// How a host's pseudo-variable may be used.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PvSpec<P> {
    /// The host's own number for it.
    pub pv: P,
    /// What may stand in parentheses.
    pub sub: SubName,
    /// Whether it may be assigned.
    pub writable: bool,
}

/// What the host does with an event route of some name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventSort {
    /// Never raises the event.
    Never,
    /// Runs the route by itself; it may wait.
    Run,
    /// Runs the route in the middle of something else that goes on with its result: it cannot wait.
    Hook,
}

/// Why an assignment failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetError {
    /// Read-only at run time (for instance R-URI of a reply).
    ReadOnly,
    /// The value has the wrong type or form.
    BadValue(&'static str),
}

/// What the machine asks of the world. One value of this type travels with each run.
pub trait Host: Sized + Serialize + DeserializeOwned + 'static {
    /// A resolved pseudo-variable.
    type Pv: Copy + Debug + PartialEq + 'static;
    /// An operation to carry out: plain data.
    type Request: Debug;
    /// What came of it.
    type Outcome: Debug;

    /// Modules and core functions of a dialect.
    fn catalog(dialect: Dialect) -> &'static Catalog<Self>;

    /// Resolves `$name` / `$name(sub)`; `sub` is the literal text in parentheses, if it is literal.
    fn find_pv(dialect: Dialect, name: &str, sub: Option<&str>) -> Option<PvSpec<Self::Pv>>;

    /// The context that `$name($inner)` reads its inner variable in, if `name` is a variable that
    /// does so.
    fn wrapper(_dialect: Dialect, _name: &str) -> Option<&'static str> {
        None
    }

    /// What must be done before `$name(sub)` is read: a function without parameters, called at that place. It may wait, as a
    /// variable cannot.
    fn before_reading(_dialect: Dialect, _name: &str, _sub: &str) -> Option<&'static FnSpec<Self>> {
        None
    }

    /// What becomes of `event_route[name]`.
    fn event(_dialect: Dialect, _name: &str) -> EventSort {
        EventSort::Run
    }

    /// Names for "did you mean".
    fn pv_names(dialect: Dialect) -> &'static [&'static str];

    /// Reads a pseudo-variable; never waits.
    fn get(&mut self, pv: Self::Pv, sub: Option<&Value>, index: Index, now: Time) -> Value;

    /// Assigns a pseudo-variable (`replace` for `:=`). NULL removes or resets.
    fn set(
        &mut self,
        pv: Self::Pv,
        sub: Option<&Value>,
        index: Index,
        replace: bool,
        value: Value,
    ) -> Result<(), SetError>;

    /// 2.2's `myself`: whether `host[:port]` (or the URI, or the address) is one of ours.
    fn is_myself(&mut self, text: &[u8]) -> bool;

    /// The host of a run started by `launch`: no transaction, a phony message.
    fn detached(&self) -> Self;

    /// Whether a function may be started beside others (`async_all` and its like): it waits for somebody outside
    /// and does nothing else meanwhile.
    fn side_by_side(function: &FnSpec<Self>) -> bool {
        function.waits
    }

    /// The outcome handed to a function whose operation was refused or cut off by the engine itself.
    fn failure(reason: &'static str, phase: &'static str) -> Self::Outcome;

    /// For `$async_err` and `$async_phase`: `None` if the operation succeeded.
    fn outcome_error(outcome: &Self::Outcome) -> Option<(String, &'static str)>;

    /// A line the machine itself wants logged (level on the OpenSIPS scale, -1 = error).
    fn log(&mut self, level: i32, text: &str);
}
