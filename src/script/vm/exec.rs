//! The instruction loop.

use crate::base::Time;

use super::arith::{self, Operand};
use super::ast::{AssignOp, CompareOp, Dialect, RouteKind};
use super::compare::{self, Flag};
use super::host::{Host, Index};
use super::ir::{Instr, Label};
use super::machine::{Frame, Machine};
use super::program::Program;
use super::read::{Reader, clip, store};
use super::registry::OutVar;
use super::value::Value;
use super::{Launched, Paused, Run, State, Suspended};
use smallvec::SmallVec;
use std::rc::Rc;

/// What an instruction asks of the loop.
pub(super) enum Flow<H: Host> {
    /// Go on with the next instruction.
    Next,
    /// The run is over.
    Finish,
    /// Park here.
    Wait(H::Request),
    /// Park here, for several operations: each with its place in the statement.
    Several(Vec<(u32, H::Request)>),
    /// Go on; the detached run is on its own.
    Launch(Launched<H>),
}

/// Parts of the run an instruction works on.
pub(super) struct Exec<'a, H: Host> {
    pub(super) p: &'a Rc<Program<H>>,
    pub(super) m: &'a mut Machine,
    pub(super) host: &'a mut H,
    pub(super) now: Time,
}

/// Executes until something stops the run.
pub(super) fn go<H: Host>(mut state: Box<State<H>>, budget: &mut u32, now: Time) -> Paused<H> {
    let p = Rc::clone(&state.program);
    loop {
        if *budget == 0 {
            return Paused::Budget(Run(state));
        }
        *budget -= 1;
        let State { machine, host, delivered, .. } = &mut *state;
        let mut exec = Exec { p: &p, m: machine, host, now };
        // Asked first: taking moves a large value, and mostly there is none.
        let flow = if delivered.is_none() {
            exec.next()
        } else if let Some(outcome) = delivered.take() {
            exec.deliver(outcome)
        } else {
            Flow::Next
        };
        match flow {
            Flow::Next => {}
            Flow::Finish => return Paused::Finished(state.finished(false)),
            Flow::Wait(request) => return Paused::Wait(Suspended(state), request),
            Flow::Several(requests) => return Paused::Several(Suspended(state), requests),
            Flow::Launch(child) => return Paused::Launch { run: Run(state), child },
        }
    }
}

/// Whether the run only leaves its routes from here on. Does not look far: what it cannot tell goes on.
pub(super) fn ends<H: Host>(program: &Program<H>, machine: &Machine) -> bool {
    const STEPS: usize = 64;
    let mut frames = machine.frames.iter().rev().map(|f| f.pc);
    let Some(mut pc) = frames.next() else { return true };
    for _ in 0..STEPS {
        pc = match program.code.get(pc as usize) {
            Some(Instr::Jump(to)) => *to,
            Some(Instr::Const(_) | Instr::RcLast | Instr::IfEnd | Instr::Result(_) | Instr::LoopLeave) => pc + 1,
            Some(Instr::End | Instr::Return { extra: 0 }) => match frames.next() {
                Some(caller) => caller,
                None => return true,
            },
            Some(Instr::Exit | Instr::Drop) => return true,
            _ => return false,
        };
    }
    false
}

impl<H: Host> Exec<'_, H> {
    fn next(&mut self) -> Flow<H> {
        let Some(frame) = self.m.frames.last_mut() else { return Flow::Finish };
        let pc = frame.pc;
        frame.pc += 1;
        match self.p.code.get(pc as usize) {
            Some(instr) => self.execute(*instr),
            None => Flow::Finish,
        }
    }

    fn execute(&mut self, instr: Instr) -> Flow<H> {
        let dialect = self.p.dialect;
        let max = self.p.limits.max_value;
        match instr {
            Instr::Const(n) => {
                let v = self.konst(n);
                self.push(Operand::Value(v));
            }
            Instr::Load(n) => {
                let v = self.load(n);
                self.push(v.into());
            }
            Instr::Format(n) => {
                let p = self.p;
                let text = p.formats.get(n as usize).map(|f| Value::Str(self.reader().text(f)));
                self.push(text.into());
            }
            Instr::PushRc => self.push(Operand::Value(Value::Int(self.m.rc.into()))),
            Instr::PushFlag => self.push(match self.m.flag {
                Flag::Error => Operand::Error,
                flag => Operand::Value(Value::Int(flag.code().into())),
            }),
            Instr::Pop => {
                self.pop();
            }
            Instr::Binary { op, literal } => {
                let (right, left) = (self.pop(), self.pop());
                let result = match (left, right) {
                    (Some(l), Some(r)) => arith::binary(op, &l, &r, literal, dialect, max),
                    _ => None,
                };
                self.push(result.into());
            }
            Instr::Unary(op) => {
                let result = self.pop().and_then(|v| arith::unary(op, &v, dialect));
                self.push(result.into());
            }
            Instr::Compare { op, literal } => {
                let (right, left) = (self.pop(), self.pop());
                self.m.flag = match (left, right) {
                    (Some(l), Some(r)) => self.compare(op, &l, &r, literal),
                    _ => Flag::Error,
                };
            }
            Instr::Test { var, konst, op, literal } => {
                let p = self.p;
                let flag = match (self.load(var), p.consts.get(konst as usize)) {
                    (Some(l), Some(r)) => self.compare(op, &l, r, literal),
                    _ => Flag::Error,
                };
                self.m.flag = flag;
            }
            Instr::Match { regex, negate } => {
                self.m.flag = match self.pop() {
                    None => Flag::Error,
                    Some(v) => match v.to_text() {
                        // NULL matches nothing, so `!~` holds.
                        None => negate.into(),
                        Some(t) => (self.p.regex(regex).is_match(&t) != negate).into(),
                    },
                }
            }
            Instr::InNet { net, negate } => {
                let flag = match (self.pop(), self.p.nets.get(net as usize)) {
                    (Some(v), Some(net)) => compare::value_in_net(&v, *net),
                    _ => Flag::Error,
                };
                self.m.flag = if negate { flag.negate() } else { flag };
            }
            Instr::Myself { negate } => {
                self.m.flag = match self.pop() {
                    None => Flag::Error,
                    Some(v) => match v.to_text() {
                        None => negate.into(),
                        Some(t) => (self.host.is_myself(&t) != negate).into(),
                    },
                }
            }
            Instr::Truth => self.m.flag = self.pop().map_or(Flag::Error, |v| compare::truth(&v, dialect)),
            Instr::NonZero => {
                self.m.flag = self.pop().map_or(Flag::Error, |v| (v.number() != 0).into());
            }
            Instr::RcTruth => self.m.flag = (self.m.rc > 0).into(),
            Instr::LastTruth => self.m.flag = (self.m.last > 0).into(),
            Instr::Not => self.m.flag = self.m.flag.negate(),
            Instr::Jump(to) => self.jump(to),
            Instr::Unless(to) => {
                if self.m.flag == Flag::Error {
                    self.complain("the condition cannot be evaluated and counts as false");
                }
                if self.m.flag != Flag::True {
                    self.jump(to);
                }
            }
            Instr::AndElse(to) => {
                if self.m.flag != Flag::True {
                    self.jump(to);
                }
            }
            Instr::OrElse(to) => {
                if self.m.flag != Flag::False {
                    self.jump(to);
                }
            }
            Instr::Switch(n) => self.switch(n),
            // Kamailio: only calls and `return` change `$rc`.
            Instr::IfEnd | Instr::RcLast if dialect == Dialect::Kamailio => {
                if instr == Instr::IfEnd {
                    self.m.last = 1;
                }
            }
            Instr::IfEnd => {
                self.m.rc = self.m.flag.code();
                self.m.last = 1;
            }
            Instr::RcLast => self.m.rc = self.m.last,
            Instr::Result(rc) => self.m.result(rc),
            Instr::LoopEnter => {
                if let Some(f) = self.m.frames.last_mut() {
                    f.loops.push(0);
                }
            }
            Instr::LoopLeave => {
                if let Some(f) = self.m.frames.last_mut() {
                    f.loops.pop();
                }
            }
            Instr::LoopTick(to) => {
                let cap = self.p.limits.max_while_loops;
                if self.turn() > cap {
                    self.complain(&format!("the loop was left after {cap} turns (max_while_loops)"));
                    self.jump(to);
                }
            }
            Instr::ForNext { source, iterator, done } => self.for_next(source, iterator, done),
            Instr::Assign { var, op } => self.assign(var, op),
            Instr::Call(site) => return self.call(site),
            Instr::Prepare(site) => return self.prepare(site),
            Instr::Async(n) => return self.start_async(n),
            Instr::Launch(n) => return self.launch(n),
            Instr::Several(n) => return self.start_several(n),
            Instr::Route(n) => self.route(n),
            Instr::Return { extra } => return self.leave_with(extra),
            Instr::End => {
                self.m.returns.clear();
                return self.leave(self.m.last);
            }
            Instr::Exit => {
                self.m.said = true;
                return self.exit();
            }
            Instr::Drop => {
                self.m.dropped = true;
                self.m.said = true;
                return self.exit();
            }
        }
        Flow::Next
    }

    // ---- operands ----

    pub(super) fn push(&mut self, o: Operand) {
        self.m.stack.push(o);
    }

    /// The top operand; `None` if it has no value.
    pub(super) fn pop(&mut self) -> Option<Value> {
        self.m.stack.pop().and_then(Operand::ok)
    }

    /// The `n` top operands in the order they were pushed.
    pub(super) fn pop_many(&mut self, n: usize) -> Vec<Operand> {
        let at = self.m.stack.len().saturating_sub(n);
        self.m.stack.split_off(at)
    }

    pub(super) fn konst(&self, n: u32) -> Value {
        self.p.consts.get(n as usize).cloned().unwrap_or_default()
    }

    pub(super) fn reader(&mut self) -> Reader<'_, H> {
        Reader::new(self.p, self.m, self.host, self.now)
    }

    pub(super) fn load(&mut self, var: u32) -> Option<Value> {
        let p = self.p;
        let v = p.vars.get(var as usize)?;
        let value = self.reader().var(v);
        if value.is_none() {
            self.complain(&format!("{} cannot be evaluated", v.text));
        }
        value
    }

    // ---- tests ----

    fn compare(&mut self, op: CompareOp, left: &Value, right: &Value, literal: bool) -> Flag {
        if !matches!(op, CompareOp::Match | CompareOp::NoMatch) {
            return compare::compare(op, left, right, literal, self.p.dialect);
        }
        let negate = op == CompareOp::NoMatch;
        let (Some(text), Some(pattern)) = (left.to_text(), right.to_text()) else { return negate.into() };
        match self.p.pattern(&pattern) {
            Ok(r) => (r.is_match(&text) != negate).into(),
            Err(why) => {
                self.complain(&format!("`{}` is no regular expression: {why}", pattern.to_lossy()));
                Flag::Error
            }
        }
    }

    // ---- control flow ----

    pub(super) fn jump(&mut self, to: u32) {
        if let Some(f) = self.m.frames.last_mut() {
            f.pc = to;
        }
    }

    fn switch(&mut self, n: u32) {
        let subject = self.pop().unwrap_or_default();
        let p = self.p;
        let Some(table) = p.switches.get(n as usize) else { return };
        let hit = table.cases.iter().find(|(label, _)| match label {
            Label::Int(n) => match p.dialect {
                Dialect::OpenSips => subject.as_int() == Some(*n),
                Dialect::Kamailio => subject.to_int() == Some(*n),
            },
            Label::Text(t) => compare::label_matches(&subject, t, p.dialect),
            Label::Regex(r) => subject.to_text().is_some_and(|t| p.regex(*r).is_match(&t)),
        });
        self.settled(1);
        self.jump(hit.map_or(table.otherwise, |(_, to)| *to));
    }

    /// Counts a turn of the innermost loop and gives the count, from 1.
    fn turn(&mut self) -> u32 {
        match self.m.frames.last_mut().and_then(|f| f.loops.last_mut()) {
            Some(n) => {
                *n = n.saturating_add(1);
                *n
            }
            None => 1,
        }
    }

    fn for_next(&mut self, source: u32, iterator: u32, done: u32) {
        let p = self.p;
        let turn = self.turn();
        let cap = p.limits.max_while_loops.max(p.limits.max_avps as u32);
        if turn > cap {
            self.complain(&format!("the loop was left after {cap} turns"));
            return self.jump(done);
        }
        let index = Index::At(i64::from(turn) - 1);
        let value = p.vars.get(source as usize).and_then(|v| self.reader().at(v, index));
        let (Some(value), Some(place)) = (value.filter(|v| !v.is_null()), self.reader().place(iterator)) else {
            return self.jump(done);
        };
        if let Err(why) = store(p, self.m, self.host, &place, false, value) {
            self.complain(&format!("the iterator was not assigned: {why}"));
            self.jump(done);
        }
    }

    fn route(&mut self, n: u32) {
        let p = self.p;
        let Some(site) = p.calls.get(n as usize) else { return };
        let target = match site.route {
            Some(r) => Some(r),
            None => {
                let name = self.pop().and_then(|v| v.to_text()).unwrap_or_default();
                let found = std::str::from_utf8(&name).ok().and_then(|n| p.find_route(RouteKind::Request, Some(n)));
                if found.is_none() {
                    self.complain(&format!("there is no route[{}]; the script goes on", name.to_lossy()));
                }
                found
            }
        };
        let params = self.pop_many(site.args as usize);
        let params = params.into_iter().map(|o| o.ok().unwrap_or_default()).collect();
        match target {
            Some(target) => self.call_route(target, params),
            None => self.settled(1),
        }
    }

    /// Goes on in a route block and comes back behind the instruction.
    pub(super) fn call_route(&mut self, route: u32, params: Vec<Value>) {
        let p = self.p;
        let Some(entry) = p.route(route).map(|r| r.entry) else { return self.settled(1) };
        if self.m.frames.len() >= p.limits.max_frames {
            self.complain(&format!("route() calls are nested deeper than {}", p.limits.max_frames));
            return self.m.result(-1);
        }
        let base = self.m.stack.len() as u32;
        // A block whose statements leave no value yields 1.
        self.m.last = 1;
        self.m.frames.push(Frame { route, pc: entry, base, loops: SmallVec::new(), params });
    }

    fn leave_with(&mut self, extra: u32) -> Flow<H> {
        let returns: Vec<Value> =
            self.pop_many(extra as usize).into_iter().map(|o| o.ok().unwrap_or_default()).collect();
        let code = match self.pop() {
            None | Some(Value::Null) => -1,
            Some(v) if self.p.dialect == Dialect::Kamailio => v.number() as i32,
            Some(v) => v.as_int().map_or(1, |n| n as i32),
        };
        self.m.returns = returns;
        self.leave(code)
    }

    /// Leaves the route block with this value; 0 ends the script.
    fn leave(&mut self, code: i32) -> Flow<H> {
        if code == 0 {
            return self.exit();
        }
        if let Some(f) = self.m.frames.pop() {
            self.m.stack.truncate(f.base as usize);
        }
        self.m.result(code);
        if self.m.frames.is_empty() { Flow::Finish } else { Flow::Next }
    }

    /// Ends the script.
    pub(super) fn exit(&mut self) -> Flow<H> {
        self.m.exited = true;
        self.m.frames.clear();
        self.m.stack.clear();
        self.m.rc = 0;
        Flow::Finish
    }

    /// What a statement that is no call yields; in the OpenSIPS dialect it is `$rc` too.
    fn settled(&mut self, code: i32) {
        match self.p.dialect {
            Dialect::OpenSips => self.m.result(code),
            Dialect::Kamailio => self.m.last = code,
        }
    }

    // ---- assignment ----

    fn assign(&mut self, var: u32, op: AssignOp) {
        let value = self.pop();
        let outcome = match value {
            None => Err("its right side has no value"),
            Some(v) => self.try_assign(var, op, v),
        };
        match outcome {
            Ok(()) => self.settled(1),
            Err(why) => {
                let name = self.p.vars.get(var as usize).map_or("", |v| &v.text).to_string();
                self.complain(&format!("{name} was not assigned: {why}"));
                self.settled(-1);
            }
        }
    }

    fn try_assign(&mut self, var: u32, op: AssignOp, value: Value) -> Result<(), &'static str> {
        let p = self.p;
        let place: OutVar = self.reader().place(var).ok_or("its name or index cannot be evaluated")?;
        let value = match op {
            AssignOp::Set | AssignOp::Reset => value,
            op => {
                let old = self.reader().placed(&place);
                arith::compound(op, &old, value, p.dialect, p.limits.max_value)
                    .ok_or("both sides must be numbers, or texts for `+=`")?
            }
        };
        let value = match value {
            // What is a number and a text is a number from then on.
            Value::Both(n, _) if p.dialect == Dialect::Kamailio => Value::Int(n),
            value => value,
        };
        let (value, cut) = clip(value, p.limits.max_value);
        if cut {
            return Err("the value is longer than a value may be");
        }
        store(p, self.m, self.host, &place, op == AssignOp::Reset, value)
    }

    /// Logs something about the present instruction.
    pub(super) fn complain(&mut self, text: &str) {
        let (file, line) = self.p.position(self.m.pc());
        self.host.log(-1, &format!("{file}:{line}: {text}"));
    }
}
