//! `fix_nated_sdp`: addresses in the SDP that nobody outside can reach.

use super::judge::words;
use super::{ROUTES, host_text};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::sipmsgops::session_of;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};
use crate::sip::sdp;
use crate::sip::uri::host_ip;
use std::net::IpAddr;

/// `fix_nated_sdp`
pub const FIX_NATED_SDP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("fix_nated_sdp"),
    params: &[Param::req("what", Kind::Int), Param::opt("address", Kind::Str), Param::opt("attributes", Kind::Str)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Changes the SDP (a sum): 1 adds `a=direction:active`, 2 puts an address into its `c=` lines, 4 adds \
          `a=nortpproxy:yes`, 8 puts the address into its `o=` lines. 0.0.0.0, which puts a stream on hold, stays. \
          `a=oldmediaip` says what the address was, unless append_sdp_oldmediaip is 0. The address is the one that is given, else that which the message came from. Lines of attributes \
          that are given are added.",
    returns: &[
        (1, "an address was replaced"),
        (2, "none was, though lines may have been added"),
        (-1, "there is no SDP, or no such address"),
    ],
    example: r#"fix_nated_sdp("3");"#,
    run: |call| {
        let mask = call.int(0).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        match fix(call, mask & !16) {
            Ok(0) => Step::Done(2),
            Ok(_) => Step::Done(1),
            Err(why) => refused(why),
        }
    },
    finish: None,
};

/// `fix_nated_sdp` of OpenSIPS.
pub const FIX_NATED_SDP_WORDS: FnSpec<SipHost> = FnSpec {
    opensips: Some("fix_nated_sdp"),
    kamailio: None,
    params: &[
        Param::req("what", Kind::IntOrStr),
        Param::opt("address", Kind::Str),
        Param::opt("attributes", Kind::Str),
    ],
    doc: "Changes the SDP: `add-dir-active` (1) adds `a=direction:active`, `rewrite-media-ip` (2) puts an address into \
          its `c=` lines, `add-no-rtpproxy` (4) adds `a=nortpproxy:yes`, `rewrite-origin-ip` (8) puts the address into \
          its `o=` lines, `rewrite-null-ips` (16) does so also where a stream is on hold by the address 0.0.0.0. Words \
          with commas, or the sum of their numbers. The address is the one that is given, else that which the message \
          came from. Lines of attributes that are given are added.",
    returns: &[(1, "done"), (-1, "there is no SDP, or no such address")],
    example: r#"fix_nated_sdp("rewrite-media-ip,rewrite-origin-ip");"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        match words(&text, &WORDS) {
            Some(mask) => fix(call, mask).map_or_else(refused, |_| Step::Done(1)),
            None => Step::Fail(format!("`{}` names no changes", text.to_lossy())),
        }
    },
    ..FIX_NATED_SDP
};

const WORDS: [&str; 5] =
    ["add-dir-active", "rewrite-media-ip", "add-no-rtpproxy", "rewrite-origin-ip", "rewrite-null-ips"];

fn refused(why: Option<String>) -> Step<SipHost> {
    why.map_or(Step::Done(-1), Step::Fail)
}

/// Changes the SDP; how many addresses were replaced. The error says what is wrong with the arguments; nothing if there
/// is no SDP.
fn fix(call: &mut Call<'_, SipHost>, mask: u32) -> Result<usize, Option<String>> {
    let given = call.text(1).filter(|t| !t.is_empty());
    let ip = match &given {
        Some(text) => match host_ip(text) {
            Some(ip) => ip,
            None => return Err(Some(format!("\"{}\" is no address", text.to_lossy()))),
        },
        None => call.host.source.ip().to_canonical(),
    };
    let mut added = Vec::new();
    if mask & 1 != 0 {
        added.extend_from_slice(b"a=direction:active\r\n");
    }
    if mask & 4 != 0 {
        let line = call.host.env().settings.nathelper.nortpproxy.clone();
        let line = line.unwrap_or_else(|| Str::from("a=nortpproxy:yes"));
        added.extend_from_slice(line.trim_ascii_end());
        added.extend_from_slice(b"\r\n");
    }
    if let Some(lines) = call.text(2).filter(|t| !t.is_empty()) {
        if lines.contains(&0) {
            return Err(Some("these are no lines of attributes".to_string()));
        }
        added.extend_from_slice(lines.trim_ascii_end());
        added.extend_from_slice(b"\r\n");
    }
    let h = &mut *call.host;
    let Some(range) = session_of(&h.msg) else { return Err(None) };
    let keeps = h.env().settings.nathelper.old_address;
    let mut replaced = 0;
    let msg = h.msg.clone();
    let body = msg.slice(range);
    for line in sdp::lines(body) {
        let which = match line.first() {
            Some(b'c') if mask & 2 != 0 => 2,
            Some(b'o') if mask & 8 != 0 => 5,
            _ => continue,
        };
        let Some(host) = line.split(|b| *b == b' ').nth(which).map(<[u8]>::trim_ascii) else { continue };
        let old = host_ip(host.split(|b| *b == b'/').next().unwrap_or_default());
        let null = old.is_some_and(|a| a.is_unspecified());
        if null && mask & 16 == 0 {
            continue;
        }
        // `IP4 192.0.2.1`: the family stands before the address.
        let family = line.split(|b| *b == b' ').nth(which - 1);
        if let (Some(family), Some(at)) = (family.and_then(|f| msg.range_of(f)), msg.range_of(host)) {
            let word = if ip.is_ipv6() { "IP6" } else { "IP4" };
            h.edits.replace(family, Str::from(word));
            h.edits.replace(at, Str::from(address(ip)));
            replaced += 1;
            if keeps {
                added.extend_from_slice(&[b"a=oldmediaip:", host, b"\r\n"].concat());
            }
        }
    }
    if !added.is_empty() {
        let whole = body.ends_with(b"\n");
        let text = if whole { added } else { [&b"\r\n"[..], &added].concat() };
        h.edits.insert_after(range.end, Str::from(text));
    }
    Ok(replaced)
}

/// As SDP writes it: IPv6 without brackets.
fn address(ip: IpAddr) -> String {
    host_text(ip).trim_matches(['[', ']']).to_string()
}
