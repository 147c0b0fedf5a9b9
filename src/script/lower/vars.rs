//! Variables, format strings and patterns: into the program's tables, with what is wrong reported.

use super::Lowerer;
use crate::base::names::suggest;
use crate::script::ast::{Dialect, StrLit, VarTok};
use crate::script::diagnostics::Diagnostic;
use crate::script::host::Host;
use crate::script::ir::{CallSite, Instr, VarRef};
use crate::script::pattern::compile_with;
use crate::script::pv::{self, Piece, PvText};
use crate::script::resolve::{Problem, Resolver, Slots};
use crate::script::source::Span;

/// What a string literal is as a format string.
pub(super) enum Literal {
    /// It holds no variables; `$$` is resolved.
    Fixed(Vec<u8>),
    /// Number of the format.
    Format(u32),
    /// It was refused, and that was reported.
    Bad,
}

impl<H: Host> Lowerer<'_, H> {
    pub(super) fn resolver(&mut self) -> Resolver<'_> {
        Resolver {
            dialect: self.dialect,
            slots: Slots::Grow { names: &mut self.p.slots, by_name: &mut self.p.slot_by_name },
            aliases: &self.p.avp_aliases,
        }
    }

    /// A variable as written; its number in the program.
    pub(super) fn var(&mut self, token: &VarTok) -> Option<u32> {
        if token.text.is_empty() {
            // The parser has reported it.
            return None;
        }
        self.check_selects(token.text.as_bytes(), token.span);
        let parsed = pv::parse(token.text.as_bytes()).map_err(Problem::from);
        if let Ok(v) = &parsed {
            self.prepare(v, token.span);
        }
        match parsed.and_then(|v| self.known_var(&v)) {
            Ok(n) => Some(n),
            Err(problem) => {
                self.problem(problem, token.span, Some(token.text.len()));
                None
            }
        }
    }

    /// Does, at this place, what variables need before they are read.
    fn prepare(&mut self, v: &PvText, span: Span) {
        let sub = v.sub.as_deref().unwrap_or_default();
        if let [Piece::Text(text)] = sub
            && let Ok(text) = std::str::from_utf8(text)
            && let Some(function) = H::before_reading(self.dialect, &v.name, text)
        {
            let line = self.map.position(span).1;
            self.p.sites.push(CallSite {
                function,
                name: v.text.as_str().into(),
                args: Vec::new(),
                span,
                file: span.file.into(),
                line,
                route: self.route,
            });
            self.emit(Instr::Prepare((self.p.sites.len() - 1) as u32));
        }
        self.prepare_pieces(sub, span);
    }

    fn prepare_pieces(&mut self, pieces: &[Piece], span: Span) {
        for piece in pieces {
            if let Piece::Var(v) = piece {
                self.prepare(v, span);
            }
        }
    }

    /// A variable that was taken apart.
    pub(super) fn known_var(&mut self, v: &PvText) -> Result<u32, Problem> {
        if let Some(n) = self.var_index.get(&v.text) {
            return Ok(*n);
        }
        let var: VarRef<H::Pv> = self.resolver().var::<H>(v)?;
        let n = self.p.vars.len() as u32;
        self.p.vars.push(var);
        self.var_index.insert(v.text.clone(), n);
        Ok(n)
    }

    /// A variable that something is assigned to.
    pub(super) fn writable(&mut self, token: &VarTok) -> Option<u32> {
        let n = self.var(token)?;
        self.check_writable(n, token.span).then_some(n)
    }

    pub(super) fn check_writable(&mut self, n: u32, span: Span) -> bool {
        let Some(v) = self.p.vars.get(n as usize) else { return false };
        if v.writable {
            return true;
        }
        let text = v.text.to_string();
        let d = if v.transforms.is_empty() {
            Diagnostic::error("E0304", span, format!("`{text}` can only be read"))
        } else {
            Diagnostic::error("E0304", span, format!("`{text}` carries a transformation and can only be read"))
                .help("assign the variable itself")
        };
        self.diags.push(d);
        false
    }

    /// A string literal as a format string.
    pub(super) fn literal(&mut self, lit: &StrLit) -> Literal {
        let inner = inner_span(lit);
        self.check_selects(&lit.text, inner);
        if let Ok(pieces) = pv::pieces(&lit.text) {
            self.prepare_pieces(&pieces, inner);
        }
        match self.format_text(&lit.text) {
            Ok(found) => found,
            Err(problem) => {
                // Positions in the text are positions in the file if no escape came before.
                self.problem(problem, inner, Some(lit.text.len()));
                Literal::Bad
            }
        }
    }

    /// Kamailio: parameters of the configuration's own that are read and not declared.
    fn check_selects(&mut self, text: &[u8], span: Span) {
        const READ: &[u8] = b"$sel(cfg_get.";
        if self.dialect != Dialect::Kamailio {
            return;
        }
        let mut rest = text;
        while let Some(at) = memchr::memmem::find(rest, READ) {
            rest = rest.get(at + READ.len()..).unwrap_or_default();
            let name = String::from_utf8_lossy(rest.split(|b| *b == b')').next().unwrap_or_default()).into_owned();
            // The server's own groups are answered with NULL.
            let own = name.split_once('.').is_some_and(|(group, _)| self.p.modules.contains(&group));
            if own || self.custom.contains(&name) {
                continue;
            }
            let mut d = Diagnostic::error("E0204", span, format!("unknown parameter `cfg_get.{name}`"));
            d = match suggest(&name, self.custom.iter().map(String::as_str)) {
                Some(near) => d.help(format!("did you mean `cfg_get.{near}`?")),
                None => d.help(format!("declare it outside of the routes: {name} = \"\" desc \"...\"")),
            };
            self.diags.push(d);
        }
    }

    pub(super) fn format_text(&mut self, text: &[u8]) -> Result<Literal, Problem> {
        if memchr::memchr(b'$', text).is_none() {
            return Ok(Literal::Fixed(text.to_vec()));
        }
        if let Some(n) = self.format_index.get(text) {
            return Ok(Literal::Format(*n));
        }
        let pieces = pv::pieces(text)?;
        if let [Piece::Text(t)] = pieces.as_slice() {
            return Ok(Literal::Fixed(t.clone()));
        }
        let format = self.resolver().pieces::<H>(&pieces)?;
        let n = self.p.formats.len() as u32;
        self.p.formats.push(format);
        self.format_index.insert(text.to_vec(), n);
        Ok(Literal::Format(n))
    }

    /// A pattern written in the script; its number in the program.
    pub(super) fn regex(&mut self, pattern: &[u8], ignore_case: bool, span: Span) -> Option<u32> {
        let text = String::from_utf8_lossy(pattern).into_owned();
        let key = (text, ignore_case);
        if let Some(n) = self.regex_index.get(&key) {
            return Some(*n);
        }
        match compile_with(&key.0, ignore_case, false) {
            Ok(r) => {
                let n = self.p.regexes.len() as u32;
                self.p.regexes.push(r);
                self.regex_index.insert(key, n);
                Some(n)
            }
            Err(why) => {
                let text = format!("`{}` is no regular expression", key.0);
                self.diags.push(Diagnostic::error("E0303", span, text).label(why));
                None
            }
        }
    }

    /// Reports what is wrong with a variable or format string.
    pub(super) fn problem(&mut self, problem: Problem, span: Span, len: Option<usize>) {
        let exact = len.is_some_and(|l| l == (span.end - span.start) as usize) && problem.at > 0;
        let span = if exact { Span { start: (span.start + problem.at as u32).min(span.end), ..span } } else { span };
        let mut d = Diagnostic::error(problem.code, span, problem.message);
        d.help = problem.help;
        self.diags.push(d);
    }
}

/// The text between a literal's quotes.
fn inner_span(lit: &StrLit) -> Span {
    let Span { file, start, end } = lit.span;
    if end.saturating_sub(start) >= 2 { Span { file, start: start + 1, end: end - 1 } } else { lit.span }
}
