//! SIP messages as the peers of a scenario see them: a first line, headers in order, a body. They parse what
//! came and print what is sent; nothing here is the server's.

/// A message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Msg {
    /// Request line or status line.
    pub first: String,
    /// Header fields in order, names as written, values unfolded.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

/// The full name of a header in lower case (RFC 3261 7.3.3: compact forms).
pub fn canonical(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    let full = match name.as_str() {
        "a" => "accept-contact",
        "b" => "referred-by",
        "c" => "content-type",
        "e" => "content-encoding",
        "f" => "from",
        "i" => "call-id",
        "k" => "supported",
        "l" => "content-length",
        "m" => "contact",
        "o" => "event",
        "r" => "refer-to",
        "s" => "subject",
        "t" => "to",
        "u" => "allow-events",
        "v" => "via",
        "x" => "session-expires",
        _ => return name,
    };
    full.to_string()
}

/// Headers whose values are lists: each entry is compared by itself.
fn is_list(name: &str) -> bool {
    matches!(
        name,
        "via" | "route" | "record-route" | "path" | "service-route" | "contact" | "diversion" | "history-info"
    )
}

/// The entries of a list; commas in quotes and angle brackets do not separate.
fn entries(value: &str) -> Vec<String> {
    let (mut out, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for (i, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' if !quoted && !angle => {
                out.push(value[start..i].trim().to_string());
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(value[start..].trim().to_string());
    out
}

impl Msg {
    /// Reads a message; what is no SIP ends up in the first line.
    pub fn parse(bytes: &[u8]) -> Msg {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = match text.split_once("\r\n\r\n") {
            Some((head, body)) => (head, body),
            None => (&*text, ""),
        };
        let mut lines = head.split("\r\n");
        let mut msg = Msg { first: lines.next().unwrap_or_default().to_string(), ..Msg::default() };
        for line in lines {
            if line.starts_with([' ', '\t'])
                && let Some((_, value)) = msg.headers.last_mut()
            {
                value.push(' ');
                value.push_str(line.trim());
            } else {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                msg.headers.push((name.trim().to_string(), value.trim().to_string()));
            }
        }
        msg.body = body.to_string();
        msg
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            out.push_str(name);
            out.push_str(": ");
            out.push_str(value);
            out.push_str("\r\n");
        }
        out.push_str("\r\n");
        out.push_str(&self.body);
        out.into_bytes()
    }

    /// Whether it is a reply.
    pub fn is_reply(&self) -> bool {
        self.first.starts_with("SIP/")
    }

    /// A reply's status.
    pub fn status(&self) -> Option<u16> {
        self.first.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// A reply's reason phrase.
    pub fn reason(&self) -> &str {
        self.first.get(12..).unwrap_or_default()
    }

    /// A request's method; a reply's is that of its CSeq.
    pub fn method(&self) -> &str {
        if self.is_reply() {
            return self.header("cseq").and_then(|c| c.split_ascii_whitespace().nth(1)).unwrap_or_default();
        }
        self.first.split(' ').next().unwrap_or_default()
    }

    /// A request's URI.
    pub fn uri(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// `INVITE`, `200`: what a repetition is called.
    pub fn label(&self) -> String {
        self.status().map_or_else(|| self.method().to_string(), |s| s.to_string())
    }

    /// The first header of a name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| canonical(n) == name).map(|(_, v)| v.as_str())
    }

    /// All values of a header; those of a list one by one.
    pub fn values(&self, name: &str) -> Vec<String> {
        let name = canonical(name);
        let lines = self.headers.iter().filter(|(n, _)| canonical(n) == name).map(|(_, v)| v.as_str());
        if is_list(&name) { lines.flat_map(entries).collect() } else { lines.map(str::to_string).collect() }
    }

    /// Number of the CSeq.
    pub fn cseq(&self) -> u32 {
        self.header("cseq").and_then(|c| c.split_ascii_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// The message indented, for people.
    pub fn show(&self) -> String {
        let mut out = String::new();
        let text = String::from_utf8_lossy(&self.to_bytes()).into_owned();
        for line in text.trim_end().lines() {
            out.push_str("        ");
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// The `tag` of a From or To value.
pub fn tag(value: &str) -> Option<&str> {
    let outside = value.rsplit_once('>').map_or(value, |(_, after)| after);
    outside.split(';').find_map(|p| p.trim().strip_prefix("tag="))
}

/// The URI of a name-addr or addr-spec.
pub fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// The host and port of a URI or of a Via's sent-by, if the host is an address.
pub fn address_in(text: &str) -> Option<std::net::SocketAddr> {
    let rest = text.split_once(':').filter(|(s, _)| matches!(*s, "sip" | "sips")).map_or(text, |(_, r)| r);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = rest.split([';', '?', '>']).next().unwrap_or_default().trim();
    super::parse::address(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let bytes = b"INVITE sip:b@x SIP/2.0\r\nv: SIP/2.0/UDP a;branch=1,\r\n SIP/2.0/UDP b\r\nFrom: \"a,b\" <sip:a;x@y>;tag=7\r\n\
                      CSeq: 3 INVITE\r\n\r\nbody\r\n";
        let m = Msg::parse(bytes);
        assert_eq!((m.method(), m.uri(), m.cseq(), m.status()), ("INVITE", "sip:b@x", 3, None));
        assert_eq!(m.values("Via"), ["SIP/2.0/UDP a;branch=1", "SIP/2.0/UDP b"]);
        assert_eq!(tag(m.header("from").unwrap()), Some("7"));
        assert_eq!(uri_of(m.header("from").unwrap()), "sip:a;x@y");
        assert_eq!(Msg::parse(&m.to_bytes()), m);
        let r = Msg::parse(b"SIP/2.0 180 Ringing\r\nCSeq: 3 INVITE\r\n\r\n");
        assert_eq!((r.status(), r.reason(), r.method(), r.label().as_str()), (Some(180), "Ringing", "INVITE", "180"));
    }

    #[test]
    fn addresses() {
        let a = |t| address_in(t).map(|a| a.to_string());
        assert_eq!(a("sip:bob@192.0.2.1:5070;lr"), Some("192.0.2.1:5070".into()));
        assert_eq!(a("sip:192.0.2.1"), Some("192.0.2.1:5060".into()));
        assert_eq!(a("127.0.0.1:5060;branch=x"), Some("127.0.0.1:5060".into()));
        assert_eq!(a("sip:[::1]:5062"), Some("[::1]:5062".into()));
        assert_eq!(a("sip:example.com"), None);
    }
}
