//! Requests of the server's own (`t_new_request`): built here, through local_route, sent in a
//! transaction without a server side.

use super::locate::{Errand, Order, Progress};
use super::state::{Role, RoleKind, TxData, Worker};
use crate::base::Str;
use crate::modules::host::{SipHost, Target};
use crate::net::resolver::locate::Hop;
use crate::script::vm::{Finished, Run};
use crate::sip::Message;
use std::net::SocketAddr;

impl Worker {
    /// Builds a request and hands it to local_route, or sends it.
    pub(super) fn new_request(
        &mut self,
        host: &SipHost,
        method: &Str,
        ruri: &Str,
        from: &Str,
        to: &Str,
        body: Option<&Str>,
    ) -> i32 {
        let _ = host;
        let Some(message) = self.compose(method, ruri, from, to, body) else { return -1 };
        let source = SocketAddr::from(([127, 0, 0, 1], 0));
        let own = SipHost::new(self.env().clone(), message, source, 0);
        match self.routes.local {
            Some(route) => {
                let run = Run::new(self.program(), route, own);
                self.drive(run, Role::new(RoleKind::Local));
                1
            }
            None => self.send_local(own),
        }
    }

    /// local_route has ended: the request is sent (`drop` is not honoured there).
    pub(super) fn local_route_done(&mut self, finished: Finished<SipHost>, _role: &Role) {
        self.send_local(finished.host);
    }

    fn compose(&self, method: &Str, ruri: &Str, from: &Str, to: &Str, body: Option<&Str>) -> Option<Message> {
        let clean = |t: &Str| !t.iter().any(|b| matches!(b, b'\r' | b'\n'));
        if ![method, ruri, from, to].into_iter().all(clean) || !crate::sip::bytes::is_token(method) {
            return None;
        }
        let unique = format!("{:x}{:x}", self.now.as_micros(), self.hash(&self.messages.to_be_bytes()));
        let tag = self.hash(unique.as_bytes());
        let (kind, text) = match body {
            Some(b) => {
                let at = b.iter().position(|c| *c == b' ')?;
                (Some(&b[..at]), &b[at + 1..])
            }
            None => (None, &b""[..]),
        };
        let address = |t: &Str| {
            if t.contains(&b'<') { t.to_vec() } else { [b"<", &t[..], b">"].concat() }
        };
        let via = self.env().listeners.first()?;
        let mut out = Vec::with_capacity(512);
        for part in [&method[..], b" ", ruri, b" SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1\r\nMax-Forwards: 70\r\nFrom: "] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&address(from));
        out.extend_from_slice(format!(";tag={tag:x}\r\nTo: ").as_bytes());
        out.extend_from_slice(&address(to));
        out.extend_from_slice(
            format!("\r\nCall-ID: {unique}@{}\r\nCSeq: 1 {}\r\n", via.via_host(), method.to_lossy()).as_bytes(),
        );
        if let Some(agent) = &self.env().settings.user_agent_header {
            out.extend_from_slice(b"User-Agent: ");
            out.extend_from_slice(agent);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(kind) = kind {
            out.extend_from_slice(b"Content-Type: ");
            out.extend_from_slice(kind);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", text.len()).as_bytes());
        out.extend_from_slice(text);
        Message::parse(Str::from(out)).ok()
    }

    /// Sends a request of our own: 1 if it was sent or waits for a name to be looked up.
    fn send_local(&mut self, host: SipHost) -> i32 {
        let uri = host.du.clone().unwrap_or_else(|| Str::from(host.current_ruri()));
        let Some(hop) = Hop::of_uri(&uri) else { return -1 };
        let data = TxData::default();
        let Ok(tx) = self.tm.create_local(self.now, host.msg.method(), data) else { return -1 };
        let Ok(branch) = self.tm.open_branch(self.now, tx) else {
            self.tm.discard(self.now, tx);
            return -1;
        };
        // The composed message has a stand-in Via, which ours replaces.
        let mut bare = host;
        let mut edits = std::mem::take(&mut bare.edits);
        edits.remove_top_via(&bare.msg);
        bare.edits = edits;
        let target = Target { uri: Str::from(bare.current_ruri()), ..Target::default() };
        let order = Order {
            tx,
            branch,
            host: Box::new(bare),
            target,
            routing: 0,
            errand: Errand::Alone,
            own: true,
            failover: true,
        };
        let progress = self.set_out(order, hop);
        self.flush_transactions();
        if matches!(progress, Progress::Failed(_)) { -1 } else { 1 }
    }
}
