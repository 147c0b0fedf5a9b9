//! `#!subst`, `#!substdef`, `#!substdefs`: replacement in every string, variable and file name that follows.

use super::{MAX_FILE, Reader};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token, decode, lex_part};
use crate::script::pattern::compile_subst;
use crate::script::registry::Subst;
use crate::script::source::Span;

/// Most rules.
const MAX_RULES: usize = 1000;
/// Longest text a rule makes, in bytes.
const MAX_TEXT: usize = 1 << 16;

/// One substitution.
pub(super) struct Rule(Subst);

impl Reader<'_> {
    /// Carries out `#!subst "/re/text/flags"` or `#!substdef "/NAME/text/"`; gives the place where reading goes on.
    pub(super) fn rule(&mut self, word: &str, head: Span, argument: Span, line_end: usize) -> usize {
        let mut tokens = Vec::new();
        lex_part(argument.file, self.map.text(argument), 0, self.diags, &mut tokens);
        let Some(text) = tokens.first().filter(|t| t.is_str()) else {
            let d = Diagnostic::error("E0015", head.to(argument), format!("`#!{word}` without a string"))
                .help(format!("write #!{word} \"/PATTERN/TEXT/\""));
            self.diags.push(d);
            return line_end;
        };
        let text = self.map.text(argument).get(text.text.start as usize..text.text.end as usize).unwrap_or_default();
        let text = decode(text);
        let text = self.with_variables(&text);
        let subst = match compile_subst(&text) {
            Ok(subst) => subst,
            Err(why) => {
                let d = Diagnostic::error("E0015", argument, "this is no substitution").label(why);
                self.diags.push(d);
                return line_end;
            }
        };
        if word != "subst" {
            self.define_rule(word, &text, &subst, argument);
        }
        if let Some(macros) = &mut self.macros
            && macros.rules.len() < MAX_RULES
        {
            macros.rules.push(Rule(subst));
        }
        line_end
    }

    /// The define that comes with a rule.
    fn define_rule(&mut self, word: &str, text: &[u8], subst: &Subst, at: Span) {
        let separator = text.first().copied().unwrap_or(b'/');
        let name = text.get(1..).unwrap_or_default().split(|b| *b == separator).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || name.is_empty() {
            let d = Diagnostic::error("E0015", at, format!("`{name}` is no name to define"));
            return self
                .diags
                .push(d.label("a word of letters, digits and `_` stands between the first two separators"));
        }
        let value = subst.replacement.to_lossy().into_owned();
        let value = if word == "substdefs" { format!("\"{value}\"") } else { value };
        if let Some(macros) = &mut self.macros {
            macros.set(&name, Some(&value), Some(at), self.map, self.diags);
        }
    }

    /// `$env(NAME)` and `$def(NAME)` are replaced where they stand.
    fn with_variables(&self, text: &[u8]) -> Vec<u8> {
        let mut text = String::from_utf8_lossy(text).into_owned();
        for (open, env) in [("$env(", true), ("$def(", false)] {
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|t| t.find(open)).map(|n| n + from) {
                let Some(len) = text[at..].find(')') else { break };
                let name = text[at + open.len()..at + len].to_owned();
                let value = if env {
                    self.loader.env(&name).unwrap_or_default()
                } else {
                    self.macros.as_ref().map(|m| m.worth(&name, self.map).to_string()).unwrap_or_default()
                };
                text.replace_range(at..=at + len, &value);
                from = at + value.len();
            }
        }
        text.into_bytes()
    }

    /// A string or variable with the rules applied.
    pub(super) fn substituted(&mut self, token: Token) -> Token {
        let Some(macros) = &self.macros else { return token };
        if macros.rules.is_empty() || !matches!(token.kind, Kind::Str | Kind::RawStr | Kind::Var) {
            return token;
        }
        let whole = self.map.text(token.text);
        // The quotes of a string take no part.
        let quotes = usize::from(token.is_str());
        let (first, last) =
            (whole.get(..quotes).unwrap_or_default(), whole.get(whole.len() - quotes..).unwrap_or_default());
        let written = whole.get(quotes..whole.len() - quotes).unwrap_or_default();
        let mut text = written.as_bytes().to_vec();
        for Rule(subst) in &macros.rules {
            if let Some(new) = subst.apply(&text, &subst.replacement, MAX_TEXT) {
                text = new;
            }
        }
        if text == written.as_bytes() {
            return token;
        }
        let text = format!("{first}{}{last}", String::from_utf8_lossy(&text));
        let scratch = macros.scratch;
        self.total += text.len();
        if self.total > 4 * MAX_FILE {
            return token;
        }
        Token { text: self.map.append(scratch, &text), ..token }
    }
}
