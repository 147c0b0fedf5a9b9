//! `uac`: this server as the one who calls (kamailio.md section 4.6, opensips.md 4.17): other addresses in From and To,
//! requests of its own.

pub mod account;
pub mod accounts;
pub mod auth;
pub mod cseq;
mod dialog;
pub mod registrant;
pub mod registrations;
mod replace;
pub mod request;
mod trunk;

use super::host::SipHost;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};
use crate::script::value::Value;
use dialog::Side;

/// How the addresses of a dialog are kept apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Restore {
    /// Not at all.
    None,
    /// By uac_restore_from and uac_restore_to, and in replies.
    Manual,
    /// By loose_route, and in replies.
    #[default]
    Auto,
}

/// The module's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `restore_mode`
    pub restore: Restore,
    /// `restore_passwd`
    pub password: Str,
    /// `rr_from_store_param`, `rr_to_store_param`
    params: [Str; 2],
    /// `credential`
    pub logins: Vec<auth::Login>,
    /// `auth_realm_avp`, `auth_username_avp`, `auth_password_avp`
    pub login_avps: [Option<Str>; 3],
    /// `default_socket`
    pub socket: Option<Str>,
    /// Registrations at others' registrars.
    pub registrations: registrations::Settings,
    /// Display names are written as they are given (Kamailio).
    pub bare_names: bool,
    /// The module is loaded.
    pub loaded: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let params = [Str::from("vsf"), Str::from("vst")];
        Settings {
            restore: Restore::Auto,
            password: Str::default(),
            params,
            logins: Vec::new(),
            login_avps: Default::default(),
            socket: None,
            registrations: registrations::Settings::default(),
            bare_names: false,
            loaded: false,
        }
    }
}

impl Settings {
    /// The parameter of the Record-Route for this header.
    fn param(&self, side: Side) -> &Str {
        let [from, to] = &self.params;
        if side == Side::From { from } else { to }
    }

    /// Whether replies bring the addresses back.
    pub fn restores_replies(&self) -> bool {
        self.loaded && self.restore != Restore::None
    }

    /// Whether loose_route brings the addresses back, too.
    pub fn automatic(&self) -> bool {
        self.loaded && self.restore == Restore::Auto
    }

    /// Takes over a parameter of the module.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
        if param == "credential" {
            let login = auth::Login::parse(&text).ok_or("credential is `USER:REALM:PASSWORD`")?;
            self.logins.push(login);
            return Ok(());
        }
        if param.starts_with("reg_") {
            return self.registrations.set(param, value);
        }
        if param == "default_socket" {
            self.socket = Some(text).filter(|t| !t.is_empty());
            return Ok(());
        }
        let avps = ["auth_realm_avp", "auth_username_avp", "auth_password_avp"];
        if let Some(slot) = avps.iter().position(|a| *a == param).and_then(|at| self.login_avps.get_mut(at)) {
            let name = crate::modules::nathelper::avp_name(&text);
            *slot = Some(name.ok_or_else(|| format!("{param} is an AVP: $avp(name)"))?);
            return Ok(());
        }
        let [from, to] = &mut self.params;
        let slot = match param {
            "restore_mode" => {
                self.restore = match &text[..] {
                    b"none" => Restore::None,
                    b"manual" => Restore::Manual,
                    b"auto" => Restore::Auto,
                    _ => return Err("restore_mode is \"none\", \"manual\" or \"auto\"".to_string()),
                };
                return Ok(());
            }
            "restore_passwd" => {
                self.password = text;
                return Ok(());
            }
            "rr_from_store_param" => from,
            "rr_to_store_param" => to,
            _ => return Ok(()),
        };
        if !crate::sip::bytes::is_token(&text) {
            return Err(format!("{param} is the name of a parameter"));
        }
        *slot = text;
        Ok(())
    }
}

/// A request of a dialog came: its addresses are those that its receiver knows (`restore_mode=auto`).
pub fn follow_dialog(h: &mut SipHost) {
    if h.env().settings.uac.automatic() && h.msg.to_tag().is_some() {
        dialog::follow(h, Side::From);
        dialog::follow(h, Side::To);
        cseq::follow(h);
    }
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

const fn number(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored: false, doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

const CREDENTIAL: ModParamSpec = text("credential", "`USER:REALM:PASSWORD`: a user of ours at others' servers");
const REALM: ModParamSpec = text("auth_realm_avp", "the AVP with the realm that the next two are for; empty: any");
const USERNAME: ModParamSpec = text("auth_username_avp", "the AVP with the user for uac_auth");
const PASSWORD: ModParamSpec = text("auth_password_avp", "the AVP with its password");

/// `uac_auth` of OpenSIPS: the users for uac_auth.
pub static UAC_AUTH: ModuleSpec<SipHost> = ModuleSpec {
    name: "uac_auth",
    dialects: &[Dialect::OpenSips],
    functions: &[],
    params: &[CREDENTIAL, REALM, USERNAME, PASSWORD],
    any_param: false,
    needs: &[],
};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "uac",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[
        replace::UAC_REPLACE_FROM,
        replace::UAC_REPLACE_TO,
        replace::UAC_RESTORE_FROM,
        replace::UAC_RESTORE_TO,
        request::UAC_REQ_SEND,
        auth::UAC_AUTH,
        auth::UAC_AUTH_MODE,
        auth::UAC_AUTH_OF_OPENSIPS,
        cseq::UAC_INC_CSEQ,
        trunk::LOOKUP,
        trunk::LOOKUP_URI,
        trunk::STATUS,
        trunk::REQUEST_TO,
        trunk::ENABLE,
        trunk::DISABLE,
        trunk::REFRESH,
    ],
    params: &[
        text(
            "restore_mode",
            "`auto`: requests and replies of the dialog get their addresses back by themselves; `manual`: requests by \
             uac_restore_from and uac_restore_to; `none`: not at all. Default auto",
        ),
        text("restore_passwd", "what the addresses in the Record-Route are mixed with"),
        text("rr_from_store_param", "name of the Record-Route's parameter for From; default `vsf`"),
        text("rr_to_store_param", "name of the Record-Route's parameter for To; default `vst`"),
        CREDENTIAL,
        REALM,
        USERNAME,
        PASSWORD,
        text("default_socket", "the listening socket for requests of uac_req_send and registrations that name none"),
        text("reg_db_url", "the database with the accounts at others' registrars"),
        text("reg_db_table", "its table; default uacreg"),
        text(
            "reg_contact_addr",
            "`HOST:PORT` of the Contact of registrations, with parameters if need be; its user is `l_uuid`. Without it there \
             are no registrations",
        ),
        number(
            "reg_timer_interval",
            "how many seconds before its end (and 3 more) a registration is refreshed, but not before half of its time; \
             default 90",
        ),
        number(
            "reg_retry_interval",
            "seconds until what has failed is tried again; default 0: the account is disabled",
        ),
        number("reg_keep_callid", "1: a refresh has the Call-ID of what it refreshes; default 0"),
        number("reg_random_delay", "most seconds, drawn by lot, before accounts without a reg_delay begin; default 0"),
        number("reg_active", "0: nothing is registered before `uac.reg_active 1`; default 1"),
        number("reg_use_domain", "1: uac_reg_lookup_uri looks at the domain, too; default 0"),
        ignored("reg_gc_interval", "accounts can be reloaded at any time"),
        ignored("reg_hash_size", "the store needs no size"),
        ignored(
            "restore_dlg",
            "it needs the module dialog, which is not there: the Record-Route carries the addresses",
        ),
        ignored("restore_from_avp", "the Record-Route carries the addresses"),
        ignored("restore_to_avp", "the Record-Route carries the addresses"),
        ignored("force_dialog", "the Record-Route carries the addresses"),
        ignored("event_callback", "event routes are run"),
    ],
    any_param: false,
    needs: &["tm"],
};
