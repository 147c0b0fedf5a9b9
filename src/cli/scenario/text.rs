//! Words of a line, durations, and texts with variables and wildcards.

use regex::Regex;
use std::collections::BTreeMap;
use std::time::Duration;

/// Variables by name.
pub type Vars = BTreeMap<String, String>;

/// Where something is wrong in a scenario, and what was expected there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What was expected, what was found.
    pub message: String,
}

/// One word of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// Column, from 1.
    pub column: usize,
    /// Column behind it.
    pub end: usize,
    /// Its text, without quotes.
    pub text: String,
    /// It stood in quotes.
    pub quoted: bool,
}

/// The words of a line up to a comment; commas and parentheses are words, and strings in double
/// quotes (`\"`, `\\`, `\n`, `\t`, `\r` inside).
pub fn words(line: &str, number: usize) -> Result<Vec<Word>, Mistake> {
    let mut out: Vec<Word> = Vec::new();
    let chars: Vec<char> = line.chars().collect();
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        let column = i + 1;
        if c.is_whitespace() {
            i += 1;
            continue;
        }
        match c {
            '#' => break,
            '"' => {
                let mut text = String::new();
                i += 1;
                loop {
                    match (chars.get(i), chars.get(i + 1)) {
                        (Some('"'), _) => break,
                        (Some('\\'), Some(e)) => {
                            text.push(match e {
                                'n' => '\n',
                                't' => '\t',
                                'r' => '\r',
                                other => *other,
                            });
                            i += 2;
                        }
                        (Some(c), _) => {
                            text.push(*c);
                            i += 1;
                        }
                        (None, _) => {
                            let message = "this string has no closing quote".into();
                            return Err(Mistake { line: number, column, message });
                        }
                    }
                }
                i += 1;
                out.push(Word { column, end: i + 1, text, quoted: true });
            }
            ',' | '(' | ')' => {
                i += 1;
                out.push(Word { column, end: i + 1, text: c.into(), quoted: false });
            }
            _ => {
                let mut text = String::new();
                while let Some(&c) = chars.get(i)
                    && !c.is_whitespace()
                    && !matches!(c, '"' | ',' | '(' | ')')
                {
                    text.push(c);
                    i += 1;
                }
                out.push(Word { column, end: i + 1, text, quoted: false });
            }
        }
    }
    Ok(out)
}

/// `32s`, `500ms`, `3min`, `1.5s`, `1h`
pub fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|d| *d <= Duration::from_secs(366 * 86_400))
}

/// Pieces of a text with variables.
enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
    Any,
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let (mut start, mut i) = (0, 0);
    let bytes = text.as_bytes();
    while let Some(&b) = bytes.get(i) {
        let piece = match b {
            b'\\' if matches!(bytes.get(i + 1), Some(b'*' | b'{')) => {
                out.push(Piece::Text(&text[start..i]));
                start = i + 1;
                i += 2;
                continue;
            }
            b'*' => Some((Piece::Any, i + 1)),
            b'{' => text[i + 1..].find('}').map(|n| (&text[i + 1..i + 1 + n], i + n + 2)).and_then(|(name, end)| {
                let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
                (!name.is_empty() && name.chars().all(valid)).then_some((Piece::Variable(name), end))
            }),
            _ => None,
        };
        match piece {
            Some((piece, end)) => {
                out.push(Piece::Text(&text[start..i]));
                out.push(piece);
                (start, i) = (end, end);
            }
            None => i += 1,
        }
    }
    out.push(Piece::Text(&text[start..]));
    out
}

/// The text with its variables filled in; the error is the name of one that has no value.
pub fn fill(text: &str, vars: &Vars) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(t) => out.push_str(t),
            Piece::Any => out.push('*'),
            Piece::Variable(name) => out.push_str(vars.get(name).ok_or_else(|| name.to_string())?),
        }
    }
    Ok(out)
}

/// Whether `text` fits `pattern`: `*` is anything, a variable with a value is that, one without gets
/// what stands there.
pub fn fits(pattern: &str, text: &str, vars: &mut Vars) -> bool {
    let mut source = String::from(r"\A(?s)");
    let mut new: Vec<&str> = Vec::new();
    for piece in pieces(pattern) {
        match piece {
            Piece::Text(t) => source.push_str(&regex::escape(t)),
            Piece::Any => source.push_str(".*?"),
            Piece::Variable(name) => match vars.get(name) {
                Some(value) => source.push_str(&regex::escape(value)),
                None => {
                    new.push(name);
                    source.push_str("(.+?)");
                }
            },
        }
    }
    source.push_str(r"\z");
    let Ok(regex) = Regex::new(&source) else { return false };
    let Some(found) = regex.captures(text) else { return false };
    let mut learned = Vars::new();
    for (i, name) in new.iter().enumerate() {
        let value = found.get(i + 1).map_or("", |m| m.as_str());
        // The same new variable twice must be the same text twice.
        if learned.insert((*name).to_string(), value.to_string()).is_some_and(|old| old != value) {
            return false;
        }
    }
    vars.extend(learned);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_line() {
        let w = words("  operation sql \"a \\\"b\\\"\" rows (1, NULL)  # c", 1).unwrap();
        let texts: Vec<&str> = w.iter().map(|w| w.text.as_str()).collect();
        assert_eq!(texts, ["operation", "sql", "a \"b\"", "rows", "(", "1", ",", "NULL", ")"]);
        assert_eq!((w[0].column, w[2].column, w[2].quoted), (3, 17, true));
        assert_eq!(words("a \"b", 7).unwrap_err().column, 3);
        // A '#' within a word is no comment.
        assert_eq!(words("sip:a#b c", 1).unwrap().len(), 2);
    }

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("3min"), Some(Duration::from_secs(180)));
        for bad in ["32", "s", "1x", "-1s", "1e9h", ""] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn patterns() {
        let mut vars = Vars::new();
        assert!(fits("<sip:{user}@*>;tag={tag}", "<sip:bob@x>;tag=1", &mut vars));
        assert_eq!((vars["user"].as_str(), vars["tag"].as_str()), ("bob", "1"));
        assert!(!fits("{tag}", "2", &mut vars));
        assert!(fits("a(b)\\*", "a(b)*", &mut vars));
        assert!(!fits("a", "ab", &mut vars));
        assert!(fits("{x}/{x}", "1/1", &mut vars.clone()));
        assert!(!fits("{x}/{x}", "1/2", &mut vars));
        assert_eq!(fill("{user}{\"a\":1} {} *", &vars).unwrap(), "bob{\"a\":1} {} *");
        assert_eq!(fill("{nobody}", &vars), Err("nobody".into()));
    }
}
