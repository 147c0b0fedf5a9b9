//! Requests of the server's own (`t_new_request`, `t_uac_dlg`, copies that are replicated): built
//! here, through local_route, sent in a transaction without a server side.

use super::forward::ForwardOrder;
use super::perform::{Act, code};
use super::relay::{RelayOrder, What};
use super::state::{Origin, Role, RoleKind, TxData, Work, Worker};
use crate::base::Str;
use crate::modules::emit;
use crate::modules::host::SipHost;
use crate::modules::request::RelayFlags;
use crate::net::resolver::locate::Hop;
use crate::script::ast::RouteKind;
use crate::script::avp::Avps;
use crate::script::value::Value;
use crate::script::vm::{Finished, Run};
use crate::sip::header::HeaderId;
use crate::sip::{Message, Method};
use crate::transaction::{BranchNo, TxKey};
use std::net::SocketAddr;

/// A request to be made.
#[derive(Default)]
pub(super) struct OwnRequest {
    pub method: Str,
    pub ruri: Str,
    /// From URI or name-addr; empty: in `headers`.
    pub from: Str,
    /// To URI or name-addr; empty: in `headers`.
    pub to: Str,
    /// `content/type body`
    pub body: Option<Str>,
    /// `$avp(uac_ctx)`
    pub context: Option<Str>,
    /// Further header lines, each with its line end.
    pub headers: Str,
    pub next_hop: Option<Str>,
    /// Name of the listening socket it leaves from.
    pub socket: Option<Str>,
    /// Who waits for its final reply.
    pub asker: Asker,
}

/// Who is told what becomes of a request of the server's own.
#[derive(Debug, Default)]
pub enum Asker {
    /// Nobody.
    #[default]
    Nobody,
    /// A control request.
    Control(u64),
    /// It asks whether a destination lives.
    Ping(Box<super::dispatcher::Ping>),
    /// It registers an account of ours.
    Registration(Box<crate::modules::uac::account::Attempt>),
    /// A script put it together.
    Script(Box<crate::modules::uac::request::Draft>),
}

/// AVP in which a local route finds what the request's maker wanted it to know.
const CONTEXT_AVP: &[u8] = b"uac_ctx";

impl Worker {
    /// Builds a request and hands it to local_route, or sends it.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub(super) fn new_request(&mut self, order: OwnRequest) -> Result<(), &'static str> {
        let message = self.compose(&order)?;
        if matches!(message.method(), Method::Ack | Method::Cancel) {
            return Err("ACK and CANCEL are not sent on their own");
        }
        let source = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut own = SipHost::new(self.env().clone(), message, source, 0);
        own.du.clone_from(&order.next_hop);
        if let Some(name) = &order.socket {
            let found = self.env().find_listener(name).and_then(|i| u16::try_from(i).ok());
            own.socket_out = Some(found.ok_or("no such listening socket")?);
        }
        if Hop::of_uri(own.du.as_deref().unwrap_or_else(|| own.current_ruri())).is_none() {
            return Err("the next hop is no SIP URI");
        }
        let mut avps = Avps::default();
        if let Some(context) = order.context {
            let limits = crate::script::program::Limits::default();
            let _ = avps.push(CONTEXT_AVP, Value::Str(context), &limits);
        }
        let named = self.env().settings.local_request_route.clone();
        let route = match &named {
            Some(name) => self.named_route(name, RouteKind::Request, "local_request_route"),
            None => self.routes.local,
        };
        let Some(route) = route else { return self.send_own(own, avps, order.asker).map_err(|(_, why)| why) };
        let mut run = Run::new(self.program(), route, own).with_kind(RouteKind::Local);
        run.set_avps(avps);
        self.drive(run, Role::new(RoleKind::Local(order.asker)));
        Ok(())
    }

    /// The route block that a parameter of tm names.
    fn named_route(&self, name: &Str, kind: RouteKind, parameter: &str) -> Option<u32> {
        let text = name.to_lossy();
        let found = self.program().find_route(kind, Some(&text));
        if found.is_none() {
            emit(-1, "tm", &format!("{parameter} names \"{text}\", but the script has no such block"));
        }
        found
    }

    /// local_route has ended: the request is sent (`drop` is not honoured there).
    pub(super) fn local_route_done(&mut self, finished: Finished<SipHost>, asker: Asker) {
        if let Err((asker, why)) = self.send_own(finished.host, finished.avps, asker) {
            emit(-1, "tm", &format!("a request of our own cannot be sent: {why}"));
            self.tell_unsent(asker, why);
        }
    }

    /// Tells who asked for a request that it could not be sent.
    fn tell_unsent(&mut self, asker: Asker, why: &str) {
        match asker {
            Asker::Nobody => {}
            Asker::Control(id) => self.answer_control(id, Err(why.to_string())),
            Asker::Ping(ping) => self.ping_ended(&ping, None),
            Asker::Registration(of) => self.registration_unsent(&of, why),
            Asker::Script(draft) => self.draft_answered(draft, 408, None),
        }
    }

    fn compose(&mut self, order: &OwnRequest) -> Result<Message, &'static str> {
        let OwnRequest { method, ruri, from, to, body, headers, .. } = order;
        let clean = |t: &Str| !t.iter().any(|b| matches!(b, b'\r' | b'\n'));
        if ![method, ruri, from, to].into_iter().all(clean) {
            return Err("method, URIs and addresses cannot hold line breaks");
        }
        if !crate::sip::bytes::is_token(method) {
            return Err("the method is no token");
        }
        self.made = self.made.wrapping_add(1);
        let unique = format!("{:x}-{:x}", self.now.as_micros(), self.hash(&self.made.to_be_bytes()));
        let tag = self.hash(unique.as_bytes());
        let (kind, text) = match body {
            Some(b) => {
                let at = b.iter().position(|c| *c == b' ').ok_or("the body is not of the form `content/type text`")?;
                (Some(&b[..at]), &b[at + 1..])
            }
            None => (None, &b""[..]),
        };
        let address = |t: &Str| {
            if t.contains(&b'<') { t.to_vec() } else { [b"<", &t[..], b">"].concat() }
        };
        let has = |name: &str| header_given(headers, name);
        let via = self.env().listeners.first().ok_or("there is no listening socket")?;
        let host = via.via_host();
        let mut out = Vec::with_capacity(512);
        // The stand-in Via is replaced when it is sent.
        for part in [&method[..], b" ", ruri, b" SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1\r\n"] {
            out.extend_from_slice(part);
        }
        if !has("Max-Forwards") {
            out.extend_from_slice(b"Max-Forwards: 70\r\n");
        }
        if !from.is_empty() {
            out.extend_from_slice(&[b"From: ", &address(from)[..], format!(";tag={tag:x}\r\n").as_bytes()].concat());
        }
        if !to.is_empty() {
            out.extend_from_slice(&[b"To: ", &address(to)[..], b"\r\n"].concat());
        }
        if !has("Call-ID") {
            out.extend_from_slice(format!("Call-ID: {unique}@{host}\r\n").as_bytes());
        }
        if !has("CSeq") {
            out.extend_from_slice(format!("CSeq: 1 {}\r\n", method.to_lossy()).as_bytes());
        }
        out.extend_from_slice(headers);
        if let Some(agent) = self.env().settings.user_agent_header.as_ref().filter(|_| !has("User-Agent")) {
            out.extend_from_slice(&[b"User-Agent: ", &agent[..], b"\r\n"].concat());
        }
        // Whoever is called has to know where to send the requests of the dialog.
        if &method[..] == b"INVITE" && !has("Contact") {
            out.extend_from_slice(format!("Contact: <sip:{host}:{}>\r\n", via.via_port()).as_bytes());
        }
        if let Some(kind) = kind.filter(|_| !has("Content-Type")) {
            out.extend_from_slice(&[b"Content-Type: ", kind, b"\r\n"].concat());
        }
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", text.len()).as_bytes());
        out.extend_from_slice(text);
        let message = Message::parse(Str::from(out)).map_err(|_| "the headers do not make a SIP request")?;
        crate::sip::validate::validate(&message).map_err(|fault| fault.reason)?;
        Ok(message)
    }

    /// Sends a request of our own in a transaction of its own.
    fn send_own(&mut self, mut host: SipHost, avps: Avps, asker: Asker) -> Result<(), (Asker, &'static str)> {
        let mut edits = std::mem::take(&mut host.edits);
        edits.remove_top_via(&host.msg);
        host.edits = edits;
        if let Some(name) = self.env().settings.local_reply_route.clone() {
            let route = (self.program().find_route(RouteKind::OnReply, Some(&name.to_lossy())))
                .or_else(|| self.named_route(&name, RouteKind::Request, "local_reply_route"));
            host.armed.reply = host.armed.reply.or(route);
        }
        let data = TxData { avps, ..TxData::default() };
        self.begin_own(host, data, RelayFlags::default(), What::Own, asker)
    }

    fn begin_own(
        &mut self,
        host: SipHost,
        mut data: TxData,
        flags: RelayFlags,
        what: What,
        asker: Asker,
    ) -> Result<(), (Asker, &'static str)> {
        let targets = [host.main_target()].into();
        let method = host.msg.method();
        data.host = Some(Box::new(host.base()));
        let Ok(tx) = self.tm.create_local(self.now, method, data) else {
            return Err((asker, "there are too many transactions"));
        };
        self.apply_settings(tx, &host);
        self.tm.hold_final(tx);
        self.begin_relay(None, RelayOrder { tx, targets, proxy: None, flags, what });
        // A name that is being looked up is still being prepared.
        let out = self.tm.branch(tx, 0).is_some_and(|b| b.state != "ended");
        let refused = match self.tm.user_mut(tx).filter(|_| out) {
            Some(data) => {
                data.asker = asker;
                None
            }
            None => Some(asker),
        };
        self.flush_transactions();
        refused.map_or(Ok(()), |asker| Err((asker, "nothing could be sent to the next hop")))
    }

    /// A request of our own could not be sent anywhere: nobody will answer it.
    pub(super) fn own_unsent(&mut self, tx: TxKey) {
        let asker = self.tm.user_mut(tx).map(|d| std::mem::take(&mut d.asker)).unwrap_or_default();
        self.tell_unsent(asker, "nothing could be sent to the next hop");
        self.tm.discard(self.now, tx);
    }

    /// `t_replicate`: one more copy in a transaction of its own, which absorbs its replies.
    pub(super) fn replicate(&mut self, host: &SipHost, uri: Str, flags: RelayFlags) -> Act {
        if host.phony || !host.msg.is_request() {
            return code(-1);
        }
        if matches!(host.msg.method(), Method::Ack | Method::Cancel) {
            return Act::Forward(ForwardOrder::routed(Some(uri), Str::from(host.current_ruri())));
        }
        let mut copy = host.base();
        copy.armed = Default::default();
        copy.tm = Default::default();
        copy.du = Some(uri);
        let data = TxData { replica: true, ..TxData::default() };
        code(if self.begin_own(copy, data, flags, What::Replica, Asker::Nobody).is_ok() { 1 } else { -1 })
    }

    /// A final reply to a request of our own: each 2xx to an INVITE gets its ACK
    /// (RFC 3261 13.2.2.4), a control request that waits for it will be answered.
    pub(super) fn own_final(&mut self, tx: TxKey, branch: BranchNo, reply: &Message) {
        let Some(data) = self.tm.user_mut(tx) else { return };
        if !matches!(data.asker, Asker::Nobody) {
            data.last_final = Some(reply.clone());
        }
        let wants_ack = !data.replica && reply.method() == Method::Invite && reply.status() < 300;
        let sent = data.branches.get(usize::from(branch)).and_then(|b| b.sent.clone());
        let dest = self.tm.branch(tx, branch).and_then(|b| b.dest.copied());
        let (true, Some(sent), Some(dest)) = (wants_ack, sent, dest) else { return };
        // §12.1.2: the route set is the Record-Route list in reverse order.
        let mut routes: Vec<&[u8]> = reply.values_of(HeaderId::RecordRoute).collect();
        routes.reverse();
        let contact = reply.contacts().next();
        let target = contact.as_ref().map_or(sent.request_uri(), |c| c.uri);
        let first = routes.first().and_then(|r| crate::sip::nameaddr::NameAddr::parse(r).ok());
        // A name would have to be looked up: the way the INVITE went is good enough then.
        let hop = Hop::of_uri(first.as_ref().map_or(target, |r| r.uri)).and_then(|h| h.literal());
        let addr = hop.filter(|a| a.is_ipv4() == dest.addr.is_ipv4()).unwrap_or(dest.addr);
        let Some(listener) = self.env().listeners.get(usize::from(dest.listener)) else { return };
        let mut ack = Vec::with_capacity(512);
        for part in [b"ACK ", target, b" SIP/2.0\r\nVia: SIP/2.0/"] {
            ack.extend_from_slice(part);
        }
        let key = [sent.call_id(), &tx.index.to_be_bytes(), &self.now.as_micros().to_be_bytes()].concat();
        let branch_text = format!("z9hG4bKra{:016x}", self.hash(&key));
        let via = format!(
            "{} {}:{};branch={branch_text}\r\n",
            listener.transport.as_str(),
            listener.via_host(),
            listener.via_port()
        );
        ack.extend_from_slice(via.as_bytes());
        for route in routes {
            ack.extend_from_slice(&[b"Route: ", route, b"\r\n"].concat());
        }
        ack.extend_from_slice(b"Max-Forwards: 70\r\n");
        for (name, message, id) in
            [("From", &sent, HeaderId::From), ("To", reply, HeaderId::To), ("Call-ID", &sent, HeaderId::CallId)]
        {
            ack.extend_from_slice(&[name.as_bytes(), b": ", message.value(id), b"\r\n"].concat());
        }
        ack.extend_from_slice(format!("CSeq: {} ACK\r\nContent-Length: 0\r\n\r\n", sent.cseq().number).as_bytes());
        if self.send(dest.listener, addr, &ack) {
            self.acknowledged(&ack, dest.listener);
        }
    }

    /// `event_route[tm:local-ack-sent]`: an ACK of the server's own has left.
    fn acknowledged(&mut self, ack: &[u8], listener: u16) {
        let Some(route) = self.routes.local_ack else { return };
        let Ok(ack) = Message::parse_slice(ack) else { return };
        let from = SocketAddr::from(([127, 0, 0, 1], 0));
        let host = self.host(ack, Origin { from, listener, conn: None });
        let run = Run::new(self.program(), route, host);
        self.work.push_back(Work::Go(Box::new(run), Role::new(RoleKind::Event)));
    }
}

/// Whether the header lines hold one of this name (its long form).
fn header_given(lines: &[u8], name: &str) -> bool {
    lines.split(|b| *b == b'\n').any(|line| {
        line.iter()
            .position(|b| *b == b':')
            .is_some_and(|at| line[..at].trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    })
}
