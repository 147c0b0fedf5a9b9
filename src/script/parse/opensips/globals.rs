//! `name = value` outside of routes: the value is parsed by the type of its parameter.

use super::Parser;
use super::params::{self, CoreParam, ParamType, Status};
use crate::script::ast::{Config, Global, GlobalValue, Ident, Item, StrLit};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::boolean;
use crate::script::parse::sockets;
use crate::script::source::Span;

impl Parser<'_> {
    /// A core parameter; the next two tokens are a word and an assignment operator.
    pub(super) fn global(&mut self, config: &mut Config) -> Parsed<()> {
        let name = self.c.bump();
        let op = self.c.bump();
        let word = self.c.text(name.span);
        let Some(param) = params::find(word) else {
            let mut d = Diagnostic::error("E0501", name.span, format!("unknown core parameter `{word}`"));
            if let Some(near) = params::suggest(word) {
                d = d.help(format!("did you mean `{near}`?"));
            }
            let result = self.c.error(d);
            self.skip_value();
            return result.or(Ok(()));
        };
        if self.c.text(op.span) != "=" {
            let d = Diagnostic::error("E0101", op.span, "expected `=` behind the name of a core parameter");
            return self.c.error(d);
        }
        let mut values = Vec::new();
        self.values(param, name, &mut values)?;
        let end = self.c.last_span();
        if let Status::Ignored(why) = param.status {
            let d = Diagnostic::note("W0501", name.span, format!("`{word}` has no effect here")).label(why);
            self.c.warn(d);
        }
        for value in values {
            let span = name.span.to(end);
            let name = Ident { text: param.canonical().to_owned(), span: name.span };
            config.items.push(Item::Global(Global { name, value, span }));
        }
        Ok(())
    }

    fn values(&mut self, param: &CoreParam, name: Token, out: &mut Vec<GlobalValue>) -> Parsed<()> {
        let start = self.c.peek();
        let value = match param.ty {
            ParamType::Bool => self.int_value(param, 0, 1)?,
            ParamType::Int(low, high) => self.int_value(param, low, high)?,
            ParamType::Str => match self.c.joined_strings() {
                Some(text) => GlobalValue::Str(text),
                None => return self.mistyped(param, "a string in quotes"),
            },
            ParamType::Word(words) => self.word_value(param, words)?,
            ParamType::IntOrWord(words) => {
                if matches!(start.kind, Kind::Int(_) | Kind::Op(_)) {
                    self.int_value(param, 0, 255)?
                } else {
                    self.word_value(param, words)?
                }
            }
            ParamType::Host => self.host_value(param)?,
            ParamType::Socket => loop {
                let spec = sockets::socket(&mut self.c, sockets::OPENSIPS)?;
                out.push(GlobalValue::Socket(spec));
                if !self.another_value() {
                    return Ok(());
                }
            },
            ParamType::Names => {
                let mut list = Vec::new();
                loop {
                    list.push(sockets::alias(&mut self.c)?);
                    if !self.another_value() {
                        break;
                    }
                }
                GlobalValue::List(list)
            }
            ParamType::Blacklist => self.blacklist()?,
            ParamType::Scaling => self.scaling(name)?,
        };
        out.push(value);
        let next = self.c.peek();
        let ends = matches!(next.kind, Kind::Semi | Kind::Eof | Kind::Ident | Kind::RBrace) || !self.c.same_line();
        if !ends {
            let found = self.c.found();
            let d = Diagnostic::error("E0101", next.span, format!("unexpected {found} behind the value"));
            return self.c.error(d);
        }
        Ok(())
    }

    /// Whether the list goes on: behind a comma, or with another value on the same line.
    fn another_value(&mut self) -> bool {
        if self.c.eat(Kind::Comma).is_some() {
            return true;
        }
        let value = matches!(self.c.kind(), Kind::Ident | Kind::Net | Kind::Int(_) | Kind::Word | Kind::LBracket)
            || self.c.peek().is_str();
        value && self.c.same_line() && !matches!(self.c.peek_at(1).kind, Kind::Assign(_)) && !self.at_item()
    }

    fn int_value(&mut self, param: &CoreParam, low: i64, high: i64) -> Parsed<GlobalValue> {
        let start = self.c.peek();
        let what = if param.ty == ParamType::Bool { "`yes` or `no`" } else { "a number" };
        let Some(n) = self.number()? else { return self.mistyped(param, what) };
        let span = self.c.since(start.span);
        if !(low..=high).contains(&n) {
            let d = Diagnostic::error("E0503", span, format!("`{}` cannot be {n}", param.name)).label(
                if param.ty == ParamType::Bool {
                    "`yes` or `no` is expected".into()
                } else {
                    format!("{low} to {high}")
                },
            );
            return self.c.error(d);
        }
        Ok(GlobalValue::Int(n, span))
    }

    fn word_value(&mut self, param: &CoreParam, words: &[&'static str]) -> Parsed<GlobalValue> {
        let token = self.c.peek();
        let text = match token.kind {
            Kind::Ident => self.c.text(token.span).to_owned(),
            Kind::Str | Kind::RawStr => String::from_utf8_lossy(&self.c.str_lit(token).text).into_owned(),
            _ => return self.mistyped(param, "a word"),
        };
        self.c.bump();
        if !words.is_empty() && !words.contains(&text.as_str()) {
            let mut d = Diagnostic::error("E0503", token.span, format!("`{}` cannot be `{text}`", param.name));
            d = match crate::base::names::suggest(&text, words.iter().copied()) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d.help(format!("one of: {}", words.join(", "))),
            };
            return self.c.error(d);
        }
        Ok(GlobalValue::Ident(Ident { text, span: token.span }))
    }

    /// A host name or address: as a string literal in the tree, also if written without quotes.
    fn host_value(&mut self, param: &CoreParam) -> Parsed<GlobalValue> {
        if let Some(text) = self.c.joined_strings() {
            return Ok(GlobalValue::Str(text));
        }
        match sockets::bare_word(&mut self.c) {
            Some((text, span)) => Ok(GlobalValue::Str(StrLit { text: text.into_bytes(), span, raw: true })),
            None => self.mistyped(param, "a host name or an address"),
        }
    }

    /// The value has the wrong type.
    fn mistyped<T>(&mut self, param: &CoreParam, wanted: &str) -> Parsed<T> {
        let token = self.c.peek();
        let found = self.c.found();
        let mut d = Diagnostic::error("E0502", token.span, format!("`{}` takes {wanted}, not {found}", param.name));
        let text = self.c.text(token.span);
        let inner = text.trim_matches(['"', '\'']);
        let numeric = inner.parse::<i64>().is_ok() || boolean(inner).is_some();
        if token.is_str() && numeric && matches!(param.ty, ParamType::Int(..) | ParamType::Bool) {
            d = d.help(format!("write it without quotes: {} = {inner}", param.name));
        } else if param.ty == ParamType::Str && !token.is_str() && token.kind != Kind::Eof {
            d = d.help("write it in quotes");
        }
        let result = self.c.error(d);
        self.skip_value();
        result
    }

    /// Skips a value nobody can read: to the `;` or the end of the line.
    fn skip_value(&mut self) {
        let mut first = true;
        while (first || self.c.same_line())
            && !matches!(self.c.kind(), Kind::Semi | Kind::Eof | Kind::LBrace | Kind::RBrace)
            && !self.at_item()
        {
            first = false;
            self.c.bump();
        }
    }

    /// `name : { ( ... ), !( ... ) }`, kept as text.
    fn blacklist(&mut self) -> Parsed<GlobalValue> {
        let start = self.c.expect(Kind::Ident, "the name of the list")?;
        self.c.expect(Kind::Colon, "`:`")?;
        let open = self.c.expect(Kind::LBrace, "`{` with the rules")?;
        while self.c.kind() != Kind::RBrace {
            if matches!(self.c.kind(), Kind::Eof | Kind::LBrace) || self.at_item() {
                let d =
                    Diagnostic::error("E0103", open.span, "this block is never closed").label("no `}` for this `{`");
                return self.c.error(d);
            }
            self.c.bump();
        }
        self.c.bump();
        Ok(GlobalValue::Raw(self.raw(start.span)))
    }

    /// `NAME scale up to N on P% for C cycles ...`, kept as text: words, numbers and `%`.
    fn scaling(&mut self, name: Token) -> Parsed<GlobalValue> {
        let start = self.c.expect(Kind::Ident, "the name of the profile")?;
        loop {
            let more = match self.c.kind() {
                Kind::Ident => !matches!(self.c.peek_at(1).kind, Kind::Assign(_)) && !self.at_item(),
                Kind::Int(_) | Kind::Op(_) => true,
                _ => false,
            };
            if !more || matches!(self.c.word(), "loadmodule" | "modparam") {
                break;
            }
            self.c.bump();
        }
        let raw = self.raw(start.span);
        if raw.span == start.span {
            let d = Diagnostic::error("E0502", name.span, "a scaling profile without a rule")
                .help("NAME scale up to N on P% for C cycles");
            return self.c.error(d);
        }
        Ok(GlobalValue::Raw(raw))
    }

    fn raw(&self, start: Span) -> Ident {
        let span = self.c.since(start);
        Ident { text: self.c.text(span).to_owned(), span }
    }
}
