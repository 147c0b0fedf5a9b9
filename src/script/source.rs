//! Source text and positions in it. All files of a configuration (the main one and its
//! includes) live in one [`SourceMap`]; a [`Span`] names a byte range of one of them.

use serde::{Deserialize, Serialize};

/// A byte range of one source file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Span {
    /// Which file of the [`SourceMap`].
    pub file: u16,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From the start of `self` to the end of `other` (same file; else `self`).
    pub fn to(self, other: Span) -> Span {
        if self.file == other.file { Span { end: other.end.max(self.end), ..self } } else { self }
    }
}

/// One source file.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Path as the operator wrote it.
    pub path: String,
    /// The text.
    pub text: String,
    line_starts: Vec<u32>,
}

/// Every file of one configuration.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a file and returns its number.
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<String>) -> u16 {
        let text = text.into();
        let line_starts =
            std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|i| i as u32 + 1)).collect();
        self.files.push(SourceFile { path: path.into(), text, line_starts });
        (self.files.len() - 1) as u16
    }

    /// Adds text at the end of a file; gives the place where it stands.
    pub fn append(&mut self, file: u16, text: &str) -> Span {
        let Some(f) = self.files.get_mut(usize::from(file)) else { return Span::default() };
        let start = f.text.len() as u32;
        f.line_starts.extend(memchr::memchr_iter(b'\n', text.as_bytes()).map(|i| start + i as u32 + 1));
        f.text.push_str(text);
        Span { file, start, end: f.text.len() as u32 }
    }

    /// The files, in order of their numbers.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The text a span covers.
    pub fn text(&self, span: Span) -> &str {
        self.files
            .get(usize::from(span.file))
            .and_then(|f| f.text.get(span.start as usize..span.end as usize))
            .unwrap_or("")
    }

    /// Text and number (from 1) of the line a span starts in, and the span's range within that line:
    /// a span that goes on over the line's end is cut there.
    pub fn line(&self, span: Span) -> Option<(&str, u32, std::ops::Range<usize>)> {
        let f = self.files.get(usize::from(span.file))?;
        let number = f.line_starts.partition_point(|s| *s <= span.start);
        let first = *f.line_starts.get(number.checked_sub(1)?)? as usize;
        let last = f.line_starts.get(number).map_or(f.text.len(), |next| *next as usize - 1);
        let line = f.text.get(first..last)?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        let start = (span.start as usize - first).min(line.len());
        let end = (span.end as usize).saturating_sub(first).clamp(start, line.len());
        Some((line, number as u32, start..end))
    }

    /// Path, line and column (both from 1, the column in characters) of a span's start.
    pub fn position(&self, span: Span) -> (&str, u32, u32) {
        let Some(f) = self.files.get(usize::from(span.file)) else { return ("", 0, 0) };
        let line = f.line_starts.partition_point(|s| *s <= span.start);
        let start = f.line_starts[line.saturating_sub(1)] as usize;
        let col = f.text.get(start..span.start as usize).map_or(0, |t| t.chars().count());
        (&f.path, line as u32, col as u32 + 1)
    }
}
