//! Calls: functions, sub-routes, `async` and `launch`.

use super::Parser;
use crate::script::ast::{Call, Expr, ExprKind, Ident, RouteCall, Stmt, StmtKind, StrLit};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::{Front, boolean};
use crate::script::source::Span;

/// Functions whose text may be given as several strings in a row.
const JOINS_STRINGS: [&str; 3] = ["xlog", "xdbg", "log"];

impl Parser<'_> {
    /// `name(args)`; the next token is the name.
    pub(super) fn call(&mut self) -> Parsed<Call> {
        let token = self.c.expect(Kind::Ident, "the name of a function")?;
        let name = self.c.ident(token);
        if self.c.kind() != Kind::LParen {
            return self.bare_word(token);
        }
        let open = self.c.bump();
        let args = if name.text == "assert" { self.assert_arguments()? } else { self.arguments(&name.text)? };
        self.c.close(open);
        Ok(Call { name, args, span: self.c.since(token.span) })
    }

    /// Arguments up to the `)`, which stays.
    fn arguments(&mut self, function: &str) -> Parsed<Vec<Option<Expr>>> {
        let mut args = Vec::new();
        if self.at_end_of_arguments() {
            return Ok(args);
        }
        loop {
            let missing = matches!(self.c.kind(), Kind::Comma | Kind::RParen);
            args.push(if missing { None } else { Some(self.argument(function)?) });
            if self.c.eat(Kind::Comma).is_none() {
                return Ok(args);
            }
        }
    }

    fn at_end_of_arguments(&self) -> bool {
        matches!(self.c.kind(), Kind::RParen | Kind::Semi | Kind::RBrace | Kind::Eof)
    }

    /// `assert(condition [, "text"])`
    fn assert_arguments(&mut self) -> Parsed<Vec<Option<Expr>>> {
        let mut args = vec![Some(self.condition()?)];
        if self.c.eat(Kind::Comma).is_some() {
            args.push(Some(self.argument("assert")?));
        }
        Ok(args)
    }

    fn argument(&mut self, function: &str) -> Parsed<Expr> {
        let start = self.c.peek();
        let arg = if start.is_str() && JOINS_STRINGS.contains(&function) {
            match self.c.joined_strings() {
                Some(text) => Expr { span: text.span, kind: ExprKind::Str(text) },
                None => return self.c.unexpected("a string"),
            }
        } else {
            self.plain_argument()?
        };
        self.after_argument(&arg, start)?;
        Ok(arg)
    }

    /// Reports what cannot follow an argument.
    fn after_argument(&mut self, arg: &Expr, start: Token) -> Parsed<()> {
        let next = self.c.peek();
        match next.kind {
            Kind::Op(_) | Kind::Compare(_) | Kind::And | Kind::Or | Kind::Assign(_) => {
                let d = Diagnostic::error("E0112", next.span, "an expression as an argument")
                    .label("an argument is one string, number or variable")
                    .help("assign the result to a variable first");
                self.c.error(d)
            }
            Kind::Str | Kind::RawStr => {
                let d = Diagnostic::error("E0111", next.span, "a string directly behind an argument")
                    .related(arg.span, "the argument")
                    .help("is a `,` missing? Only xlog and modparam join strings by themselves");
                self.c.error(d)
            }
            Kind::Ident | Kind::Var | Kind::Int(_) if next.span.file == start.span.file && self.c.same_line() => {
                let found = self.c.found();
                let d = Diagnostic::error("E0101", next.span, format!("expected `,` or `)`, found {found}"));
                self.c.error(d)
            }
            _ => Ok(()),
        }
    }

    /// A string, number, variable, NULL or bare word.
    pub(super) fn plain_argument(&mut self) -> Parsed<Expr> {
        let start = self.c.peek();
        let kind = match start.kind {
            Kind::Str | Kind::RawStr => {
                self.c.bump();
                ExprKind::Str(self.c.str_lit(start))
            }
            Kind::Var => {
                self.c.bump();
                if matches!(self.c.kind(), Kind::LBracket | Kind::LBrace) && self.c.touches() {
                    return self.index_without_parens(start);
                }
                ExprKind::Var(self.c.var(start))
            }
            Kind::Ident if matches!(self.c.word(), "null" | "NULL") => {
                self.c.bump();
                ExprKind::Null
            }
            Kind::Ident if self.c.peek_at(1).kind == Kind::LParen => {
                let d = Diagnostic::error("E0112", start.span, "a call as an argument")
                    .label("an argument is one string, number or variable")
                    .help("assign its result to a variable first: `$var(x) = f();`");
                return self.c.error(d);
            }
            Kind::Ident if boolean(self.c.word()).is_none() => self.bare_argument(),
            Kind::Net => self.bare_argument(),
            Kind::Word if matches!(self.c.peek_at(1).kind, Kind::Colon | Kind::Dot) => self.bare_argument(),
            _ => match self.number()? {
                Some(n) => ExprKind::Int(n),
                None => return self.c.unexpected("an argument or `)`"),
            },
        };
        Ok(Expr { kind, span: self.c.since(start.span) })
    }

    /// 2.2's unquoted words: `setflag(NAME)`, `force_send_socket(udp:10.0.0.1:5060)`.
    fn bare_argument(&mut self) -> ExprKind {
        let first = self.c.bump().span;
        let part = |k| matches!(k, Kind::Ident | Kind::Int(_) | Kind::Net | Kind::Word | Kind::Colon | Kind::Dot);
        while self.c.touches() && part(self.c.kind()) {
            self.c.bump();
        }
        ExprKind::Ident(self.c.text(self.c.since(first)).to_owned())
    }

    /// `route(NAME, args)`; the next token is `route`.
    pub(super) fn route_call(&mut self) -> Parsed<RouteCall> {
        let start = self.c.bump();
        let open = self.c.expect(Kind::LParen, "`(`")?;
        let token = self.c.peek();
        let name = if token.kind == Kind::Var {
            self.c.bump();
            Expr { kind: ExprKind::Var(self.c.var(token)), span: token.span }
        } else if token.is_str() {
            self.c.bump();
            Expr { kind: ExprKind::Str(self.c.str_lit(token)), span: token.span }
        } else {
            let Ident { text, span } = self.route_name("the name of a route")?;
            Expr { kind: ExprKind::Str(StrLit { text: text.into_bytes(), span, raw: true }), span }
        };
        self.after_argument(&name, token)?;
        let mut args = Vec::new();
        while self.c.eat(Kind::Comma).is_some() {
            let at = self.c.peek();
            let arg = self.plain_argument()?;
            self.after_argument(&arg, at)?;
            args.push(arg);
        }
        self.c.close(open);
        Ok(RouteCall { name: Box::new(name), args, span: self.c.since(start.span) })
    }

    /// `async(f(...), route[, seconds]);` or `async(route[, seconds]) { f(...); }`
    pub(super) fn async_statement(&mut self) -> Parsed<StmtKind> {
        let start = self.c.bump();
        let open = self.c.bump();
        if self.c.peek_at(1).kind == Kind::LParen && self.c.kind() == Kind::Ident {
            return self.async_with_call(open);
        }
        let named = matches!(self.c.kind(), Kind::Ident | Kind::Int(_) | Kind::Str | Kind::RawStr);
        let next = self.c.peek_at(1).kind;
        let timed = next == Kind::Comma && !matches!(self.c.peek_at(2).kind, Kind::Ident | Kind::Str | Kind::RawStr);
        if !named || !(timed || next == Kind::RParen) {
            return self.not_a_call("async");
        }
        let route = self.literal_route()?;
        let timeout = self.timeout()?;
        self.c.close(open);
        if self.c.kind() != Kind::LBrace {
            return self.async_of_nothing(start);
        }
        // A bad block is complete nevertheless: the statement ends behind it.
        Ok(match self.async_block(start) {
            Ok(call) => StmtKind::Async { call, route, timeout },
            Err(_) => StmtKind::Empty,
        })
    }

    fn async_with_call(&mut self, open: Token) -> Parsed<StmtKind> {
        let call = self.started_call("async")?;
        if self.c.eat(Kind::Comma).is_none() {
            let d = Diagnostic::error("E0120", self.c.gap(), "`async` without a resume route")
                .label("`, ROUTE` expected here")
                .help("write `async(f(...), ROUTE);`, or `await f(...);` to go on right here");
            return self.c.error(d);
        }
        let route = self.literal_route()?;
        let timeout = self.timeout()?;
        self.c.close(open);
        self.semicolon();
        Ok(StmtKind::Async { call, route, timeout })
    }

    fn async_of_nothing(&mut self, start: Token) -> Parsed<StmtKind> {
        let d = Diagnostic::error("E0120", self.c.since(start.span), "`async` starts nothing")
            .help("write `async(f(...), ROUTE);` or `async(ROUTE) { f(...); }`");
        self.c.error(d)
    }

    /// `{ f(...); }`: exactly one call.
    fn async_block(&mut self, start: Token) -> Parsed<Call> {
        let head = self.c.since(start.span);
        let body = self.block()?;
        self.only_call(body, head)
    }

    fn only_call(&mut self, body: Vec<Stmt>, head: Span) -> Parsed<Call> {
        let span = self.c.last_span();
        let mut body = body.into_iter();
        let (at, what) = match (body.next(), body.next()) {
            (Some(Stmt { kind: StmtKind::Call(call), .. }), None) => return Ok(call),
            (_, Some(second)) => (second.span, "a second statement in the block of `async`"),
            (Some(first), None) => (first.span, "no call in the block of `async`"),
            (None, None) => (span, "the block of `async` is empty"),
        };
        let d = Diagnostic::error("E0119", at, what)
            .related(head, "this starts one function and goes on in its resume route")
            .help("exactly one call stands in the block; what is to run afterwards belongs into the resume route");
        self.c.error(d)
    }

    /// `launch(f(...)[, route[, param]]);`
    pub(super) fn launch_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        let open = self.c.bump();
        if self.c.peek_at(1).kind != Kind::LParen || self.c.kind() != Kind::Ident {
            return self.not_a_call("launch");
        }
        let call = self.started_call("launch")?;
        let (mut route, mut param) = (None, None);
        if self.c.eat(Kind::Comma).is_some() {
            route = Some(self.literal_route()?);
            if self.c.eat(Kind::Comma).is_some() {
                let at = self.c.peek();
                let arg = self.plain_argument()?;
                self.after_argument(&arg, at)?;
                param = Some(arg);
            }
        }
        self.c.close(open);
        self.semicolon();
        Ok(StmtKind::Launch { call, route, param })
    }

    /// The call that `async` or `launch` starts.
    fn started_call(&mut self, statement: &str) -> Parsed<Call> {
        if matches!(self.c.word(), "route" | "async" | "launch" | "await") {
            let word = self.c.word();
            let d =
                Diagnostic::error("E0120", self.c.peek().span, format!("`{word}` cannot be started by `{statement}`"))
                    .label("a function is expected here");
            return self.c.error(d);
        }
        self.call()
    }

    fn not_a_call<T>(&mut self, statement: &str) -> Parsed<T> {
        let token = self.c.peek();
        let found = self.c.found();
        let mut d = Diagnostic::error("E0120", token.span, format!("`{statement}` cannot start {found}"))
            .label("a call is expected here");
        if token.kind == Kind::Ident {
            d = d.help(format!("a function is called with parentheses: `{}()`", self.c.text(token.span)));
        }
        self.c.error(d)
    }

    /// The literal name of a resume or report route.
    pub(super) fn literal_route(&mut self) -> Parsed<Ident> {
        let token = self.c.peek();
        if token.kind == Kind::Var {
            let d = Diagnostic::error("E0120", token.span, "the resume route cannot come from a variable")
                .label("a literal name is expected, so that it can be checked when the script is loaded");
            return self.c.error(d);
        }
        self.route_name("the name of the resume route")
    }

    /// `, SECONDS`
    fn timeout(&mut self) -> Parsed<Option<Expr>> {
        if self.c.eat(Kind::Comma).is_none() {
            return Ok(None);
        }
        let start = self.c.peek();
        let value = self.number()?;
        let span: Span = self.c.since(start.span);
        match value {
            Some(n) if n >= 0 => Ok(Some(Expr { kind: ExprKind::Int(n), span })),
            _ => {
                let found = start.span;
                let d = Diagnostic::error("E0120", found, "the timeout of `async` is not a number of seconds")
                    .label("a literal number is expected; 0 means the default");
                self.c.error(d)
            }
        }
    }
}
