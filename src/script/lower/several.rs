//! `async_all` and its like.

use super::Lowerer;
use crate::script::ast::{RouteKind, Several};
use crate::script::diagnostics::Diagnostic;
use crate::script::host::Host;
use crate::script::ir::{Instr, SeveralSite};

impl<H: Host> Lowerer<'_, H> {
    pub(super) fn several(&mut self, s: &Several) {
        let word = s.word.text.as_str();
        let mut members = Vec::with_capacity(s.members.len());
        let mut good = !s.members.is_empty();
        for call in &s.members {
            let Some((site, function)) = self.call_site(call) else {
                good = false;
                continue;
            };
            if !H::side_by_side(function) {
                let name = &call.name.text;
                let d = Diagnostic::error("E0404", call.name.span, format!("`{name}` cannot be started by `{word}`"));
                let label = if function.waits { "it works on the message while it waits" } else { "it never waits" };
                let help = format!("call `{name}` in front of `{word}`, or behind it");
                self.diags.push(d.label(label).help(help));
                good = false;
                continue;
            }
            self.wait_point(call.name.span, &call.name.text, s.route.as_ref().map(|_| word));
            members.push(site);
        }
        let route = s.route.as_ref().map(|r| self.find_route(RouteKind::Request, &r.text, r.span));
        self.entries.extend(route.flatten());
        if good && route != Some(None) {
            self.p.severals.push(SeveralSite {
                word: word.into(),
                members,
                route: route.flatten(),
                until: s.until,
                timeout: s.timeout,
            });
            let n = (self.p.severals.len() - 1) as u32;
            self.emit(Instr::Several(n));
        }
    }
}
