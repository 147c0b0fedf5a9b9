use super::ALL;
use crate::modules::testing::{Bench, INVITE};
use crate::script::program::Limits;
use crate::script::registry::FnSpec;
use crate::script::value::Value;
use crate::script::xavp::{Family, Node, Path};

fn function(name: &str) -> &'static FnSpec<crate::modules::host::SipHost> {
    ALL.iter().find(|f| f.kamailio == Some(name)).unwrap()
}

fn get(b: &Bench, path: &str) -> String {
    let path = Path::parse(path.as_bytes()).unwrap();
    let value = b.fake.avps.xavps().map_or(Value::Null, |x| x.read(Family::Xavp, &path));
    value.to_text().map_or("null".into(), |t| t.to_string())
}

#[test]
fn parameters_come_apart_and_together() {
    let mut b = Bench::new(INVITE);
    let explode = function("xavp_params_explode");
    assert_eq!(b.call(explode, &["a = 1; b=\"2;3\" ;c", "x"]), 1);
    assert_eq!(["x=>a", "x=>b", "x=>c", "x=>d"].map(|p| get(&b, p)), ["1", "2;3", "", "null"]);
    for bad in ["", " a=1", "=1", "a=", "a=;b=1", "a=1;;b=2", "a=\"1", "a=\"1\"2", ";"] {
        assert_eq!(b.call(explode, &[bad, "x"]), -1, "{bad}");
    }
    assert_eq!(b.call(function("xavp_params_implode"), &["nix", "$var(o)"]), -1);
    assert_eq!(b.call(function("xavp_child_seti"), &["y", "n", "7"]), 1);
    assert_eq!(b.call(function("xavp_params_implode"), &["y", "$var(o)"]), 1);
    assert_eq!(b.fake.vars.get("o"), Some(&Value::from("n=7;")));
}

#[test]
fn variables_are_saved_and_restored() {
    let mut b = Bench::new(INVITE);
    b.fake.vars.insert("a".into(), Value::Int(1));
    b.fake.vars.insert("b".into(), Value::from("t"));
    assert_eq!(b.call(function("pv_var_to_xavp"), &["*", "s"]), 1);
    b.fake.vars.clear();
    assert_eq!(b.call(function("pv_xavp_to_var"), &["s"]), 1);
    assert_eq!(b.fake.vars.get("b"), Some(&Value::from("t")));
    assert_eq!(b.call(function("pv_xavp_to_var"), &["nix"]), -1);
}

#[test]
fn there_is_an_end_to_what_a_run_may_hold() {
    let mut b = Bench::new(INVITE);
    let limits = Limits::default();
    for _ in 0..limits.max_avps {
        b.fake.avps.xavps_mut().push(Family::Xavp, b"x", Node::Leaf(Value::Int(1)), &limits).unwrap();
    }
    assert_eq!(b.call(function("xavp_child_sets"), &["y", "a", "b"]), -1000);
    assert_eq!(b.call(function("xavp_params_explode"), &["a=1", "y"]), -1000);
    assert_eq!(b.call(function("xavp_copy"), &["x", "0", "y"]), -1000);
}

#[test]
fn lists_come_apart() {
    let mut b = Bench::new(INVITE);
    let list = function("xavp_slist_explode");
    assert_eq!(b.call(list, &["one, two,,three", ",", "t", "l"]), 1);
    assert_eq!(["l=>v", "l=>v[1]", "l=>v[2]", "l=>v[3]"].map(|p| get(&b, p)), ["one", "two", "three", "null"]);
    assert_eq!(b.call(list, &["four", ",", "", "l"]), 1);
    assert_eq!(["l=>v", "l[1]=>v"].map(|p| get(&b, p)), ["four", "one"]);
    assert_eq!(b.call(list, &["", ",", "", "l"]), -1);
    assert_eq!(b.call(function("xavp_lshift"), &["l", "1"]), 1);
    assert_eq!(["l=>v", "l[1]=>v"].map(|p| get(&b, p)), ["one", "null"]);
    assert_eq!(b.call(function("xavp_lshift"), &["nix", "1"]), -1);
}
