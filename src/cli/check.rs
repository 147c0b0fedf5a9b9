//! `-c` and `reprise check`: what is wrong with configuration files. The same code as a start,
//! up to the point where processes would be forked.

use super::load::load;
use crate::script::parse::Options;
use crate::script::print;
use crate::script::render::render;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Checks files; the exit code is 0 if none has an error.
pub fn main(files: &[PathBuf], options: &Options, emit_ir: bool) -> ExitCode {
    let (text, good) = check_files_as(files, options, std::io::stderr().is_terminal());
    eprint!("{text}");
    if good && emit_ir {
        for file in files {
            if let Some((program, _)) = load(file, options.clone()).server {
                println!("{}", print::program(&program));
            }
        }
    }
    if good {
        eprintln!("the configuration is good");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Checks each file by itself. Returns all findings as text, and whether none of them is an error.
pub fn check_files<P: AsRef<Path>>(paths: &[P], colour: bool) -> (String, bool) {
    check_files_as(paths, &Options::default(), colour)
}

/// The same with options.
pub fn check_files_as<P: AsRef<Path>>(paths: &[P], options: &Options, colour: bool) -> (String, bool) {
    let (mut text, mut good) = (String::new(), true);
    for path in paths {
        let loaded = load(path.as_ref(), options.clone());
        good &= loaded.server.is_some();
        text.push_str(&render(&loaded.map, &loaded.diags, colour));
    }
    (text, good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_whether_all_is_well() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.cfg");
        std::fs::write(&file, "route { exit() \n xlog() }\n").unwrap();
        let (text, good) = check_files(&[&file], false);
        assert!(!good && text.contains("E0"), "{text}");
        std::fs::write(&file, "route { exit; }\n").unwrap();
        assert_eq!(check_files(&[&file], false), (String::new(), true));
    }
}
