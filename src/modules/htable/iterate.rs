//! Walking over a table, one item at a time. The position belongs to the run and holds nothing: others may write
//! meanwhile, and what they add behind the position is seen.

use super::items::{Place, place};
use super::{ROUTES, failed};
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};
use crate::script::value::Value;
use serde::{Deserialize, Serialize};

/// Most iterators of one run.
const MOST: usize = 16;

/// A position in a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Iterator {
    /// What the script calls it.
    pub name: Str,
    /// Its table.
    pub table: Str,
    /// The row it stands at, as the store calls it.
    row: Option<Vec<u8>>,
    /// Name and value of the item there, as they were found.
    pub item: Option<(Str, Value)>,
}

pub(super) const START: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("sht_iterator_start"),
    params: &[Param::req("iterator", Kind::Str), Param::req("table", Kind::Str)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Begins a walk over a table, in front of its first item. One of the same name is given up.",
    returns: &[(1, "done"), (-1, "no such table, or too many iterators")],
    example: r#"sht_iterator_start("it", "calls");"#,
    run: |call| {
        let (name, table) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        if let Err(why) = place(call.host, &table) {
            return failed(call, why);
        }
        call.host.iterators.retain(|i| i.name != name);
        if call.host.iterators.len() >= MOST {
            return failed(call, "too many iterators");
        }
        call.host.iterators.push(Iterator { name, table, row: None, item: None });
        Step::Done(1)
    },
    finish: None,
};

pub(super) const NEXT: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_iterator_next"),
    params: &[Param::req("iterator", Kind::Str)],
    doc: "Goes to the next item; `$shtitkey(iterator)` and `$shtitval(iterator)` are about it.",
    returns: &[(1, "there is one"), (-1, "the end, or no such iterator")],
    example: r#"while (sht_iterator_next("it")) xlog("$shtitkey(it) $shtitval(it)\n");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let Some(at) = call.host.iterators.iter().position(|i| i.name == name) else { return Step::Done(-1) };
        let Some(old) = call.host.iterators.get(at).cloned() else { return Step::Done(-1) };
        let mut found = None;
        let walked = place(call.host, &old.table).and_then(|p| {
            let mut take = |row: &[u8], item: crate::store::shared::Stored| {
                found = Some((row.to_vec(), (item.name, item.value)));
                false
            };
            p.store.items(&p.table.name, old.row.as_deref(), p.now, &mut take).map_err(|e| e.to_string())
        });
        if let Err(why) = walked {
            return failed(call, why);
        }
        let Some(iterator) = call.host.iterators.get_mut(at) else { return Step::Done(-1) };
        match found {
            Some((row, item)) => {
                iterator.row = Some(row);
                iterator.item = Some(item);
                Step::Done(1)
            }
            None => {
                iterator.item = None;
                Step::Done(-1)
            }
        }
    },
    ..START
};

pub(super) const END: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_iterator_end"),
    params: &[Param::req("iterator", Kind::Str)],
    doc: "Gives an iterator up; the run's end does so too.",
    returns: &[(1, "done")],
    example: r#"sht_iterator_end("it");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        call.host.iterators.retain(|i| i.name != name);
        Step::Done(1)
    },
    ..START
};

/// Does something to the item that an iterator stands at.
fn at_item(call: &mut Call<'_, SipHost>, act: impl FnOnce(&Place<'_>, &[u8]) -> Result<(), String>) -> Step<SipHost> {
    let name = call.text(0).unwrap_or_default();
    let found = call.host.iterators.iter().find(|i| i.name == name);
    let Some((table, item)) = found.and_then(|i| Some((&i.table, &i.item.as_ref()?.0))) else { return Step::Done(-1) };
    match place(call.host, table).and_then(|p| act(&p, item)) {
        Ok(()) => Step::Done(1),
        Err(why) => failed(call, why),
    }
}

pub(super) const RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_iterator_rm"),
    params: &[Param::req("iterator", Kind::Str)],
    doc: "Removes the item that an iterator stands at.",
    returns: &[(1, "done"), (-1, "it stands at none")],
    example: r#"sht_iterator_rm("it");"#,
    run: |call| at_item(call, |p, name| p.set(name, &Value::Null).map_err(|e| e.to_string())),
    ..START
};

pub(super) const SETS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_iterator_sets"),
    params: &[Param::req("iterator", Kind::Str), Param::req("value", Kind::Str)],
    doc: "Sets the value of the item that an iterator stands at, to a text.",
    example: r#"sht_iterator_sets("it", "seen");"#,
    run: |call| {
        let value = Value::Str(call.text(1).unwrap_or_default());
        at_item(call, |p, name| p.set(name, &value).map_err(|e| e.to_string()))
    },
    ..RM
};

pub(super) const SETI: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_iterator_seti"),
    params: &[Param::req("iterator", Kind::Str), Param::req("value", Kind::Int)],
    doc: "Sets the value of the item that an iterator stands at, to a number.",
    example: r#"sht_iterator_seti("it", "5");"#,
    run: |call| {
        let Some(value) = call.int(1).map(Value::Int) else { return failed(call, "the value is no number") };
        at_item(call, |p, name| p.set(name, &value).map_err(|e| e.to_string()))
    },
    ..RM
};

pub(super) const SETEX: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_iterator_setex"),
    params: &[Param::req("iterator", Kind::Str), Param::req("seconds", Kind::Int)],
    doc: "Sets how long the item that an iterator stands at lives from now on.",
    example: r#"sht_iterator_setex("it", "60");"#,
    run: |call| {
        let Some(seconds) = call.int(1) else { return failed(call, "the time to live is no number") };
        at_item(call, |p, name| p.live_on(name, seconds).map(|_| ()).map_err(|e| e.to_string()))
    },
    ..RM
};
