//! `uac_registrant` of OpenSIPS: registrations of this server's own, from a table with whole URIs (opensips.md 4.17).

use super::account::{LONGEST, Profile, Whole};
use super::registrations::{DATABASE, check};
use crate::base::Str;
use crate::modules::env::Env;
use crate::modules::host::SipHost;
use crate::modules::lists::{int, text};
use crate::ops::{SqlRequest, SqlValue};
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};
use crate::script::value::Value;

/// Seconds that are asked for where the table says nothing.
const EXPIRES: u32 = 3600;

/// The columns, in the order of [`NAMES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns([Str; 12]);

/// The parameters that name them, with their defaults.
const NAMES: [(&str, &str); 12] = [
    ("registrar_column", "registrar"),
    ("proxy_column", "proxy"),
    ("aor_column", "aor"),
    ("third_party_registrant_column", "third_party_registrant"),
    ("username_column", "username"),
    ("password_column", "password"),
    ("binding_URI_column", "binding_URI"),
    ("binding_params_column", "binding_params"),
    ("expiry_column", "expiry"),
    ("forced_socket_column", "forced_socket"),
    ("state_column", "state"),
    ("cluster_shtag_column", "cluster_shtag"),
];

/// The columns that say which account a row is: aor, binding_URI, registrar.
const KEY: [usize; 3] = [2, 6, 0];
const STATE: usize = 10;

impl Default for Columns {
    fn default() -> Self {
        Columns(NAMES.map(|(_, name)| Str::from(name)))
    }
}

impl Columns {
    /// Takes over the name of a column; false: the parameter is no such name.
    ///
    /// # Errors
    /// It is no name.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<bool, String> {
        let at = NAMES.iter().position(|(name, _)| *name == param);
        let Some(slot) = at.and_then(|at| self.0.get_mut(at)) else { return Ok(false) };
        let name = value.to_text().unwrap_or_default();
        crate::modules::sqlops::identifier(&name)?;
        *slot = name;
        Ok(true)
    }

    fn name(&self, at: usize) -> std::borrow::Cow<'_, str> {
        self.0.get(at).map_or("".into(), |name| name.to_lossy())
    }
}

/// The name of the account with these three URIs.
pub fn name_of(aor: &[u8], contact: &[u8], registrar: &[u8]) -> Str {
    Str::from([aor, b" ", contact, b" ", registrar].concat())
}

fn parts(env: &Env) -> Result<(&Columns, Str, std::borrow::Cow<'_, str>), String> {
    let s = &env.settings.uac.registrations;
    let columns = s.columns.as_deref().ok_or("the module uac_registrant is not loaded")?;
    let found = env.settings.db_urls.iter().find(|(n, _)| *n == DATABASE);
    let url = found
        .map(|(_, url)| url.clone())
        .ok_or("neither db_url of the module uac_registrant nor db_default_url names a database")?;
    Ok((columns, url, s.table.to_lossy()))
}

/// The query for all rows.
///
/// # Errors
/// There is no database.
pub fn all(env: &Env) -> Result<SqlRequest, String> {
    let (_, url, table) = parts(env)?;
    Ok(SqlRequest { url, query: Str::from(format!("SELECT * FROM {table}")), params: Vec::new(), then: Vec::new() })
}

fn which(columns: &Columns, name: &[u8]) -> Result<(String, Vec<SqlValue>), String> {
    let values: Vec<SqlValue> = name.split(|b| *b == b' ').map(|part| SqlValue::Text(Str::from(part))).collect();
    if values.len() != KEY.len() {
        return Err("an account is named by its aor, contact and registrar".to_string());
    }
    let tests: Vec<String> = KEY.iter().map(|at| format!("{} = ?", columns.name(*at))).collect();
    Ok((tests.join(" AND "), values))
}

/// The query for the row of an account.
///
/// # Errors
/// There is no database.
pub fn one(env: &Env, name: &[u8]) -> Result<SqlRequest, String> {
    let (columns, url, table) = parts(env)?;
    let (tests, params) = which(columns, name)?;
    Ok(SqlRequest {
        url,
        query: Str::from(format!("SELECT * FROM {table} WHERE {tests} LIMIT 1")),
        params,
        then: Vec::new(),
    })
}

/// The statement that keeps whether an account is disabled.
///
/// # Errors
/// There is no database.
pub fn keep_state(env: &Env, name: &[u8], disabled: bool) -> Result<SqlRequest, String> {
    let (columns, url, table) = parts(env)?;
    let (tests, mut params) = which(columns, name)?;
    params.insert(0, SqlValue::Int(i64::from(disabled)));
    let query = format!("UPDATE {table} SET {} = ? WHERE {tests}", columns.name(STATE));
    Ok(SqlRequest { url, query: Str::from(query), params, then: Vec::new() })
}

/// The account of a row.
///
/// # Errors
/// What is wrong with it.
pub fn read_row(env: &Env, columns: &[Str], row: &[SqlValue]) -> Result<Profile, String> {
    let names = env.settings.uac.registrations.columns.as_deref().ok_or("the module uac_registrant is not loaded")?;
    // A table of an older release has fewer of them.
    let value = |at: usize| {
        let name = names.0.get(at)?;
        row.get(columns.iter().position(|c| c.eq_ignore_ascii_case(name))?)
    };
    let field = |at: usize| text(value(at)).unwrap_or_default();
    let [registrar, proxy, aor, from, login, password, contact, params] = [0, 1, 2, 3, 4, 5, 6, 7].map(field);
    let name = name_of(&aor, &contact, &registrar);
    let wrong = |why: String| format!("`{}`: {why}", name.to_lossy());
    if !params.is_empty() && !params.starts_with(b";") {
        return Err(wrong("binding_params does not begin with a semicolon".to_string()));
    }
    if !field(11).is_empty() {
        return Err(wrong("it is for a cluster (cluster_shtag), which is not there".to_string()));
    }
    if name.len() > LONGEST {
        return Err("its URIs are too long".to_string());
    }
    let seconds = int(value(8)).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let profile = Profile {
        uuid: name.clone(),
        login,
        password,
        proxy,
        expires: seconds.unwrap_or(EXPIRES),
        disabled: int(value(STATE)).unwrap_or(0) != 0,
        socket: field(9),
        whole: Some(Box::new(Whole { registrar, aor, from, contact, params })),
        ..Profile::default()
    };
    check(env, &profile).map_err(wrong)?;
    Ok(profile)
}

const fn text_param(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

const fn number(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored: false, doc }
}

const fn column(name: &'static str) -> ModParamSpec {
    text_param(name, "name of a column")
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "uac_registrant",
    dialects: &[Dialect::OpenSips],
    functions: &[],
    params: &[
        text_param("db_url", "the database with the accounts at others' registrars; default db_default_url"),
        text_param("table_name", "its table; default registrant"),
        number(
            "timer_interval",
            "how many seconds before its end a registration is refreshed, but not before half of its time; and how many \
             seconds later what has failed is tried again; default 100",
        ),
        number("failure_retry_interval", "seconds until what has failed is tried again; default timer_interval"),
        number(
            "reregister_expiry_percentage",
            "percent of its time after which a registration is refreshed at the latest; default 100",
        ),
        column("registrar_column"),
        column("proxy_column"),
        column("aor_column"),
        column("third_party_registrant_column"),
        column("username_column"),
        column("password_column"),
        column("binding_URI_column"),
        column("binding_params_column"),
        column("expiry_column"),
        column("forced_socket_column"),
        column("state_column"),
        column("cluster_shtag_column"),
        ModParamSpec { name: "hash_size", kind: ModParamKind::Int, ignored: true, doc: "the store needs no size" },
        ModParamSpec { name: "enable_clustering", kind: ModParamKind::Int, ignored: true, doc: "there is no cluster" },
    ],
    any_param: false,
    needs: &[],
};
