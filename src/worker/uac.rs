//! What `uac` needs beside scripts: requests that a script put together, and replies that get the addresses back that
//! their request came with.

use super::local::{Asker, OwnRequest};
use super::state::{Role, RoleKind, Work, Worker};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::uac::auth::{Manner, answer};
use crate::modules::uac::request::Draft;
use crate::script::ast::RouteKind;
use crate::script::value::Value;
use crate::script::vm::Run;
use crate::sip::edits::Edits;
use crate::sip::nameaddr::NameAddr;
use crate::sip::{HeaderId, Message};
use crate::transaction::{BranchNo, TxKey};

/// Field of a request that was answered with a login already.
const RETRIED: &str = "retried";

impl Worker {
    /// `uac_req_send`
    pub(super) fn send_draft(&mut self, draft: Box<Draft>) -> i32 {
        let text = |name: &str| draft.text(name);
        let need = |name: &str| text(name).unwrap_or_default();
        let mut headers = Vec::new();
        let mut line = |name: &str, value: &[u8]| {
            headers.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        };
        let address = |t: &Str| if t.contains(&b'<') { t.to_vec() } else { [b"<", &t[..], b">"].concat() };
        let clean = |t: &Str| !t.iter().any(|b| matches!(b, b'\r' | b'\n'));
        let short = ["furi", "ftag", "turi", "ttag", "callid"].map(text);
        if !short.iter().flatten().all(clean) {
            return -1;
        }
        // Without a tag of the script's own it is made with the request.
        let from = match text("ftag") {
            Some(tag) => {
                line("From", &[&address(&need("furi"))[..], b";tag=", &tag].concat());
                Str::default()
            }
            None => need("furi"),
        };
        let to = match text("ttag") {
            Some(tag) => {
                line("To", &[&address(&need("turi"))[..], b";tag=", &tag].concat());
                Str::default()
            }
            None => need("turi"),
        };
        if let Some(id) = text("callid") {
            line("Call-ID", &id);
        }
        if let Some(number) = draft.get(b"cseqno").to_int().and_then(|n| u32::try_from(n).ok()) {
            line("CSeq", &[number.to_string().as_bytes(), b" ", &need("method")].concat());
        }
        if let Some(more) = text("hdrs") {
            for l in more.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l)).filter(|l| !l.is_empty()) {
                headers.extend_from_slice(&[l, b"\r\n"].concat());
            }
        }
        // Its Content-Type stands in the headers, or it has none that is known.
        let body = text("body").map(|b| Str::from([b"text/plain ", &b[..]].concat()));
        let tells = draft.get(b"evroute").to_int().is_some_and(|n| n != 0) || draft.login().is_some();
        let order = OwnRequest {
            method: need("method"),
            ruri: need("ruri"),
            from,
            to,
            body,
            headers: Str::from(headers),
            next_hop: text("ouri"),
            socket: text("sock").or_else(|| self.env().settings.uac.socket.clone()),
            asker: if tells { Asker::Script(draft.clone()) } else { Asker::Nobody },
            ..OwnRequest::default()
        };
        if self.new_request(order).is_ok() { 1 } else { -1 }
    }

    /// A request of a script has its final reply, or none: `event_route[uac:reply]`.
    pub(super) fn draft_answered(&mut self, mut draft: Box<Draft>, status: u16, reply: Option<Message>) {
        let again = reply.as_ref().and_then(|reply| self.with_login(&draft, reply));
        if let Some(again) = again {
            self.send_draft(Box::new(again));
        }
        let program = self.program();
        if draft.get(b"evroute").to_int().is_none_or(|n| n == 0) {
            return;
        }
        let Some(route) = program.find_route(RouteKind::Event, Some("uac:reply")) else { return };
        draft.put("evcode", Value::Int(i64::from(status)));
        draft.put("evtype", Value::Int(if reply.is_some() { 1 } else { 2 }));
        let mut host = SipHost::without_message(self.env().clone());
        if let Some(reply) = reply {
            host.msg = reply;
            host.phony = false;
        }
        host.rare.uac = Some(draft);
        let run = Run::new(program, route, host);
        self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Event)));
    }

    /// The request once more, with the answer to the challenge that its reply has brought; once only.
    fn with_login(&mut self, draft: &Draft, reply: &Message) -> Option<Draft> {
        if !matches!(reply.status(), 401 | 407) || draft.get(RETRIED.as_bytes()).to_int().is_some() {
            return None;
        }
        let login = draft.login()?;
        let hashed = draft.get(b"flags").to_int().is_some_and(|n| n & 1 != 0);
        let salt = self.hash(&self.now.as_micros().to_be_bytes());
        let uri = draft.text("ruri")?;
        let line = answer(
            reply,
            &|_| Some(login.clone()),
            reply.method_bytes(),
            &uri,
            Manner { hashed, salt, ..Manner::default() },
        )?;
        let mut again = draft.clone();
        let headers = [&draft.text("hdrs").unwrap_or_default()[..], b"\n", &line].concat();
        again.put("hdrs", Value::text(headers));
        again.put("callid", Value::text(reply.call_id()));
        again.put("ftag", Value::text(reply.from_tag()?));
        again.put("cseqno", Value::Int(i64::from(reply.cseq().number) + 1));
        again.put(RETRIED, Value::Int(1));
        Some(again)
    }

    /// Gives a reply the CSeq, and From and To, that its request came with, if it left with others.
    pub(super) fn restore_addresses(&self, tx: TxKey, branch: BranchNo, reply: &Message, edits: &mut Edits) {
        if !self.env().settings.uac.loaded {
            return;
        }
        let sent = self.tm.user(tx).and_then(|d| d.branches.get(usize::from(branch))).and_then(|b| b.sent.as_ref());
        let (Some(sent), Some(came)) = (sent, self.tm.request(tx)) else { return };
        // Counted up on the way (uac_inc_cseq).
        let number = came.cseq().number;
        if sent.cseq().number != number
            && let Some(header) = reply.header(HeaderId::CSeq)
        {
            edits.set_header_value(&header, crate::modules::uac::cseq::value(number, reply.cseq().method_bytes));
        }
        if !self.env().settings.uac.restores_replies() {
            return;
        }
        for id in [HeaderId::From, HeaderId::To] {
            if sent.value(id) == came.value(id) {
                continue;
            }
            let parsed = NameAddr::parse(came.value(id)).ok().zip(NameAddr::parse(reply.value(id)).ok());
            let (Some((original, now)), Some(header)) = (parsed, reply.header(id)) else { continue };
            // Its parameters, the tag among them, are the reply's.
            let value = [original.without_params(), now.params.raw()].concat();
            edits.set_header_value(&header, Str::from(value));
        }
    }
}
