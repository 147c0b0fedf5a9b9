//! Statements that steer: `if`, `while`, `switch`.

use super::Parser;
use crate::script::ast::{Case, CaseLabel, Expr, ExprKind, Stmt, StmtKind};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::Kind;
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
            let cond = self.head()?;
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
        let end = self.c.last_span();
        while let Some((cond, then, start)) = arms.pop() {
            let kind = StmtKind::If { cond, then, otherwise: last.take() };
            if arms.is_empty() {
                return Ok(kind);
            }
            last = Some(vec![Stmt { kind, span: start.to(end) }]);
        }
        Ok(StmtKind::Empty)
    }

    /// The expression behind `if` and its like. If it is bad, the body is parsed nevertheless.
    fn head(&mut self) -> Parsed<Expr> {
        let start = self.c.peek().span;
        let links = self.c.links();
        let cond = self.expression().map(|cond| match cond {
            Expr { kind: ExprKind::Group(inner), .. } => *inner,
            cond => cond,
        });
        cond.or_else(|e| {
            self.c.unlink(links);
            while !matches!(self.c.kind(), Kind::LBrace | Kind::RBrace | Kind::Semi | Kind::Eof) && !self.at_item() {
                self.c.bump();
            }
            if self.c.kind() == Kind::LBrace { Ok(Expr { kind: ExprKind::Int(0), span: start }) } else { Err(e) }
        })
    }

    pub(super) fn while_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        let cond = self.head()?;
        self.breakable += 1;
        let body = self.body();
        self.breakable = self.breakable.saturating_sub(1);
        Ok(StmtKind::While { cond, body: body? })
    }

    pub(super) fn switch_statement(&mut self) -> Parsed<StmtKind> {
        self.c.bump();
        let subject = self.head()?;
        let open = self.c.expect(Kind::LBrace, "`{` with the cases")?;
        self.c.enter()?;
        self.breakable += 1;
        let cases = self.cases();
        self.breakable = self.breakable.saturating_sub(1);
        self.c.leave();
        self.close_block(open);
        Ok(StmtKind::Switch { subject, cases })
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
        let label = match self.c.word() {
            "default" => {
                self.c.bump();
                None
            }
            "case" => {
                self.c.bump();
                Some(self.label_value()?)
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

    /// A number, a string, or `/"regex"`.
    fn label_value(&mut self) -> Parsed<CaseLabel> {
        let regex = self.c.eat(Kind::Op(crate::script::ast::BinaryOp::Div)).is_some();
        if let Some(text) = self.c.joined_strings() {
            return Ok(if regex { CaseLabel::Regex(text) } else { CaseLabel::Str(text) });
        }
        let token = self.c.peek();
        if !regex && let Some(n) = self.number()? {
            return Ok(CaseLabel::Int(n));
        }
        let found = self.c.found();
        let mut d = Diagnostic::error("E0117", token.span, format!("{found} as label of a `case`"))
            .label("a number, a string in quotes or /\"a regular expression\" is expected");
        if token.kind == Kind::Ident && !regex {
            d = d.help(format!("write `case \"{}\":`", self.c.token_text(token)));
        }
        self.c.error(d)
    }

    /// `default` stands once; numbers and texts are not mixed; a label that comes twice is never reached.
    fn check_label(&mut self, before: &[Case], label: Option<&CaseLabel>, span: Span) {
        let Some(label) = label else {
            if let Some(default) = before.iter().find(|c| c.label.is_none()) {
                let d = Diagnostic::error("E0114", span, "a second `default`").related(default.span, "the first one");
                let _: Parsed<()> = self.c.error(d);
            }
            return;
        };
        let number = |l: &CaseLabel| matches!(l, CaseLabel::Int(_));
        let other = before.iter().find(|c| c.label.as_ref().is_some_and(|l| number(l) != number(label)));
        if let Some(other) = other {
            let d = Diagnostic::error("E0117", span, "numbers and texts as labels of one switch")
                .related(other.span, "the other kind");
            let _: Parsed<()> = self.c.error(d);
            return;
        }
        let same = |a: &CaseLabel, b: &CaseLabel| match (a, b) {
            (CaseLabel::Int(a), CaseLabel::Int(b)) => a == b,
            (CaseLabel::Str(a), CaseLabel::Str(b)) => a.text == b.text,
            _ => false,
        };
        if let Some(twin) = before.iter().find(|c| c.label.as_ref().is_some_and(|l| same(l, label))) {
            let d =
                Diagnostic::warning("W0104", span, "this label is never reached").related(twin.span, "the same label");
            self.c.warn(d);
        }
    }
}
