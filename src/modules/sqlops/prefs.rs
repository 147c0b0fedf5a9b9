//! AVPs kept per user in a table: `sql_avp_load`, `sql_avp_store`, `sql_avp_delete`, and the same
//! under avpops' names.

use super::query::{OPEN, rows, value};
use super::{finish_code, identifier, statement};
use crate::base::Str;
use crate::modules::avpops::name::{self, Which};
use crate::modules::env::Scheme;
use crate::modules::host::SipHost;
use crate::modules::request::Outcome;
use crate::ops::SqlValue;
use crate::script::registry::{Arg, Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::sip::uri::Uri;

/// Most values that one call stores.
const MAX_STORED: usize = 1000;

/// Bit of the type column: the value is a number.
const TYPE_NUMBER: i64 = 2;

/// `sql_avp_load`
pub const SQL_AVP_LOAD: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_avp_load"),
    kamailio: None,
    params: &[
        Param::req("source", Kind::Str),
        Param::req("name", Kind::RawOrOut),
        Param::opt("db_id", Kind::Int),
        Param::opt("prefix", Kind::Str),
    ],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Loads AVPs of a user from the table `usr_table`. Source: a SIP URI, of which user (and, with use_domain, \
          domain) are looked up, or `URI/username`, `URI/domain`, `URI/uri` (both); any other text is a uuid, also \
          `TEXT/uuid`. Name: `$avp(x)`, or `a` for all of the user's AVPs; `/table` behind it names another table, `/$NAME` a db_scheme. \
          The first row becomes index 0; bit 2 of the type column marks a number. Prefix is put before the AVPs' \
          names.",
    returns: &[(1, "something was loaded"), (-1, "nothing was found, or an error (see $async_err)"), OPEN],
    example: r#"sql_avp_load("$fu", "$avp(callforward)");"#,
    run: |call| load(call, true),
    finish: Some(loaded),
};

/// `sql_avp_store`
pub const SQL_AVP_STORE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_avp_store"),
    params: &[Param::req("source", Kind::Str), Param::req("name", Kind::RawOrOut), Param::opt("db_id", Kind::Int)],
    doc: "Adds the values of an AVP (`a`: of all AVPs) to the table, as rows of a user; what is there stays. \
          Arguments as for sql_avp_load.",
    returns: &[(1, "stored"), (-1, "the AVP is not set, or an error (see $async_err)"), OPEN],
    example: r#"sql_avp_store("$fu", "$avp(callforward)");"#,
    run: |call| store(call, true),
    finish: Some(finish_code),
    ..SQL_AVP_LOAD
};

/// `sql_avp_delete`
pub const SQL_AVP_DELETE: FnSpec<SipHost> = FnSpec {
    opensips: Some("sql_avp_delete"),
    doc: "Removes a user's AVP (`a`: all) from the table. Arguments as for sql_avp_load.",
    returns: &[(1, "done, whether or not there was one"), (-1, "an error (see $async_err)"), OPEN],
    example: r#"sql_avp_delete("$fu/username", "$avp(callforward)");"#,
    run: |call| delete(call, true),
    ..SQL_AVP_STORE
};

/// Starts loading; `domain`: whether the domain counts where nothing is configured.
pub fn load(call: &mut Call<'_, SipHost>, domain: bool) -> Step<SipHost> {
    built(call, |call| {
        let what = What::of(call, domain)?;
        let t = &call.host.env().settings.usr;
        let (attribute, kind, value) = (identifier(&t.attribute)?, identifier(&t.kind)?, identifier(&t.value)?);
        let mut text = match &what.scheme {
            None => format!("SELECT {attribute}, {kind}, {value} FROM {}", what.table),
            Some(s) => format!("SELECT {} FROM {}", s.value.as_ref().map_or(Ok(value), |v| identifier(v))?, what.table),
        };
        let params = what.filter(call, &mut text)?;
        Ok(Some((text, params)))
    })
}

/// Starts storing.
pub fn store(call: &mut Call<'_, SipHost>, domain: bool) -> Step<SipHost> {
    built(call, |call| {
        let what = What::of(call, domain)?;
        let avps = match &what.which {
            Which::One(avp) => vec![(avp.name.clone(), call.vm().avp(&avp.name))],
            Which::All => call.vm().avps(),
        };
        let count: usize = avps.iter().map(|(_, values)| values.len()).sum();
        if count > MAX_STORED {
            return Err(format!("{count} values; at most {MAX_STORED} are stored by one call"));
        }
        if count == 0 {
            return Ok(None);
        }
        let t = &call.host.env().settings.usr;
        let mut names = match &what.scheme {
            None => vec![identifier(&t.attribute)?, identifier(&t.kind)?, identifier(&t.value)?],
            Some(s) => vec![identifier(s.value.as_ref().unwrap_or(&t.value))?],
        };
        let mut owner = Vec::new();
        for (column, value) in what.keys(call) {
            names.push(identifier(column)?);
            owner.push(SqlValue::Text(value.clone()));
        }
        let row = format!("({})", vec!["?"; names.len()].join(", "));
        let text = format!("INSERT INTO {} ({}) VALUES {}", what.table, names.join(", "), vec![row; count].join(", "));
        let mut params = Vec::with_capacity(count * names.len());
        for (name, values) in avps {
            for value in values {
                if what.scheme.is_none() {
                    let kind = if value.as_int().is_some() { TYPE_NUMBER } else { 0 };
                    params.push(SqlValue::Text(name.clone()));
                    params.push(SqlValue::Int(kind));
                }
                params.push(SqlValue::Text(value.to_text().unwrap_or_default()));
                params.extend(owner.iter().cloned());
            }
        }
        Ok(Some((text, params)))
    })
}

/// Starts removing.
pub fn delete(call: &mut Call<'_, SipHost>, domain: bool) -> Step<SipHost> {
    built(call, |call| {
        let what = What::of(call, domain)?;
        let mut text = format!("DELETE FROM {}", what.table);
        let params = what.filter(call, &mut text)?;
        Ok(Some((text, params)))
    })
}

fn built(
    call: &mut Call<'_, SipHost>,
    make: impl FnOnce(&mut Call<'_, SipHost>) -> Result<Option<(String, Vec<SqlValue>)>, String>,
) -> Step<SipHost> {
    match make(call) {
        Ok(Some((text, params))) => statement(call, 2, Str::from(text), params),
        Ok(None) => Step::Done(-1),
        Err(why) => Step::Fail(why),
    }
}

/// Delivers what was loaded.
pub fn loaded(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let result = match rows(outcome) {
        Ok(result) => result,
        // Nothing found is -1 here.
        Err(code) => return Step::Done(if code == -2 { -1 } else { code }),
    };
    let prefix = call.text(3).unwrap_or_default();
    // Of a scheme's table only the value was asked for: name and type are known.
    let named = match call.args.get(1).and_then(|_| scheme_of(call)) {
        Some((name, scheme)) => Some((name, scheme.number)),
        None => None,
    };
    // AVPs push: the last row goes first.
    for row in result.rows.iter().rev() {
        if let (Some((name, number)), [field]) = (&named, row.as_slice()) {
            let v = match value(field) {
                v @ Value::Str(_) if *number => v.to_int().map_or(v, Value::Int),
                Value::Int(n) if !number => Value::text(n.to_string()),
                // An account without this attribute.
                Value::Null => continue,
                v => v,
            };
            call.vm().push_avp(&[&prefix[..], name].concat(), v);
            continue;
        }
        let [attribute, kind, text] = row.as_slice() else { return Step::Done(-1) };
        let name = [&prefix[..], &value(attribute).to_text().unwrap_or_default()].concat();
        let number = value(kind).to_int().unwrap_or(0) & TYPE_NUMBER != 0;
        let v = match value(text) {
            v @ Value::Str(_) if number => v.to_int().map_or(v, Value::Int),
            Value::Int(n) if !number => Value::text(n.to_string()),
            Value::Null => Value::text(""),
            v => v,
        };
        call.vm().push_avp(&name, v);
    }
    Step::Done(1)
}

/// AVP and scheme that the second argument names, if it is `$avp(x)/$SCHEME`.
fn scheme_of(call: &mut Call<'_, SipHost>) -> Option<(Str, Scheme)> {
    let text = match call.args.get(1) {
        Some(Arg::Out(_)) | None => return None,
        _ => call.text(1)?,
    };
    let parts = name::parts(&text);
    let wanted = parts.get(1)?.strip_prefix(b"$")?.to_vec();
    let Ok(Which::One(avp)) = name::which(call, parts.first()?) else { return None };
    let schemes = &call.host.env().settings.usr.schemes;
    let (_, scheme) = schemes.iter().find(|(n, _)| **n == *wanted)?;
    Some((avp.name, scheme.clone()))
}

/// Which rows a call means.
struct What {
    table: String,
    which: Which,
    owner: Owner,
    scheme: Option<Scheme>,
}

/// Whose rows.
#[derive(Default, Debug, PartialEq)]
struct Owner {
    uuid: Option<Str>,
    username: Option<Str>,
    domain: Option<Str>,
}

impl What {
    fn of(call: &mut Call<'_, SipHost>, domain: bool) -> Result<What, String> {
        let t = &call.host.env().settings.usr;
        let use_domain = t.use_domain.unwrap_or(domain);
        let mut table = identifier(&t.table)?.to_string();
        let mut scheme = None;
        let source = call.text(0).unwrap_or_default();
        let owner = Owner::of(&source, use_domain)?;
        let which = match call.args.get(1) {
            Some(Arg::Out(out)) => Which::One(name::avp_of(out)?),
            _ => {
                let text = call.text(1).unwrap_or_default();
                let mut parts = name::parts(&text).into_iter();
                let which = name::which(call, parts.next().unwrap_or_default())?;
                match parts.next() {
                    Some(named) if named.first() == Some(&b'$') => {
                        if matches!(which, Which::All) {
                            return Err("a scheme's table has one column: one AVP must be named".to_string());
                        }
                        let Some((_, found)) = scheme_of(call) else {
                            let text = String::from_utf8_lossy(named.get(1..).unwrap_or_default()).into_owned();
                            return Err(format!("no db_scheme named `{text}` is configured"));
                        };
                        if let Some(other) = &found.table {
                            table = identifier(other)?.to_string();
                        }
                        scheme = Some(found);
                    }
                    Some(other) => table = identifier(other)?.to_string(),
                    None => {}
                }
                which
            }
        };
        Ok(What { table, which, owner, scheme })
    }

    /// The columns that say whose rows, with their values.
    fn keys<'a>(&'a self, call: &'a Call<'_, SipHost>) -> Vec<(&'a Str, &'a Str)> {
        let t = &call.host.env().settings.usr;
        let of = |pick: fn(&Scheme) -> &Option<Str>| self.scheme.as_ref().and_then(|s| pick(s).as_ref());
        let uuid = of(|s| &s.uuid).unwrap_or(&t.uuid);
        let username = of(|s| &s.username).unwrap_or(&t.username);
        let domain = of(|s| &s.domain).unwrap_or(&t.domain);
        let all = [(uuid, &self.owner.uuid), (username, &self.owner.username), (domain, &self.owner.domain)];
        all.into_iter().filter_map(|(column, value)| Some((column, value.as_ref()?))).collect()
    }

    /// Appends ` WHERE ...`; gives the values.
    fn filter(&self, call: &Call<'_, SipHost>, text: &mut String) -> Result<Vec<SqlValue>, String> {
        let mut params = Vec::new();
        let mut word = " WHERE ";
        let mut keys = self.keys(call);
        if let (Which::One(avp), None) = (&self.which, &self.scheme) {
            keys.push((&call.host.env().settings.usr.attribute, &avp.name));
        }
        for (column, value) in keys {
            text.push_str(&format!("{word}{} = ?", identifier(column)?));
            params.push(SqlValue::Text(value.clone()));
            word = " AND ";
        }
        Ok(params)
    }
}

impl Owner {
    fn of(source: &[u8], use_domain: bool) -> Result<Owner, String> {
        let known = |word: &[u8]| matches!(word, b"username" | b"domain" | b"uri" | b"uuid");
        let (text, part) = match source.iter().rposition(|b| *b == b'/') {
            Some(at) if at > 0 && known(&source[at + 1..]) => (&source[..at], &source[at + 1..]),
            _ => (source, &b""[..]),
        };
        if text.is_empty() {
            return Err("the source is empty".to_string());
        }
        let uri = Uri::parse(text).ok().filter(Uri::is_sip);
        let Some(uri) = uri else {
            let whole = Some(Str::from(text));
            return match part {
                b"username" => Ok(Owner { username: whole, ..Owner::default() }),
                b"domain" => Ok(Owner { domain: whole, ..Owner::default() }),
                b"uri" => Err(format!("`{}` is no SIP URI", String::from_utf8_lossy(text))),
                _ => Ok(Owner { uuid: whole, ..Owner::default() }),
            };
        };
        let (want_user, want_domain) = match part {
            b"username" => (true, false),
            b"domain" => (false, true),
            b"uri" => (true, true),
            b"uuid" => return Ok(Owner { uuid: Some(Str::from(text)), ..Owner::default() }),
            _ => (true, use_domain),
        };
        let username = match uri.user {
            Some(user) if want_user => Some(Str::from(user)),
            None if want_user => return Err("the URI has no user part".to_string()),
            _ => None,
        };
        Ok(Owner { uuid: None, username, domain: want_domain.then(|| Str::from(uri.host)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let owner = |s: &str, d: bool| {
            let o = Owner::of(s.as_bytes(), d).unwrap();
            let t = |v: Option<Str>| v.map_or("-".to_string(), |v| v.to_string());
            format!("{} {} {}", t(o.uuid), t(o.username), t(o.domain))
        };
        assert_eq!(owner("sip:bob@b.com:5070;x=y", true), "- bob b.com");
        assert_eq!(owner("sip:bob@b.com", false), "- bob -");
        assert_eq!(owner("sip:bob@b.com/username", true), "- bob -");
        assert_eq!(owner("sip:bob@b.com/domain", false), "- - b.com");
        assert_eq!(owner("sip:b.com/domain", false), "- - b.com");
        assert_eq!(owner("sip:bob@b.com/uri", false), "- bob b.com");
        assert_eq!(owner("17", true), "17 - -");
        assert_eq!(owner("17/uuid", true), "17 - -");
        assert_eq!(owner("bob/username", true), "- bob -");
        assert_eq!(owner("a/b", true), "a/b - -");
        for bad in ["", "sip:b.com", "x/uri"] {
            assert!(Owner::of(bad.as_bytes(), true).is_err(), "{bad}");
        }
    }
}
