//! Messages as text, as the agents and the checks look at them: one header per line, as they write them.

/// The lines of the head, without their ends.
pub fn head(text: &str) -> impl Iterator<Item = &str> {
    text.split("\r\n").take_while(|l| !l.is_empty())
}

/// Values of a header, from the top.
pub fn values<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    head(text).skip(1).filter_map(move |l| {
        let (n, v) = l.split_once(':')?;
        n.trim_end().eq_ignore_ascii_case(name).then(|| v.trim())
    })
}

/// The first value of a header, or nothing.
pub fn value<'a>(text: &'a str, name: &'a str) -> &'a str {
    values(text, name).next().unwrap_or_default()
}

/// `INVITE`; empty for a reply.
pub fn method(text: &str) -> &str {
    if text.starts_with("SIP/2.0 ") { "" } else { text.split(' ').next().unwrap_or_default() }
}

/// 180; 0 for a request.
pub fn status(text: &str) -> u16 {
    text.strip_prefix("SIP/2.0 ").and_then(|r| r.get(..3)).and_then(|s| s.parse().ok()).unwrap_or(0)
}

/// Method of the CSeq.
pub fn cseq_method(text: &str) -> &str {
    value(text, "CSeq").split_whitespace().nth(1).unwrap_or_default()
}

/// Branch of the topmost Via.
pub fn branch(text: &str) -> &str {
    param(value(text, "Via"), "branch")
}

/// Tag of the To.
pub fn to_tag(text: &str) -> &str {
    let to = value(text, "To");
    param(to.rsplit_once('>').map_or(to, |(_, rest)| rest), "tag")
}

fn param<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.split(';').skip(1).find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_default().split([' ', ',']).next().unwrap_or_default()
}

/// What stands between the first pair of `<` and `>`.
pub fn uri(text: &str) -> &str {
    text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(uri, _)| uri)
}
