//! `name = value` outside of routes.

use super::Parser;
use super::params::{self, Meaning};
use crate::script::ast::{Config, Global, GlobalValue, Ident, Item, SocketSpec};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::Front;
use crate::script::parse::sockets;
use crate::script::source::Span;

impl Parser<'_> {
    /// A core parameter; the next two tokens are a word and an assignment operator.
    pub(super) fn global(&mut self, config: &mut Config) -> Parsed<()> {
        let name = self.c.bump();
        let op = self.c.bump();
        let word = self.c.token_text(name);
        if self.c.text(op.span) != "=" {
            let d = Diagnostic::error("E0101", op.span, "expected `=` behind the name of a core parameter");
            return self.c.error(d);
        }
        if word == "socket" {
            return self.socket_block(name, config);
        }
        let Some(meaning) = params::find(word) else {
            let mut d = Diagnostic::error("E0501", name.span, format!("unknown core parameter `{word}`"));
            if let Some(near) = params::suggest(word) {
                d = d.help(format!("did you mean `{near}`?"));
            }
            let result = self.c.error(d);
            self.skip_value();
            return result.or(Ok(()));
        };
        match meaning {
            Meaning::Socket => loop {
                let named = sockets::names_protocol(&self.c);
                let mut spec = sockets::socket(&mut self.c, sockets::KAMAILIO)?;
                self.push(config, name, "socket", GlobalValue::Socket(spec.clone()));
                // Without a protocol it is both.
                if !named {
                    spec.proto = "tcp".into();
                    self.push(config, name, "socket", GlobalValue::Socket(spec));
                }
                if !self.another_value() {
                    return Ok(());
                }
            },
            Meaning::Names => {
                let mut list = Vec::new();
                loop {
                    list.push(sockets::alias(&mut self.c)?);
                    if !self.another_value() {
                        break;
                    }
                }
                self.push(config, name, "alias", GlobalValue::List(list));
            }
            Meaning::Port => {
                let (n, span) = self.int_value(word)?;
                match u16::try_from(n) {
                    Ok(n) if n > 0 => self.port = Some((n, span)),
                    _ => {
                        let d = Diagnostic::error("E0503", span, format!("`port` cannot be {n}")).label("1 to 65535");
                        return self.c.error(d);
                    }
                }
            }
            Meaning::Ignored(why) => {
                self.any_value()?;
                let d = Diagnostic::note("W0501", name.span, format!("`{word}` has no effect here")).label(why);
                self.c.warn(d);
            }
            Meaning::Text(target) => {
                let value = self.text_value(word)?;
                self.push(config, name, target, value);
            }
            Meaning::Int(target) => {
                let (n, span) = self.int_value(word)?;
                self.push(config, name, target, GlobalValue::Int(n, span));
            }
            Meaning::Seconds(target) => {
                let (n, span) = self.int_value(word)?;
                self.push(config, name, target, GlobalValue::Int(n.saturating_mul(1000), span));
            }
            Meaning::Level => {
                let (n, span) = self.int_value(word)?;
                self.push(config, name, "log_level", GlobalValue::Int(level(n), span));
            }
        }
        self.end_of_value()
    }

    /// Gives `port` to the sockets that name none, wherever it stands.
    pub(super) fn fill_ports(&self, config: &mut Config) {
        let Some((port, span)) = self.port else { return };
        // For the sockets of a configuration that lists none.
        let (name, value) = (Ident { text: "port".to_owned(), span }, GlobalValue::Int(port.into(), span));
        config.items.push(Item::Global(Global { name, value, span }));
        for item in &mut config.items {
            if let Item::Global(Global { value: GlobalValue::Socket(spec), .. }) = item
                && spec.ports.is_empty()
            {
                spec.ports.push(port);
            }
        }
    }

    fn push(&mut self, config: &mut Config, name: Token, target: &str, value: GlobalValue) {
        let span = self.c.since(name.span);
        let name = Ident { text: target.to_owned(), span: name.span };
        config.items.push(Item::Global(Global { name, value, span }));
    }

    fn int_value(&mut self, word: &str) -> Parsed<(i64, Span)> {
        let start = self.c.peek();
        match self.number()? {
            Some(n) => Ok((n, self.c.since(start.span))),
            None => {
                let found = self.c.found();
                let mut d = Diagnostic::error("E0502", start.span, format!("`{word}` takes a number, not {found}"));
                let text = self.c.token_text(start).trim_matches(['"', '\'']);
                if start.is_str() && text.parse::<i64>().is_ok() {
                    d = d.help(format!("write it without quotes: {word} = {text}"));
                }
                let result = self.c.error(d);
                self.skip_value();
                result
            }
        }
    }

    /// A string, or a bare word or number as its text.
    fn text_value(&mut self, word: &str) -> Parsed<GlobalValue> {
        if let Some(text) = self.c.joined_strings() {
            return Ok(GlobalValue::Str(text));
        }
        let start = self.c.peek();
        if let Kind::Int(n) = start.kind
            && self.c.peek_at(1).kind != Kind::Dot
        {
            self.c.bump();
            return Ok(GlobalValue::Int(n, start.span));
        }
        if start.kind == Kind::Ident && self.c.peek_at(1).kind != Kind::Dot {
            self.c.bump();
            return Ok(GlobalValue::Ident(self.c.ident(start)));
        }
        match sockets::bare_word(&mut self.c) {
            Some((text, span)) => Ok(GlobalValue::Ident(Ident { text, span })),
            None => {
                let found = self.c.found();
                let d = Diagnostic::error("E0502", start.span, format!("`{word}` takes a text, not {found}"));
                let result = self.c.error(d);
                self.skip_value();
                result
            }
        }
    }

    /// A value nobody needs.
    fn any_value(&mut self) -> Parsed<()> {
        if self.scalar()?.is_some() {
            return Ok(());
        }
        let start = self.c.peek();
        if sockets::bare_word(&mut self.c).is_none() {
            return self.c.unexpected("a value");
        }
        let _ = self.raw(start.span);
        Ok(())
    }

    fn end_of_value(&mut self) -> Parsed<()> {
        let next = self.c.peek();
        if matches!(next.kind, Kind::Semi | Kind::Eof | Kind::Ident | Kind::RBrace) || !self.c.same_line() {
            return Ok(());
        }
        let found = self.c.found();
        self.c.error(Diagnostic::error("E0101", next.span, format!("unexpected {found} behind the value")))
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

    /// `socket = { bind = udp:10.0.0.1:5060; name = "s1"; ... }`
    fn socket_block(&mut self, name: Token, config: &mut Config) -> Parsed<()> {
        let open = self.c.expect(Kind::LBrace, "`{` with the socket's properties")?;
        let mut spec: Option<SocketSpec> = None;
        let (mut tag, mut advertised) = (None, None);
        while self.c.kind() != Kind::RBrace {
            if self.c.eat(Kind::Semi).is_some() {
                continue;
            }
            let key = self.c.expect(Kind::Ident, "a property of the socket, such as `bind = udp:10.0.0.1:5060`")?;
            if !matches!(self.c.kind(), Kind::Assign(_)) {
                return self.c.unexpected("`=`");
            }
            self.c.bump();
            match self.c.token_text(key) {
                "bind" => spec = Some(sockets::socket(&mut self.c, &[])?),
                "name" => tag = Some(self.literal_name("the socket's name")?.text),
                "advertise" => advertised = Some(sockets::advertised(&mut self.c)?),
                "workers" | "agname" | "virtual" | "vrf" => self.any_value()?,
                other => {
                    let mut d = Diagnostic::error("E0504", key.span, format!("a socket has no property `{other}`"));
                    let known = ["bind", "name", "advertise", "workers", "agname", "virtual", "vrf"];
                    if let Some(near) = crate::base::names::suggest(other, known) {
                        d = d.help(format!("did you mean `{near}`?"));
                    }
                    return self.c.error(d);
                }
            }
        }
        self.c.bump();
        let Some(mut spec) = spec else {
            let d = Diagnostic::error("E0504", open.span, "a socket without `bind`");
            return self.c.error(d);
        };
        spec.tag = tag;
        spec.advertised = advertised;
        self.push(config, name, "socket", GlobalValue::Socket(spec));
        Ok(())
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
}

/// A log level on the OpenSIPS scale: -5 alert, -4 and -3 critical, -1 error, 0 warning, 1 notice, 2 info, 3 debug.
fn level(n: i64) -> i64 {
    match n {
        ..=-5 => -3,
        -4..=-2 => -2,
        -1 => -1,
        n => n.saturating_add(1).min(4),
    }
}
