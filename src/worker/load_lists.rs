//! Tables and files that every worker keeps a copy of (`modules/lists.rs`): read before the startup route by the worker that
//! runs it, and again when an operator asks for it.

use super::seat::{CallError, ToMain};
use super::state::Worker;
use crate::base::Time;
use crate::modules::lists::{self, ALL, File, List, Source};
use crate::modules::permissions::address::What;
use crate::modules::permissions::allow::{self, Verdict};
use crate::modules::{emit, files};
use crate::ops::{self, SqlRequest, SqlResult};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Seconds that a database or a file may take.
const LIMIT: f64 = files::LIMIT;
/// Most entries that one answer shows.
const MOST_SHOWN: usize = 10_000;

/// Lists that are being read anew, by the operations that do it.
pub type Reloads = HashMap<ops::OpId, Reload>;

/// A list that is being read anew.
#[derive(Debug)]
pub struct Reload {
    /// The control request that is answered then.
    id: u64,
    list: List,
    /// Files that have been read.
    read: Vec<File>,
    /// Files that are still to be read; the first of them is being read.
    left: Vec<String>,
    /// Rows of the list before this one.
    rows: usize,
}

/// The methods of [`Worker::list_call`].
pub(super) const DUMPS: &[&str] = &[
    "permissions.addressDump",
    "permissions:address_dump",
    "address_dump",
    "permissions.subnetDump",
    "permissions:subnet_dump",
    "subnet_dump",
    "permissions.domainDump",
    "permissions.trustedDump",
    "domain.dump",
];

impl Worker {
    /// Fills the lists; the error ends the start.
    pub(super) fn load_lists(&mut self) -> Result<(), String> {
        let Some(store) = self.env().store.clone() else { return Ok(()) };
        for list in ALL {
            if let Some(data) = list.at_start(&self.env().settings) {
                store.set_list(list.name().as_bytes(), &data).map_err(|e| e.to_string())?;
                continue;
            }
            // A simulation has no database at this time.
            if !store.is_shared() {
                continue;
            }
            let Some(Source::Query(query)) = list.source(&self.env().settings) else { continue };
            let Some(request) = self.list_query(list, &query) else { continue };
            let id = self.start_operation(request, Some(LIMIT), None, Time::NEVER);
            let (_, outcome) = self.block_on(&[id]);
            self.writing.remove(&id);
            let crate::modules::request::Outcome::Op(outcome) = outcome else {
                return Err(format!("{}: the table cannot be read", list.name()));
            };
            self.take_rows(list, outcome)?;
        }
        Ok(())
    }

    fn list_query(&self, list: List, query: &str) -> Option<ops::Request> {
        let (_, url) = self.env().settings.db_urls.iter().find(|(n, _)| *n == list.database())?;
        Some(ops::Request::Sql(SqlRequest {
            url: url.clone(),
            query: query.into(),
            params: Vec::new(),
            then: Vec::new(),
        }))
    }

    /// Takes over what a database says; how many rows.
    fn take_rows(&self, list: List, outcome: ops::Outcome) -> Result<usize, String> {
        let name = list.name();
        match outcome {
            ops::Outcome::Sql(SqlResult { rows, .. }) => self.put_list(list, list.read(&rows)),
            ops::Outcome::Failed(failure) => Err(format!("{name}: the table cannot be read: {failure}")),
            _ => Err(format!("{name}: the table cannot be read")),
        }
    }

    fn put_list(&self, list: List, read: lists::Read) -> Result<usize, String> {
        let name = list.name();
        let store = self.env().store.as_ref().ok_or("there is no shared store")?;
        store.set_list(name.as_bytes(), &read.data).map_err(|e| format!("{name}: {e}"))?;
        if read.bad > 0 {
            emit(1, "lists", &format!("{name}: {} rows cannot be used and were left out", read.bad));
        }
        emit(3, "lists", &format!("{name}: {} rows", read.rows));
        Ok(read.rows)
    }

    /// `permissions.addressReload` and the like; `None`: the answer comes when the list has been read.
    pub(super) fn reload_list(&mut self, id: u64, list: List) -> Option<Result<Value, CallError>> {
        let reload = Reload { id, list, read: Vec::new(), left: Vec::new(), rows: 0 };
        let begun = self.begin_reload(reload);
        if begun {
            return None;
        }
        let why = format!("{}: nothing is kept of a database or a file", list.name());
        Some(Err(CallError::not_found(why)))
    }

    /// False: there is nothing to read it from.
    fn begin_reload(&mut self, mut reload: Reload) -> bool {
        let request = match reload.list.source(&self.env().settings) {
            Some(Source::Files(paths)) => {
                reload.left = paths;
                reload.left.first().map(|path| files::reading(path))
            }
            Some(Source::Query(query)) => self.list_query(reload.list, &query),
            None => None,
        };
        let Some(request) = request else { return false };
        self.go_on_reloading(reload, request);
        true
    }

    fn go_on_reloading(&mut self, reload: Reload, request: ops::Request) {
        let op = self.start_operation(request, Some(LIMIT), None, Time::NEVER);
        self.writing.remove(&op);
        self.reloads.insert(op, reload);
    }

    /// Whether a finished operation was one of these.
    pub(super) fn list_reloaded(&mut self, op: ops::OpId, outcome: &ops::Outcome) -> bool {
        let Some(mut reload) = self.reloads.remove(&op) else { return false };
        let list = reload.list;
        let taken = if reload.left.is_empty() {
            self.take_rows(list, outcome.clone())
        } else {
            let path = reload.left.remove(0);
            let read = files::read(&path, outcome.clone());
            match read.map(|text| reload.read.push((path, text))) {
                Ok(()) => {
                    if let Some(next) = reload.left.first() {
                        let request = files::reading(next);
                        self.go_on_reloading(reload, request);
                        return true;
                    }
                    list.read_files(&reload.read).and_then(|read| self.put_list(list, read))
                }
                Err(why) => Err(why),
            }
        };
        let id = reload.id;
        let result = match taken {
            Ok(rows) => {
                let rows = reload.rows + rows;
                if let Some(next) = list.companion() {
                    let reload = Reload { id, list: next, read: Vec::new(), left: Vec::new(), rows };
                    if self.begin_reload(reload) {
                        return true;
                    }
                }
                Ok(json!({ "rows": rows }).to_string())
            }
            Err(message) => Err(CallError { code: -32000, message: format!("{message}; the list stays as it was") }),
        };
        self.tell_main(&ToMain::Answer { id, result });
        true
    }

    /// `permissions.testUri`: what the files of a basename say about two URIs.
    pub(super) fn test_uri(&self, params: &str) -> Result<Value, CallError> {
        let params = super::control_tm::Params::parse(params)?;
        let base = params.required(0, "basename")?;
        let (from, to) = (params.required(1, "uri")?, params.required(2, "contact")?);
        let env = self.env();
        let files = allow::files(&env.settings.permissions, [Some(base.as_str().into()), None]);
        let known = |f: &String| env.settings.permissions.rules.iter().any(|r| *r.path == *f.as_bytes());
        if !files.iter().any(known) {
            return Err(CallError::not_found(format!("the script does not use the files of `{base}`")));
        }
        Ok(match allow::verdict(&lists::rules(env), &files, from.as_bytes(), to.as_bytes()) {
            Verdict::Denied => json!("Denied"),
            Verdict::Allowed | Verdict::Open => json!("Allowed"),
        })
    }

    /// What the lists hold: [`DUMPS`].
    pub(super) fn list_call(&self, method: &str) -> Result<Value, CallError> {
        let env = self.env();
        let addresses = |wanted: fn(&What) -> bool| {
            let all = lists::addresses(env);
            let entry = |e: &crate::modules::permissions::address::Address| {
                let (ip, mask) = match &e.what {
                    What::Net(ip, mask) => (ip.to_string(), Some(*mask)),
                    What::Name(name) => (name.to_lossy().into_owned(), None),
                };
                let tag = e.tag.as_ref().map(|t| t.to_lossy().into_owned());
                json!({ "group": e.group, "item": { "ip": ip, "mask": mask, "port": e.port, "tag": tag } })
            };
            all.entries.iter().filter(|e| wanted(&e.what)).take(MOST_SHOWN).map(entry).collect::<Value>()
        };
        let is_host = |what: &What| matches!(what, What::Net(ip, m) if *m == if ip.is_ipv4() { 32 } else { 128 });
        match method {
            "permissions.addressDump" | "permissions:address_dump" | "address_dump" => Ok(addresses(is_host)),
            "permissions.subnetDump" | "permissions:subnet_dump" | "subnet_dump" => {
                Ok(addresses(|w| matches!(w, What::Net(ip, m) if *m < if ip.is_ipv4() { 32 } else { 128 })))
            }
            "permissions.domainDump" => Ok(addresses(|w| matches!(w, What::Name(_)))),
            "permissions.trustedDump" => {
                let line = |t: &crate::modules::permissions::trusted::Trusted| {
                    json!({
                        "ip": t.source.to_lossy(), "proto": t.proto.to_lossy(), "pattern": t.from.to_lossy(),
                        "ruri_pattern": t.ruri.to_lossy(), "priority": t.priority,
                        "tag": t.tag.as_ref().map(|t| t.to_lossy().into_owned()),
                    })
                };
                Ok(lists::trusted(env).iter().take(MOST_SHOWN).map(line).collect())
            }
            "domain.dump" => {
                let line = |(domain, did): &(crate::base::Str, crate::base::Str)| json!({ "domain": domain.to_lossy(), "did": did.to_lossy() });
                Ok(lists::domains(env).all().iter().take(MOST_SHOWN).map(line).collect())
            }
            _ => Err(CallError::no_such_method()),
        }
    }
}
