//! Findings as text for people: place, excerpt, reason, suggestion, related places, and a summary.

use super::diagnostics::{Diagnostic, Diagnostics, Severity};
use super::source::{SourceMap, Span};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::ops::Range;

/// Longest line that is shown, in bytes; of a longer one only the place is named.
const LONGEST_LINE: usize = 2000;

/// All findings, ordered by their place, each with its excerpt; then one line that counts them. Empty if there are none.
pub fn render(map: &SourceMap, diags: &Diagnostics, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut list: Vec<&Diagnostic> = diags.list().iter().collect();
    list.sort_by_key(|d| (d.span.file, d.span.start));
    let mut out = String::new();
    for d in list {
        out.push_str(&renderer.render(&[group(map, d)]));
        out.push_str("\n\n");
    }
    out.push_str(&summary(diags));
    out
}

/// `2 errors, 1 warning`, as a line; empty if nothing was found.
pub fn summary(diags: &Diagnostics) -> String {
    let kinds = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let counts: Vec<String> = kinds
        .into_iter()
        .map(|(severity, name)| (diags.count(severity), name))
        .filter(|(n, _)| *n > 0)
        .map(|(n, name)| format!("{n} {name}{}", if n == 1 { "" } else { "s" }))
        .collect();
    if counts.is_empty() { String::new() } else { format!("{}\n", counts.join(", ")) }
}

fn group<'a>(map: &'a SourceMap, d: &'a Diagnostic) -> Group<'a> {
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let group = Group::with_title(level.primary_title(d.message.as_str()).id(d.code));
    // Places on the line of the finding share its excerpt, the others have one each.
    let line = |span: Span| (span.file, map.position(span).1);
    let (near, far): (Vec<_>, Vec<_>) = d.related.iter().partition(|(span, _)| line(*span) == line(d.span));
    let mut group = excerpt(group, map, d.span, &d.label, AnnotationKind::Primary, &near);
    for (span, text) in far {
        group = excerpt(group, map, *span, text, AnnotationKind::Context, &[]);
    }
    if let Some(help) = &d.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

/// Adds the line of a place, with marks at the place and at others on the line.
fn excerpt<'a>(
    group: Group<'a>,
    map: &'a SourceMap,
    span: Span,
    label: &'a str,
    kind: AnnotationKind,
    near: &[&'a (Span, String)],
) -> Group<'a> {
    let Some(file) = map.files().get(usize::from(span.file)) else { return group };
    let (_, number, column) = map.position(span);
    match map.line(span) {
        Some((line, _, range)) if !file.text.is_empty() && line.len() <= LONGEST_LINE => {
            let mut snippet = Snippet::source(line).line_start(number as usize).path(file.path.as_str());
            let label = (!label.is_empty()).then_some(label);
            snippet = snippet.annotation(kind.span(whole(line, range)).label(label));
            for (span, text) in near {
                if let Some((_, _, range)) = map.line(*span) {
                    let range = whole(line, range);
                    snippet = snippet.annotation(AnnotationKind::Context.span(range).label(text.as_str()));
                }
            }
            group.element(snippet)
        }
        _ => {
            let origin = Origin::path(file.path.as_str());
            let group = group.element(origin.line(number as usize).char_column(column as usize));
            if label.is_empty() { group } else { group.element(Level::NOTE.message(label)) }
        }
    }
}

/// A range of a line with whole characters in it: what is missing in front of a character is marked there, and
/// the renderer would cut one of several bytes in two.
fn whole(line: &str, range: Range<usize>) -> Range<usize> {
    let inside = |at: usize| at < line.len() && !line.is_char_boundary(at);
    let (mut start, mut end) = (range.start, range.end);
    while inside(start) {
        start -= 1;
    }
    if start == end {
        end += line.get(start..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    }
    while inside(end) {
        end += 1;
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_front_of_a_long_character() {
        let mut map = SourceMap::default();
        let file = map.add("a.cfg", "x\u{fffd}y\n");
        for (start, end) in [(1, 1), (1, 2), (2, 3), (4, 4), (5, 5)] {
            let mut diags = Diagnostics::default();
            diags.push(
                Diagnostic::error("E0102", Span { file, start, end }, "here").related(Span { file, start, end }, "too"),
            );
            assert!(render(&map, &diags, false).contains("a.cfg:1:"), "{start}..{end}");
        }
    }

    #[test]
    fn a_finding_in_full() {
        let mut map = SourceMap::default();
        let file = map.add("a.cfg", "route {\n    t_realy();\n}\n");
        let mut diags = Diagnostics::default();
        assert_eq!(render(&map, &diags, false), "");
        let d = Diagnostic::error("E0201", Span { file, start: 12, end: 19 }, "unknown function `t_realy`")
            .label("no module has it")
            .help("did you mean `t_relay`?")
            .related(Span { file, start: 0, end: 5 }, "in this route");
        diags.push(d);
        diags.push(Diagnostic::warning("W0401", Span { file, start: 0, end: 5 }, "a warning"));
        let text = render(&map, &diags, false);
        assert!(text.contains("error[E0201]: unknown function `t_realy`\n --> a.cfg:2:5\n"), "{text}");
        assert!(text.contains("no module has it") && text.contains("help: did you mean `t_relay`?"), "{text}");
        assert!(text.ends_with("\n1 error, 1 warning\n"), "{text}");
        assert!(text.find("W0401").unwrap() < text.find("E0201").unwrap(), "ordered by place: {text}");
        assert!(render(&map, &diags, true).contains('\u{1b}'));
    }

    #[test]
    fn odd_places() {
        let mut map = SourceMap::default();
        let file = map.add("a.cfg", "\t\u{e4}\u{0}\r\nx");
        let empty = map.add("none.cfg", "");
        let mut diags = Diagnostics::default();
        for span in [
            Span { file, start: 0, end: 900 },
            Span { file, start: 5, end: 6 },
            Span { file, start: 6, end: 6 },
            Span { file: empty, start: 0, end: 0 },
            Span { file: 9, start: 3, end: 1 },
        ] {
            diags.push(Diagnostic::error("E0101", span, "m").label("l"));
        }
        assert!(render(&map, &diags, false).ends_with("5 errors\n"));
    }
}
