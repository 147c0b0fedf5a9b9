//! `htable`: tables that all processes share (kamailio.md section 3.6). A table is rows of the shared store; its
//! variables are in [`items`], walks in [`iterate`].

mod choose;
pub mod definition;
pub mod items;
mod iterate;
pub mod load;

pub use iterate::Iterator;

use super::host::SipHost;
use super::log_line;
use super::request::Request;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use choose::{Choice, Of};
use definition::end_after;
use items::{place, split};

const ROUTES: RouteSet = RouteSet::ALL;
/// How many items `sht_print` writes.
const MOST_PRINTED: usize = 1000;

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "htable",
    dialects: &[Dialect::Kamailio],
    functions: &[
        PRINT,
        RM,
        RM_NAME,
        RM_VALUE,
        RM_NAME_RE,
        RM_VALUE_RE,
        MATCH_NAME,
        HAS_NAME,
        MATCH_VALUE,
        HAS_VALUE,
        LOCK,
        UNLOCK,
        RESET,
        load::RELOAD,
        SETXS,
        SETXI,
        IS_NULL,
        INC,
        DEC,
        iterate::START,
        iterate::NEXT,
        iterate::END,
        iterate::RM,
        iterate::SETS,
        iterate::SETI,
        iterate::SETEX,
    ],
    params: &[
        ModParamSpec {
            name: "htable",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "`name=>size=N;autoexpire=S;initval=N;updateexpire=0|1;dbtable=T;cols='k,v,...';coldelim=C;colnull=C;dbmode=0|1;reloadat=S`: a table",
        },
        ModParamSpec {
            name: "timer_interval",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "seconds between two looks for items that have ended; default 20",
        },
        text("db_url", "the database of `dbtable`"),
        text("key_name_column", "column of the names; default key_name"),
        text("key_type_column", "column of the names' types, 1: of an array; default key_type"),
        text("value_type_column", "column of the values' types, 0: text, 1: number; default value_type"),
        text("key_value_column", "column of the values; default key_value"),
        text("expires_column", "column of the ends, seconds since 1970; default expires"),
        ModParamSpec {
            name: "db_expires",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: the ends are read; default 0",
        },
        ignored("fetch_rows", "a table is read in one go"),
        ignored("array_size_suffix", "::size"),
        ignored("timer_procs", "one worker looks for items that have ended"),
        ignored("event_callback", "the script has no embedded language: event routes run"),
        ignored("event_callback_mode", "events are routes"),
        ignored("dmq_init_sync", "tables are not replicated to other machines"),
        ignored("enable_dmq", "tables are not replicated to other machines"),
    ],
    any_param: false,
    needs: &[],
};

/// Says why a function did nothing.
fn failed(call: &Call<'_, SipHost>, why: impl std::fmt::Display) -> Step<SipHost> {
    log_line(call.host, -1, &format!("htable: {why}"));
    Step::Done(-1)
}

fn done(call: &Call<'_, SipHost>, what: Result<bool, String>) -> Step<SipHost> {
    match what {
        Ok(yes) => Step::Done(if yes { 1 } else { -1 }),
        Err(why) => failed(call, why),
    }
}

const PRINT: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("sht_print"),
    params: &[],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Writes the items of all tables to the log, at most a thousand.",
    returns: &[(1, "done")],
    example: "sht_print();",
    run: |call| {
        let mut lines = Vec::new();
        for table in &call.host.env().settings.tables {
            let shown = place(call.host, &table.name).and_then(|p| {
                p.each(&mut |item| {
                    let value = item.value.to_text().unwrap_or_default();
                    let (table, name) = (table.name.to_lossy(), item.name.to_lossy());
                    lines.push(format!("htable: {table}=>{name}: {}", value.to_lossy()));
                    lines.len() < MOST_PRINTED
                })
                .map_err(|e| e.to_string())
            });
            if let Err(why) = shown {
                return failed(call, why);
            }
        }
        lines.iter().for_each(|line| log_line(call.host, 3, line));
        Step::Done(1)
    },
    finish: None,
};

const RM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_rm"),
    params: &[Param::req("table", Kind::Str), Param::req("name", Kind::Str)],
    doc: "Removes an item.",
    returns: &[(1, "done, also if there was none"), (-1, "no such table")],
    example: r#"sht_rm("calls", "$ci");"#,
    run: |call| {
        let (table, name) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let removed = place(call.host, &table).and_then(|p| p.set(&name, &Value::Null).map_err(|e| e.to_string()));
        done(call, removed.map(|()| true))
    },
    ..PRINT
};

/// Table, operator and operand.
const CHOICE: &[Param] =
    &[Param::req("table", Kind::Str), Param::req("operator", Kind::Str), Param::req("text", Kind::Str)];

fn choice(call: &Call<'_, SipHost>, of: Of) -> Result<(Str, Choice), String> {
    let text = |i| call.text(i).unwrap_or_default();
    Ok((text(0), Choice::named(of, &text(1), &text(2))?))
}

fn remove_chosen(call: &Call<'_, SipHost>, chosen: Result<(Str, Choice), String>) -> Step<SipHost> {
    let removed = chosen.and_then(|(table, choice)| {
        place(call.host, &table).and_then(|p| p.remove(&choice).map_err(|e| e.to_string()))
    });
    done(call, removed.map(|_| true))
}

fn any_chosen(call: &Call<'_, SipHost>, chosen: Result<(Str, Choice), String>) -> Step<SipHost> {
    let found = chosen.and_then(|(table, choice)| {
        let mut any = false;
        place(call.host, &table)?
            .each(&mut |item| {
                any = choice.takes(item);
                !any
            })
            .map_err(|e| e.to_string())?;
        Ok(any)
    });
    done(call, found)
}

/// `table=>regular expression`
fn pattern(call: &Call<'_, SipHost>, of: Of) -> Result<(Str, Choice), String> {
    let text = call.text(0).unwrap_or_default();
    let (table, pattern) = split(&text)?;
    Ok((Str::from(table), Choice::pattern(of, pattern)?))
}

const RM_NAME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_rm_name"),
    params: CHOICE,
    doc: "Removes the items whose names fit: `re` a regular expression, `sw` begins with, `ew` ends with, `in` contains, \
          `eq`, `ne`.",
    returns: &[(1, "done"), (-1, "no such table or operator")],
    example: r#"sht_rm_name("calls", "sw", "$fU:");"#,
    run: |call| {
        let chosen = choice(call, Of::Name);
        remove_chosen(call, chosen)
    },
    ..PRINT
};

const RM_VALUE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_rm_value"),
    doc: "Removes the items whose values, if they are texts, fit; operators as for `sht_rm_name`.",
    example: r#"sht_rm_value("calls", "re", "^old");"#,
    run: |call| {
        let chosen = choice(call, Of::Value);
        remove_chosen(call, chosen)
    },
    ..RM_NAME
};

const RM_NAME_RE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_rm_name_re"),
    params: &[Param::req("table=>pattern", Kind::Str)],
    doc: "Removes the items whose names fit a regular expression.",
    returns: &[(1, "done"), (-1, "no such table, or no regular expression")],
    example: r#"sht_rm_name_re("calls=>^$fU:");"#,
    run: |call| {
        let chosen = pattern(call, Of::Name);
        remove_chosen(call, chosen)
    },
    ..PRINT
};

const RM_VALUE_RE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_rm_value_re"),
    doc: "Removes the items whose values, if they are texts, fit a regular expression.",
    example: r#"sht_rm_value_re("calls=>^old");"#,
    run: |call| {
        let chosen = pattern(call, Of::Value);
        remove_chosen(call, chosen)
    },
    ..RM_NAME_RE
};

const MATCH_NAME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_match_name"),
    params: CHOICE,
    doc: "Whether there is an item whose name fits; operators as for `sht_rm_name`.",
    returns: &[(1, "there is one"), (-1, "there is none, or no such table or operator")],
    example: r#"if (sht_match_name("calls", "sw", "$fU:")) exit;"#,
    run: |call| {
        let chosen = choice(call, Of::Name);
        any_chosen(call, chosen)
    },
    ..PRINT
};

const HAS_NAME: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_has_name"),
    example: r#"if (sht_has_name("calls", "eq", "$ci")) exit;"#,
    ..MATCH_NAME
};

const MATCH_VALUE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_match_str_value"),
    doc: "Whether there is an item whose value is a text that fits; operators as for `sht_rm_name`.",
    example: r#"if (sht_match_str_value("calls", "eq", "$si")) exit;"#,
    run: |call| {
        let chosen = choice(call, Of::Value);
        any_chosen(call, chosen)
    },
    ..MATCH_NAME
};

const HAS_VALUE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_has_str_value"),
    example: r#"if (sht_has_str_value("calls", "re", "^$si")) exit;"#,
    ..MATCH_VALUE
};

/// The name of the lock of an item.
fn lock_of(call: &Call<'_, SipHost>) -> Result<Str, String> {
    let text = call.text(0).unwrap_or_default();
    let (table, _) = split(&text)?;
    place(call.host, table)?;
    Ok(Str::from([b"htable:", &text[..]].concat()))
}

const LOCK: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_lock"),
    params: &[Param::req("table=>name", Kind::Str)],
    waits: true,
    doc: "Takes the lock of an item, waiting while another run holds it, in whichever process. It belongs to the run \
          and ends with it.",
    returns: &[(1, "taken"), (-1, "not before the deadline, or no such table")],
    example: r#"sht_lock("calls=>$fU");"#,
    run: |call| match lock_of(call) {
        Ok(key) => Step::Wait(Request::Lock { key }),
        Err(why) => failed(call, why),
    },
    finish: Some(|_call, outcome| Step::Done(outcome.code())),
    ..PRINT
};

const UNLOCK: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_unlock"),
    waits: false,
    doc: "Releases the lock of an item.",
    returns: &[(1, "released"), (-1, "this run does not hold it, or no such table")],
    example: r#"sht_unlock("calls=>$fU");"#,
    run: |call| match lock_of(call) {
        Ok(key) => Step::Wait(Request::Unlock { key }),
        Err(why) => failed(call, why),
    },
    ..LOCK
};

const RESET: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_reset"),
    params: &[Param::req("table", Kind::Str)],
    doc: "Empties a table.",
    returns: &[(1, "done"), (-1, "no such table")],
    example: r#"sht_reset("calls");"#,
    run: |call| {
        let table = call.text(0).unwrap_or_default();
        let chosen = Choice::glued(Of::Name, b"**").map(|all| (table, all));
        remove_chosen(call, chosen)
    },
    ..PRINT
};

fn set_for(call: &Call<'_, SipHost>, value: Option<Value>) -> Step<SipHost> {
    let (table, name) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    let (Some(value), Some(seconds)) = (value, call.int(3)) else {
        return failed(call, "the value or the time to live is no number");
    };
    let set = place(call.host, &table).and_then(|p| {
        let ends = match p.table.expire {
            // Without `autoexpire` nothing of the table ends.
            0 => p.table.ends(p.now),
            _ => crate::store::shared::tables::Ends::At(end_after(seconds, p.now)),
        };
        p.store.set_item(&p.table.name, &name, &value, ends, p.now).map_err(|e| e.to_string())
    });
    done(call, set.map(|()| true))
}

const SETXS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_setxs"),
    params: &[
        Param::req("table", Kind::Str),
        Param::req("name", Kind::Str),
        Param::req("value", Kind::Str),
        Param::req("seconds", Kind::Int),
    ],
    doc: "Sets an item to a text, and how long it lives.",
    returns: &[(1, "done"), (-1, "no such table, or no number")],
    example: r#"sht_setxs("calls", "$ci", "$si", "60");"#,
    run: |call| set_for(call, call.text(2).map(Value::Str)),
    ..PRINT
};

const SETXI: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_setxi"),
    params: &[
        Param::req("table", Kind::Str),
        Param::req("name", Kind::Str),
        Param::req("value", Kind::Int),
        Param::req("seconds", Kind::Int),
    ],
    doc: "Sets an item to a number, and how long it lives.",
    example: r#"sht_setxi("calls", "$ci", "1", "60");"#,
    run: |call| set_for(call, call.int(2).map(Value::Int)),
    ..SETXS
};

const IS_NULL: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_is_null"),
    params: &[Param::req("table", Kind::Str), Param::req("name", Kind::Str)],
    doc: "Whether a table lacks an item.",
    returns: &[(1, "there is none"), (-1, "there is one"), (-2, "the table has a first value"), (2, "no such table")],
    example: r#"if (sht_is_null("calls", "$ci")) exit;"#,
    run: |call| {
        let (table, name) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
        let Ok(p) = place(call.host, &table) else { return Step::Done(2) };
        match p.store.item(&p.table.name, &name, p.now) {
            Ok(Some(_)) => Step::Done(-1),
            Ok(None) => Step::Done(if p.table.first.is_some() { -2 } else { 1 }),
            Err(why) => failed(call, why),
        }
    },
    ..PRINT
};

fn add(call: &Call<'_, SipHost>, by: i64) -> Step<SipHost> {
    let (table, name) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    let sum = place(call.host, &table).and_then(|p| p.add(&name, by).map_err(|e| e.to_string()));
    done(call, sum.map(|n| n.is_some()))
}

const INC: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_inc"),
    params: &[Param::req("table", Kind::Str), Param::req("name", Kind::Str)],
    doc: "Adds 1 to an item, at once for all processes.",
    returns: &[(1, "done"), (-1, "no such table, no item and no first value, or a text")],
    example: r#"sht_inc("calls", "$fU");"#,
    run: |call| add(call, 1),
    ..PRINT
};

const DEC: FnSpec<SipHost> = FnSpec {
    kamailio: Some("sht_dec"),
    doc: "Takes 1 from an item, at once for all processes.",
    example: r#"sht_dec("calls", "$fU");"#,
    run: |call| add(call, -1),
    ..INC
};
