//! Tests of the sqlops functions.

use super::query::SQL_QUERY_ONE;
use super::structured::*;
use super::*;
use crate::modules::env::{Env, UsrTable};
use crate::modules::testing::{Bench, INVITE, OMIT};
use crate::script::registry::FnSpec;
use crate::script::value::Value;

fn bench() -> Bench {
    let mut env = Env::unattached();
    env.settings.db_urls = vec![(0, Str::from("sqlite:///x"))];
    Bench::with(INVITE, env)
}

fn text(s: &str) -> SqlValue {
    SqlValue::Text(Str::from(s))
}

/// The statement and its values.
fn built(b: &mut Bench, spec: &FnSpec<SipHost>, args: &[&str]) -> Result<(String, Vec<SqlValue>), String> {
    match b.start(spec, args) {
        Step::Wait(Request::Op { op: ops::Request::Sql(sql), .. }) => Ok((sql.query.to_string(), sql.params)),
        Step::Fail(why) => Err(why),
        _ => panic!("does not wait for a query"),
    }
}

#[test]
fn select() {
    let mut b = bench();
    b.fake.vars.insert("n".into(), Value::Int(5));
    let filter = r#"[{"prefix": "$rU"}, {"prio": {">": $var(n), "<=": 9}}, {"state": ["a", "b"]}, {"gone": null},
        {"name": {"like": "x%"}}, {"set": {"!=": null}}, {"who": $var(nobody)}]"#;
    let args = [r#"["gw", "count(*)", "t.prio"]"#, "routes", filter, "prio desc, gw", "$avp(gw);$avp(n)"];
    let (query, params) = built(&mut b, &SQL_SELECT, &args).unwrap();
    assert_eq!(
        query,
        "SELECT gw, count(*), t.prio FROM routes WHERE prefix = ? AND prio <= ? AND prio > ? AND state IN (?, ?) \
         AND gone IS NULL AND name like ? AND set IS NOT NULL AND who IS NULL ORDER BY prio DESC, gw"
    );
    let wanted = [text("bob"), SqlValue::Int(9), SqlValue::Int(5), text("a"), text("b"), text("x%")];
    assert_eq!(params, wanted);
    let (query, params) = built(&mut b, &SQL_SELECT_ONE, &[OMIT, "t"]).unwrap();
    assert_eq!((query.as_str(), params.len()), ("SELECT * FROM t LIMIT 1", 0));
    for bad in [
        [r#"["a FROM b"]"#, "t", OMIT, OMIT],
        ["[1]", "t", OMIT, OMIT],
        [OMIT, "t; DROP TABLE t", OMIT, OMIT],
        [OMIT, "t", r#"[{"a b": 1}]"#, OMIT],
        [OMIT, "t", r#"[{"a": {"or": 1}}]"#, OMIT],
        [OMIT, "t", r#"[{"a": {"<": [1]}}]"#, OMIT],
        [OMIT, "t", r#"["a"]"#, OMIT],
        [OMIT, "t", "[{", OMIT],
        [OMIT, "t", OMIT, "a down"],
        [OMIT, "t", OMIT, "a desc b"],
    ] {
        assert!(built(&mut b, &SQL_SELECT, &bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_comes_from_the_network_stays_a_value() {
    let mut b = bench();
    b.fake.vars.insert("evil".into(), Value::from(r#"x"},{"id": {">": 0}},{"y":"' OR 1=1 --"#));
    let (query, params) = built(&mut b, &SQL_DELETE, &["t", r#"[{"name": "$var(evil)"}]"#]).unwrap();
    assert_eq!((query.as_str(), params.len()), ("DELETE FROM t WHERE name = ?", 1));
    let (query, params) = built(&mut b, &SQL_DELETE, &["t", r#"[{"name": $var(evil)}]"#]).unwrap();
    assert_eq!((query.as_str(), params.len()), ("DELETE FROM t WHERE name = ?", 1));
    assert!(built(&mut b, &SQL_DELETE, &["t", r#"[{"$var(evil)": 1}]"#]).is_err());
    // JSON that a variable holds is not expanded again.
    b.fake.vars.insert("row".into(), Value::from(r#"{"a": "$fU", "b": true, "c": 1.5}"#));
    for arg in ["$var(row)", "\"$var(row)\""] {
        let (query, params) = built(&mut b, &SQL_INSERT, &["t", arg]).unwrap();
        assert_eq!(query, "INSERT INTO t (a, b, c) VALUES (?, ?, ?)");
        assert_eq!(params, [text("$fU"), SqlValue::Int(1), text("1.5")]);
    }
}

#[test]
fn changing() {
    let mut b = bench();
    let (query, params) = built(&mut b, &SQL_UPDATE, &["db.t", r#"{"a": "$fU's"}"#, r#"{"b": -3}"#]).unwrap();
    assert_eq!(query, "UPDATE db.t SET a = ? WHERE b = ?");
    assert_eq!(params, [text("alice's"), SqlValue::Int(-3)]);
    let (query, _) = built(&mut b, &SQL_INSERT, &["t", r#"[{"a": 1}, {"b": null}]"#]).unwrap();
    assert_eq!(query, "INSERT INTO t (a, b) VALUES (?, ?)");
    let (query, params) = built(&mut b, &SQL_REPLACE, &["t", r#"{"a": ""}"#]).unwrap();
    assert_eq!((query.as_str(), params), ("REPLACE INTO t (a) VALUES (?)", vec![text("")]));
    let (query, _) = built(&mut b, &SQL_DELETE, &["t"]).unwrap();
    assert_eq!(query, "DELETE FROM t");
    for bad in ["", "[]", "[[1]]", r#"{"a": [1]}"#, r#"{"a;": 1}"#] {
        assert!(built(&mut b, &SQL_INSERT, &["t", &format!("\"{bad}\"")]).is_err(), "{bad}");
    }
    let done = || Outcome::Op(ops::Outcome::Sql(ops::SqlResult::default()));
    assert!(matches!(b.finish(&SQL_INSERT, &["t", "{}"], done()), Step::Done(1)));
    assert!(matches!(b.finish(&SQL_UPDATE, &["t", "{}"], Outcome::Code(-1)), Step::Done(-1)));
}

#[test]
fn rows_arrive() {
    let mut b = bench();
    let result = || {
        let rows = vec![vec![text("g1"), SqlValue::Int(1)], vec![SqlValue::Null, SqlValue::Time(2)]];
        let columns = vec![Str::from("gw"), Str::from("n")];
        Outcome::Op(ops::Outcome::Sql(ops::SqlResult { columns, rows, ..ops::SqlResult::default() }))
    };
    let args = [OMIT, "t", OMIT, OMIT, "$avp(gw);$avp(n)"];
    assert!(matches!(b.finish(&SQL_SELECT, &args, result()), Step::Done(1)));
    assert_eq!((b.avp("gw").join(" "), b.avp("n").join(" ")), ("g1 <null>".into(), "1 2".into()));
    assert!(matches!(b.finish(&SQL_SELECT, &[OMIT, "t"], result()), Step::Done(1)));
    assert_eq!(b.avp("1"), ["g1", "<null>"]);
    let args = [OMIT, "t", OMIT, OMIT, "$var(gw);$var(n)"];
    assert!(matches!(b.finish(&SQL_SELECT_ONE, &args, result()), Step::Done(1)));
    assert_eq!(b.fake.vars["n"], Value::Int(1));
    let args = [OMIT, "t", OMIT, OMIT, "$var(gw)"];
    assert!(matches!(b.finish(&SQL_SELECT_ONE, &args, result()), Step::Fail(_)));
    let none = Outcome::Op(ops::Outcome::Sql(ops::SqlResult::default()));
    assert!(matches!(b.finish(&SQL_QUERY_ONE, &["q", "$var(gw)"], none), Step::Done(-2)));
    assert!(matches!(b.finish(&SQL_QUERY, &["q", "$avp(gw)"], Outcome::Code(1)), Step::Done(-1)));
}

#[test]
fn the_user_table_is_configurable() {
    let mut env = Env::unattached();
    env.settings.db_urls = vec![(0, Str::from("x"))];
    let mut usr = UsrTable::default();
    for (param, value) in [("usr_table", "avps"), ("uuid_column", "u"), ("value_column", "v"), ("type_column", "t")] {
        assert!(usr.set(param, &Value::from(value)));
    }
    assert!(!usr.set("db_url", &Value::from("x")));
    env.settings.usr = usr;
    let mut b = Bench::with(INVITE, env);
    let (query, params) = built(&mut b, &SQL_AVP_LOAD, &["$fu", "a"]).unwrap();
    assert_eq!(query, "SELECT attribute, t, v FROM avps WHERE username = ? AND domain = ?");
    assert_eq!(params, [text("alice"), text("atlanta.com")]);
    b.push("k", &[Value::Int(3)]);
    let (query, params) = built(&mut b, &SQL_AVP_STORE, &["17", "$avp(k)"]).unwrap();
    assert_eq!(query, "INSERT INTO avps (attribute, t, v, u) VALUES (?, ?, ?, ?)");
    assert_eq!(params, [text("k"), SqlValue::Int(2), text("3"), text("17")]);
    let (query, _) = built(&mut b, &SQL_AVP_DELETE, &["17", "$avp(k)"]).unwrap();
    assert_eq!(query, "DELETE FROM avps WHERE u = ? AND attribute = ?");
    let row = vec![vec![text("k"), SqlValue::Int(0), SqlValue::Int(3)]];
    let columns = ["a", "t", "v"].map(Str::from).to_vec();
    let result = ops::SqlResult { columns, rows: row, ..ops::SqlResult::default() };
    let outcome = Outcome::Op(ops::Outcome::Sql(result));
    assert!(matches!(b.finish(&SQL_AVP_LOAD, &["17", "a", OMIT, "p_"], outcome), Step::Done(1)));
    assert_eq!(b.fake.avps.get(b"p_k", 0), Value::from("3"));
}
