//! Statements that steer: `if`, `while`, `for`, `switch`, `return`.

use super::Parser;
use crate::script::ast::{Case, CaseLabel, Expr, ExprKind, StmtKind, VarTok};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::{Kind, Token};
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::Front;
use crate::script::source::Span;

impl Parser<'_> {
    /// `for ($it in $(src[*])) ...`
    pub(super) fn for_statement(&mut self) -> Parsed<StmtKind> {
        let word = self.c.bump();
        let nothing = || VarTok { text: String::new(), span: word.span };
        let (iterator, source) = self.head_or(|p| p.for_head(word), |_| (nothing(), nothing()))?;
        Ok(StmtKind::ForEach { iterator, source, body: self.loop_body()? })
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

    pub(super) fn switch_subject(&mut self) -> Parsed<Expr> {
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

    /// A number or a string.
    pub(super) fn label_value(&mut self) -> Parsed<CaseLabel> {
        let token = self.c.peek();
        if token.is_str() {
            self.c.bump();
            Ok(CaseLabel::Str(self.c.str_lit(token)))
        } else if let Some(n) = self.number()? {
            Ok(CaseLabel::Int(n))
        } else {
            let found = self.c.found();
            let mut d = Diagnostic::error("E0117", token.span, format!("{found} as label of a `case`"))
                .label("a number or a string in quotes is expected");
            if token.kind == Kind::Ident {
                d = d.help(format!("write `case \"{}\":`", self.c.text(token.span)));
            }
            self.c.error(d)
        }
    }

    /// `default` stands last and once; a label that comes twice is never reached.
    pub(super) fn check_label(&mut self, before: &[Case], label: Option<&CaseLabel>, span: Span) {
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
