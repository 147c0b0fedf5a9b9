//! `reprise check`: what is wrong with configuration files, as far as their text tells.

use crate::script::diagnostics::Diagnostics;
use crate::script::parse;
use crate::script::render::render;
use crate::script::source::SourceMap;
use std::path::Path;

/// Parses each file by itself. Returns all findings as text, and whether none of them is an error.
pub fn check_files<P: AsRef<Path>>(paths: &[P], colour: bool) -> (String, bool) {
    let (mut text, mut good) = (String::new(), true);
    for path in paths {
        let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
        parse::parse_file(path.as_ref(), &mut map, &mut diags);
        good &= !diags.has_errors();
        text.push_str(&render(&map, &diags, colour));
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
        std::fs::write(&file, "route { f() }\n").unwrap();
        let (text, good) = check_files(&[&file], false);
        assert!(!good && text.contains("E0102") && text.ends_with("1 error\n"), "{text}");
        std::fs::write(&file, "route { f(); }\n").unwrap();
        assert_eq!(check_files(&[&file], false), (String::new(), true));
    }
}
