//! What is wrong with a configuration, as data. Every stage adds to one [`Diagnostics`]; all
//! findings are shown in one run, rendered in one place.

use super::source::{SourceMap, Span};
use std::collections::HashMap;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable number, such as `E0203`; explained by `reprise explain`.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Short text under the marked excerpt; may be empty.
    pub label: String,
    /// A suggestion, such as "did you mean `t_relay`?".
    pub help: Option<String>,
    /// Other places that matter, each with its text.
    pub related: Vec<(Span, String)>,
    /// How often the same was found ([`Diagnostics::tell_once`]).
    pub times: usize,
}

impl Diagnostic {
    /// An error without label, help or related places.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            span,
            label: String::new(),
            help: None,
            related: Vec::new(),
            times: 1,
        }
    }

    /// A warning without label, help or related places.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// A note without label, help or related places.
    pub fn note(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Note, ..Self::error(code, span, message) }
    }

    /// Adds the text under the excerpt.
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = text.into();
        self
    }

    /// Adds a suggestion.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds another place.
    pub fn related(mut self, span: Span, text: impl Into<String>) -> Self {
        self.related.push((span, text.into()));
        self
    }
}

/// All findings so far.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds a finding.
    pub fn push(&mut self, d: Diagnostic) {
        self.list.push(d);
    }

    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|d| d.severity == severity).count()
    }

    /// The findings, to say more about them.
    pub fn list_mut(&mut self) -> &mut [Diagnostic] {
        &mut self.list
    }

    /// The findings in the order they were made.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Findings with the same words are told once, at the first place, with the lines of the others: what a configuration
    /// uses and nobody knows is one thing to repair, however often it stands there.
    pub fn tell_once(&mut self, map: &SourceMap) {
        let mut kept: Vec<Diagnostic> = Vec::with_capacity(self.list.len());
        let mut others: Vec<Vec<Span>> = Vec::new();
        let mut known: HashMap<(&'static str, String), usize> = HashMap::new();
        for d in std::mem::take(&mut self.list) {
            // E02xx: names; E0501, W0501: core parameters.
            let by_name = d.code.starts_with("E02") && d.code != "E0206" || matches!(d.code, "E0501" | "W0501");
            if let Some(at) = known.get(&(d.code, d.message.clone())).filter(|_| by_name)
                && let Some(list) = others.get_mut(*at)
            {
                list.push(d.span);
                continue;
            }
            if by_name {
                known.insert((d.code, d.message.clone()), kept.len());
            }
            kept.push(d);
            others.push(Vec::new());
        }
        for (d, more) in kept.iter_mut().zip(others) {
            if more.is_empty() {
                continue;
            }
            let (file, ..) = map.position(d.span);
            let place = |s: &Span| match map.position(*s) {
                (f, line, _) if f == file => line.to_string(),
                (f, line, _) => format!("{f}:{line}"),
            };
            const SHOWN: usize = 10;
            let mut lines: Vec<String> = more.iter().take(SHOWN).map(place).collect();
            if more.len() > SHOWN {
                lines.push("...".into());
            }
            let text = format!("{} times in all; also in line {}", more.len() + 1, lines.join(", "));
            d.label = if d.label.is_empty() { text } else { format!("{}; {text}", d.label) };
            d.times = more.len() + 1;
        }
        self.list = kept;
    }

    /// The findings as plain lines `path:line:column: error[E0001]: message`, for tests and logs.
    pub fn brief(&self, map: &SourceMap) -> String {
        let mut out = String::new();
        for d in &self.list {
            let (path, line, col) = map.position(d.span);
            let kind = match d.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            out.push_str(&format!("{path}:{line}:{col}: {kind}[{}]: {}\n", d.code, d.message));
        }
        out
    }
}
