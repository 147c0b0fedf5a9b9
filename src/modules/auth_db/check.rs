//! Credentials against a table: what can be judged at once, the query, the proof.

use super::{identifier, query};
use crate::base::Str;
use crate::modules::auth::check::{self, Secret, Spend};
use crate::modules::auth::{Side, Verdict};
use crate::modules::host::SipHost;
use crate::modules::request::Outcome;
use crate::ops::{self, SqlResult, SqlValue};
use crate::script::ast::Dialect;
use crate::script::registry::{Call, Step};
use crate::script::value::Value;

/// How a function of one language checks credentials.
#[derive(Clone, Debug)]
pub struct Check {
    /// Which header.
    pub side: Side,
    /// The language.
    pub dialect: Dialect,
    /// The realm.
    pub realm: Str,
    /// The table.
    pub table: Str,
    /// Another method than the request's.
    pub method: Option<Str>,
}

impl Check {
    /// Judges what can be, and asks for the password.
    pub fn start(&self, call: &mut Call<'_, SipHost>) -> Step<SipHost> {
        if let Err(verdict) = check::begin(call.host, self.side, &self.realm, Spend::First) {
            return Step::Done(verdict.code(self.dialect));
        }
        let Some((user, domain)) = check::user(call.host, self.side, &self.realm) else {
            return Step::Done(Verdict::Error.code(self.dialect));
        };
        let by_algorithm = self.dialect == Dialect::OpenSips;
        let s = &call.host.env().settings.auth_db;
        let algorithm = check::algorithm(call.host, self.side, &self.realm);
        let column = s.column(algorithm, domain.is_some(), by_algorithm);
        let built = identifier(&self.table).map(|table| {
            let mut text = format!("SELECT {}", column.to_lossy());
            for (_, column) in &s.load {
                text.push_str(", ");
                text.push_str(&column.to_lossy());
            }
            text.push_str(&format!(" FROM {table} WHERE {} = ?", s.user.to_lossy()));
            let mut params = vec![SqlValue::Text(user)];
            if s.use_domain {
                text.push_str(&format!(" AND {} = ?", s.domain.to_lossy()));
                params.push(SqlValue::Text(domain.unwrap_or_else(|| self.realm.clone())));
            }
            (text, params)
        });
        match built {
            Ok((text, params)) => query(call, text, params),
            Err(why) => Step::Fail(why),
        }
    }

    /// The database has answered: the verdict. What `load_credentials` names is in its AVPs if the credentials are right.
    pub fn end(&self, call: &mut Call<'_, SipHost>, outcome: Outcome) -> Result<Verdict, i32> {
        let Outcome::Op(ops::Outcome::Sql(result)) = outcome else {
            return Err(match outcome.failure_code() {
                // Scripts tell it from other errors; those of OpenSIPS have their own number for errors.
                -1 => Verdict::Error.code(self.dialect),
                code => code,
            });
        };
        let Some(row) = result.rows.first() else { return Ok(Verdict::UnknownUser) };
        let stored = row.first().and_then(text).unwrap_or_default();
        if stored.is_empty() {
            return Ok(Verdict::WrongPassword);
        }
        let clear = call.host.env().settings.auth_db.clear_text;
        let secret = if clear { Secret::Clear(&stored) } else { Secret::Ha1(&stored) };
        let verdict = check::prove(call.host, self.side, &self.realm, secret, self.method.as_deref(), Spend::First);
        let forced = call.host.env().settings.auth_db.load_anyway && verdict == Verdict::WrongPassword;
        if verdict == Verdict::Accepted || forced {
            load(call, &result, 1);
        }
        Ok(verdict)
    }
}

/// Puts the columns of `load_credentials` into their AVPs; the first of them is the row's column `from`.
pub fn load(call: &mut Call<'_, SipHost>, result: &SqlResult, from: usize) {
    let Some(row) = result.rows.first() else { return };
    let load = call.host.env().settings.auth_db.load.clone();
    for ((avp, _), field) in load.iter().zip(row.iter().skip(from)) {
        let value = match field {
            SqlValue::Null => continue,
            SqlValue::Int(n) | SqlValue::Time(n) => Value::Int(*n),
            SqlValue::Text(t) => Value::Str(t.clone()),
        };
        call.vm().push_avp(avp, value);
    }
}

/// A field as text; `None` for NULL.
pub fn text(field: &SqlValue) -> Option<Str> {
    match field {
        SqlValue::Null => None,
        SqlValue::Int(n) | SqlValue::Time(n) => Some(Str::from(n.to_string())),
        SqlValue::Text(t) => Some(t.clone()),
    }
}
