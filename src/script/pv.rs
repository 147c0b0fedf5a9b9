//! Variables as text: `$name`, `$name(sub)`, `$(<ctx>name(sub)[index]{transformation}...)`, with
//! variables nested in `sub`, `index` and the transformations' parameters. This file takes the
//! text apart; [`super::resolve`] finds out what the names mean.

/// A variable, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvText {
    /// `request` in `$(<request>ru)`.
    pub context: Option<String>,
    /// Its name.
    pub name: String,
    /// What stands in parentheses.
    pub sub: Option<Vec<Piece>>,
    /// Which of several values.
    pub index: IndexText,
    /// Bodies of its transformations, such as `s.select,1,/`.
    pub transforms: Vec<Vec<u8>>,
    /// As written.
    pub text: String,
}

/// Piece of a text with variables in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Fixed text.
    Text(Vec<u8>),
    /// A variable.
    Var(Box<PvText>),
}

/// Index as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexText {
    /// None.
    None,
    /// `[i]`
    At(i64),
    /// `[*]`
    All,
    /// `[append]`
    Append,
    /// `[$var(i)]`
    Var(Box<PvText>),
}

/// What is wrong with a variable's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvError {
    /// Byte offset in the text.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

/// Variables nested deeper than this are refused.
const MAX_DEPTH: u8 = 12;

/// Whether `c` may stand in a variable's name.
pub fn is_name_char(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'?')
}

/// Parses a text that is exactly one variable.
pub fn parse(text: &[u8]) -> Result<PvText, PvError> {
    let mut reader = Reader { text, pos: 0, depth: 0 };
    let mut var = reader.variable()?;
    // Kamailio: `$avp(x)[i]` may stand outside of `$( )`.
    if reader.peek() == Some(b'[') && matches!(var.index, IndexText::None) {
        var.index = reader.index()?;
        var.text = String::from_utf8_lossy(text).into_owned();
    }
    if reader.pos < text.len() {
        return Err(reader.error("text behind the variable"));
    }
    Ok(var)
}

/// Parses a text with variables in it. `$$` is one `$`.
pub fn pieces(text: &[u8]) -> Result<Vec<Piece>, PvError> {
    Reader { text, pos: 0, depth: 0 }.pieces()
}

struct Reader<'a> {
    text: &'a [u8],
    pos: usize,
    depth: u8,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    fn take(&mut self, c: u8) -> bool {
        let found = self.peek() == Some(c);
        self.pos += usize::from(found);
        found
    }

    fn error(&self, message: impl Into<String>) -> PvError {
        PvError { at: self.pos, message: message.into() }
    }

    fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        self.text.get(from..to).unwrap_or_default()
    }

    fn pieces(&mut self) -> Result<Vec<Piece>, PvError> {
        let mut out = Vec::new();
        let mut literal = Vec::new();
        while self.pos < self.text.len() {
            let from = self.pos;
            self.pos = memchr::memchr(b'$', self.slice(from, self.text.len())).map_or(self.text.len(), |n| from + n);
            literal.extend_from_slice(self.slice(from, self.pos));
            if self.pos >= self.text.len() {
                break;
            }
            if self.text.get(self.pos + 1) == Some(&b'$') {
                literal.push(b'$');
                self.pos += 2;
                continue;
            }
            let var = self.variable()?;
            if !literal.is_empty() {
                out.push(Piece::Text(std::mem::take(&mut literal)));
            }
            out.push(Piece::Var(Box::new(var)));
        }
        if !literal.is_empty() || out.is_empty() {
            out.push(Piece::Text(literal));
        }
        Ok(out)
    }

    fn nested(&self, text: &'a [u8]) -> Result<Reader<'a>, PvError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error("variables are nested too deeply"));
        }
        Ok(Reader { text, pos: 0, depth: self.depth + 1 })
    }

    /// A variable; the position is at its `$`.
    fn variable(&mut self) -> Result<PvText, PvError> {
        let start = self.pos;
        if !self.take(b'$') {
            return Err(self.error("a variable begins with `$`"));
        }
        if self.depth > MAX_DEPTH {
            return Err(self.error("variables are nested too deeply"));
        }
        let full = self.take(b'(');
        let mut context = None;
        if full && self.take(b'<') {
            let from = self.pos;
            while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == b'_') {
                self.pos += 1;
            }
            context = Some(String::from_utf8_lossy(self.slice(from, self.pos)).into_owned());
            if !self.take(b'>') {
                return Err(self.error("the context lacks its `>`"));
            }
        }
        let from = self.pos;
        while self.peek().is_some_and(is_name_char) {
            self.pos += 1;
        }
        if self.pos == from {
            return Err(self.error("`$` without a variable's name; write `$$` for the character itself"));
        }
        let name = String::from_utf8_lossy(self.slice(from, self.pos)).into_owned();
        let sub = if self.peek() == Some(b'(') { Some(self.sub()?) } else { None };
        let mut index = IndexText::None;
        let mut transforms = Vec::new();
        if full {
            if self.peek() == Some(b'[') {
                index = self.index()?;
            }
            while self.peek() == Some(b'{') {
                transforms.push(self.braces()?.to_vec());
            }
            if !self.take(b')') {
                return Err(self.error("the variable's `$(` lacks its `)`"));
            }
        }
        let text = String::from_utf8_lossy(self.slice(start, self.pos)).into_owned();
        Ok(PvText { context, name, sub, index, transforms, text })
    }

    /// `(sub)`; the position is at the parenthesis.
    fn sub(&mut self) -> Result<Vec<Piece>, PvError> {
        let inner = self.balanced(b'(', b')')?;
        if !inner.contains(&b'$') {
            return Ok(vec![Piece::Text(inner.to_vec())]);
        }
        self.nested(inner)?.pieces()
    }

    fn index(&mut self) -> Result<IndexText, PvError> {
        let at = self.pos;
        let inner = self.balanced(b'[', b']')?.trim_ascii();
        match inner {
            b"*" => Ok(IndexText::All),
            b"append" => Ok(IndexText::Append),
            [b'$', ..] => {
                let mut reader = self.nested(inner)?;
                let var = reader.variable()?;
                match reader.peek() {
                    None => Ok(IndexText::Var(Box::new(var))),
                    Some(_) => Err(PvError { at, message: "the index must be one variable".into() }),
                }
            }
            _ => std::str::from_utf8(inner)
                .ok()
                .and_then(|s| s.parse().ok())
                .map(IndexText::At)
                .ok_or(PvError { at, message: "the index must be a number, `*`, `append` or a variable".into() }),
        }
    }

    /// Text between balanced brackets; the position is at the opening one and moves past the
    /// closing one.
    fn balanced(&mut self, open: u8, close: u8) -> Result<&'a [u8], PvError> {
        let from = self.pos;
        let mut depth = 0usize;
        for (i, c) in self.slice(from, self.text.len()).iter().enumerate() {
            if *c == open {
                depth += 1;
            } else if *c == close {
                depth -= 1;
                if depth == 0 {
                    self.pos = from + i + 1;
                    return Ok(self.slice(from + 1, from + i));
                }
            }
        }
        Err(self.error(format!("`{}` lacks its `{}`", char::from(open), char::from(close))))
    }

    /// A transformation's body; `\{` and `\}` do not count as braces.
    fn braces(&mut self) -> Result<&'a [u8], PvError> {
        let from = self.pos;
        let mut depth = 0usize;
        let mut i = from;
        while let Some(c) = self.text.get(i) {
            match c {
                b'\\' => i += 1,
                b'{' => depth += 1,
                b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        self.pos = i + 1;
                        return Ok(self.slice(from + 1, i));
                    }
                }
                _ => {}
            }
            i += 1;
        }
        Err(self.error("the transformation lacks its `}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> PvText {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn takes_all_forms_apart() {
        assert_eq!(ok("$ru").name, "ru");
        let v = ok("$(<reply>hdr(X-$var(n))[-1]{s.select,1,,}{s.len})");
        assert_eq!(v.context.as_deref(), Some("reply"));
        assert_eq!(v.name, "hdr");
        assert_eq!(v.index, IndexText::At(-1));
        assert_eq!(v.transforms, vec![b"s.select,1,,".to_vec(), b"s.len".to_vec()]);
        let sub = v.sub.unwrap();
        assert_eq!(sub[0], Piece::Text(b"X-".to_vec()));
        assert!(matches!(&sub[1], Piece::Var(v) if v.name == "var"));
        assert_eq!(ok("$(avp(x)[*])").index, IndexText::All);
        assert_eq!(ok("$(avp(x)[append])").index, IndexText::Append);
        assert!(matches!(ok("$(avp(x)[$var(i)])").index, IndexText::Var(_)));
        assert_eq!(ok("$(msg.branch.uri[2])").name, "msg.branch.uri");
        assert_eq!(ok("$(var(x){re.subst,/a\\{2\\}/b/})").transforms, vec![b"re.subst,/a\\{2\\}/b/".to_vec()]);
        assert_eq!(ok("$(var(x){s.index,$(var(y){s.trim})})").transforms.len(), 1);
        assert_eq!(ok("$sht(a=>$ci::x)").sub.unwrap().len(), 3);
        assert_eq!(ok("$avp(x)[*]").index, IndexText::All);
    }

    #[test]
    fn names_are_greedy_in_formats() {
        let p = pieces(b"$fU@$fd: $$5 $rm.").unwrap();
        let names: Vec<_> =
            p.iter().filter_map(|p| if let Piece::Var(v) = p { Some(v.name.as_str()) } else { None }).collect();
        assert_eq!(names, ["fU", "fd", "rm."]);
        assert!(matches!(&p[3], Piece::Text(t) if t == b": $5 "));
    }

    #[test]
    fn refuses_broken_ones() {
        for text in
            ["$", "$(ru", "$(ru{s.len)", "$hdr(x", "$(avp(x)[y])", "ru", "$ru x", "$(<a ru)", "$(avp(x)[$var(i)2])"]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!("{}x{}", "$avp(".repeat(40), ")".repeat(40));
        assert!(parse(deep.as_bytes()).is_err());
    }
}
