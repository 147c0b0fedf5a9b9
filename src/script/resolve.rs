//! From the text of a variable to what it means: the machine's own variables by their names,
//! all others by asking the host. Used while lowering and for format strings computed at run
//! time.

use super::ast::Dialect;
use super::avp;
use super::host::{Host, SubName};
use super::ir::{Base, Format, IndexRef, Name, Part, Transform, TransformArg, VarRef};
use super::pattern::compile_subst;
use super::program::NULL_AT_FIRST;
use super::pv::{self, IndexText, Piece, PvError, PvText};
use super::transform::{self, ArgKind, Op, Refused};
use super::value::Value;
use super::xavp::{self, Family};
use crate::base::Str;
use crate::base::names::suggest;
use std::collections::HashMap;
use std::rc::Rc;

/// Where the slots of `$var` come from.
pub enum Slots<'a> {
    /// A name that is new gets a slot.
    Grow {
        /// Names by slot.
        names: &'a mut Vec<String>,
        /// Slots by name.
        by_name: &'a mut HashMap<String, u32>,
    },
    /// A name that is new has never been assigned.
    Fixed(&'a HashMap<String, u32>),
}

/// Why a variable or format string is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Number of the diagnostic.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// A suggestion.
    pub help: Option<String>,
    /// Byte offset in the text, where it is known.
    pub at: usize,
}

impl Problem {
    fn new(code: &'static str, message: impl Into<String>) -> Problem {
        Problem { code, message: message.into(), help: None, at: 0 }
    }
}

impl From<PvError> for Problem {
    fn from(e: PvError) -> Problem {
        Problem { code: "E0305", message: e.message, help: None, at: e.at }
    }
}

/// Finds out what variables mean.
pub struct Resolver<'a> {
    /// Whose names count.
    pub dialect: Dialect,
    /// Slots of `$var`.
    pub slots: Slots<'a>,
    /// Kamailio: other names of AVPs.
    pub aliases: &'a HashMap<String, String>,
}

/// The machine's own variables, for "did you mean".
const OWN: [&str; 19] = [
    "var",
    "avp",
    "cnt",
    "xavp",
    "xavu",
    "xavi",
    "param",
    "rc",
    "retcode",
    "return",
    "async_rc",
    "async_err",
    "async_phase",
    "cfg_file",
    "cfg_line",
    "route",
    "route.name",
    "route.type",
    "null",
];

impl Resolver<'_> {
    /// A text that is exactly one variable.
    pub fn var_text<H: Host>(&mut self, text: &[u8]) -> Result<VarRef<H::Pv>, Problem> {
        self.var::<H>(&pv::parse(text)?)
    }

    /// A format string.
    pub fn format<H: Host>(&mut self, text: &[u8]) -> Result<Format<H::Pv>, Problem> {
        self.pieces::<H>(&pv::pieces(text)?)
    }

    /// A format string that was taken apart.
    pub fn pieces<H: Host>(&mut self, pieces: &[Piece]) -> Result<Format<H::Pv>, Problem> {
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            parts.push(match piece {
                Piece::Text(t) => Part::Text(Str::from(t.as_slice())),
                Piece::Var(v) => Part::Var(self.var::<H>(v)?),
            });
        }
        Ok(Format { parts })
    }

    /// A variable that was taken apart.
    pub fn var<H: Host>(&mut self, v: &PvText) -> Result<VarRef<H::Pv>, Problem> {
        if v.context.is_none()
            && let Some(context) = H::wrapper(self.dialect, &v.name)
        {
            return self.wrapped::<H>(v, context);
        }
        let counted = (v.context.is_none() && v.name == "cnt" && self.dialect == Dialect::Kamailio)
            .then(|| counted_of(v))
            .transpose()?;
        let (base, sub, writable) = match counted {
            Some(inner) => self.counted::<H>(inner)?,
            None => self.base::<H>(v)?,
        };
        let index = match &v.index {
            IndexText::None => IndexRef::None,
            IndexText::At(n) => IndexRef::At(*n),
            IndexText::All => IndexRef::All,
            IndexText::Append => IndexRef::Append,
            IndexText::Var(i) => IndexRef::Computed(Box::new(self.var::<H>(i)?)),
        };
        let transforms = v.transforms.iter().map(|t| self.transform::<H>(t, &v.text)).collect::<Result<Vec<_>, _>>()?;
        let writable = writable && transforms.is_empty();
        Ok(VarRef { base, sub, index, transforms, text: v.text.as_str().into(), writable })
    }

    /// `$name($inner)`: the inner variable, read of another message.
    fn wrapped<H: Host>(&mut self, v: &PvText, context: &str) -> Result<VarRef<H::Pv>, Problem> {
        let inner = match v.sub.as_deref() {
            Some([Piece::Var(inner)]) if inner.context.is_none() && v.index == IndexText::None => inner,
            _ => {
                let text = format!("`${}` takes one variable in parentheses", v.name);
                let help =
                    Some(format!("write for instance `${}($fU)` or `$({}($hdr(Subject)){{s.len}})`", v.name, v.name));
                return Err(Problem { help, ..Problem::new("E0305", text) });
            }
        };
        let inner = PvText { context: Some(context.to_owned()), ..(**inner).clone() };
        let mut found = self.var::<H>(&inner)?;
        for t in &v.transforms {
            found.transforms.push(self.transform::<H>(t, &v.text)?);
        }
        Ok(VarRef { text: v.text.as_str().into(), writable: false, ..found })
    }

    /// `$cnt($inner)`: how many values the inner variable has.
    #[allow(clippy::type_complexity)]
    fn counted<H: Host>(&mut self, inner: &PvText) -> Result<(Base<H::Pv>, Name<H::Pv>, bool), Problem> {
        if inner.name == "hdr" {
            let counter = PvText { name: "hdrc".to_owned(), ..inner.clone() };
            return self.base::<H>(&counter);
        }
        let (base, sub, _) = self.base::<H>(inner)?;
        match base {
            Base::Avp => Ok((Base::AvpCount, sub, false)),
            Base::Xavp(family) => Ok((Base::XavpCount(family), sub, false)),
            _ => Err(not_counted(&inner.text)),
        }
    }

    #[allow(clippy::type_complexity)]
    fn base<H: Host>(&mut self, v: &PvText) -> Result<(Base<H::Pv>, Name<H::Pv>, bool), Problem> {
        let literal = match v.sub.as_deref() {
            Some([Piece::Text(t)]) => Some(String::from_utf8_lossy(t).into_owned()),
            _ => None,
        };
        if v.context.is_none()
            && let Some((base, need, writable)) = self.own::<H::Pv>(v, literal.as_deref())?
        {
            let mut sub = self.sub::<H>(v, need)?;
            if let (Base::Avp, Dialect::Kamailio, Name::Fixed(name)) = (&base, self.dialect, &mut sub)
                && let Some(text) = name.to_text()
            {
                *name = Value::Str(avp::unaliased(&text, self.aliases));
            }
            return Ok((base, sub, writable));
        }
        let full = match &v.context {
            Some(c) => format!("<{c}>{}", v.name),
            None => v.name.clone(),
        };
        let Some(spec) = H::find_pv(self.dialect, &full, literal.as_deref()) else {
            return Err(self.unknown::<H>(v));
        };
        let sub = self.sub::<H>(v, spec.sub)?;
        Ok((Base::Host(spec.pv), sub, spec.writable))
    }

    /// The machine's own variables: what it is, what may stand in parentheses, whether it may be
    /// assigned.
    #[allow(clippy::type_complexity)]
    fn own<P>(&mut self, v: &PvText, literal: Option<&str>) -> Result<Option<(Base<P>, SubName, bool)>, Problem> {
        let read = |base| Ok(Some((base, SubName::Never, false)));
        match (v.name.as_str(), self.dialect) {
            ("var", _) => {
                let name = literal.filter(|n| !n.is_empty()).ok_or_else(|| {
                    Problem::new("E0305", format!("`{}`: `$var` needs a fixed name in parentheses", v.text))
                })?;
                if !matches!(v.index, IndexText::None) {
                    return Err(Problem::new(
                        "E0305",
                        format!("`{}`: `$var` holds one value, without an index", v.text),
                    ));
                }
                Ok(Some((self.slot(name), SubName::Required, true)))
            }
            ("vz" | "vn", Dialect::Kamailio) => {
                let name = literal.filter(|n| !n.is_empty()).ok_or_else(|| {
                    Problem::new("E0305", format!("`{}`: `${}` needs a fixed name in parentheses", v.text, v.name))
                })?;
                let first = if v.name == "vn" { NULL_AT_FIRST } else { "\u{1}vz:" };
                Ok(Some((self.slot(&format!("{first}{name}")), SubName::Required, true)))
            }
            ("avp", _) => Ok(Some((Base::Avp, SubName::Required, true))),
            ("xavp" | "xavu" | "xavi", Dialect::Kamailio) => {
                Ok(Some((xavp_base(v, literal)?, SubName::Required, true)))
            }
            ("param", Dialect::OpenSips) => Ok(Some((Base::Param, SubName::Required, false))),
            ("return", Dialect::OpenSips) => Ok(Some((Base::Return, SubName::Required, false))),
            ("rc" | "retcode", _) | ("?", Dialect::Kamailio) => read(Base::Rc),
            ("async_rc", _) => read(Base::AsyncRc),
            ("async_err", _) => read(Base::AsyncErr),
            ("async_phase", _) => read(Base::AsyncPhase),
            ("cfg_file", Dialect::OpenSips) => read(Base::CfgFile),
            ("cfg_line", Dialect::OpenSips) => read(Base::CfgLine),
            ("route", Dialect::OpenSips) => read(Base::Route),
            ("route.name", Dialect::OpenSips) => read(Base::RouteName),
            ("route.type", Dialect::OpenSips) => read(Base::RouteType),
            ("null", Dialect::Kamailio) => read(Base::Null),
            ("cfg", Dialect::Kamailio) => Ok(match literal {
                Some("line") => Some((Base::CfgLine, SubName::Required, false)),
                Some("file" | "name") => Some((Base::CfgFile, SubName::Required, false)),
                Some("route") => Some((Base::RouteName, SubName::Required, false)),
                _ => None,
            }),
            _ => Ok(None),
        }
    }

    fn slot<P>(&mut self, name: &str) -> Base<P> {
        match &mut self.slots {
            Slots::Fixed(by_name) => by_name.get(name).map_or(Base::Unset, |n| Base::Var(*n)),
            Slots::Grow { names, by_name } => {
                if let Some(n) = by_name.get(name) {
                    return Base::Var(*n);
                }
                let n = names.len() as u32;
                names.push(name.to_string());
                by_name.insert(name.to_string(), n);
                Base::Var(n)
            }
        }
    }

    fn sub<H: Host>(&mut self, v: &PvText, need: SubName) -> Result<Name<H::Pv>, Problem> {
        match (&v.sub, need) {
            (None, SubName::Required) => {
                Err(Problem::new("E0305", format!("`{}` needs a name in parentheses", v.text)))
            }
            (Some(_), SubName::Never) => Err(Problem::new(
                "E0305",
                format!("`${}` takes nothing in parentheses; for text behind it write `$({})(...`", v.name, v.name),
            )),
            (None, _) => Ok(Name::None),
            (Some(pieces), _) => match pieces.as_slice() {
                [] => Ok(Name::None),
                [Piece::Text(t)] => Ok(Name::Fixed(match transform::number(t) {
                    Some(n) => Value::Both(n, Str::from(t.as_slice())),
                    None => Value::text(t.as_slice()),
                })),
                pieces => Ok(Name::Computed(self.pieces::<H>(pieces)?)),
            },
        }
    }

    fn transform<H: Host>(&mut self, body: &[u8], var: &str) -> Result<Transform<H::Pv>, Problem> {
        let written = transform::parse(body).map_err(|r| refused(r, var))?;
        let mut args = Vec::with_capacity(written.args.len());
        let mut subst = None;
        for (text, kind) in &written.args {
            let trimmed = text.trim_ascii();
            let is_var = trimmed.first() == Some(&b'$') && *kind != ArgKind::Fixed;
            args.push(match kind {
                _ if is_var => TransformArg::Var(self.var_text::<H>(trimmed)?),
                ArgKind::Int => TransformArg::Fixed(transform::number(text).map_or(Value::Null, Value::Int)),
                ArgKind::Subst => {
                    let compiled = compile_subst(&without_brace_escapes(text))
                        .map_err(|e| Problem::new("E0306", format!("`{{re.subst}}` of `{var}`: {e}")))?;
                    let replacement = compiled.replacement.clone();
                    subst = Some(Rc::new(compiled));
                    TransformArg::Fixed(Value::Str(replacement))
                }
                ArgKind::Text | ArgKind::Fixed => TransformArg::Fixed(Value::text(text.as_slice())),
            });
        }
        // The entry of `{nameaddr.IDX.what}` is a parameter that may be left out.
        if written.op == Op::AddrParam && args.len() > 2 {
            return Err(Problem::new("E0306", format!("`{{nameaddr.param}}` of `{var}` has too many parameters")));
        }
        Ok(Transform { op: written.op, args, subst })
    }

    fn unknown<H: Host>(&self, v: &PvText) -> Problem {
        if let ("sel", Some([Piece::Text(path)])) = (v.name.as_str(), v.sub.as_deref()) {
            let path = String::from_utf8_lossy(path).into_owned();
            let help =
                Some("known are for instance @ruri.user, @from.uri.host, @via[1].branch, @hf_value[\"X-A\"]".into());
            return Problem { help, ..Problem::new("E0204", format!("unknown select `@{path}`")) };
        }
        let mut problem = Problem::new("E0204", format!("unknown variable `{}`", shown(v)));
        // A sentence's dot that became part of the name.
        let stem = v.name.trim_end_matches('.');
        let known = |name: &str| OWN.contains(&name) || H::find_pv(self.dialect, name, None).is_some() || name == "hdr";
        problem.help = if stem != v.name && known(stem) {
            Some(format!("a dot directly behind a variable belongs to its name; write `$({stem}).`"))
        } else if let Some(context) = &v.context {
            Some(format!("known contexts are `request` and `reply`; written was `{context}`"))
        } else {
            suggest(&v.name, OWN.iter().chain(H::pv_names(self.dialect)).copied())
                .map(|s| format!("did you mean `${s}`?"))
        };
        problem
    }
}

/// The variable whose values `$cnt(...)` counts.
fn counted_of(v: &PvText) -> Result<&PvText, Problem> {
    match v.sub.as_deref() {
        Some([Piece::Var(inner)]) if inner.transforms.is_empty() => Ok(inner),
        _ => Err(not_counted(&v.text)),
    }
}

fn not_counted(text: &str) -> Problem {
    let help = "write for instance `$cnt($avp(x))`, `$cnt($xavp(x=>y))` or `$cnt($hdr(Via))`".to_string();
    Problem {
        help: Some(help),
        ..Problem::new(
            "E0305",
            format!("`{text}`: `$cnt` counts the values of an AVP, a structured variable or a header"),
        )
    }
}

/// `$xavp(path)` and its like. Only indices may be computed.
fn xavp_base<P>(v: &PvText, literal: Option<&str>) -> Result<Base<P>, Problem> {
    let family = match v.name.as_str() {
        "xavu" => Family::Xavu,
        "xavi" => Family::Xavi,
        _ => Family::Xavp,
    };
    // A variable stands for a number where the path is checked.
    let pieces = v.sub.as_deref().unwrap_or_default();
    let filled: Vec<u8> = pieces
        .iter()
        .flat_map(|p| match p {
            Piece::Text(t) => t.as_slice(),
            Piece::Var(_) => b"0",
        })
        .copied()
        .collect();
    let mut open = false;
    let outside = pieces.iter().any(|p| match p {
        Piece::Text(t) => {
            open = t.iter().rev().find(|c| matches!(c, b'[' | b']')).map_or(open, |c| *c == b'[');
            false
        }
        Piece::Var(_) => !open,
    });
    if outside || literal.is_some_and(str::is_empty) || xavp::Path::parse(&filled).is_none() {
        let text = format!(
            "`{}`: names in parentheses are `name`, `name[INDEX]`, `name=>field`, `name[INDEX]=>field[INDEX]`",
            v.text
        );
        let help = "an index is a number, `*` or a variable; names are fixed".to_string();
        return Err(Problem { help: Some(help), ..Problem::new("E0305", text) });
    }
    Ok(Base::Xavp(family))
}

fn shown(v: &PvText) -> String {
    match &v.context {
        Some(c) => format!("$(<{c}>{})", v.name),
        None => format!("${}", v.name),
    }
}

fn refused(r: Refused, var: &str) -> Problem {
    match r {
        Refused::Unknown { name, suggestion } => Problem {
            help: suggestion.map(|s| format!("did you mean `{{{s}}}`?")),
            ..Problem::new("E0207", format!("unknown transformation `{{{name}}}` in `{var}`"))
        },
        Refused::Waits(name) => Problem {
            help: Some(
                "variables never wait; compare with a network, or let the next hop be resolved when sending".into(),
            ),
            ..Problem::new("E0402", format!("`{{{name}}}` in `{var}` would have to wait for a DNS answer"))
        },
        Refused::Args { name, reason } => Problem::new("E0306", format!("`{{{name}}}` in `{var}` {reason}")),
    }
}

/// Inside braces, `\{` and `\}` stand for the braces themselves.
fn without_brace_escapes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(c) = bytes.next() {
        match (c, bytes.peek()) {
            (b'\\', Some(b'{' | b'}')) => {}
            (b'\\', Some(b'\\')) => {
                out.extend_from_slice(b"\\\\");
                bytes.next();
            }
            _ => out.push(c),
        }
    }
    out
}
