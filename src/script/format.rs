//! Format strings: texts with variables in them, `"call $ci from $fU@$fd"`. `$$` is one `$`; a
//! `.` directly behind a variable belongs to its name (`$rm.` is an unknown variable, `$(rm).`
//! is `$rm` and a dot).
//!
//! Expanded are: text arguments of functions, `xlog` texts, the parameter of `launch`, names of
//! computed routes, the value of `{s.eval}`. Not expanded are: text literals in assignments and
//! comparisons, `case` labels, `route()` and `return()` values, arguments that a function
//! interprets itself.

use super::pv::{self, Piece, PvError, PvText};

/// Takes a format string apart.
pub fn parse(text: &[u8]) -> Result<Vec<Piece>, PvError> {
    pv::pieces(text)
}

/// The one variable that `text` is, without anything around it (2.2's quoted output variables).
pub fn single(text: &[u8]) -> Option<PvText> {
    let text = text.trim_ascii();
    if text.first() == Some(&b'$') { pv::parse(text).ok() } else { None }
}

/// The variables of a list such as `$avp(a);$avp(b)`; `None` if it holds anything else.
pub fn list(text: &[u8]) -> Option<Vec<PvText>> {
    let mut out = Vec::new();
    for piece in pv::pieces(text).ok()? {
        match piece {
            Piece::Var(v) => out.push(*v),
            Piece::Text(t) if t.iter().all(|c| matches!(c, b';' | b',') || c.is_ascii_whitespace()) => {}
            Piece::Text(_) => return None,
        }
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_lists_and_single_variables() {
        assert_eq!(list(b"$avp(a);$(avp(b)); $var(c)").unwrap().len(), 3);
        assert!(list(b"$avp(a) and $avp(b)").is_none());
        assert!(list(b"").is_none());
        assert_eq!(single(b" $avp(a) ").unwrap().name, "avp");
        assert!(single(b"x$avp(a)").is_none());
    }
}
