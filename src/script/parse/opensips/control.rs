//! Statements that steer: `if`, `while`, `for`, `switch`, `return`.

use super::Parser;
use crate::script::ast::{Case, CaseLabel, Expr, ExprKind, Stmt, StmtKind, VarTok};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::source::Span;

impl Parser<'_> {
    /// `if` with all its `else if`s, which are a chain here and nested in the tree.
    pub(super) fn if_statement(&mut self) -> Parsed<StmtKind> {
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

    pub(super) fn while_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        let cond = self.head_condition()?;
        self.breakable += 1;
        let body = self.body();
        self.breakable = self.breakable.saturating_sub(1);
        Ok(StmtKind::While { cond, body: body? })
    }

    /// `for ($it in $(src[*])) ...`
    pub(super) fn for_statement(&mut self) -> Parsed<StmtKind> {
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
            let result = self.c.error(d);
            // The `;`s of the C language's form must not end the statement here.
            while !matches!(self.c.kind(), Kind::LBrace | Kind::RBrace | Kind::Eof) && !self.at_item() {
                self.c.bump();
            }
            return result;
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

    pub(super) fn switch_statement(&mut self) -> Parsed<StmtKind> {
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

    pub(super) fn at_case(&self) -> bool {
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
            let same = match label {
                Some(CaseLabel::Str(_)) => "the same label, since strings are compared without regard to case",
                _ => "the same label",
            };
            let d = Diagnostic::warning("W0104", span, "this label is never reached").related(twin.span, same);
            self.c.warn(d);
        }
    }

    /// `return`, `return N`, `return(N, v1, ...)`.
    pub(super) fn return_statement(&mut self) -> Parsed<StmtKind> {
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
