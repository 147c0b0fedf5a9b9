//! From text to tree. Both dialects share the lexer, includes and the cursor; each has a grammar of its own.
//!
//! A parser reports what it finds and goes on, so that one run shows all mistakes of a
//! configuration; the tree it returns is complete only if no error was reported.

mod cursor;
mod dialect;
mod opensips;
mod several;
mod sockets;

pub use dialect::recognise_dialect;
pub use opensips::params;

use super::ast::{Config, Dialect};
use super::diagnostics::{Diagnostic, Diagnostics};
use super::preprocess::{self, Disk, Loader, NoFiles};
use super::source::{SourceMap, Span};
use std::path::Path;

/// Reads and parses a configuration file with all its includes. `-` is standard input. The
/// dialect is recognised from the text.
pub fn parse_file(path: &Path, map: &mut SourceMap, diags: &mut Diagnostics) -> Config {
    parse_file_as(path, None, map, diags).1
}

/// The same with a given dialect, if one is given; returns the dialect too.
pub fn parse_file_as(
    path: &Path,
    dialect: Option<Dialect>,
    map: &mut SourceMap,
    diags: &mut Diagnostics,
) -> (Dialect, Config) {
    let Some(main) = preprocess::read_main(path, map, diags) else {
        return (dialect.unwrap_or(Dialect::OpenSips), Config::default());
    };
    parse_main(main, dialect, &mut Disk, map, diags)
}

/// Parses a text that calls itself `name`; includes are looked up as for a file of that name.
pub fn parse_text(name: &str, text: &str, map: &mut SourceMap, diags: &mut Diagnostics) -> Config {
    parse_text_as(name, text, None, map, diags).1
}

/// The same with a given dialect, if one is given; returns the dialect too.
pub fn parse_text_as(
    name: &str,
    text: &str,
    dialect: Option<Dialect>,
    map: &mut SourceMap,
    diags: &mut Diagnostics,
) -> (Dialect, Config) {
    let main = map.add(name, text);
    parse_main(main, dialect, &mut Disk, map, diags)
}

fn parse_main(
    main: u16,
    dialect: Option<Dialect>,
    loader: &mut dyn Loader,
    map: &mut SourceMap,
    diags: &mut Diagnostics,
) -> (Dialect, Config) {
    let dialect = dialect.unwrap_or_else(|| {
        map.files().get(usize::from(main)).map_or(Dialect::OpenSips, |f| recognise_dialect(&f.text))
    });
    if dialect == Dialect::Kamailio {
        let span = Span { file: main, start: 0, end: 0 };
        diags.push(
            Diagnostic::error("E0126", span, "this is a Kamailio configuration")
                .help("only the OpenSIPS dialect can be read; `--dialect opensips` overrides the recognition"),
        );
        return (dialect, Config::default());
    }
    let tokens = preprocess::tokens(main, loader, map, diags);
    (dialect, opensips::parse(&tokens, map, diags))
}

/// Parses any bytes as either dialect, without touching files; for tests with random input. Must neither panic nor hang.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = recognise_dialect(&text);
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let main = map.add("fuzz", text);
    let _ = parse_main(main, Some(Dialect::OpenSips), &mut NoFiles, &mut map, &mut diags);
    // Rendering takes longer than all the rest.
    if data.len().is_multiple_of(8) {
        let _ = super::render::render(&map, &diags, data.len().is_multiple_of(16));
    }
}
