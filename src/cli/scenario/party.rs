//! What the peers remember of their calls, and the messages they make from it: whatever a scenario
//! does not say about a message has here its sane value.

use super::message::{Msg, canonical, tag, uri_of};
use super::syntax::{HeaderLine, Peer};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// How a message got from one to the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// The socket of the server.
    pub socket: SocketAddr,
    /// It went over TCP.
    pub tcp: bool,
    /// Number of the connection.
    pub line: Option<usize>,
}

/// One peer's side of one call.
#[derive(Clone, Debug, Default)]
pub struct Side {
    cseq: u32,
    /// What it sent, and how.
    pub sent: Vec<(Msg, Way)>,
    /// Requests it got, and how.
    pub got: Vec<(Msg, Way)>,
    /// The last reply it got to each method.
    replies: BTreeMap<String, Msg>,
    dialog: Option<Dialog>,
}

/// A dialog of RFC 3261 section 12, as one side sees it.
#[derive(Clone, Debug)]
struct Dialog {
    confirmed: bool,
    /// `From` of what this side sends.
    local: String,
    /// `To` of what this side sends.
    remote: String,
    target: String,
    routes: Vec<String>,
}

/// Everything the peers remember.
#[derive(Debug, Default)]
pub struct Memory {
    sides: BTreeMap<(String, usize), Side>,
    /// The call that messages belong to.
    pub call: String,
    /// Call-IDs that the server made, by the names of their calls.
    foreign: BTreeMap<String, String>,
    branches: u32,
}

/// A header list under construction: what the scenario says of a header takes the place of its
/// sane values.
struct Headers<'a> {
    list: Vec<(String, String)>,
    own: &'a [(usize, HeaderLine)],
    done: Vec<String>,
}

impl Headers<'_> {
    fn new(own: &[(usize, HeaderLine)]) -> Headers<'_> {
        Headers { list: Vec::new(), own, done: Vec::new() }
    }

    /// Values for a header, unless the scenario speaks of it.
    fn fill(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        let wanted = canonical(name);
        let mut spoken = false;
        for (_, line) in self.own {
            match line {
                HeaderLine::Is(n, v) if canonical(n) == wanted => {
                    spoken = true;
                    self.list.push((n.clone(), v.clone()));
                }
                HeaderLine::None(n) if canonical(n) == wanted => spoken = true,
                _ => {}
            }
        }
        if !spoken {
            self.list.extend(values.into_iter().map(|v| (name.to_string(), v)));
        }
        self.done.push(wanted);
    }

    /// The same with one value.
    fn one(&mut self, name: &str, value: impl Into<String>) {
        self.fill(name, [value.into()]);
    }

    /// The rest of what the scenario says, the body and its length.
    fn finish(mut self, first: String, body: Option<String>) -> Msg {
        let body = body.unwrap_or_default();
        for (_, line) in self.own {
            if let HeaderLine::Is(n, _) = line
                && canonical(n) != "content-length"
                && !self.done.contains(&canonical(n))
            {
                self.fill(n, []);
            }
        }
        if !body.is_empty() && !self.done.iter().any(|n| n == "content-type") {
            self.one("Content-Type", if body.starts_with("v=") { "application/sdp" } else { "text/plain" });
        }
        self.one("Content-Length", body.len().to_string());
        Msg { first, headers: self.list, body }
    }
}

impl Memory {
    /// Begins with a call that has no name of its own.
    pub fn new() -> Memory {
        Memory { call: "1".into(), ..Memory::default() }
    }

    /// The Call-ID of the call that messages belong to.
    pub fn call_id(&self) -> String {
        self.foreign.get(&self.call).cloned().unwrap_or_else(|| format!("call-{}", self.call))
    }

    /// What a peer remembers of the call.
    pub fn side(&mut self, peer: usize) -> &mut Side {
        self.sides.entry((self.call.clone(), peer)).or_default()
    }

    fn tag(&self, peer: &Peer) -> String {
        format!("{}-{}", peer.name, self.call)
    }

    fn branch(&mut self, peer: &Peer, tcp: bool) -> String {
        self.branches += 1;
        let transport = if tcp { "TCP" } else { "UDP" };
        format!("SIP/2.0/{transport} {};branch=z9hG4bK-{}-{}", peer.addr, peer.name, self.branches)
    }

    /// A request of a peer.
    pub fn request(
        &mut self,
        number: usize,
        (peer, tcp): (&Peer, bool),
        method: &str,
        uri: Option<&str>,
        own: &[(usize, HeaderLine)],
        body: Option<String>,
    ) -> Result<Msg, String> {
        let call_id = self.call_id();
        let local_tag = self.tag(peer);
        let side = self.side(number).clone();
        let mut headers = Headers::new(own);
        let invite =
            side.sent.iter().rev().find(|(m, _)| !m.is_reply() && m.method() == "INVITE").map(|(m, _)| m.clone());
        let last_invite_reply = side.replies.get("INVITE").cloned();
        if method == "CANCEL" || method == "ACK" {
            let invite = invite.as_ref().ok_or_else(|| format!("{} has sent no INVITE in this call", peer.name))?;
            let accepted =
                last_invite_reply.as_ref().is_some_and(|r| r.status().is_some_and(|s| (200..300).contains(&s)));
            if method == "CANCEL" || !accepted {
                // 9.1, 17.1.1.3: same Request-URI, top Via, From, Call-ID, CSeq number and Route as the INVITE.
                let to = match (&last_invite_reply, method) {
                    (Some(reply), "ACK") => reply.header("to"),
                    _ => invite.header("to"),
                };
                headers.one("Via", invite.values("via").first().cloned().unwrap_or_default());
                headers.fill("Route", invite.values("route"));
                headers.one("Max-Forwards", "70");
                headers.one("From", invite.header("from").unwrap_or_default());
                headers.one("To", to.unwrap_or_default());
                headers.one("Call-ID", call_id);
                headers.one("CSeq", format!("{} {method}", invite.cseq()));
                let uri = uri.unwrap_or_else(|| invite.uri()).to_string();
                return Ok(headers.finish(format!("{method} {uri} SIP/2.0"), body));
            }
        }
        let dialog = side.dialog.as_ref().filter(|d| d.confirmed || !matches!(method, "INVITE" | "REGISTER"));
        let uri = match (uri, dialog) {
            (Some(uri), _) => uri.to_string(),
            (None, Some(d)) => d.target.clone(),
            (None, None) => return Err(format!("there is no dialog: expected a Request-URI behind {method}")),
        };
        let cseq = match (method, &invite) {
            ("ACK", Some(invite)) => invite.cseq(),
            _ => {
                let side = self.side(number);
                side.cseq += 1;
                side.cseq
            }
        };
        headers.one("Via", self.branch(peer, tcp));
        headers.fill("Route", dialog.map(|d| d.routes.clone()).unwrap_or_default());
        headers.one("Max-Forwards", "70");
        let (from, to) = match dialog {
            Some(d) => (d.local.clone(), d.remote.clone()),
            None => {
                let to = if method == "REGISTER" { peer.uri.as_str() } else { uri.as_str() };
                (format!("<{}>;tag={local_tag}", peer.uri), format!("<{to}>"))
            }
        };
        headers.one("From", from);
        headers.one("To", to);
        headers.one("Call-ID", call_id);
        headers.one("CSeq", format!("{cseq} {method}"));
        if matches!(method, "INVITE" | "SUBSCRIBE" | "REFER" | "UPDATE" | "REGISTER" | "NOTIFY") {
            headers.one("Contact", contact(peer, tcp));
        }
        Ok(headers.finish(format!("{method} {uri} SIP/2.0"), body))
    }

    /// A reply of a peer to the last request it got (of a method, if one is given); and where it goes.
    pub fn reply(
        &mut self,
        number: usize,
        peer: &Peer,
        (code, reason): (u16, Option<&str>),
        to: Option<&str>,
        own: &[(usize, HeaderLine)],
        body: Option<String>,
    ) -> Result<(Msg, Way), String> {
        let local_tag = self.tag(peer);
        let side = self.side(number);
        let found = side.got.iter().rev().find(|(m, _)| to.map_or(m.method() != "ACK", |t| t == m.method()));
        let Some((request, from)) = found.cloned() else {
            let what = to.unwrap_or("request");
            return Err(format!("{} has got no {what} to reply to (it must be expected first)", peer.name));
        };
        let mut headers = Headers::new(own);
        headers.fill("Via", request.values("via"));
        if code > 100 {
            headers.fill("Record-Route", request.values("record-route"));
        }
        headers.one("From", request.header("from").unwrap_or_default());
        let to = request.header("to").unwrap_or_default();
        let to = if code > 100 && tag(to).is_none() { format!("{to};tag={local_tag}") } else { to.to_string() };
        headers.one("To", to);
        headers.one("Call-ID", request.header("call-id").unwrap_or_default());
        headers.one("CSeq", request.header("cseq").unwrap_or_default());
        if (101..300).contains(&code) && matches!(request.method(), "INVITE" | "SUBSCRIBE" | "REFER" | "UPDATE") {
            headers.one("Contact", contact(peer, from.tcp));
        }
        let reason = reason.unwrap_or_else(|| crate::sip::reply::default_reason(code));
        let msg = headers.finish(format!("SIP/2.0 {code} {reason}"), body);
        self.learn_sent_reply(number, &request, &msg);
        Ok((msg, from))
    }

    /// A peer sends a request: what it will need later.
    pub fn note_sent(&mut self, number: usize, msg: &Msg, to: Way) {
        let side = self.side(number);
        side.cseq = side.cseq.max(msg.cseq());
        if msg.method() == "INVITE" {
            side.replies.remove("INVITE");
        }
        side.sent.push((msg.clone(), to));
    }

    /// 12.1.1: a reply that makes or confirms a dialog at the UAS.
    fn learn_sent_reply(&mut self, number: usize, request: &Msg, reply: &Msg) {
        let code = reply.status().unwrap_or(0);
        let side = self.side(number);
        if !(101..300).contains(&code) || !makes_dialog(request.method()) {
            return;
        }
        let in_dialog = tag(request.header("to").unwrap_or_default()).is_some();
        if in_dialog && side.dialog.is_some() {
            return;
        }
        side.dialog = Some(Dialog {
            confirmed: code >= 200,
            local: reply.header("to").unwrap_or_default().to_string(),
            remote: request.header("from").unwrap_or_default().to_string(),
            target: request.values("contact").first().map(|c| uri_of(c).to_string()).unwrap_or_default(),
            routes: request.values("record-route"),
        });
    }

    /// A peer got a message, which it had expected.
    pub fn note_got(&mut self, number: usize, msg: &Msg, from: Way) {
        let call_id = msg.header("call-id").unwrap_or_default().to_string();
        let known = call_id.strip_prefix("call-").map(str::to_string);
        self.call = match known {
            Some(name) => name,
            None => {
                let name = self.foreign.iter().find(|(_, id)| **id == call_id).map(|(n, _)| n.clone());
                name.unwrap_or_else(|| {
                    self.foreign.insert(call_id.clone(), call_id.clone());
                    call_id
                })
            }
        };
        let side = self.side(number);
        if !msg.is_reply() {
            // 12.2.2: a re-INVITE or UPDATE brings a new remote target.
            if let (Some(dialog), Some(contact)) = (&mut side.dialog, msg.values("contact").first())
                && matches!(msg.method(), "INVITE" | "UPDATE" | "SUBSCRIBE" | "NOTIFY")
                && tag(msg.header("to").unwrap_or_default()).is_some()
            {
                dialog.target = uri_of(contact).to_string();
            }
            side.got.push((msg.clone(), from));
            return;
        }
        let code = msg.status().unwrap_or(0);
        side.replies.insert(msg.method().to_string(), msg.clone());
        let to = msg.header("to").unwrap_or_default();
        if !(101..300).contains(&code) || !makes_dialog(msg.method()) || tag(to).is_none() {
            return;
        }
        let target = msg.values("contact").first().map(|c| uri_of(c).to_string());
        let same = side.dialog.as_ref().is_some_and(|d| d.confirmed && d.remote == to);
        if let (true, Some(dialog)) = (same, &mut side.dialog) {
            // 12.2.1.2: the answer to a re-INVITE.
            dialog.target = target.unwrap_or_else(|| dialog.target.clone());
            return;
        }
        let mut routes = msg.values("record-route");
        routes.reverse();
        side.dialog = Some(Dialog {
            confirmed: code >= 200,
            local: msg.header("from").unwrap_or_default().to_string(),
            remote: to.to_string(),
            target: target.unwrap_or_default(),
            routes,
        });
    }
}

fn contact(peer: &Peer, tcp: bool) -> String {
    format!("<sip:{}@{}{}>", peer.name, peer.addr, if tcp { ";transport=tcp" } else { "" })
}

fn makes_dialog(method: &str) -> bool {
    matches!(method, "INVITE" | "SUBSCRIBE" | "REFER")
}
