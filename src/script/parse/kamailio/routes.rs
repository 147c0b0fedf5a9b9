//! Route blocks: the head (kind and name) and the braces.

use super::Parser;
use crate::script::ast::{Ident, RouteBlock, RouteKind};
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::Kind;
use crate::script::parse::cursor::Parsed;
use crate::script::parse::front::Front;
use crate::script::source::Span;

impl Parser<'_> {
    /// A route block; the next token is the word that opens it.
    pub(super) fn route_block(&mut self) -> Parsed<RouteBlock> {
        let word = self.c.bump();
        let mut kind = match self.c.token_text(word) {
            "failure_route" => RouteKind::Failure,
            "branch_route" => RouteKind::Branch,
            "reply_route" | "onreply_route" => RouteKind::OnReply,
            "onsend_route" => RouteKind::OnSend,
            "event_route" => RouteKind::Event,
            _ => RouteKind::Request,
        };
        let mut name = None;
        if let Some(open) = self.c.eat(Kind::LBracket) {
            let named = if kind == RouteKind::Event { self.event_name() } else { self.literal_name("a route's name") };
            match named {
                Ok(found) => {
                    name = Some(found);
                    self.close_head(open.span);
                    self.c.close(open);
                }
                Err(e) => {
                    self.skip_to_body();
                    if self.c.kind() != Kind::LBrace {
                        return Err(e);
                    }
                }
            }
        } else {
            self.require_name(kind, word.span);
        }
        // Events that the server has a block of its own for.
        match (kind, name.as_ref().map(|n| n.text.as_str())) {
            (RouteKind::Event, Some("tm:local-request")) => (kind, name) = (RouteKind::Local, None),
            (RouteKind::Event, Some("core:worker-one-init")) => (kind, name) = (RouteKind::Startup, None),
            (_, Some("0")) => name = None,
            _ => {}
        }
        let span = self.c.since(word.span);
        self.enter_route();
        self.kind = (kind, name.is_some());
        let body = self.route_body(kind)?;
        Ok(RouteBlock { kind, name, interval: None, body, span })
    }

    /// `module:event`, `tm:branch-failure:name`
    fn event_name(&mut self) -> Parsed<Ident> {
        if self.c.peek().is_str() {
            return self.literal_name("an event's name");
        }
        let first = self.c.peek();
        let mut text = String::new();
        while matches!(self.c.kind(), Kind::Ident | Kind::Colon | Kind::Int(_) | Kind::Word | Kind::Op(_) | Kind::Dot) {
            let token = self.c.bump();
            text.push_str(self.c.token_text(token));
        }
        let span = self.c.since(first.span);
        if !text.contains(':') {
            let d = Diagnostic::error("E0118", span, "the name of an event_route is MODULE:EVENT")
                .help("such as event_route[tm:local-request]");
            return self.c.error(d);
        }
        Ok(Ident { text, span })
    }

    /// Reports what stands behind the name.
    fn close_head(&mut self, open: Span) {
        if matches!(self.c.kind(), Kind::RBracket | Kind::LBrace | Kind::Eof) {
            return;
        }
        let found = self.c.found();
        let d = Diagnostic::error("E0118", self.c.peek().span, format!("{found} in the name of a route"))
            .related(open, "which begins here")
            .help("a name of anything but letters, digits and `_` stands in quotes");
        let _: Parsed<()> = self.c.error(d);
        while !matches!(self.c.kind(), Kind::RBracket | Kind::LBrace | Kind::RBrace | Kind::Semi | Kind::Eof) {
            self.c.bump();
        }
    }

    /// Kinds of which each block has a name.
    fn require_name(&mut self, kind: RouteKind, at: Span) {
        let example = match kind {
            RouteKind::Branch => "branch_route[name]",
            RouteKind::Failure => "failure_route[name]",
            RouteKind::Event => "event_route[module:event]",
            _ => return,
        };
        self.missing_name(kind, at, example);
    }
}
