//! `dispatcher`: sets of destinations, one of which a request goes to (kamailio.md section 5.3, opensips.md 4.15).
//!
//! The list comes from a file or a table; it and how each destination stands lie in the shared store, so all processes
//! choose alike ([`shared`]). Choosing is pure ([`choose`]). Whether destinations live is asked by a job of one worker
//! (`worker/dispatcher`).

pub mod calls;
pub mod choose;
pub mod group;
pub mod hash;
pub mod kept;
pub mod list;
mod load;
mod mark;
mod opensips;
mod params;
mod query;
mod routes;
mod script_attrs;
mod select;
pub mod shared;
pub mod state;

pub use load::{DATABASE, begin, reload, take};
pub use mark::{event_name, event_params};
pub use params::{Replies, Settings};

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};

const fn param(name: &'static str, kind: ModParamKind, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored: false, doc }
}

const fn int(name: &'static str, doc: &'static str) -> ModParamSpec {
    param(name, ModParamKind::Int, doc)
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    param(name, ModParamKind::Str, doc)
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "dispatcher",
    dialects: &[Dialect::Kamailio],
    functions: &[
        select::DS_SELECT,
        select::DS_SELECT_DST,
        select::DS_SELECT_DOMAIN,
        select::DS_NEXT_DST,
        select::DS_NEXT_DOMAIN,
        routes::DS_SELECT_ROUTES,
        routes::DS_SET_DST,
        routes::DS_SET_DOMAIN,
        mark::DS_MARK_DST,
        group::DS_MARK_ADDR,
        group::DS_DSG_FETCH,
        group::DS_DSG_FETCH_URI,
        mark::DS_LOAD_UPDATE,
        mark::DS_LOAD_UNSET,
        query::DS_IS_FROM_LIST,
        query::DS_LIST_EXISTS,
        query::DS_LIST_EXIST,
        query::DS_IS_ACTIVE,
        load::DS_RELOAD,
        mark::DS_OC_SET_ATTRS,
    ],
    params: &[
        text("list_file", "the file with the destinations; default `dispatcher.list` beside the configuration"),
        text("db_url", "the database with the table of destinations, instead of a file"),
        text("table_name", "default `dispatcher`"),
        text("setid_col", "default `setid`"),
        text("destination_col", "default `destination`"),
        text("flags_col", "default `flags`"),
        text("priority_col", "default `priority`"),
        text("attrs_col", "default `attrs`"),
        int(
            "flags",
            "1: hashes take the user of a URI alone; 2: what was not chosen is kept for ds_next_dst. Default 0",
        ),
        int("use_default", "1: the last destination of a set is used when none is usable; default 0"),
        int("force_dst", "0: a destination URI that is set already is not replaced; default 1"),
        text("hash_pvar", "what algorithm 7 hashes: a text with variables"),
        text("setid_pvname", "the `$var` or `$avp` that ds_is_from_list puts the number of the set into"),
        text("attrs_pvname", "the `$var` or `$avp` that ds_is_from_list puts the attributes into"),
        text("ds_default_socket", "the socket that requests leave from"),
        text("ds_default_sockname", "the name of that socket"),
        int("ds_ping_interval", "seconds between pings; default 0: none"),
        text("ds_ping_method", "default `OPTIONS`"),
        text("ds_ping_from", "From of pings; default `sip:dispatcher@localhost`"),
        text("ds_ping_reply_codes", "replies beside 2xx that show that a destination lives: `code=404;class=3`"),
        int(
            "ds_probing_mode",
            "who is pinged: 0 those in probing state, until they answer; 1 all; 2 those that are inactive or probing; 3 those in probing state, for ever. Default 0",
        ),
        int("ds_probing_threshold", "failures in a row that make a destination inactive; default 1"),
        int("ds_inactive_threshold", "answers in a row that make it active again; default 1"),
        int("ds_ping_latency_stats", "1: latencies are measured; default 0"),
        int("ds_latency_estimator_alpha", "how slowly the estimate follows, 0 to 1000; default 900"),
        text("outbound_proxy", "where pings are sent"),
        int("ds_hash_size", "above 0: calls are counted, for algorithm 10; default 0"),
        int("ds_hash_expire", "seconds after which a call counts no more; default 7200"),
        int("ds_hash_initexpire", "the same before it is answered; default 7200"),
        int("ds_hash_check_interval", "seconds between looks for such calls; default 30"),
        text("xavp_dst", "the `$xavp` with the destination in use and those that are left; default `_dsdst_`"),
        text("xavp_ctx", "the `$xavp` with their number; default `_dsctx_`"),
        ignored("xavp_dst_mode", "every field is set"),
        ignored("xavp_ctx_mode", "every field is set"),
        text("dst_avp", "the AVP with the destination in use"),
        text("grp_avp", "the AVP with the number of the set"),
        text("cnt_avp", "the AVP with the number of destinations that were kept"),
        ignored("dstid_avp", "`$xavp(_dsdst_=>dstid)` is the duid"),
        text("attrs_avp", "the AVP with the attributes of the destination in use"),
        text("sock_avp", "the AVP with the socket of the destination in use"),
        ignored("ds_timer_mode", "pings are a job of one worker"),
        ignored("ds_dns_mode", "a request is sent to a name as RFC 3263 says"),
        int(
            "ds_dns_interval",
            "seconds after which the names of destinations are looked up again, for ds_is_from_list; default 600",
        ),
        ignored("ds_dns_ttl", "ds_dns_interval says when names are looked up again"),
        ignored("ds_attrs_none", "a destination without attributes has the empty text"),
        text("ds_db_extra_attrs", "further columns that become attributes: `attribute=column;...`"),
        ignored("ds_load_mode", "calls are counted for every method that begins one"),
        ignored("event_callback", "event routes are run"),
        ignored("event_callback_mode", "event routes are run"),
        ignored("reload_delta", "a reload is never refused"),
    ],
    any_param: false,
    needs: &["tm"],
};

/// The module of OpenSIPS.
pub static OPENSIPS: ModuleSpec<SipHost> = ModuleSpec {
    name: "dispatcher",
    dialects: &[Dialect::OpenSips],
    functions: &[
        opensips::DS_SELECT_DST,
        opensips::DS_SELECT_DOMAIN,
        opensips::DS_NEXT_DST,
        opensips::DS_NEXT_DOMAIN,
        opensips::DS_MARK_DST,
        opensips::DS_COUNT,
        opensips::DS_IS_IN_LIST,
        script_attrs::DS_PUSH_SCRIPT_ATTRS,
        script_attrs::DS_GET_SCRIPT_ATTRS,
    ],
    params: &[
        text("db_url", "the database with the table of destinations"),
        text("table_name", "default `dispatcher`"),
        text("list_file", "a file with the destinations, as Kamailio has it, instead of a table"),
        text("setid_col", "default `setid`"),
        text("destination_col", "default `destination`"),
        text("state_col", "default `state`"),
        text("socket_col", "default `socket`"),
        text("weight_col", "default `weight`"),
        text("priority_col", "default `priority`"),
        text("attrs_col", "default `attrs`"),
        int("use_default", "1: the last destination of a set is used when none is usable; default 0"),
        int("force_dst", "0: a destination URI that is set already is not replaced; default 1"),
        int("flags", "2.2: 1: hashes take the user of a URI alone; 2: what was not chosen is kept for ds_next_dst"),
        text("hash_pvar", "what algorithm 7 hashes: a text with variables"),
        text("pvar_algo_pattern", "what algorithm 9 goes by: a variable such as `$stat(load_%u)`, where %u is the URI"),
        text(
            "algo_route",
            "the route that algorithm 10 goes by: its value for `$param(dst_uri)` and `$param(attrs)`, the less the better",
        ),
        text("setid_pvar", "the variable that ds_is_in_list puts the number of the set into"),
        text("attrs_avp", "the AVP with the attributes of the destination in use"),
        text("dst_avp", "the AVP with the destination in use and those that are left"),
        text("grp_avp", "the AVP with the number of the set"),
        text("cnt_avp", "the AVP with the number of destinations that were kept"),
        text("sock_avp", "the AVP with the socket of the destination in use"),
        int("ds_ping_interval", "seconds between pings; default 0: none"),
        text("ds_ping_method", "default `OPTIONS`"),
        text("ds_ping_from", "From of pings; default `sip:dispatcher@localhost`"),
        text("options_reply_codes", "replies beside 2xx that show that a destination lives: `404,480`"),
        int("ds_probing_mode", "1: all are pinged; 0: those that are being probed. Default 0"),
        int("ds_probing_threshold", "failures in a row that make a destination inactive; default 3"),
        int("ds_probing_threshhold", "the same, as 2.2 spells it"),
        text("ds_probing_sock", "the socket that pings leave from"),
        text("ds_probing_list", "the sets that are probed, with commas between them; default all"),
        ignored("ds_define_blacklist", "there are no blacklists by name"),
        ignored("persistent_state", "states live in the shared store"),
        ignored("partition", "there is one partition, the default one"),
        text("script_attrs_avp", "the AVP with what ds_push_script_attrs has said of the destination in use"),
        ignored("ds_ping_maxfwd", "pings have the usual Max-Forwards"),
        ignored("probe_mode_col", "ds_probing_mode decides"),
        ignored("cluster_id", "nothing is shared with other machines"),
        ignored("cluster_sharing_tag", "nothing is shared with other machines"),
        ignored("cluster_probing_mode", "nothing is shared with other machines"),
        ignored("fetch_freeswitch_stats", "not asked for"),
    ],
    any_param: false,
    needs: &["tm"],
};
