//! Statements that steer: `if`, `while`, `switch`.

use super::Parser;
use crate::script::ast::{Case, CaseLabel};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::Kind;
use crate::script::parse::cursor::Parsed;
use crate::script::source::Span;

impl Parser<'_> {
    /// A number, a string, or `/"regex"`.
    pub(super) fn label_value(&mut self) -> Parsed<CaseLabel> {
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
    pub(super) fn check_label(&mut self, before: &[Case], label: Option<&CaseLabel>, span: Span) {
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
