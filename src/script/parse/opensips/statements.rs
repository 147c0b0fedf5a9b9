//! Statements and blocks.

use super::{Parser, RESERVED};
use crate::script::ast::{Assign, Case, CaseLabel, Expr, ExprKind, Stmt, StmtKind, VarTok};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::source::Span;

impl Parser<'_> {
    /// `{ ... }`; the next token is the `{`. Errors in statements are reported and skipped.
    pub(super) fn block(&mut self) -> Parsed<Vec<Stmt>> {
        let open = self.c.expect(Kind::LBrace, "`{`")?;
        self.c.enter()?;
        let body = self.sequence(|_| false);
        self.c.leave();
        self.close_block(open);
        Ok(body)
    }

    fn close_block(&mut self, open: Token) {
        if self.c.eat(Kind::RBrace).is_some() {
            return;
        }
        let next = self.c.peek();
        let d = if next.kind == Kind::Eof {
            Diagnostic::error("E0103", open.span, "this block is never closed").label("no `}` for this `{`")
        } else {
            let found = self.c.found();
            Diagnostic::error("E0103", next.span, format!("`}}` is missing before {found}"))
                .label("this can only stand outside of a route")
                .related(open.span, "this block is still open")
        };
        let _: Parsed<()> = self.c.error(d);
    }

    /// Statements up to a `}`, the file's end, something of the top level, or what `stop` recognises.
    fn sequence(&mut self, stop: impl Fn(&Self) -> bool) -> Vec<Stmt> {
        let mut list: Vec<Stmt> = Vec::new();
        let mut warned = false;
        while !matches!(self.c.kind(), Kind::RBrace | Kind::Eof) && !self.at_item() && !stop(self) {
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
            StmtKind::Async { .. } => "the script ends here and goes on in the resume route",
            _ => return false,
        };
        if matches!(stmt.kind, StmtKind::Exit | StmtKind::Drop | StmtKind::Return { .. } | StmtKind::Break) {
            return false;
        }
        let d = Diagnostic::warning("W0103", stmt.span, "this statement is never reached").related(last.span, why);
        self.c.warn(d);
        true
    }

    /// After an error: goes on behind the next `;`, or at a brace.
    fn skip_statement(&mut self) {
        loop {
            match self.c.kind() {
                Kind::Eof | Kind::LBrace | Kind::RBrace => return,
                Kind::Semi => {
                    self.c.bump();
                    return;
                }
                _ if self.at_item() || self.at_case() => return,
                _ => {}
            }
            self.c.bump();
        }
    }

    /// One statement. On `Err` something was taken, unless the next token ends the block.
    fn statement(&mut self) -> Parsed<Stmt> {
        let start = self.c.peek();
        let kind = self.statement_kind(start)?;
        Ok(Stmt { kind, span: self.c.since(start.span) })
    }

    /// Only picks the function: frames of what nests must stay small.
    fn statement_kind(&mut self, start: Token) -> Parsed<StmtKind> {
        match start.kind {
            Kind::Semi => {
                self.c.bump();
                return Ok(StmtKind::Empty);
            }
            Kind::LBrace => return self.block_statement(),
            Kind::Var => return self.assignment_statement(),
            Kind::Ident => {}
            _ => return self.no_statement(),
        }
        let next = self.c.peek_at(1).kind;
        match self.c.word() {
            "if" => self.if_statement(),
            "while" => self.while_statement(),
            "for" => self.for_statement(),
            "switch" => self.switch_statement(),
            "exit" => self.end_statement(StmtKind::Exit),
            "drop" => self.end_statement(StmtKind::Drop),
            "return" => self.return_statement(),
            "break" | "esac" => self.break_statement(),
            "async" if next == Kind::LParen => self.async_statement(),
            "launch" if next == Kind::LParen => self.launch_statement(),
            "await" if next == Kind::Ident => self.await_statement(),
            "route" if next == Kind::LParen => self.route_statement(),
            "case" | "default" if next != Kind::LParen => self.stray_case(),
            "else" => self.stray_else(),
            _ => self.call_statement(start),
        }
    }

    fn no_statement(&mut self) -> Parsed<StmtKind> {
        let result = self.c.unexpected("a statement");
        self.c.bump();
        result
    }

    fn block_statement(&mut self) -> Parsed<StmtKind> {
        self.block().map(StmtKind::Block)
    }

    fn end_statement(&mut self, kind: StmtKind) -> Parsed<StmtKind> {
        self.c.bump();
        if let Some(open) = self.c.eat(Kind::LParen) {
            self.c.close(open);
        }
        self.semicolon();
        Ok(kind)
    }

    fn break_statement(&mut self) -> Parsed<StmtKind> {
        let word = self.c.bump();
        if self.breakable == 0 {
            let d = Diagnostic::error("E0113", word.span, "`break` outside of a loop or switch")
                .help("`return` leaves the route, `exit` the script");
            let _: Parsed<()> = self.c.error(d);
        }
        self.semicolon();
        Ok(StmtKind::Break)
    }

    fn await_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        let call = self.call()?;
        self.semicolon();
        Ok(StmtKind::Await(call))
    }

    fn route_statement(&mut self) -> Parsed<StmtKind> {
        let call = self.route_call()?;
        self.semicolon();
        Ok(StmtKind::Route(call))
    }

    fn stray_case(&mut self) -> Parsed<StmtKind> {
        let word = self.c.bump();
        let text = self.c.text(word.span);
        self.c.error(Diagnostic::error("E0117", word.span, format!("`{text}` outside of a switch")))
    }

    fn stray_else(&mut self) -> Parsed<StmtKind> {
        let word = self.c.bump();
        let d = Diagnostic::error("E0125", word.span, "`else` without an `if`")
            .help("one statement, or several in braces, stands between `if (...)` and `else`");
        let _: Parsed<()> = self.c.error(d);
        self.body().map(StmtKind::Block)
    }

    fn call_statement(&mut self, start: Token) -> Parsed<StmtKind> {
        let word = self.c.word();
        match self.c.peek_at(1).kind {
            Kind::LParen => {
                let call = self.call()?;
                self.semicolon();
                Ok(StmtKind::Call(call))
            }
            Kind::Assign(_) => {
                self.c.bump();
                let d = if super::params::find(word).is_some() {
                    Diagnostic::error("E0121", start.span, format!("core parameter `{word}` set in a route"))
                        .label("core parameters stand outside of routes")
                } else {
                    Diagnostic::error("E0123", start.span, format!("`{word}` cannot be assigned"))
                        .label("not a variable")
                        .help(format!("a variable is written with a `$`: `$var({word})` or `$avp({word})`"))
                };
                self.c.error(d)
            }
            _ => {
                self.c.bump();
                self.bare_word(start)
            }
        }
    }

    /// A word that is taken already and stands where a call should.
    pub(super) fn bare_word<T>(&mut self, token: Token) -> Parsed<T> {
        let word = self.c.text(token.span);
        let mut d = Diagnostic::error("E0107", token.span, format!("`{word}` without parentheses"));
        d = if RESERVED.contains(&word) {
            d.label("this word cannot stand here")
        } else {
            d.label("a function is called with parentheses, also without arguments").help(format!("write `{word}()`"))
        };
        self.c.error(d)
    }

    fn assignment_statement(&mut self) -> Parsed<StmtKind> {
        let token = self.c.bump();
        match self.c.kind() {
            Kind::Assign(_) => {
                let assign = self.assignment(token)?;
                self.semicolon();
                Ok(StmtKind::Assign(assign))
            }
            Kind::Compare(_) => {
                let op = self.c.bump();
                let d = Diagnostic::error("E0123", self.c.since(token.span), "a comparison is no statement")
                    .help("`=` assigns; a comparison belongs into `if (...)`");
                let d = if self.c.text(op.span) == "==" { d } else { Diagnostic { help: None, ..d } };
                self.c.error(d)
            }
            Kind::LBracket | Kind::LBrace if self.c.touches() => self.index_without_parens(token),
            _ => self.c.unexpected("an assignment operator behind the variable"),
        }
    }

    /// `$name(x)[0]`: an index or transformation needs the long form.
    pub(super) fn index_without_parens<T>(&mut self, var: Token) -> Parsed<T> {
        let text = self.c.text(var.span).trim_start_matches('$');
        let what = if self.c.kind() == Kind::LBracket { "[index]" } else { "{transformation}" };
        let d = Diagnostic::error("E0008", self.c.peek().span, format!("{what} behind a variable of the short form"))
            .help(format!("write `$({text}{what})`"));
        self.c.error(d)
    }

    /// `$x op value`; the variable is taken, the operator is next.
    pub(super) fn assignment(&mut self, target: Token) -> Parsed<Assign> {
        let Kind::Assign(op) = self.c.kind() else { return self.c.unexpected("an assignment operator") };
        self.c.bump();
        let value = self.value()?;
        Ok(Assign { target: self.c.var(target), op, value: Box::new(value), span: self.c.since(target.span) })
    }

    /// The `;` that ends a statement. If it is missing, that is reported, and parsing goes on as if it stood here.
    pub(super) fn semicolon(&mut self) {
        if self.c.eat(Kind::Semi).is_some() {
            return;
        }
        let found = self.c.found();
        let same_line = self.c.same_line();
        let next = self.c.peek();
        let d = if same_line && !matches!(next.kind, Kind::RBrace | Kind::Ident | Kind::Eof | Kind::Var) {
            Diagnostic::error("E0102", next.span, format!("expected `;`, found {found}"))
        } else {
            Diagnostic::error("E0102", self.c.gap(), format!("`;` is missing before {found}"))
                .label("`;` expected here")
        };
        let cannot_begin = !matches!(next.kind, Kind::RBrace | Kind::Ident | Kind::Eof | Kind::Var | Kind::LBrace);
        let _: Parsed<()> = self.c.error(d);
        if cannot_begin {
            self.skip_statement();
        }
    }

    /// One statement or a block, as the body of `if` and the like.
    pub(super) fn body(&mut self) -> Parsed<Vec<Stmt>> {
        if self.c.kind() == Kind::LBrace {
            return self.block();
        }
        if matches!(self.c.kind(), Kind::RBrace | Kind::Eof) || self.at_item() {
            return self.c.unexpected("a statement");
        }
        self.c.enter()?;
        let stmt = self.statement();
        self.c.leave();
        stmt.map(|stmt| if matches!(stmt.kind, StmtKind::Empty) { Vec::new() } else { vec![stmt] })
    }

    /// `if` with all its `else if`s, which are a chain here and nested in the tree.
    fn if_statement(&mut self) -> Parsed<StmtKind> {
        let mut arms = Vec::new();
        let mut last = None;
        let links = self.c.links();
        loop {
            let start = self.c.bump().span;
            let cond = self.head_condition()?;
            let then = self.body()?;
            arms.push((cond, then, start));
            self.c.link("`else if`")?;
            if self.c.eat_word("else").is_none() {
                break;
            }
            if self.c.word() != "if" {
                last = Some(self.body()?);
                break;
            }
        }
        self.c.unlink(links);
        Ok(nest(arms, last, self.c.last_span()))
    }

    /// The condition of `if` and `while`. If it is bad, the body is parsed nevertheless.
    fn head_condition(&mut self) -> Parsed<Expr> {
        let start = self.c.peek().span;
        let cond = self.condition().map(|cond| match cond {
            Expr { kind: ExprKind::Group(inner), .. } => *inner,
            cond => cond,
        });
        self.or_at_body(cond, || Expr { kind: ExprKind::Int(0), span: start })
    }

    fn skip_to_body(&mut self) {
        while !matches!(self.c.kind(), Kind::LBrace | Kind::RBrace | Kind::Semi | Kind::Eof) && !self.at_item() {
            self.c.bump();
        }
    }

    fn while_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        let cond = self.head_condition()?;
        self.breakable += 1;
        let body = self.body();
        self.breakable = self.breakable.saturating_sub(1);
        Ok(StmtKind::While { cond, body: body? })
    }

    /// `for ($it in $(src[*])) ...`
    fn for_statement(&mut self) -> Parsed<StmtKind> {
        let word = self.c.bump();
        let head = self.for_head(word);
        let (iterator, source) = self.or_at_body(head, || {
            let nothing = VarTok { text: String::new(), span: word.span };
            (nothing.clone(), nothing)
        })?;
        self.breakable += 1;
        let body = self.body();
        self.breakable = self.breakable.saturating_sub(1);
        Ok(StmtKind::ForEach { iterator, source, body: body? })
    }

    /// A bad head is replaced if a body follows, which is parsed to find the mistakes in it too.
    fn or_at_body<T>(&mut self, head: Parsed<T>, replacement: impl FnOnce() -> T) -> Parsed<T> {
        head.or_else(|e| {
            self.skip_to_body();
            if self.c.kind() == Kind::LBrace { Ok(replacement()) } else { Err(e) }
        })
    }

    fn for_head(&mut self, word: Token) -> Parsed<(VarTok, VarTok)> {
        const SHAPE: &str = "write `for ($var(it) in $(avp(list)[*])) { ... }`";
        let open = self.c.expect(Kind::LParen, "`(`")?;
        let (it, of, source) = (self.c.peek(), self.c.word_at(1), self.c.peek_at(2));
        if it.kind != Kind::Var || of != "in" || source.kind != Kind::Var {
            let d = Diagnostic::error("E0115", word.span, "this is not how a `for` is written").help(SHAPE);
            return self.c.error(d);
        }
        self.c.bump();
        let text = self.c.text(it.span);
        let name = text.trim_start_matches('$').trim_start_matches('(');
        if !["var(", "avp(", "json("].iter().any(|p| name.starts_with(p)) {
            let d = Diagnostic::error("E0115", it.span, format!("`{text}` cannot be the variable of a `for`"))
                .label("must be a $var, $avp or $json")
                .help(SHAPE);
            return self.c.error(d);
        }
        self.c.bump();
        self.c.bump();
        let text = self.c.text(source.span);
        if !text.contains("[*]") {
            let d = Diagnostic::error("E0115", source.span, format!("`{text}` is one value only"))
                .label("the index [*] stands for all of them")
                .help(SHAPE);
            return self.c.error(d);
        }
        self.c.close(open);
        Ok((self.c.var(it), self.c.var(source)))
    }

    fn switch_statement(&mut self) -> Parsed<StmtKind> {
        let word = self.c.bump();
        let subject = self.switch_subject();
        let subject = self.or_at_body(subject, || Expr { kind: ExprKind::Int(0), span: word.span })?;
        let open = self.c.expect(Kind::LBrace, "`{` with the cases")?;
        self.c.enter()?;
        self.breakable += 1;
        let cases = self.cases();
        self.breakable = self.breakable.saturating_sub(1);
        self.c.leave();
        self.close_block(open);
        Ok(StmtKind::Switch { subject, cases })
    }

    fn switch_subject(&mut self) -> Parsed<Expr> {
        let open = self.c.expect(Kind::LParen, "`(`")?;
        let token = self.c.peek();
        if token.kind != Kind::Var || !matches!(self.c.peek_at(1).kind, Kind::RParen | Kind::LBrace) {
            let d = Diagnostic::error("E0116", token.span, "`switch` needs a variable")
                .label("not a variable alone")
                .help("assign the value to a variable first: `$var(x) = ...; switch ($var(x)) { ... }`");
            return self.c.error(d);
        }
        self.c.bump();
        self.c.close(open);
        Ok(Expr { kind: ExprKind::Var(self.c.var(token)), span: token.span })
    }

    fn cases(&mut self) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        loop {
            match self.c.kind() {
                Kind::RBrace | Kind::Eof => return cases,
                Kind::Semi => {
                    self.c.bump();
                    continue;
                }
                _ if self.at_item() => return cases,
                _ => {}
            }
            let start = self.c.peek();
            match self.case_label() {
                Ok(label) => {
                    let span = self.c.since(start.span);
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
    }

    fn at_case(&self) -> bool {
        match self.c.word() {
            "case" => true,
            "default" => self.c.peek_at(1).kind == Kind::Colon,
            _ => false,
        }
    }

    fn case_label(&mut self) -> Parsed<Option<CaseLabel>> {
        let word = self.c.word();
        let label = match word {
            "default" => {
                self.c.bump();
                None
            }
            "case" => {
                self.c.bump();
                let token = self.c.peek();
                if token.is_str() {
                    self.c.bump();
                    Some(CaseLabel::Str(self.c.str_lit(token)))
                } else if let Some(n) = self.number()? {
                    Some(CaseLabel::Int(n))
                } else {
                    let found = self.c.found();
                    let mut d = Diagnostic::error("E0117", token.span, format!("{found} as label of a `case`"))
                        .label("a number or a string in quotes is expected");
                    if token.kind == Kind::Ident {
                        d = d.help(format!("write `case \"{}\":`", self.c.text(token.span)));
                    }
                    return self.c.error(d);
                }
            }
            _ => {
                let found = self.c.found();
                let d = Diagnostic::error("E0117", self.c.peek().span, format!("{found} before the first `case`"))
                    .label("`case VALUE:` or `default:` is expected here");
                return self.c.error(d);
            }
        };
        self.c.expect(Kind::Colon, "`:` behind the label")?;
        Ok(label)
    }

    /// `default` stands last and once; a label that comes twice is never reached.
    fn check_label(&mut self, before: &[Case], label: Option<&CaseLabel>, span: Span) {
        if let Some(default) = before.iter().find(|c| c.label.is_none()) {
            let what = if label.is_none() { "a second `default`" } else { "`case` behind `default`" };
            let d = Diagnostic::error("E0114", span, what)
                .related(default.span, "`default` stands here")
                .help("`default` must be the last part of a switch");
            let _: Parsed<()> = self.c.error(d);
            return;
        }
        let same = |a: &CaseLabel, b: &CaseLabel| match (a, b) {
            (CaseLabel::Int(a), CaseLabel::Int(b)) => a == b,
            (CaseLabel::Str(a), CaseLabel::Str(b)) => a.text.eq_ignore_ascii_case(&b.text),
            _ => false,
        };
        let twin = label.and_then(|l| before.iter().find(|c| c.label.as_ref().is_some_and(|o| same(o, l))));
        if let Some(twin) = twin {
            let d = Diagnostic::warning("W0104", span, "this label is never reached")
                .related(twin.span, "the same label stands here (strings are compared without regard to case)");
            self.c.warn(d);
        }
    }

    /// `return`, `return N`, `return(N, v1, ...)`.
    fn return_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        let mut code = None;
        let mut extra = Vec::new();
        if let Some(open) = self.c.eat(Kind::LParen) {
            if self.c.kind() != Kind::RParen {
                code = Some(self.return_code()?);
                while self.c.eat(Kind::Comma).is_some() {
                    extra.push(self.plain_argument()?);
                }
            }
            self.c.close(open);
        } else if !matches!(self.c.kind(), Kind::Semi | Kind::RBrace | Kind::Eof) && self.c.same_line() {
            code = Some(self.return_code()?);
        }
        self.semicolon();
        Ok(StmtKind::Return { code, extra })
    }

    fn return_code(&mut self) -> Parsed<Expr> {
        let start = self.c.peek();
        if start.kind == Kind::Var {
            self.c.bump();
            return Ok(Expr { kind: ExprKind::Var(self.c.var(start)), span: start.span });
        }
        match self.number()? {
            Some(n) => Ok(Expr { kind: ExprKind::Int(n), span: self.c.since(start.span) }),
            None => self.c.unexpected("a number or a variable"),
        }
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
