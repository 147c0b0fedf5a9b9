//! Where the list comes from: a file, or a table of a database.

use super::list::{Destination, List};
use super::params::Settings;
use super::shared::replace;
use super::state::{INACTIVE, PROBING};
use crate::base::Str;
use crate::modules::env::Env;
use crate::modules::files;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::request::{Outcome, Request};
use crate::ops::{self, SqlRequest, SqlValue};
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, RouteSet, Step};

/// Number of the module's database among all database URLs.
pub const DATABASE: i64 = i64::MAX - 15;

/// `ds_reload`
pub const DS_RELOAD: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("ds_reload"),
    params: &[],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Reads the list of destinations again, for all processes. A destination that was in it stands as before.",
    returns: &[(1, "done"), (-1, "it could not be read: the old one stays")],
    example: "ds_reload();",
    run: |call| match reload(call.host.env()) {
        Ok(op) => Step::Wait(Request::Op { op, limit: Some(files::LIMIT) }),
        Err(why) => failed(call, &why),
    },
    finish: Some(|call, outcome| {
        let done = match outcome {
            Outcome::Op(outcome) => take(call.host.env(), outcome),
            other => return Step::Done(other.failure_code()),
        };
        match done {
            Ok(()) => Step::Done(1),
            Err(why) => failed(call, &why),
        }
    }),
};

fn failed(call: &Call<'_, SipHost>, why: &str) -> Step<SipHost> {
    log_line(call.host, -1, &format!("dispatcher: the list stays as it was: {why}"));
    Step::Done(-1)
}

/// What reads the list: a query, or the file.
///
/// # Errors
/// There is nothing to read it from.
pub fn reload(env: &Env) -> Result<ops::Request, String> {
    let s = &env.settings.dispatcher;
    match &s.file {
        _ if s.database => query(env),
        Some(file) => Ok(files::reading(file)),
        None => Err("neither list_file nor db_url is set".to_string()),
    }
}

/// Takes over what that has brought.
///
/// # Errors
/// Why it has brought nothing, or what is wrong with it.
pub fn take(env: &Env, outcome: ops::Outcome) -> Result<(), String> {
    let s = &env.settings.dispatcher;
    let list = match outcome {
        ops::Outcome::Sql(result) => list_of(s, result.rows)?,
        ops::Outcome::Failed(failure) if s.database => return Err(failure.to_string()),
        _ if s.database => return Err("the list cannot be loaded".to_string()),
        outcome => {
            let file = s.file.as_deref().unwrap_or_default();
            list_in(file, files::read(file, outcome)?)?
        }
    };
    replace(env, |_| Ok(list.clone()))
}

/// Takes over the file as main has read it at the start.
///
/// # Errors
/// Why it could not be read, or what is wrong with it.
pub fn begin(env: &Env) -> Result<(), String> {
    let s = &env.settings.dispatcher;
    let (Some(file), Some(text)) = (&s.file, &s.text) else {
        return Err("neither list_file nor db_url is set".to_string());
    };
    let text = text.as_ref().map_err(Clone::clone)?;
    let list = list_in(file, text.as_deref().map(str::to_owned))?;
    replace(env, |_| Ok(list.clone()))
}

fn list_in(file: &str, text: Option<String>) -> Result<List, String> {
    let text = text.ok_or_else(|| format!("{file} is not there"))?;
    List::parse(&text).map_err(|why| format!("{file}, {why}"))
}

/// The query for the list.
///
/// # Errors
/// There is no database.
fn query(env: &Env) -> Result<ops::Request, String> {
    let s = &env.settings.dispatcher;
    let url = env.settings.db_urls.iter().find(|(n, _)| *n == DATABASE).map(|(_, url)| url.clone());
    let url = url.ok_or("db_url of dispatcher names no database")?;
    let [set, destination, flags, priority, attrs, socket, weight] = &s.columns;
    let mut columns = vec![set, destination, flags, priority, attrs];
    match s.dialect {
        Dialect::OpenSips => columns.extend([socket, weight]),
        Dialect::Kamailio => columns.extend(s.further.iter().map(|(_, column)| column)),
    }
    let names: Vec<String> = columns.iter().map(|c| c.to_lossy().into_owned()).collect();
    let query = format!("SELECT {} FROM {}", names.join(", "), s.table.to_lossy());
    Ok(ops::Request::Sql(SqlRequest { url, query: Str::from(query), params: Vec::new(), then: Vec::new() }))
}

/// The list that a table's rows make.
///
/// # Errors
/// Which row is wrong, and why.
pub fn list_of(s: &Settings, rows: Vec<Vec<SqlValue>>) -> Result<List, String> {
    let mut all = Vec::with_capacity(rows.len());
    for (n, row) in rows.into_iter().enumerate() {
        let fields: Vec<Option<String>> = row.into_iter().map(text).collect();
        let field = |i: usize| fields.get(i).cloned().flatten().unwrap_or_default();
        let number = |i: usize| match field(i).trim() {
            "" => Ok(0),
            t => t.parse::<i64>().map_err(|_| format!("row {}: `{t}` is no number", n + 1)),
        };
        let at = |why: String| format!("row {}: {why}", n + 1);
        if fields.first().is_none_or(Option::is_none) {
            return Err(at("the set is NULL".to_string()));
        }
        let row = if s.dialect == Dialect::OpenSips {
            // 1 is inactive, 2 probing, which is inactive and asked whether it lives.
            let flags = match number(2)? {
                0 => 0,
                1 => i64::from(INACTIVE),
                2 => i64::from(INACTIVE | PROBING),
                other => return Err(at(format!("{other} is no state: 0, 1 and 2 are"))),
            };
            let mut d = Destination::new(&field(1), flags, number(3)?, "").map_err(at)?;
            d.attrs.text = Str::from(field(4));
            d.attrs.socket = Some(Str::from(field(5))).filter(|s| !s.is_empty());
            d.attrs.weight = u32::try_from(number(6)?).map_err(|_| at("the weight is negative".to_string()))?;
            d
        } else {
            let mut attrs = field(4);
            for (i, (name, _)) in s.further.iter().enumerate() {
                if let Some(value) = fields.get(5 + i).cloned().flatten().filter(|v| !v.is_empty()) {
                    attrs += if attrs.is_empty() { "" } else { ";" };
                    attrs += &format!("{}={value}", name.to_lossy());
                }
            }
            Destination::new(&field(1), number(2)?, number(3)?, &attrs).map_err(at)?
        };
        all.push((number(0)?, row));
    }
    // Of one priority: as in a list file.
    if s.dialect == Dialect::Kamailio {
        all.reverse();
    }
    List::of(all)
}

fn text(value: SqlValue) -> Option<String> {
    match value {
        SqlValue::Null => None,
        SqlValue::Int(n) | SqlValue::Time(n) => Some(n.to_string()),
        SqlValue::Text(t) => Some(t.to_lossy().into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[&str]) -> Vec<SqlValue> {
        let one = |f: &&str| match *f {
            "NULL" => SqlValue::Null,
            f => f.parse().map_or_else(|_| SqlValue::Text(Str::from(f)), SqlValue::Int),
        };
        fields.iter().map(one).collect()
    }

    #[test]
    fn tables_are_read() {
        let mut s = Settings::default();
        let rows = vec![row(&["2", "sip:b", "0", "NULL", "NULL"]), row(&["1", "sip:a", "8", "5", "weight=7"])];
        let list = list_of(&s, rows).unwrap();
        assert_eq!(list.sets.iter().map(|s| s.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((list.sets[0].list[0].attrs.weight, list.sets[0].list[0].flags), (7, 8));
        assert_eq!(list_of(&s, vec![row(&["NULL", "sip:b", "0", "0", ""])]).unwrap_err(), "row 1: the set is NULL");
        assert!(list_of(&s, vec![row(&["1", "NULL", "0", "0", ""])]).unwrap_err().starts_with("row 1: `` is no SIP"));
        s.prepare(Dialect::OpenSips);
        let rows = vec![row(&["1", "sip:a", "2", "0", "own text", "udp:1.2.3.4:5060", "50"])];
        let list = list_of(&s, rows).unwrap();
        let d = &list.sets[0].list[0];
        assert_eq!((d.flags, d.attrs.weight, d.attrs.text.to_string()), (9, 50, "own text".to_string()));
        assert!(list_of(&s, vec![row(&["1", "sip:a", "7", "0", "", "", ""])]).unwrap_err().contains("no state"));
    }
}
