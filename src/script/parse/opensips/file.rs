//! The top level: a sequence of assignments, `loadmodule`, `modparam` and route blocks.

use super::{Parser, ROUTE_WORDS};
use crate::script::ast::{Config, GlobalValue, Item};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::Kind;
use crate::script::parse::cursor::Parsed;

impl Parser<'_> {
    /// The whole file; errors are reported and skipped.
    pub(super) fn config(&mut self) -> Config {
        let mut config = Config::default();
        loop {
            let before = self.c.position();
            match self.c.kind() {
                Kind::Eof => return config,
                Kind::Semi => {
                    self.c.bump();
                    continue;
                }
                _ => {}
            }
            if self.item(&mut config).is_ok() {
                self.adrift = false;
            } else {
                if self.c.position() == before {
                    self.c.bump();
                }
                self.skip_item();
            }
        }
    }

    fn item(&mut self, config: &mut Config) -> Parsed<()> {
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

    /// A `}` that closes nothing.
    fn stray_brace(&mut self) -> Parsed<()> {
        let mut d = Diagnostic::error("E0104", self.c.peek().span, "`}` closes nothing");
        if let Some(end) = self.route {
            d = d.related(end.span, "the last route ended here already");
        }
        let result = self.c.error(d);
        self.c.bump();
        self.adrift = true;
        result
    }

    /// A statement at the top level.
    fn outside(&mut self, message: String) -> Parsed<()> {
        let mut d = Diagnostic::error("E0122", self.c.peek().span, message).label("statements stand in routes only");
        if let Some(end) = self.route {
            d = d.related(end.span, "the last route ends here: perhaps with a `}` too many");
        }
        self.adrift = true;
        self.c.error(d)
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
        use crate::script::ast::BinaryOp;
        if let Some(n) = super::boolean(self.c.word()) {
            self.c.bump();
            return Ok(Some(n));
        }
        let sign = match (self.c.kind(), self.c.peek_at(1).kind) {
            (Kind::Op(BinaryOp::Sub), Kind::Int(_)) => Some(-1),
            (Kind::Op(BinaryOp::Add), Kind::Int(_)) => Some(1),
            _ => None,
        };
        if sign.is_some() {
            self.c.bump();
        }
        let Kind::Int(n) = self.c.kind() else {
            return if self.c.kind() == Kind::Word { self.c.unexpected("a number") } else { Ok(None) };
        };
        let token = self.c.bump();
        let n = n * sign.unwrap_or(1);
        if n > i64::from(i32::MAX) {
            let d = Diagnostic::error("E0007", token.span, "the number is too large")
                .label("numbers have 32 bits: at most 2147483647");
            return self.c.error(d);
        }
        Ok(Some(n))
    }

    /// Skips to where the next top-level part may begin: what can only be one, or a line that begins
    /// with a word, or (in the rest of a route) with `name =`.
    fn skip_item(&mut self) {
        let mut depth = 0u32;
        loop {
            match self.c.kind() {
                Kind::Eof => return,
                Kind::LBrace => depth += 1,
                Kind::RBrace => depth = depth.saturating_sub(1),
                Kind::Semi if depth == 0 && !self.adrift => {
                    self.c.bump();
                    return;
                }
                Kind::Ident if self.at_item() || (depth == 0 && self.at_line_start()) => return,
                _ => {}
            }
            self.c.bump();
        }
    }

    fn at_line_start(&self) -> bool {
        if self.adrift { self.at_global() } else { !self.c.same_line() }
    }

    /// Whether the next token begins a line with `name =`.
    fn at_global(&self) -> bool {
        !self.c.same_line() && matches!(self.c.peek_at(1).kind, Kind::Assign(_))
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
