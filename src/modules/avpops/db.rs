//! AVPs and a database: sqlops' functions under the names of 2.2.

use crate::modules::host::SipHost;
use crate::modules::sqlops::{SQL_AVP_DELETE, SQL_AVP_LOAD, SQL_AVP_STORE, SQL_QUERY, prefs};
use crate::script::registry::{FnSpec, Kind, Param};

const PARAMS: &[Param] =
    &[Param::req("source", Kind::Str), Param::req("name", Kind::RawOrOut), Param::opt("db_id", Kind::Int)];

/// `avp_db_query`
pub const AVP_DB_QUERY: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_db_query"),
    kamailio: Some("avp_db_query"),
    example: r#"async(avp_db_query("SELECT gw FROM routes WHERE prefix='$(avp(pfx){s.escape.common})'", "$avp(gw)"), pick_gw);"#,
    ..SQL_QUERY
};

/// `avp_db_load`
pub const AVP_DB_LOAD: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_db_load"),
    kamailio: Some("avp_db_load"),
    params: PARAMS,
    doc: "Loads AVPs of a user from the table `avp_table`. Source: a SIP URI, of which the user (and, with \
          use_domain, the domain) is looked up, or `URI/username`, `URI/domain`, `URI/uri` (both); any other text is \
          a uuid, also `TEXT/uuid`. Name: `$avp(x)`, or `a` for all of the user's AVPs; `/table` behind it names \
          another table. The first row becomes index 0; bit 2 of the type column marks a number.",
    example: r#"avp_db_load("$ru/username", "$avp(callforward)");"#,
    run: |call| prefs::load(call, false),
    ..SQL_AVP_LOAD
};

/// `avp_db_store`
pub const AVP_DB_STORE: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_db_store"),
    kamailio: Some("avp_db_store"),
    doc: "Adds the values of an AVP (`a`: of all AVPs) to the table, as rows of a user; what is there stays. \
          Arguments as for avp_db_load.",
    example: r#"avp_db_store("$fu/username", "$avp(callforward)");"#,
    run: |call| prefs::store(call, false),
    ..SQL_AVP_STORE
};

/// `avp_db_delete`
pub const AVP_DB_DELETE: FnSpec<SipHost> = FnSpec {
    opensips: Some("avp_db_delete"),
    kamailio: Some("avp_db_delete"),
    doc: "Removes a user's AVP (`a`: all) from the table. Arguments as for avp_db_load.",
    example: r#"avp_db_delete("$fu/username", "$avp(callforward)");"#,
    run: |call| prefs::delete(call, false),
    ..SQL_AVP_DELETE
};
