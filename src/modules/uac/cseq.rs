//! A CSeq that is counted up on the way, as an answer to a challenge wants it (RFC 3261 22.2). What tells the requests of
//! the dialog by how much stands in the Record-Route; replies show the caller its own number.

use super::dialog::is_upstream;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::params::Params;
use crate::sip::{HeaderId, Method};

/// The parameter of the Record-Route.
const PARAM: &[u8] = b"vsc";
/// Most that is added.
const MOST: u32 = 1000;

/// `uac_inc_cseq`
pub const UAC_INC_CSEQ: FnSpec<SipHost> = FnSpec {
    opensips: Some("uac_inc_cseq"),
    kamailio: None,
    params: &[Param::req("by", Kind::Int)],
    variadic: false,
    routes: RouteSet::letters("RFB"),
    waits: false,
    doc: "The request leaves with a CSeq that is larger by so much. If it begins a dialog, the dialog's later requests of the \
          caller do, too: the script has to call record_route, and restore_mode is `auto`. Replies have the caller's own number.",
    returns: &[
        (1, "done"),
        (-1, "it belongs to a dialog, or begins one that could not be followed, or the number is none"),
    ],
    example: "uac_inc_cseq(1);",
    run: |call| {
        let by = call.int(0).and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MOST).contains(n));
        Step::Done(if by.is_some_and(|by| count_up(call.host, by)) { 1 } else { -1 })
    },
    finish: None,
};

fn by(params: &[u8]) -> u32 {
    let text = Params::new(params).value(PARAM).and_then(|v| std::str::from_utf8(v).ok());
    text.and_then(|t| t.parse().ok()).filter(|n| *n <= MOST).unwrap_or(0)
}

/// The number, larger by so much.
fn larger(number: u32, by: u32) -> Option<u32> {
    number.checked_add(by).filter(|n| *n < 1 << 31)
}

/// Gives the request a larger CSeq; false if it stays.
pub fn count_up(h: &mut SipHost, more: u32) -> bool {
    let msg = h.msg.clone();
    if !msg.is_request() || msg.to_tag().is_some() || matches!(msg.method(), Method::Ack | Method::Cancel) {
        return false;
    }
    let settings = &h.env().settings;
    let followed =
        settings.uac.automatic() && settings.rr.from_tag && (h.rr.record.is_some() || !h.rr.preset.is_empty());
    if matches!(msg.method(), Method::Invite | Method::Subscribe | Method::Refer) && !followed {
        return false;
    }
    let sum = by(&h.rr.params) + more;
    let number = larger(msg.cseq().number, sum).filter(|_| sum <= MOST);
    let (Some(number), Some(header)) = (number, msg.header(HeaderId::CSeq)) else { return false };
    h.edits.set_header_value(&header, value(number, msg.cseq().method_bytes));
    let others = h.rr.params.split(|b| *b == b';').filter(|p| !p.is_empty() && !p.starts_with(b"vsc="));
    let mut params: Vec<u8> = others.flat_map(|p| [b";", p].concat()).collect();
    params.extend_from_slice(format!(";vsc={sum}").as_bytes());
    h.rr.params = Str::from(params);
    true
}

/// The value of a CSeq.
pub fn value(number: u32, method: &[u8]) -> Str {
    Str::from([number.to_string().as_bytes(), b" ", method].concat())
}

/// A request of a dialog whose first one was counted up: so is the caller's.
pub fn follow(h: &mut SipHost) {
    let Some(params) = h.rr.own_params.clone() else { return };
    let by = by(&params);
    if by == 0 || is_upstream(&Params::new(&params), &h.msg) {
        return;
    }
    let msg = h.msg.clone();
    if let (Some(number), Some(header)) = (larger(msg.cseq().number, by), msg.header(HeaderId::CSeq)) {
        h.edits.set_header_value(&header, value(number, msg.cseq().method_bytes));
    }
    // A PRACK names the INVITE (RFC 3262 7.2).
    let Some(header) = msg.headers_of(HeaderId::RAck).next() else { return };
    let words: Vec<&[u8]> = header.value.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).collect();
    let [sequence, number, method] = words[..] else { return };
    let number = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()).and_then(|n| larger(n, by));
    if let Some(number) = number {
        let text = [sequence, b" ", &value(number, method)].concat();
        h.edits.set_header_value(&header, Str::from(text));
    }
}
