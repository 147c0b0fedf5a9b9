//! Arguments of function calls: from what is written to how each is evaluated, by the
//! parameter's type.

use super::Lowerer;
use super::functions::signature;
use super::vars::Literal;
use crate::base::names::suggest;
use crate::script::ast::{Call, Dialect, Expr, ExprKind, RouteKind, UnaryOp};
use crate::script::diagnostics::Diagnostic;
use crate::script::format;
use crate::script::host::Host;
use crate::script::ir::{ArgPlan, CallSite, Instr};
use crate::script::pattern::compile_subst;
use crate::script::pv::PvText;
use crate::script::registry::{FnSpec, Kind, Param};
use crate::script::source::Span;
use crate::script::value::Value;

/// A literal text argument, wherever it came from.
struct Text<'t> {
    bytes: &'t [u8],
    span: Span,
    /// Written in quotes, so that a format in it was meant.
    lit: Option<&'t crate::script::ast::StrLit>,
}

impl<H: Host> Lowerer<'_, H> {
    /// A call: its arguments' expressions are emitted, the number of its site is given.
    pub(super) fn call_site(&mut self, call: &Call) -> Option<(u32, &'static FnSpec<H>)> {
        let spec = self.function(call)?;
        let mut args = Vec::with_capacity(spec.params.len().max(call.args.len()));
        for i in 0..spec.params.len().max(call.args.len()) {
            let plan = match (call.args.get(i), spec.params.get(i).or(spec.params.last())) {
                (Some(Some(expr)), Some(param)) => {
                    let kind = match param.kind {
                        Kind::StrThenOut if i + 1 == call.args.len() => Kind::Out,
                        Kind::StrThenOut => Kind::Str,
                        kind => kind,
                    };
                    self.arg(expr, &Param { kind, ..*param }, i, &call.name.text, spec)
                }
                _ => ArgPlan::None,
            };
            args.push(plan);
        }
        // Kamailio: what a request route may hold, an event's may too.
        let as_request = self.dialect == Dialect::Kamailio
            && matches!(self.kind, RouteKind::Event | RouteKind::Local | RouteKind::Startup)
            && spec.routes.contains(RouteKind::Request);
        if !spec.routes.contains(self.kind) && !as_request {
            self.misplaced.push((self.route, call.name.span, spec, call.name.text.clone()));
        }
        let line = self.map.position(call.span).1;
        let site = CallSite {
            function: spec,
            name: call.name.text.as_str().into(),
            args,
            span: call.span,
            file: call.span.file.into(),
            line,
            route: self.route,
        };
        self.p.sites.push(site);
        Some(((self.p.sites.len() - 1) as u32, spec))
    }

    fn arg(&mut self, expr: &Expr, param: &Param, i: usize, name: &str, spec: &'static FnSpec<H>) -> ArgPlan {
        let bad = |this: &mut Self, why: &str| {
            let text = format!("argument {} (`{}`) of `{name}` {why}", i + 1, param.name);
            this.diags.push(Diagnostic::error("E0302", expr.span, text).help(signature(name, spec)));
            ArgPlan::None
        };
        match &expr.kind {
            _ if param.kind == Kind::Condition => self.condition_arg(expr),
            ExprKind::Group(inner) => self.arg(inner, param, i, name, spec),
            ExprKind::Null if param.required => bad(self, "cannot be NULL"),
            ExprKind::Null => ArgPlan::None,
            ExprKind::Var(_) if matches!(param.kind, Kind::Map(..)) => bad(self, "is a name, not a variable"),
            ExprKind::Var(token) => match param.kind {
                Kind::Out | Kind::OutList => match self.writable(token) {
                    Some(n) if param.kind == Kind::Out => ArgPlan::Out(n),
                    Some(n) => ArgPlan::Outs(vec![n]),
                    None => ArgPlan::None,
                },
                Kind::Int => match self.var(token) {
                    Some(var) => ArgPlan::Int { var, required: param.required },
                    None => ArgPlan::None,
                },
                Kind::StrOrOut | Kind::RawOrOut => match self.var(token) {
                    Some(var) if self.p.vars.get(var as usize).is_some_and(|v| v.writable) => ArgPlan::Out(var),
                    Some(var) => ArgPlan::Var { var, required: param.required },
                    None => ArgPlan::None,
                },
                _ => match self.var(token) {
                    Some(var) => ArgPlan::Var { var, required: param.required && param.kind != Kind::Var },
                    None => ArgPlan::None,
                },
            },
            ExprKind::Str(lit) => {
                let text = Text { bytes: &lit.text, span: lit.span, lit: Some(lit) };
                self.text_arg(text, param, &|this, why| bad(this, why))
            }
            ExprKind::Ident(word) | ExprKind::Net(word) => {
                let text = Text { bytes: word.as_bytes(), span: expr.span, lit: None };
                self.text_arg(text, param, &|this, why| bad(this, why))
            }
            _ => match number(expr) {
                Some(n) => match param.kind {
                    Kind::Int | Kind::IntOrStr => ArgPlan::Const(self.konst(Value::Int(n))),
                    _ => {
                        let shown = n.to_string();
                        let text = Text { bytes: shown.as_bytes(), span: expr.span, lit: None };
                        self.text_arg(text, param, &|this, why| bad(this, why))
                    }
                },
                None if matches!(param.kind, Kind::Out | Kind::OutList) => bad(self, "must be a variable to assign"),
                None => {
                    self.value(expr);
                    ArgPlan::Operand
                }
            },
        }
    }

    fn text_arg(&mut self, text: Text<'_>, param: &Param, bad: &dyn Fn(&mut Self, &str) -> ArgPlan) -> ArgPlan {
        match param.kind {
            Kind::StrOrOut if format::single(text.bytes).is_some() => {
                let known = format::single(text.bytes).and_then(|v| self.known_var(&v).ok());
                match known {
                    Some(n) if self.p.vars.get(n as usize).is_some_and(|v| v.writable) => ArgPlan::Out(n),
                    // Not writable, or not known: the format string says which.
                    _ => self.format_arg(&text),
                }
            }
            Kind::Str | Kind::IntOrStr | Kind::StrOrOut | Kind::StrThenOut | Kind::Condition => self.format_arg(&text),
            Kind::Raw | Kind::RawOrOut | Kind::Flag => ArgPlan::Const(self.konst(Value::text(text.bytes))),
            Kind::Int => self.int_text(&text, param, bad),
            Kind::Out => match format::single(text.bytes) {
                Some(v) => self.out_var(&v, text.span).map_or(ArgPlan::None, ArgPlan::Out),
                None if text.bytes.is_empty() && !param.required => ArgPlan::None,
                None => bad(self, "must be a variable to assign"),
            },
            Kind::OutList => match format::list(text.bytes) {
                Some(list) => {
                    let vars: Option<Vec<u32>> = list.iter().map(|v| self.out_var(v, text.span)).collect();
                    vars.map_or(ArgPlan::None, ArgPlan::Outs)
                }
                None if text.bytes.is_empty() && !param.required => ArgPlan::None,
                None => bad(self, "must be variables to assign, such as \"$avp(a);$avp(b)\""),
            },
            Kind::Var => match format::single(text.bytes) {
                Some(v) => match self.known_var(&v) {
                    Ok(var) => ArgPlan::Var { var, required: false },
                    Err(problem) => {
                        self.problem(problem, text.span, None);
                        ArgPlan::None
                    }
                },
                None => bad(self, "must be a variable"),
            },
            Kind::Regex => {
                // `$` is an anchor here, unless all that follows one is a variable.
                if let Ok(Literal::Format(n)) = self.format_text(text.bytes) {
                    return ArgPlan::Format(n);
                }
                self.regex(text.bytes, true, text.span).map_or(ArgPlan::None, ArgPlan::Regex)
            }
            Kind::Subst => match compile_subst(text.bytes) {
                Ok(s) => {
                    self.p.substs.push(s);
                    ArgPlan::Subst((self.p.substs.len() - 1) as u32)
                }
                Err(why) => {
                    let message = format!("`{}` is no substitution", String::from_utf8_lossy(text.bytes));
                    self.diags.push(Diagnostic::error("E0303", text.span, message).label(why));
                    ArgPlan::None
                }
            },
            Kind::Route(kind) => self.route_arg(&text, kind, ""),
            Kind::Event(prefix) => self.route_arg(&text, RouteKind::Event, prefix),
            Kind::Map(module, list) => self.map_arg(&text, module, list),
            Kind::Defined(module, param, built_in) => self.defined_arg(&text, module, param, built_in),
        }
    }

    /// The list of this name among those that a module parameter defines.
    fn map_arg(&mut self, text: &Text<'_>, module: &str, param: &str) -> ArgPlan {
        let defined = self.p.modparams.iter().filter(|p| p.module == module && p.param == param);
        // What is malformed was reported where it stands.
        let lists: Vec<_> =
            defined.filter_map(|p| Some((format::named_list(&p.value.to_text()?).ok()?, p.span))).collect();
        let Some((list, span)) = lists.iter().find(|(l, _)| l.name.as_bytes() == text.bytes) else {
            let name = String::from_utf8_lossy(text.bytes).into_owned();
            let mut d = Diagnostic::error("E0302", text.span, format!("no list is named `{name}`"));
            d = match suggest(&name, lists.iter().map(|(l, _)| l.name.as_str())) {
                Some(s) => d.help(format!("did you mean `{s}`?")),
                None => d.help(format!("define it with `modparam(\"{module}\", \"{param}\", \"{name} = (...)\")`")),
            };
            self.diags.push(d);
            return ArgPlan::None;
        };
        let mut items = Vec::with_capacity(list.items.len());
        for (name, var) in &list.items {
            match self.known_var(var) {
                Ok(n) => items.push((name.as_str().into(), n)),
                Err(problem) => self.problem(problem, *span, None),
            }
        }
        ArgPlan::Map(items)
    }

    /// A name among those that a module parameter defines.
    fn defined_arg(&mut self, text: &Text<'_>, module: &str, param: &str, built_in: &[&str]) -> ArgPlan {
        let name = match self.expanded(text) {
            Literal::Fixed(name) => name,
            Literal::Format(n) => return ArgPlan::Format(n),
            Literal::Bad => return ArgPlan::None,
        };
        let defined = self.p.modparams.iter().filter(|p| p.module == module && p.param == param);
        let mut names: Vec<String> = built_in.iter().map(|n| (*n).to_string()).collect();
        names.extend(defined.filter_map(|p| {
            let text = p.value.to_text()?;
            let name = text.split(|b| *b == b'=').next()?.trim_ascii();
            Some(String::from_utf8_lossy(name).into_owned())
        }));
        if !names.iter().any(|n| n.as_bytes() == name) {
            let name = String::from_utf8_lossy(&name);
            let mut d = Diagnostic::error("E0302", text.span, format!("no {param} is named `{name}`"));
            d = match suggest(&name, names.iter().map(String::as_str)) {
                Some(s) => d.help(format!("did you mean `{s}`?")),
                None => d.help(format!("define it with `modparam(\"{module}\", \"{param}\", \"{name}\")`")),
            };
            self.diags.push(d);
        }
        ArgPlan::Const(self.konst(Value::text(name)))
    }

    fn format_arg(&mut self, text: &Text<'_>) -> ArgPlan {
        match self.expanded(text) {
            Literal::Fixed(t) => ArgPlan::Const(self.konst(Value::text(t))),
            Literal::Format(n) => ArgPlan::Format(n),
            Literal::Bad => ArgPlan::None,
        }
    }

    /// A condition as an argument: 1 or 0, a condition that cannot be evaluated counts as false.
    fn condition_arg(&mut self, expr: &Expr) -> ArgPlan {
        let (one, zero) = (self.konst(Value::Int(1)), self.konst(Value::Int(0)));
        self.condition(expr);
        let no = self.emit(Instr::Unless(0));
        self.emit(Instr::Const(one));
        let end = self.emit(Instr::Jump(0));
        self.land(no);
        self.emit(Instr::Const(zero));
        self.land(end);
        ArgPlan::Operand
    }

    /// A literal that is expanded if it was written in quotes.
    fn expanded(&mut self, text: &Text<'_>) -> Literal {
        match text.lit {
            Some(lit) => self.literal(lit),
            None => Literal::Fixed(text.bytes.to_vec()),
        }
    }

    /// 2.2 passes numbers and the variables that hold them in quotes.
    fn int_text(&mut self, text: &Text<'_>, param: &Param, bad: &dyn Fn(&mut Self, &str) -> ArgPlan) -> ArgPlan {
        if text.bytes.is_empty() && !param.required {
            return ArgPlan::None;
        }
        if let Some(n) = Value::text(text.bytes).to_int() {
            return ArgPlan::Const(self.konst(Value::Int(n)));
        }
        match self.expanded(text) {
            Literal::Format(n) => ArgPlan::FormatInt(n),
            Literal::Fixed(_) => bad(self, "must be a number"),
            Literal::Bad => ArgPlan::None,
        }
    }

    /// A quoted output variable.
    fn out_var(&mut self, v: &PvText, span: Span) -> Option<u32> {
        match self.known_var(v) {
            Ok(n) => self.check_writable(n, span).then_some(n),
            Err(problem) => {
                self.problem(problem, span, None);
                None
            }
        }
    }

    fn route_arg(&mut self, text: &Text<'_>, kind: RouteKind, prefix: &str) -> ArgPlan {
        if matches!(text.bytes, b"" | b"0") {
            return ArgPlan::Const(self.konst(Value::Null));
        }
        match self.expanded(text) {
            Literal::Fixed(name) => {
                let name = format!("{prefix}{}", String::from_utf8_lossy(&name));
                match self.find_route(kind, &name, text.span) {
                    Some(n) => {
                        self.entries.push(n);
                        ArgPlan::Route(n)
                    }
                    None => ArgPlan::None,
                }
            }
            Literal::Format(n) => ArgPlan::Format(n),
            Literal::Bad => ArgPlan::None,
        }
    }

    /// A call as an instruction; the function, if it is known.
    pub(super) fn call(&mut self, call: &Call) {
        if let Some((site, spec)) = self.call_site(call) {
            if spec.waits {
                self.wait_point(call.name.span, &call.name.text, None);
            }
            self.emit(Instr::Call(site));
        }
    }
}

/// A number literal, with its sign.
pub(super) fn number(expr: &Expr) -> Option<i64> {
    match &expr.kind {
        ExprKind::Int(n) => Some(*n),
        ExprKind::Group(inner) => number(inner),
        ExprKind::Unary { op: UnaryOp::Neg, operand } => number(operand)?.checked_neg(),
        _ => None,
    }
}
