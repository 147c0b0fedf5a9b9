//! From the tree to a checked program: names are resolved, arguments and types checked, waits
//! refused where none may be. Everything that is wrong is reported in one run.

mod args;
mod expr;
mod functions;
mod graph;
mod legacy;
mod modules;
mod routes;
mod several;
mod stmt;
mod vars;

use super::ast::{Config, Dialect, Item, RouteBlock, RouteKind};
use super::diagnostics::Diagnostics;
use super::host::Host;
use super::ir::Instr;
use super::print;
use super::program::{Line, Program};
use super::registry::FnSpec;
use super::source::{SourceMap, Span};
use super::value::Value;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Checks and compiles a configuration. Findings are added to `diags`; `None` if any of them,
/// earlier ones included, is an error. Core parameters are left to the caller.
pub fn compile<H: Host>(
    dialect: Dialect,
    config: &Config,
    map: &SourceMap,
    diags: &mut Diagnostics,
) -> Option<Program<H>> {
    let mut lower = Lowerer::new(dialect, map, diags);
    lower.modules(config);
    lower.custom = config
        .items
        .iter()
        .filter_map(|i| if let Item::Custom { name, .. } = i { Some(name.text.clone()) } else { None })
        .collect();
    let blocks: Vec<&RouteBlock> =
        config.items.iter().filter_map(|i| if let Item::Route(r) = i { Some(r) } else { None }).collect();
    let numbered = lower.collect_routes(&blocks);
    for (number, block) in numbered {
        lower.block(number, block);
    }
    lower.check_waits();
    let mut program = lower.finish();
    if diags.has_errors() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    print::program(&program).hash(&mut hasher);
    program.fingerprint = hasher.finish();
    Some(program)
}

/// A place where the script may wait.
struct WaitPoint {
    /// The block it stands in.
    route: u32,
    span: Span,
    /// The function.
    name: String,
    /// By `async()` or its like: goes on in a resume route.
    resumed_by: Option<String>,
}

/// A loop or switch that is being lowered.
struct Breakable {
    /// Jumps to its end, to be patched.
    breaks: Vec<usize>,
    /// Where `continue` goes; `None` for a switch.
    again: Option<u32>,
}

struct Lowerer<'a, H: Host> {
    dialect: Dialect,
    map: &'a SourceMap,
    diags: &'a mut Diagnostics,
    p: Program<H>,
    /// Functions that may be called, by name.
    functions: HashMap<&'static str, Vec<&'static FnSpec<H>>>,
    /// Kamailio: names of the configuration's own parameters.
    custom: Vec<String>,
    /// Modules that were to be loaded and are not known.
    unknown_modules: Vec<String>,
    /// The block being lowered.
    route: u32,
    kind: RouteKind,
    line: Line,
    breakables: Vec<Breakable>,
    waits: Vec<WaitPoint>,
    /// `route()` calls with names known: from, to, where.
    edges: Vec<(u32, u32, Span)>,
    /// Blocks that begin a run of their own: resume and report routes, routes armed by functions.
    entries: Vec<u32>,
    /// Functions that their block's kind does not allow: judged when the call graph is known.
    misplaced: Vec<(u32, Span, &'static FnSpec<H>, String)>,
    const_index: HashMap<Vec<u8>, u32>,
    var_index: HashMap<String, u32>,
    format_index: HashMap<Vec<u8>, u32>,
    regex_index: HashMap<(String, bool), u32>,
}

impl<'a, H: Host> Lowerer<'a, H> {
    fn new(dialect: Dialect, map: &'a SourceMap, diags: &'a mut Diagnostics) -> Self {
        let mut p = Program::empty(dialect);
        p.files = map.files().iter().map(|f| f.path.clone()).collect();
        Lowerer {
            dialect,
            map,
            diags,
            p,
            functions: HashMap::new(),
            custom: Vec::new(),
            unknown_modules: Vec::new(),
            route: 0,
            kind: RouteKind::Request,
            line: Line::default(),
            breakables: Vec::new(),
            waits: Vec::new(),
            edges: Vec::new(),
            entries: Vec::new(),
            misplaced: Vec::new(),
            const_index: HashMap::new(),
            var_index: HashMap::new(),
            format_index: HashMap::new(),
            regex_index: HashMap::new(),
        }
    }

    fn block(&mut self, number: u32, block: &RouteBlock) {
        self.route = number;
        self.kind = block.kind;
        self.breakables.clear();
        self.mark(block.span);
        let entry = self.here();
        self.statements(&block.body);
        self.emit(Instr::End);
        let end = self.here();
        if let Some(r) = self.p.routes.get_mut(number as usize) {
            (r.entry, r.end) = (entry, end);
        }
    }

    fn finish(self) -> Program<H> {
        let mut p = self.p;
        let initial: Vec<_> = (0..p.slots.len()).map(|slot| p.unset_slot(slot as u32)).collect();
        *p.initial.get_mut() = initial.into();
        p
    }

    /// Instructions that follow come from here.
    fn mark(&mut self, span: Span) {
        self.line = Line { file: span.file.into(), line: self.map.position(span).1 };
    }

    /// Adds an instruction; gives its position.
    fn emit(&mut self, instr: Instr) -> usize {
        self.p.code.push(instr);
        self.p.lines.push(self.line);
        self.p.code.len() - 1
    }

    /// Position of the next instruction.
    fn here(&self) -> u32 {
        self.p.code.len() as u32
    }

    /// Makes the jump at `at` go to the next instruction.
    fn land(&mut self, at: usize) {
        let to = self.here();
        match self.p.code.get_mut(at) {
            Some(Instr::Jump(t) | Instr::Unless(t) | Instr::AndElse(t) | Instr::OrElse(t) | Instr::LoopTick(t)) => {
                *t = to
            }
            Some(Instr::ForNext { done, .. }) => *done = to,
            _ => {}
        }
    }

    /// Number of a constant.
    fn konst(&mut self, v: Value) -> u32 {
        let key = postcard::to_allocvec(&v).unwrap_or_default();
        if let Some(n) = self.const_index.get(&key) {
            return *n;
        }
        let n = self.p.consts.len() as u32;
        self.p.consts.push(v);
        self.const_index.insert(key, n);
        n
    }
}
