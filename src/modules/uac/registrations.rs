//! Registrations of this server's own at others' registrars: parameters, the table that names the accounts, and how both
//! come to be accounts in the shared store.

use super::account::{Account, LONGEST, Policy, Profile};
use super::accounts::Accounts;
use super::registrant;
use crate::base::Str;
use crate::modules::env::Env;
use crate::modules::lists::{int, text};
use crate::modules::pv_get::random;
use crate::ops::{SqlRequest, SqlValue};
use crate::script::value::Value;
use crate::sip::uri::Uri;

/// Number of the module's database.
pub const DATABASE: i64 = i64::MIN + (1 << 40) + 6;
/// Rows that are read at a time.
pub const PAGE: usize = 250;
/// Seconds after which an attempt without any end is over, beyond what a transaction may take.
const PATIENCE: i64 = 8;
/// Longest intervals, seconds.
const YEAR: i64 = 365 * 86_400;

/// The columns of the table.
const COLUMNS: &str = "l_uuid, l_username, l_domain, r_username, r_domain, realm, auth_username, auth_password, auth_ha1, \
                       auth_proxy, expires, flags, reg_delay, contact_addr, socket";

/// The parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `reg_db_table`
    pub table: Str,
    /// `reg_contact_addr`: host and port of the Contacts.
    pub contact: Str,
    /// `reg_timer_interval`, seconds
    pub interval: i64,
    /// `reg_retry_interval`, seconds
    pub retry: i64,
    /// `reg_keep_callid`
    pub keep_callid: bool,
    /// `reg_random_delay`, seconds
    pub random_delay: u32,
    /// `reg_active`
    pub active: bool,
    /// `reg_use_domain`
    pub use_domain: bool,
    /// A database is named.
    pub database: bool,
    /// uac_registrant is loaded: the columns of its table.
    pub columns: Option<Box<registrant::Columns>>,
    /// uac_registrant: `reregister_expiry_percentage`
    pub percent: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            table: Str::from("uacreg"),
            contact: Str::default(),
            interval: 90,
            retry: 0,
            keep_callid: false,
            random_delay: 0,
            active: true,
            use_domain: false,
            database: false,
            columns: None,
            percent: 100,
        }
    }
}

impl Settings {
    /// Takes over a parameter.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let number = value.to_int();
        let value = value.to_text().unwrap_or_default();
        let range = |least: i64, most: i64| {
            let fits = number.filter(|n| (least..=most).contains(n));
            fits.ok_or_else(|| format!("{param} is a number from {least} to {most}"))
        };
        match param {
            "reg_db_url" => self.database = !value.is_empty(),
            "reg_db_table" => {
                crate::modules::sqlops::identifier(&value)?;
                self.table = value;
            }
            "reg_contact_addr" => {
                let uri = [b"sip:x@", &value[..]].concat();
                if value.len() > LONGEST || value.starts_with(b"sip:") || Uri::parse(&uri).is_err() {
                    return Err(
                        "reg_contact_addr is `HOST`, `HOST:PORT` or these with parameters, without `sip:`".into()
                    );
                }
                self.contact = value;
            }
            "reg_timer_interval" => self.interval = range(1, YEAR)?,
            "reg_retry_interval" => self.retry = range(0, YEAR)?,
            "reg_keep_callid" => self.keep_callid = number.is_some_and(|n| n != 0),
            "reg_random_delay" => self.random_delay = u32::try_from(range(0, YEAR)?).unwrap_or(0),
            "reg_active" => self.active = number.is_some_and(|n| n != 0),
            "reg_use_domain" => self.use_domain = number.is_some_and(|n| n != 0),
            _ => {}
        }
        Ok(())
    }

    /// The module uac_registrant is loaded.
    pub fn of_opensips() -> Settings {
        let columns = Some(Box::default());
        let table = Str::from("registrant");
        Settings { table, interval: 100, retry: 100, keep_callid: true, database: true, columns, ..Settings::default() }
    }

    /// Takes over a parameter of uac_registrant.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set_registrant(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let range = |least: i64, most: i64| {
            let fits = value.to_int().filter(|n| (least..=most).contains(n));
            fits.ok_or_else(|| format!("{param} is a number from {least} to {most}"))
        };
        if self.columns.is_none() {
            *self = Settings::of_opensips();
        }
        match param {
            "table_name" => self.set("reg_db_table", value)?,
            "timer_interval" => {
                // Unless said otherwise, it is both.
                let before = std::mem::replace(&mut self.interval, range(1, YEAR)?);
                if self.retry == before {
                    self.retry = self.interval;
                }
            }
            "failure_retry_interval" => self.retry = range(1, YEAR)?,
            "reregister_expiry_percentage" => self.percent = range(1, 100)?,
            param => {
                if let Some(columns) = &mut self.columns {
                    columns.set(param, value)?;
                }
            }
        }
        Ok(())
    }

    /// Whether there are to be registrations.
    pub fn is_on(&self) -> bool {
        !self.contact.is_empty() || self.columns.is_some()
    }
}

/// How accounts are looked after.
pub fn policy(env: &Env) -> Policy {
    let s = &env.settings.uac.registrations;
    let transaction = i64::try_from(env.settings.fr_timeout.max(32)).unwrap_or(YEAR).min(YEAR);
    Policy {
        // Kamailio takes three seconds more.
        margin: s.interval.saturating_add(if s.columns.is_some() { 0 } else { 3 }),
        percent: s.percent,
        retry: s.retry,
        keep_callid: s.keep_callid,
        patience: transaction.saturating_add(PATIENCE),
    }
}

/// The accounts.
///
/// # Errors
/// Why there are none.
pub fn accounts(env: &Env) -> Result<Accounts<'_>, String> {
    if !env.settings.uac.registrations.is_on() {
        return Err(
            "there are no registrations: reg_contact_addr of the module uac is not set, or the module not loaded"
                .to_string(),
        );
    }
    env.store.as_ref().map(Accounts).ok_or_else(|| "there is no shared store".to_string())
}

/// Seconds since 1970.
pub fn now(env: &Env) -> i64 {
    env.clock.micros() / 1_000_000
}

/// Whether accounts are registered at present.
pub fn are_active(env: &Env) -> bool {
    let said = accounts(env).ok().and_then(|a| a.paused().ok()).flatten();
    said.map_or(env.settings.uac.registrations.active, |paused| !paused)
}

fn url(env: &Env) -> Result<Str, String> {
    let found = env.settings.db_urls.iter().find(|(n, _)| *n == DATABASE);
    found.map(|(_, url)| url.clone()).ok_or_else(|| "reg_db_url of the module uac names no database".to_string())
}

/// Whether the table is read some rows at a time.
pub fn is_paged(env: &Env) -> bool {
    env.settings.uac.registrations.columns.is_none()
}

/// The query for some rows, behind a name.
///
/// # Errors
/// There is no database.
pub fn page(env: &Env, after: &Str) -> Result<SqlRequest, String> {
    if env.settings.uac.registrations.columns.is_some() {
        return registrant::all(env);
    }
    let table = env.settings.uac.registrations.table.to_lossy();
    let query = format!("SELECT {COLUMNS} FROM {table} WHERE l_uuid > ? ORDER BY l_uuid LIMIT {PAGE}");
    Ok(SqlRequest {
        url: url(env)?,
        query: Str::from(query),
        params: vec![SqlValue::Text(after.clone())],
        then: Vec::new(),
    })
}

/// The query for the row of a name.
///
/// # Errors
/// There is no database.
pub fn one(env: &Env, uuid: &[u8]) -> Result<SqlRequest, String> {
    if env.settings.uac.registrations.columns.is_some() {
        return registrant::one(env, uuid);
    }
    let table = env.settings.uac.registrations.table.to_lossy();
    let query = format!("SELECT {COLUMNS} FROM {table} WHERE l_uuid = ? LIMIT 1");
    Ok(SqlRequest {
        url: url(env)?,
        query: Str::from(query),
        params: vec![SqlValue::Text(Str::from(uuid))],
        then: Vec::new(),
    })
}

/// The account of a row.
///
/// # Errors
/// What is wrong with it.
pub fn read_row(env: &Env, columns: &[Str], row: &[SqlValue]) -> Result<Profile, String> {
    if env.settings.uac.registrations.columns.is_some() {
        return registrant::read_row(env, columns, row);
    }
    let field = |n: usize| text(row.get(n)).unwrap_or_default();
    let number = |n: usize| int(row.get(n)).unwrap_or(0);
    let seconds = |n: usize| u32::try_from(number(n).clamp(0, 10 * YEAR)).unwrap_or(0);
    let profile = Profile {
        uuid: field(0),
        user: field(1),
        domain: field(2),
        remote_user: field(3),
        remote_domain: field(4),
        realm: field(5),
        login: field(6),
        password: field(7),
        ha1: field(8),
        proxy: field(9),
        expires: seconds(10),
        disabled: number(11) & i64::from(super::account::DISABLED) != 0,
        delay: seconds(12),
        contact: field(13),
        socket: field(14),
        whole: None,
    };
    check(env, &profile).map_err(|why| format!("`{}`: {why}", profile.uuid.to_lossy()))?;
    Ok(profile)
}

/// Whether an account can be used here.
///
/// # Errors
/// What is wrong with it.
pub fn check(env: &Env, profile: &Profile) -> Result<(), String> {
    profile.check(&env.settings.uac.registrations.contact)?;
    match profile.socket.is_empty() || env.find_listener(&profile.socket).is_some() {
        true => Ok(()),
        false => Err(format!("there is no listening socket `{}`", profile.socket.to_lossy())),
    }
}

/// Writes accounts; `again`: they are registered anew in any case. How many found no room.
///
/// # Errors
/// Why they cannot be written.
pub fn put(env: &Env, profiles: Vec<Profile>, again: bool) -> Result<usize, String> {
    let now = now(env);
    let most = env.settings.uac.registrations.random_delay;
    let written = accounts(env)?.put(profiles, &|old, profile| {
        let drawn = || random_below(env, most);
        let delay = if profile.delay > 0 { profile.delay } else { drawn() };
        match old {
            Some(old) => old.renewed(profile, now, delay, again),
            None => Account::new(profile, now, if again { 0 } else { delay }),
        }
    });
    written.map_err(|e| e.to_string())
}

fn random_below(env: &Env, most: u32) -> u32 {
    let time = crate::base::Time::from_micros(env.clock.micros().unsigned_abs());
    if most == 0 { 0 } else { random(time) % most }
}

/// What accounts can be found by.
pub const ATTRIBUTES: [&str; 4] = ["l_uuid", "l_username", "r_username", "auth_username"];

/// Which accounts are meant: those whose attribute has this value.
///
/// # Errors
/// There is no such attribute.
pub fn chosen(env: &Env, attribute: &[u8], value: &[u8]) -> Result<Vec<Str>, String> {
    let accounts = accounts(env)?;
    let field: fn(&Profile) -> &Str = match attribute {
        b"l_uuid" => {
            let found = accounts.get(value).map_err(|e| e.to_string())?;
            return Ok(found.map(|a| a.profile.uuid).into_iter().collect());
        }
        b"l_username" => {
            let found = accounts.all_of_user(value).map_err(|e| e.to_string())?;
            return Ok(found.into_iter().map(|a| a.profile.uuid).collect());
        }
        b"r_username" => |p| &p.remote_user,
        b"auth_username" => |p| &p.login,
        _ => {
            let word = String::from_utf8_lossy(attribute);
            return Err(format!("`{word}` is none of the attributes {}", ATTRIBUTES.join(", ")));
        }
    };
    accounts.chosen(&|a| **field(&a.profile) == *value).map_err(|e| e.to_string())
}

/// Enables or disables accounts; how many.
///
/// # Errors
/// Why it cannot be done.
pub fn switch(env: &Env, attribute: &[u8], value: &[u8], disabled: bool) -> Result<usize, String> {
    let now = now(env);
    let accounts = accounts(env)?;
    let mut n = 0;
    for uuid in chosen(env, attribute, value)? {
        let done = accounts.change(&uuid, now, |a| a.set_disabled(disabled, now)).map_err(|e| e.to_string())?;
        n += usize::from(done.is_some());
    }
    Ok(n)
}
