//! Finding a function by its name, and what to say if there is none.

use super::Lowerer;
use crate::base::names::suggest;
use crate::script::ast::{Call, Dialect};
use crate::script::diagnostics::Diagnostic;
use crate::script::host::Host;
use crate::script::registry::{FnSpec, Kind, Param};

impl<H: Host> Lowerer<'_, H> {
    /// A function's name in this dialect.
    pub(super) fn name_of(&self, f: &'static FnSpec<H>) -> Option<&'static str> {
        name_in(f, self.dialect)
    }

    /// The function a call means, with its arity checked.
    pub(super) fn function(&mut self, call: &Call) -> Option<&'static FnSpec<H>> {
        let name = call.name.text.as_str();
        let Some(found) = self.functions.get(name) else {
            self.unknown_function(call);
            return None;
        };
        let given = call.args.len();
        let fits = |f: &&&'static FnSpec<H>| {
            let (least, most) = arity(f);
            given >= least && most.is_none_or(|m| given <= m)
        };
        let spec: Option<&'static FnSpec<H>> = found.iter().find(fits).or(found.first()).copied();
        let spec = spec?;
        self.check_arity(call, spec).then_some(spec)
    }

    fn check_arity(&mut self, call: &Call, spec: &'static FnSpec<H>) -> bool {
        let (least, most) = arity(spec);
        let given = call.args.len();
        let name = &call.name.text;
        if given < least || most.is_some_and(|m| given > m) {
            let takes = match most {
                None => format!("at least {}", count(least)),
                Some(0) => "no arguments".into(),
                Some(m) if m == least => count(least),
                Some(m) => format!("{least} to {}", count(m)),
            };
            let d = Diagnostic::error("E0301", call.span, format!("`{name}` takes {takes}, {given} given"))
                .help(signature(name, spec));
            self.diags.push(d);
            return false;
        }
        for (i, param) in spec.params.iter().enumerate() {
            if param.required && matches!(call.args.get(i), Some(None)) {
                let d = Diagnostic::error(
                    "E0301",
                    call.span,
                    format!("argument {} (`{}`) of `{name}` cannot be left out", i + 1, param.name),
                );
                self.diags.push(d.help(signature(name, spec)));
                return false;
            }
        }
        true
    }

    fn unknown_function(&mut self, call: &Call) {
        let name = call.name.text.as_str();
        let span = call.name.span;
        let catalog = H::catalog(self.dialect);
        let owner = self.known_modules().find(|m| catalog.functions(m).any(|f| self.name_of(f) == Some(name)));
        if let Some(m) = owner {
            let d = Diagnostic::error(
                "E0202",
                span,
                format!("`{name}` is a function of module `{}`, which is not loaded", m.name),
            );
            return self.diags.push(d.help(format!("add `loadmodule \"{}.so\"`", m.name)));
        }
        let mut d = Diagnostic::error("E0201", span, format!("unknown function `{name}`"));
        let near = suggest(name, self.functions.keys().copied()).or_else(|| {
            suggest(name, self.known_modules().flat_map(|m| catalog.functions(m)).filter_map(|f| self.name_of(f)))
        });
        if let Some(s) = near {
            d = d.help(format!("did you mean `{s}`?"));
        } else if self.in_other_dialect(name) {
            let other = match self.dialect {
                Dialect::OpenSips => "Kamailio",
                Dialect::Kamailio => "OpenSIPS",
            };
            d = d.help(format!("it is a function of {other}"));
        }
        self.diags.push(d);
    }

    fn in_other_dialect(&self, name: &str) -> bool {
        let other = match self.dialect {
            Dialect::OpenSips => Dialect::Kamailio,
            Dialect::Kamailio => Dialect::OpenSips,
        };
        let catalog = H::catalog(other);
        catalog.modules.iter().flat_map(|m| catalog.functions(m)).any(|f| name_in(f, other) == Some(name))
    }
}

fn name_in<H: Host>(f: &'static FnSpec<H>, dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::OpenSips => f.opensips,
        Dialect::Kamailio => f.kamailio,
    }
}

fn count(n: usize) -> String {
    if n == 1 { "1 argument".into() } else { format!("{n} arguments") }
}

/// Least and most arguments; `None` = any number.
fn arity<H: Host>(f: &FnSpec<H>) -> (usize, Option<usize>) {
    let least = f.params.iter().rposition(|p| p.required).map_or(0, |n| n + 1);
    (least, if f.variadic { None } else { Some(f.params.len()) })
}

/// `name(url:str, [code:var])`
pub(super) fn signature<H: Host>(name: &str, spec: &FnSpec<H>) -> String {
    let shown = |p: &Param| {
        let kind = kind_name(p.kind);
        if p.required { format!("{}:{kind}", p.name) } else { format!("[{}:{kind}]", p.name) }
    };
    let mut params: Vec<String> = spec.params.iter().map(shown).collect();
    if spec.variadic {
        params.push("...".into());
    }
    format!("{name}({})", params.join(", "))
}

/// A parameter's type, as the manual names it.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Str | Kind::Raw => "str",
        Kind::Int => "int",
        Kind::IntOrStr => "int or str",
        Kind::Out | Kind::Var => "var",
        Kind::StrOrOut | Kind::RawOrOut => "str or var",
        Kind::StrThenOut => "str, var if last",
        Kind::Condition => "condition",
        Kind::OutList => "vars",
        Kind::Regex => "regex",
        Kind::Route(_) | Kind::Event(_) => "route",
        Kind::Flag => "flag",
        Kind::Subst => "/regex/text/flags",
        Kind::Map(..) => "name of a list",
        Kind::Defined(..) => "name",
    }
}
