//! Kamailio's preprocessor: defines and the directives that make them. Text is read in parts, from
//! one directive to the next, since what follows depends on it: text in a false branch need not be a
//! configuration at all.

use super::Reader;
use super::evaluate::{Worth, evaluate};
use super::substitute::Rule;
use crate::script::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::script::lex::{Kind, Token, decode, directive_at, lex_part};
use crate::script::source::{SourceMap, Span};
use std::collections::HashMap;

/// Defines that name defines go no deeper than this.
const MAX_DEPTH: usize = 32;
/// Most tokens that defines may be replaced with, in the whole configuration.
const MAX_EXPANDED: usize = 2_000_000;
/// Most defines.
const MAX_DEFINES: usize = 20_000;
/// Errors after which no more directives are read.
const MAX_ERRORS: usize = 100;
/// The version whose language this is, for `KAMAILIO_VERSION` and its like.
pub const VERSION: (u32, u32, u32) = (6, 0, 0);

/// A define as it was at the end of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Define {
    /// Its name.
    pub name: String,
    /// Its text as written; `None` if it has none.
    pub value: Option<String>,
}

/// A define in use.
pub(super) struct Entry {
    /// Where its text stands; `None` if it has none.
    pub(super) value: Option<Span>,
    /// The tokens of its text.
    tokens: Vec<Token>,
    /// Where it was made.
    made: Option<Span>,
}

/// The preprocessor's state.
pub struct Macros {
    pub(super) defines: HashMap<String, Entry>,
    names: Vec<String>,
    pub(super) rules: Vec<Rule>,
    /// File of texts that stand in no file.
    pub(super) scratch: u16,
    texts: Vec<(String, String)>,
    expanded: usize,
    /// `#!ifdef`s that are open, innermost last: where each stands, and whether its `#!else` has come.
    pub(super) open: Vec<(Span, bool)>,
}

impl Macros {
    /// Begins with the defines of the command line.
    pub(super) fn new(defines: &[String], map: &mut SourceMap, diags: &mut Diagnostics) -> Macros {
        let scratch = map.add("<preprocessor>", "");
        let mut macros = Macros {
            defines: HashMap::new(),
            names: Vec::new(),
            rules: Vec::new(),
            scratch,
            texts: Vec::new(),
            expanded: 0,
            open: Vec::new(),
        };
        let (x, y, z) = VERSION;
        for name in [format!("KAMAILIO_{x}"), format!("KAMAILIO_{x}_{y}"), format!("KAMAILIO_{x}_{y}_{z}")] {
            macros.set(&name, None, None, map, diags);
        }
        macros.set("KAMAILIO_VERSION", Some(&(x * 1_000_000 + y * 1000 + z).to_string()), None, map, diags);
        macros.set("OS_NAME", Some("\"linux\""), None, map, diags);
        for text in defines {
            match text.split_once('=') {
                Some((name, value)) => macros.set(name, Some(value), None, map, diags),
                None => macros.set(text, None, None, map, diags),
            }
        }
        macros
    }

    /// The defines in the order they were made.
    pub(super) fn into_list(self) -> Vec<Define> {
        let texts: HashMap<String, String> = self.texts.into_iter().collect();
        let known = self.names.into_iter().filter(|n| self.defines.contains_key(n));
        known.map(|name| Define { value: texts.get(&name).cloned(), name }).collect()
    }

    /// Makes or replaces a define with a text that stands in no file.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        made: Option<Span>,
        map: &mut SourceMap,
        diags: &mut Diagnostics,
    ) {
        let value = value.filter(|v| !v.is_empty()).map(|v| map.append(self.scratch, v));
        self.place(name, value, made, map, diags);
    }

    /// Makes or replaces a define whose text stands at `value`.
    pub(super) fn place(
        &mut self,
        name: &str,
        value: Option<Span>,
        made: Option<Span>,
        map: &SourceMap,
        diags: &mut Diagnostics,
    ) {
        if self.defines.len() >= MAX_DEFINES {
            return;
        }
        let mut tokens = Vec::new();
        self.texts.retain(|(n, _)| n != name);
        if let Some(at) = value {
            let text = map.text(at);
            self.texts.push((name.to_owned(), text.to_owned()));
            lex_part(at.file, text, 0, diags, &mut tokens);
            for t in &mut tokens {
                let moved = Span { file: at.file, start: t.text.start + at.start, end: t.text.end + at.start };
                (t.text, t.span) = (moved, moved);
            }
        }
        if !self.names.iter().any(|n| n == name) {
            self.names.push(name.to_owned());
        }
        self.defines.insert(name.to_owned(), Entry { value, tokens, made });
    }

    /// What an expression of the preprocessor sees of a name.
    pub(super) fn worth(&self, name: &str, map: &SourceMap) -> Worth {
        match self.defines.get(name) {
            None => Worth::Number(0),
            Some(Entry { value: None, .. }) => Worth::Number(1),
            Some(Entry { value: Some(at), .. }) => {
                let text = map.text(*at).trim();
                match text.parse() {
                    Ok(n) => Worth::Number(n),
                    Err(_) => Worth::Text(text.trim_matches(['"', '\'']).to_owned()),
                }
            }
        }
    }
}

impl Reader<'_> {
    /// The tokens of a file, and what its directives ask for.
    pub(super) fn macro_file(&mut self, file: u16) {
        let outer = self.macros.as_mut().map(|m| std::mem::take(&mut m.open)).unwrap_or_default();
        let mut at = 0;
        while self.diags.count(Severity::Error) < MAX_ERRORS {
            let mut list = Vec::new();
            let stop = match self.map.files().get(usize::from(file)) {
                Some(f) => lex_part(file, &f.text, at, self.diags, &mut list),
                None => None,
            };
            self.take(&list);
            let Some(stop) = stop else { break };
            at = self.directive(file, stop);
        }
        let Some(macros) = self.macros.as_mut() else { return };
        if let Some((span, _)) = macros.open.first() {
            let d = Diagnostic::error("E0014", *span, "this condition is never ended");
            self.diags.push(d.label("no `#!endif` for it in this file"));
        }
        macros.open = outer;
    }

    /// Takes over tokens of a file: defines are replaced, includes read.
    fn take(&mut self, list: &[Token]) {
        let mut list = list.iter().copied().peekable();
        while let Some(token) = list.next() {
            if token.kind != Kind::Ident {
                let token = self.substituted(token);
                self.out.push(token);
                continue;
            }
            let optional = match self.map.text(token.text) {
                "include_file" => false,
                "import_file" => true,
                "loadmodule" | "loadmodulex" => {
                    self.out.push(token);
                    let open = list.next_if(|t| t.kind == Kind::LParen);
                    self.out.extend(open);
                    if let Some(name) = list.next_if(Token::is_str) {
                        let name = self.substituted(name);
                        self.note_module(name);
                        self.out.push(name);
                    }
                    continue;
                }
                _ => {
                    self.expand(token, token.span, &mut Vec::new());
                    continue;
                }
            };
            match list.next_if(Token::is_str) {
                Some(name) => {
                    let name = self.substituted(name);
                    self.include(token.span, name, optional);
                }
                None => self.nameless(token),
            }
        }
    }

    /// `MOD_name` for a module that is loaded.
    fn note_module(&mut self, name: Token) {
        let path = String::from_utf8_lossy(&decode(self.map.text(name.text))).into_owned();
        let module = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".so").to_owned();
        if let Some(macros) = &mut self.macros {
            macros.place(&format!("MOD_{module}"), None, Some(name.span), self.map, self.diags);
        }
    }

    /// A word in use at `span`: replaced if it is a define, also in the texts of defines.
    fn expand(&mut self, token: Token, span: Span, inside: &mut Vec<String>) {
        let word = self.map.text(token.text);
        let found = self.macros.as_ref().and_then(|m| m.defines.get(word));
        let Some(entry) = found.filter(|_| token.kind == Kind::Ident) else {
            let token = self.substituted(token);
            self.out.push(Token { span, ..token });
            return;
        };
        let (word, tokens, made) = (word.to_owned(), entry.tokens.clone(), entry.made);
        let mut trouble = None;
        if inside.contains(&word) {
            trouble = Some(format!("`{word}` is defined by itself"));
        } else if inside.len() >= MAX_DEPTH {
            trouble = Some(format!("defines name each other more than {MAX_DEPTH} deep"));
        } else if let Some(macros) = &mut self.macros {
            macros.expanded += tokens.len();
            if macros.expanded > MAX_EXPANDED {
                // Told once: from here on they stay as they are.
                macros.defines.clear();
                trouble = Some(format!("defines stand for more than {MAX_EXPANDED} words in all"));
            }
        }
        if let Some(message) = trouble {
            let mut d = Diagnostic::error("E0013", span, message);
            if let Some(made) = made {
                d = d.related(made, "defined here");
            }
            self.out.push(Token { kind: Kind::Bad, span, text: span });
            return self.diags.push(d);
        }
        inside.push(word);
        for t in tokens {
            self.expand(t, span, inside);
        }
        inside.pop();
    }

    /// Carries out the directive at byte `at` of a file; gives the place where reading goes on.
    fn directive(&mut self, file: u16, at: usize) -> usize {
        let Some(f) = self.map.files().get(usize::from(file)) else { return usize::MAX };
        let Some((word, end)) = directive_at(&f.text, at) else { return at + 2 };
        let line_end = logical_end(&f.text, end);
        let rest = f.text.get(end..line_end).unwrap_or_default();
        let skipped = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let span = |from: usize, to: usize| Span { file, start: from as u32, end: to as u32 };
        let argument = span(end + skipped, end + skipped + rest[skipped..].trim_end().len());
        let head = span(at, end);
        match word {
            // The words stand for themselves.
            "include_file" | "import_file" => return at + 2,
            "ifdef" | "ifndef" | "ifexp" | "else" | "endif" => return self.condition(word, head, argument, line_end),
            "subst" | "substdef" | "substdefs" => return self.rule(word, head, argument, line_end),
            "undefine" | "undef" | "tryundefine" | "tryundef" => {
                if let Some((name, _)) = self.name(word, head, argument) {
                    let known = self.macros.as_mut().is_some_and(|m| m.defines.remove(&name).is_some());
                    if !known && !word.starts_with("try") {
                        let d = Diagnostic::error("E0013", argument, format!("`{name}` is not defined"));
                        self.diags.push(d.help("`#!tryundef` does not mind"));
                    }
                }
            }
            _ => self.define(word, head, argument),
        }
        line_end
    }

    /// `#!define NAME text` and its relatives.
    fn define(&mut self, word: &'static str, head: Span, argument: Span) {
        let Some((name, rest)) = self.name(word, head, argument) else { return };
        let (kind, mode) = match word.strip_prefix("try") {
            Some(kind) => (kind, "try"),
            None => match word.strip_prefix("re") {
                Some(kind) => (kind, "re"),
                None => (word, ""),
            },
        };
        let before = self.macros.as_ref().and_then(|m| m.defines.get(&name));
        if let Some(before) = before {
            match mode {
                "try" => return,
                "re" => {}
                // A command line's define is there to be used instead.
                _ if before.made.is_none() => {
                    let d = Diagnostic::error("E0013", argument, format!("`{name}` is defined already"))
                        .label("by the command line, or by the language itself")
                        .help("`#!trydef` leaves it as it is, `#!redef` replaces it");
                    return self.diags.push(d);
                }
                _ => {
                    let d = Diagnostic::error("E0013", argument, format!("`{name}` is defined twice"))
                        .help("`#!trydef` leaves it as it is, `#!redef` replaces it");
                    let d = match before.made {
                        Some(made) => d.related(made, "the first one"),
                        None => d,
                    };
                    return self.diags.push(d);
                }
            }
        }
        let Reader { map, diags, macros: Some(macros), loader, .. } = self else { return };
        let quoted = |text: String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let text = match kind {
            "defexp" | "defexps" => {
                let value = match evaluate(rest, macros, map) {
                    Ok(value) => value.to_string(),
                    Err(why) => {
                        let d = Diagnostic::error("E0015", rest, "this expression has no value").label(why);
                        return diags.push(d);
                    }
                };
                if kind == "defexps" { quoted(value) } else { value }
            }
            "defenv" | "defenvs" => {
                let variable = map.text(rest).strip_prefix('=').map_or(name.as_str(), str::trim).to_owned();
                match loader.env(&variable) {
                    Some(value) if kind == "defenvs" => quoted(value),
                    Some(value) => value,
                    None if mode == "try" => return,
                    None => {
                        let text = format!("the environment has no variable `{variable}`");
                        let d = Diagnostic::error("E0013", argument, text).help("`#!trydefenv` does not mind");
                        return diags.push(d);
                    }
                }
            }
            _ => {
                let value = (rest.start < rest.end).then_some(rest);
                return macros.place(&name, value, Some(argument), map, diags);
            }
        };
        macros.set(&name, Some(&text), Some(argument), map, diags);
    }

    /// The name at the start of a directive's argument, and where the rest of that stands.
    pub(super) fn name(&mut self, word: &str, head: Span, argument: Span) -> Option<(String, Span)> {
        let text = self.map.text(argument);
        let len = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let name = text.get(..len).unwrap_or_default().to_owned();
        let after = text.get(len..).unwrap_or_default();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || after.starts_with('-') {
            let d = Diagnostic::error("E0015", head.to(argument), format!("`#!{word}` without a name"))
                .label("a word of letters, digits and `_` must follow");
            self.diags.push(d);
            return None;
        }
        let blank = after.len() - after.trim_start().len();
        let start = argument.start + (len + blank) as u32;
        Some((name, Span { start: start.min(argument.end), ..argument }))
    }
}

/// The end of the line that byte `from` stands in; a `\` before the line's end joins the next one.
fn logical_end(text: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(n) = text.get(at..).and_then(|t| t.find('\n')) {
        let line = text.get(from..at + n).unwrap_or_default();
        at += n;
        if !line.trim_end_matches('\r').ends_with('\\') {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests;
