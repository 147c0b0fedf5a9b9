//! `auth_db`: passwords from a database (kamailio.md section 5.5, opensips.md section 4.12). The script waits for the
//! query, the worker does not.

mod check;
mod kamailio;
mod opensips;
mod uri;

pub use kamailio::MODULE as KAMAILIO;
pub use opensips::MODULE as OPENSIPS;

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::Request;
use crate::ops::{self, SqlRequest, SqlValue};
use crate::script::registry::{Call, ModParamKind, ModParamSpec, Step};
use crate::script::value::Value;
use crate::sip::digest::Algorithm;

/// The number of its database among all of a server's.
pub const DATABASE: i64 = i64::MAX - 1;

/// Where users and what is known of their passwords are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `user_column`
    pub user: Str,
    /// `domain_column`
    pub domain: Str,
    /// `password_column`
    pub password: Str,
    /// `password_column_2`: the hash of the name with its domain.
    pub password_2: Str,
    /// `hash_column_sha256`
    pub sha256: Str,
    /// `hash_column_sha512t256`
    pub sha512t256: Str,
    /// `calculate_ha1`: `password` holds passwords, not hashes.
    pub clear_text: bool,
    /// `use_domain`
    pub use_domain: bool,
    /// `load_credentials`: AVP and column.
    pub load: Vec<(Str, Str)>,
    /// `force_generate_avps`: they go there with a wrong password, too.
    pub load_anyway: bool,
    /// `uri_user_column`
    pub uri_user: Str,
    /// `uri_domain_column`
    pub uri_domain: Str,
    /// `uri_uriuser_column`
    pub uri_uriuser: Str,
}

impl Default for Settings {
    /// What OpenSIPS has.
    fn default() -> Settings {
        Settings {
            user: Str::from("username"),
            domain: Str::from("domain"),
            password: Str::from("ha1"),
            password_2: Str::from("ha1b"),
            sha256: Str::from("ha1_sha256"),
            sha512t256: Str::from("ha1_sha512t256"),
            clear_text: false,
            use_domain: true,
            load: Vec::new(),
            load_anyway: false,
            uri_user: Str::from("username"),
            uri_domain: Str::from("domain"),
            uri_uriuser: Str::from("uri_user"),
        }
    }
}

impl Settings {
    /// What Kamailio has.
    pub fn of_kamailio() -> Settings {
        Settings { use_domain: false, ..Settings::default() }
    }

    /// Takes over a parameter.
    ///
    /// # Errors
    /// What its value should be.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
        let column = || identifier(&text).map(Str::from);
        let yes = value.to_int().is_some_and(|n| n != 0);
        match name {
            "user_column" => self.user = column()?,
            "domain_column" => self.domain = column()?,
            "password_column" => self.password = column()?,
            "password_column_2" => self.password_2 = column()?,
            "hash_column_sha256" => self.sha256 = column()?,
            "hash_column_sha512t256" => self.sha512t256 = column()?,
            "uri_user_column" => self.uri_user = column()?,
            "uri_domain_column" => self.uri_domain = column()?,
            "uri_uriuser_column" => self.uri_uriuser = column()?,
            "calculate_ha1" => self.clear_text = yes,
            "use_domain" => self.use_domain = yes,
            "load_credentials" => self.load = columns(&text.to_lossy())?,
            "force_generate_avps" => self.load_anyway = yes,
            _ => {}
        }
        Ok(())
    }

    /// The column for an algorithm; `with_domain`: the name in the credentials has a domain.
    fn column(&self, algorithm: Algorithm, with_domain: bool, by_algorithm: bool) -> &Str {
        match algorithm.plain() {
            _ if self.clear_text => &self.password,
            Algorithm::Sha256 if by_algorithm => &self.sha256,
            Algorithm::Sha512t256 if by_algorithm => &self.sha512t256,
            _ if with_domain && !by_algorithm => &self.password_2,
            _ => &self.password,
        }
    }
}

/// Reads `$avp(name)=column;column`.
fn columns(text: &str) -> Result<Vec<(Str, Str)>, String> {
    let mut out = Vec::new();
    for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let (avp, column) = match part.split_once('=') {
            Some((avp, column)) => {
                let name = avp.trim().strip_prefix("$avp(").and_then(|a| a.strip_suffix(')'));
                (name.ok_or_else(|| format!("`{avp}` is no AVP: $avp(name)=column"))?, column.trim())
            }
            None => (part, part),
        };
        out.push((Str::from(avp), Str::from(identifier(column.as_bytes())?)));
    }
    Ok(out)
}

/// A name as it may stand in a statement.
fn identifier(name: &[u8]) -> Result<&str, String> {
    crate::modules::sqlops::identifier(name)
}

/// Waits for a query on the module's database.
fn query(call: &Call<'_, SipHost>, query: String, params: Vec<SqlValue>) -> Step<SipHost> {
    let urls = &call.host.env().settings.db_urls;
    let find = |number| urls.iter().find(|(n, _)| *n == number);
    let Some((_, url)) = find(DATABASE).or_else(|| find(0)) else {
        return Step::Fail("auth_db has no database: modparam(\"auth_db\", \"db_url\", \"mysql://...\")".to_string());
    };
    let op = ops::Request::Sql(SqlRequest { url: url.clone(), query: Str::from(query), params, then: Vec::new() });
    Step::Wait(Request::Op { op, limit: None })
}

const fn param(name: &'static str, kind: ModParamKind, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored: false, doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

const INT: ModParamKind = ModParamKind::Int;
const STR: ModParamKind = ModParamKind::Str;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_their_avps() {
        let read = |text| columns(text).unwrap().iter().map(|(a, c)| format!("{a}<{c}")).collect::<Vec<_>>();
        assert_eq!(read("$avp(i:123)=rpid; email_address;"), ["i:123<rpid", "email_address<email_address"]);
        assert_eq!(read(""), Vec::<String>::new());
        for bad in ["$var(x)=rpid", "a b", "rpid;1=1--", "$avp(x)=c'"] {
            assert!(columns(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parameters_are_read_or_refused() {
        let mut s = Settings::of_kamailio();
        assert_eq!((s.use_domain, s.load.len()), (false, 0));
        for (name, value) in
            [("password_column", "password"), ("calculate_ha1", "1"), ("load_credentials", "rpid;email")]
        {
            assert_eq!(s.set(name, &Value::from(value)), Ok(()));
        }
        assert_eq!((s.clear_text, s.load.len()), (true, 2));
        assert_eq!(&**s.column(Algorithm::Sha256, true, false), b"password");
        assert!(s.set("user_column", &Value::from("name; DROP TABLE x")).is_err());
        let s = Settings::default();
        assert_eq!(&**s.column(Algorithm::Sha512t256Sess, true, true), b"ha1_sha512t256");
        assert_eq!(&**s.column(Algorithm::Md5, true, true), b"ha1");
        assert_eq!(&**s.column(Algorithm::Md5, true, false), b"ha1b");
    }
}
