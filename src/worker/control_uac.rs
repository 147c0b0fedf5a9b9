//! What the control socket knows of this server's own registrations.

use super::control_store::{MOST_SHOWN, Params};
use super::seat::CallError;
use super::state::Worker;
use crate::base::Str;
use crate::modules::uac::account::{AUTH_SENT, Account, DISABLED, ONGOING, ONLINE, Profile};
use crate::modules::uac::registrant::name_of;
use crate::modules::uac::registrations::{accounts, are_active, check, chosen, now, put, switch};
use serde_json::{Value, json};

/// The parameters of `uac.reg_add`, in their order.
const FIELDS: [&str; 15] = [
    "l_uuid",
    "l_username",
    "l_domain",
    "r_username",
    "r_domain",
    "realm",
    "auth_username",
    "auth_password",
    "auth_ha1",
    "auth_proxy",
    "expires",
    "flags",
    "reg_delay",
    "socket",
    "contact_addr",
];

fn failed(message: String) -> CallError {
    CallError { code: -32000, message }
}

fn no_account() -> CallError {
    CallError { code: 404, message: "there is no such account".into() }
}

impl Worker {
    /// Answers a method about registrations; `None`: it is answered later.
    pub(super) fn registrations_call(
        &mut self,
        id: u64,
        method: &str,
        params: &str,
    ) -> Option<Result<Value, CallError>> {
        let params = match Params::parse(params) {
            Ok(params) => params,
            Err(why) => return Some(Err(why)),
        };
        if let Err(why) = accounts(self.env()) {
            return Some(Err(CallError::not_found(why)));
        }
        match method {
            "uac.reg_reload" => self.reload_accounts(id).err().map(|why| Err(failed(why))),
            "uac.reg_refresh" => match params.text(0, "l_uuid") {
                Ok(uuid) => self.reload_account(id, Str::from(uuid)).err().map(|why| Err(failed(why))),
                Err(why) => Some(Err(why)),
            },
            _ => match method.strip_prefix("uac_registrant:").or_else(|| method.strip_prefix("reg_")) {
                Some(word) => self.registrant_method(id, word, &params).unwrap_or_else(|why| Some(Err(why))),
                None => Some(self.registrations_method(method, &params)),
            },
        }
    }

    /// The methods of OpenSIPS; `None`: it is answered later.
    fn registrant_method(
        &mut self,
        id: u64,
        word: &str,
        params: &Params,
    ) -> Result<Option<Result<Value, CallError>>, CallError> {
        let env = self.env().clone();
        let (accounts, now) = (accounts(&env).map_err(failed)?, now(&env));
        let name = match params.text(0, "aor") {
            Ok(aor) => {
                let (contact, registrar) = (params.text(1, "contact")?, params.text(2, "registrar")?);
                Some(name_of(aor.as_bytes(), contact.as_bytes(), registrar.as_bytes()))
            }
            Err(_) => None,
        };
        let one = || name.clone().ok_or_else(|| CallError::bad_params("aor, contact and registrar are missing"));
        Ok(match word {
            "list" => {
                let mut list = Vec::new();
                accounts.each(&mut |account| {
                    if name.as_ref().is_none_or(|name| *name == account.profile.uuid) {
                        list.push(listed(&account, now));
                    }
                    list.len() < MOST_SHOWN
                })?;
                Some(Ok(json!({ "Records": list })))
            }
            "reload" => {
                let begun = match name {
                    Some(name) => self.reload_account(id, name),
                    None => self.reload_accounts(id),
                };
                begun.err().map(|why| Err(failed(why)))
            }
            "enable" | "disable" => {
                let (name, disabled) = (one()?, word == "disable");
                let done = accounts.change(&name, now, |a| a.set_disabled(disabled, now))?;
                done.ok_or_else(no_account)?;
                self.keep_account_state(id, &name, disabled).err().map(|why| Err(failed(why)))
            }
            "force_register" => {
                let done = accounts.change(&one()?, now, |a| a.register_now(now))?;
                match done.ok_or_else(no_account)? {
                    true => Some(Ok(json!("OK"))),
                    false => Some(Err(failed("the account is disabled".to_string()))),
                }
            }
            _ => return Err(CallError::no_such_method()),
        })
    }

    fn registrations_method(&self, method: &str, params: &Params) -> Result<Value, CallError> {
        let env = self.env();
        let (accounts, now) = (accounts(env).map_err(failed)?, now(env));
        let contact = &env.settings.uac.registrations.contact;
        let filter = || Ok::<_, CallError>((params.text(0, "attr")?, params.text(1, "value")?));
        match method {
            "uac.reg_dump" => {
                let mut list = Vec::new();
                accounts.each(&mut |account| {
                    list.push(shown(&account, now, contact));
                    list.len() < MOST_SHOWN
                })?;
                Ok(json!(list))
            }
            "uac.reg_info" => {
                let (attribute, value) = filter()?;
                let names = chosen(env, attribute.as_bytes(), value.as_bytes()).map_err(CallError::bad_params)?;
                let first = names.first().ok_or_else(no_account)?;
                accounts.get(first)?.map(|a| shown(&a, now, contact)).ok_or_else(no_account)
            }
            "uac.reg_enable" | "uac.reg_disable" | "uac.reg_unregister" => {
                let (attribute, value) = filter()?;
                let disabled = method != "uac.reg_enable";
                match switch(env, attribute.as_bytes(), value.as_bytes(), disabled).map_err(CallError::bad_params)? {
                    0 => Err(no_account()),
                    _ => Ok(json!("OK")),
                }
            }
            "uac.reg_remove" => {
                let uuid = params.text(0, "l_uuid")?;
                let left = accounts.change(uuid.as_bytes(), now, |a| a.leave(now))?;
                left.map(|_| json!("OK")).ok_or_else(no_account)
            }
            "uac.reg_add" => self.add_account(params),
            "uac.reg_active" => match params.text(0, "mode") {
                Err(_) => Ok(json!({ "active": i32::from(are_active(env)) })),
                Ok(word) => {
                    let active = match word.as_str() {
                        "0" => false,
                        "1" => true,
                        _ => return Err(CallError::bad_params("the mode is 0 or 1")),
                    };
                    accounts.set_paused(!active)?;
                    Ok(json!("OK"))
                }
            },
            _ => Err(CallError::no_such_method()),
        }
    }

    fn add_account(&self, params: &Params) -> Result<Value, CallError> {
        let env = self.env();
        let text = |name: &str| -> Result<Str, CallError> {
            let at = FIELDS.iter().position(|f| *f == name).unwrap_or(FIELDS.len());
            // A dot stands for nothing.
            Ok(Str::from(params.text(at, name)?)).map(|t: Str| if *t == *b"." { Str::default() } else { t })
        };
        let number = |name: &str| -> Result<u32, CallError> {
            let at = FIELDS.iter().position(|f| *f == name).unwrap_or(FIELDS.len());
            let n = params.number(at, name)?;
            u32::try_from(n).map_err(|_| CallError::bad_params(format!("{name} is a number from 0 on")))
        };
        let profile = Profile {
            uuid: text("l_uuid")?,
            user: text("l_username")?,
            domain: text("l_domain")?,
            remote_user: text("r_username")?,
            remote_domain: text("r_domain")?,
            realm: text("realm")?,
            login: text("auth_username")?,
            password: text("auth_password")?,
            ha1: text("auth_ha1")?,
            proxy: text("auth_proxy")?,
            expires: number("expires")?,
            disabled: number("flags")? & DISABLED != 0,
            delay: number("reg_delay")?,
            socket: text("socket").unwrap_or_default(),
            contact: text("contact_addr").unwrap_or_default(),
            whole: None,
        };
        check(env, &profile).map_err(CallError::bad_params)?;
        let accounts = accounts(env).map_err(failed)?;
        // One of that name goes first.
        accounts.remove(&profile.uuid)?;
        match put(env, vec![profile], false).map_err(failed)? {
            0 => Ok(json!("OK")),
            _ => Err(failed("there are too many accounts".to_string())),
        }
    }
}

/// An account, with the names of OpenSIPS.
fn listed(account: &Account, now: i64) -> Value {
    let p = &account.profile;
    let text = |t: &Str| t.to_lossy().into_owned();
    let whole = p.whole.as_deref().cloned().unwrap_or_default();
    let state = match account.flags(now) {
        f if f & ONGOING != 0 && f & (DISABLED | ONLINE) == DISABLED | ONLINE => "UNREGISTERING_STATE",
        f if f & AUTH_SENT != 0 => "AUTHENTICATING_STATE",
        f if f & ONGOING != 0 => "REGISTERING_STATE",
        f if f & ONLINE != 0 => "REGISTERED_STATE",
        _ if account.last.is_empty() || *account.last == *b"unregistered" => "NOT_REGISTERED_STATE",
        _ if *account.last == *b"no answer" => "REGISTER_TIMEOUT_STATE",
        _ if account.last.starts_with(b"401") || account.last.starts_with(b"407") => "WRONG_CREDENTIALS_STATE",
        _ => "REGISTRAR_ERROR_STATE",
    };
    json!({
        "AOR": text(&whole.aor), "expires": p.expires, "state": state, "enabled": if account.disabled { "no" } else { "yes" },
        "registrar": text(&whole.registrar), "binding": text(&whole.contact), "forced_socket": text(&p.socket),
        "registration_t_out": account.ends, "next": account.due, "last": text(&account.last),
    })
}

/// An account, with the names that Kamailio's command shows. `contact`: `reg_contact_addr`.
fn shown(account: &Account, now: i64, contact: &Str) -> Value {
    let p = &account.profile;
    let contact = if p.contact.is_empty() { contact } else { &p.contact };
    let socket = Some(&p.socket).filter(|s| !s.is_empty()).map(|s| s.to_lossy());
    let text = |t: &Str| t.to_lossy().into_owned();
    let left = if account.is_online(now) { account.ends - now } else { 0 };
    json!({
        "l_uuid": text(&p.uuid), "l_username": text(&p.user), "l_domain": text(&p.domain),
        "r_username": text(&p.remote_user), "r_domain": text(&p.remote_domain), "realm": text(&p.realm),
        "auth_username": text(&p.login), "auth_password": text(&p.password), "auth_ha1": text(&p.ha1),
        "auth_proxy": text(&p.proxy), "expires": p.expires, "flags": account.flags(now), "diff_expires": left,
        "timer_expires": account.ends, "next": account.due, "reg_init": account.begun, "reg_delay": p.delay,
        "contact_addr": text(contact), "socket": socket, "last": text(&account.last),
    })
}
