//! `registrar`: REGISTER requests, and the contacts of users (kamailio.md section 5.2, opensips.md section 4.9).
//!
//! What a REGISTER means is decided without input or output: [`request`] reads it, [`register`] applies it to the
//! stored bindings, [`reply`] tells the outcome. [`save`] and [`lookup`] carry it to where `usrloc` keeps bindings.

mod ask;
mod attributes;
mod find;
mod lookup;
mod options;
mod refusal;
pub mod register;
pub mod remove;
mod reply;
pub mod request;
mod save;
pub(in crate::modules) mod settings;

pub use find::Looking;
pub use lookup::target;
pub use reply::Prepared;
pub use save::Saving;
pub use settings::Settings;

use super::host::SipHost;
use super::log_line;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "registrar",
    dialects: &[Dialect::Kamailio, Dialect::OpenSips],
    functions: &[
        save::SAVE,
        save::REG_SEND_REPLY,
        lookup::LOOKUP,
        lookup::LOOKUP_FLAGS,
        lookup::LOOKUP_TO_DSET,
        lookup::LOOKUP_BRANCHES,
        ask::REGISTERED,
        ask::REG_FETCH_CONTACTS,
        ask::REG_FREE_CONTACTS,
        ask::IS_REGISTERED,
        ask::IS_CONTACT_REGISTERED,
        ask::IS_IP_REGISTERED,
        remove::UNREGISTER,
        remove::REMOVE,
        ADD_SOCK_HDR,
        SET_Q_OVERRIDE,
    ],
    params: settings::PARAMS,
    any_param: false,
    needs: &["usrloc"],
};

const ADD_SOCK_HDR: FnSpec<SipHost> = FnSpec {
    opensips: Some("add_sock_hdr"),
    kamailio: Some("add_sock_hdr"),
    params: &[Param::req("header", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RFOBL"),
    waits: false,
    doc: "Adds a header that names the socket the request came in on, for the registrar behind this server \
          (sock_hdr_name).",
    returns: &[(1, "added"), (-1, "this is no name of a header")],
    example: r#"add_sock_hdr("Sock-Info");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let h = &mut *call.host;
        let socket = h.env().listeners.get(usize::from(h.listener)).map(|l| l.name());
        let Some(socket) = socket.filter(|_| crate::sip::bytes::is_token(&name)) else {
            log_line(h, -1, &format!("add_sock_hdr: `{}` is no name of a header", name.to_lossy()));
            return Step::Done(-1);
        };
        let line = Str::from([&name[..], b": ", socket.as_bytes(), b"\r\n"].concat());
        h.edits.append_header(&h.msg, line);
        Step::Done(1)
    },
    finish: None,
};

const SET_Q_OVERRIDE: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("set_q_override"),
    params: &[Param::req("q", Kind::Str)],
    routes: RouteSet::letters("RFO"),
    doc: "The contacts that `save` takes from here on get this q, whatever they say.",
    returns: &[(1, "set"), (-1, "this is no q from 0 to 1")],
    example: r#"set_q_override("0.5");"#,
    run: |call| {
        let q = call.text(0).and_then(|text| request::q_value(&text));
        if q.is_none() {
            return Step::Done(-1);
        }
        call.host.location.get_or_insert_default().q = q;
        Step::Done(1)
    },
    finish: None,
    ..ADD_SOCK_HDR
};
