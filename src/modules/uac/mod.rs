//! `uac`: this server as the one who calls (kamailio.md section 4.6, opensips.md 4.17): other addresses in From and To,
//! requests of its own.

mod dialog;
mod replace;
pub mod request;

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
    /// By uac_restore_from and uac_restore_to.
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
    /// The module is loaded.
    pub loaded: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let params = [Str::from("vsf"), Str::from("vst")];
        Settings { restore: Restore::Auto, password: Str::default(), params, loaded: false }
    }
}

impl Settings {
    /// The parameter of the Record-Route for this header.
    fn param(&self, side: Side) -> &Str {
        let [from, to] = &self.params;
        if side == Side::From { from } else { to }
    }

    /// Whether loose_route and replies bring the addresses back.
    pub fn automatic(&self) -> bool {
        self.loaded && self.restore == Restore::Auto
    }

    /// Takes over a parameter of the module.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
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
    }
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

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
    ],
    params: &[
        text(
            "restore_mode",
            "`auto`: requests and replies of the dialog get their addresses back by themselves; `manual`: by \
             uac_restore_from and uac_restore_to; `none`: not at all. Default auto",
        ),
        text("restore_passwd", "what the addresses in the Record-Route are mixed with"),
        text("rr_from_store_param", "name of the Record-Route's parameter for From; default `vsf`"),
        text("rr_to_store_param", "name of the Record-Route's parameter for To; default `vst`"),
        ignored("restore_dlg", "the Record-Route carries the addresses"),
        ignored("restore_from_avp", "the Record-Route carries the addresses"),
        ignored("restore_to_avp", "the Record-Route carries the addresses"),
        ignored("force_dialog", "the Record-Route carries the addresses"),
        ignored("event_callback", "event routes are run"),
    ],
    any_param: false,
    needs: &["tm", "rr"],
};
