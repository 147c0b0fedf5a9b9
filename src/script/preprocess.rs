//! From files to one stream of tokens: reads the main file and everything it includes. An
//! included file's tokens take the place of the `include_file "..."` that names it, wherever that
//! stands (inside of a route too); each token keeps its own file and line. Kamailio's directives
//! (`#!define`, `#!ifdef` ...) are carried out on the way: [`macros`].

mod conditions;
mod evaluate;
mod macros;
mod substitute;

pub use macros::{Define, Macros, VERSION};

use super::diagnostics::{Diagnostic, Diagnostics};
use super::lex::{Kind, Token, decode, lex};
use super::source::{SourceMap, Span};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest file, in bytes.
pub const MAX_FILE: usize = 16 << 20;
/// Largest sum of all files, in bytes.
const MAX_TOTAL: usize = 64 << 20;
/// Most files of one configuration, counting a file each time it is included.
const MAX_FILES: usize = 1000;
/// Deepest nesting of includes.
const MAX_DEPTH: usize = 50;
/// The file name that means standard input.
pub const STDIN: &str = "-";

/// Where the text of files comes from.
pub trait Loader {
    /// Reads the file at `path`; a relative path counts from the working directory. At most `limit` + 1 bytes.
    fn read(&mut self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;

    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// The path by which a file that is included by itself is recognised.
    fn identity(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// The real files.
pub struct Disk;

impl Loader for Disk {
    fn read(&mut self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = limit as u64 + 1;
        if path == Path::new(STDIN) {
            io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
        } else {
            File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    fn identity(&self, path: &Path) -> PathBuf {
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    }
}

/// No files at all and no environment: for text that must stand alone.
pub struct NoFiles;

impl Loader for NoFiles {
    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn read(&mut self, _path: &Path, _limit: usize) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::NotFound, "no files here"))
    }
}

/// Reads the main file of a configuration into the map. `None` after an error, which is reported.
pub fn read_main(path: &Path, map: &mut SourceMap, diags: &mut Diagnostics) -> Option<u16> {
    let name = if path == Path::new(STDIN) { "<stdin>".into() } else { path.to_string_lossy() };
    match Disk.read(path, MAX_FILE) {
        Ok(bytes) => {
            if bytes.len() > MAX_FILE {
                let file = map.add(name, "");
                diags.push(too_large(Span { file, start: 0, end: 0 }));
                return None;
            }
            Some(add(&name, bytes, map, diags))
        }
        Err(e) => {
            let file = map.add(name.clone(), "");
            let span = Span { file, start: 0, end: 0 };
            diags.push(Diagnostic::error("E0001", span, format!("cannot read {name}: {}", reason(&e))));
            None
        }
    }
}

/// Adds a text to the map; bytes that are no UTF-8 are replaced, with a warning at the first.
fn add(name: &str, bytes: Vec<u8>, map: &mut SourceMap, diags: &mut Diagnostics) -> u16 {
    match String::from_utf8(bytes) {
        Ok(text) => map.add(name, text),
        Err(e) => {
            let at = e.utf8_error().valid_up_to() as u32;
            let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
            let file = map.add(name, text);
            let span = Span { file, start: at, end: at.saturating_add('\u{fffd}'.len_utf8() as u32) };
            let d = Diagnostic::warning("W0001", span, "the file is not UTF-8")
                .label("the first byte that is none; such bytes are replaced")
                .help("convert the file, or write such bytes of a string as \\xHH");
            diags.push(d);
            file
        }
    }
}

/// The tokens of file number `main` of the map and of all its includes, with an end token.
pub fn tokens(main: u16, loader: &mut dyn Loader, map: &mut SourceMap, diags: &mut Diagnostics) -> Vec<Token> {
    read(main, None, loader, map, diags).0
}

/// The same by Kamailio's rules, with defines of the command line (`NAME` or `NAME=VALUE`) to begin with; also gives
/// the defines as they were at the end.
pub fn kamailio_tokens(
    main: u16,
    defines: &[String],
    loader: &mut dyn Loader,
    map: &mut SourceMap,
    diags: &mut Diagnostics,
) -> (Vec<Token>, Vec<Define>) {
    let macros = Macros::new(defines, map, diags);
    let (out, macros) = read(main, Some(macros), loader, map, diags);
    (out, macros.map(Macros::into_list).unwrap_or_default())
}

fn read(
    main: u16,
    macros: Option<Macros>,
    loader: &mut dyn Loader,
    map: &mut SourceMap,
    diags: &mut Diagnostics,
) -> (Vec<Token>, Option<Macros>) {
    let path = map.files().get(usize::from(main)).map(|f| PathBuf::from(&f.path)).unwrap_or_default();
    let identity = loader.identity(&path);
    let mut reader = Reader {
        loader,
        map,
        diags,
        out: Vec::new(),
        open: vec![Open { identity, path, at: None }],
        files: 1,
        total: 0,
        macros,
    };
    reader.file(main);
    let Reader { map, mut out, macros, .. } = reader;
    let end = map.files().get(usize::from(main)).map_or(0, |f| f.text.len() as u32);
    out.push(Token::new(Kind::Eof, Span { file: main, start: end, end }));
    (out, macros)
}

/// A file being read.
struct Open {
    identity: PathBuf,
    path: PathBuf,
    /// The include that asked for it.
    at: Option<Span>,
}

struct Reader<'a> {
    loader: &'a mut dyn Loader,
    map: &'a mut SourceMap,
    diags: &'a mut Diagnostics,
    out: Vec<Token>,
    open: Vec<Open>,
    files: usize,
    total: usize,
    /// Kamailio's preprocessor.
    macros: Option<Macros>,
}

impl Reader<'_> {
    fn file(&mut self, file: u16) {
        if self.macros.is_some() {
            self.total += self.map.files().get(usize::from(file)).map_or(0, |f| f.text.len());
            return self.macro_file(file);
        }
        let mut list = Vec::new();
        if let Some(f) = self.map.files().get(usize::from(file)) {
            self.total += f.text.len();
            lex(file, &f.text, self.diags, &mut list);
        }
        let mut list = list.into_iter().peekable();
        while let Some(token) = list.next() {
            let optional = match (token.kind, self.map.text(token.span)) {
                (Kind::Ident, "include_file") => false,
                (Kind::Ident, "import_file") => true,
                _ => {
                    self.out.push(token);
                    continue;
                }
            };
            match list.next_if(Token::is_str) {
                Some(name) => self.include(token.span, name, optional),
                None => self.nameless(token),
            }
        }
    }

    fn nameless(&mut self, token: Token) {
        let word = self.map.text(token.text).to_owned();
        let d = Diagnostic::error("E0009", token.span, format!("`{word}` without a file name"))
            .help(format!("write {word} \"path/to/file.cfg\""));
        self.diags.push(d);
    }

    /// Reads the file named by the string `name` in place of the include at `word`.
    fn include(&mut self, word: Span, name: Token, optional: bool) {
        let wanted = String::from_utf8_lossy(&decode(self.map.text(name.text))).into_owned();
        let name = name.span;
        let here = word.to(name);
        if self.open.len() > MAX_DEPTH {
            let d = Diagnostic::error("E0010", here, format!("includes are nested deeper than {MAX_DEPTH}"));
            return self.report(d);
        }
        if self.files >= MAX_FILES || self.total >= MAX_TOTAL {
            // Told once; every include after it would say the same.
            if self.files != usize::MAX {
                let what = format!("more than {MAX_FILES} includes, or more than {} MiB of text", MAX_TOTAL >> 20);
                self.report(Diagnostic::error("E0002", here, what));
            }
            self.files = usize::MAX;
            return;
        }
        if wanted.is_empty() {
            return self.report(Diagnostic::error("E0009", name, "empty file name"));
        }
        let (path, bytes) = match self.find(Path::new(&wanted)) {
            Ok(found) => found,
            Err(e) if optional && e.kind() == io::ErrorKind::NotFound => {
                let d = Diagnostic::warning("W0002", name, format!("`{wanted}` does not exist and is left out"));
                return self.report(d);
            }
            Err(e) => {
                let d = Diagnostic::error("E0001", name, format!("cannot read {wanted}: {}", reason(&e)));
                return self.report(self.with_places(&wanted, d));
            }
        };
        if bytes.len() > MAX_FILE {
            return self.report(too_large(name));
        }
        let identity = self.loader.identity(&path);
        if self.open.iter().any(|o| o.identity == identity) {
            let mut d = Diagnostic::error("E0011", here, format!("{wanted} includes itself"))
                .label("by this the file would be read without end");
            for o in &self.open {
                if let Some(at) = o.at {
                    d = d.related(at, format!("{} is included here", o.path.display()));
                }
            }
            return self.report(d);
        }
        self.files += 1;
        let file = add(&path.to_string_lossy(), bytes, self.map, self.diags);
        self.open.push(Open { identity, path, at: Some(here) });
        self.file(file);
        self.open.pop();
    }

    /// Looks relative to the working directory, then relative to the including file.
    fn find(&mut self, wanted: &Path) -> io::Result<(PathBuf, Vec<u8>)> {
        let first = match self.loader.read(wanted, MAX_FILE) {
            Ok(bytes) => return Ok((wanted.to_owned(), bytes)),
            Err(e) => e,
        };
        if first.kind() != io::ErrorKind::NotFound || wanted.is_absolute() {
            return Err(first);
        }
        let Some(folder) = self.folder() else { return Err(first) };
        let path = folder.join(wanted);
        self.loader.read(&path, MAX_FILE).map(|bytes| (path, bytes))
    }

    /// The folder of the file being read, if it is another one than the working directory.
    fn folder(&self) -> Option<PathBuf> {
        let folder = self.open.last()?.path.parent()?;
        (!folder.as_os_str().is_empty()).then(|| folder.to_owned())
    }

    fn with_places(&self, wanted: &str, d: Diagnostic) -> Diagnostic {
        match self.folder() {
            Some(folder) if !Path::new(wanted).is_absolute() => {
                d.help(format!("looked in the working directory and in {}", folder.display()))
            }
            _ => d,
        }
    }

    fn report(&mut self, d: Diagnostic) {
        self.diags.push(d);
    }
}

fn too_large(span: Span) -> Diagnostic {
    Diagnostic::error("E0002", span, format!("the file is larger than {} MiB", MAX_FILE >> 20))
}

/// An I/O error in words that are the same on every system.
fn reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        _ => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Memory(BTreeMap<&'static str, String>);

    impl Loader for Memory {
        fn read(&mut self, path: &Path, _limit: usize) -> io::Result<Vec<u8>> {
            let found = path.to_str().and_then(|p| self.0.get(p));
            found.map(|t| t.clone().into_bytes()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        }
    }

    fn run(files: &[(&'static str, &str)]) -> (Vec<String>, String, SourceMap) {
        let mut loader = Memory(files.iter().map(|(p, t)| (*p, (*t).to_owned())).collect());
        let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
        let main = map.add(files[0].0, files[0].1);
        let tokens = tokens(main, &mut loader, &mut map, &mut diags);
        let texts = tokens.iter().map(|t| map.text(t.span).to_owned()).collect();
        let brief = diags.brief(&map);
        (texts, brief, map)
    }

    #[test]
    fn includes_are_put_in_place() {
        let (t, d, map) = run(&[
            ("etc/a.cfg", "one include_file \"b.cfg\" two"),
            ("etc/b.cfg", "three\nimport_file 'sub/c.cfg'\nfour"),
            ("etc/sub/c.cfg", "five"),
        ]);
        assert_eq!(t, ["one", "three", "five", "four", "two", ""]);
        assert_eq!(d, "");
        assert_eq!(map.files()[2].path, "etc/sub/c.cfg");
    }

    #[test]
    fn the_working_directory_comes_first() {
        let (t, ..) = run(&[("etc/a.cfg", "include_file \"b\""), ("b", "here"), ("etc/b", "there")]);
        assert_eq!(t, ["here", ""]);
    }

    #[test]
    fn a_cycle_is_named() {
        let (_, d, _) = run(&[("a", "x\n include_file \"b\""), ("b", "include_file \"a\"")]);
        assert_eq!(d, "b:1:1: error[E0011]: a includes itself\n");
    }

    #[test]
    fn missing_files() {
        let (t, d, _) = run(&[("a", "include_file \"no\" import_file \"no\" include_file b import_file \"\"")]);
        assert_eq!(t, ["b", ""]);
        assert_eq!(
            d,
            "a:1:14: error[E0001]: cannot read no: no such file\n\
             a:1:31: warning[W0002]: `no` does not exist and is left out\n\
             a:1:36: error[E0009]: `include_file` without a file name\n\
             a:1:63: error[E0009]: empty file name\n"
        );
    }

    #[test]
    fn an_include_bomb_is_bounded() {
        let twice = |n: &str| format!("include_file \"{n}\" include_file \"{n}\"");
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];
        let mut files: Vec<(&'static str, String)> = names.windows(2).map(|w| (w[0], twice(w[1]))).collect();
        files.push(("n", "x".into()));
        let refs: Vec<(&'static str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
        let (_, d, map) = run(&refs);
        assert_eq!(d.matches("E0002").count(), 1, "{d}");
        assert!(map.files().len() <= MAX_FILES);
    }
}
