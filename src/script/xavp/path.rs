//! What stands in the parentheses of `$xavp(...)`: `name`, `name[1]`, `name[0]=>field`, `name=>field[-1]`, `name[*]`.

/// An index as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// None.
    None,
    /// `[i]`; negative counts from the end.
    Index(i64),
    /// `[*]`
    All,
}

impl At {
    /// The index that is meant where only one value can be.
    pub fn number(self) -> i64 {
        match self {
            At::Index(i) => i,
            At::None | At::All => 0,
        }
    }
}

/// A path, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path<'a> {
    /// First level.
    pub name: &'a [u8],
    /// Which of that name.
    pub at: At,
    /// Second level, and which of that name.
    pub field: Option<(&'a [u8], At)>,
}

impl<'a> Path<'a> {
    /// Takes a path apart; `None` if it is none.
    pub fn parse(text: &'a [u8]) -> Option<Path<'a>> {
        let (root, field) = match memchr::memmem::find(text, b"=>") {
            Some(i) => (text.get(..i)?, Some(part(text.get(i + 2..)?)?)),
            None => (text, None),
        };
        let (name, at) = part(root)?;
        Some(Path { name, at, field })
    }
}

/// `name` or `name[index]`.
fn part(text: &[u8]) -> Option<(&[u8], At)> {
    let text = text.trim_ascii();
    let (name, at) = match text.strip_suffix(b"]") {
        None => (text, At::None),
        Some(rest) => {
            let open = memchr::memchr(b'[', rest)?;
            let at = match rest.get(open + 1..)?.trim_ascii() {
                b"*" => At::All,
                n => At::Index(std::str::from_utf8(n).ok()?.parse().ok()?),
            };
            (rest.get(..open)?.trim_ascii_end(), at)
        }
    };
    let ok = !name.is_empty() && !name.iter().any(|c| matches!(c, b'[' | b']' | b'=' | b'>' | b'$' | b' '));
    ok.then_some((name, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let path = |t: &'static str| Path::parse(t.as_bytes());
        let whole = |name: &'static str, at| Some(Path { name: name.as_bytes(), at, field: None });
        assert_eq!(path("a"), whole("a", At::None));
        assert_eq!(path(" a [ 2 ] "), whole("a", At::Index(2)));
        assert_eq!(path("a[*]"), whole("a", At::All));
        let field = |at, f: &'static str, fat| Some(Path { name: b"a", at, field: Some((f.as_bytes(), fat)) });
        assert_eq!(path("a=>b"), field(At::None, "b", At::None));
        assert_eq!(path("a[0] => b[-1]"), field(At::Index(0), "b", At::Index(-1)));
        assert_eq!(path("a=>b[*]"), field(At::None, "b", At::All));
        for bad in ["", "[0]", "a[]", "a[x]", "a[0", "a]", "=>b", "a=>", "a=>b=>c", "a[0]x", "a b", "a[1][2]", "a=b"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
