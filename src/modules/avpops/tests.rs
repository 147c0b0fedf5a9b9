//! Tests of the avpops functions.

use super::check::AVP_CHECK;
use super::db::*;
use super::memory::*;
use super::operate::*;
use super::push::AVP_PUSHTO;
use crate::base::Str;
use crate::modules::env::Env;
use crate::modules::request::{Outcome, Request};
use crate::modules::testing::{Bench, INVITE};
use crate::ops::{self, SqlRequest, SqlValue};
use crate::script::registry::Step;
use crate::script::value::Value;

fn t(s: &str) -> Value {
    Value::from(s)
}

/// `x` holds c, b, a (index 0 first).
fn bench() -> Bench {
    let mut env = Env::unattached();
    env.settings.db_urls = vec![(0, Str::from("mysql://zero")), (1, Str::from("mysql://one"))];
    let mut b = Bench::with(INVITE, env);
    b.push("x", &[t("a"), t("b"), t("c")]);
    b
}

#[test]
fn delete() {
    let mut b = bench();
    assert_eq!(b.call(&AVP_DELETE, &["\"$avp(x)\""]), 1);
    assert_eq!(b.avp("x"), ["b", "a"]);
    assert_eq!(b.call(&AVP_DELETE, &["\"$(avp(x)[-1])\""]), 1);
    assert_eq!(b.avp("x"), ["b"]);
    assert_eq!(b.call(&AVP_DELETE, &["\"$avp(nope)\""]), -1);
    b.push("x", &[t("d")]);
    assert_eq!(b.call(&AVP_DELETE, &["\"$avp(x)/g\""]), 1);
    assert!(b.avp("x").is_empty());
    b.push("y", &[t("1")]);
    b.fake.vars.insert("n".into(), t("y"));
    assert_eq!(b.call(&AVP_DELETE, &["\"$avp($var(n))\""]), 1);
    assert!(b.avp("y").is_empty());
    b.push("y", &[t("1")]);
    b.push("z", &[t("1")]);
    assert_eq!(b.call(&AVP_DELETE, &["a"]), 1);
    assert!(b.fake.avps.is_empty());
    assert_eq!(b.call(&AVP_DELETE, &["a"]), -1);
    assert_eq!(b.call(&AVP_DELETE, &["\"$avp(x)/q\""]), -1000);
    assert_eq!(b.call(&AVP_DELETE, &["\"$var(x)\""]), -1000);
}

#[test]
fn copy() {
    let mut b = bench();
    assert_eq!(b.call(&AVP_COPY, &["\"$avp(x)\"", "\"$avp(y)\""]), 1);
    assert_eq!(b.avp("y"), ["c"]);
    assert_eq!(b.call(&AVP_COPY, &["\"$avp(x)\"", "\"$avp(y)/g\""]), 1);
    assert_eq!(b.avp("y"), ["c", "b", "a", "c"]);
    assert_eq!(b.call(&AVP_COPY, &["\"$(avp(x)[1])\"", "\"$avp(z)/d\""]), 1);
    assert_eq!((b.avp("x"), b.avp("z")), (vec!["c".into(), "a".into()], vec!["b".to_string()]));
    assert_eq!(b.call(&AVP_COPY, &["\"$avp(x)\"", "\"$avp(z)/gd\""]), 1);
    assert_eq!(b.avp("z"), ["c", "a", "b"]);
    assert_eq!(b.call(&AVP_COPY, &["\"$avp(x)\"", "\"$avp(z)\""]), -1);
    b.push("n", &[t("x"), t("7")]);
    assert_eq!(b.call(&AVP_COPY, &["$avp(n)", "\"$avp(m)/gn\""]), 1);
    assert_eq!(b.fake.avps.get(b"m", 0), Value::Int(7));
    assert_eq!(b.avp("m").len(), 1);
    assert_eq!(b.call(&AVP_COPY, &["$avp(m)", "\"$avp(s)/s\""]), 1);
    assert_eq!(b.fake.avps.get(b"s", 0), t("7"));
}

#[test]
fn insert() {
    let mut b = bench();
    for (value, index, now) in [
        ("0", "0", "0 c b a"),
        ("2", "2", "0 c 2 b a"),
        ("9", "99", "0 c 2 b a 9"),
        ("$fU", "-1", "0 c 2 b a alice 9"),
        ("m", "-99", "m 0 c 2 b a alice 9"),
    ] {
        assert_eq!(b.call(&AVP_INSERT, &["$avp(x)", value, index]), 1);
        assert_eq!(b.avp("x").join(" "), now);
    }
    assert_eq!(b.call(&AVP_INSERT, &["\"$avp(new)\"", "v", "3"]), 1);
    assert_eq!(b.avp("new"), ["v"]);
}

#[test]
fn set_or_not() {
    let mut b = bench();
    b.push("empty", &[t("")]);
    b.push("zero", &[Value::Int(0)]);
    for (name, code) in [
        ("$avp(x)", 1),
        ("\"$avp(x)\"", 1),
        ("\"$avp(nope)\"", -1),
        ("\"$avp(x)/e\"", -1),
        ("\"$avp(x)/s\"", 1),
        ("\"$avp(x)/n\"", -1),
        ("\"$avp(empty)/e\"", 1),
        ("\"$avp(zero)/en\"", 1),
        ("\"$(avp(x)[2])\"", 1),
        ("\"$(avp(x)[3])\"", -1),
        ("a", 1),
    ] {
        assert_eq!(b.call(&IS_AVP_SET, &[name]), code, "{name}");
    }
}

#[test]
fn check() {
    let mut b = bench();
    b.push("n", &[t("20"), Value::Int(10)]);
    b.push("uri", &[t("sip:Bob@10.0.0.1")]);
    b.fake.vars.insert("v".into(), t("b"));
    for (name, test, code) in [
        ("$avp(x)", "eq/c", 1),
        ("$avp(x)", "eq/C", -1),
        ("$avp(x)", "eq/C/i", 1),
        ("$avp(x)", "eq/$var(v)", -1),
        ("$avp(x)", "eq/$var(v)/g", 1),
        ("$avp(x)", "ne/c", -1),
        ("$avp(n)", "eq/10", 1),
        ("$avp(n)", "gt/i:9", 1),
        ("$avp(n)", "ge/10", 1),
        ("$avp(n)", "lt/9/g", -1),
        ("$avp(n)", "gt/15/g", 1),
        ("$avp(n)", "le/s:9", -1),
        ("$avp(n)", "and/2", 1),
        ("$avp(n)", "and/5", -1),
        ("$avp(n)", "xor/10", -1),
        ("$avp(uri)", "re/^sip:.*@10[.]", 1),
        ("$avp(uri)", "re/^SIP:", -1),
        ("$avp(uri)", "re/^SIP:/i", 1),
        ("$avp(uri)", "fm/sip:*@10.0.0.?", 1),
        ("$avp(uri)", "fm/sip:bob*", -1),
        ("$avp(uri)", "fm/sip:bob*/I", 1),
        ("$avp(nope)", "eq/x", -1),
        ("$avp(x)", "eq/$avp(nope)", -1),
        ("$fd", "eq/atlanta.com", 1),
        ("$fd", "eq/$td", -1),
        ("$rU", "eq/$tU/i", 1),
        ("$du", "eq/x", -1),
        ("$avp(x)", "like/c", -1000),
        ("$avp(x)", "or/1", -1000),
        ("$avp(x)", "re/(", -1000),
    ] {
        assert_eq!(b.call(&AVP_CHECK, &[name, test]), code, "{name} {test}");
    }
}

#[test]
fn op() {
    let mut b = bench();
    b.push("n", &[t("20"), Value::Int(10)]);
    b.fake.vars.insert("v".into(), Value::Int(3));
    assert_eq!(b.call(&AVP_OP, &["$avp(n)", "add/5"]), 1);
    assert_eq!(b.avp("n"), ["15", "20"]);
    assert_eq!(b.call(&AVP_OP, &["$avp(n)", "mul/$var(v)/g"]), 1);
    assert_eq!(b.avp("n"), ["45", "60"]);
    assert_eq!(b.call(&AVP_OP, &["$avp(n)/$avp(r)", "sub/1/g"]), 1);
    assert_eq!((b.avp("n").join(" "), b.avp("r").join(" ")), ("45 60".into(), "44 59".into()));
    assert_eq!(b.call(&AVP_OP, &["$avp(n)/$avp(r)", "mod/7/d"]), 1);
    assert_eq!((b.avp("n").join(" "), b.avp("r").join(" ")), ("60".into(), "3 44 59".into()));
    assert_eq!(b.call(&AVP_OP, &["$avp(n)", "not"]), 1);
    assert_eq!(b.avp("n"), ["-61"]);
    assert_eq!(b.call(&AVP_OP, &["$avp(n)", "div/0"]), -1);
    assert_eq!(b.call(&AVP_OP, &["$avp(x)", "add/1"]), -1);
    assert_eq!(b.call(&AVP_OP, &["$avp(nope)", "add/1"]), -1);
    assert_eq!(b.call(&AVP_OP, &["$avp(n)", "add/$avp(nope)"]), -1000);
    assert_eq!(b.call(&AVP_OP, &["$avp(n)", "add"]), -1000);
    assert_eq!(b.call(&AVP_OP, &["$avp(n)", "pow/2"]), -1000);
}

#[test]
fn substitute() {
    let mut b = bench();
    b.push("u", &[t("none"), t("sip:a@1"), t("sip:b@2")]);
    assert_eq!(b.call(&AVP_SUBST, &["$avp(u)", "/^sip:(.*)@(.*)$/$(fU).\\2.\\1/"]), 1);
    assert_eq!(b.avp("u"), ["alice.2.b", "sip:a@1", "none"]);
    assert_eq!(b.call(&AVP_SUBST, &["$avp(u)", "/^sip:/tel:/"]), -1);
    assert_eq!(b.call(&AVP_SUBST, &["\"$avp(u)//g\"", "/^sip:/tel:/"]), 1);
    assert_eq!(b.avp("u"), ["alice.2.b", "tel:a@1", "none"]);
    assert_eq!(b.call(&AVP_SUBST, &["\"$avp(u)/$avp(d)/gd\"", "/[0-9]//"]), 1);
    assert_eq!((b.avp("u").join(" "), b.avp("d").join(" ")), ("none".into(), "alice..b tel:a@".into()));
    assert_eq!(b.call(&AVP_SUBST, &["\"$(avp(x)[1])\"", "/./!/"]), 1);
    assert_eq!(b.avp("x"), ["c", "!", "a"]);
    assert_eq!(b.call(&AVP_SUBST, &["$avp(nope)", "/./!/"]), -1);
}

#[test]
fn push_to_the_message() {
    let mut b = bench();
    b.push("d", &[t("sip:two@2.2.2.2"), t("sip:one@1.1.1.1")]);
    assert_eq!(b.call(&AVP_PUSHTO, &["$ru", "$avp(d)"]), 1);
    assert_eq!(b.host.current_ruri(), b"sip:one@1.1.1.1");
    assert_eq!(b.call(&AVP_PUSHTO, &["$ru/username", "\"$avp(x)\""]), 1);
    assert_eq!(b.call(&AVP_PUSHTO, &["$ru/domain", "\"$(avp(x)[1])\""]), 1);
    assert_eq!(b.host.current_ruri(), b"sip:c@b");
    assert_eq!(b.call(&AVP_PUSHTO, &["$du", "\"$avp(d)\""]), 1);
    assert_eq!(b.host.du, Some(Str::from("sip:one@1.1.1.1")));
    assert_eq!(b.call(&AVP_PUSHTO, &["$br", "\"$avp(d)/g\""]), 1);
    assert_eq!(b.host.branches.len(), 2);
    b.host.branches.clear();
    assert_eq!(b.call(&AVP_PUSHTO, &["$ru", "\"$avp(d)/g\""]), 1);
    assert_eq!(b.host.current_ruri(), b"sip:one@1.1.1.1");
    assert_eq!(b.host.branches.iter().map(|t| t.uri.to_string()).collect::<Vec<_>>(), ["sip:two@2.2.2.2"]);
    assert_eq!(b.call(&AVP_PUSHTO, &["$ru", "$avp(nope)"]), -1);
    assert_eq!(b.call(&AVP_PUSHTO, &["$ru", "$avp(x)"]), -1, "no URI");
    assert_eq!(b.call(&AVP_PUSHTO, &["$fu", "$avp(x)"]), -1000);
    assert_eq!(b.call(&AVP_PUSHTO, &["$ru/port", "$avp(x)"]), -1000);
}

fn sql(step: Step<crate::modules::host::SipHost>) -> SqlRequest {
    match step {
        Step::Wait(Request::Op { op: ops::Request::Sql(sql), .. }) => sql,
        Step::Fail(why) => panic!("{why}"),
        Step::Continue(route) => panic!("goes on in route {route}"),
        _ => panic!("does not wait for a query"),
    }
}

fn texts(params: &[SqlValue]) -> String {
    let show = |v: &SqlValue| match v {
        SqlValue::Text(t) => t.to_string(),
        SqlValue::Int(n) => n.to_string(),
        other => format!("{other:?}"),
    };
    params.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn database_names_and_defaults() {
    let mut b = bench();
    let request = sql(b.start(&AVP_DB_QUERY, &["SELECT '$fU'", "$avp(r)", "1"]));
    assert_eq!((request.url, request.query), (Str::from("mysql://one"), Str::from("SELECT 'alice'")));
    let request = sql(b.start(&AVP_DB_LOAD, &["$fu", "\"$avp(x)\""]));
    assert_eq!(
        request.query,
        "SELECT attribute, type, value FROM usr_preferences WHERE username = ? AND attribute = ?"
    );
    assert_eq!(texts(&request.params), "alice x");
    let request = sql(b.start(&AVP_DB_STORE, &["$fu/uri", "\"$avp(x)/other\"", "1"]));
    assert_eq!(request.url, "mysql://one");
    assert_eq!(
        request.query,
        "INSERT INTO other (attribute, type, value, username, domain) VALUES (?, ?, ?, ?, ?), (?, ?, ?, ?, ?), (?, ?, ?, ?, ?)"
    );
    assert!(texts(&request.params).starts_with("x 0 c alice atlanta.com x 0 b alice"));
    let request = sql(b.start(&AVP_DB_DELETE, &["$ci/uuid", "a"]));
    assert_eq!(request.query, "DELETE FROM usr_preferences WHERE uuid = ?");
    assert_eq!(texts(&request.params), "a84b4c76e66710");
    assert_eq!(b.call(&AVP_DB_STORE, &["$fu", "\"$avp(nope)\""]), -1);
    assert_eq!(b.call(&AVP_DB_LOAD, &["$fu", "\"$avp(x)/$scheme\""]), -1000);
    assert_eq!(b.call(&AVP_DB_LOAD, &["$fu", "\"$avp(x)/t; DROP TABLE t\""]), -1000);
    assert_eq!(b.call(&AVP_DB_LOAD, &["$fu", "\"$avp(x)\"", "2"]), -1000);
}

#[test]
fn loading_delivers_rows_in_order() {
    let mut b = bench();
    let text = |s: &str| SqlValue::Text(Str::from(s));
    let rows = vec![
        vec![text("fwd"), SqlValue::Int(0), text("sip:first@h")],
        vec![text("fwd"), SqlValue::Int(0), text("7")],
        vec![text("limit"), SqlValue::Int(2), text("7")],
    ];
    let columns = ["attribute", "type", "value"].map(Str::from).to_vec();
    let result = ops::SqlResult { columns, rows, ..ops::SqlResult::default() };
    let outcome = Outcome::Op(ops::Outcome::Sql(result));
    assert!(matches!(b.finish(&AVP_DB_LOAD, &["$fu", "a"], outcome), Step::Done(1)));
    assert_eq!(b.avp("fwd"), ["sip:first@h", "7"]);
    assert_eq!(b.fake.avps.get(b"fwd", 1), t("7"));
    assert_eq!(b.fake.avps.get(b"limit", 0), Value::Int(7));
    let empty = || Outcome::Op(ops::Outcome::Sql(ops::SqlResult::default()));
    assert!(matches!(b.finish(&AVP_DB_LOAD, &["$fu", "a"], empty()), Step::Done(-1)));
    assert!(matches!(b.finish(&AVP_DB_STORE, &["$fu", "a"], empty()), Step::Done(1)));
    assert!(matches!(b.finish(&AVP_DB_STORE, &["$fu", "a"], Outcome::Code(1)), Step::Done(-1)));
}
