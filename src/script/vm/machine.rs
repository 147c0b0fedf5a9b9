//! The state of a run that does not depend on the host: frames, operands, variables, AVPs, the
//! call that is waited for. Plain data: it can be encoded at any instruction.

use crate::base::Str;

use super::arith::Operand;
use super::ast::{Dialect, RouteKind};
use super::avp::Avps;
use super::compare::Flag;
use super::host::Host;
use super::program::Program;
use super::registry::{Arg, FnState};
use super::value::Value;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// One route block being executed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Frame {
    /// Its number in the program.
    pub(super) route: u32,
    /// The instruction that comes next.
    pub(super) pc: u32,
    /// Height of the operand stack when it was entered.
    pub(super) base: u32,
    /// Turns of the loops it is in, innermost last.
    pub(super) loops: SmallVec<[u32; 2]>,
    /// `$param(1)`...
    pub(super) params: Vec<Value>,
}

/// A call that waits for its operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Call site.
    pub(super) site: u32,
    /// The arguments as they were when it was started.
    pub(super) args: Vec<Arg>,
    /// What the function keeps between its steps.
    pub(super) state: FnState,
    /// How it was called.
    pub(super) mode: Mode,
    /// Deadline argument of `async()`.
    pub(super) timeout: Option<u32>,
}

/// How a function was called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Mode {
    /// As a statement or in an expression: goes on behind it.
    Plain,
    /// Before a variable is read: the same, and nothing shows of it.
    Quiet,
    /// By `async()`: goes on in a resume route.
    Async {
        /// Resume route.
        route: u32,
    },
    /// By `launch()`: this is the detached run.
    Launched {
        /// Report route.
        route: Option<u32>,
        /// `$param(1)` there.
        param: Value,
    },
}

/// Functions that were started at once and are waited for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Several {
    /// The statement: its number in the program.
    pub(super) site: u32,
    /// In the order written.
    pub(super) members: Vec<Member>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    /// The arguments as they were when it was started.
    pub(super) args: Vec<Arg>,
    /// What the function keeps between its steps.
    pub(super) state: FnState,
    /// Why its operation failed.
    pub(super) error: Option<(String, String)>,
    /// Its return code, once it has ended.
    pub(super) ended: Option<i32>,
}

/// What came of one of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct MemberResult {
    /// `$(async_rc[i])`
    pub(super) rc: Value,
    /// `$(async_err[i])`
    pub(super) err: Value,
    /// `$(async_phase[i])`
    pub(super) phase: Value,
}

/// Everything but program and host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Kind of the route block the run began in.
    pub(super) kind: RouteKind,
    pub(super) frames: Vec<Frame>,
    pub(super) stack: Vec<Operand>,
    /// `$var`, by slot.
    pub(super) vars: Vec<Value>,
    pub(super) avps: Avps,
    /// Parameters of an event, by name.
    pub(super) named: Vec<(Str, Value)>,
    /// `$return(i)`
    pub(super) returns: Vec<Value>,
    /// `$rc`
    pub(super) rc: i32,
    /// Value of the last statement.
    pub(super) last: i32,
    pub(super) flag: Flag,
    pub(super) async_err: Value,
    pub(super) async_phase: Value,
    pub(super) pending: Option<Pending>,
    /// Instead of one call, several are waited for.
    pub(super) several: Option<Box<Several>>,
    /// What came of the last several, in the order written.
    pub(super) results: Vec<MemberResult>,
    /// `$var` outputs of a function called by `async()`: assigned again in the resume route.
    pub(super) outputs: Vec<(u32, Value)>,
    /// Outputs are being noted there.
    pub(super) collect: bool,
    pub(super) dropped: bool,
    pub(super) exited: bool,
    /// By `exit` or `drop`.
    pub(super) said: bool,
}

impl Machine {
    /// A machine that has not begun.
    pub(super) fn new<H: Host>(program: &Program<H>, kind: RouteKind) -> Machine {
        Machine {
            kind,
            frames: Vec::new(),
            stack: Vec::new(),
            vars: program.initial_vars().to_vec(),
            avps: Avps::default(),
            named: Vec::new(),
            returns: Vec::new(),
            // Kamailio: nothing has been called yet.
            rc: if program.dialect == Dialect::Kamailio { 0 } else { 1 },
            last: 1,
            flag: Flag::False,
            async_err: Value::Null,
            async_phase: Value::Null,
            pending: None,
            several: None,
            results: Vec::new(),
            outputs: Vec::new(),
            collect: false,
            dropped: false,
            exited: false,
            said: false,
        }
    }

    /// Forgets the call stack and begins at a route block.
    pub(super) fn enter<H: Host>(&mut self, program: &Program<H>, route: u32, params: Vec<Value>) {
        self.frames.clear();
        self.stack.clear();
        self.returns.clear();
        if let Some(r) = program.route(route) {
            self.frames.push(Frame { route, pc: r.entry, base: 0, loops: SmallVec::new(), params });
        }
    }

    /// Goes on in the resume route of an `async()`: a fresh `$var` table with the function's
    /// outputs in it, `$rc` = its result.
    pub(super) fn resume_in<H: Host>(&mut self, program: &Program<H>, route: u32, rc: i32) {
        self.vars.clear();
        self.vars.extend_from_slice(&program.initial_vars());
        self.collect = false;
        for (slot, value) in std::mem::take(&mut self.outputs) {
            if let Some(v) = self.vars.get_mut(slot as usize) {
                *v = value;
            }
        }
        self.enter(program, route, Vec::new());
        self.result(rc);
    }

    /// Sets `$rc` and the value of the last statement.
    pub(super) fn result(&mut self, rc: i32) {
        self.rc = rc;
        self.last = rc;
    }

    /// Sets `$async_err` and `$async_phase`.
    pub(super) fn note_error(&mut self, error: Option<(String, &'static str)>) {
        match error {
            None => {
                self.async_err = Value::Null;
                self.async_phase = Value::Null;
            }
            Some((reason, phase)) => {
                self.async_err = Value::text(reason);
                self.async_phase = Value::opt(Some(phase).filter(|p| !p.is_empty()));
            }
        }
    }

    /// Whether the outcome of an operation is waited for.
    pub(super) fn waits(&self) -> bool {
        self.pending.is_some() || self.several.is_some()
    }

    /// The instruction being executed: the one before the next.
    pub(super) fn pc(&self) -> u32 {
        self.frames.last().map_or(0, |f| f.pc.saturating_sub(1))
    }
}
