//! `usrloc`: where the addresses of users are kept (kamailio.md section 5.2, opensips.md section 4.8). Bindings lie in
//! the shared store ([`records`]), in a database ([`sql`]), or both; `registrar` saves them and looks them up.

pub mod binding;
pub mod keepalive;
pub mod records;
mod settings;
pub mod sql;
mod variables;

pub use binding::{Binding, Record, Row};
pub use records::Records;
pub use settings::{DATABASE, DEFAULT_URL, Matching, Mode, Settings};
pub use variables::{MOST_PROFILES, Profile, get};

use super::env::Env;
use super::host::SipHost;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::ir::ArgPlan;
use crate::script::program::Program;
use crate::script::registry::ModuleSpec;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "usrloc",
    dialects: &[Dialect::Kamailio, Dialect::OpenSips],
    functions: &[],
    params: settings::PARAMS,
    any_param: false,
    needs: &[],
};

/// What a run keeps of bindings.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// What `reg_fetch_contacts` has found, by name.
    pub profiles: Vec<Profile>,
    /// A REGISTER that is being saved.
    pub saving: Option<Box<super::registrar::Saving>>,
    /// Addresses that are being looked up in a database, and what has been found.
    pub looking: Option<Box<super::registrar::Looking>>,
    /// The reply that `save` has prepared for `reg_send_reply`.
    pub prepared: Option<super::registrar::Prepared>,
    /// The q that contacts get (`set_q_override`).
    pub q: Option<u16>,
    /// The binding that `lookup` has made the R-URI of.
    pub found: Option<Found>,
}

/// What is known of a binding that has become the R-URI.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Found {
    /// Its contact: as long as that is the R-URI, the rest is about it.
    pub contact: Str,
    /// Its name.
    pub ruid: Str,
    /// Its User-Agent.
    pub agent: Str,
    /// Its `+sip.instance`, if it has one.
    pub instance: Option<Str>,
}

impl Found {
    /// As attributes of a branch.
    pub fn attributes(&self) -> Vec<(Str, Str)> {
        let mut all = vec![(Str::from("ruid"), self.ruid.clone())];
        if !self.agent.is_empty() {
            all.push((Str::from("ua"), self.agent.clone()));
        }
        all.extend(self.instance.iter().map(|i| (Str::from("instance"), i.clone())));
        all
    }

    /// From the attributes of a branch that goes to this contact.
    pub fn of(contact: &Str, attributes: &[(Str, Str)]) -> Option<Found> {
        let get = |name: &[u8]| attributes.iter().find(|(n, _)| n[..] == *name).map(|(_, v)| v.clone());
        let ruid = get(b"ruid")?;
        let agent = get(b"ua").unwrap_or_default();
        Some(Found { contact: contact.clone(), ruid, agent, instance: get(b"instance") })
    }
}

/// The tables that `preload` and the script name: those whose names stand there as they are.
pub fn tables(program: &Program<SipHost>, settings: &Settings) -> Vec<Str> {
    let mut all = settings.preload.clone();
    for site in &program.sites {
        let name = site.function.kamailio.or(site.function.opensips).unwrap_or_default();
        let first = match site.args.first() {
            Some(ArgPlan::Const(n)) => program.consts.get(*n as usize).and_then(|v| v.to_text()),
            _ => None,
        };
        if let Some(table) = first.filter(|t| TABLE_USERS.contains(&name) && sql::is_table_name(t))
            && !all.contains(&table)
        {
            all.push(table);
        }
    }
    all
}

/// Functions whose first argument is a table.
const TABLE_USERS: &[&str] = &[
    "save",
    "lookup",
    "lookup_branches",
    "lookup_to_dset",
    "registered",
    "unregister",
    "reg_fetch_contacts",
    "is_registered",
    "is_contact_registered",
    "is_ip_registered",
    "remove",
];

/// Whether the script may use bindings at all.
pub fn is_loaded(program: &Program<SipHost>) -> bool {
    program.modules.contains(&MODULE.name)
}

/// Seconds since 1970.
pub fn now(env: &Env) -> i64 {
    env.clock.micros() / 1_000_000
}

/// A table of the shared store.
///
/// # Errors
/// There is no store.
pub fn records<'a>(env: &'a Env, table: &'a [u8]) -> Result<Records<'a>, String> {
    let store = env.store.as_ref().ok_or("there is no shared store")?;
    Ok(Records { store, table })
}

/// A table of the database.
///
/// # Errors
/// There is no database, or this is no name of a table.
pub fn table<'a>(env: &'a Env, name: &'a [u8]) -> Result<sql::Table<'a>, String> {
    if !sql::is_table_name(name) {
        return Err(format!("`{}` is no name of a table", String::from_utf8_lossy(name)));
    }
    let found = env.settings.db_urls.iter().find(|(n, _)| *n == DATABASE);
    let (_, url) = found.ok_or("usrloc has no db_url")?;
    Ok(sql::Table { url, name, columns: &env.settings.usrloc.columns })
}
