//! The torture messages: `table.txt` and the files it names. Other tests include this file with
//! `#[path]`: the messages are also the seeds of the fuzz tests.

use std::fs;
use std::path::{Path, PathBuf};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Parsed and valid: the script gets it.
    Fine,
    /// Forwarded.
    Forward,
    /// Answered with this status.
    Answer(u16),
    /// Dropped without an answer, and counted.
    Drop,
}

/// One message.
#[allow(dead_code, reason = "not every test looks at every column")]
pub struct Case {
    /// RFC and section, or `own`.
    pub section: String,
    /// Name of the file, without its ending.
    pub name: String,
    /// What parser and validation make of it.
    pub parse: Fate,
    /// What a careful proxy does.
    pub proxy: Fate,
    /// What the default configuration does.
    pub default: Fate,
    /// What is sent.
    pub bytes: Vec<u8>,
}

fn fate(word: &str) -> Fate {
    match word {
        "fine" => Fate::Fine,
        "forward" => Fate::Forward,
        "drop" => Fate::Drop,
        status => Fate::Answer(status.parse().unwrap_or_else(|_| panic!("{status} is no fate"))),
    }
}

/// The directory of the table and its files.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

/// All messages, in the table's order.
pub fn cases() -> Vec<Case> {
    let table = fs::read_to_string(directory().join("table.txt")).expect("the table");
    let lines = table.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [section, name, parse, proxy, default] = words[..] else { panic!("no row: {line}") };
            let bytes = fs::read(directory().join(format!("{name}.sip"))).unwrap_or_else(|e| panic!("{name}: {e}"));
            Case {
                section: section.to_owned(),
                name: name.to_owned(),
                parse: fate(parse),
                proxy: fate(proxy),
                default: fate(default),
                bytes,
            }
        })
        .collect()
}
