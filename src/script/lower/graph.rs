//! What the call graph decides: where waits are, where none may be, which functions stand in the
//! wrong kind of route.

use super::{Lowerer, WaitPoint};
use crate::script::ast::{Dialect, RouteKind};
use crate::script::diagnostics::Diagnostic;
use crate::script::host::{EventSort, Host};
use crate::script::ir::Route;
use crate::script::source::Span;
use std::collections::HashMap;

impl<H: Host> Lowerer<'_, H> {
    /// Judges waits and misplaced functions, and notes which blocks may wait.
    pub(super) fn check_waits(&mut self) {
        let hooks = self.numbers(|dialect, r| match (r.kind, &r.name) {
            (RouteKind::OnSend, _) => true,
            (RouteKind::Event, Some(name)) => H::event(dialect, name) == EventSort::Hook,
            _ => false,
        });
        let startup = self.numbers(|_, r| r.kind == RouteKind::Startup);
        let from_hooks = self.reached(hooks.iter().copied());
        let from_startup = self.reached(startup.iter().copied());
        let waits = std::mem::take(&mut self.waits);
        for w in &waits {
            self.judge(w, &hooks, &from_hooks);
            if w.resumed_by.is_some() {
                self.judge(w, &startup, &from_startup);
            }
        }
        self.need_tm(&waits);
        self.note_waiting(&waits);
        self.check_places();
        self.check_events();
    }

    /// Kamailio's routes for what this server does not raise.
    fn check_events(&mut self) {
        if self.dialect != Dialect::Kamailio {
            return;
        }
        let never = |r: &&Route| {
            let sort = r.name.as_deref().map(|name| H::event(Dialect::Kamailio, name));
            r.kind == RouteKind::Event && sort == Some(EventSort::Never)
        };
        for route in self.p.routes.iter().filter(never) {
            let d = Diagnostic::warning("W0402", route.span, format!("`{}` is never run", route.label()));
            self.diags.push(d.label("the server does not raise this event"));
        }
    }

    /// The blocks that are like this.
    fn numbers(&self, like: impl Fn(Dialect, &Route) -> bool) -> Vec<u32> {
        self.p.routes.iter().enumerate().filter(|(_, r)| like(self.dialect, r)).map(|(i, _)| i as u32).collect()
    }

    /// Blocks reached by `route()` from blocks of some kinds, each with the first call on the way.
    fn reached_from(&self, roots: impl Fn(RouteKind) -> bool) -> HashMap<u32, Span> {
        self.reached(self.p.routes.iter().enumerate().filter(|(_, r)| roots(r.kind)).map(|(i, _)| i as u32))
    }

    fn reached(&self, roots: impl Iterator<Item = u32>) -> HashMap<u32, Span> {
        let mut reached = HashMap::new();
        let mut todo: Vec<(u32, Option<Span>)> = roots.map(|r| (r, None)).collect();
        while let Some((from, via)) = todo.pop() {
            for (_, to, span) in self.edges.iter().filter(|e| e.0 == from) {
                let via = via.unwrap_or(*span);
                if !reached.contains_key(to) {
                    reached.insert(*to, via);
                    todo.push((*to, Some(via)));
                }
            }
        }
        reached
    }

    /// Whether a block can also run where it may wait: it begins a run of its own, is
    /// called by nobody (whose name for it is known), or is reached from such a block.
    fn used_elsewhere(&self, route: u32, forbidden: &[u32]) -> bool {
        let begins = |(i, r): &(usize, &Route)| {
            let i = *i as u32;
            match r.kind {
                _ if forbidden.contains(&i) => false,
                RouteKind::Request => {
                    r.name.is_none() || self.entries.contains(&i) || !self.edges.iter().any(|e| e.1 == i)
                }
                _ => true,
            }
        };
        let roots: Vec<u32> = self.p.routes.iter().enumerate().filter(begins).map(|(i, _)| i as u32).collect();
        roots.contains(&route) || self.reached(roots.into_iter()).contains_key(&route)
    }

    /// The first of some blocks from which another is reached.
    fn root_of(&self, route: u32, roots: &[u32]) -> Option<u32> {
        roots.iter().copied().find(|r| self.reached(std::iter::once(*r)).contains_key(&route))
    }

    /// A wait in blocks where none may be, or in one that they reach.
    fn judge(&mut self, w: &WaitPoint, forbidden: &[u32], reached: &HashMap<u32, Span>) {
        let own = forbidden.contains(&w.route);
        let via = reached.get(&w.route).copied();
        let place = if own { Some(w.route) } else { via.and_then(|_| self.root_of(w.route, forbidden)) };
        let Some(place) = place.and_then(|p| self.p.routes.get(p as usize)) else { return };
        let (kind, place) = (place.kind, place.label());
        let what = w.what();
        let (reason, help) = match kind {
            RouteKind::Startup => (
                "startup_route runs to its end before there is anything to go on with",
                match w.resumed_by.as_deref().and_then(|by| by.strip_prefix("async_")) {
                    Some(all) => format!("write `await_{all} {{ ... }}`: startup_route simply waits for it"),
                    None => format!("call `{}` without `async`: startup_route simply waits for it", w.name),
                },
            ),
            RouteKind::Event => (
                "it runs in the middle of what it is about, which cannot be suspended",
                format!("use `launch({}(...))`", w.name),
            ),
            _ => (
                "onsend_route runs while the message is being sent and cannot be suspended",
                format!("use `launch({}(...))`, or do it before the message is sent", w.name),
            ),
        };
        if own {
            let d = Diagnostic::error("E0402", w.span, format!("{what} in {place}")).label(reason);
            self.diags.push(d.help(help));
            return;
        }
        let Some(via) = via else { return };
        let label = self.p.routes.get(w.route as usize).map_or(String::new(), |r| r.label());
        let called = format!("`{label}` is called from {place} here");
        let d = if self.used_elsewhere(w.route, forbidden) {
            Diagnostic::warning("W0401", w.span, format!("{what} in a route that {place} uses too"))
                .label(format!("gives -1 there: {reason}"))
        } else {
            Diagnostic::error("E0402", w.span, format!("{what} in a route that only {place} uses")).label(reason)
        };
        self.diags.push(d.related(via, called).help(help));
    }

    /// A script that waits needs transactions: there a suspended message is kept.
    fn need_tm(&mut self, waits: &[WaitPoint]) {
        if self.p.has_module("tm") {
            return;
        }
        let detached = |r: u32| {
            let kind = self.p.routes.get(r as usize).map(|r| r.kind);
            matches!(kind, Some(RouteKind::Startup | RouteKind::Timer | RouteKind::Event))
        };
        let Some(first) = waits.iter().find(|w| w.resumed_by.is_some() || !detached(w.route)) else { return };
        let what = first.what();
        let d = Diagnostic::error("E0403", first.span, format!("{what} needs module `tm`, which is not loaded"))
            .label("a suspended message is kept in a transaction")
            .help("add `loadmodule \"tm.so\"`");
        self.diags.push(d);
    }

    /// Notes which blocks may wait, themselves or through the blocks they call.
    fn note_waiting(&mut self, waits: &[WaitPoint]) {
        let mut todo: Vec<u32> = waits.iter().map(|w| w.route).collect();
        while let Some(at) = todo.pop() {
            let Some(r) = self.p.routes.get_mut(at as usize) else { continue };
            if r.waits {
                continue;
            }
            r.waits = true;
            todo.extend(self.edges.iter().filter(|e| e.1 == at).map(|e| e.0));
        }
    }

    /// Functions in blocks that do not allow them. A `route[x]` may hold what a request route
    /// may, and what the kinds of route that call it may.
    fn check_places(&mut self) {
        for (route, span, spec, name) in std::mem::take(&mut self.misplaced) {
            let Some(kind) = self.p.routes.get(route as usize).map(|r| r.kind) else { continue };
            let callers: Vec<RouteKind> = KINDS
                .into_iter()
                .filter(|k| *k != RouteKind::Request && spec.routes.contains(*k))
                .filter(|k| self.reached_from(|root| root == *k).contains_key(&route))
                .collect();
            if kind == RouteKind::Request && !callers.is_empty() {
                continue;
            }
            let allowed: Vec<String> =
                KINDS.into_iter().filter(|k| spec.routes.contains(*k)).map(|k| k.to_string()).collect();
            let d = Diagnostic::error("E0401", span, format!("`{name}` cannot be used in {kind}"))
                .help(format!("it can be used in: {}", allowed.join(", ")));
            self.diags.push(d);
        }
    }
}

impl WaitPoint {
    /// How messages name it.
    fn what(&self) -> String {
        match &self.resumed_by {
            Some(by) => format!("`{by}`"),
            None => format!("`{}`, which waits,", self.name),
        }
    }
}

const KINDS: [RouteKind; 10] = [
    RouteKind::Request,
    RouteKind::OnReply,
    RouteKind::Failure,
    RouteKind::Branch,
    RouteKind::Local,
    RouteKind::Error,
    RouteKind::Startup,
    RouteKind::Timer,
    RouteKind::Event,
    RouteKind::OnSend,
];
