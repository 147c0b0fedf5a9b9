//! The little of SDP (RFC 8866) that routing scripts look at: lines and media streams.

/// Every line of a body without its line end.
pub fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l)).filter(|l| !l.is_empty())
}

/// Line number `at` (from 0) among those that start with `kind` and a `=`, which it includes.
pub fn line(body: &[u8], kind: u8, at: usize) -> Option<&[u8]> {
    lines(body).filter(|l| matches!(l, [k, b'=', ..] if *k == kind)).nth(at)
}

/// Every media stream: from its `m=` line up to the next one or the end, line ends included.
pub fn streams(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = first_stream(body);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memmem::find(rest, b"\nm=").map_or(rest.len(), |at| at + 1);
        let (stream, after) = rest.split_at(end);
        rest = after;
        Some(stream)
    })
}

/// The stream of this media type (`audio`, `video` ...).
pub fn stream_of<'a>(body: &'a [u8], media: &[u8]) -> Option<&'a [u8]> {
    streams(body).find(|s| s.get(2..).is_some_and(|m| m.split(|b| *b == b' ').next() == Some(media)))
}

/// The part before the first stream.
pub fn session(body: &[u8]) -> &[u8] {
    body.get(..body.len() - first_stream(body).len()).unwrap_or_default()
}

fn first_stream(body: &[u8]) -> &[u8] {
    if body.starts_with(b"m=") {
        return body;
    }
    memchr::memmem::find(body, b"\nm=").and_then(|at| body.get(at + 1..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_streams() {
        let body = b"v=0\r\no=x\r\nm=audio 1 RTP/AVP 0\r\na=1\r\na=2\r\nm=video 2 RTP/AVP 31\r\n";
        assert_eq!(line(body, b'o', 0), Some(&b"o=x"[..]));
        assert_eq!(line(body, b'a', 1), Some(&b"a=2"[..]));
        assert_eq!(line(body, b'a', 2), None);
        let all: Vec<_> = streams(body).collect();
        assert_eq!(all, [&b"m=audio 1 RTP/AVP 0\r\na=1\r\na=2\r\n"[..], b"m=video 2 RTP/AVP 31\r\n"]);
        assert_eq!(stream_of(body, b"video"), Some(all[1]));
        assert_eq!(session(body), b"v=0\r\no=x\r\n");
        assert_eq!(streams(b"v=0").count() + streams(b"").count(), 0);
    }
}
