//! Tests of the transaction layer: each machine over its figure, the table, and a simulation of
//! caller, proxy and callees over a bad network.

mod forks;
mod machines;
mod sim;
mod table;

use super::timing::Timing;
use crate::base::{Str, Time};
use crate::sip::HeaderId;
use crate::sip::Message;
use std::time::Duration;

fn ms(n: u64) -> Time {
    Time::from_millis(n)
}

/// RFC values.
fn timing(reliable: bool) -> Timing {
    Timing {
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        fr: Duration::from_secs(32),
        fr_inv: Duration::from_secs(181),
        restart_fr: true,
        give_up: Time::NEVER,
        wt: None,
        reliable,
    }
}

fn parse(text: String) -> Message {
    Message::parse(Str::from(text)).unwrap()
}

fn request(method: &str, branch: &str, call: &str, cseq: u32) -> Message {
    parse(format!(
        "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP client.example.com:5060;branch={branch}\r\n\
         From: <sip:alice@example.com>;tag=a{call}\r\nTo: <sip:bob@example.com>\r\nCall-ID: {call}\r\n\
         CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ))
}

fn invite(branch: &str) -> Message {
    request("INVITE", branch, "call1", 1)
}

/// As a server answers: Vias, From, Call-ID and CSeq copied, To with a tag.
fn reply(request: &Message, status: u16, tag: &str) -> Message {
    let text = |id| String::from_utf8_lossy(request.value(id)).into_owned();
    let mut s = format!("SIP/2.0 {status} Reason\r\n");
    for via in request.headers_of(HeaderId::Via) {
        s += &format!("Via: {}\r\n", String::from_utf8_lossy(via.value));
    }
    let to = text(HeaderId::To);
    let to = if status == 100 || to.contains(";tag=") { to } else { format!("{to};tag={tag}") };
    s += &format!("From: {}\r\nTo: {to}\r\nCall-ID: {}\r\n", text(HeaderId::From), text(HeaderId::CallId));
    parse(s + &format!("CSeq: {}\r\nContent-Length: 0\r\n\r\n", text(HeaderId::CSeq)))
}

/// A message without its first Via line (as a proxy takes it off a reply).
fn pop_via(message: &Message) -> Message {
    let text = String::from_utf8_lossy(message.bytes()).into_owned();
    let (head, rest) = text.split_once("Via: ").unwrap();
    parse(format!("{head}{}", rest.split_once("\r\n").unwrap().1))
}

/// A message with one more Via line on top (as a proxy forwards a request).
fn push_via(message: &Message, host: &str, branch: &[u8]) -> Message {
    let text = String::from_utf8_lossy(message.bytes()).into_owned();
    let (head, rest) = text.split_once("\r\n").unwrap();
    let branch = String::from_utf8_lossy(branch);
    parse(format!("{head}\r\nVia: SIP/2.0/UDP {host};branch={branch}\r\n{rest}"))
}

/// The same request with another method and To tag (the ACK or CANCEL of an INVITE).
fn follow_up(invite: &Message, method: &str, to_tag: Option<&str>) -> Message {
    let text = String::from_utf8_lossy(invite.bytes()).replace("INVITE", method);
    parse(match to_tag {
        Some(tag) => text.replace("To: <sip:bob@example.com>", &format!("To: <sip:bob@example.com>;tag={tag}")),
        None => text,
    })
}
