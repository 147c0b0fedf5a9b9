//! The machine that executes a program. A [`Run`] is a value: moving it is suspending it, giving
//! it back is resuming it. Nothing of it lives on the Rust call stack between two instructions.
//!
//! How to drive it:
//!
//! 1. [`Run::new`] with the program, a route block and a host (the message and all around it).
//! 2. [`Run::go`] with a budget of instructions. It gives the run back as a [`Paused`].
//! 3. [`Paused::Budget`]: call `go` again in the next turn of the loop.
//! 4. [`Paused::Wait`]: carry out the request; keep the [`Suspended`] meanwhile, anywhere (it can
//!    be encoded and decoded in another process). Then [`Suspended::resume`] with the outcome and
//!    `go` again.
//! 5. [`Paused::Several`]: the same for several requests at once: [`Suspended::members_ended`] as they end,
//!    until it says that this is over; then [`Suspended::resume_several`] and `go`.
//! 6. [`Paused::Launch`]: `go` on with the run; the child is a run of its own.
//! 7. [`Paused::Finished`]: the host, the AVPs and how it ended.

mod call;
mod codec;
mod exec;
mod machine;
mod read;
mod scope;
mod several;

// The stages this one builds on.
use super::{arith, ast, avp, compare, host, ir, pattern, program, registry, transform, value, xavp};

pub use codec::CodecError;
pub use several::{CANCELLED_CODE, Progress, SeveralInfo};

use crate::base::{Str, Time};
use ast::RouteKind;
use avp::Avps;
use host::Host;
use machine::{Machine, Mode};
use program::{Place, Program};
use std::rc::Rc;
use value::Value;

/// A script in execution. Boxed: moving one is cheap.
pub struct Run<H: Host>(Box<State<H>>);

/// A run that waits for the outcome of an operation.
pub struct Suspended<H: Host>(Box<State<H>>);

/// Everything that belongs to a run.
struct State<H: Host> {
    program: Rc<Program<H>>,
    host: H,
    machine: Machine,
    /// What the operation brought; the function goes on with it first.
    delivered: Option<H::Outcome>,
}

/// Why a run came back.
pub enum Paused<H: Host> {
    /// It is over.
    Finished(Finished<H>),
    /// It waits for this operation.
    Wait(Suspended<H>, H::Request),
    /// It waits for these operations, each with its place in the statement that started them.
    Several(Suspended<H>, Vec<(u32, H::Request)>),
    /// The budget is used up.
    Budget(Run<H>),
    /// `launch`: the run goes on; the child is on its own.
    Launch {
        /// The run itself.
        run: Run<H>,
        /// The detached one.
        child: Launched<H>,
    },
}

/// What a `launch` started. The function was started in its caller's run, where it can see the
/// caller's message; its outputs and its end belong to the child.
pub enum Launched<H: Host> {
    /// Nothing to wait for: the report route can run.
    Run(Run<H>),
    /// It waits for this operation.
    Wait(Suspended<H>, H::Request),
}

/// A run that is over.
pub struct Finished<H: Host> {
    /// The message and everything else outside of the machine.
    pub host: H,
    /// The AVPs; the transaction keeps them between routes.
    pub avps: Avps,
    /// The `$var` table by slot, for [`Program::set_initial_vars`] after startup_route.
    pub vars: Vec<Value>,
    /// How it ended.
    pub end: End,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct End {
    /// By `drop`.
    pub dropped: bool,
    /// By `exit`, `drop`, `return(0)` or a function that returned 0.
    pub exited: bool,
    /// By `return(0)` or a function that returned 0, not by `exit` or `drop`.
    pub zero: bool,
    /// The top route's value; 0 if `exited`.
    pub rc: i32,
}

/// What a suspended run waits for, for logs and the status page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitInfo {
    /// The function.
    pub function: String,
    /// The route block the call stands in.
    pub route: String,
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: u32,
    /// Started by `async()`.
    pub via_async: bool,
    /// Started by `launch()`.
    pub launched: bool,
    /// The deadline argument, if one was given and not 0.
    pub timeout_secs: Option<u32>,
}

impl<H: Host> Run<H> {
    /// A run that begins at a route block.
    pub fn new(program: Rc<Program<H>>, route: u32, host: H) -> Run<H> {
        let kind = program.route(route).map_or(RouteKind::Request, |r| r.kind);
        let mut machine = Machine::new(&program, kind);
        machine.enter(&program, route, Vec::new());
        Run(Box::new(State { program, host, machine, delivered: None }))
    }

    /// Begins with these AVPs (the transaction's).
    pub fn with_avps(mut self, avps: Avps) -> Run<H> {
        self.0.machine.avps = avps;
        self
    }

    /// Begins with these parameters: `$param(1)`... in order, and by name where there is one.
    pub fn with_params(mut self, params: Vec<(Option<Str>, Value)>) -> Run<H> {
        let m = &mut self.0.machine;
        m.named = params.iter().filter_map(|(n, v)| Some((n.clone()?, v.clone()))).collect();
        if let Some(f) = m.frames.last_mut() {
            f.params = params.into_iter().map(|(_, v)| v).collect();
        }
        self
    }

    /// Runs as a block of another kind: a route that goes on where an onreply_route waited is
    /// still an onreply_route.
    pub fn with_kind(mut self, kind: RouteKind) -> Run<H> {
        self.0.machine.kind = kind;
        self
    }

    /// Begins with this `$rc`.
    pub fn with_rc(mut self, rc: i32) -> Run<H> {
        self.0.machine.rc = rc;
        self
    }

    /// Executes until it ends, waits or has used up `budget` instructions. `now` is the time of
    /// this turn of the loop.
    pub fn go(self, budget: &mut u32, now: Time) -> Paused<H> {
        exec::go(self.0, budget, now)
    }

    /// Kind of the route block it began in.
    pub fn kind(&self) -> RouteKind {
        self.0.machine.kind
    }

    /// The program it runs on.
    pub fn program(&self) -> &Rc<Program<H>> {
        &self.0.program
    }

    /// The host.
    pub fn host(&self) -> &H {
        &self.0.host
    }

    /// The host, to change.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.0.host
    }

    /// The AVPs.
    pub fn avps(&self) -> &Avps {
        &self.0.machine.avps
    }

    /// Replaces the AVPs; gives back what was there.
    pub fn set_avps(&mut self, avps: Avps) -> Avps {
        std::mem::replace(&mut self.0.machine.avps, avps)
    }

    /// The value of a text with variables in it, as they are at this point of the run; a single variable keeps its type.
    pub fn value(&mut self, text: &[u8], now: Time) -> Value {
        let State { program, host, machine, .. } = &mut *self.0;
        read::Reader::new(program, machine, host, now).computed(text)
    }

    /// Ends it here, as `exit` does.
    pub fn abandon(self) -> Finished<H> {
        self.0.finished(true)
    }
}

impl<H: Host> Suspended<H> {
    /// Hands over the outcome; the run goes on with the next [`Run::go`].
    pub fn resume(mut self, outcome: H::Outcome) -> Run<H> {
        self.0.delivered = Some(outcome);
        Run(self.0)
    }

    /// What it waits for.
    pub fn describe(&self) -> WaitInfo {
        let State { program, machine, .. } = &*self.0;
        let several = machine.several.as_ref().and_then(|s| program.severals.get(s.site as usize));
        if let Some(several) = several {
            let (file, line) = program.position(machine.pc());
            let route = machine.frames.last().and_then(|f| program.route(f.route));
            return WaitInfo {
                function: several.word.to_string(),
                route: route.map_or(String::new(), |r| r.label()),
                file: file.to_string(),
                line,
                via_async: several.route.is_some(),
                launched: false,
                timeout_secs: several.timeout,
            };
        }
        let pending = machine.pending.as_ref();
        let mode = pending.map(|p| &p.mode);
        let Place { function, route, file, line } = pending.map(|p| program.place(p.site)).unwrap_or_default();
        WaitInfo {
            function,
            route,
            file,
            line,
            via_async: matches!(mode, Some(Mode::Async { .. })),
            launched: matches!(mode, Some(Mode::Launched { .. })),
            timeout_secs: pending.and_then(|p| p.timeout),
        }
    }

    /// Whether nothing of the script is left behind the call that waits: whatever comes of it, the run ends then.
    pub fn is_last(&self) -> bool {
        let State { program, machine, .. } = &*self.0;
        let plain = machine.pending.as_ref().is_some_and(|p| p.mode == Mode::Plain);
        plain && machine.several.is_none() && exec::ends(program, machine)
    }

    /// The call that waits, for [`Program::place`].
    pub fn site(&self) -> Option<u32> {
        self.0.machine.pending.as_ref().map(|p| p.site)
    }

    /// Kind of the route block it began in.
    pub fn kind(&self) -> RouteKind {
        self.0.machine.kind
    }

    /// The program it runs on.
    pub fn program(&self) -> &Rc<Program<H>> {
        &self.0.program
    }

    /// The host.
    pub fn host(&self) -> &H {
        &self.0.host
    }

    /// The host, to change.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.0.host
    }

    /// The AVPs.
    pub fn avps(&self) -> &Avps {
        &self.0.machine.avps
    }

    /// Replaces the AVPs; gives back what was there.
    pub fn set_avps(&mut self, avps: Avps) -> Avps {
        std::mem::replace(&mut self.0.machine.avps, avps)
    }

    /// The same once more, waiting at the same call, about `host`.
    pub fn beside(&self, host: H) -> Suspended<H> {
        let State { program, machine, .. } = &*self.0;
        Suspended(Box::new(State { program: program.clone(), host, machine: machine.clone(), delivered: None }))
    }

    /// Gives up on the operation: the run ends here, as `exit` does.
    pub fn abandon(self) -> Finished<H> {
        self.0.finished(true)
    }
}

impl<H: Host> State<H> {
    fn finished(self, exited: bool) -> Finished<H> {
        let m = self.machine;
        let exited = exited || m.exited;
        let rc = if exited { 0 } else { m.rc };
        let zero = m.exited && !m.said;
        let end = End { dropped: m.dropped, exited, zero, rc };
        Finished { host: self.host, avps: m.avps, vars: m.vars, end }
    }
}
