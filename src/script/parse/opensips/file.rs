//! The top level: a sequence of assignments, `loadmodule`, `modparam` and route blocks.

use super::{Parser, ROUTE_WORDS};
use crate::script::ast::{Config, GlobalValue, Item};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::Kind;
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::Front;

impl Parser<'_> {
    /// One part of the top level.
    pub(super) fn item(&mut self, config: &mut Config) -> Parsed<()> {
        let token = self.c.peek();
        let word = self.c.word();
        let next = self.c.peek_at(1).kind;
        match (word, next) {
            ("loadmodule", _) => {
                let item = self.load_module()?;
                config.items.push(item);
            }
            ("modparam", _) => {
                let item = self.mod_param()?;
                config.items.push(item);
            }
            (w, _) if ROUTE_WORDS.contains(&w) => {
                let route = self.route_block()?;
                config.items.push(Item::Route(route));
            }
            ("", _) if token.kind == Kind::RBrace => return self.stray_brace(),
            ("", _) => return self.c.unexpected("a core parameter, `loadmodule`, `modparam` or a route"),
            (_, Kind::Assign(_)) => self.global(config)?,
            (w @ ("if" | "else" | "while" | "switch" | "for" | "return" | "exit" | "drop"), _) => {
                return self.outside(format!("`{w}` outside of a route"));
            }
            (w, Kind::LParen) => return self.outside(format!("call of `{w}` outside of a route")),
            (w, _) => return self.unknown_word(w),
        }
        Ok(())
    }

    fn unknown_word(&mut self, word: &str) -> Parsed<()> {
        let span = self.c.peek().span;
        let known = ROUTE_WORDS.iter().take(9).copied().chain(["loadmodule", "modparam"]);
        let mut d = Diagnostic::error("E0101", span, format!("unexpected `{word}`"))
            .label("a core parameter, `loadmodule`, `modparam` or a route is expected here");
        match crate::base::names::suggest(word, known) {
            Some(near) => d = d.help(format!("did you mean `{near}`?")),
            None if super::params::find(word).is_some() => d = d.help(format!("write `{word} = VALUE`")),
            None => {}
        }
        self.c.error(d)
    }

    fn load_module(&mut self) -> Parsed<Item> {
        let start = self.c.bump().span;
        let Some(file) = self.c.joined_strings() else {
            return self.c.unexpected("the module's file name in quotes");
        };
        Ok(Item::LoadModule { file, span: self.c.since(start) })
    }

    fn mod_param(&mut self) -> Parsed<Item> {
        let start = self.c.bump().span;
        let open = self.c.expect(Kind::LParen, "`(`")?;
        let Some(module) = self.c.joined_strings() else { return self.c.unexpected("the module's name in quotes") };
        self.c.expect(Kind::Comma, "`,`")?;
        let Some(name) = self.c.joined_strings() else { return self.c.unexpected("the parameter's name in quotes") };
        self.c.expect(Kind::Comma, "`,`")?;
        let value = match self.c.joined_strings() {
            Some(text) => GlobalValue::Str(text),
            None => {
                let from = self.c.peek().span;
                let Some(n) = self.number()? else { return self.c.unexpected("a number or a string") };
                if self.c.kind() == Kind::Dot {
                    let d = Diagnostic::error("E0007", self.c.since(from), "a fraction is no number here")
                        .help("write it as a string, in quotes");
                    return self.c.error(d);
                }
                GlobalValue::Int(n, self.c.since(from))
            }
        };
        self.c.close(open);
        Ok(Item::ModParam { module, name, value, span: self.c.since(start) })
    }

    /// A number with optional sign, or a boolean word; `None` if neither stands here.
    pub(super) fn number(&mut self) -> Parsed<Option<i64>> {
        match self.signed_number()? {
            Some((n, token)) if n > i64::from(i32::MAX) => {
                let d = Diagnostic::error("E0007", token.span, "the number is too large")
                    .label("numbers have 32 bits: at most 2147483647");
                self.c.error(d)
            }
            found => Ok(found.map(|(n, _)| n)),
        }
    }

    /// Whether something stands here that can only be at the top level.
    pub(super) fn at_item(&self) -> bool {
        match (self.c.word(), self.c.peek_at(1).kind) {
            ("", _) => false,
            ("route", Kind::LBrace | Kind::LBracket) => true,
            ("route", _) => false,
            ("loadmodule", Kind::Str | Kind::RawStr) => true,
            ("modparam", Kind::LParen) => self.c.peek_at(2).is_str(),
            (w, Kind::LBrace | Kind::LBracket) => ROUTE_WORDS.contains(&w),
            _ => false,
        }
    }
}
