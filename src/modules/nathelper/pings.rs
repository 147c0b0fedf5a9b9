//! Settings of the keep-alives, and whether they are switched on.

use crate::base::Str;
use crate::modules::env::Env;
use crate::script::value::Value;
use crate::store::shared::Key;
use std::time::Duration;

/// How contacts are pinged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pings {
    /// `natping_interval`; zero: they are not.
    pub interval: Duration,
    /// `ping_nated_only`: only those with the flag that nat_bflag of usrloc names.
    pub nated_only: bool,
    /// `natping_disable_bflag`: contacts with it are not pinged.
    pub disable: Option<Str>,
    /// `sipping_bflag`: contacts with it are sent requests.
    pub flag: Option<Str>,
    /// `sipping_from`
    pub from: Option<Str>,
    /// `sipping_method`
    pub method: Str,
    /// `natping_socket`, `force_socket`
    pub socket: Option<Str>,
    /// `udpping_from_path`
    pub path: bool,
}

impl Default for Pings {
    fn default() -> Self {
        Pings {
            interval: Duration::ZERO,
            nated_only: false,
            disable: None,
            flag: None,
            from: None,
            method: Str::from("OPTIONS"),
            socket: None,
            path: false,
        }
    }
}

impl Pings {
    /// Takes over a parameter of the module.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub(super) fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().filter(|t| !t.is_empty());
        let int = value.to_int().unwrap_or(0);
        match param {
            "natping_interval" => {
                let seconds = u64::try_from(int).ok().filter(|n| *n <= 86_400);
                let seconds = seconds.ok_or("natping_interval is a number of seconds from 0 to 86400")?;
                self.interval = Duration::from_secs(seconds);
            }
            "ping_nated_only" => self.nated_only = int != 0,
            // -1 is none.
            "natping_disable_bflag" => self.disable = text.filter(|t| t[..] != *b"-1"),
            "sipping_bflag" => self.flag = text.filter(|t| t[..] != *b"-1"),
            "sipping_from" => {
                let from = text.ok_or("sipping_from is a SIP URI")?;
                if crate::sip::uri::Uri::parse(&from).is_err() {
                    return Err("sipping_from is a SIP URI".to_string());
                }
                self.from = Some(from);
            }
            "sipping_method" => {
                let method = text.filter(|t| crate::sip::bytes::is_token(t));
                self.method = method.ok_or("sipping_method is a method")?;
            }
            "natping_socket" | "force_socket" => self.socket = text,
            "udpping_from_path" => self.path = int != 0,
            _ => {}
        }
        Ok(())
    }
}

fn row() -> Key {
    Key::of(b'N').owner(b"nathelper").name(b"paused")
}

/// Whether contacts are pinged (`nathelper.enable_ping`).
pub fn pings_are_on(env: &Env) -> bool {
    let paused = env.store.as_ref().and_then(|s| s.read(|view| Ok(view.get(&row())?.is_some())).ok());
    !paused.unwrap_or(false)
}

/// Switches them on or off.
///
/// # Errors
/// Why the store cannot be written.
pub fn switch_pings(env: &Env, on: bool) -> Result<(), String> {
    let store = env.store.as_ref().ok_or("there is no shared store")?;
    let done = store.write(|change| match on {
        true => change.remove(&row()).map(|_| ()),
        false => change.put(&row(), &[]),
    });
    done.map_err(|e| e.to_string())
}
