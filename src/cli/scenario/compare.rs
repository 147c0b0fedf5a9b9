//! Whether a message is the one that was expected, and how it differs.

use super::message::{Msg, canonical};
use super::syntax::{Block, HeaderLine, Start};
use super::text::{Vars, fits};

/// One difference: what was expected and what is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Line of the scenario that it is about.
    pub line: usize,
    /// As it was expected.
    pub expected: String,
    /// As it is.
    pub actual: String,
}

fn squeeze(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The pattern with its known variables, for people.
fn shown(pattern: &str, vars: &Vars) -> String {
    let mut out = pattern.to_string();
    for (name, value) in vars {
        out = out.replace(&format!("{{{name}}}"), value);
    }
    out
}

/// The differences between a message and what a scenario says of it; without any, the variables that the
/// expectation names for the first time have got their values.
pub fn differences(line: usize, what: &Start, block: &Block, msg: &Msg, vars: &mut Vars) -> Vec<Difference> {
    let mut trial = vars.clone();
    let mut out = Vec::new();
    first_line(line, what, msg, &mut trial, &mut out);
    let mut used: Vec<(String, usize)> = Vec::new();
    for (number, header) in &block.headers {
        let mut differs = |expected: String, actual: String| out.push(Difference { line: *number, expected, actual });
        match header {
            HeaderLine::Is(name, pattern) => {
                let key = canonical(name);
                let nth = match used.iter_mut().find(|(n, _)| *n == key) {
                    Some((_, n)) => {
                        *n += 1;
                        *n - 1
                    }
                    None => {
                        used.push((key, 1));
                        0
                    }
                };
                let values = msg.values(name);
                match values.get(nth) {
                    Some(value) if fits(&squeeze(pattern), &squeeze(value), &mut trial) => {}
                    Some(value) => differs(format!("{name}: {}", shown(pattern, &trial)), format!("{name}: {value}")),
                    None => {
                        let there = if nth == 0 { format!("(no {name})") } else { format!("(no further {name})") };
                        differs(format!("{name}: {}", shown(pattern, &trial)), there);
                    }
                }
            }
            HeaderLine::None(name) => {
                if let Some(value) = msg.values(name).first() {
                    differs(format!("no {name}"), format!("{name}: {value}"));
                }
            }
            HeaderLine::NoMore(name) => {
                let nth = used.iter().find(|(n, _)| *n == canonical(name)).map_or(0, |(_, n)| *n);
                if let Some(value) = msg.values(name).get(nth) {
                    differs(format!("no more {name}"), format!("{name}: {value}"));
                }
            }
            HeaderLine::NoBody => {
                if !msg.body.is_empty() {
                    differs("no body".into(), format!("a body of {} bytes", msg.body.len()));
                }
            }
            HeaderLine::BodyContains(pattern) => {
                if !fits(&format!("*{pattern}*"), &msg.body, &mut trial) {
                    differs(format!("body contains {}", shown(pattern, &trial)), "(it does not)".into());
                }
            }
        }
    }
    if let Some(lines) = &block.body {
        body(lines, msg, &mut trial, &mut out);
    }
    if out.is_empty() {
        *vars = trial;
    }
    out
}

fn first_line(line: usize, what: &Start, msg: &Msg, vars: &mut Vars, out: &mut Vec<Difference>) {
    let good = match what {
        Start::Request { method, uri } => {
            !msg.is_reply() && msg.method() == method && uri.as_ref().is_none_or(|uri| fits(uri, msg.uri(), vars))
        }
        Start::Reply { code, reason } => {
            msg.status() == Some(*code) && reason.as_ref().is_none_or(|r| fits(r, msg.reason(), vars))
        }
    };
    if !good {
        let expected = match what {
            Start::Request { method, uri } => {
                format!("{method} {}", uri.as_ref().map_or("*".into(), |u| shown(u, vars)))
            }
            Start::Reply { code, reason } => {
                format!("{code} {}", reason.as_ref().map_or("*".into(), |r| shown(r, vars)))
            }
        };
        let actual = match msg.is_reply() {
            true => msg.first.strip_prefix("SIP/2.0 ").unwrap_or(&msg.first).to_string(),
            false => msg.first.strip_suffix(" SIP/2.0").unwrap_or(&msg.first).to_string(),
        };
        out.push(Difference { line, expected, actual });
    }
}

fn body(lines: &[(usize, String)], msg: &Msg, vars: &mut Vars, out: &mut Vec<Difference>) {
    let mut actual = msg.body.trim_end().lines();
    let mut last = 0;
    for (number, pattern) in lines {
        last = *number;
        let line = actual.next();
        if line.is_none_or(|l| !fits(pattern.trim_end(), l.trim_end(), vars)) {
            out.push(Difference {
                line: *number,
                expected: shown(pattern, vars),
                actual: line.unwrap_or("(the body is over)").to_string(),
            });
            return;
        }
    }
    if let Some(more) = actual.next() {
        out.push(Difference { line: last, expected: "(the body is over)".into(), actual: more.to_string() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn msg() -> Msg {
        Msg::parse(
            b"SIP/2.0 200 OK\r\nVia: a;branch=1, b;branch=2\r\nTo: <sip:x>;tag=9\r\nCSeq: 1 INVITE\r\n\r\nv=0\r\ns=-\r\n",
        )
    }

    fn is(name: &str, value: &str) -> (usize, HeaderLine) {
        (2, HeaderLine::Is(name.into(), value.into()))
    }

    #[test]
    fn what_is_not_mentioned_does_not_count() {
        let what = Start::Reply { code: 200, reason: None };
        let mut vars = Vars::new();
        let block = Block {
            headers: vec![
                is("v", "a;branch={b}"),
                is("Via", "b;*"),
                (3, HeaderLine::NoMore("Via".into())),
                (4, HeaderLine::None("Route".into())),
                (5, HeaderLine::BodyContains("s=".into())),
            ],
            body: Some(vec![(7, "v=0".into()), (8, "s={x}".into())]),
        };
        assert_eq!(differences(1, &what, &block, &msg(), &mut vars), []);
        assert_eq!((vars["b"].as_str(), vars["x"].as_str()), ("1", "-"));
    }

    #[test]
    fn differences_name_their_lines() {
        let what = Start::Request { method: "INVITE".into(), uri: None };
        let mut vars = Vars::new();
        let block = Block {
            headers: vec![
                is("Via", "a;branch=1"),
                (3, HeaderLine::NoMore("Via".into())),
                is("X", "1"),
                (6, HeaderLine::NoBody),
            ],
            body: Some(vec![(9, "v=1".into())]),
        };
        let found = differences(1, &what, &block, &msg(), &mut vars);
        let text: Vec<String> = found.iter().map(|d| format!("{}: {} | {}", d.line, d.expected, d.actual)).collect();
        assert_eq!(
            text,
            [
                "1: INVITE * | 200 OK",
                "3: no more Via | Via: b;branch=2",
                "2: X: 1 | (no X)",
                "6: no body | a body of 10 bytes",
                "9: v=1 | v=0"
            ]
        );
    }
}
