//! From text to tree. Both dialects share the lexer, includes and the cursor; each has a grammar of its own.
//!
//! A parser reports what it finds and goes on, so that one run shows all mistakes of a
//! configuration; the tree it returns is complete only if no error was reported.

mod cursor;
mod dialect;
mod front;
mod kamailio;
mod opensips;
mod several;
mod sockets;

pub use dialect::recognise_dialect;
pub use opensips::params;

use super::ast::{Config, Dialect};
use super::diagnostics::Diagnostics;
use super::preprocess::{self, Disk, Loader, NoFiles};
use super::source::SourceMap;
use std::path::Path;

/// How a configuration is read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its language; recognised from the text if `None`.
    pub dialect: Option<Dialect>,
    /// Kamailio: the preprocessor's defines of the command line, `NAME` or `NAME=VALUE`.
    pub defines: Vec<String>,
}

impl From<Option<Dialect>> for Options {
    fn from(dialect: Option<Dialect>) -> Options {
        Options { dialect, defines: Vec::new() }
    }
}

/// Reads and parses a configuration file with all its includes. `-` is standard input. The
/// dialect is recognised from the text.
pub fn parse_file(path: &Path, map: &mut SourceMap, diags: &mut Diagnostics) -> Config {
    parse_file_as(path, &Options::default(), map, diags).1
}

/// The same with options; returns the dialect too.
pub fn parse_file_as(
    path: &Path,
    options: &Options,
    map: &mut SourceMap,
    diags: &mut Diagnostics,
) -> (Dialect, Config) {
    let Some(main) = preprocess::read_main(path, map, diags) else {
        return (options.dialect.unwrap_or(Dialect::OpenSips), Config::default());
    };
    parse_main(main, options, &mut Disk, map, diags)
}

/// Parses a text that calls itself `name`; includes are looked up as for a file of that name.
pub fn parse_text(name: &str, text: &str, map: &mut SourceMap, diags: &mut Diagnostics) -> Config {
    parse_text_as(name, text, &Options::default(), map, diags).1
}

/// The same with options; returns the dialect too.
pub fn parse_text_as(
    name: &str,
    text: &str,
    options: &Options,
    map: &mut SourceMap,
    diags: &mut Diagnostics,
) -> (Dialect, Config) {
    let main = map.add(name, text);
    parse_main(main, options, &mut Disk, map, diags)
}

fn parse_main(
    main: u16,
    options: &Options,
    loader: &mut dyn Loader,
    map: &mut SourceMap,
    diags: &mut Diagnostics,
) -> (Dialect, Config) {
    let dialect = options.dialect.unwrap_or_else(|| {
        map.files().get(usize::from(main)).map_or(Dialect::OpenSips, |f| recognise_dialect(&f.text))
    });
    if dialect == Dialect::Kamailio {
        let (tokens, defines) = preprocess::kamailio_tokens(main, &options.defines, loader, map, diags);
        let mut config = kamailio::parse(&tokens, map, diags);
        config.defines = defines.into_iter().map(|d| (d.name, d.value)).collect();
        return (dialect, config);
    }
    let tokens = preprocess::tokens(main, loader, map, diags);
    (dialect, opensips::parse(&tokens, map, diags))
}

/// Parses any bytes as either dialect, without touching files; for tests with random input. Must neither panic nor hang.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = recognise_dialect(&text);
    for dialect in [Dialect::OpenSips, Dialect::Kamailio] {
        let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
        let main = map.add("fuzz", text.as_ref());
        let _ = parse_main(main, &Some(dialect).into(), &mut NoFiles, &mut map, &mut diags);
        // Rendering takes longer than all the rest.
        if data.len().is_multiple_of(8) {
            let _ = super::render::render(&map, &diags, data.len().is_multiple_of(16));
        }
    }
}
