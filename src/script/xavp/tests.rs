use super::*;

struct Bench {
    x: Xavps,
    limits: Limits,
}

impl Bench {
    fn new() -> Bench {
        Bench { x: Xavps::default(), limits: Limits::default() }
    }

    fn set(&mut self, family: Family, path: &str, value: impl Into<Value>) -> bool {
        let path = Path::parse(path.as_bytes()).unwrap();
        self.x.assign(family, &path, value.into(), &self.limits).unwrap()
    }

    fn get(&self, family: Family, path: &str) -> String {
        let value = self.x.read(family, &Path::parse(path.as_bytes()).unwrap());
        value.to_text().map_or("null".into(), |t| t.to_string())
    }
}

use Family::{Xavi, Xavp, Xavu};

#[test]
fn a_root_is_new_without_an_index() {
    let mut b = Bench::new();
    b.set(Xavp, "r=>s", "1");
    b.set(Xavp, "r[0]=>t", "2");
    b.set(Xavp, "r=>s", "3");
    let seen = ["r=>s", "r=>t", "r[1]=>s", "r[1]=>t", "r[-1]=>s", "r[2]=>s", "r[-3]=>s", "q=>s", "r=>s[1]"];
    assert_eq!(seen.map(|p| b.get(Xavp, p)), ["3", "null", "1", "2", "1", "null", "null", "null", "null"]);
    b.set(Xavp, "r[0]=>s", "4");
    b.set(Xavp, "r[0]=>s[1]", "5");
    assert_eq!(["r=>s", "r=>s[1]", "r=>s[*]"].map(|p| b.get(Xavp, p)), ["4", "5", "4, 5"]);
    for nowhere in ["r[7]=>s", "none[0]=>s", "r[-1]=>s", "r[*]=>s", "r[0]=>s[2]", "r[0]=>s[-1]", "r[0]=>s[*]", "r[-1]"]
    {
        assert!(!b.set(Xavp, nowhere, "6"), "{nowhere}");
    }
}

#[test]
fn null_removes() {
    let mut b = Bench::new();
    for v in 1..=4 {
        b.set(Xavp, "a", Value::Int(v));
    }
    b.set(Xavp, "a[1]", Value::Null);
    assert_eq!((b.get(Xavp, "a[0]"), b.get(Xavp, "a[1]"), b.get(Xavp, "a[2]")), ("4".into(), "2".into(), "1".into()));
    b.set(Xavp, "a", Value::Null);
    assert_eq!(b.get(Xavp, "a"), "2");
    b.set(Xavp, "a[-1]", Value::Null);
    assert_eq!(b.get(Xavp, "a[1]"), "1");
    b.set(Xavp, "a[*]", Value::Null);
    b.set(Xavp, "r=>s", "1");
    b.set(Xavp, "r[0]=>t", "2");
    b.set(Xavp, "r[0]=>s", Value::Null);
    assert_eq!((b.get(Xavp, "r=>s"), b.get(Xavp, "r=>t")), ("null".into(), "2".into()));
    b.set(Xavp, "r=>t", "3");
    b.set(Xavp, "r[*]=>t", Value::Null);
    assert_eq!((b.get(Xavp, "r=>t"), b.get(Xavp, "r[1]=>t")), ("null".into(), "null".into()));
    b.set(Xavp, "r", Value::Null);
    b.set(Xavp, "r", Value::Null);
    assert!(b.x.is_empty());
    assert_eq!((b.x.count, b.x.bytes), (0, 0));
}

#[test]
fn families_differ() {
    let mut b = Bench::new();
    b.set(Xavu, "p=>q", "1");
    b.set(Xavu, "p=>q", "2");
    b.set(Xavu, "p=>z", "3");
    b.set(Xavu, "v", Value::Int(1));
    b.set(Xavu, "v", Value::Int(2));
    assert!(!b.set(Xavu, "p[0]=>q", "x") && !b.set(Xavu, "p=>q[0]", "x") && !b.set(Xavu, "v[0]", "x"));
    assert_eq!(b.x.all(Xavu).count(), 2);
    assert_eq!(["p=>q", "p=>z", "v"].map(|p| b.get(Xavu, p)), ["2", "3", "2"]);
    b.set(Xavi, "Head=>Field", "x");
    assert_eq!(b.get(Xavi, "hEAD=>fIELD"), "x");
    b.set(Xavp, "Head=>Field", "x");
    assert_eq!(b.get(Xavp, "head=>field"), "null");
}

#[test]
fn what_modules_use() {
    let mut b = Bench::new();
    let rows =
        ["a", "b"].map(|v| Node::Fields(Fields::in_order([("k", Value::from(v)), ("l", Value::Int(1))].into_iter())));
    b.x.replace(Xavp, b"rows", rows.to_vec(), &b.limits).unwrap();
    b.x.append(Xavp, b"rows", Node::Leaf(Value::Int(9)), &b.limits).unwrap();
    assert_eq!(["rows[0]=>k", "rows[1]=>k", "rows[2]"].map(|p| b.get(Xavp, p)), ["a", "b", "9"]);
    assert_eq!(b.x.field(Xavp, b"rows", b"l"), Some(&Value::Int(1)));
    assert_eq!(b.x.named(Xavp, b"rows").count(), 3);
    b.x.set(Xavp, b"one", b"f", Value::Int(1), &b.limits).unwrap();
    b.x.set(Xavp, b"one", b"f", Value::Int(2), &b.limits).unwrap();
    assert_eq!(b.get(Xavp, "one=>f"), "2");
    b.x.remove_all(Xavp, b"rows");
    b.x.remove_all(Xavp, b"one");
    assert_eq!((b.x.count, b.x.bytes), (0, 0));
}

#[test]
fn is_bounded() {
    let mut x = Xavps::default();
    let l = Limits { max_avps: 3, max_avp_bytes: 20, ..Limits::default() };
    x.set(Xavp, b"a", b"b", "123456".into(), &l).unwrap();
    assert_eq!(x.set(Xavp, b"a", b"c", "123456789012345".into(), &l), Err(Full));
    x.set(Xavp, b"a", b"c", Value::Int(1), &l).unwrap();
    assert_eq!(x.push(Xavi, b"y", Node::Leaf(Value::Int(1)), &l), Err(Full));
    // Replacing needs room for both for a moment only if there is room for one more.
    assert!(x.remove_field(Xavp, b"a", 0, b"c", At::All));
    x.set_field(Xavp, b"a", 0, b"b", "x".into(), &l).unwrap();
    assert_eq!(x.count, 2);
}
