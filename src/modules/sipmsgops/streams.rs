//! Media streams of a session description (RFC 8866 §5.14): where their parts lie, with the
//! changes already made; and the functions that look at whole streams.

use super::MOST;
use super::parts;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};
use crate::sip::sdp;
use crate::sip::{Message, Range};

/// One `m=` line and what follows it.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    /// All of it.
    pub whole: Range,
    /// `audio`, `video` ...
    pub media: &'a [u8],
    /// `RTP/AVP` ...
    pub transport: &'a [u8],
    /// Where the port stands.
    pub port: Range,
    /// Where the formats stand.
    pub formats: Range,
    /// Its text.
    pub text: &'a [u8],
}

/// The streams of the message that are not deleted.
pub fn streams(host: &SipHost) -> Vec<Stream<'_>> {
    let msg = &host.msg;
    let Some(range) = parts::sdp(msg) else { return Vec::new() };
    let all = sdp::streams(msg.slice(range)).filter_map(|text| stream(msg, text));
    all.filter(|s| !host.edits.is_deleted(s.whole)).collect()
}

fn stream<'a>(msg: &'a Message, text: &'a [u8]) -> Option<Stream<'a>> {
    let line = sdp::lines(text).next()?.strip_prefix(b"m=")?;
    let mut words = line.splitn(4, |b| *b == b' ');
    let (media, port, transport, formats) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some(Stream {
        whole: msg.range_of(text)?,
        media,
        transport,
        port: msg.range_of(port)?,
        formats: msg.range_of(formats.trim_ascii())?,
        text,
    })
}

const PARAMS: &[Param] = &[Param::req("media", Kind::Regex), Param::opt("transport", Kind::Regex)];

/// `stream_exists`
pub const STREAM_EXISTS: FnSpec<SipHost> = FnSpec {
    opensips: Some("stream_exists"),
    kamailio: None,
    params: PARAMS,
    variadic: false,
    routes: MOST,
    waits: false,
    doc: "Whether the SDP has a stream whose media type (and transport, as in `RTP/SAVP`) match.",
    returns: &[(1, "it has"), (-1, "it has not")],
    example: r#"if (stream_exists("video")) xlog("video call\n");"#,
    run: |call| match matching(call) {
        Ok(found) => Step::Done(if found.is_empty() { -1 } else { 1 }),
        Err(why) => Step::Fail(why),
    },
    finish: None,
};

/// `stream_delete`
pub const STREAM_DELETE: FnSpec<SipHost> = FnSpec {
    opensips: Some("stream_delete"),
    doc: "Removes every stream of the SDP whose media type (and transport) match: the `m=` line and all that belongs \
          to it.",
    returns: &[(1, "removed"), (-1, "there was none")],
    example: r#"stream_delete("video|image");"#,
    run: |call| match matching(call) {
        Ok(found) => {
            for range in &found {
                call.host.edits.delete(*range);
            }
            Step::Done(if found.is_empty() { -1 } else { 1 })
        }
        Err(why) => Step::Fail(why),
    },
    ..STREAM_EXISTS
};

/// `is_audio_on_hold`
pub const IS_AUDIO_ON_HOLD: FnSpec<SipHost> = FnSpec {
    opensips: Some("is_audio_on_hold"),
    kamailio: Some("is_audio_on_hold"),
    params: &[],
    doc: "Whether the SDP puts an audio stream on hold: `a=sendonly` or `a=inactive` (RFC 3264 §8.4), or the address \
          0.0.0.0, of the stream or else of the session.",
    returns: &[(1, "it does"), (-1, "it does not")],
    example: r#"if (is_audio_on_hold()) xlog("on hold\n");"#,
    run: |call| Step::Done(if on_hold(call.host) { 1 } else { -1 }),
    ..STREAM_EXISTS
};

/// The streams that match both patterns.
fn matching(call: &mut Call<'_, SipHost>) -> Result<Vec<Range>, String> {
    let host: &SipHost = call.host;
    let all: Vec<(Range, Vec<u8>, Vec<u8>)> =
        streams(host).iter().map(|s| (s.whole, s.media.to_vec(), s.transport.to_vec())).collect();
    let mut found = Vec::new();
    for (range, media, transport) in all {
        if call.is_match(0, &media)? && (!call.given(1) || call.is_match(1, &transport)?) {
            found.push(range);
        }
    }
    Ok(found)
}

fn on_hold(host: &SipHost) -> bool {
    let Some(range) = parts::sdp(&host.msg) else { return false };
    let session = sdp::session(host.msg.slice(range));
    let streams = streams(host);
    streams.iter().filter(|s| s.media == b"audio").any(|s| {
        let direction = direction(s.text).or(direction(session));
        let address = address(s.text).or(address(session));
        matches!(direction, Some(b"sendonly" | b"inactive")) || matches!(address, Some(b"0.0.0.0" | b"::"))
    })
}

fn direction(text: &[u8]) -> Option<&[u8]> {
    let known = |a: &&[u8]| matches!(*a, b"sendonly" | b"inactive" | b"sendrecv" | b"recvonly");
    sdp::lines(text).filter_map(|l| l.strip_prefix(b"a=")).find(known)
}

/// The address of a `c=` line.
fn address(text: &[u8]) -> Option<&[u8]> {
    sdp::line(text, b'c', 0)?.split(|b| *b == b' ').nth(2).map(<[u8]>::trim_ascii)
}
