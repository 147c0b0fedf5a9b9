//! Bad configurations and the exact text they must produce: `tests/ui/NAME.cfg` has a
//! `NAME.stderr` beside it. `REPRISE_BLESS=1 cargo test --test ui` writes those anew; read the
//! difference before it is committed. Good configurations in `tests/ui/good` must produce nothing.

use reprise::script::codes;
use reprise::script::diagnostics::Diagnostics;
use reprise::script::parse::parse_file;
use reprise::script::render::render;
use reprise::script::source::SourceMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn configs(folder: &str) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = fs::read_dir(folder)
        .expect("readable folder")
        .map(|e| e.expect("entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "cfg"))
        .collect();
    list.sort();
    list
}

fn findings(path: &Path) -> (String, BTreeSet<&'static str>) {
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    parse_file(path, &mut map, &mut diags);
    let codes = diags.list().iter().map(|d| d.code).collect();
    (render(&map, &diags, false), codes)
}

#[test]
fn bad_configurations_say_what_is_wrong() {
    let bless = std::env::var_os("REPRISE_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in configs("tests/ui") {
        let (text, codes) = findings(&path);
        let expected = path.with_extension("stderr");
        if bless {
            fs::write(&expected, &text).expect("writable folder");
        }
        if fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", path.display()));
        }
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let code = name.split('_').next().unwrap_or_default().to_uppercase();
        if codes::find(&code).is_some() && !codes.contains(code.as_str()) {
            wrong.push(format!("{name} does not produce {code}:\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names that are not there, and what stands in their place.
#[test]
fn unknown_names_say_what_to_use() {
    let bless = std::env::var_os("REPRISE_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in configs("tests/ui/names") {
        let (text, _) = reprise::cli::check::check_files(&[&path], false);
        let expected = path.with_extension("stderr");
        if bless {
            fs::write(&expected, &text).expect("writable folder");
        }
        if fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn good_configurations_say_nothing() {
    let all = configs("tests/ui/good");
    assert!(!all.is_empty());
    for path in all {
        let (text, _) = findings(&path);
        assert_eq!(text, "", "{}", path.display());
    }
}

/// Each number of the front end has a configuration that produces it.
#[test]
fn each_number_has_an_example() {
    // E0002 needs a huge file, E0010 fifty nested ones: unit tests have them.
    let without = ["E0002", "E0010"];
    let seen: BTreeSet<&str> = configs("tests/ui").iter().flat_map(|p| findings(p).1).collect();
    let front_end = |c: &str| c.get(1..3).is_some_and(|n| ["00", "01", "05"].contains(&n));
    let missing: Vec<&str> = codes::CODES
        .iter()
        .map(|c| c.code)
        .filter(|c| front_end(c) && !without.contains(c) && !seen.contains(c))
        .collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
}
