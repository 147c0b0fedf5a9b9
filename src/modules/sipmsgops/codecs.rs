//! Codecs of the RTP streams of a session description: asking for them, removing, reordering.
//! Unlike other changes these see what earlier ones of their kind did.

use super::MOST;
use super::streams::{Stream, streams};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};
use crate::sip::sdp;

/// Names and clock rates of the payload types that need no `rtpmap` (RFC 3551 §6).
const STATIC: [(&[u8], &[u8], &[u8]); 23] = [
    (b"0", b"PCMU", b"8000"),
    (b"3", b"GSM", b"8000"),
    (b"4", b"G723", b"8000"),
    (b"5", b"DVI4", b"8000"),
    (b"6", b"DVI4", b"16000"),
    (b"7", b"LPC", b"8000"),
    (b"8", b"PCMA", b"8000"),
    (b"9", b"G722", b"8000"),
    (b"10", b"L16", b"44100"),
    (b"11", b"L16", b"44100"),
    (b"12", b"QCELP", b"8000"),
    (b"13", b"CN", b"8000"),
    (b"14", b"MPA", b"90000"),
    (b"15", b"G728", b"8000"),
    (b"16", b"DVI4", b"11025"),
    (b"17", b"DVI4", b"22050"),
    (b"18", b"G729", b"8000"),
    (b"26", b"JPEG", b"90000"),
    (b"28", b"nv", b"90000"),
    (b"31", b"H261", b"90000"),
    (b"32", b"MPV", b"90000"),
    (b"33", b"MP2T", b"90000"),
    (b"34", b"H263", b"90000"),
];

const BY_NAME: &[Param] = &[Param::req("name", Kind::Str), Param::opt("clock", Kind::Str)];
const BY_PATTERN: &[Param] = &[Param::req("pattern", Kind::Regex)];

/// `codec_exists`
pub const CODEC_EXISTS: FnSpec<SipHost> = FnSpec {
    opensips: Some("codec_exists"),
    kamailio: None,
    params: BY_NAME,
    variadic: false,
    routes: MOST,
    waits: false,
    doc: "Whether an RTP stream of the SDP offers this codec (with this clock rate). Letter case does not matter; \
          payload types with fixed meanings are known by their names.",
    returns: &[(1, "it does"), (-1, "it does not")],
    example: r#"if (codec_exists("opus", "48000")) xlog("opus\n");"#,
    run: |call| act(call, Choice::Name, Action::Look),
    finish: None,
};

/// `codec_exists_re`
pub const CODEC_EXISTS_RE: FnSpec<SipHost> = FnSpec {
    opensips: Some("codec_exists_re"),
    params: BY_PATTERN,
    doc: "Whether an RTP stream of the SDP offers a codec whose name matches.",
    example: r#"if (codec_exists_re("^G72")) xlog("G.72x\n");"#,
    run: |call| act(call, Choice::Pattern, Action::Look),
    ..CODEC_EXISTS
};

/// `codec_delete`
pub const CODEC_DELETE: FnSpec<SipHost> = FnSpec {
    opensips: Some("codec_delete"),
    doc: "Removes a codec (with this clock rate) from every RTP stream of the SDP, with the lines that describe it. \
          A stream that would be left without any is refused instead: it keeps its codecs and gets port 0 \
          (RFC 3264 §6).",
    returns: &[(1, "removed"), (-1, "there was none")],
    example: r#"codec_delete("G729");"#,
    run: |call| act(call, Choice::Name, Action::Delete),
    ..CODEC_EXISTS
};

/// `codec_delete_re`
pub const CODEC_DELETE_RE: FnSpec<SipHost> = FnSpec {
    opensips: Some("codec_delete_re"),
    params: BY_PATTERN,
    doc: "As codec_delete, for every codec whose name matches.",
    example: r#"codec_delete_re("^(G723|G729)$");"#,
    run: |call| act(call, Choice::Pattern, Action::Delete),
    ..CODEC_DELETE
};

/// `codec_delete_except_re`
pub const CODEC_DELETE_EXCEPT_RE: FnSpec<SipHost> = FnSpec {
    opensips: Some("codec_delete_except_re"),
    params: BY_PATTERN,
    doc: "As codec_delete, for every codec whose name does not match.",
    example: r#"codec_delete_except_re("PCMA|PCMU|telephone-event");"#,
    run: |call| act(call, Choice::NotPattern, Action::Delete),
    ..CODEC_DELETE
};

/// `codec_move_up`
pub const CODEC_MOVE_UP: FnSpec<SipHost> = FnSpec {
    opensips: Some("codec_move_up"),
    doc: "Puts a codec (with this clock rate) first in every RTP stream of the SDP that offers it.",
    returns: &[(1, "moved, or it was first"), (-1, "there was none")],
    example: r#"codec_move_up("PCMA");"#,
    run: |call| act(call, Choice::Name, Action::Up),
    ..CODEC_EXISTS
};

/// `codec_move_up_re`
pub const CODEC_MOVE_UP_RE: FnSpec<SipHost> = FnSpec {
    opensips: Some("codec_move_up_re"),
    params: BY_PATTERN,
    doc: "As codec_move_up, for every codec whose name matches; their order stays.",
    example: r#"codec_move_up_re("^PCM");"#,
    run: |call| act(call, Choice::Pattern, Action::Up),
    ..CODEC_MOVE_UP
};

/// `codec_move_down`
pub const CODEC_MOVE_DOWN: FnSpec<SipHost> = FnSpec {
    opensips: Some("codec_move_down"),
    doc: "Puts a codec (with this clock rate) last in every RTP stream of the SDP that offers it.",
    returns: &[(1, "moved, or it was last"), (-1, "there was none")],
    example: r#"codec_move_down("telephone-event");"#,
    run: |call| act(call, Choice::Name, Action::Down),
    ..CODEC_EXISTS
};

/// `codec_move_down_re`
pub const CODEC_MOVE_DOWN_RE: FnSpec<SipHost> = FnSpec {
    opensips: Some("codec_move_down_re"),
    params: BY_PATTERN,
    doc: "As codec_move_down, for every codec whose name matches; their order stays.",
    example: r#"codec_move_down_re("^(CN|telephone-event)$");"#,
    run: |call| act(call, Choice::Pattern, Action::Down),
    ..CODEC_MOVE_DOWN
};

/// What the arguments say about a codec.
#[derive(Clone, Copy, PartialEq)]
enum Choice {
    Name,
    Pattern,
    NotPattern,
}

/// What happens to the codecs chosen.
#[derive(Clone, Copy, PartialEq)]
enum Action {
    Look,
    Delete,
    Up,
    Down,
}

/// A payload type of a stream.
struct Codec {
    payload: Vec<u8>,
    name: Vec<u8>,
    clock: Vec<u8>,
}

fn act(call: &mut Call<'_, SipHost>, choice: Choice, action: Action) -> Step<SipHost> {
    let count = streams(call.host).len();
    let mut any = false;
    for n in 0..count {
        let Some(codecs) = streams(call.host).get(n).map(|s| codecs(call.host, s)) else { break };
        let mut chosen = Vec::with_capacity(codecs.len());
        for codec in &codecs {
            match is_chosen(call, choice, codec) {
                Ok(yes) => chosen.push(yes),
                Err(why) => return Step::Fail(why),
            }
        }
        if chosen.contains(&true) {
            any = true;
            change(call.host, n, action, codecs, &chosen);
        }
    }
    Step::Done(if any { 1 } else { -1 })
}

fn is_chosen(call: &mut Call<'_, SipHost>, choice: Choice, codec: &Codec) -> Result<bool, String> {
    match choice {
        Choice::Name => {
            let name = call.text(0).unwrap_or_default();
            let clock = call.text(1).filter(|c| !c.is_empty());
            Ok(codec.name.eq_ignore_ascii_case(&name) && clock.is_none_or(|c| c == codec.clock[..]))
        }
        Choice::Pattern => call.is_match(0, &codec.name),
        Choice::NotPattern => call.is_match(0, &codec.name).map(|yes| !yes),
    }
}

/// The codecs of a stream in their present order; none if it is not RTP.
fn codecs(host: &SipHost, stream: &Stream<'_>) -> Vec<Codec> {
    if stream.formats.is_empty() || memchr::memmem::find(stream.transport, b"RTP/").is_none() {
        return Vec::new();
    }
    let formats = host.edits.replacement(stream.formats).unwrap_or(host.msg.slice(stream.formats));
    let payloads = formats.split(|b| *b == b' ').filter(|p| !p.is_empty());
    payloads
        .map(|payload| {
            let (name, clock) = mapped(stream.text, payload)
                .or_else(|| STATIC.iter().find(|(p, ..)| *p == payload).map(|(_, n, c)| (*n, *c)))
                .unwrap_or_default();
            Codec { payload: payload.to_vec(), name: name.to_vec(), clock: clock.to_vec() }
        })
        .collect()
}

/// Name and clock rate from `a=rtpmap:PAYLOAD NAME/CLOCK[/CHANNELS]` (RFC 8866 §6.6).
fn mapped<'a>(text: &'a [u8], payload: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let rest = sdp::lines(text).find_map(|l| about(l, payload).filter(|_| l.starts_with(b"a=rtpmap:")))?;
    let mut parts = rest.trim_ascii().split(|b| *b == b'/');
    Some((parts.next()?, parts.next().unwrap_or_default()))
}

/// What a line says about this payload type, behind `a=WORD:PAYLOAD `.
fn about<'a>(line: &'a [u8], payload: &[u8]) -> Option<&'a [u8]> {
    let words = [&b"a=rtpmap:"[..], b"a=fmtp:", b"a=rtcp-fb:"];
    let rest = words.into_iter().find_map(|w| line.strip_prefix(w))?;
    rest.strip_prefix(payload)?.strip_prefix(b" ")
}

fn change(host: &mut SipHost, n: usize, action: Action, codecs: Vec<Codec>, chosen: &[bool]) {
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for (codec, chosen) in codecs.into_iter().zip(chosen) {
        if *chosen { yes.push(codec) } else { no.push(codec) }
    }
    let Some((formats, port, gone)) = streams(host).get(n).map(|s| {
        let described = |line: &[u8]| yes.iter().any(|c| about(line, &c.payload).is_some());
        let lines = s.text.split_inclusive(|b| *b == b'\n').filter(|l| described(l));
        let gone: Vec<_> = lines.filter_map(|l| host.msg.range_of(l)).collect();
        (s.formats, s.port, gone)
    }) else {
        return;
    };
    let order: Vec<&Codec> = match action {
        Action::Look => return,
        Action::Delete if no.is_empty() => {
            host.edits.replace(port, Str::from("0"));
            return;
        }
        Action::Delete => {
            for line in gone {
                host.edits.delete(line);
            }
            no.iter().collect()
        }
        Action::Up => yes.iter().chain(&no).collect(),
        Action::Down => no.iter().chain(&yes).collect(),
    };
    let text: Vec<&[u8]> = order.iter().map(|c| &c.payload[..]).collect();
    host.edits.replace(formats, Str::from(text.join(&b" "[..])));
}
