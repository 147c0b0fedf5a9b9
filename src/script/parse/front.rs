//! What the front ends of both languages do alike: blocks, `if`, `while` and `switch`, the sequence at the top level,
//! and how to go on after something bad. Each lends what differs: its words, its expressions, its calls.

use super::cursor::{Cursor, Parsed};
use crate::script::ast::{
    BinaryOp, Call, Case, CaseLabel, Config, Expr, ExprKind, Ident, RouteCall, RouteKind, Several, Stmt, StmtKind,
};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::source::Span;

/// What is open at a place in the text, and what that says about braces which are missing.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    /// How many loops and switches are open: where `break` may stand.
    pub breakable: u32,
    /// How many expressions are open.
    pub expressions: u32,
    /// Opening brace of the route being parsed, or the closing one of the last.
    pub route: Option<Token>,
    /// The first block of the route whose `}` is not indented like its head: perhaps a brace is missing in it.
    pub crooked: Option<(Span, Span)>,
    /// A route was closed too early, so that its rest stands at the top level.
    pub adrift: bool,
}

/// A front end.
pub(super) trait Front<'a>: Sized {
    /// Its place in the text.
    fn cursor(&mut self) -> &mut Cursor<'a>;
    /// The same, to look only.
    fn place(&self) -> &Cursor<'a>;
    /// What is open there.
    fn nesting(&mut self) -> &mut Nesting;
    /// Whether something stands here that can only be at the top level.
    fn at_item(&self) -> bool;
    /// Parses one part of the top level.
    fn item(&mut self, config: &mut Config) -> Parsed<()>;
    /// Parses one statement. On `Err` something was taken, unless the next token ends the block.
    fn statement_kind(&mut self, start: Token) -> Parsed<StmtKind>;
    /// The expression behind `if` and `while`.
    fn condition(&mut self) -> Parsed<Expr>;
    /// What a `switch` decides on, in its parentheses.
    fn subject(&mut self) -> Parsed<Expr>;
    /// The value behind `case`.
    fn label_value(&mut self) -> Parsed<CaseLabel>;
    /// Reports a label that does not go with those before it.
    fn check_label(&mut self, before: &[Case], label: Option<&CaseLabel>, span: Span);
    /// `name(args)`; the next token is the name.
    fn member(&mut self) -> Parsed<Call>;
    /// `route(name[, ...])`; the next token is the word.
    fn route_call(&mut self) -> Parsed<RouteCall>;
    /// The literal name of a resume route.
    fn resume_route(&mut self) -> Parsed<Ident>;
    /// Whether this is a core parameter.
    fn is_core_parameter(word: &str) -> bool;
    /// Whether this is a word of the language, which cannot be called.
    fn is_reserved(word: &str) -> bool;

    /// The whole file; errors are reported and skipped.
    fn items(&mut self) -> Config {
        let mut config = Config::default();
        loop {
            let before = self.cursor().position();
            match self.cursor().kind() {
                Kind::Eof => return config,
                Kind::Semi => {
                    self.cursor().bump();
                    continue;
                }
                _ => {}
            }
            if self.item(&mut config).is_ok() {
                self.nesting().adrift = false;
            } else {
                if self.cursor().position() == before {
                    self.cursor().bump();
                }
                self.skip_item();
            }
        }
    }

    /// A `}` at the top level, which closes nothing.
    fn stray_brace(&mut self) -> Parsed<()> {
        let mut d = Diagnostic::error("E0104", self.cursor().peek().span, "`}` closes nothing");
        if let Some(end) = self.nesting().route {
            d = d.related(end.span, "the last route ended here already");
        }
        let result = self.cursor().error(d);
        self.cursor().bump();
        self.nesting().adrift = true;
        result
    }

    /// A statement at the top level.
    fn outside(&mut self, message: String) -> Parsed<()> {
        let span = self.cursor().peek().span;
        let mut d = Diagnostic::error("E0122", span, message).label("statements stand in routes only");
        if let Some(end) = self.nesting().route {
            d = d.related(end.span, "the last route ends here: perhaps with a `}` too many");
        }
        self.nesting().adrift = true;
        self.cursor().error(d)
    }

    /// Skips to where the next top-level part may begin: what can only be one, or a line that begins
    /// with a word, or (in the rest of a route) with `name =`.
    fn skip_item(&mut self) {
        let mut depth = 0u32;
        loop {
            let adrift = self.nesting().adrift;
            match self.cursor().kind() {
                Kind::Eof => return,
                Kind::LBrace => depth += 1,
                Kind::RBrace => depth = depth.saturating_sub(1),
                Kind::Semi if depth == 0 && !adrift => {
                    self.cursor().bump();
                    return;
                }
                Kind::Ident if self.at_item() || (depth == 0 && self.at_line_start(adrift)) => return,
                _ => {}
            }
            self.cursor().bump();
        }
    }

    /// Whether the next token begins a line; in the rest of a route, one with `name =`.
    fn at_line_start(&self, adrift: bool) -> bool {
        let global = matches!(self.place().peek_at(1).kind, Kind::Assign(_));
        !self.place().same_line() && (global || !adrift)
    }

    /// A route begins: nothing is open in it yet.
    fn enter_route(&mut self) {
        let open = self.cursor().peek();
        let adrift = self.nesting().adrift;
        *self.nesting() = Nesting { route: Some(open), adrift, ..Nesting::default() };
        self.cursor().unlink(0);
    }

    /// The body of a route, whose head has been taken.
    fn route_body(&mut self, kind: RouteKind) -> Parsed<Vec<Stmt>> {
        let next = self.cursor().peek();
        if next.kind == Kind::Ident && self.cursor().peek_at(1).kind == Kind::LBrace {
            let name = self.cursor().token_text(next);
            let d = Diagnostic::error("E0118", next.span, "the name of a route stands in brackets")
                .help(format!("write `{kind}[{name}] {{`"));
            let _: Parsed<()> = self.cursor().error(d);
            self.cursor().bump();
        }
        if self.cursor().kind() != Kind::LBrace {
            return self.cursor().unexpected(&format!("`{{` with the body of the {kind}"));
        }
        let body = self.block()?;
        let last = self.cursor().last_span();
        if let Some(route) = &mut self.nesting().route {
            route.span = last;
        }
        Ok(body)
    }

    /// Reports a route without the name that its kind needs, as in `example`.
    fn missing_name(&mut self, kind: RouteKind, at: Span, example: &str) {
        if self.cursor().kind() != Kind::LBrace {
            return;
        }
        let d = Diagnostic::error("E0118", at, format!("{kind} without a name")).help(format!("write `{example}`"));
        let _: Parsed<()> = self.cursor().error(d);
    }

    /// Skips what is left of a bad `[...]` or `(...)` in front of a body.
    fn skip_to_body(&mut self) {
        while !matches!(self.cursor().kind(), Kind::LBrace | Kind::RBrace | Kind::Semi | Kind::Eof) && !self.at_item() {
            self.cursor().bump();
        }
    }

    /// `{ ... }`; the next token is the `{`. Errors in statements are reported and skipped.
    fn block(&mut self) -> Parsed<Vec<Stmt>> {
        let open = self.cursor().expect(Kind::LBrace, "`{`")?;
        self.cursor().enter()?;
        let body = self.sequence(|_| false);
        self.cursor().leave();
        self.close_block(open);
        Ok(body)
    }

    /// Takes the `}` of the block that `open` began, or reports that it is missing.
    fn close_block(&mut self, open: Token) {
        if let Some(close) = self.cursor().eat(Kind::RBrace) {
            let c = self.cursor();
            let crooked = c.begins_line(close.span) && c.indent(close.span) != c.indent(open.span);
            if crooked && self.nesting().crooked.is_none() {
                self.nesting().crooked = Some((open.span, close.span));
            }
            return;
        }
        let next = self.cursor().peek();
        let d = if next.kind == Kind::Eof {
            Diagnostic::error("E0103", open.span, "this block is never closed").label("no `}` for this `{`")
        } else {
            let found = self.cursor().found();
            Diagnostic::error("E0103", next.span, format!("`}}` is missing before {found}"))
                .label("this can only stand outside of a route")
                .related(open.span, "this block is still open")
        };
        let d = match self.nesting().crooked {
            Some((from, to)) => {
                d.related(from, "this block ends").related(to, "here, going by the braces but not by the indentation")
            }
            None => d,
        };
        let _: Parsed<()> = self.cursor().error(d);
    }

    /// Whether the next token ends any block: a `}`, the end of the file, or something of the top level.
    fn at_block_end(&self) -> bool {
        matches!(self.place().kind(), Kind::RBrace | Kind::Eof) || self.at_item()
    }

    /// Statements up to the block's end, or what `stop` recognises.
    fn sequence(&mut self, stop: impl Fn(&Self) -> bool) -> Vec<Stmt> {
        let mut list: Vec<Stmt> = Vec::new();
        let mut warned = false;
        while !self.at_block_end() && !stop(self) {
            match self.statement() {
                Ok(Stmt { kind: StmtKind::Empty, .. }) => {}
                Ok(stmt) => {
                    if !warned && let Some(last) = list.last() {
                        warned = self.check_reached(last, &stmt);
                    }
                    list.push(stmt);
                }
                Err(_) => self.skip_statement(),
            }
        }
        list
    }

    /// Warns about a statement behind one that ends the block.
    fn check_reached(&mut self, last: &Stmt, stmt: &Stmt) -> bool {
        let why = match last.kind {
            StmtKind::Exit | StmtKind::Drop => "the script ends here",
            StmtKind::Return { .. } => "the route ends here",
            StmtKind::Async { .. } | StmtKind::Several(Several { route: Some(_), .. }) => {
                "the script ends here and goes on in the resume route"
            }
            _ => return false,
        };
        if matches!(stmt.kind, StmtKind::Exit | StmtKind::Drop | StmtKind::Return { .. } | StmtKind::Break) {
            return false;
        }
        let d = Diagnostic::warning("W0103", stmt.span, "this statement is never reached").related(last.span, why);
        self.cursor().warn(d);
        true
    }

    /// After an error: goes on behind the next `;`, or at a brace.
    fn skip_statement(&mut self) {
        loop {
            match self.cursor().kind() {
                Kind::Eof | Kind::LBrace | Kind::RBrace => return,
                Kind::Semi => {
                    self.cursor().bump();
                    return;
                }
                _ if self.at_item() || self.at_case() => return,
                _ => {}
            }
            self.cursor().bump();
        }
    }

    /// One statement. On `Err` something was taken, unless the next token ends the block.
    fn statement(&mut self) -> Parsed<Stmt> {
        let start = self.cursor().peek();
        let kind = self.statement_kind(start)?;
        Ok(Stmt { kind, span: self.cursor().since(start.span) })
    }

    /// What cannot begin a statement.
    fn no_statement(&mut self) -> Parsed<StmtKind> {
        let result = self.cursor().unexpected("a statement");
        self.cursor().bump();
        result
    }

    /// One statement or a block, as the body of `if` and the like.
    fn body(&mut self) -> Parsed<Vec<Stmt>> {
        if self.cursor().kind() == Kind::LBrace {
            return self.block();
        }
        if self.at_block_end() {
            return self.cursor().unexpected("a statement");
        }
        self.cursor().enter()?;
        let stmt = self.statement();
        self.cursor().leave();
        stmt.map(|stmt| if matches!(stmt.kind, StmtKind::Empty) { Vec::new() } else { vec![stmt] })
    }

    /// The same as the body of a loop, in which `break` may stand.
    fn loop_body(&mut self) -> Parsed<Vec<Stmt>> {
        self.nesting().breakable += 1;
        let body = self.body();
        let open = self.nesting().breakable.saturating_sub(1);
        self.nesting().breakable = open;
        body
    }

    /// The `;` that ends a statement. If it is missing, that is reported, and parsing goes on as if it stood here.
    fn semicolon(&mut self) {
        if self.cursor().eat(Kind::Semi).is_some() {
            return;
        }
        let found = self.cursor().found();
        let same_line = self.cursor().same_line();
        let next = self.cursor().peek();
        let begins = matches!(next.kind, Kind::RBrace | Kind::Ident | Kind::Eof | Kind::Var);
        let d = if same_line && !begins {
            Diagnostic::error("E0102", next.span, format!("expected `;`, found {found}"))
        } else {
            Diagnostic::error("E0102", self.cursor().gap(), format!("`;` is missing before {found}"))
                .label("`;` expected here")
        };
        let _: Parsed<()> = self.cursor().error(d);
        if !begins && next.kind != Kind::LBrace {
            self.skip_statement();
        }
    }

    /// `if` with all its `else if`s, which are a chain here and nested in the tree.
    fn if_statement(&mut self) -> Parsed<StmtKind> {
        let mut arms = Vec::new();
        let mut last = None;
        let links = self.cursor().links();
        loop {
            let start = self.cursor().bump().span;
            let cond = self.head_condition()?;
            let then = self.body()?;
            arms.push((cond, then, start));
            self.cursor().link("`else if`")?;
            if self.cursor().eat_word("else").is_none() {
                break;
            }
            if self.cursor().word() != "if" {
                last = Some(self.body()?);
                break;
            }
        }
        self.cursor().unlink(links);
        Ok(nest(arms, last, self.cursor().last_span()))
    }

    /// `while (...) ...`
    fn while_statement(&mut self) -> Parsed<StmtKind> {
        self.cursor().bump();
        let cond = self.head_condition()?;
        Ok(StmtKind::While { cond, body: self.loop_body()? })
    }

    /// The condition of `if` and `while`. If it is bad, the body is parsed nevertheless.
    fn head_condition(&mut self) -> Parsed<Expr> {
        self.head_or(|f| f.condition().map(ungroup), |at| Expr { kind: ExprKind::Int(0), span: at })
    }

    /// A bad head is replaced if a body follows, which is parsed to find the mistakes in it too.
    fn head_or<T>(
        &mut self,
        head: impl FnOnce(&mut Self) -> Parsed<T>,
        replacement: impl FnOnce(Span) -> T,
    ) -> Parsed<T> {
        let at = self.cursor().peek().span;
        let links = self.cursor().links();
        head(self).or_else(|e| {
            self.cursor().unlink(links);
            self.skip_to_body();
            if self.cursor().kind() == Kind::LBrace { Ok(replacement(at)) } else { Err(e) }
        })
    }

    /// `switch (...) { case ...: ... }`
    fn switch_statement(&mut self) -> Parsed<StmtKind> {
        self.cursor().bump();
        let subject = self.head_or(Self::subject, |at| Expr { kind: ExprKind::Int(0), span: at })?;
        let open = self.cursor().expect(Kind::LBrace, "`{` with the cases")?;
        self.cursor().enter()?;
        self.nesting().breakable += 1;
        let cases = self.cases();
        let breakable = self.nesting().breakable.saturating_sub(1);
        self.nesting().breakable = breakable;
        self.cursor().leave();
        self.close_block(open);
        Ok(StmtKind::Switch { subject, cases })
    }

    /// The cases of a switch, up to its `}`.
    fn cases(&mut self) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        while !self.at_block_end() {
            if self.cursor().eat(Kind::Semi).is_some() {
                continue;
            }
            let start = self.cursor().peek();
            match self.case_label() {
                Ok(label) => {
                    let span = self.cursor().since(start.span);
                    self.check_label(&cases, label.as_ref(), span);
                    let body = self.sequence(Self::at_case);
                    cases.push(Case { label, body, span });
                }
                Err(_) => {
                    // What stands here runs as part of no case; look for mistakes in it all the same.
                    self.skip_statement();
                    self.sequence(Self::at_case);
                }
            }
        }
        cases
    }

    /// Whether a label begins here.
    fn at_case(&self) -> bool {
        match self.place().word() {
            "case" => true,
            "default" => self.place().peek_at(1).kind == Kind::Colon,
            _ => false,
        }
    }

    /// `case VALUE:` or `default:`
    fn case_label(&mut self) -> Parsed<Option<CaseLabel>> {
        let label = match self.cursor().word() {
            "default" => {
                self.cursor().bump();
                None
            }
            "case" => {
                self.cursor().bump();
                Some(self.label_value()?)
            }
            _ => {
                let found = self.cursor().found();
                let span = self.cursor().peek().span;
                let d = Diagnostic::error("E0117", span, format!("{found} before the first `case`"))
                    .label("`case VALUE:` or `default:` is expected here");
                return self.cursor().error(d);
            }
        };
        self.cursor().expect(Kind::Colon, "`:` behind the label")?;
        Ok(label)
    }

    /// A label outside of a switch.
    fn stray_case(&mut self) -> Parsed<StmtKind> {
        let word = self.cursor().bump();
        let text = self.cursor().token_text(word);
        self.cursor().error(Diagnostic::error("E0117", word.span, format!("`{text}` outside of a switch")))
    }

    /// `else` without an `if`.
    fn stray_else(&mut self) -> Parsed<StmtKind> {
        let word = self.cursor().bump();
        let d = Diagnostic::error("E0125", word.span, "`else` without an `if`")
            .help("one statement, or several in braces, stands between `if (...)` and `else`");
        let _: Parsed<()> = self.cursor().error(d);
        self.body().map(StmtKind::Block)
    }

    /// `await f(...);`
    fn await_statement(&mut self) -> Parsed<StmtKind> {
        self.cursor().bump();
        let call = self.member()?;
        self.semicolon();
        Ok(StmtKind::Await(call))
    }

    /// `route(name);`
    fn route_statement(&mut self) -> Parsed<StmtKind> {
        let call = self.route_call()?;
        self.semicolon();
        Ok(StmtKind::Route(call))
    }

    /// `name(args);`, or why this is none.
    fn call_statement(&mut self, start: Token) -> Parsed<StmtKind> {
        let word = self.cursor().word();
        match self.cursor().peek_at(1).kind {
            Kind::LParen => {
                let call = self.member()?;
                self.semicolon();
                Ok(StmtKind::Call(call))
            }
            Kind::Assign(_) => {
                self.cursor().bump();
                let d = if Self::is_core_parameter(word) {
                    Diagnostic::error("E0121", start.span, format!("core parameter `{word}` set in a route"))
                        .label("core parameters stand outside of routes")
                } else {
                    Diagnostic::error("E0123", start.span, format!("`{word}` cannot be assigned"))
                        .label("not a variable")
                        .help(format!("a variable is written with a `$`: `$var({word})` or `$avp({word})`"))
                };
                self.cursor().error(d)
            }
            _ => {
                self.cursor().bump();
                self.bare_word(start)
            }
        }
    }

    /// A word that is taken already and stands where a call should.
    fn bare_word<T>(&mut self, token: Token) -> Parsed<T> {
        let word = self.cursor().token_text(token);
        let mut d = Diagnostic::error("E0107", token.span, format!("`{word}` without parentheses"));
        d = if Self::is_reserved(word) {
            d.label("this word cannot stand here")
        } else {
            d.label("a function is called with parentheses, also without arguments").help(format!("write `{word}()`"))
        };
        self.cursor().error(d)
    }

    /// A number with optional sign, or a boolean word, and where it stands; `None` if neither stands here.
    fn signed_number(&mut self) -> Parsed<Option<(i64, Token)>> {
        if let Some(n) = boolean(self.cursor().word()) {
            return Ok(Some((n, self.cursor().bump())));
        }
        let sign = match (self.cursor().kind(), self.cursor().peek_at(1).kind) {
            (Kind::Op(BinaryOp::Sub), Kind::Int(_)) => Some(-1),
            (Kind::Op(BinaryOp::Add), Kind::Int(_)) => Some(1),
            _ => None,
        };
        if sign.is_some() {
            self.cursor().bump();
        }
        match self.cursor().kind() {
            Kind::Int(n) => Ok(Some((n.wrapping_mul(sign.unwrap_or(1)), self.cursor().bump()))),
            Kind::Word => self.cursor().unexpected("a number"),
            _ => Ok(None),
        }
    }

    /// A literal name: an identifier, a number or a string.
    fn literal_name(&mut self, what: &str) -> Parsed<Ident> {
        let token = self.cursor().peek();
        match token.kind {
            Kind::Ident | Kind::Int(0..) => {
                self.cursor().bump();
                Ok(self.cursor().ident(token))
            }
            Kind::Str | Kind::RawStr => {
                self.cursor().bump();
                let text = String::from_utf8_lossy(&self.cursor().str_lit(token).text).into_owned();
                Ok(Ident { text, span: token.span })
            }
            _ => self.cursor().unexpected(what),
        }
    }
}

/// The value of a boolean word.
pub(super) fn boolean(word: &str) -> Option<i64> {
    match word {
        "yes" | "true" | "on" | "enable" => Some(1),
        "no" | "false" | "off" | "disable" => Some(0),
        _ => None,
    }
}

/// What stands in the parentheses of an expression that is nothing but parentheses.
pub(super) fn ungroup(expr: Expr) -> Expr {
    match expr {
        Expr { kind: ExprKind::Group(inner), .. } => *inner,
        expr => expr,
    }
}

/// A chain of `if (...) ... else if (...) ... else ...`, as the tree has it.
fn nest(mut arms: Vec<(Expr, Vec<Stmt>, Span)>, mut last: Option<Vec<Stmt>>, end: Span) -> StmtKind {
    while let Some((cond, then, start)) = arms.pop() {
        let kind = StmtKind::If { cond, then, otherwise: last.take() };
        if arms.is_empty() {
            return kind;
        }
        last = Some(vec![Stmt { kind, span: start.to(end) }]);
    }
    StmtKind::Empty
}
