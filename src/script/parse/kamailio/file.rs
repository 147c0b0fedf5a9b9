//! The top level: assignments, `loadmodule`, `modparam` and their relatives, route blocks.

use super::{Parser, ROUTE_WORDS};
use crate::base::names::suggest;
use crate::script::ast::{Config, Global, GlobalValue, Ident, Item, StrLit};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::Kind;
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::Front;
use crate::script::source::Span;

impl Parser<'_> {
    /// The whole file; errors are reported and skipped.
    pub(super) fn config(&mut self) -> Config {
        let mut config = self.items();
        self.fill_ports(&mut config);
        config
    }

    /// One part of the top level.
    pub(super) fn item(&mut self, config: &mut Config) -> Parsed<()> {
        let token = self.c.peek();
        let word = self.c.word();
        let next = self.c.peek_at(1).kind;
        match (word, next) {
            ("loadmodule" | "loadmodulex", _) => {
                let item = self.load_module()?;
                config.items.push(item);
            }
            ("loadpath" | "mpath", _) => {
                let item = self.load_path()?;
                config.items.push(item);
            }
            ("modparam" | "modparamx", _) => {
                let item = self.mod_param()?;
                config.items.push(item);
            }
            ("cfgengine", _) => self.engine()?,
            ("flags" | "bool" | "avpflags", Kind::Ident | Kind::Str | Kind::RawStr) => self.flag_names()?,
            (w, _) if ROUTE_WORDS.contains(&w) => {
                let route = self.route_block()?;
                config.items.push(Item::Route(route));
            }
            ("", _) if token.kind == Kind::RBrace => return self.stray_brace(),
            ("", _) => return self.c.unexpected("a core parameter, `loadmodule`, `modparam` or a route"),
            (_, Kind::Assign(_)) => self.global(config)?,
            (_, Kind::Dot | Kind::LBracket) => self.custom(config)?,
            (w @ ("if" | "else" | "while" | "switch" | "return" | "exit" | "drop"), _) => {
                return self.outside(format!("`{w}` outside of a route"));
            }
            (w, Kind::LParen) => return self.outside(format!("call of `{w}` outside of a route")),
            (w, _) => return self.unknown_word(w),
        }
        Ok(())
    }

    fn unknown_word(&mut self, word: &str) -> Parsed<()> {
        let span = self.c.peek().span;
        let known = ROUTE_WORDS.into_iter().chain(["loadmodule", "modparam", "loadpath"]);
        let mut d = Diagnostic::error("E0101", span, format!("unexpected `{word}`"))
            .label("a core parameter, `loadmodule`, `modparam` or a route is expected here");
        match suggest(word, known) {
            Some(near) => d = d.help(format!("did you mean `{near}`?")),
            None if super::params::find(word).is_some() => d = d.help(format!("write `{word} = VALUE`")),
            None if word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') => {
                d = d.help("is a `#!define` of this name missing?");
            }
            None => {}
        }
        self.c.error(d)
    }

    /// `loadmodule "x.so"`, also in parentheses and with options.
    fn load_module(&mut self) -> Parsed<Item> {
        let start = self.c.bump().span;
        let open = self.c.eat(Kind::LParen);
        let Some(file) = self.c.joined_strings() else {
            return self.c.unexpected("the module's file name in quotes");
        };
        if let Some(open) = open {
            if self.c.eat(Kind::Comma).is_some() && self.c.joined_strings().is_none() {
                return self.c.unexpected("the module's options in quotes");
            }
            self.c.close(open);
        }
        Ok(Item::LoadModule { file, span: self.c.since(start) })
    }

    /// `loadpath "a:b"`, `mpath = "a"`
    fn load_path(&mut self) -> Parsed<Item> {
        let word = self.c.bump();
        let open = self.c.eat(Kind::LParen);
        if open.is_none() && matches!(self.c.kind(), Kind::Assign(_)) {
            self.c.bump();
        }
        let Some(path) = self.c.joined_strings() else { return self.c.unexpected("the folder in quotes") };
        if let Some(open) = open {
            self.c.close(open);
        }
        let name = Ident { text: "mpath".into(), span: word.span };
        Ok(Item::Global(Global { name, value: GlobalValue::Str(path), span: self.c.since(word.span) }))
    }

    fn mod_param(&mut self) -> Parsed<Item> {
        let start = self.c.bump().span;
        let open = self.c.expect(Kind::LParen, "`(`")?;
        let Some(module) = self.c.joined_strings() else { return self.c.unexpected("the module's name in quotes") };
        self.c.expect(Kind::Comma, "`,`")?;
        let Some(name) = self.c.joined_strings() else { return self.c.unexpected("the parameter's name in quotes") };
        self.c.expect(Kind::Comma, "`,`")?;
        let value = match self.scalar()? {
            Some(value) => value,
            None => return self.c.unexpected("a number or a string"),
        };
        self.c.close(open);
        Ok(Item::ModParam { module, name, value, span: self.c.since(start) })
    }

    /// A string, a number, or a variable as its text; `None` if none stands here.
    pub(super) fn scalar(&mut self) -> Parsed<Option<GlobalValue>> {
        if let Some(text) = self.c.joined_strings() {
            return Ok(Some(GlobalValue::Str(text)));
        }
        let token = self.c.peek();
        if token.kind == Kind::Var {
            self.c.bump();
            let text = self.c.token_text(token).as_bytes().to_vec();
            return Ok(Some(GlobalValue::Str(StrLit { text, span: token.span, raw: true })));
        }
        Ok(self.number()?.map(|n| GlobalValue::Int(n, self.c.since(token.span))))
    }

    /// A number with optional sign, or a boolean word; `None` if neither stands here.
    pub(super) fn number(&mut self) -> Parsed<Option<i64>> {
        Ok(self.signed_number()?.map(|(n, _)| n))
    }

    /// `cfgengine "native"`
    fn engine(&mut self) -> Parsed<()> {
        self.c.bump();
        if matches!(self.c.kind(), Kind::Assign(_)) {
            self.c.bump();
        }
        let Some(name) = self.c.joined_strings() else { return self.c.unexpected("the engine's name in quotes") };
        if name.text != b"native" && name.text != b"default" {
            let shown = String::from_utf8_lossy(&name.text).into_owned();
            let d = Diagnostic::error("E0126", name.span, format!("routes in the language `{shown}` are not run"))
                .help("only the native language is; the routes stand in this file then");
            return self.c.error(d);
        }
        Ok(())
    }

    /// `flags NAME[:NUMBER], ...`
    fn flag_names(&mut self) -> Parsed<()> {
        let word = self.c.bump();
        let avps = self.c.token_text(word) == "avpflags";
        loop {
            let name = self.literal_name("the name of a flag")?;
            let number = if matches!(self.c.kind(), Kind::Colon) {
                self.c.bump();
                match self.c.kind() {
                    Kind::Int(n @ 0..=31) => {
                        self.c.bump();
                        n
                    }
                    _ => return self.c.unexpected("a number from 0 to 31"),
                }
            } else {
                (0..32).rev().find(|n| !self.flags.iter().any(|(_, used)| used == n)).unwrap_or(0)
            };
            if !avps && self.flags.len() < 64 {
                self.flags.push((name.text, number));
            }
            if self.c.eat(Kind::Comma).is_none() {
                return Ok(());
            }
        }
    }

    /// `group.name = value desc "text"`, `group[instance].name = value`
    fn custom(&mut self, config: &mut Config) -> Parsed<()> {
        let group = self.c.bump();
        let mut name = self.c.token_text(group).to_owned();
        let mut instance = false;
        if let Some(open) = self.c.eat(Kind::LBracket) {
            let key = self.literal_name("the instance")?;
            name.push_str(&format!("[{}]", key.text));
            self.c.close(open);
            instance = true;
        }
        if self.c.eat(Kind::Dot).is_some() {
            let token = self.c.expect(Kind::Ident, "the name of the parameter")?;
            name.push('.');
            name.push_str(self.c.token_text(token));
        } else if !(instance && name.starts_with("coreparam[")) {
            return self.c.unexpected("`.` and the name of the parameter");
        }
        let span = self.c.since(group.span);
        if !matches!(self.c.kind(), Kind::Assign(_)) {
            return self.c.unexpected("`=`");
        }
        self.c.bump();
        let value = match self.scalar()? {
            Some(value) => value,
            None => return self.c.unexpected("a number or a string"),
        };
        if matches!(self.c.word(), "desc" | "descr" | "description") && self.c.peek_at(1).is_str() {
            self.c.bump();
            self.c.joined_strings();
        }
        if name.starts_with("kemi.") || name.starts_with("coreparam[") {
            return Ok(());
        }
        config.items.push(Item::Custom { name: Ident { text: name, span }, value, span: self.c.since(group.span) });
        Ok(())
    }

    /// Whether something stands here that can only be at the top level.
    pub(super) fn at_item(&self) -> bool {
        match (self.c.word(), self.c.peek_at(1).kind) {
            ("", _) => false,
            ("route", Kind::LBrace | Kind::LBracket) => true,
            ("route", _) => false,
            ("loadmodule" | "loadmodulex", Kind::Str | Kind::RawStr) => true,
            ("modparam" | "modparamx", Kind::LParen) => self.c.peek_at(2).is_str(),
            (w, Kind::LBrace | Kind::LBracket) => ROUTE_WORDS.contains(&w),
            _ => false,
        }
    }

    /// The text of tokens from `start` on, as written.
    pub(super) fn raw(&self, start: Span) -> Ident {
        let span = self.c.since(start);
        Ident { text: self.c.text(span).to_owned(), span }
    }
}
