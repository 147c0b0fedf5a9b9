//! `jansson`: values of JSON texts by their paths (kamailio.md section 5.8).

use super::host::SipHost;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{Arg, Call, FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use serde_json::Value as Json;

/// Largest JSON text that is read or made, in bytes.
const MAX_TEXT: usize = 1 << 20;
/// Longest array that `jansson_set` and `jansson_append` make.
const MAX_ITEMS: usize = 10_000;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "jansson",
    dialects: &[Dialect::Kamailio],
    functions: &[JANSSON_GET, JANSSON_PV_GET, JANSSON_SET, JANSSON_APPEND, JANSSON_ARRAY_SIZE],
    params: &[],
    any_param: false,
    needs: &[],
};

const JANSSON_GET: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("jansson_get"),
    params: &[Param::req("path", Kind::Str), Param::req("json", Kind::Str), Param::req("result", Kind::Out)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Stores the value at a path such as `a.b[0].c` of a JSON text: a string, a whole number or NULL as such, anything \
          else as JSON.",
    returns: &[(1, "stored"), (-1, "there is nothing at this path, or the text is no JSON")],
    example: r#"if (jansson_get("credit.left", '{"credit": {"left": 5}}', "$var(left)")) xlog("$var(left)\n");"#,
    run: |call| {
        let text = call.text(1).unwrap_or_default();
        get(call, &text)
    },
    finish: None,
};

const JANSSON_PV_GET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("jansson_pv_get"),
    params: &[Param::req("path", Kind::Str), Param::req("json", Kind::Var), Param::req("result", Kind::Out)],
    doc: "The same with a variable that holds the JSON text.",
    example: r#"jansson_pv_get("credit.left", "$var(body)", "$var(left)");"#,
    run: |call| {
        let text = call.text(1).unwrap_or_default();
        get(call, &text)
    },
    ..JANSSON_GET
};

const JANSSON_ARRAY_SIZE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("jansson_array_size"),
    doc: "Stores how many items the array at a path has.",
    returns: &[(1, "stored"), (-1, "there is no array at this path, or the text is no JSON")],
    example: r#"jansson_array_size("list", '{"list": [1, 2]}', "$var(n)");"#,
    run: |call| {
        let (path, text) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let json = match parse(&text) {
            Ok(json) => json,
            Err(why) => return Step::Fail(why),
        };
        match steps(&path).and_then(|s| find(&json, &s)).and_then(Json::as_array) {
            Some(list) => {
                call.assign(2, Value::Int(i64::try_from(list.len()).unwrap_or(i64::MAX)));
                Step::Done(1)
            }
            None => Step::Done(-1),
        }
    },
    ..JANSSON_GET
};

const JANSSON_SET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("jansson_set"),
    params: &[
        Param::req("type", Kind::Str),
        Param::req("path", Kind::Str),
        Param::req("value", Kind::Str),
        Param::req("json", Kind::Out),
    ],
    doc: "Sets a value in the JSON text of a variable, which may be empty at first. The type is `string`, `integer`, `real`, \
          `true`, `false`, `null`, `object` or `array`; objects on the way are made. Names come out in the order of the \
          alphabet.",
    returns: &[(1, "set"), (-1, "not such a value, no such place, or the text is no JSON")],
    example: r#"jansson_set("string", "caller.name", "$fU", "$var(json)");"#,
    run: |call| change(call, false),
    ..JANSSON_GET
};

const JANSSON_APPEND: FnSpec<SipHost> = FnSpec {
    kamailio: Some("jansson_append"),
    doc: "Adds a value at the end of an array in the JSON text of a variable; the array is made if need be.",
    returns: &[(1, "added"), (-1, "not such a value, no array, or the text is no JSON")],
    example: r#"jansson_append("integer", "codes", "$rs", "$var(json)");"#,
    run: |call| change(call, true),
    ..JANSSON_SET
};

fn parse(text: &[u8]) -> Result<Json, String> {
    if text.len() > MAX_TEXT {
        return Err("the JSON text is larger than 1 MiB".into());
    }
    serde_json::from_slice(text).map_err(|e| format!("this is no JSON: {e}"))
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Path {
    Name(String),
    Index(usize),
}

/// `a.b[0].c`; `None` if it is no path.
fn steps(path: &[u8]) -> Option<Vec<Path>> {
    let mut rest = std::str::from_utf8(path).ok()?;
    let mut out = Vec::new();
    if rest.is_empty() {
        return None;
    }
    loop {
        if let Some(inner) = rest.strip_prefix('[') {
            let (index, behind) = inner.split_once(']')?;
            out.push(Path::Index(index.trim().parse().ok()?));
            rest = behind;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            if name.is_empty() {
                return None;
            }
            out.push(Path::Name(name.to_string()));
            rest = behind;
        }
        match rest.strip_prefix('.') {
            Some(behind) => rest = behind,
            None if rest.is_empty() => return Some(out),
            None if rest.starts_with('[') => {}
            None => return None,
        }
    }
}

fn find<'j>(json: &'j Json, path: &[Path]) -> Option<&'j Json> {
    path.iter().try_fold(json, |at, step| match step {
        Path::Name(name) => at.as_object()?.get(name),
        Path::Index(n) => at.as_array()?.get(*n),
    })
}

fn get(call: &mut Call<'_, SipHost>, text: &[u8]) -> Step<SipHost> {
    let json = match parse(text) {
        Ok(json) => json,
        Err(why) => return Step::Fail(why),
    };
    let path = call.text(0).unwrap_or_default();
    let Some(found) = steps(&path).and_then(|s| find(&json, &s)) else { return Step::Done(-1) };
    let value = match found {
        Json::Null => Value::Null,
        Json::String(s) => Value::from(s.as_str()),
        Json::Number(n) if n.is_i64() => n.as_i64().map_or(Value::Null, Value::Int),
        other => Value::text(other.to_string()),
    };
    call.assign(2, value);
    Step::Done(1)
}

/// A value of a type as a script writes it.
fn value_of(kind: &[u8], text: &[u8]) -> Result<Json, String> {
    let shown = String::from_utf8_lossy(text);
    let bad = |what: &str| format!("`{shown}` is no {what}");
    Ok(match kind {
        b"string" | b"str" => Json::String(shown.into_owned()),
        b"integer" | b"int" => Json::from(shown.trim().parse::<i64>().map_err(|_| bad("whole number"))?),
        b"real" => {
            let n: f64 = shown.trim().parse().map_err(|_| bad("number"))?;
            serde_json::Number::from_f64(n).map(Json::Number).ok_or_else(|| bad("number"))?
        }
        b"true" => Json::Bool(true),
        b"false" => Json::Bool(false),
        b"null" => Json::Null,
        b"object" | b"obj" | b"array" => {
            let json = parse(text)?;
            let fits = if kind == b"array" { json.is_array() } else { json.is_object() };
            if !fits {
                return Err(bad(&String::from_utf8_lossy(kind)));
            }
            json
        }
        other => {
            let known = "string, integer, real, true, false, null, object and array are types";
            return Err(format!("`{}` is none: {known}", String::from_utf8_lossy(other)));
        }
    })
}

/// The place of a path, made if it is not there; `None` where something else is in the way.
fn place<'j>(json: &'j mut Json, path: &[Path]) -> Option<&'j mut Json> {
    path.iter().try_fold(json, |at, step| match step {
        Path::Name(name) => {
            if at.is_null() {
                *at = Json::Object(serde_json::Map::new());
            }
            Some(at.as_object_mut()?.entry(name.clone()).or_insert(Json::Null))
        }
        Path::Index(n) => {
            if at.is_null() {
                *at = Json::Array(Vec::new());
            }
            let list = at.as_array_mut()?;
            if *n == list.len() && *n < MAX_ITEMS {
                list.push(Json::Null);
            }
            list.get_mut(*n)
        }
    })
}

fn change(call: &mut Call<'_, SipHost>, append: bool) -> Step<SipHost> {
    let Some(Arg::Out(out)) = call.args.get(3).cloned() else { return Step::Done(-1) };
    let (kind, path, text) = (call.text(0), call.text(1), call.text(2));
    let value = match value_of(&kind.unwrap_or_default(), &text.unwrap_or_default()) {
        Ok(value) => value,
        Err(why) => return Step::Fail(why),
    };
    let old = match call.scope.read(call.host, &out) {
        // What a variable holds that was never assigned.
        Value::Int(0) => Str::default(),
        old => old.to_text().unwrap_or_default(),
    };
    let mut json = if old.is_empty() {
        Json::Null
    } else {
        match parse(&old) {
            Ok(json) => json,
            Err(why) => return Step::Fail(why),
        }
    };
    let Some(steps) = steps(&path.unwrap_or_default()) else { return Step::Fail("this is no path".into()) };
    let Some(at) = place(&mut json, &steps) else { return Step::Fail("something else is at this place".into()) };
    if append {
        if at.is_null() {
            *at = Json::Array(Vec::new());
        }
        match at.as_array_mut() {
            Some(list) if list.len() < MAX_ITEMS => list.push(value),
            Some(_) => return Step::Fail(format!("the array has {MAX_ITEMS} items already")),
            None => return Step::Fail("there is no array at this path".into()),
        }
    } else {
        *at = value;
    }
    let text = json.to_string();
    if text.len() > MAX_TEXT {
        return Step::Fail("the JSON text would be larger than 1 MiB".into());
    }
    call.assign_to(&out, Value::text(text));
    Step::Done(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::Bench;

    const MESSAGE: &str = "OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\n\
                           To: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n";

    #[test]
    fn paths() {
        let name = |n: &str| Path::Name(n.into());
        assert_eq!(steps(b"a.b[0].c"), Some(vec![name("a"), name("b"), Path::Index(0), name("c")]));
        assert_eq!(steps(b"[1][2]"), Some(vec![Path::Index(1), Path::Index(2)]));
        for bad in ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[0]b", "a[-1]"] {
            assert_eq!(steps(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn reading() {
        let mut b = Bench::new(MESSAGE);
        let json = r#"{"a": {"b": [1, "two", 2.5, true, null, {"c": []}]}, "n": 5}"#;
        let mut get = |path: &str| {
            b.push("x", &[]);
            let code = b.call(&JANSSON_GET, &[path, json, "$avp(x)"]);
            (code, b.avp("x").first().cloned())
        };
        assert_eq!(get("n"), (1, Some("5".into())));
        assert_eq!(get("a.b[1]"), (1, Some("two".into())));
        assert_eq!(get("a.b[2]"), (1, Some("2.5".into())));
        assert_eq!(get("a.b[3]"), (1, Some("true".into())));
        assert_eq!(get("a.b[5]"), (1, Some(r#"{"c":[]}"#.into())));
        assert_eq!(get("a.x").0, -1);
        assert_eq!(get("a.b[6]").0, -1);
        assert_eq!(b.call(&JANSSON_GET, &["a", "{", "$avp(x)"]), -1000);
        assert_eq!(b.call(&JANSSON_ARRAY_SIZE, &["a.b", json, "$avp(n)"]), 1);
        assert_eq!(b.avp("n"), ["6"]);
        assert_eq!(b.call(&JANSSON_ARRAY_SIZE, &["n", json, "$avp(n)"]), -1);
    }

    #[test]
    fn changing() {
        let mut json = Json::Null;
        *place(&mut json, &steps(b"a.b[0]").unwrap()).unwrap() = Json::from(1);
        *place(&mut json, &steps(b"a.b[1].c").unwrap()).unwrap() = Json::from("x");
        assert_eq!(json.to_string(), r#"{"a":{"b":[1,{"c":"x"}]}}"#);
        assert!(place(&mut json, &steps(b"a.b[3]").unwrap()).is_none());
        assert!(place(&mut json, &steps(b"a.b.c").unwrap()).is_none());
        assert_eq!(value_of(b"integer", b" 7 "), Ok(Json::from(7)));
        assert!(
            value_of(b"integer", b"x").is_err()
                && value_of(b"array", b"{}").is_err()
                && value_of(b"blob", b"").is_err()
        );
    }
}
