use super::super::{Loader, kamailio_tokens};
use super::*;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

struct Memory(BTreeMap<&'static str, String>);

impl Loader for Memory {
    fn read(&mut self, path: &Path, _limit: usize) -> io::Result<Vec<u8>> {
        let found = path.to_str().and_then(|p| self.0.get(p));
        found.map(|t| t.clone().into_bytes()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn env(&self, name: &str) -> Option<String> {
        (name == "PLACE").then(|| "here".to_owned())
    }
}

/// The texts of the tokens, and the findings.
fn run_with(files: &[(&'static str, &str)], defines: &[&str]) -> (String, String) {
    let mut loader = Memory(files.iter().map(|(p, t)| (*p, (*t).to_owned())).collect());
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let main = map.add(files[0].0, files[0].1);
    let defines: Vec<String> = defines.iter().map(|d| (*d).to_owned()).collect();
    let (tokens, _) = kamailio_tokens(main, &defines, &mut loader, &mut map, &mut diags);
    let texts: Vec<&str> = tokens.iter().map(|t| map.text(t.text)).collect();
    (texts.join(" ").trim().to_owned(), diags.brief(&map))
}

fn run(text: &str) -> (String, String) {
    run_with(&[("a", text)], &[])
}

/// The tokens of a text without findings.
fn good(text: &str) -> String {
    let (tokens, findings) = run(text);
    assert_eq!(findings, "", "{text}");
    tokens
}

#[test]
fn defines_are_replaced_as_words() {
    assert_eq!(good("#!define A 5\nx A \"A\" $var(A) AB"), "x 5 \"A\" $var(A) AB");
    assert_eq!(good("#!define A B\n#!define B 5 # why\nA;"), "5 ;");
    assert_eq!(good("#!define A\nx A y"), "x y");
    assert_eq!(good("#!def A 1 + \\\n 2\nA"), "1 + 2");
    assert_eq!(good("!!define A 1\nA"), "1");
    assert_eq!(good("#!trydef A 1\n#!trydef A 2\n#!redef A 3\nA"), "3");
    assert_eq!(good("#!define A 1\n#!undef A\nA\n#!tryundef B"), "A");
    assert_eq!(good("#!KAMAILIO\n# define A 1\n// B\nA / B"), "A / B");
}

#[test]
fn conditions() {
    let text = "#!ifdef A\nyes\n#!else\nno\n#!endif\nend";
    assert_eq!(good(text), "no end");
    assert_eq!(run_with(&[("a", text)], &["A"]).0, "yes end");
    assert_eq!(run_with(&[("a", "#!ifdef A\nA\n#!endif")], &["A=7"]).0, "7");
    assert_eq!(good("#!ifndef A\nx\n#!endif\ny"), "x y");
    // What does not count need not be a configuration.
    assert_eq!(good("#!ifdef A\nit's /* \"open\n#!ifdef B\n#!else\n'\n#!endif\n#!else\nok\n#!endif\n;"), "ok ;");
    assert_eq!(good("#!ifdef A\n#!define C 1\n#!endif\nC"), "C");
    assert_eq!(good("loadmodule \"/x/tm.so\"\n#!ifdef MOD_tm\nx\n#!endif"), "loadmodule \"/x/tm.so\" x");
    assert_eq!(good("#!ifdef KAMAILIO_6\nx\n#!endif"), "x");
}

#[test]
fn expressions() {
    for (text, holds) in [
        ("A", false),
        ("1", true),
        ("B", true),
        ("N", true),
        ("N == 5", true),
        ("N > 5 || !A", true),
        ("N > 5 && 1", false),
        ("T == \"x\"", true),
        ("T", true),
        ("E", false),
        ("(N + 1) * 2 == 12", true),
        ("N - 5", false),
        ("KAMAILIO_VERSION >= 5006003", true),
    ] {
        let text =
            format!("#!define B\n#!define N 5\n#!define T \"x\"\n#!define E \"\"\n#!ifexp {text}\nyes\n#!endif\n");
        assert_eq!(good(&text) == "yes", holds, "{text}");
    }
    assert_eq!(good("#!define N 5\n#!defexp M N * 2 + 1\n#!defexps S N + 1\nM S"), "11 \"6\"");
    let (tokens, findings) = run("#!ifexp 1 +\nx\n#!endif\n#!defexp A 5 / 0\nA");
    assert_eq!(tokens, "A");
    assert_eq!(
        findings,
        "a:1:9: error[E0015]: this expression has no value\na:4:12: error[E0015]: this expression has no value\n"
    );
}

#[test]
fn environment_and_substitutions() {
    assert_eq!(good("#!defenv PLACE\nPLACE"), "here");
    assert_eq!(good("#!defenvs P=PLACE\nP\n#!trydefenv NOWHERE\nNOWHERE"), "\"here\" NOWHERE");
    assert_eq!(
        good("#!subst \"/HOST/1.2.3.4/\"\n\"sip:HOST:5060\" HOST $var(HOST)"),
        "\"sip:1.2.3.4:5060\" HOST $var(1.2.3.4)"
    );
    assert_eq!(good("#!substdef \"!PORT!5070!g\"\nPORT \"PORT PORT\""), "5070 \"5070 5070\"");
    assert_eq!(good("#!substdefs \"/NAME/a$env(PLACE)b/\"\nNAME 'NAME'"), "\"aherebN\" 'aherebN'".replace("bN", "b"));
    let (_, findings) = run("#!defenv NOWHERE\n#!subst \"x\"\n#!substdef \"/a b/c/\"\n#!subst x");
    assert_eq!(findings.matches("E0013").count() + findings.matches("E0015").count(), 4, "{findings}");
}

#[test]
fn includes_share_the_defines() {
    let files = [
        ("etc/a.cfg", "#!include_file \"b.cfg\"\nA\n#!import_file \"none\"\nimport_file \"none\""),
        ("etc/b.cfg", "#!define A 1\n#!ifdef A\nb\n#!endif"),
    ];
    let (tokens, findings) = run_with(&files, &[]);
    assert_eq!(tokens, "b 1");
    assert_eq!(findings.matches("W0002").count(), 2);
}

#[test]
fn what_is_wrong_is_said() {
    let brief = |text| run(text).1;
    assert_eq!(brief("#!define A 1\n#!define A 2"), "a:2:10: error[E0013]: `A` is defined twice\n");
    assert_eq!(brief("#!undef A"), "a:1:9: error[E0013]: `A` is not defined\n");
    assert_eq!(brief("#!define A A\nA"), "a:2:1: error[E0013]: `A` is defined by itself\n");
    assert_eq!(brief("#!define A-B 1"), "a:1:1: error[E0015]: `#!define` without a name\n");
    assert_eq!(brief("#!ifdef A\nx"), "a:1:1: error[E0014]: this condition is never ended\n");
    assert_eq!(brief("#!endif"), "a:1:1: error[E0014]: `#!endif` without an `#!ifdef`\n");
    assert_eq!(brief("#!ifndef A\n#!else\n#!else\n#!endif"), "a:3:1: error[E0014]: a second `#!else`\n");
    assert_eq!(brief("#!ifdef A\n#!else\n#!else\n#!endif"), "a:3:1: error[E0014]: a second `#!else`\n");
}

/// Each define doubles the one before.
#[test]
fn what_defines_stand_for_is_bounded() {
    let mut text = String::from("#!define A0 x x\n");
    for n in 1..31 {
        text.push_str(&format!("#!define A{n} A{m} A{m}\n", m = n - 1));
    }
    text.push_str("A30\n");
    let (_, findings) = run(&text);
    assert_eq!(findings.matches("E0013").count(), 1, "{}", findings.len());
}
