//! Writing replies that are made here.

use super::receive::LocalTag;
use super::state::{Origin, ReplyPath, Role, RoleKind, Work, Worker};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::ReplyRequest;
use crate::script::vm::Run;
use crate::sip::Message;
use crate::sip::header::HeaderId;
use crate::sip::reply::{self, ReplySpec};
use crate::transaction::{Decision, Outgoing, TxKey};

/// A reply made here.
pub(super) struct OwnReply {
    status: u16,
    bytes: Str,
    to_tag: LocalTag,
}

impl OwnReply {
    /// The message.
    pub(super) fn bytes(&self) -> &Str {
        &self.bytes
    }

    /// As the transactions take it.
    pub(super) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing { status: self.status, bytes: self.bytes.clone(), to_tag: &self.to_tag }
    }
}

/// Where the request came from that a reply goes back to.
fn origin_of_path(path: &ReplyPath) -> Origin {
    Origin { from: path.source, listener: path.listener, conn: path.conn }
}

impl Worker {
    /// Appends a reply to `request` (RFC 3261 8.2.6).
    pub(super) fn write_reply(
        &self,
        request: &Message,
        host: Option<&SipHost>,
        path: &ReplyPath,
        wanted: &ReplyRequest,
        out: &mut Vec<u8>,
    ) {
        let tag = self.local_tag(request);
        let env = self.env();
        let own = host.map_or(&b""[..], |h| &h.reply_headers);
        // A body of the reply's own counts more than that of `set_reply_body`.
        let set = host.and_then(|h| h.rare.reply_body.as_deref()).filter(|_| wanted.code > 100);
        let (kind, body) = match (&wanted.body, set) {
            (Some(body), _) => (&b""[..], &body[..]),
            (None, Some(set)) => (&set.kind[..], &set.body[..]),
            (None, None) => (&b""[..], &b""[..]),
        };
        let warned = env.settings.sip_warning.then(|| [own, &self.warning(request, path)].concat());
        let spec = ReplySpec {
            status: wanted.code,
            reason: &wanted.reason,
            to_tag: Some(&tag),
            extra: warned.as_deref().unwrap_or(own),
            server: env.settings.server_header.as_deref(),
            content_type: kind,
            body,
            received: Some(path.source),
            force_rport: path.rport,
        };
        reply::build(request, &spec, out);
    }

    /// `sip_warning`: a Warning header (RFC 3261 20.43) that says what this server saw of the request.
    fn warning(&self, request: &Message, path: &ReplyPath) -> Vec<u8> {
        let own = self.env().listeners.get(usize::from(path.listener));
        let (host, port) = own.map_or((String::from("localhost"), 5060), |l| (l.via_host(), l.via_port()));
        let uri = request.request_uri().escape_ascii().to_string().replace(['"', '\\'], "_");
        let text = format!(
            "Warning: 392 {host}:{port} \"pid={} req_src_ip={} req_src_port={} in_uri={uri} via_cnt={}\"\r\n",
            std::process::id(),
            path.source.ip(),
            path.source.port(),
            request.headers_of(HeaderId::Via).count(),
        );
        text.into_bytes()
    }

    /// A reply to `request` as its transaction needs it; `None` if what the script added makes it
    /// no message.
    pub(super) fn own_reply(
        &self,
        request: &Message,
        host: Option<&SipHost>,
        path: &ReplyPath,
        wanted: &ReplyRequest,
    ) -> Option<OwnReply> {
        let mut out = Vec::with_capacity(512);
        self.write_reply(request, host, path, wanted, &mut out);
        let bytes = Str::from(out);
        if host.is_some_and(|h| !h.reply_headers.is_empty()) {
            Message::parse(bytes.clone()).ok()?;
        }
        let to_tag = match request.to_tag() {
            Some(tag) => LocalTag::from_slice(tag),
            None if wanted.code > 100 => self.local_tag(request),
            None => LocalTag::new(),
        };
        Some(OwnReply { status: wanted.code, bytes, to_tag })
    }

    /// A reply to the request of a transaction.
    fn transaction_reply(&self, tx: TxKey, status: u16) -> Option<OwnReply> {
        let request = self.tm.request(tx)?.clone();
        let path = *self.tm.path(tx)?;
        let host = self.tm.user(tx).and_then(|d| d.host.as_deref());
        let reason = match status {
            100 => "Giving it a try",
            _ => reply::default_reason(status),
        };
        self.own_reply(&request, host, &path, &ReplyRequest { code: status, reason: Str::from(reason), body: None })
    }

    /// Answers a transaction that is not the one of the run in work: `extra` are further header
    /// lines, `to_tag` replaces the tag of replies made here.
    pub(super) fn answer_with(
        &mut self,
        tx: TxKey,
        wanted: &ReplyRequest,
        extra: &[u8],
        to_tag: Option<&[u8]>,
    ) -> bool {
        let (Some(request), Some(path)) = (self.tm.request(tx).cloned(), self.tm.path(tx).copied()) else {
            return false;
        };
        let own = self.local_tag(&request);
        let env = self.env().clone();
        let mut lines =
            self.tm.user(tx).and_then(|d| d.host.as_ref()).map_or_else(Vec::new, |h| h.reply_headers.to_vec());
        lines.extend_from_slice(extra);
        let spec = ReplySpec {
            status: wanted.code,
            reason: &wanted.reason,
            to_tag: Some(to_tag.unwrap_or(&own)),
            extra: &lines,
            server: env.settings.server_header.as_deref(),
            content_type: b"",
            body: wanted.body.as_deref().unwrap_or_default(),
            received: Some(path.source),
            force_rport: path.rport,
        };
        let mut out = Vec::with_capacity(512);
        reply::build(&request, &spec, &mut out);
        let Ok(reply) = Message::parse(Str::from(out)) else { return false };
        let sent = self.tm.reply(self.now, tx, (&reply).into()).is_ok();
        if sent {
            self.replied_locally(reply.bytes_str(), origin_of_path(&path));
        }
        sent
    }

    /// `event_route[tm:local-response]`: a transaction has sent a reply of the server's own.
    pub(super) fn replied_locally(&mut self, reply: &Str, origin: Origin) {
        let Some(route) = self.routes.local_response else { return };
        let Ok(reply) = Message::parse(reply.clone()) else { return };
        let host = self.host(reply, origin);
        let run = Run::new(self.program(), route, host);
        self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Event)));
    }

    /// Answers a transaction with a status of our own.
    pub(super) fn answer_transaction(&mut self, tx: TxKey, status: u16) {
        let origin = self.tm.path(tx).map(origin_of_path);
        if let (Some(reply), Some(origin)) = (self.transaction_reply(tx, status), origin)
            && self.tm.reply(self.now, tx, reply.outgoing()).is_ok()
        {
            self.replied_locally(reply.bytes(), origin);
        }
    }

    /// Sends what was decided when all branches had failed.
    pub(super) fn relay_decision(&mut self, tx: TxKey, decision: &Decision) {
        let Some(status) = decision.upstream else {
            self.tm.discard(self.now, tx);
            return;
        };
        match &decision.bytes {
            Some(bytes) => {
                let to_tag = decision.reply.as_ref().and_then(|r| r.to_tag()).unwrap_or_default();
                let reply = Outgoing { status, bytes: bytes.clone(), to_tag };
                let _ = self.tm.relay_final(self.now, tx, decision.branch, reply);
            }
            None => {
                let origin = self.tm.path(tx).map(origin_of_path);
                if let (Some(reply), Some(origin)) = (self.transaction_reply(tx, status), origin)
                    && self.tm.relay_final(self.now, tx, decision.branch, reply.outgoing()).is_ok()
                {
                    self.replied_locally(reply.bytes(), origin);
                }
            }
        }
    }
}
