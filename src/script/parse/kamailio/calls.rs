//! Calls of functions and sub-routes.

use super::Parser;
use crate::script::ast::{Call, Expr, ExprKind, Ident, RouteCall, StrLit};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::Kind;
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::Front;
use crate::script::source::Span;

/// Most arguments of a function.
const MAX_ARGUMENTS: usize = 6;

/// Other spellings of core functions.
const ALIASES: [(&str, &str); 6] = [
    ("add_rport", "force_rport"),
    ("add_tcp_alias", "force_tcp_alias"),
    ("sethostporttrans", "rewritehostporttrans"),
    ("sethpt", "rewritehostporttrans"),
    ("setup", "setuserpass"),
    ("rewriteuserpass", "setuserpass"),
];

/// Functions of the core that take a flag.
const FLAG_FUNCTIONS: [&str; 9] = [
    "setflag",
    "resetflag",
    "isflagset",
    "setbflag",
    "resetbflag",
    "isbflagset",
    "setsflag",
    "resetsflag",
    "issflagset",
];

impl Parser<'_> {
    /// `name(args)`; the next token is the name.
    pub(super) fn call(&mut self) -> Parsed<Call> {
        let token = self.c.expect(Kind::Ident, "the name of a function")?;
        let name = self.c.ident(token);
        if self.c.kind() != Kind::LParen {
            return self.bare_word(token);
        }
        let open = self.c.bump();
        if let Some(call) = self.forward(&name, open.span)? {
            self.c.close(open);
            return Ok(Call { span: self.c.since(token.span), ..call });
        }
        let flag = FLAG_FUNCTIONS.contains(&name.text.as_str());
        let mut args = Vec::new();
        if !self.at_end_of_arguments() {
            loop {
                let missing = matches!(self.c.kind(), Kind::Comma | Kind::RParen);
                args.push(if missing { None } else { Some(self.argument(flag)?) });
                if self.c.eat(Kind::Comma).is_none() {
                    break;
                }
            }
        }
        self.c.close(open);
        let span = self.c.since(token.span);
        if args.len() > MAX_ARGUMENTS {
            let text = format!("`{}` has {} arguments", name.text, args.len());
            let d = Diagnostic::error("E0301", span, text).help(format!("a function takes {MAX_ARGUMENTS} at most"));
            return self.c.error(d);
        }
        Ok(Call { name: known_as(name), args, span })
    }

    /// A function called without parentheses.
    pub(super) fn bare_call(&mut self) -> Parsed<Call> {
        let token = self.c.bump();
        let name = known_as(self.c.ident(token));
        Ok(Call { name, args: Vec::new(), span: token.span })
    }

    fn at_end_of_arguments(&self) -> bool {
        matches!(self.c.kind(), Kind::RParen | Kind::Semi | Kind::RBrace | Kind::Eof)
    }

    fn argument(&mut self, flag: bool) -> Parsed<Expr> {
        let start = self.c.peek();
        let word = self.c.word();
        if flag && let Some((_, n)) = self.flags.iter().find(|(name, _)| name == word) {
            let n = *n;
            self.c.bump();
            return Ok(Expr { kind: ExprKind::Int(n), span: start.span });
        }
        if start.kind == Kind::Ident
            && self.c.peek_at(1).kind == Kind::Colon
            && self.c.peek_at(1).span.start == start.span.end
        {
            return Ok(self.bare_argument());
        }
        let arg = self.expression()?;
        if matches!(arg.kind, ExprKind::Call(_) | ExprKind::Route(_)) {
            let d = Diagnostic::error("E0112", arg.span, "a call as an argument")
                .label("an argument is a string, a number or an expression of variables")
                .help("assign its result to a variable first: `$var(x) = f();`");
            return self.c.error(d);
        }
        let next = self.c.peek();
        if matches!(next.kind, Kind::Ident | Kind::Var | Kind::Int(_) | Kind::Str | Kind::RawStr) && self.c.same_line()
        {
            let found = self.c.found();
            let d = Diagnostic::error("E0101", next.span, format!("expected `,` or `)`, found {found}"));
            return self.c.error(d);
        }
        Ok(arg)
    }

    /// A socket or address without quotes: `force_send_socket(udp:10.0.0.1:5060)`.
    fn bare_argument(&mut self) -> Expr {
        let first = self.c.bump();
        let mut text = self.c.token_text(first).to_owned();
        let part = |k| {
            matches!(k, Kind::Ident | Kind::Int(_) | Kind::Net | Kind::Word | Kind::Colon | Kind::Dot)
                || matches!(k, Kind::LBracket | Kind::RBracket | Kind::Op(_))
        };
        while self.c.touches() && part(self.c.kind()) {
            let token = self.c.bump();
            text.push_str(self.c.token_text(token));
        }
        Expr { kind: ExprKind::Ident(text), span: self.c.since(first.span) }
    }

    /// `forward(host, port)`, `forward_tcp(host)`, `send(host, port)` and their like: one destination
    /// for the function that takes it. `None` for any other function.
    fn forward(&mut self, name: &Ident, open: Span) -> Parsed<Option<Call>> {
        let (base, proto) = match name.text.as_str() {
            "forward" => ("forward", ""),
            "forward_udp" => ("forward", "udp:"),
            "forward_tcp" => ("forward", "tcp:"),
            "forward_tls" => ("forward", "tls:"),
            "send" => ("send", ""),
            _ => return Ok(None),
        };
        let mut parts: Vec<String> = Vec::new();
        while !self.at_end_of_arguments() {
            let token = self.c.peek();
            let part = match token.kind {
                Kind::Str | Kind::RawStr => {
                    self.c.bump();
                    String::from_utf8_lossy(&self.c.str_lit(token).text).into_owned()
                }
                Kind::Net | Kind::Ident | Kind::Int(_) | Kind::Word | Kind::LBracket => match self.bare_argument() {
                    Expr { kind: ExprKind::Ident(text), .. } => text,
                    _ => String::new(),
                },
                _ => return self.c.unexpected("a host or a port"),
            };
            parts.push(part);
            if self.c.eat(Kind::Comma).is_none() {
                break;
            }
        }
        // The destination the message has anyway.
        parts.retain(|p| !matches!(p.as_str(), "uri:host" | "uri:port"));
        let text = parts.join(":");
        let args = if text.is_empty() {
            Vec::new()
        } else {
            let lit = StrLit { text: format!("{proto}{text}").into_bytes(), span: self.c.since(open), raw: true };
            vec![Some(Expr { span: lit.span, kind: ExprKind::Str(lit) })]
        };
        let name = Ident { text: base.into(), span: name.span };
        Ok(Some(Call { name, args, span: open }))
    }

    /// `route(NAME)`, `route("name")`, `route(expression)`; the next token is `route`.
    pub(super) fn route_call(&mut self) -> Parsed<RouteCall> {
        let start = self.c.bump();
        let open = self.c.expect(Kind::LParen, "`(`")?;
        let literal = self.c.peek_at(1).kind == Kind::RParen;
        let name = if literal && matches!(self.c.kind(), Kind::Ident | Kind::Int(_)) {
            let Ident { text, span } = self.literal_name("the name of a route")?;
            Expr { kind: ExprKind::Str(StrLit { text: text.into_bytes(), span, raw: true }), span }
        } else if self.c.kind() == Kind::RParen {
            return self.c.unexpected("the name of a route");
        } else {
            self.expression()?
        };
        self.c.close(open);
        Ok(RouteCall { name: Box::new(name), args: Vec::new(), span: self.c.since(start.span) })
    }
}

fn known_as(name: Ident) -> Ident {
    match ALIASES.iter().find(|(alias, _)| *alias == name.text) {
        Some((_, text)) => Ident { text: (*text).to_owned(), ..name },
        None => name,
    }
}
