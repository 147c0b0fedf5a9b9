//! `nathelper`: clients behind address translation (kamailio.md section 5.4, opensips.md 4.17): finding them, and putting
//! into Contact, SDP and the destination what they cannot know themselves.

mod alias;
pub mod contact;
mod judge;
mod pings;
mod sdp;

#[cfg(test)]
mod tests;

use super::host::SipHost;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::pv::{self, Piece};
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec, RouteSet};
use crate::script::value::Value;
use crate::sip::Transport;
use std::net::IpAddr;

pub use judge::is_private;
pub use pings::{Pings, pings_are_on, switch_pings};

/// The module's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `received_avp`: the AVP that fix_nated_register sets.
    pub received_avp: Option<Str>,
    /// `nortpproxy_str`: the line that fix_nated_sdp adds; `None`: the usual one.
    pub nortpproxy: Option<Str>,
    /// `append_sdp_oldmediaip`
    pub old_address: bool,
    /// `nat_addr_mode`: all of 192.0.0.0/24 counts as private, not only 192.0.0.0/29.
    pub reserved: bool,
    /// `alias_name`: the parameter of Contacts that says where a client is.
    pub alias: Str,
    /// Keep-alives.
    pub pings: Pings,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            received_avp: None,
            nortpproxy: None,
            old_address: true,
            reserved: true,
            alias: Str::from("alias"),
            pings: Pings::default(),
        }
    }
}

impl Settings {
    /// Takes over a parameter of the module.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
        match param {
            "received_avp" => self.received_avp = Some(avp_name(&text).ok_or("received_avp is an AVP: $avp(name)")?),
            "nortpproxy_str" => self.nortpproxy = Some(text),
            "append_sdp_oldmediaip" => self.old_address = value.to_int().is_some_and(|n| n != 0),
            "nat_addr_mode" => self.reserved = value.to_int().is_some_and(|n| n != 0),
            "alias_name" => {
                let name = text.strip_prefix(b";").unwrap_or(&text);
                let name = name.strip_suffix(b"=").unwrap_or(name);
                if !crate::sip::bytes::is_token(name) {
                    return Err("alias_name is the name of a parameter, such as \"alias\"".to_string());
                }
                self.alias = Str::from(name);
            }
            _ => self.pings.set(param, value)?,
        }
        Ok(())
    }
}

/// The name of an AVP as parameters of modules write it: `$avp(name)`, `$avp(s:name)`.
pub fn avp_name(text: &[u8]) -> Option<Str> {
    let var = pv::parse(text.trim_ascii()).ok()?;
    match (var.name.as_str(), var.sub.as_deref()) {
        ("avp", Some([Piece::Text(name)])) if !name.is_empty() => Some(Str::from(name.as_slice())),
        _ => None,
    }
}

const fn param(name: &'static str, kind: ModParamKind, ignored: bool, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored, doc }
}

const fn int(name: &'static str, doc: &'static str) -> ModParamSpec {
    param(name, ModParamKind::Int, false, doc)
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    param(name, ModParamKind::Str, false, doc)
}

const fn any(name: &'static str, doc: &'static str) -> ModParamSpec {
    param(name, ModParamKind::Any, false, doc)
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "nathelper",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        judge::NAT_UAC_TEST,
        judge::NAT_UAC_TEST_WORDS,
        judge::IS_RFC1918,
        contact::FIX_NATED_CONTACT,
        contact::FIX_NATED_CONTACT_WITH,
        contact::FIX_NATED_REGISTER,
        contact::RESTORE_NATED_RURI,
        contact::ADD_RCV_PARAM,
        alias::ADD_CONTACT_ALIAS,
        alias::SET_CONTACT_ALIAS,
        alias::SET_ALIAS_TO_PV,
        alias::HANDLE_RURI_ALIAS,
        sdp::FIX_NATED_SDP,
        sdp::FIX_NATED_SDP_WORDS,
    ],
    params: &[
        param("received_avp", ModParamKind::Str, false, "the AVP that fix_nated_register sets: `$avp(name)`"),
        param(
            "nortpproxy_str",
            ModParamKind::Str,
            false,
            "the line that fix_nated_sdp(4) adds; default `a=nortpproxy:yes`",
        ),
        text("force_socket", "the same"),
        int("natping_interval", "seconds between the keep-alives of registered contacts; default 0: none"),
        param("natping_processes", ModParamKind::Int, true, "keep-alives are a job of one worker"),
        param("natping_partitions", ModParamKind::Int, true, "contacts are pinged some at a time"),
        text(
            "natping_socket",
            "the socket that keep-alives leave from; default: the one that a contact was registered at",
        ),
        param("natping_tcp", ModParamKind::Int, true, "connections are kept open by their clients"),
        int("ping_nated_only", "1: only contacts with the branch flag that nat_bflag of usrloc names; default 0"),
        param("ping_threshold", ModParamKind::Int, true, "answers to keep-alives are not looked at"),
        param("max_pings_lost", ModParamKind::Int, true, "answers to keep-alives are not looked at"),
        param("remove_on_timeout_bflag", ModParamKind::Any, true, "answers to keep-alives are not looked at"),
        param("keepalive_timeout", ModParamKind::Int, true, "answers to keep-alives are not looked at"),
        any("sipping_bflag", "contacts with this branch flag are sent requests, others four bytes that are no message"),
        text("sipping_from", "From of those requests"),
        text("sipping_method", "their method; default OPTIONS"),
        param("sipping_latency_flag", ModParamKind::Any, true, "answers to keep-alives are not looked at"),
        int("udpping_from_path", "1: contacts with a Path are pinged at its first address; default 0: not"),
        param(
            "append_sdp_oldmediaip",
            ModParamKind::Int,
            false,
            "1 (default): fix_nated_sdp says in `a=oldmediaip` what the address was",
        ),
        param("filter_flags", ModParamKind::Int, true, "answers to keep-alives are not looked at"),
        param("filter_server_id", ModParamKind::Int, true, "answers to keep-alives are not looked at"),
        text("alias_name", "the parameter of Contacts that says where a client is; default \"alias\""),
        int("nat_addr_mode", "1 (default): all of 192.0.0.0/24 counts as private; 0: only 192.0.0.0/29"),
        any("natping_disable_bflag", "contacts with this branch flag are not pinged"),
    ],
    any_param: false,
    needs: &[],
};

const ROUTES: RouteSet = RouteSet::letters("RFOBL");

/// The transport that the message came over.
fn transport(h: &SipHost) -> Transport {
    h.env().listeners.get(usize::from(h.listener)).map_or(Transport::Udp, |l| l.transport)
}

/// An address as it stands in a URI.
fn host_text(ip: IpAddr) -> String {
    super::env::bracketed(ip.to_canonical())
}

/// Where the message came from, as a URI.
fn source_uri(h: &SipHost) -> String {
    let uri = format!("sip:{}:{}", host_text(h.source.ip()), h.source.port());
    match transport(h) {
        Transport::Udp | Transport::Other => uri,
        other => format!("{uri};transport={}", other.as_param()),
    }
}
