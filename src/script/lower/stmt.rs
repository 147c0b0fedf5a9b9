//! Statements.

use super::args::number;
use super::vars::Literal;
use super::{Breakable, Lowerer, WaitPoint};
use crate::base::Str;
use crate::script::ast::{Call, Case, CaseLabel, Dialect, Expr, ExprKind, Ident, RouteKind, Stmt, StmtKind, VarTok};
use crate::script::diagnostics::Diagnostic;
use crate::script::host::Host;
use crate::script::ir::{AsyncSite, Instr, Label, LaunchSite, SwitchTable};
use crate::script::source::Span;
use crate::script::value::Value;

impl<H: Host> Lowerer<'_, H> {
    pub(super) fn statements(&mut self, body: &[Stmt]) {
        for s in body {
            self.statement(s);
        }
    }

    fn statement(&mut self, s: &Stmt) {
        self.mark(s.span);
        match &s.kind {
            StmtKind::Call(call) | StmtKind::Await(call) => self.call(call),
            StmtKind::Assign(a) => {
                self.assign(a);
            }
            StmtKind::If { cond, then, otherwise } => self.branch(cond, then, otherwise.as_deref()),
            StmtKind::While { cond, body } => self.repeat(cond, body),
            StmtKind::ForEach { iterator, source, body } => self.for_each(iterator, source, body),
            StmtKind::Switch { subject, cases } => self.switch(subject, cases),
            StmtKind::Route(call) => self.route_call(call),
            StmtKind::Return { code, extra } => {
                match code {
                    Some(code) => self.value(code),
                    None => {
                        let one = self.konst(Value::Int(1));
                        self.emit(Instr::Const(one));
                    }
                }
                for v in extra {
                    self.value(v);
                }
                self.emit(Instr::Return { extra: extra.len() as u32 });
            }
            StmtKind::Exit => {
                self.emit(Instr::Exit);
            }
            StmtKind::Drop => {
                self.emit(Instr::Drop);
            }
            StmtKind::Break => self.leave_loop(s.span),
            StmtKind::Continue => self.next_turn(s.span),
            StmtKind::Async { call, route, timeout } => self.start_async(call, route, timeout.as_ref()),
            StmtKind::Launch { call, route, param } => self.launch(call, route.as_ref(), param.as_ref()),
            StmtKind::Several(several) => self.several(several),
            StmtKind::Block(body) => self.statements(body),
            StmtKind::Expr(e) => {
                self.value(e);
                self.emit(Instr::Pop);
            }
            StmtKind::Empty => {}
        }
    }

    fn branch(&mut self, cond: &Expr, then: &[Stmt], otherwise: Option<&[Stmt]>) {
        self.condition(cond);
        let no = self.emit(Instr::Unless(0));
        self.arm(then);
        let end = self.emit(Instr::Jump(0));
        self.land(no);
        self.arm(otherwise.unwrap_or_default());
        self.land(end);
    }

    /// One side of an `if`.
    fn arm(&mut self, body: &[Stmt]) {
        if is_empty(body) {
            self.emit(Instr::IfEnd);
        } else {
            self.statements(body);
            self.emit(Instr::RcLast);
        }
    }

    fn repeat(&mut self, cond: &Expr, body: &[Stmt]) {
        self.emit(Instr::LoopEnter);
        let again = self.here();
        let capped = self.emit(Instr::LoopTick(0));
        self.condition(cond);
        let done = self.emit(Instr::Unless(0));
        let inner = self.loop_body(body, again);
        self.emit(Instr::RcLast);
        self.emit(Instr::Jump(again));
        self.land(done);
        self.emit(Instr::IfEnd);
        self.land(capped);
        self.land_all(inner);
        self.emit(Instr::LoopLeave);
    }

    fn for_each(&mut self, iterator: &VarTok, source: &VarTok, body: &[Stmt]) {
        let (Some(iterator), Some(source)) = (self.writable(iterator), self.var(source)) else {
            // Still find what is wrong in the body.
            let breaks = self.loop_body(body, 0);
            return self.land_all(breaks);
        };
        self.emit(Instr::LoopEnter);
        let again = self.here();
        let done = self.emit(Instr::ForNext { source, iterator, done: 0 });
        let inner = self.loop_body(body, again);
        self.emit(Instr::RcLast);
        self.emit(Instr::Jump(again));
        self.land(done);
        self.land_all(inner);
        self.emit(Instr::LoopLeave);
    }

    fn loop_body(&mut self, body: &[Stmt], again: u32) -> Vec<usize> {
        self.breakables.push(Breakable { breaks: Vec::new(), again: Some(again) });
        self.statements(body);
        self.breakables.pop().map(|b| b.breaks).unwrap_or_default()
    }

    fn land_all(&mut self, jumps: Vec<usize>) {
        for at in jumps {
            self.land(at);
        }
    }

    fn switch(&mut self, subject: &Expr, cases: &[Case]) {
        self.value(subject);
        let number = self.p.switches.len() as u32;
        self.p.switches.push(SwitchTable { cases: Vec::new(), otherwise: 0 });
        self.emit(Instr::Switch(number));
        self.breakables.push(Breakable { breaks: Vec::new(), again: None });
        let mut table = SwitchTable { cases: Vec::new(), otherwise: u32::MAX };
        for case in cases {
            let at = self.here();
            match &case.label {
                None => table.otherwise = at,
                Some(CaseLabel::Int(n)) => table.cases.push((Label::Int(*n), at)),
                Some(CaseLabel::Str(s)) => table.cases.push((Label::Text(Str::from(s.text.as_slice())), at)),
                Some(CaseLabel::Regex(r)) => {
                    // Unlike `=~`, a case's pattern minds letter case.
                    if let Some(n) = self.regex(&r.text, self.dialect == Dialect::OpenSips, r.span) {
                        table.cases.push((Label::Regex(n), at));
                    }
                }
            }
            self.statements(&case.body);
        }
        let breaks = self.breakables.pop().map(|b| b.breaks).unwrap_or_default();
        if table.otherwise == u32::MAX {
            table.otherwise = self.here();
        }
        self.land_all(breaks);
        self.emit(Instr::RcLast);
        if let Some(t) = self.p.switches.get_mut(number as usize) {
            *t = table;
        }
    }

    fn leave_loop(&mut self, span: Span) {
        let at = self.emit(Instr::Jump(0));
        match self.breakables.last_mut() {
            Some(b) => b.breaks.push(at),
            // Kamailio: leaves the route block.
            None if self.dialect == Dialect::Kamailio => {
                if let Some(i) = self.p.code.get_mut(at) {
                    *i = Instr::End;
                }
            }
            None => {
                let d = Diagnostic::error("E0113", span, "`break` outside of a loop or switch");
                self.diags.push(d.help("`return` leaves the route, `exit` the script"));
            }
        }
    }

    fn next_turn(&mut self, span: Span) {
        match self.breakables.iter().rev().find_map(|b| b.again) {
            Some(again) => {
                self.emit(Instr::Jump(again));
            }
            None => {
                let d = Diagnostic::error("E0113", span, "`continue` outside of a loop");
                self.diags.push(d);
            }
        }
    }

    /// `async(f(...), route[, timeout])`
    fn start_async(&mut self, call: &Call, route: &Ident, timeout: Option<&Expr>) {
        let site = self.call_site(call);
        let resume = self.find_route(RouteKind::Request, &route.text, route.span);
        self.entries.extend(resume);
        self.wait_point(call.name.span, &call.name.text, Some("async"));
        if let Some(t) = timeout {
            if number(t).is_some_and(|n| !(0..=i64::from(u32::MAX)).contains(&n)) {
                let d =
                    Diagnostic::error("E0302", t.span, "the deadline is a number of seconds, 0 for the default one");
                self.diags.push(d);
            }
            self.value(t);
        }
        if let (Some((call, _)), Some(route)) = (site, resume) {
            self.p.asyncs.push(AsyncSite { call, route, timeout: timeout.is_some() });
            let n = (self.p.asyncs.len() - 1) as u32;
            self.emit(Instr::Async(n));
        }
    }

    /// `launch(f(...)[, route[, param]])`
    fn launch(&mut self, call: &Call, route: Option<&Ident>, param: Option<&Expr>) {
        let site = self.call_site(call);
        let report = route.map(|r| self.find_route(RouteKind::Request, &r.text, r.span));
        self.entries.extend(report.flatten());
        if let Some(p) = param {
            self.launch_param(p);
        }
        if let (Some((call, _)), true) = (site, report != Some(None)) {
            self.p.launches.push(LaunchSite { call, route: report.flatten(), param: param.is_some() });
            let n = (self.p.launches.len() - 1) as u32;
            self.emit(Instr::Launch(n));
        }
    }

    /// The third argument of `launch` is a format string.
    fn launch_param(&mut self, expr: &Expr) {
        if let ExprKind::Str(lit) = &expr.kind {
            match self.literal(lit) {
                Literal::Fixed(t) => {
                    let n = self.konst(Value::text(t));
                    self.emit(Instr::Const(n));
                }
                Literal::Format(n) => {
                    self.emit(Instr::Format(n));
                }
                Literal::Bad => {}
            }
        } else {
            self.value(expr);
        }
    }

    pub(super) fn wait_point(&mut self, span: Span, name: &str, resumed_by: Option<&str>) {
        let resumed_by = resumed_by.map(str::to_string);
        self.waits.push(WaitPoint { route: self.route, span, name: name.to_string(), resumed_by });
    }
}

/// Whether a branch holds no statement that does anything.
fn is_empty(body: &[Stmt]) -> bool {
    body.iter().all(|s| match &s.kind {
        StmtKind::Empty => true,
        StmtKind::Block(inner) => is_empty(inner),
        _ => false,
    })
}
