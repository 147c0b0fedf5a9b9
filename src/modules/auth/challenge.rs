//! Asking for credentials: the header with the challenge, and the reply that brings it.

use super::{Side, algorithms, check};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, ReplyRequest, Request};
use crate::script::registry::{Call, Step};
use crate::script::value::Value;
use crate::sip::Method;
use crate::sip::digest::nonce::{self, Nonce};
use crate::sip::digest::{Algorithm, Qop, challenge};

/// What a challenge says.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who asks.
    pub side: Side,
    /// The realm.
    pub realm: Str,
    /// What the proof has to cover.
    pub qop: Qop,
    /// The credentials were right but for their nonce.
    pub stale: bool,
    /// The algorithms to choose from, the best first; empty: MD5, without naming it.
    pub algorithms: Vec<Algorithm>,
}

impl Wanted {
    /// As the parameters and the run so far say.
    pub fn new(h: &SipHost, side: Side, realm: Str, qop: Qop) -> Wanted {
        let stale = h.auth.as_ref().is_some_and(|kept| kept.stale);
        Wanted { side, realm, qop, stale, algorithms: algorithms(h) }
    }

    /// The values of the header, one for each algorithm.
    pub fn values(&self, h: &SipHost) -> Vec<Vec<u8>> {
        let one = |named: Option<Algorithm>| {
            let nonce = fresh(h, named.unwrap_or(Algorithm::Md5));
            challenge(&self.realm, &nonce, named, self.qop, self.stale)
        };
        match self.algorithms.as_slice() {
            [] => vec![one(None)],
            some => some.iter().map(|a| one(Some(*a))).collect(),
        }
    }

    /// The header lines.
    pub fn lines(&self, h: &SipHost) -> Vec<u8> {
        let settings = &h.env().settings.auth;
        let name: &[u8] = if self.side == Side::Www { &settings.www_header } else { &settings.proxy_header };
        self.values(h).iter().flat_map(|value| [name, b": ", &value[..], b"\r\n"].concat()).collect()
    }
}

/// A nonce for a request.
fn fresh(h: &SipHost, algorithm: Algorithm) -> String {
    let key = check::key(h);
    let made = u64::try_from(h.env().clock.micros()).unwrap_or(0);
    let (cseq, message) = (h.msg.cseq().number.to_be_bytes(), h.message_id.to_be_bytes());
    let source = h.source.to_string();
    let parts: [&[u8]; 6] =
        [&made.to_be_bytes(), h.msg.call_id(), &cseq, &message, source.as_bytes(), algorithm.name().as_bytes()];
    let nonce = Nonce { made, number: nonce::number(key, &parts), algorithm };
    nonce::seal(key, &nonce, check::bound(h).as_deref())
}

/// Sends the reply with a challenge; [`sent`] goes on.
pub fn send(call: &mut Call<'_, SipHost>, wanted: &Wanted) -> Step<SipHost> {
    if !call.host.msg.is_request() || call.host.msg.method() == Method::Ack {
        return Step::Done(-1);
    }
    let lines = wanted.lines(call.host);
    // They belong to this reply alone.
    let before = call.host.reply_headers.len();
    call.state.data = vec![Value::Int(i64::try_from(before).unwrap_or(i64::MAX))];
    call.host.reply_headers.extend_from_slice(&lines);
    let (code, reason) = wanted.side.reply();
    let reply = ReplyRequest { code, reason: Str::from(reason), body: None };
    Step::Wait(if call.host.env().settings.auth.stateless {
        Request::Stateless(reply)
    } else {
        Request::AnyReply(reply)
    })
}

/// The reply with a challenge was sent, or was not.
pub fn sent(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let before = call.state.data.first().and_then(Value::as_int).and_then(|n| usize::try_from(n).ok());
    call.host.reply_headers.truncate(before.unwrap_or(usize::MAX));
    // A reply that says that there can be no challenge is none.
    Step::Done(if call.state.step == 1 { -1 } else { outcome.code() })
}
