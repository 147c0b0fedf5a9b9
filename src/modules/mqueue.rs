//! `mqueue`: queues that all processes share (kamailio.md section 3.4), and our own `event_route[mqueue:NAME]`, which
//! runs when something has been added: its consumer need not look again and again.

use super::host::SipHost;
use super::log_line;
use super::pv_kamailio::Kpv;
use super::request::Request;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use crate::store::Shared;
use crate::store::shared::queues::Doubles;
use serde::{Deserialize, Serialize};

/// A queue, as its definition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: Str,
    /// Most pairs it holds; 0: any number.
    pub size: u64,
    /// What becomes of a key that is there already.
    pub doubles: Doubles,
    /// Whether it is kept in a database while the server is down.
    pub database: Database,
}

/// `dbmode`: the table has the queue's name and the columns `id` (which counts), `key` and `val`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Database {
    /// At the start the table's rows go into the queue, and are deleted.
    pub load: bool,
    /// At the end what the queue holds goes into the table.
    pub save: bool,
}

impl Database {
    /// Number of the queues' own database URL among all.
    pub const URL: i64 = i64::MIN + 1;

    fn of(mode: i64) -> Result<Database, String> {
        match mode {
            0..=3 => Ok(Database { load: matches!(mode, 1 | 2), save: matches!(mode, 1 | 3) }),
            n => Err(format!("dbmode is 0 (no database), 1 (load and save), 2 (load) or 3 (save), not {n}")),
        }
    }

    /// Whether there is one.
    pub fn is_used(self) -> bool {
        self.load || self.save
    }
}

/// `addmode`
pub fn doubles(mode: i64) -> Result<Doubles, String> {
    Ok(match mode {
        0 => Doubles::Keep,
        1 => Doubles::Oldest,
        2 => Doubles::Newest,
        n => return Err(format!("addmode is 0, 1 or 2, not {n}")),
    })
}

/// A name that a queue can have.
pub fn name(text: &str) -> Result<Str, String> {
    match text.trim() {
        "" => Err("a queue needs a name".into()),
        long if long.len() > crate::store::shared::LONGEST_OWNER => Err("the queue's name is too long".into()),
        text => Ok(Str::from(text)),
    }
}

impl Queue {
    /// Reads `name=Q;size=N;...`; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Queue, String> {
        let mut queue = Queue { name: Str::default(), size: 0, doubles: Doubles::Keep, database: Database::default() };
        for attribute in text.split(';').map(str::trim).filter(|a| !a.is_empty()) {
            let (key, value) = attribute.split_once('=').ok_or_else(|| format!("`{attribute}` has no value"))?;
            let value = value.trim();
            let number = || value.parse::<i64>().map_err(|_| format!("`{key}` is a number, not `{value}`"));
            match key.trim() {
                "name" => queue.name = name(value)?,
                "size" => queue.size = u64::try_from(number()?).map_err(|_| "`size` is not negative".to_string())?,
                "addmode" => queue.doubles = doubles(number()?)?,
                "dbmode" => queue.database = Database::of(number()?)?,
                other => return Err(format!("a queue has no attribute `{other}`")),
            }
        }
        let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$');
        if queue.name.is_empty() {
            Err("a queue needs a name".into())
        } else if queue.database.is_used() && !queue.name.iter().all(fits) {
            Err("the name of a queue with `dbmode` is that of a table: letters, digits, `_`, `-` and `$`".into())
        } else {
            Ok(queue)
        }
    }
}

/// The pair that a run fetched last from a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The queue.
    pub queue: Str,
    /// The pair's key.
    pub key: Str,
    /// Its value.
    pub value: Str,
}

const ROUTES: RouteSet = RouteSet::ALL;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "mqueue",
    dialects: &[Dialect::Kamailio],
    functions: &[MQ_ADD, MQ_FETCH, MQ_PV_FREE, MQ_SIZE],
    params: &[
        ModParamSpec {
            name: "mqueue",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "`name=Q;size=N;addmode=0|1|2;dbmode=0|1|2|3`: a queue; size 0 is no limit; dbmode 1 loads it from a table of its \
                  name at the start and saves it at the end, 2 only loads, 3 only saves",
        },
        ModParamSpec {
            name: "mqueue_name",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "a queue with the `mqueue_size` and `mqueue_addmode` set before it",
        },
        ModParamSpec {
            name: "mqueue_size",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "size of the queues that `mqueue_name` defines; default 0",
        },
        ModParamSpec {
            name: "mqueue_addmode",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "addmode of the queues that `mqueue_name` defines; default 0",
        },
        ModParamSpec {
            name: "db_url",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "the database of queues with `dbmode`: each has a table with the columns id (auto-increment), key and val",
        },
    ],
    any_param: false,
    needs: &[],
};

/// The queue of this name and the store it lies in.
fn queue<'a>(h: &'a SipHost, name: &[u8]) -> Result<(&'a Shared, &'a Queue), String> {
    let env = h.env();
    let found = env.settings.queues.iter().find(|q| *q.name == *name);
    let queue = found.ok_or_else(|| format!("there is no queue `{}`", String::from_utf8_lossy(name)))?;
    Ok((env.store.as_ref().ok_or("there is no shared store")?, queue))
}

fn failed(call: &Call<'_, SipHost>, why: impl std::fmt::Display) -> Step<SipHost> {
    log_line(call.host, -1, &format!("mqueue: {why}"));
    Step::Done(-1)
}

const MQ_ADD: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("mq_add"),
    params: &[Param::req("queue", Kind::Str), Param::req("key", Kind::Str), Param::req("value", Kind::Str)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Adds a pair to a queue; a full one loses its first. `event_route[mqueue:QUEUE]` runs if there is one.",
    returns: &[(1, "added, or there already and not wanted twice"), (-1, "no such queue")],
    example: r#"mq_add("calls", "$ci", "$T(id_index):$T(id_label)");"#,
    run: |call| {
        let text = |i| call.text(i).unwrap_or_default();
        let added = queue(call.host, &text(0)).and_then(|(store, q)| {
            let added = store.queue_add(&q.name, &text(1), &text(2), q.size, q.doubles);
            added.map(|yes| yes.then(|| q.name.clone())).map_err(|e| e.to_string())
        });
        match added {
            Ok(Some(queue)) => Step::Wait(Request::Queued { queue }),
            Ok(None) => Step::Done(1),
            Err(why) => failed(call, why),
        }
    },
    finish: Some(|_call, _outcome| Step::Done(1)),
};

const MQ_FETCH: FnSpec<SipHost> = FnSpec {
    kamailio: Some("mq_fetch"),
    params: &[Param::req("queue", Kind::Str)],
    doc: "Takes the first pair out of a queue: `$mqk(queue)` is its key, `$mqv(queue)` its value.",
    returns: &[(1, "there was one"), (-1, "no such queue"), (-2, "the queue is empty")],
    example: r#"while (mq_fetch("calls")) xlog("$mqk(calls) $mqv(calls)\n");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let pair = queue(call.host, &name).and_then(|(store, q)| store.queue_fetch(&q.name).map_err(|e| e.to_string()));
        let pair = match pair {
            Ok(pair) => pair,
            Err(why) => return failed(call, why),
        };
        let fetched = &mut call.host.fetched;
        fetched.retain(|f| f.queue != name);
        match pair {
            Some(pair) => {
                let value = pair.value.to_text().unwrap_or_default();
                fetched.push(Fetched { queue: name, key: pair.name, value });
                Step::Done(1)
            }
            None => Step::Done(-2),
        }
    },
    finish: None,
    ..MQ_ADD
};

const MQ_PV_FREE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("mq_pv_free"),
    doc: "Forgets the pair that was fetched last.",
    returns: &[(1, "done")],
    example: r#"mq_pv_free("calls");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        call.host.fetched.retain(|f| f.queue != name);
        Step::Done(1)
    },
    ..MQ_FETCH
};

const MQ_SIZE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("mq_size"),
    doc: "How many pairs a queue holds.",
    returns: &[(1, "the number itself"), (-1, "none"), (-2, "no such queue")],
    example: r#"$var(waiting) = mq_size("calls");"#,
    run: |call| {
        let name = call.text(0).unwrap_or_default();
        let Ok((store, q)) = queue(call.host, &name) else { return Step::Done(-2) };
        match store.queue_len(&q.name) {
            Ok(0) => Step::Done(-1),
            Ok(n) => Step::Done(i32::try_from(n).unwrap_or(i32::MAX)),
            Err(why) => failed(call, why),
        }
    },
    ..MQ_FETCH
};

/// Reads `$mqk`, `$mqv` or `$mq_size`.
pub fn get(h: &SipHost, pv: Kpv, sub: Option<&Value>) -> Value {
    let name = sub.and_then(Value::to_text).unwrap_or_default();
    if pv == Kpv::QueueSize {
        let len = queue(h, &name).and_then(|(store, q)| store.queue_len(&q.name).map_err(|e| e.to_string()));
        return len.map_or(Value::Null, |n| Value::Int(i64::try_from(n).unwrap_or(i64::MAX)));
    }
    let Some(pair) = h.fetched.iter().find(|f| f.queue == name) else { return Value::Null };
    let text = if pv == Kpv::QueueKey { &pair.key } else { &pair.value };
    if text.is_empty() { Value::Null } else { Value::Str(text.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_read() {
        let q = Queue::parse("name=reinvite_q; size = 100 ;addmode=2;").unwrap();
        assert_eq!((&q.name[..], q.size, q.doubles), (&b"reinvite_q"[..], 100, Doubles::Newest));
        assert_eq!(Queue::parse("name=q;dbmode=0").unwrap().size, 0);
        let of = |text: &str| Queue::parse(text).unwrap().database;
        assert!(!of("name=q").is_used());
        assert_eq!(of("name=q;dbmode=1"), Database { load: true, save: true });
        assert_eq!(of("name=q;dbmode=2"), Database { load: true, save: false });
        assert_eq!(of("name=q;dbmode=3"), Database { load: false, save: true });
        assert!(Queue::parse("name=no table").is_ok());
        for bad in [
            "",
            "size=4",
            "name=",
            "name=q;x=1",
            "name=q;size=-1",
            "name=q;addmode=3",
            "name=q;dbmode=4",
            "name=q;dbmode=-1",
            "name=a`b;dbmode=1",
        ] {
            assert!(Queue::parse(bad).is_err(), "{bad}");
        }
    }
}
