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

/// A list with names, as module parameters define them: `NAME = (ATTRIBUTE=$variable, ...)`.
#[derive(Clone, Debug)]
pub struct NamedList {
    /// Its name.
    pub name: String,
    /// Each attribute with its variable.
    pub items: Vec<(String, PvText)>,
}

/// Takes a list with names apart; the error says what is wrong with it.
pub fn named_list(text: &[u8]) -> Result<NamedList, String> {
    let form = || "it is not of the form `NAME = (ATTRIBUTE=$variable, ...)`".to_string();
    let word = |t: &str| t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b)) && !t.is_empty();
    let (mut name, mut items, mut wanted, mut closed) = (None, Vec::new(), None, false);
    for piece in pv::pieces(text).map_err(|e| e.message)? {
        match piece {
            Piece::Var(v) => items.push((wanted.take().ok_or_else(form)?, *v)),
            Piece::Text(t) if !closed && wanted.is_none() => {
                let mut rest = std::str::from_utf8(&t).map_err(|_| form())?.trim();
                if name.is_none() {
                    let (n, behind) = rest.split_once('=').ok_or_else(form)?;
                    name = Some(n.trim().to_string()).filter(|n| word(n));
                    rest = behind.trim().strip_prefix('(').ok_or_else(form)?.trim();
                } else if let Some(behind) = rest.strip_prefix(')') {
                    closed = true;
                    rest = behind.trim();
                } else {
                    rest = rest.strip_prefix(',').ok_or_else(form)?.trim();
                }
                match rest.strip_suffix('=').map(str::trim).filter(|w| word(w)) {
                    Some(attribute) if !closed => wanted = Some(attribute.to_string()),
                    _ if closed && rest.is_empty() => {}
                    _ => return Err(form()),
                }
            }
            Piece::Text(_) => return Err(form()),
        }
    }
    match name {
        Some(name) if closed && !items.is_empty() => Ok(NamedList { name, items }),
        _ => Err(form()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_with_names() {
        let list = named_list(b"set1 = (User-Name=$var(u), Sip-Method = $rm , X=$(hdr(To){s.len}))").unwrap();
        assert_eq!(list.name, "set1");
        let items: Vec<_> = list.items.iter().map(|(n, v)| (n.as_str(), v.text.as_str())).collect();
        assert_eq!(items, [("User-Name", "$var(u)"), ("Sip-Method", "$rm"), ("X", "$(hdr(To){s.len})")]);
        for bad in [
            "",
            "set1",
            "set1=",
            "set1=()",
            "set1=(A)",
            "set1=(A=b)",
            "set1=(A=$rm",
            "set1=(A=$rm,)",
            "(A=$rm)",
            "set1=(A=$rm) x",
            "set1=(=$rm)",
            "set1=(A=$rm B=$rm)",
            "se t=(A=$rm)",
        ] {
            assert!(named_list(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn finds_lists_and_single_variables() {
        assert_eq!(list(b"$avp(a);$(avp(b)); $var(c)").unwrap().len(), 3);
        assert!(list(b"$avp(a) and $avp(b)").is_none());
        assert!(list(b"").is_none());
        assert_eq!(single(b" $avp(a) ").unwrap().name, "avp");
        assert!(single(b"x$avp(a)").is_none());
    }
}
