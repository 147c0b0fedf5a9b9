//! A program as text: for tests, for `reprise check`, and to tell programs apart.

use super::host::Host;
use super::ir::{ArgPlan, Instr, Label, Part, VarRef};
use super::program::Program;
use std::fmt::Write;

/// The whole program, one instruction per line.
pub fn program<H: Host>(p: &Program<H>) -> String {
    let mut out = String::new();
    for route in &p.routes {
        let _ = write!(out, "{}", route.label());
        if let Some(s) = route.interval {
            let _ = write!(out, " every {s} s");
        }
        let _ = writeln!(out, "{}", if route.waits { " (waits)" } else { "" });
        for pc in route.entry..route.end {
            let line = p.position(pc).1;
            if let Some(i) = p.code.get(pc as usize) {
                let _ = writeln!(out, "{pc:5} {line:5}  {}", instr(p, i));
            }
        }
    }
    out
}

/// One instruction.
pub fn instr<H: Host>(p: &Program<H>, i: &Instr) -> String {
    match *i {
        Instr::Const(n) => format!("const {}", konst(p, n)),
        Instr::Load(n) => format!("load {}", var(p, n)),
        Instr::Format(n) => format!("format {}", format_text(p, n)),
        Instr::Test { var: v, konst: k, op, literal } => {
            format!("test {} {op:?} {}{}", var(p, v), konst(p, k), if literal { " literal" } else { "" })
        }
        Instr::Match { regex, negate } => {
            format!("match {:?}{}", p.regex(regex).as_str(), if negate { " not" } else { "" })
        }
        Instr::InNet { net, negate } => match p.nets.get(net as usize) {
            Some(n) => format!("in {}/{}{}", n.addr, n.bits, if negate { " not" } else { "" }),
            None => "in ?".into(),
        },
        Instr::Switch(n) => match p.switches.get(n as usize) {
            Some(t) => {
                let mut out = "switch".to_string();
                for (label, to) in &t.cases {
                    let _ = match label {
                        Label::Int(n) => write!(out, " {n}->{to}"),
                        Label::Text(s) => write!(out, " {s:?}->{to}"),
                        Label::Regex(r) => write!(out, " /{}/->{to}", p.regex(*r).as_str()),
                    };
                }
                let _ = write!(out, " else->{}", t.otherwise);
                out
            }
            None => "switch ?".into(),
        },
        Instr::ForNext { source, iterator, done } => {
            format!("for {} in {} else->{done}", var(p, iterator), var(p, source))
        }
        Instr::Assign { var: v, op } => format!("assign {op:?} {}", var(p, v)),
        Instr::Call(n) => format!("call {}", site(p, n)),
        Instr::Prepare(n) => format!("prepare {}", site(p, n)),
        Instr::Async(n) => match p.asyncs.get(n as usize) {
            Some(a) => format!(
                "async {} then {}{}",
                site(p, a.call),
                label(p, a.route),
                if a.timeout { " with deadline" } else { "" }
            ),
            None => "async ?".into(),
        },
        Instr::Launch(n) => match p.launches.get(n as usize) {
            Some(l) => {
                let then = l.route.map_or(String::new(), |r| format!(" then {}", label(p, r)));
                format!("launch {}{then}{}", site(p, l.call), if l.param { " with parameter" } else { "" })
            }
            None => "launch ?".into(),
        },
        Instr::Several(n) => match p.severals.get(n as usize) {
            Some(s) => {
                let members: Vec<String> = s.members.iter().map(|m| site(p, *m)).collect();
                let then = s.route.map_or(String::new(), |r| format!(" then {}", label(p, r)));
                let within = s.timeout.map_or(String::new(), |t| format!(" within {t} s"));
                format!("{} {}{then}{within}", s.word, members.join(" beside "))
            }
            None => "several ?".into(),
        },
        Instr::Route(n) => match p.calls.get(n as usize) {
            Some(c) => format!("{} args {}", c.route.map_or("route computed".into(), |r| label(p, r)), c.args),
            None => "route ?".into(),
        },
        other => format!("{other:?}").to_lowercase(),
    }
}

fn konst<H: Host>(p: &Program<H>, n: u32) -> String {
    p.consts.get(n as usize).map_or("?".into(), |v| format!("{v:?}"))
}

fn label<H: Host>(p: &Program<H>, n: u32) -> String {
    p.route(n).map_or("?".into(), |r| r.label())
}

fn var<H: Host>(p: &Program<H>, n: u32) -> String {
    p.vars.get(n as usize).map_or("?".into(), show::<H>)
}

fn show<H: Host>(v: &VarRef<H::Pv>) -> String {
    v.text.to_string()
}

fn format_text<H: Host>(p: &Program<H>, n: u32) -> String {
    let Some(f) = p.formats.get(n as usize) else { return "?".into() };
    let mut out = String::from("\"");
    for part in &f.parts {
        match part {
            Part::Text(t) => out.push_str(&t.escape_ascii().to_string()),
            Part::Var(v) => out.push_str(&v.text),
        }
    }
    out.push('"');
    out
}

fn site<H: Host>(p: &Program<H>, n: u32) -> String {
    let Some(s) = p.sites.get(n as usize) else { return "?".into() };
    let args: Vec<String> = s
        .args
        .iter()
        .map(|a| match a {
            ArgPlan::None => "-".into(),
            ArgPlan::Const(n) => konst(p, *n),
            ArgPlan::Var { var: v, .. } => var(p, *v),
            ArgPlan::Int { var: v, .. } => format!("int {}", var(p, *v)),
            ArgPlan::Format(n) => format_text(p, *n),
            ArgPlan::FormatInt(n) => format!("int {}", format_text(p, *n)),
            ArgPlan::Out(v) => format!("out {}", var(p, *v)),
            ArgPlan::Outs(vs) => {
                let all: Vec<String> = vs.iter().map(|v| var(p, *v)).collect();
                format!("out {}", all.join(";"))
            }
            ArgPlan::Regex(n) => format!("/{}/", p.regex(*n).as_str()),
            ArgPlan::Map(items) => format!("list of {}", items.len()),
            ArgPlan::Subst(n) => format!("subst {n}"),
            ArgPlan::Route(n) => label(p, *n),
            ArgPlan::Operand => "operand".into(),
        })
        .collect();
    format!("{}({})", s.name, args.join(", "))
}
