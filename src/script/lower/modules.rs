//! `loadmodule` and `modparam`: which functions may be called, which parameters are set.

use super::Lowerer;
use crate::base::names::suggest;
use crate::script::ast::{Config, Dialect, GlobalValue, Item, StrLit};
use crate::script::avp;
use crate::script::diagnostics::Diagnostic;
use crate::script::host::Host;
use crate::script::pattern::compile_with;
use crate::script::program::ModParam;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};
use crate::script::source::Span;
use crate::script::value::Value;
use std::collections::HashMap;

impl<H: Host> Lowerer<'_, H> {
    /// Loads modules, then judges their parameters. The order in the file does not matter.
    pub(super) fn modules(&mut self, config: &Config) {
        let mut loaded: Vec<(&'static ModuleSpec<H>, Option<Span>)> = Vec::new();
        if let Some(core) = self.known_modules().find(|m| m.name == "core") {
            loaded.push((core, None));
        }
        for item in &config.items {
            if let Item::LoadModule { file, span } = item {
                self.load(file, *span, &mut loaded);
            }
        }
        for (module, span) in &loaded {
            for need in module.needs {
                if !loaded.iter().any(|(m, _)| m.name == *need)
                    && let Some(span) = span
                {
                    let d = Diagnostic::error(
                        "E0203",
                        *span,
                        format!("module `{}` needs module `{need}`, which is not loaded", module.name),
                    );
                    self.diags.push(d.help(format!("add `loadmodule \"{need}.so\"`")));
                }
            }
            self.p.modules.push(module.name);
            for f in H::catalog(self.dialect).functions(module) {
                if let Some(name) = self.name_of(f) {
                    let known = self.functions.entry(name).or_default();
                    if !known.iter().any(|k| std::ptr::eq(*k, f)) {
                        known.push(f);
                    }
                }
            }
        }
        let loaded: Vec<&'static ModuleSpec<H>> = loaded.into_iter().map(|(m, _)| m).collect();
        let mut tested = HashMap::new();
        for item in &config.items {
            if let Item::ModParam { module, name, value, span } = item {
                self.param(module, name, value, *span, &loaded, &mut tested);
            }
        }
    }

    /// The dialect's modules.
    pub(super) fn known_modules(&self) -> impl Iterator<Item = &'static ModuleSpec<H>> + use<H> {
        let dialect = self.dialect;
        H::catalog(dialect).modules.iter().copied().filter(move |m| m.dialects.contains(&dialect))
    }

    fn load(&mut self, file: &StrLit, span: Span, loaded: &mut Vec<(&'static ModuleSpec<H>, Option<Span>)>) {
        let path = String::from_utf8_lossy(&file.text).into_owned();
        let name = path.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(".so").unwrap_or(name);
        match self.known_modules().find(|m| m.name == name) {
            Some(m) if loaded.iter().any(|(l, _)| l.name == m.name) => {}
            Some(m) => loaded.push((m, Some(span))),
            None => {
                let mut d = Diagnostic::error("E0203", file.span, format!("unknown module `{name}`"));
                if let Some(s) = suggest(name, self.known_modules().map(|m| m.name)) {
                    d = d.help(format!("did you mean `{s}.so`?"));
                }
                self.diags.push(d);
                self.unknown_modules.push(name.to_owned());
            }
        }
    }

    fn param(
        &mut self,
        module: &StrLit,
        name: &StrLit,
        value: &GlobalValue,
        span: Span,
        loaded: &[&'static ModuleSpec<H>],
        tested: &mut HashMap<String, Vec<&'static ModuleSpec<H>>>,
    ) {
        let pattern = String::from_utf8_lossy(&module.text).into_owned();
        let param = String::from_utf8_lossy(&name.text).into_owned();
        if !tested.contains_key(&pattern) {
            // The first argument is a pattern for whole module names.
            let regex = match compile_with(&format!("^({pattern})$"), true, false) {
                Ok(r) => r,
                Err(why) => {
                    let text = format!("`{pattern}` is no regular expression: {why}");
                    return self.diags.push(Diagnostic::error("E0303", module.span, text));
                }
            };
            let hits: Vec<_> = loaded.iter().copied().filter(|m| regex.is_match(m.name.as_bytes())).collect();
            if hits.is_empty() {
                self.no_module(&pattern, &regex, module.span);
            }
            tested.insert(pattern.clone(), hits);
        }
        let Some(hits) = tested.get(&pattern).filter(|h| !h.is_empty()) else { return };
        let spec = |m: &'static ModuleSpec<H>| m.params.iter().find(|p| p.name == param);
        let takers: Vec<_> = hits.iter().filter(|m| spec(m).is_some() || m.any_param).copied().collect();
        if takers.is_empty() {
            let names = hits.iter().flat_map(|m| m.params.iter().map(|p| p.name));
            let which = match hits.as_slice() {
                [one] => format!("module `{}`", one.name),
                _ => format!("the modules that match `{pattern}`"),
            };
            let mut d = Diagnostic::error("E0208", name.span, format!("unknown parameter `{param}` of {which}"));
            if let Some(s) = suggest(&param, names) {
                d = d.help(format!("did you mean `{s}`?"));
            }
            return self.diags.push(d);
        }
        for m in takers {
            let Some(value) = self.param_value(value, spec(m), &param, span) else { return };
            if (m.name, param.as_str(), self.dialect) == ("pv", "avp_aliases", Dialect::Kamailio) {
                match avp::aliases(&value.to_text().unwrap_or_default().to_lossy()) {
                    Ok(aliases) => self.p.avp_aliases.extend(aliases),
                    Err(why) => self.diags.push(Diagnostic::error("E0305", span, why)),
                }
            }
            self.p.modparams.push(ModParam { module: m.name.into(), param: param.clone(), value, span });
        }
    }

    /// `modparam` of a module that is not loaded or does not exist.
    fn no_module(&mut self, pattern: &str, regex: &regex::bytes::Regex, span: Span) {
        if self.unknown_modules.iter().any(|m| regex.is_match(m.as_bytes())) {
            // That was reported where it is loaded.
            return;
        }
        let d = match self.known_modules().find(|m| regex.is_match(m.name.as_bytes())) {
            Some(m) => Diagnostic::error("E0203", span, format!("module `{}` is not loaded", m.name))
                .help(format!("add `loadmodule \"{}.so\"`", m.name)),
            None => {
                let d = Diagnostic::error("E0203", span, format!("no module is named `{pattern}`"));
                match suggest(pattern, self.p.modules.iter().copied().chain(self.known_modules().map(|m| m.name))) {
                    Some(s) => d.help(format!("did you mean `{s}`?")),
                    None => d,
                }
            }
        };
        self.diags.push(d);
    }

    fn param_value(
        &mut self,
        value: &GlobalValue,
        spec: Option<&ModParamSpec>,
        param: &str,
        span: Span,
    ) -> Option<Value> {
        let (value, at) = match value {
            GlobalValue::Int(n, at) => (Value::Int(*n), *at),
            GlobalValue::Str(s) => (Value::text(s.text.as_slice()), s.span),
            GlobalValue::Ident(i) => (Value::from(i.text.as_str()), i.span),
            _ => {
                let text = "a module parameter is a number or a string in quotes";
                self.diags.push(Diagnostic::error("E0302", span, text));
                return None;
            }
        };
        let d = match (spec.map(|s| s.kind), &value) {
            (Some(ModParamKind::Int), Value::Str(s)) => {
                let d = Diagnostic::error("E0302", at, format!("parameter `{param}` is a number")).label("a string");
                match value.to_int() {
                    Some(_) => d.help(format!("write {s} without quotes")),
                    None => d,
                }
            }
            (Some(ModParamKind::Str), Value::Int(n)) => {
                Diagnostic::error("E0302", at, format!("parameter `{param}` is a string"))
                    .label("a number")
                    .help(format!("write \"{n}\" in quotes"))
            }
            _ => return Some(value),
        };
        self.diags.push(d);
        None
    }
}
