//! Which modules each dialect offers.

use super::host::SipHost;
use super::{
    aaa_radius, acc, async_module, auth, auth_db, avpops, cfgutils, core, db_mysql, dlgs, exec, htable, kamailio,
    maxfwd, mqueue, registrar, rest_client, rr, rtimer, sanity, signaling, sipmsgops, sl, sqlops, textops, tm, tmx,
    uac_redirect, usrloc,
};
use super::{proto_tcp, tls_mgm, tolerated};
use crate::script::ast::Dialect;
use crate::script::registry::Catalog;

/// The modules of `dialect`.
pub fn of(dialect: Dialect) -> &'static Catalog<SipHost> {
    match dialect {
        Dialect::OpenSips => &OPENSIPS,
        Dialect::Kamailio => &KAMAILIO,
    }
}

static KAMAILIO: Catalog<SipHost> = Catalog {
    modules: &[
        &kamailio::CORE,
        &kamailio::SL,
        &kamailio::TM,
        &tmx::MODULE,
        &rr::MODULE,
        &maxfwd::MODULE,
        &kamailio::PV,
        &kamailio::TEXTOPS,
        &kamailio::TEXTOPSX,
        &kamailio::SIPUTILS,
        &kamailio::XLOG,
        &kamailio::KEX,
        &kamailio::COREX,
        &kamailio::AVPOPS,
        &kamailio::sqlops::SQLOPS,
        &async_module::MODULE,
        &acc::KAMAILIO,
        &auth::KAMAILIO,
        &auth_db::KAMAILIO,
        &exec::MODULE,
        &htable::MODULE,
        &mqueue::MODULE,
        &rtimer::MODULE,
        &sanity::MODULE,
        &usrloc::MODULE,
        &registrar::MODULE,
        &uac_redirect::MODULE,
        &db_mysql::DB_MYSQL,
        &dlgs::MODULE,
        &kamailio::DB_SQLITE,
        &kamailio::CTL,
        &kamailio::CFG_RPC,
        &kamailio::JSONRPCS,
        &kamailio::COUNTERS,
        &kamailio::DEBUGGER,
        &kamailio::MI_FIFO,
        &kamailio::MI_RPC,
        &kamailio::STATISTICS,
    ],
    offers: &[
        ("core", &[&core::MODULE]),
        ("sl", &[&sl::MODULE, &signaling::MODULE]),
        ("tm", &[&tm::MODULE]),
        ("textops", &[&textops::MODULE, &sipmsgops::MODULE]),
        ("textopsx", &[&sipmsgops::MODULE]),
        ("siputils", &[&sipmsgops::MODULE]),
        ("avpops", &[&avpops::MODULE]),
    ],
};

static OPENSIPS: Catalog<SipHost> = Catalog {
    modules: &[
        &core::MODULE,
        &sl::MODULE,
        &tm::MODULE,
        &tmx::MODULE,
        &uac_redirect::MODULE,
        &rr::MODULE,
        &maxfwd::MODULE,
        &signaling::MODULE,
        &usrloc::MODULE,
        &registrar::MODULE,
        &sipmsgops::MODULE,
        &textops::MODULE,
        &cfgutils::MODULE,
        &avpops::MODULE,
        &sqlops::MODULE,
        &exec::MODULE,
        &rest_client::MODULE,
        &tls_mgm::MODULE,
        &aaa_radius::MODULE,
        &acc::OPENSIPS,
        &auth::OPENSIPS,
        &auth_db::OPENSIPS,
        &tolerated::PROTO_UDP,
        &proto_tcp::MODULE,
        &db_mysql::DB_MYSQL,
        &db_mysql::DB_VIRTUAL,
        &tolerated::DB_SQLITE,
        &tolerated::MI_FIFO,
        &tolerated::MI_DATAGRAM,
        &tolerated::HTTPD,
        &tolerated::MI_HTTP,
        &tolerated::EVENT_ROUTE,
        &tolerated::XLOG,
    ],
    offers: &[],
};
