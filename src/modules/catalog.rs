//! Which modules each dialect offers.

use super::host::SipHost;
use super::{
    aaa_radius, alias_db, async_module, avpops, cfgutils, core, db_mysql, dlgs, domain, exec, htable, kamailio, maxfwd,
    mqueue, permissions, registrar, rest_client, rr, rtimer, sanity, signaling, sipmsgops, sl, speeddial, sqlops,
    textops, tm, tmx, uac_redirect, usrloc,
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
        &permissions::MODULE,
        &alias_db::MODULE,
        &speeddial::MODULE,
        &domain::MODULE,
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
