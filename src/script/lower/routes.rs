//! The table of route blocks, and finding one by its name.

use super::Lowerer;
use crate::base::names::suggest;
use crate::script::ast::{RouteBlock, RouteKind};
use crate::script::diagnostics::Diagnostic;
use crate::script::host::Host;
use crate::script::ir::Route;
use crate::script::source::Span;

impl<H: Host> Lowerer<'_, H> {
    /// Numbers the blocks. A block that repeats a name is reported and still checked.
    pub(super) fn collect_routes<'b>(&mut self, blocks: &[&'b RouteBlock]) -> Vec<(u32, &'b RouteBlock)> {
        let mut out = Vec::new();
        for block in blocks {
            let number = self.p.routes.len() as u32;
            let name: Option<Box<str>> =
                block.name.as_ref().map(|n| n.text.as_str()).filter(|n| *n != "0").map(Box::from);
            let key = (block.kind, name.clone());
            let route = Route {
                kind: block.kind,
                name,
                interval: block.interval,
                entry: 0,
                end: 0,
                span: block.span,
                waits: false,
            };
            if let Some(first) = self.p.route_by_name.get(&key) {
                let earlier = self.p.routes.get(*first as usize).map_or(block.span, |r| r.span);
                // A head the parser complained about may have lost its name.
                let s = block.span;
                let broken = |d: &Diagnostic| d.span.file == s.file && (s.start..s.end).contains(&d.span.start);
                if self.diags.list().iter().any(broken) {
                    self.p.routes.push(route);
                    out.push((number, *block));
                    continue;
                }
                let d = Diagnostic::error("E0206", block.span, format!("`{}` exists twice", route.label()))
                    .related(earlier, "the first one");
                self.diags.push(d);
            } else {
                self.p.route_by_name.insert(key, number);
            }
            self.p.routes.push(route);
            out.push((number, *block));
        }
        out
    }

    /// The block of this kind and name; what is missing is reported.
    pub(super) fn find_route(&mut self, kind: RouteKind, name: &str, span: Span) -> Option<u32> {
        if let Some(n) = self.p.find_route(kind, Some(name)) {
            return Some(n);
        }
        let label = format!("{kind}[{name}]");
        let mut d = Diagnostic::error("E0205", span, format!("there is no `{label}`"));
        let elsewhere = self.p.routes.iter().find(|r| r.kind != kind && r.name.as_deref() == Some(name));
        let near = suggest(name, self.p.routes_of(kind).filter_map(|(_, r)| r.name.as_deref()));
        if let Some(r) = elsewhere {
            d = d.related(r.span, format!("this is another kind of route; meant here is a `{kind}`"));
        } else if let Some(s) = near {
            d = d.help(format!("did you mean `{kind}[{s}]`?"));
        }
        self.diags.push(d);
        None
    }
}
