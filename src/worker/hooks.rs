//! Routes that run in the middle of something else and decide what becomes of it: `onsend_route`, and the event
//! routes about a message that comes or goes. They cannot wait. Where the script has none, looking at an `Option`
//! is all that it costs.

use super::state::{Dest, Origin, ReplyPath, Role, RoleKind, Worker};
use crate::base::Str;
use crate::modules::emit;
use crate::modules::host::{SipHost, Target};
use crate::modules::packet::Packet;
use crate::modules::pike;
use crate::modules::request::{Outcome, Request};
use crate::script::ast::{Dialect, RouteKind};
use crate::script::avp::{Avps, key};
use crate::script::host::Host;
use crate::script::value::Value;
use crate::script::vm::{Finished, Paused, Run, Suspended};
use crate::sip::Message;
use crate::transaction::{BranchNo, TxKey};
use std::borrow::Cow;
use std::net::SocketAddr;

/// Instructions that such a route may execute; beyond that it is ended, and what it is about goes on.
const BUDGET: u32 = 1_000_000;

/// The routes, as numbers in the program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks {
    /// `onsend_route`, for requests.
    pub(super) onsend: Option<u32>,
    /// Something is to be run for replies that leave.
    pub(super) replies: bool,
    /// `onsend_route` for replies (`onsend_route_reply`).
    onsend_reply: Option<u32>,
    /// `corex:reply-out`
    reply_out: Option<u32>,
    /// `sl:local-response`
    pub(super) local_response: Option<u32>,
    /// `sl:filtered-ack`
    pub(super) filtered_ack: Option<u32>,
    /// Something is to be run for all that leaves (`network:msg`).
    pub(super) outgoing: bool,
    /// Something is to be run for bytes that have come in.
    pub(super) incoming: bool,
    /// `core:msg-received`
    received: Option<u32>,
    /// `network:msg`
    network: Option<u32>,
    /// `core:pre-routing`
    pub(super) pre_routing: Option<u32>,
    /// `core:receive-parse-error`
    pub(super) parse_error: Option<u32>,
    /// `check_route` of pike
    pike: Option<u32>,
    /// `tcp:closed`; this one and the next run by themselves.
    pub(super) tcp_closed: Option<u32>,
    /// `tcp:timeout`
    pub(super) tcp_timeout: Option<u32>,
    /// `tcp:reset`
    pub(super) tcp_reset: Option<u32>,
    /// One is running: what it sends meets none.
    inside: bool,
}

impl Worker {
    /// Finds the routes. Before there is anything to run them for.
    pub(super) fn find_hooks(&mut self) {
        let program = self.program();
        let settings = &self.env().settings;
        if program.dialect != Dialect::Kamailio {
            let named = settings.pike.check_route.as_ref().map(|name| name.to_lossy());
            let pike = named.and_then(|name| program.find_route(RouteKind::Request, Some(&name)));
            self.hooks = Hooks { pike, incoming: pike.is_some(), ..Hooks::default() };
            return;
        }
        let event = |name: &str| program.find_route(RouteKind::Event, Some(name));
        let onsend = program.find_route(RouteKind::OnSend, None);
        let mut hooks = Hooks {
            onsend,
            onsend_reply: onsend.filter(|_| settings.onsend_replies),
            reply_out: settings.reply_out_event.as_ref().and_then(|name| event(&name.to_lossy())),
            local_response: event("sl:local-response"),
            filtered_ack: event("sl:filtered-ack"),
            received: event("core:msg-received").filter(|_| settings.received_route),
            network: event("network:msg").filter(|_| settings.network_intercept),
            pre_routing: event("core:pre-routing"),
            parse_error: event("core:receive-parse-error"),
            tcp_closed: event("tcp:closed").filter(|_| program.has_module("tcpops")),
            tcp_timeout: event("tcp:timeout").filter(|_| program.has_module("tcpops")),
            tcp_reset: event("tcp:reset").filter(|_| program.has_module("tcpops")),
            ..Hooks::default()
        };
        hooks.replies = hooks.onsend_reply.or(hooks.reply_out).or(hooks.network).is_some();
        hooks.outgoing = hooks.network.is_some();
        hooks.incoming = hooks.received.or(hooks.network).is_some();
        self.hooks = hooks;
    }

    /// Runs such a route to its end.
    fn hook(&mut self, route: u32, host: SipHost, avps: Avps) -> Finished<SipHost> {
        let run = Run::new(self.program(), route, host).with_avps(avps);
        self.run_to_end(run, route, BUDGET)
    }

    /// Runs a route on the message of a run once for each of these lists of parameters, to its end; the routes' values.
    /// What they change is lost.
    pub(super) fn score(&mut self, run: &Suspended<SipHost>, route: u32, params: Vec<Vec<(Str, Str)>>) -> Vec<i32> {
        let each = BUDGET / u32::try_from(params.len()).unwrap_or(u32::MAX).max(1);
        let mut scores = Vec::with_capacity(params.len());
        for params in params {
            let named = params.into_iter().map(|(n, v)| (Some(n), Value::Str(v))).collect();
            let own = Run::new(self.program(), route, run.host().clone());
            let own = own.with_avps(run.avps().clone()).with_params(named);
            scores.push(self.run_to_end(own, route, each).end.rc);
        }
        scores
    }

    fn run_to_end(&mut self, mut run: Run<SipHost>, route: u32, most: u32) -> Finished<SipHost> {
        let outer = std::mem::replace(&mut self.hooks.inside, true);
        let mut budget = most;
        let finished = loop {
            match run.go(&mut budget, self.now) {
                Paused::Finished(finished) => break finished,
                Paused::Budget(rest) => {
                    let label = self.program().route(route).map_or(String::new(), |r| r.label());
                    emit(-1, "script", &format!("{label} is ended: it takes more than {most} instructions"));
                    break rest.abandon();
                }
                Paused::Launch { run: rest, child } => {
                    self.launch(child);
                    run = rest;
                }
                Paused::Wait(mut suspended, request) => {
                    let outcome = match request {
                        // What is done at once.
                        Request::Queued { .. }
                        | Request::RaiseEvent { .. }
                        | Request::Task { .. }
                        | Request::Stateless(_) => {
                            let mut role = Role::new(RoleKind::Event);
                            match self.perform(&mut suspended, &mut role, request) {
                                super::perform::Act::Now(outcome) => outcome,
                                _ => cannot_wait(),
                            }
                        }
                        _ => cannot_wait(),
                    };
                    run = suspended.resume(outcome);
                }
                Paused::Several(mut suspended, requests) => {
                    let ended = requests.into_iter().map(|(member, _)| (member, cannot_wait())).collect();
                    let _ = suspended.members_ended(ended, self.now);
                    run = suspended.resume_several();
                }
            }
        };
        self.hooks.inside = outer;
        finished
    }

    /// Whether a branch's request may leave; the onsend_route says so.
    pub(super) fn branch_may_leave(
        &mut self,
        host: &SipHost,
        target: &Target,
        (tx, branch): (TxKey, BranchNo),
        request: &Message,
        dest: &Dest,
    ) -> bool {
        let Some(route) = self.hooks.onsend else { return true };
        // A request of the server's own has no message that was received.
        if self.tm.view(tx).is_none_or(|v| v.server.is_none()) {
            return true;
        }
        let mut host = host.clone();
        host.set_main_target(target);
        host.tm.branch = Some(branch);
        let avps = self.tm.user(tx).map(|d| d.avps.clone()).unwrap_or_default();
        self.request_may_leave(route, host, avps, request.bytes_str().clone(), dest)
    }

    /// Whether a request that is forwarded without state may leave.
    pub(super) fn forward_may_leave(&mut self, host: &SipHost, avps: Avps, bytes: &Str, dest: &Dest) -> bool {
        match self.hooks.onsend {
            Some(route) => self.request_may_leave(route, host.clone(), avps, bytes.clone(), dest),
            None => true,
        }
    }

    fn request_may_leave(&mut self, route: u32, mut host: SipHost, avps: Avps, bytes: Str, dest: &Dest) -> bool {
        host.packet = Some(Box::new(Packet { bytes, to: Some((dest.addr, dest.listener)) }));
        !self.hook(route, host, avps).end.dropped
    }

    /// What leaves of a reply; `None`: it does not. `made_here`: without a transaction, by this server.
    pub(super) fn leaving_reply<'a>(
        &mut self,
        path: &ReplyPath,
        bytes: &'a [u8],
        made_here: bool,
    ) -> Option<Cow<'a, [u8]>> {
        if self.hooks.inside {
            return Some(Cow::Borrowed(bytes));
        }
        let Hooks { onsend_reply, reply_out, network, local_response, .. } = self.hooks;
        let routes = [local_response.filter(|_| made_here), onsend_reply, reply_out, network];
        let (original, bytes) = (bytes, Str::from(bytes));
        let mut out = Cow::Borrowed(original);
        for route in routes.into_iter().flatten() {
            let Ok(msg) = Message::parse(bytes.clone()) else { return Some(out) };
            let mut host = self.host(msg, Origin { from: path.source, listener: path.listener, conn: path.conn });
            host.packet = Some(Box::new(Packet { bytes: bytes.clone(), to: Some((path.addr, path.listener)) }));
            let finished = self.hook(route, host, Avps::default());
            if finished.end.dropped {
                return None;
            }
            if Some(route) == network
                && let Some(other) = self.other_bytes(&finished.avps)
            {
                out = Cow::Owned(other.to_vec());
            }
        }
        Some(out)
    }

    /// What `network:msg` makes of bytes that are about to leave; `None`: they do not.
    pub(super) fn passing<'a>(&mut self, listener: u16, addr: SocketAddr, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Some(route) = self.hooks.network.filter(|_| !self.hooks.inside) else { return Some(Cow::Borrowed(bytes)) };
        let mut host = SipHost::without_message(self.env().clone());
        host.packet = Some(Box::new(Packet { bytes: Str::from(bytes), to: Some((addr, listener)) }));
        let finished = self.hook(route, host, Avps::default());
        if finished.end.dropped {
            return None;
        }
        let other = self.other_bytes(&finished.avps);
        Some(other.map_or(Cow::Borrowed(bytes), |b| Cow::Owned(b.to_vec())))
    }

    /// What is to be read of bytes that have come in; `None`: nothing.
    pub(super) fn entering(&mut self, bytes: Str, origin: Origin) -> Option<Str> {
        let mut bytes = bytes;
        let routes = [(self.hooks.received, false), (self.hooks.network, true)];
        for (route, network) in routes {
            let Some(route) = route else { continue };
            let host = self.unread(&bytes, origin);
            let finished = self.hook(route, host, Avps::default());
            if finished.end.dropped {
                self.counters.inc(crate::store::Counter::DropRequests);
                return None;
            }
            if let Some(packet) = finished.host.packet {
                bytes = packet.bytes;
            }
            if network && let Some(other) = self.other_bytes(&finished.avps) {
                bytes = other;
            }
        }
        if self.hooks.pike.is_some_and(|route| !self.is_no_flood(route, &bytes, origin)) {
            return None;
        }
        Some(bytes)
    }

    /// `check_route` of pike: what it does not `drop` is counted, and what is too much is dropped.
    fn is_no_flood(&mut self, route: u32, bytes: &[u8], origin: Origin) -> bool {
        let host = self.unread(bytes, origin);
        if self.hook(route, host, Avps::default()).end.dropped {
            return true;
        }
        let (env, ip) = (self.env().clone(), origin.from.ip());
        let verdict = pike::count(&env, ip);
        if verdict == pike::Verdict::Over {
            let line = pike::blocked_line(&env, ip);
            if env.settings.pike.log_level <= env.settings.log_level {
                crate::modules::emit_judged(env.settings.pike.log_level, &line);
            }
            self.raise_event(&Str::from(pike::EVENT), pike::event_params(ip));
        }
        if verdict == pike::Verdict::Below {
            return true;
        }
        self.counters.inc(crate::store::Counter::DropRequests);
        false
    }

    /// The bytes that `network:msg` has put into the AVP that `nio_msg_avp` names.
    fn other_bytes(&self, avps: &Avps) -> Option<Str> {
        let name = self.env().settings.network_avp.as_ref()?;
        avps.get(key(Dialect::Kamailio, name), 0).to_text().filter(|t| !t.is_empty())
    }

    /// Bytes that are no message.
    pub(super) fn malformed(&mut self, bytes: &[u8], origin: Origin) {
        if let Some(route) = self.hooks.parse_error {
            let host = self.unread(bytes, origin);
            self.hook(route, host, Avps::default());
        }
    }

    /// A host for bytes that have not been read.
    fn unread(&mut self, bytes: &[u8], origin: Origin) -> SipHost {
        let phony = crate::modules::host::phony_message();
        let mut host = self.host(phony, origin);
        host.phony = true;
        host.packet = Some(Box::new(Packet { bytes: Str::from(bytes), to: None }));
        host
    }

    /// A message before its route; `None`: it is dropped. What the route has changed stays.
    pub(super) fn pre_routed(&mut self, host: SipHost) -> Option<(SipHost, Avps)> {
        let Some(route) = self.hooks.pre_routing else { return Some((host, Avps::default())) };
        let finished = self.hook(route, host, Avps::default());
        if finished.end.dropped {
            self.counters.inc(match finished.host.msg.is_request() {
                true => crate::store::Counter::DropRequests,
                false => crate::store::Counter::DropReplies,
            });
            return None;
        }
        Some((finished.host, finished.avps))
    }
}

fn cannot_wait() -> Outcome {
    SipHost::failure("this route cannot wait", "queue")
}
