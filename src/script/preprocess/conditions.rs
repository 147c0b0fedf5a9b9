//! `#!ifdef`, `#!ifndef`, `#!ifexp`, `#!else`, `#!endif`: which text counts.

use super::Reader;
use super::evaluate::evaluate;
use crate::script::diagnostics::Diagnostic;
use crate::script::lex::directive_at;
use crate::script::source::Span;

/// Deepest nesting.
const MAX_OPEN: usize = 512;

impl Reader<'_> {
    /// Carries out a directive of this family, which stands at `head`; gives the place where reading goes on.
    pub(super) fn condition(&mut self, word: &str, head: Span, argument: Span, line_end: usize) -> usize {
        let holds = match word {
            "else" | "endif" => return self.turn(word, head),
            "ifexp" => {
                let Reader { map, diags, macros: Some(macros), .. } = self else { return line_end };
                match evaluate(argument, macros, map) {
                    Ok(worth) => worth.holds(),
                    Err(why) => {
                        let d = Diagnostic::error("E0015", argument, "this expression has no value").label(why);
                        diags.push(d);
                        false
                    }
                }
            }
            _ => match self.name(word, head, argument) {
                Some((name, _)) => {
                    let known = self.macros.as_ref().is_some_and(|m| m.defines.contains_key(&name));
                    known == (word == "ifdef")
                }
                None => false,
            },
        };
        let Some(macros) = self.macros.as_mut() else { return line_end };
        if macros.open.len() >= MAX_OPEN {
            let d = Diagnostic::error("E0014", head, format!("conditions are nested deeper than {MAX_OPEN}"));
            self.diags.push(d);
            return usize::MAX;
        }
        macros.open.push((head, false));
        if holds { line_end } else { self.skip(head.file, line_end) }
    }

    /// `#!else` behind text that counted, or `#!endif`.
    fn turn(&mut self, word: &str, head: Span) -> usize {
        let end = head.end as usize;
        let Some(macros) = self.macros.as_mut() else { return end };
        let Some((opened, turned)) = macros.open.last_mut() else {
            let d = Diagnostic::error("E0014", head, format!("`#!{word}` without an `#!ifdef`"));
            self.diags.push(d);
            return end;
        };
        if word == "endif" {
            macros.open.pop();
            return end;
        }
        if std::mem::replace(turned, true) {
            let d = Diagnostic::error("E0014", head, "a second `#!else`").related(*opened, "of this condition");
            self.diags.push(d);
        }
        self.skip(head.file, end)
    }

    /// Skips text that does not count, from byte `at`: behind the `#!else` or `#!endif` of the innermost condition.
    /// Nothing in it is looked at but directives of this family.
    fn skip(&mut self, file: u16, mut at: usize) -> usize {
        let Some(f) = self.map.files().get(usize::from(file)) else { return at };
        let Some(macros) = self.macros.as_mut() else { return at };
        let mut depth = 0usize;
        while let Some(n) = f.text.get(at..).and_then(|t| memchr::memchr(b'!', t.as_bytes())) {
            let mark = at + n;
            at = mark + 1;
            let Some((word, end)) = mark.checked_sub(1).and_then(|start| directive_at(&f.text, start)) else {
                continue;
            };
            at = end;
            match word {
                "ifdef" | "ifndef" | "ifexp" => depth += 1,
                "endif" if depth == 0 => {
                    macros.open.pop();
                    return end;
                }
                "endif" => depth -= 1,
                "else" if depth == 0 => {
                    if let Some((opened, turned)) = macros.open.last_mut() {
                        if *turned {
                            let head = Span { file, start: (mark - 1) as u32, end: end as u32 };
                            let d = Diagnostic::error("E0014", head, "a second `#!else`");
                            self.diags.push(d.related(*opened, "of this condition"));
                        }
                        *turned = true;
                    }
                    return end;
                }
                _ => {}
            }
        }
        f.text.len()
    }
}
