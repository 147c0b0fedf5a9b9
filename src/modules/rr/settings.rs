//! Parameters of `rr`, and of `path`, which writes the same kind of address.

use crate::base::Str;
use crate::modules::nathelper::avp_name;
use crate::script::value::Value;

/// When there are two Record-Routes (`enable_double_rr`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Double {
    /// Never.
    Never,
    /// When a request leaves from another socket than it came in on.
    Different,
    /// Always.
    Always,
}

/// How Record-Routes and Paths are written and followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `append_fromtag`
    pub from_tag: bool,
    /// `enable_double_rr`
    pub double: Double,
    /// `add_username`
    pub username: bool,
    /// `custom_user_avp`: whose value takes the place of the R-URI's user.
    pub user_avp: Option<Str>,
    /// `enable_full_lr`: `lr=on`.
    pub full_lr: bool,
    /// `force_send_socket`: a single Route of ours says which socket the request leaves from.
    pub force_socket: bool,
    /// The Record-Route of a request with a `sips:` R-URI has one too (`ignore_sips`, the other way round).
    pub sips: bool,
    /// `sockname_mode`: the name of the socket stands in the Record-Route.
    pub socket_names: bool,
    /// `sockname_mode` of path.
    pub path_names: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            from_tag: true,
            double: Double::Different,
            username: false,
            user_avp: None,
            full_lr: false,
            force_socket: false,
            sips: false,
            socket_names: false,
            path_names: false,
        }
    }
}

impl Settings {
    /// Takes over a parameter of `rr` or `path`.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, module: &str, param: &str, value: &Value) -> Result<(), String> {
        let yes = value.to_int().is_some_and(|n| n != 0);
        match (module, param) {
            ("rr", "append_fromtag") => self.from_tag = yes,
            ("rr", "enable_double_rr") => {
                self.double = match value.to_int() {
                    Some(0) => Double::Never,
                    Some(2) => Double::Always,
                    _ => Double::Different,
                }
            }
            ("rr", "add_username") => self.username = yes,
            ("rr", "custom_user_avp") => {
                let text = value.to_text().unwrap_or_default();
                self.user_avp = Some(avp_name(&text).ok_or("custom_user_avp is an AVP: $avp(name)")?);
            }
            ("rr", "enable_full_lr") => self.full_lr = yes,
            ("rr", "force_send_socket") => self.force_socket = yes,
            ("rr", "ignore_sips") => self.sips = !yes,
            ("rr", "sockname_mode") => self.socket_names = yes,
            ("path", "sockname_mode") => self.path_names = yes,
            _ => {}
        }
        Ok(())
    }
}
