//! The way of a branch to its next hop (RFC 3263). A name is looked up while other branches go on; a
//! destination that fails is followed by the next one of the same branch (section 4.3), in a client
//! transaction of its own with a new branch parameter.

use super::blacklist;
use super::forward::LookupFor;
use super::relay::TOO_LARGE;
use super::state::{BranchData, Work, Worker};
use crate::base::Key;
use crate::modules::emit;
use crate::modules::host::{SipHost, Target};
use crate::net::resolver::locate::{Destination, Hop, Locator, Next, Policy, Reach};
use crate::net::resolver::{Failure, Found};
use crate::sip::Transport;
use crate::transaction::{Ask, BranchNo, BranchSpec, TxKey, Verdict};
use std::time::Duration;

/// Code and status of a branch that onsend_route has dropped.
const DROPPED: (i32, u16) = (-1, 500);

/// A branch on its way.
pub struct Way {
    tx: TxKey,
    branch: BranchNo,
    /// The request as its branch route left it.
    host: Box<SipHost>,
    target: Target,
    /// What decided the route: part of the branch parameter.
    routing: u64,
    errand: Errand,
    /// A request of the server's own.
    own: bool,
    /// Whether further destinations are tried when one fails.
    failover: bool,
    locator: Locator,
    /// Where to send over UDP what was too large for it, should TCP be refused (RFC 3261 18.1.1).
    over_udp: Option<Destination>,
    /// The request goes over UDP whatever its size.
    small: bool,
    /// Code for `t_relay` and status of the branch, if nothing better is found.
    worst: (i32, u16),
}

/// What a branch is sent for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Errand {
    /// A relay job waits until it is sent.
    Relay(Key),
    /// It takes the place of a branch whose destination has failed.
    Replace(BranchNo),
    /// Nobody waits.
    Alone,
}

/// What is needed to send a branch.
pub(super) struct Order {
    pub tx: TxKey,
    pub branch: BranchNo,
    pub host: Box<SipHost>,
    pub target: Target,
    pub routing: u64,
    pub errand: Errand,
    pub own: bool,
    pub failover: bool,
}

/// How far a branch has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Its request was handed to a transport.
    Sent,
    /// A name is being looked up.
    Looking,
    /// It has failed: code for `t_relay`.
    Failed(i32),
}

impl Worker {
    /// Over what this server can send.
    pub(super) fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        for l in &self.env().listeners {
            reach.add(l.transport, l.addr.is_ipv6());
        }
        reach
    }

    /// How next hops are located.
    pub(super) fn policy(&self, seed: u64) -> Policy {
        let dns = &self.env().settings.dns;
        let reach = self.reach();
        Policy { naptr: dns.naptr, ipv6: dns.ipv6.unwrap_or(reach.has_ipv6()), order: dns.order, seed, reach }
    }

    /// A number that nobody outside can foresee.
    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        self.hash(&self.drawn.to_be_bytes())
    }

    /// Sends a branch to a next hop, as soon as it is known where that is.
    pub(super) fn set_out(&mut self, order: Order, hop: Hop) -> Progress {
        let Order { tx, branch, host, target, routing, errand, own, failover } = order;
        // Nothing is drawn by lot for an address.
        let seed = if hop.ip().is_some() { 0 } else { self.draw() };
        let locator = Locator::new(hop, self.policy(seed));
        let failover = failover && self.env().settings.dns.failover;
        let worst = (-4, 476);
        self.pursue(Way {
            tx,
            branch,
            host,
            target,
            routing,
            errand,
            own,
            failover,
            locator,
            over_udp: None,
            small: false,
            worst,
        })
    }

    /// Goes on until a destination was sent to, a name has to be looked up, or nothing is left.
    fn pursue(&mut self, mut way: Way) -> Progress {
        loop {
            let next = match way.over_udp.take() {
                Some(d) => {
                    way.small = true;
                    Next::Try(d)
                }
                None => {
                    way.small = false;
                    way.locator.next()
                }
            };
            match next {
                Next::Ask(question) => {
                    let (tx, branch) = (way.tx, way.branch);
                    let key = self.ways.insert(way);
                    match self.branch_data(tx, branch) {
                        Some(data) => data.locating = Some(key),
                        None => {
                            self.ways.remove(key);
                            return Progress::Failed(-3);
                        }
                    }
                    self.look_up(question, LookupFor::Way(key));
                    return Progress::Looking;
                }
                Next::Try(d) if self.heeds_list(&way) && self.blacklist.has(&d, self.now) => way.worst = (-5, 473),
                Next::Try(d) => match self.send_way(&mut way, d) {
                    Ok(()) => {
                        self.sent(way);
                        return Progress::Sent;
                    }
                    Err(DROPPED) => {
                        way.worst = DROPPED;
                        return self.nowhere(way, None);
                    }
                    Err(worst) => way.worst = worst,
                },
                Next::End(why) => return self.nowhere(way, why),
            }
        }
    }

    /// Sends a branch to one destination; else code and status.
    fn send_way(&mut self, way: &mut Way, to: Destination) -> Result<(), (i32, u16)> {
        let no_new = self.opens_none(&way.target.flags);
        let dest = self.depart(&way.host, way.target.socket, &to, no_new).ok_or((-6, 477))?;
        let text = self.tm.branch_text(way.tx, way.branch, way.routing).ok_or((-3, 500))?;
        let build = |worker: &Worker, listener| {
            if way.own {
                worker.own_request(&way.host, &way.target, listener, &text)
            } else {
                let avps = worker.tm.user(way.tx).map(|d| &d.avps);
                worker.branch_request(&way.host, &way.target, listener, &text, avps)
            }
        };
        let mut request = build(self, dest.listener).ok_or((-1, 500))?;
        let (mut to, mut dest) = (to, dest);
        if !way.small && self.is_large(&to, request.bytes().len()) {
            let over_tcp = Destination { transport: Transport::Tcp, addr: to.addr };
            let there = self.outgoing(&way.host, None, &over_tcp).is_some();
            if let Some(d) = there.then(|| self.depart(&way.host, None, &over_tcp, no_new)).flatten()
                && let Some(r) = build(self, d.listener)
            {
                way.over_udp = Some(to);
                (to, dest, request) = (over_tcp, d, r);
            }
        }
        if self.too_large(dest.listener, to.addr, request.bytes()) {
            return Err((TOO_LARGE, 513));
        }
        if !self.branch_may_leave(&way.host, &way.target, (way.tx, way.branch), &request, &dest) {
            return Err(DROPPED);
        }
        let more = way.has_more();
        let settings = &self.env().settings;
        let watched = settings.dns.blacklist && (settings.tm.blocklist.is_some() || !way.locator.is_literal());
        if let Some(data) = self.branch_data(way.tx, way.branch) {
            data.sent = Some(request.clone());
            data.target.clone_from(&way.target);
        }
        let minor = self.env().settings.minor_branch_flag.as_ref().is_some_and(|f| way.target.flags.contains(f));
        let spec = BranchSpec {
            request,
            dest,
            reliable: to.transport.is_reliable(),
            ask: if !way.own && self.branch_failure_route(way.tx, way.branch).is_some() {
                Ask::Always
            } else if more || watched {
                Ask::Transport
            } else {
                Ask::Never
            },
            minor,
        };
        self.tm.send_branch(self.now, way.tx, way.branch, spec).map_err(|_| (-3, 500))
    }

    /// Whether a request is too large for the datagram it would be (RFC 3261 18.1.1).
    pub(super) fn is_large(&self, to: &Destination, size: usize) -> bool {
        let mtu = self.env().settings.udp_mtu;
        mtu > 0 && to.transport == Transport::Udp && size > mtu
    }

    /// A branch has left: what may be needed again is kept.
    fn sent(&mut self, mut way: Way) {
        if let Errand::Replace(old) = way.errand {
            self.tm.branch_verdict(self.now, way.tx, old, Verdict::Replaced);
        }
        way.errand = Errand::Alone;
        let (tx, branch) = (way.tx, way.branch);
        let keep = way.has_more();
        if let Some(data) = self.branch_data(tx, branch) {
            data.locating = None;
            data.spare = keep.then(|| Box::new(way));
        }
    }

    /// No destination is left.
    fn nowhere(&mut self, way: Way, why: Option<String>) -> Progress {
        if let Some(why) = why {
            emit(1, "dns", &format!("no next hop for \"{}\": {why}", way.target_text()));
        }
        if let Some(data) = self.branch_data(way.tx, way.branch) {
            data.locating = None;
        }
        let (code, status) = way.worst;
        match way.errand {
            // It counts for nothing: what other branches are answered says more than that this one was not sent.
            Errand::Relay(_) => self.tm.drop_branch(self.now, way.tx, way.branch),
            Errand::Replace(old) => {
                self.tm.drop_branch(self.now, way.tx, way.branch);
                let view = self.tm.branch(way.tx, old);
                let (status, timeout) = view.map_or((status, false), |b| (b.last_status, b.timeout));
                self.branch_has_failed(way.tx, old, status, timeout);
            }
            Errand::Alone => {
                let _ = self.tm.fail_branch(self.now, way.tx, way.branch, status);
            }
        }
        Progress::Failed(code)
    }

    /// The answer to a branch's question.
    pub(super) fn way_resolved(&mut self, key: Key, answer: Result<Found, Failure>) {
        // It may have ended meanwhile, by a timer or CANCEL.
        let Some(mut way) = self.ways.remove(key) else { return };
        way.locator.answer(answer);
        let job = way.errand;
        let progress = self.pursue(way);
        if let Errand::Relay(job) = job
            && progress != Progress::Looking
        {
            self.branch_arrived(job, progress);
            self.job(job);
        }
    }

    /// A branch has failed at its destination (no reply at all, no transport, 503): the next one is tried, if
    /// there is one.
    pub(super) fn branch_failed(&mut self, tx: TxKey, branch: BranchNo, status: u16, timeout: bool) {
        // What says something about the next hop, not about the request.
        let lost = status == 503 || timeout || self.tm.branch(tx, branch).is_none_or(|b| b.reply.is_none());
        if lost {
            self.shun(tx, branch, status, timeout);
        }
        let old = self.branch_data(tx, branch).filter(|_| lost);
        let Some(data) = old else { return self.branch_has_failed(tx, branch, status, timeout) };
        let (mut spare, routes) = (data.spare.take(), (data.reply_route, data.branch_failure));
        let (target, bavps) = (data.target.clone(), data.bavps.clone());
        // UDP is the way out when there is no TCP, not when a server does not answer over it.
        let answered = timeout || self.tm.branch(tx, branch).is_some_and(|b| b.last_status != 0 && b.reply.is_some());
        if answered && let Some(way) = &mut spare {
            way.over_udp = None;
        }
        let spare = spare.filter(|way| way.has_more());
        let next = spare.and_then(|way| Some((way, self.tm.open_branch(self.now, tx).ok()?)));
        let Some((mut way, new)) = next else {
            return self.branch_has_failed(tx, branch, status, timeout);
        };
        if let Some(data) = self.branch_data(tx, new) {
            (data.reply_route, data.branch_failure) = routes;
            (data.target, data.bavps) = (target, bavps);
        }
        let what = if timeout { "no reply".to_string() } else { status.to_string() };
        emit(3, "dns", &format!("{what} from a next hop of \"{}\": trying the next one", way.target_text()));
        (way.branch, way.errand, way.worst) = (new, Errand::Replace(branch), (-4, status));
        self.pursue(*way);
    }

    /// Puts the destination of a branch that has failed on the blacklist, if there is to be one.
    fn shun(&mut self, tx: TxKey, branch: BranchNo, status: u16, timeout: bool) {
        let env = self.env().clone();
        if !env.settings.dns.blacklist {
            return;
        }
        let method = self.tm.user(tx).and_then(|d| d.host.as_ref()).map(|h| h.msg.method());
        let Some(view) = self.tm.branch(tx, branch) else { return };
        let Some(dest) = view.dest.copied() else { return };
        // RFC 3261 section 21.5.4: a server that says 503 is left alone as long as it asks for.
        let after = view.reply.and_then(retry_after);
        let stay = match &env.settings.tm.blocklist {
            None if status == 503 => Some(after.unwrap_or(blacklist::STAY).min(blacklist::STAY)),
            None => Some(blacklist::STAY),
            Some(list) if status == 503 => list.after_503(after),
            Some(list) if timeout => method.filter(|m| list.adds(*m)).map(|_| list.expire),
            Some(list) => Some(list.expire),
        };
        let Some(stay) = stay else { return };
        let transport = self.env().listeners.get(usize::from(dest.listener)).map(|l| l.transport);
        if let Some(transport) = transport {
            self.blacklist.add(Destination { transport, addr: dest.addr }, self.now, stay);
        }
    }

    /// Whether a branch is not sent to what is on the blacklist.
    fn heeds_list(&self, way: &Way) -> bool {
        self.env().settings.tm.blocklist.as_ref().is_none_or(|list| list.heeds(way.host.msg.method()))
    }

    /// A branch ended while a name was being looked up for it. True if it was.
    pub(super) fn way_ended(&mut self, tx: TxKey, branch: BranchNo) -> bool {
        let Some(key) = self.branch_data(tx, branch).and_then(|d| d.locating.take()) else { return false };
        let Some(way) = self.ways.remove(key) else { return false };
        match way.errand {
            Errand::Relay(job) => {
                let cancelled = self.tm.view(tx).is_none_or(|v| v.cancelled);
                self.branch_arrived(job, Progress::Failed(if cancelled { -3 } else { -4 }));
                self.work.push_back(Work::Job(job));
            }
            Errand::Replace(old) => self.tm.branch_verdict(self.now, tx, old, Verdict::Record),
            Errand::Alone => {}
        }
        true
    }

    /// What the worker keeps of a branch.
    pub(super) fn branch_data(&mut self, tx: TxKey, branch: BranchNo) -> Option<&mut BranchData> {
        let data = self.tm.user_mut(tx)?;
        while data.branches.len() <= usize::from(branch) {
            data.branches.push(BranchData::default());
        }
        data.branches.get_mut(usize::from(branch))
    }
}

impl Way {
    /// Whether there may be another destination, should this one fail.
    fn has_more(&self) -> bool {
        self.over_udp.is_some() || (self.failover && self.locator.may_have_more())
    }

    fn target_text(&self) -> &str {
        self.locator.host_name()
    }
}

/// The seconds of a Retry-After header.
fn retry_after(reply: &crate::sip::Message) -> Option<Duration> {
    let header = reply.headers_of(crate::sip::header::HeaderId::RetryAfter).next()?;
    let digits = header.value.iter().take_while(|b| b.is_ascii_digit()).count();
    let seconds = std::str::from_utf8(header.value.get(..digits)?).ok()?.parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds))
}
