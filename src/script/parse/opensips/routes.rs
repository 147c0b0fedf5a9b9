//! Route blocks: the head (kind, name, interval) and the braces.

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
        let kind = match self.c.text(word.span) {
            "route" => RouteKind::Request,
            "branch_route" => RouteKind::Branch,
            "failure_route" => RouteKind::Failure,
            "onreply_route" => RouteKind::OnReply,
            "local_route" => RouteKind::Local,
            "error_route" => RouteKind::Error,
            "startup_route" => RouteKind::Startup,
            "timer_route" => RouteKind::Timer,
            "event_route" => RouteKind::Event,
            other => {
                let (kind, ours) = match other {
                    "request_route" => (RouteKind::Request, "route"),
                    "reply_route" => (RouteKind::OnReply, "onreply_route"),
                    _ => (RouteKind::OnSend, "branch_route"),
                };
                let d = Diagnostic::error("E0126", word.span, format!("`{other}` belongs to Kamailio's language"))
                    .help(format!("here it is `{ours}`; `--dialect kamailio` reads the file as Kamailio would"));
                let _: Parsed<()> = self.c.error(d);
                kind
            }
        };
        let (name, interval) = if self.c.kind() == Kind::LBracket {
            match self.head(kind) {
                Ok(head) => head,
                Err(e) => {
                    self.skip_to_body();
                    if self.c.kind() != Kind::LBrace {
                        return Err(e);
                    }
                    (None, None)
                }
            }
        } else {
            self.require_name(kind, word.span);
            (None, None)
        };
        let span = self.c.since(word.span);
        self.enter_route();
        let body = self.route_body(kind)?;
        Ok(RouteBlock { kind, name, interval, body, span })
    }

    /// `[name]`, `[name, seconds]`, `[E_NAME, sync]`.
    fn head(&mut self, kind: RouteKind) -> Parsed<(Option<Ident>, Option<u32>)> {
        let open = self.c.bump();
        let name = self.route_name("a route's name")?;
        let interval = match kind {
            RouteKind::Timer => Some(self.interval()?),
            RouteKind::Event => {
                self.event_mode()?;
                None
            }
            _ => None,
        };
        if self.c.kind() != Kind::RBracket && !matches!(self.c.kind(), Kind::LBrace | Kind::Comma | Kind::Eof) {
            let found = self.c.found();
            let d = Diagnostic::error("E0118", self.c.peek().span, format!("{found} in the name of a route"))
                .help("a name of anything but letters, digits and `_` stands in quotes");
            return self.c.error(d);
        }
        self.c.close(open);
        match kind {
            RouteKind::Local | RouteKind::Error | RouteKind::Startup => {
                let d = Diagnostic::error("E0118", name.span, format!("{kind} has no name"))
                    .help(format!("there is only one: write `{kind} {{`"));
                self.c.error(d)
            }
            _ if name.text == "0" => Ok((None, interval)),
            _ => Ok((Some(name), interval)),
        }
    }

    fn interval(&mut self) -> Parsed<u32> {
        let at = self.c.peek();
        if self.c.eat(Kind::Comma).is_none() {
            let d = Diagnostic::error("E0118", at.span, "timer_route without an interval")
                .help("write `timer_route[name, SECONDS]`");
            return self.c.error(d);
        }
        let at = self.c.peek();
        match self.number()?.map(u32::try_from) {
            Some(Ok(seconds)) if seconds > 0 => Ok(seconds),
            _ => {
                let d = Diagnostic::error("E0118", at.span, "the interval of a timer_route is not a number of seconds")
                    .label("a number, 1 or more");
                self.c.error(d)
            }
        }
    }

    /// 2.x: `, sync` or `, async`; both mean the same here, since handing over costs nothing.
    fn event_mode(&mut self) -> Parsed<()> {
        if self.c.eat(Kind::Comma).is_none() {
            return Ok(());
        }
        match self.c.word() {
            "sync" | "async" => {
                self.c.bump();
                Ok(())
            }
            _ => self.c.unexpected("`sync` or `async`"),
        }
    }

    /// Kinds of which each block has a name.
    fn require_name(&mut self, kind: RouteKind, at: Span) {
        let example = match kind {
            RouteKind::Branch => "branch_route[name]",
            RouteKind::Failure => "failure_route[name]",
            RouteKind::Timer => "timer_route[name, SECONDS]",
            RouteKind::Event => "event_route[E_NAME]",
            _ => return,
        };
        self.missing_name(kind, at, example);
    }
}
