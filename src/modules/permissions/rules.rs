//! Rules in files: who may call, or register, whom. A line is `FROM : TO`; each side is `ALL` or patterns in quotes with
//! commas between them, and may go on with `EXCEPT` and such a list. `#` begins a comment.

use crate::base::Str;
use crate::script::pattern::compile_regex;
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One side of a rule.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Side {
    /// Patterns one of which must fit; none: anything does.
    pub wanted: Vec<Str>,
    /// Patterns none of which may fit.
    pub except: Vec<Str>,
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Who.
    pub from: Side,
    /// Whom.
    pub to: Side,
}

/// The rules of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleFile {
    /// Its path.
    pub path: Str,
    /// Its rules; none if it is not there.
    pub rules: Vec<Rule>,
}

impl RuleFile {
    /// Reads a file; the error names its line.
    pub fn parse(path: &str, text: &str) -> Result<RuleFile, String> {
        let mut rules = Vec::new();
        for (n, line) in text.lines().enumerate() {
            rules.extend(Rule::parse(line).map_err(|why| format!("{path}:{}: {why}", n + 1))?);
        }
        Ok(RuleFile { path: Str::from(path), rules })
    }
}

/// Something in a line.
#[derive(PartialEq, Eq, Debug)]
enum Token<'a> {
    Quoted(&'a str),
    Word(&'a str),
    Colon,
    Comma,
}

impl Rule {
    /// Reads a line; `None`: there is no rule in it.
    fn parse(line: &str) -> Result<Option<Rule>, String> {
        let tokens = tokens(line)?;
        if tokens.is_empty() {
            return Ok(None);
        }
        let Some(at) = tokens.iter().position(|t| *t == Token::Colon) else {
            return Err("a rule is FROM : TO".to_string());
        };
        let (from, to) = tokens.split_at(at);
        Ok(Some(Rule { from: side(from)?, to: side(to.get(1..).unwrap_or_default())? }))
    }
}

fn tokens(line: &str) -> Result<Vec<Token<'_>>, String> {
    let mut out = Vec::new();
    let mut rest = line.trim();
    while let Some(c) = rest.chars().next() {
        let (token, len) = match c {
            '#' => break,
            ':' => (Token::Colon, 1),
            ',' => (Token::Comma, 1),
            '"' => {
                let inner = rest.get(1..).unwrap_or_default();
                let end = inner.find('"').ok_or("a quote is not closed")?;
                (Token::Quoted(inner.get(..end).unwrap_or_default()), end + 2)
            }
            _ => {
                let end = rest.find([' ', '\t', ':', ',', '"', '#']).unwrap_or(rest.len());
                (Token::Word(rest.get(..end).unwrap_or_default()), end)
            }
        };
        out.push(token);
        rest = rest.get(len..).unwrap_or_default().trim_start();
    }
    Ok(out)
}

fn side(tokens: &[Token<'_>]) -> Result<Side, String> {
    let (wanted, except) = match tokens.iter().position(|t| *t == Token::Word("EXCEPT")) {
        Some(at) => (tokens.get(..at).unwrap_or_default(), tokens.get(at + 1..)),
        None => (tokens, None),
    };
    let Some(except) = except else { return Ok(Side { wanted: patterns(wanted)?, except: Vec::new() }) };
    let except = patterns(except)?;
    if except.is_empty() {
        return Err("EXCEPT ALL leaves nothing over".to_string());
    }
    Ok(Side { wanted: patterns(wanted)?, except })
}

/// A list; empty for `ALL`.
fn patterns(tokens: &[Token<'_>]) -> Result<Vec<Str>, String> {
    if tokens == [Token::Word("ALL")] {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        match token {
            Token::Quoted(pattern) if n % 2 == 0 => {
                compile_regex(pattern).map_err(|why| format!("`{pattern}` is no regular expression: {why}"))?;
                out.push(Str::from(*pattern));
            }
            Token::Comma if n % 2 == 1 && n + 1 < tokens.len() => {}
            Token::Word(word) => {
                return Err(format!("`{word}`: patterns stand in double quotes, beside them there are ALL and EXCEPT"));
            }
            _ => return Err("patterns stand in double quotes, with one comma between two".to_string()),
        }
    }
    if out.is_empty() {
        return Err("a side is empty: ALL is everything".to_string());
    }
    Ok(out)
}

/// A side that can be asked.
#[derive(Clone, Debug)]
struct Asked {
    wanted: Vec<Regex>,
    except: Vec<Regex>,
}

impl Asked {
    fn new(side: Side) -> Asked {
        // They were compiled when the file was read.
        let all = |list: Vec<Str>| list.iter().filter_map(|p| compile_regex(&p.to_lossy()).ok()).collect();
        Asked { wanted: all(side.wanted), except: all(side.except) }
    }

    fn fits(&self, text: &[u8]) -> bool {
        (self.wanted.is_empty() || self.wanted.iter().any(|r| r.is_match(text)))
            && !self.except.iter().any(|r| r.is_match(text))
    }
}

/// All files, as they are asked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    files: HashMap<Str, Vec<(Asked, Asked)>>,
}

impl Rules {
    /// Of these files.
    pub fn new(files: Vec<RuleFile>) -> Rules {
        let rules = |list: Vec<Rule>| list.into_iter().map(|r| (Asked::new(r.from), Asked::new(r.to))).collect();
        Rules { files: files.into_iter().map(|f| (f.path, rules(f.rules))).collect() }
    }

    /// Whether a file has a rule at all.
    pub fn has(&self, path: &str) -> bool {
        self.files.get(path.as_bytes()).is_some_and(|rules| !rules.is_empty())
    }

    /// Whether a rule of a file fits.
    pub fn fit(&self, path: &str, from: &[u8], to: &[u8]) -> bool {
        let rules = self.files.get(path.as_bytes());
        rules.is_some_and(|rules| rules.iter().any(|(f, t)| f.fits(from) && t.fits(to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_two_sides_with_exceptions() {
        let text = "# who may call whom\n\nALL : \"^sip:[^@]*@local\\.test$\"  # ours\n\
                    \"^sip:boss@\", \"^sip:chief@\" : ALL EXCEPT \"^sip:00\" , \"^sip:\\+\"\n\
                    \"^sip:361[0-9]*@a:b\" EXCEPT \"^sip:3611@\" : \"^sip:9#\"\n";
        let rules = Rules::new(vec![RuleFile::parse("f", text).unwrap()]);
        assert!(rules.has("f") && !rules.has("g"));
        for (from, to, fits) in [
            ("sip:x@y", "sip:a@local.test", true),
            ("sip:x@y", "sip:a@LOCAL.test", true),
            ("sip:x@y", "sip:a@local.test.org", false),
            ("sip:boss@y", "sip:5@z", true),
            ("sip:chief@y", "sip:0049@z", false),
            ("sip:chief@y", "sip:+49@z", false),
            ("sip:3612@a:b", "sip:9#1", true),
            ("sip:3611@a:b", "sip:9#1", false),
        ] {
            assert_eq!(rules.fit("f", from.as_bytes(), to.as_bytes()), fits, "{from} {to}");
        }
        assert!(!rules.fit("g", b"sip:boss@y", b"sip:5@z"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (line, why) in [
            ("ALL", "FROM : TO"),
            ("ALL :", "a side is empty"),
            (": ALL", "a side is empty"),
            ("ALL : \"a", "a quote is not closed"),
            ("ALL : \"(\"", "no regular expression"),
            ("ALL : sip:a", "`sip`: patterns stand in double quotes"),
            ("all : ALL", "`all`"),
            ("ALL : \"a\" \"b\"", "one comma"),
            ("ALL : \"a\",", "one comma"),
            ("ALL, \"a\" : ALL", "`ALL`"),
            ("ALL EXCEPT ALL : ALL", "leaves nothing"),
            ("ALL EXCEPT : ALL", "a side is empty"),
        ] {
            let said = RuleFile::parse("f", &format!("\n{line}")).unwrap_err();
            assert!(said.starts_with("f:2: ") && said.contains(why), "{line}: {said}");
        }
    }
}
