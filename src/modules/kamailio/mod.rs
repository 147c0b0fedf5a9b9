//! Modules as Kamailio divides them: what stands in another module here is offered by the catalog
//! (`super::catalog`); the rest is small and stands in this folder (kamailio.md sections 3 and 5).

mod bodies;
mod contacts;
mod core_functions;
pub mod corex;
pub mod custom;
mod file_functions;
mod header_match;
pub mod header_walk;
mod hf_values;
pub mod line_walk;
mod nio;
pub mod siputils;
pub mod sl_functions;
mod small;
pub mod sqlops;
mod tests_of;
mod texts;
pub mod uris;
pub mod vars;
pub mod via;
mod whole;
mod xavp;
pub mod xlog;

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{FnSpec, ModParamKind, ModParamSpec, ModuleSpec};

pub use core_functions::{FORWARD_NO_CONNECT, REPLY_CLOSE, REPLY_NO_CONNECT};
pub use small::{next_hop, unique_id};

type Module = ModuleSpec<SipHost>;

const fn int(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored: false, doc }
}

const fn string(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

const fn module(name: &'static str, functions: &'static [FnSpec<SipHost>], params: &'static [ModParamSpec]) -> Module {
    ModuleSpec { name, dialects: &[Dialect::Kamailio], functions, params, any_param: false, needs: &[] }
}

/// A module that may be loaded though reprise has what it brings built in, or another way for it.
const fn tolerated(name: &'static str) -> Module {
    ModuleSpec { name, dialects: &[Dialect::Kamailio], functions: &[], params: &[], any_param: true, needs: &[] }
}

/// Functions of the core that only this language has.
pub static CORE: Module = module("core", core_functions::ALL, &[]);

/// `tm`, with its times in milliseconds.
pub static TM: Module = module(
    "tm",
    &[],
    &[
        int("fr_timer", "milliseconds without any reply (non-INVITE: without a final one) per branch; default 30000"),
        int("fr_inv_timer", "milliseconds an INVITE may ring after a provisional reply; default 120000"),
        int("restart_fr_on_each_reply", "each provisional reply restarts fr_inv_timer; default 1"),
        int("wt_timer", "milliseconds a completed transaction lingers; default 5000"),
        int("retr_timer1", "first retransmission, milliseconds; default 500"),
        int("retr_timer2", "longest retransmission interval, milliseconds; default 4000"),
        int("auto_inv_100", "send 100 when an INVITE transaction is made; default 1"),
        int("aggregate_challenges", "1: a 401 or 407 goes upstream with the challenges of all branches; default 1"),
        int("ruri_matching", "1: the R-URI takes part in matching requests of RFC 2543 clients; default 1"),
        int("via1_matching", "1: the top Via takes part in matching requests of RFC 2543 clients; default 1"),
        int("disable_6xx_block", "1: a 6xx does not stop serial forking; default 0"),
        int("remap_503_500", "a 503 of a branch goes upstream as 500; default 1"),
        ignored("failure_reply_mode", "replies of finished branches do not take part in later choices"),
        int(
            "max_inv_lifetime",
            "milliseconds an INVITE may last without a final reply, whatever comes; default 180000",
        ),
        int("max_noninv_lifetime", "the same for other methods; default 32000"),
        ignored("auto_inv_100_reason", "the phrase is the usual one"),
        ignored("default_code", "500"),
        ignored("default_reason", "the usual phrase of 500"),
        ignored("faked_reply_prio", "a reply made here counts as any other"),
        ignored("noisy_ctimer", "timer C works as RFC 3261 says"),
        ignored("relay_100", "a 100 ends at this hop"),
        int("local_cancel_reason", "branches that a 2xx or 6xx of another one ends hear so in their CANCEL; default 1"),
        int("e2e_cancel_reason", "the Reason of the caller's CANCEL goes into those to the branches; default 1"),
        ignored("e2e_cancel_hop_by_hop", "a CANCEL goes hop by hop (RFC 3261 9.2)"),
        ignored("reparse_invite", "a CANCEL is made from the INVITE that was sent"),
        ignored("reparse_on_dns_failover", "a branch to a further address is made anew"),
        ignored("unmatched_cancel", "a CANCEL that belongs to nothing is for the script"),
        ignored("cancel_b_method", "a branch without any reply gets its CANCEL when the first one comes"),
        int(
            "blst_503",
            "1: with use_dst_blocklist a next hop that answers 503 is not tried for as long as its Retry-After says; default 0",
        ),
        int("blst_503_def_timeout", "seconds of a 503 without Retry-After; 0: it does not count; default 0"),
        int("blst_503_min_timeout", "least seconds of a 503 with Retry-After; default 0"),
        int("blst_503_max_timeout", "most seconds of a 503 with Retry-After; default 3600"),
        int(
            "blst_methods_add",
            "methods whose time-outs put their next hop on the list, a sum of 1 INVITE, 2 CANCEL, 8 BYE, 16 INFO, 32 REGISTER, 64 SUBSCRIBE, 128 NOTIFY, 256 MESSAGE, 512 OPTIONS, 1024 PRACK, 2048 UPDATE, 4096 REFER, 8192 PUBLISH; default 1",
        ),
        int(
            "blst_methods_lookup",
            "methods that are not sent to what is on the list, the same sum; default all but BYE",
        ),
        string(
            "ac_extra_hdrs",
            "headers of a request as it was sent whose names begin so are also in its CANCEL and in the ACK to a negative reply",
        ),
        string("on_sl_reply", "onreply_route of replies that belong to no transaction; `drop` there stops them"),
        string("contacts_avp", "name of the $xavp that t_load_contacts puts contacts into; default: one nobody sees"),
        string(
            "contact_flows_avp",
            "name of the $xavp for contacts of an instance that another flow is tried of first; default: one nobody sees",
        ),
        string(
            "tw_append",
            "further lines of t_write_req and t_write_unix: \"name:[title=]avp[NAME];[title=]hdr[NAME];msg[body]\"",
        ),
        ignored("xavp_contact", "contacts have no attributes of the script's"),
        ignored("callid_cseq_matching", "the branch of the top Via matches"),
        ignored(
            "dns_reuse_rcv_socket",
            "a request leaves from the socket it came in on, if that can reach the next hop",
        ),
        ignored("event_callback", "the script has no embedded language: event_route[tm:local-request] runs"),
        ignored("event_callback_lres_sent", "the script has no embedded language: event_route[tm:local-response] runs"),
        ignored("exec_time_check", "a route that takes long yields to the others"),
        ignored("callid_matching", "the branch of the top Via matches"),
        ignored("reply_relay_mode", "replies are relayed as RFC 3261 says"),
        ignored("delayed_reply", "t_relay answers at once when nothing can be sent"),
        ignored("reply_408_code", "408"),
        ignored("reply_408_reason", "the usual phrase of 408"),
        ignored("failure_exec_mode", "a failure route runs once per answer"),
        ignored("local_ack_mode", "an ACK goes where RFC 3261 17.1.1.3 says"),
        ignored("unix_tx_timeout", "a socket that takes nothing is not waited for"),
        ignored("pass_provisional_replies", "there are no callbacks to run"),
        ignored("enable_uac_fr", "own requests run failure routes as any"),
        ignored("headers_mode", "header changes are kept"),
        ignored("evlreq_mode", "event_route[tm:local-request] runs for each own request"),
        ignored("fr_timer_avp", "t_set_fr sets it"),
        ignored("fr_inv_timer_avp", "t_set_fr sets it"),
        ignored("rich_redirect", "q values of contacts are kept"),
    ],
);

/// `sl`
pub static SL: Module = module(
    "sl",
    sl_functions::ALL,
    &[
        ignored("default_code", "500"),
        ignored("default_reason", "the usual phrase of 500"),
        ignored("bind_tm", "send_reply uses the transaction if there is one"),
        ignored("rich_redirect", "q values of contacts are kept"),
        ignored(
            "event_callback_fl_ack",
            "there are no routes in embedded languages: event_route[sl:filtered-ack] is run",
        ),
        ignored(
            "event_callback_lres_sent",
            "there are no routes in embedded languages: event_route[sl:local-response] is run",
        ),
    ],
);

/// `textops`
pub static TEXTOPS: Module = module("textops", texts::ALL, &[]);
/// `textopsx`
pub static TEXTOPSX: Module = module("textopsx", whole::TEXTOPSX, &[]);
/// `siputils`
pub static SIPUTILS: Module = module(
    "siputils",
    uris::ALL,
    &[
        string("options_accept", "value of Accept in the answers of options_reply; default \"*/*\""),
        string("options_accept_encoding", "value of Accept-Encoding; default empty"),
        string("options_accept_language", "value of Accept-Language; default \"en\""),
        string("options_support", "value of Supported; default empty"),
        string(
            "contact_flds_separator",
            "what stands between the parts of a contact that encode_contact hides; default \"*\"",
        ),
        string("rpid_avp", "the AVP that holds the address for Remote-Party-ID; default \"$avp(s:rpid)\""),
        string("rpid_prefix", "what stands in front of that address in Remote-Party-ID; default empty"),
        string("rpid_suffix", "what stands behind it; default \";party=calling;id-type=subscriber;screen=yes\""),
        ignored("ring_timeout", "ring_insert_callid is not offered"),
    ],
);
/// `pv`
pub static PV: Module = module(
    "pv",
    xavp::ALL,
    &[
        ModParamSpec {
            name: "varset",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "value a `$var` begins with: \"name=i:5\" or \"name=s:text\"",
        },
        ModParamSpec {
            name: "shvset",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "value a `$shv` begins with: \"name=i:5\" or \"name=s:text\"",
        },
        ignored("shv_hash_size", "not needed"),
        string("avp_aliases", "other names of AVPs: \"email=s:email_addr;tmp=i:100\""),
    ],
);
/// `xlog`
pub static XLOG: Module = module(
    "xlog",
    xlog::ALL,
    &[
        int("buf_size", "longest line, bytes, 64 to 16384; default 4096"),
        string("prefix", "in front of every line; default nothing"),
        int("prefix_mode", "1: prefix is a text with variables; default 0"),
        ignored("force_color", "lines are not coloured"),
        ignored("long_format", "xlogl and xdbgl always write the file's name"),
        string("log_facility", "syslog facility of these lines, such as LOG_LOCAL3; default that of the core"),
        ignored("log_colors", "lines are not coloured"),
        int("methods_filter", "methods for which xlogm writes nothing, as the sum of their bits; default -1: all"),
        ignored("auto_newline", "each call writes a line of its own"),
    ],
);
/// `kex`: flags, the destination URI and `is_myself` are functions of the core here.
pub static KEX: Module = module("kex", small::KEX, &[]);
/// `corex`: `append_branch`, `send` and their like are functions of the core here.
pub static COREX: Module = module(
    "corex",
    small::COREX,
    &[
        ignored("alias_subdomains", "accept_subdomain of an alias does it"),
        ignored("dns_cache", "the resolver keeps what it learns"),
        ignored("dns_file", "dns_hosts_file of the core does it"),
        int("nio_intercept", "1: event_route[network:msg] runs for everything that comes in and leaves; default 0"),
        ignored("nio_min_msg_len", "what is no message is dropped"),
        string(
            "nio_msg_avp",
            "the AVP whose value, set in event_route[network:msg], takes the place of the bytes: `$avp(name)`",
        ),
        ignored("evcb_reply_out", "routes are written in the configuration's own language"),
        ModParamSpec {
            name: "evname_reply_out",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "name of the event route that runs for each reply that leaves, such as corex:reply-out",
        },
    ],
);
/// `avpops`, whose functions both languages have.
pub static AVPOPS: Module = module("avpops", &[], super::sqlops::PARAMS);

/// `reprise ctl` takes its place.
pub static CTL: Module = tolerated("ctl");
/// `reprise ctl` takes its place.
pub static CFG_RPC: Module = tolerated("cfg_rpc");
/// What a script does is seen with `reprise ctl waits` and in scenarios.
pub static DEBUGGER: Module = tolerated("debugger");
/// `reprise ctl` takes its place.
pub static MI_FIFO: Module = tolerated("mi_fifo");
/// `reprise ctl` takes its place.
pub static MI_RPC: Module = tolerated("mi_rpc");
/// The SQLite helper process is built in.
pub static DB_SQLITE: Module = tolerated("db_sqlite");
