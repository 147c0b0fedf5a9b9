//! Calling functions: evaluating arguments, starting, parking, going on with the outcome; plain
//! calls, `async()` and `launch()`.

use super::arith::Operand;
use super::ast::RouteKind;
use super::exec::{Exec, Flow};
use super::host::Host;
use super::ir::ArgPlan;
use super::machine::{Machine, Mode, Pending};
use super::registry::{Arg, Call, FnState, MapEntry, Step};
use super::scope::{Child, Scope};
use super::value::Value;
use super::{Launched, Run, State, Suspended};
use crate::base::Str;
use smallvec::SmallVec;
use std::rc::Rc;

/// Few inline ones: they are moved about, and most calls have no more.
pub(super) type Args = SmallVec<[Arg; 2]>;

/// What a function is called for.
pub(super) enum Entry<H: Host> {
    /// To start.
    Run,
    /// To go on with the outcome of its operation.
    Finish(H::Outcome),
}

impl<H: Host> Exec<'_, H> {
    /// A call as a statement or in an expression.
    pub(super) fn call(&mut self, site: u32) -> Flow<H> {
        let args = match self.args(site) {
            Ok(a) => a,
            Err(why) => {
                self.complain(&why);
                self.m.result(-1);
                return Flow::Next;
            }
        };
        if self.may_not_wait(site) {
            self.m.result(-1);
            return Flow::Next;
        }
        let mut state = FnState::default();
        let step = self.invoke(site, &args, &mut state, Entry::Run, None, None);
        if let Step::Beside { host, request, route } = step {
            let mode = Mode::Launched { route: Some(route), param: Value::Null };
            let mut machine = Machine::new(self.p, RouteKind::Request);
            machine.pending = Some(Pending { site, args: args.into_vec(), state, mode, timeout: None });
            let state = State { program: Rc::clone(self.p), host: *host, machine, delivered: None };
            self.m.result(1);
            return Flow::Launch(Launched::Wait(Suspended(Box::new(state)), *request));
        }
        let pending = |args: Args| Pending { site, args: args.into_vec(), state, mode: Mode::Plain, timeout: None };
        self.settle(step, args, pending)
    }

    /// Does what a variable needs before it is read.
    pub(super) fn prepare(&mut self, site: u32) -> Flow<H> {
        if self.m.kind == RouteKind::OnSend {
            return Flow::Next;
        }
        let mut state = FnState::default();
        let step = self.invoke(site, &[], &mut state, Entry::Run, None, None);
        self.prepared(step, |mode| Pending { site, args: Vec::new(), state, mode, timeout: None })
    }

    fn prepared(&mut self, step: Step<H>, pending: impl FnOnce(Mode) -> Pending) -> Flow<H> {
        match step {
            Step::Done(0) => self.exit(),
            Step::Wait(request) => {
                self.m.pending = Some(pending(Mode::Quiet));
                Flow::Wait(request)
            }
            // The variable has no value then.
            _ => Flow::Next,
        }
    }

    /// `async(f(...), route[, timeout])`
    pub(super) fn start_async(&mut self, n: u32) -> Flow<H> {
        let p = self.p;
        let Some(a) = p.asyncs.get(n as usize) else { return Flow::Finish };
        let timeout = if a.timeout { self.pop().and_then(|v| v.to_int()) } else { None };
        let timeout = timeout.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        let args = self.args(a.call);
        if self.m.kind == RouteKind::Startup {
            self.complain("async() does nothing in startup_route; call the function plainly");
            self.m.result(-1);
            return Flow::Next;
        }
        if self.may_not_wait(a.call) {
            self.m.result(-1);
            return Flow::Next;
        }
        let args = match args {
            Ok(args) => args,
            Err(why) => {
                // What cannot even start still resumes.
                self.complain(&why);
                self.m.note_error(Some((why, "")));
                self.m.resume_in(p, a.route, -1);
                return Flow::Next;
            }
        };
        self.m.note_error(None);
        self.m.outputs.clear();
        self.m.collect = true;
        let mut state = FnState::default();
        let step = self.invoke(a.call, &args, &mut state, Entry::Run, timeout, None);
        let mode = Mode::Async { route: a.route };
        let pending = |args: Args| Pending { site: a.call, args: args.into_vec(), state, mode, timeout };
        match step {
            Step::Wait(request) => {
                self.m.pending = Some(pending(args));
                Flow::Wait(request)
            }
            step => self.end_async(step, a.route),
        }
    }

    /// `launch(f(...)[, route[, param]])`. The function is started here, where it sees the
    /// caller's message and variables; what it yields goes to the detached run.
    pub(super) fn launch(&mut self, n: u32) -> Flow<H> {
        let p = self.p;
        let Some(l) = p.launches.get(n as usize) else { return Flow::Finish };
        let param = if l.param { self.pop().unwrap_or_default() } else { Value::Null };
        let args = self.args(l.call);
        let mut child = Child { machine: Machine::new(p, RouteKind::Request), host: self.host.detached() };
        let (step, code, args, state) = match args {
            Err(why) => {
                self.complain(&why);
                child.machine.note_error(Some((why, "")));
                (Step::Done(-1), -1, Args::new(), FnState::default())
            }
            Ok(args) => {
                let mut state = FnState::default();
                let step = self.invoke(l.call, &args, &mut state, Entry::Run, None, Some(&mut child));
                (step, 1, args, state)
            }
        };
        self.m.result(code);
        let Child { mut machine, host } = child;
        let program = Rc::clone(p);
        match step {
            Step::Wait(request) => {
                let mode = Mode::Launched { route: l.route, param };
                machine.pending = Some(Pending { site: l.call, args: args.into_vec(), state, mode, timeout: None });
                let state = State { program, host, machine, delivered: None };
                Flow::Launch(Launched::Wait(Suspended(Box::new(state)), request))
            }
            step => {
                let code = match step {
                    Step::Done(code) => code,
                    Step::Continue(_) | Step::Route(_) | Step::Beside { .. } => 1,
                    Step::Fail(why) => {
                        self.complain(&why);
                        machine.note_error(Some((why, "")));
                        -1
                    }
                    Step::Wait(_) => -1,
                };
                let Some(route) = l.route else { return Flow::Next };
                machine.enter(p, route, vec![param]);
                machine.result(code);
                let state = State { program, host, machine, delivered: None };
                Flow::Launch(Launched::Run(Run(Box::new(state))))
            }
        }
    }

    /// Goes on with the call that waited.
    pub(super) fn deliver(&mut self, outcome: H::Outcome) -> Flow<H> {
        let Some(pending) = self.m.pending.take() else { return Flow::Next };
        let Pending { site, args, mut state, mode, timeout } = pending;
        if !matches!(mode, Mode::Quiet) {
            self.m.note_error(H::outcome_error(&outcome));
        }
        let step = self.invoke(site, &args, &mut state, Entry::Finish(outcome), timeout, None);
        let args = Args::from_vec(args);
        let again = |args: Args, mode| Pending { site, args: args.into_vec(), state, mode, timeout };
        match mode {
            Mode::Quiet => self.prepared(step, |mode| again(args, mode)),
            Mode::Plain => self.settle(step, args, |args| again(args, Mode::Plain)),
            Mode::Async { route } => match step {
                Step::Wait(request) => {
                    self.m.pending = Some(again(args, Mode::Async { route }));
                    Flow::Wait(request)
                }
                step => self.end_async(step, route),
            },
            Mode::Launched { route, param } => {
                let code = match step {
                    Step::Wait(request) => {
                        self.m.pending = Some(again(args, Mode::Launched { route, param }));
                        return Flow::Wait(request);
                    }
                    Step::Done(code) => code,
                    Step::Continue(_) | Step::Route(_) | Step::Beside { .. } => 1,
                    Step::Fail(why) => {
                        self.complain(&why);
                        -1
                    }
                };
                let Some(route) = route else { return Flow::Finish };
                self.m.enter(self.p, route, vec![param]);
                self.m.result(code);
                Flow::Next
            }
        }
    }

    /// A plain call's step: goes on behind the call, or parks there.
    fn settle(&mut self, step: Step<H>, args: Args, pending: impl FnOnce(Args) -> Pending) -> Flow<H> {
        match step {
            // 0 ends the script, wherever it occurs.
            Step::Done(0) => self.exit(),
            Step::Continue(route) => {
                self.m.resume_in(self.p, route, 1);
                Flow::Next
            }
            Step::Done(code) => {
                self.m.result(code);
                Flow::Next
            }
            Step::Route(route) => {
                self.call_route(route, Vec::new());
                Flow::Next
            }
            Step::Beside { .. } => {
                self.m.result(1);
                Flow::Next
            }
            Step::Fail(why) => {
                self.complain(&why);
                self.m.result(-1);
                Flow::Next
            }
            Step::Wait(request) => {
                self.m.pending = Some(pending(args));
                Flow::Wait(request)
            }
        }
    }

    fn end_async(&mut self, step: Step<H>, route: u32) -> Flow<H> {
        let code = match step {
            Step::Done(0) => return self.exit(),
            Step::Done(code) => code,
            Step::Continue(_) | Step::Route(_) | Step::Beside { .. } => 1,
            Step::Fail(why) => {
                self.complain(&why);
                if self.m.async_err.is_null() {
                    self.m.note_error(Some((why, "")));
                }
                -1
            }
            Step::Wait(_) => -1,
        };
        self.m.resume_in(self.p, route, code);
        Flow::Next
    }

    /// Whether the function could wait where nothing may. Load-time checks cover what can be
    /// known then; routes called by computed names are checked here.
    pub(super) fn may_not_wait(&mut self, site: u32) -> bool {
        let refused =
            self.m.kind == RouteKind::OnSend && self.p.sites.get(site as usize).is_some_and(|s| s.function.waits);
        if refused {
            self.complain("nothing may wait in onsend_route; the function was not called");
        }
        refused
    }

    pub(super) fn invoke(
        &mut self,
        number: u32,
        args: &[Arg],
        state: &mut FnState,
        entry: Entry<H>,
        timeout: Option<u32>,
        child: Option<&mut Child<H>>,
    ) -> Step<H> {
        let Some(site) = self.p.sites.get(number as usize) else { return Step::Done(-1) };
        let mut scope = Scope { p: self.p, m: self.m, now: self.now, site: number, timeout, child };
        let mut call = Call { host: self.host, args, scope: &mut scope, now: self.now, state };
        let step = match (entry, site.function.finish) {
            (Entry::Run, _) => (site.function.run)(&mut call),
            (Entry::Finish(outcome), Some(finish)) => finish(&mut call, outcome),
            (Entry::Finish(_), None) => Step::Fail("waited and has no way to go on".into()),
        };
        match step {
            Step::Fail(why) => Step::Fail(format!("{}: {why}", site.name)),
            step => step,
        }
    }

    /// The arguments of a call; `Err` says which one cannot be evaluated.
    pub(super) fn args(&mut self, number: u32) -> Result<Args, String> {
        let p = self.p;
        let Some(site) = p.sites.get(number as usize) else { return Ok(Args::new()) };
        if site.args.is_empty() {
            return Ok(Args::new());
        }
        let operands = site.args.iter().filter(|a| matches!(a, ArgPlan::Operand)).count();
        let mut operands = self.pop_many(operands).into_iter();
        let mut out = Args::new();
        for (i, plan) in site.args.iter().enumerate() {
            let param = site.function.params.get(i).or(site.function.params.last());
            let fail = |what: &str| {
                Err(format!("{}: argument {} ({}) {what}", site.name, i + 1, param.map_or("", |p| p.name)))
            };
            out.push(match plan {
                ArgPlan::None => Arg::None,
                ArgPlan::Const(n) => Arg::Value(self.konst(*n)),
                ArgPlan::Var { var, required } => match self.load(*var) {
                    None => return fail("cannot be evaluated"),
                    Some(Value::Null) if *required => return fail("is NULL"),
                    Some(Value::Null) => Arg::None,
                    Some(v) => Arg::Value(v),
                },
                ArgPlan::Int { var, required } => match self.load(*var) {
                    None => return fail("cannot be evaluated"),
                    Some(Value::Null) if !*required => Arg::None,
                    Some(v) => match v.to_int() {
                        Some(n) => Arg::Value(Value::Int(n)),
                        None => return fail("is not a number"),
                    },
                },
                ArgPlan::Format(n) => match p.formats.get(*n as usize) {
                    Some(f) => Arg::Value(Value::Str(self.reader().text(f))),
                    None => Arg::None,
                },
                ArgPlan::FormatInt(n) => {
                    let value = p.formats.get(*n as usize).and_then(|f| self.reader().value(f));
                    match value.and_then(|v| v.to_int()) {
                        Some(n) => Arg::Value(Value::Int(n)),
                        None => return fail("is not a number"),
                    }
                }
                ArgPlan::Out(var) => match self.reader().place(*var) {
                    Some(o) => Arg::Out(o),
                    None => return fail("cannot be evaluated"),
                },
                ArgPlan::Outs(vars) => {
                    let places: Option<Vec<_>> = vars.iter().map(|v| self.reader().place(*v)).collect();
                    match places {
                        Some(o) => Arg::Outs(o),
                        None => return fail("cannot be evaluated"),
                    }
                }
                ArgPlan::Regex(n) => Arg::Regex(*n),
                ArgPlan::Subst(n) => Arg::Subst(*n),
                ArgPlan::Route(n) => Arg::Route(*n),
                ArgPlan::Map(items) => {
                    let mut entries = Vec::with_capacity(items.len());
                    for (name, var) in items {
                        let writable = p.vars.get(*var as usize).is_some_and(|v| v.writable);
                        let place = if writable { self.reader().place(*var) } else { None };
                        let value = self.load(*var).unwrap_or_default();
                        entries.push(MapEntry { name: Str::from(&**name), value, place });
                    }
                    Arg::Map(entries)
                }
                ArgPlan::Operand => match operands.next() {
                    Some(Operand::Value(v)) => Arg::Value(v),
                    _ => return fail("cannot be evaluated"),
                },
            });
        }
        Ok(out)
    }
}
