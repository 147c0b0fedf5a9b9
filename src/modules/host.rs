//! [`SipHost`]: what travels with a run. The message with its pending edits, the R-URI and
//! destination, branches, flags, armed routes, and what the run may know of its transaction.
//! Plain data but for the shared [`Env`]; it survives waits and journeys between processes.

use super::env::Env;
use super::pv::{self, Context, ScopedPv};
use super::request::{Outcome, Request};
use crate::base::seldom::Vacant;
use crate::base::{Key, Seldom, Str, Time};
use crate::ops;
use crate::script::ast::Dialect;
use crate::script::avp::Avps;
use crate::script::host::{EventSort, Host, Index, PvSpec, SetError};
use crate::script::registry::{Catalog, FnSpec};
use crate::script::value::Value;
use crate::sip::edits::Edits;
use crate::sip::message::Message;
use crate::sip::uri::Uri;
use crate::store::ConnId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::rc::Rc;

/// A further destination of the request (`append_branch`, `lookup`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// R-URI of the branch.
    pub uri: Str,
    /// Next hop, if not the R-URI.
    pub du: Option<Str>,
    /// Path to add as Route.
    pub path: Option<Str>,
    /// Preference 0..=1000; `None` = not given.
    pub q: Option<u16>,
    /// Branch flags by name.
    pub flags: Vec<Str>,
    /// Number of the outgoing listener, if forced.
    pub socket: Option<u16>,
    /// Attributes by name (`$msg.branch.attr(name)`).
    pub attrs: Vec<(Str, Str)>,
}

impl Target {
    /// Whether a request to the other one would be the same request on the same way (RFC 3261 16.5).
    pub fn is_the_same_as(&self, other: &Target) -> bool {
        let same = match (Uri::parse(&self.uri), Uri::parse(&other.uri)) {
            (Ok(a), Ok(b)) => a.same_as(&b),
            _ => self.uri == other.uri,
        };
        same && (&self.du, &self.path, self.socket) == (&other.du, &other.path, other.socket)
    }
}

/// A branch that was opened, as scripts see it (`$tm.branch`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BranchInfo {
    /// Where it goes.
    pub target: Target,
    /// Status of its last reply, or of its failure; 0: none yet.
    pub last: u16,
    /// Whether it still has no final reply.
    pub pending: bool,
    /// Whether it has had a reply.
    pub replied: bool,
    /// Whether a timer ended it.
    pub timeout: bool,
    /// Whether it ended without any reply that counts: its status was made here.
    pub local: bool,
    /// Its 3xx.
    pub redirect: Option<Message>,
}

/// Routes armed by `t_on_*`, as numbers in the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// `failure_route`
    pub failure: Option<u32>,
    /// `onreply_route`
    pub reply: Option<u32>,
    /// `branch_route`
    pub branch: Option<u32>,
    /// `event_route[tm:branch-failure:NAME]`
    pub branch_failure: Option<u32>,
}

/// What a run may know of its transaction; the worker keeps it fresh at every start and resume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TmView {
    /// The transaction, at its owner.
    pub key: Option<Key>,
    /// Number of that owner.
    pub worker: u16,
    /// Which tenant of its seat.
    pub incarnation: u32,
    /// The branches opened so far.
    pub branches: Vec<BranchInfo>,
    /// The first of those that the last `t_relay` opened.
    pub first_branch: u16,
    /// Made for a wait only; invisible to scripts until promoted.
    pub embryonic: bool,
    /// A CANCEL came, or the caller is gone.
    pub cancelled: bool,
    /// It has lasted as long as it may (`max_inv_lifetime`, `max_noninv_lifetime`).
    pub expired: bool,
    /// Branch in work (branch, reply and failure routes).
    pub branch: Option<u16>,
    /// `$T_reply_code`: last or winning code.
    pub reply_code: u16,
    /// Whether the last reply was made here (time-out, send error).
    pub last_local: bool,
    /// Whether all replies were.
    pub all_local: bool,
    /// `fr_timeout` of this transaction, milliseconds.
    pub fr_timeout: Option<u32>,
    /// `fr_inv_timeout`, milliseconds.
    pub fr_inv_timeout: Option<u32>,
    /// A final reply went upstream already.
    pub replied: bool,
    /// Header lines for everything that is sent in the transaction (`t_add_hdrs`).
    pub headers: Str,
    /// Header line for CANCELs (`t_add_cancel_reason`).
    pub cancel_reason: Option<Str>,
    /// Milliseconds of T1 and T2 (`t_set_retr`).
    pub retransmission: (Option<u32>, Option<u32>),
    /// Milliseconds a branch may live (`t_set_max_lifetime`).
    pub lifetime: Option<u32>,
    /// Answers of the server's own that were switched on or off for this transaction.
    pub switches: Switches,
}

/// What `t_set_*` switches for one transaction; `None`: as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    /// Send 100 when the transaction of an INVITE is made.
    pub auto_100: Option<bool>,
    /// A 6xx stops forking.
    pub block_6xx: Option<bool>,
    /// Try further addresses of a next hop that does not answer.
    pub failover: Option<bool>,
    /// Answer with an error when nothing could be sent.
    pub internal_reply: Option<bool>,
    /// Pass the Reason header of a CANCEL on.
    pub cancel_reason: Option<bool>,
}

/// Which own Route header was removed by `loose_route`, and what followed from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteState {
    /// Parameters of the own Route that was removed (`check_route_param`, `is_direction`).
    pub own_params: Option<Str>,
    /// `record_route` was called; with these extra parameters.
    pub record: Option<Str>,
    /// Preset values of `record_route_preset`.
    pub preset: Vec<Str>,
    /// `add_rr_param` texts.
    pub params: Str,
    /// User of the Record-Route, if it is not the R-URI's.
    pub user: Option<Str>,
    /// The next hop stands in a Route (`rr_next_hop_route`).
    pub next_hop: bool,
}

impl Vacant for RouteState {
    fn vacant() -> &'static Self {
        const {
            &RouteState {
                own_params: None,
                record: None,
                preset: Vec::new(),
                params: Str::EMPTY,
                user: None,
                next_hop: false,
            }
        }
    }
}

/// Host and port.
impl Vacant for (Option<Str>, Option<u16>) {
    fn vacant() -> &'static Self {
        const { &(None, None) }
    }
}

/// Everything outside of the machine that a run sees and changes. What most requests have no use for is [`Seldom`]
/// there: thousands of these may wait at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SipHost {
    /// The server; attached anew after a journey.
    #[serde(skip, default = "unattached")]
    pub env: Rc<Env>,
    /// The message in work: the request, or in reply routes the reply.
    pub msg: Message,
    /// In reply routes: the request as sent; in failure routes: the winning reply.
    pub other: Option<Message>,
    /// Pending changes to `msg` (not the R-URI).
    pub edits: Edits,
    /// R-URI, if changed.
    pub ruri: Option<Str>,
    /// Next hop, if set (`$du`).
    pub du: Option<Str>,
    /// Path to add as Route.
    pub path: Option<Str>,
    /// Which contacts `get_redirects` takes.
    pub redirect: Seldom<super::uac_redirect::Filters>,
    /// AVPs of the branch in work (`$bavp`).
    pub bavps: Seldom<Avps>,
    /// Preference of the R-URI branch.
    pub q: Option<u16>,
    /// Message flags by name.
    pub flags: Vec<Str>,
    /// Flags of branch 0.
    pub bflags: Vec<Str>,
    /// Further branches.
    pub branches: Seldom<Vec<Target>>,
    /// Number of the forced outgoing listener.
    pub socket_out: Option<u16>,
    /// Where the message came from.
    pub source: SocketAddr,
    /// Number of the listener it came in on.
    pub listener: u16,
    /// The connection it came in on; `None` for a datagram.
    pub conn: Option<ConnId>,
    /// Header lines for replies (`append_to_reply`), each with its CRLF.
    pub reply_headers: Seldom<Vec<u8>>,
    /// Per-message advertised address and port.
    pub advertised: Seldom<(Option<Str>, Option<u16>)>,
    /// Routes armed for the transaction.
    pub armed: Armed,
    /// Loose routing and record routing.
    pub rr: Seldom<RouteState>,
    /// The transaction.
    pub tm: TmView,
    /// `force_rport()` was called.
    pub rport: bool,
    /// Header lines for the next HTTP request of this run (`rest_append_hf`).
    pub http_headers: Seldom<Vec<Str>>,
    /// The TLS domain of the next HTTP request of this run (`rest_init_client_tls`).
    pub http_domain: Option<Str>,
    /// `$exec_status`
    pub exec_status: Option<i32>,
    /// Last internal error, for `sl_reply_error`: code and phrase.
    pub last_error: Option<(u16, Str)>,
    /// What `do_accounting` has ordered.
    pub acc: Option<Box<super::acc::Wanted>>,
    /// What checks of credentials have found.
    pub auth: Option<Box<super::auth::Kept>>,
    /// What `sanity_check` found.
    pub refusal: Option<Box<super::sanity::Refusal>>,
    /// Parameters of the event in event routes: name and value.
    pub event: Seldom<Vec<(Str, Str)>>,
    /// What it has left behind in modules that few runs use.
    pub rare: Seldom<super::rare::Rare>,
    /// What the run keeps of registrations.
    pub location: Option<Box<super::usrloc::Kept>>,
    /// What the run fetched last from each queue.
    pub fetched: Seldom<Vec<super::mqueue::Fetched>>,
    /// Walks over tables that the run has begun.
    pub iterators: Seldom<Vec<super::htable::Iterator>>,
    /// `rand_set_prob` value, percent.
    pub probability: Option<u8>,
    /// `$log_level` and `$xlog_level` set by the script.
    pub levels: (Option<i32>, Option<i32>),
    /// Wall clock when the message came in: microseconds since 1970.
    pub received_at: i64,
    /// Counts the messages of the process (`$mi`).
    pub message_id: u32,
    /// A lock name that the run holds; released at its end.
    pub locks: Seldom<Vec<Str>>,
    /// The bytes in hand where there is no message yet, or where one is about to leave.
    pub packet: Option<Box<super::packet::Packet>>,
    /// Whether `drop` may suppress `msg`.
    pub phony: bool,
}

impl SipHost {
    /// The host of a run about `msg`.
    pub fn new(env: Rc<Env>, msg: Message, source: SocketAddr, listener: u16) -> SipHost {
        SipHost {
            env,
            msg,
            other: None,
            edits: Edits::default(),
            ruri: None,
            du: None,
            path: None,
            redirect: Seldom::default(),
            bavps: Seldom::default(),
            q: None,
            flags: Vec::new(),
            bflags: Vec::new(),
            branches: Seldom::default(),
            socket_out: None,
            source,
            listener,
            conn: None,
            reply_headers: Seldom::default(),
            advertised: Seldom::default(),
            armed: Armed::default(),
            rr: Seldom::default(),
            tm: TmView::default(),
            rport: false,
            http_headers: Seldom::default(),
            http_domain: None,
            exec_status: None,
            last_error: None,
            acc: None,
            auth: None,
            refusal: None,
            event: Seldom::default(),
            rare: Seldom::default(),
            location: None,
            fetched: Seldom::default(),
            iterators: Seldom::default(),
            probability: None,
            levels: (None, None),
            received_at: 0,
            message_id: 0,
            locks: Seldom::default(),
            packet: None,
            phony: false,
        }
    }

    /// The host of a run without a message: startup, timer and event routes, `launch`.
    pub fn without_message(env: Rc<Env>) -> SipHost {
        let source = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut host = SipHost::new(env, phony_message(), source, 0);
        host.phony = true;
        host
    }

    /// The server.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The current R-URI: as changed, else as received. Empty for replies.
    pub fn current_ruri(&self) -> &[u8] {
        match &self.ruri {
            Some(u) => u,
            None if self.msg.is_request() => self.msg.request_uri(),
            None => b"",
        }
    }

    /// A copy for the routes that will run in the transaction later: nothing in it is about the
    /// run it is taken from only.
    pub fn base(&self) -> SipHost {
        let mut base = self.clone();
        base.branches.reset();
        base.other = None;
        base.bavps.reset();
        base.tm.branches.clear();
        base.auth = None;
        base
    }

    /// The R-URI with all that belongs to it, as a branch.
    pub fn main_target(&self) -> Target {
        Target {
            uri: Str::from(self.current_ruri()),
            du: self.du.clone(),
            path: self.path.clone(),
            q: self.q,
            flags: self.bflags.clone(),
            socket: self.socket_out,
            attrs: self.contact_attributes(),
        }
    }

    /// What is known of the contact that the R-URI is, if `lookup` has found it.
    fn contact_attributes(&self) -> Vec<(Str, Str)> {
        let found = self.location.as_ref().and_then(|k| k.found.as_ref());
        found.filter(|f| f.contact[..] == *self.current_ruri()).map(|f| f.attributes()).unwrap_or_default()
    }

    /// Makes a branch the R-URI with all that belongs to it.
    pub fn set_main_target(&mut self, target: &Target) {
        self.ruri = Some(target.uri.clone());
        self.du.clone_from(&target.du);
        self.path.clone_from(&target.path);
        self.q = target.q;
        self.bflags.clone_from(&target.flags);
        self.socket_out = target.socket;
    }

    /// Whether a flag is set.
    pub fn has_flag(&self, name: &[u8]) -> bool {
        self.flags.iter().any(|f| f == name)
    }
}

/// What a decoded host has until it is attached to its server.
fn unattached() -> Rc<Env> {
    Rc::new(Env::unattached())
}

/// A request that stands in where there is none.
pub fn phony_message() -> Message {
    const TEXT: &str = concat!(
        "OPTIONS sip:you@127.0.0.1 SIP/2.0\r\n",
        "Via: SIP/2.0/UDP 127.0.0.1\r\n",
        "From: <sip:you@127.0.0.1>;tag=phony\r\n",
        "To: <sip:you@127.0.0.1>\r\n",
        "Call-ID: phony\r\n",
        "CSeq: 1 OPTIONS\r\n",
        "Content-Length: 0\r\n\r\n"
    );
    match Message::parse(Str::from(TEXT)) {
        Ok(m) => m,
        Err(_) => unreachable!("the phony message is well formed"),
    }
}

impl Host for SipHost {
    type Pv = ScopedPv;
    type Request = Request;
    type Outcome = Outcome;

    fn catalog(dialect: Dialect) -> &'static Catalog<Self> {
        super::catalog::of(dialect)
    }

    fn find_pv(dialect: Dialect, name: &str, sub: Option<&str>) -> Option<PvSpec<ScopedPv>> {
        pv::find(dialect, name, sub)
    }

    fn wrapper(_dialect: Dialect, name: &str) -> Option<&'static str> {
        match name {
            "T_req" | "T_inv" => Some("request"),
            "T_rpl" => Some("reply"),
            _ => None,
        }
    }

    fn before_reading(_dialect: Dialect, name: &str, sub: &str) -> Option<&'static FnSpec<Self>> {
        (name == "T" && matches!(sub, "id_index_n" | "id_label_n")).then_some(&super::tm::send::MAKE_TRANSACTION)
    }

    fn event(_dialect: Dialect, name: &str) -> EventSort {
        super::events::sort(name)
    }

    fn pv_names(dialect: Dialect) -> &'static [&'static str] {
        pv::names(dialect)
    }

    fn get(&mut self, scoped: ScopedPv, sub: Option<&Value>, index: Index, now: Time) -> Value {
        let wants_request = match scoped.context {
            Context::Own => return super::pv_get::get(self, scoped.pv, sub, index, now),
            Context::Request => true,
            Context::Reply => false,
        };
        if self.msg.is_request() == wants_request {
            return super::pv_get::get(self, scoped.pv, sub, index, now);
        }
        // The other message takes the place of the own one for as long as the value is read.
        let Some(other) = self.other.take() else { return Value::Null };
        let own = std::mem::replace(&mut self.msg, other);
        let value = super::pv_get::get(self, scoped.pv, sub, index, now);
        self.other = Some(std::mem::replace(&mut self.msg, own));
        value
    }

    fn set(
        &mut self,
        pv: ScopedPv,
        sub: Option<&Value>,
        index: Index,
        replace: bool,
        value: Value,
    ) -> Result<(), SetError> {
        super::pv_set::set(self, pv.pv, sub, index, replace, value)
    }

    fn is_myself(&mut self, text: &[u8]) -> bool {
        self.env().names_us(text, None)
    }

    fn side_by_side(function: &FnSpec<Self>) -> bool {
        // These wait for what they do with the message, its transaction or the run's locks.
        const ALONE: &[&str] = &[
            "forward",
            "send",
            "get_static_lock",
            "get_dynamic_lock",
            "sht_lock",
            "http_async_query",
            "save",
            "reg_send_reply",
            "lookup",
            "lookup_branches",
            "lookup_to_dset",
            "registered",
            "reg_fetch_contacts",
            "unregister",
            "is_registered",
            "is_contact_registered",
            "is_ip_registered",
            "remove",
        ];
        let name = function.opensips.or(function.kamailio).unwrap_or_default();
        function.waits && !ALONE.contains(&name) && !name.starts_with("t_")
    }

    fn detached(&self) -> Self {
        SipHost::without_message(self.env.clone())
    }

    fn failure(reason: &'static str, phase: &'static str) -> Outcome {
        Outcome::Refused { reason: reason.into(), phase: phase.into(), at: Time::ZERO }
    }

    fn outcome_error(outcome: &Outcome) -> Option<(String, &'static str)> {
        match outcome {
            Outcome::Op(ops::Outcome::Failed(f)) => {
                let text = match f.why {
                    // Where and in what is in $async_phase and in the log.
                    why @ (ops::Why::Timeout | ops::Why::Cancelled) => why.to_string(),
                    why if f.detail.is_empty() => why.to_string(),
                    why => format!("{why}: {}", f.detail),
                };
                Some((text, f.phase.as_str()))
            }
            Outcome::Refused { reason, .. } => Some((reason.to_lossy().into_owned(), "queue")),
            _ => None,
        }
    }

    fn log(&mut self, level: i32, text: &str) {
        super::log_line(self, level, text);
    }
}

/// Splits `host:port`, `[v6]:port`, `host`.
pub fn split_host_port(text: &[u8]) -> (&[u8], Option<u16>) {
    if text.first() == Some(&b'[') {
        if let Some(end) = text.iter().position(|b| *b == b']') {
            let port = text.get(end + 1..).and_then(|r| r.strip_prefix(b":")).and_then(parse_port);
            return (&text[1..end], port);
        }
        return (text, None);
    }
    match text.iter().rposition(|b| *b == b':') {
        Some(at) if text[..at].contains(&b':') => (text, None),
        Some(at) => match parse_port(&text[at + 1..]) {
            Some(p) => (&text[..at], Some(p)),
            None => (text, None),
        },
        None => (text, None),
    }
}

fn parse_port(b: &[u8]) -> Option<u16> {
    std::str::from_utf8(b).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It counts once per request that waits, and again per transaction.
    #[test]
    fn a_host_stays_small() {
        assert!(
            size_of::<SipHost>() <= 640,
            "{} bytes, of which {} are TmView",
            size_of::<SipHost>(),
            size_of::<TmView>()
        );
    }
}
