//! Tables that every worker keeps a copy of (`modules/lists.rs`): read before the startup route by the worker that runs it,
//! and again when an operator asks for it.

use super::seat::{CallError, ToMain};
use super::state::Worker;
use crate::base::Time;
use crate::modules::emit;
use crate::modules::lists::{self, ALL, List};
use crate::modules::permissions::address::What;
use crate::ops::{self, SqlRequest, SqlResult};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Seconds that a database may take for a table.
const LIMIT: f64 = 8.0;
/// Most entries that one answer shows.
const MOST_SHOWN: usize = 10_000;

/// Lists that are being read anew: the operation, and the control request that is answered then.
pub type Reloads = HashMap<ops::OpId, (u64, List)>;

impl Worker {
    /// Fills the lists; the error ends the start.
    pub(super) fn load_lists(&mut self) -> Result<(), String> {
        let Some(store) = self.env().store.clone() else { return Ok(()) };
        if let Some(file) = &self.env().settings.permissions.file {
            let data = lists::encode(file);
            store.set_list(List::Addresses.name().as_bytes(), &data).map_err(|e| e.to_string())?;
        }
        // A simulation has no database at this time.
        if !store.is_shared() {
            return Ok(());
        }
        for list in ALL {
            let Some(request) = self.list_request(list) else { continue };
            let id = self.start_operation(ops::Request::Sql(request), Some(LIMIT), None, Time::NEVER);
            let (_, outcome) = self.block_on(&[id]);
            self.writing.remove(&id);
            let crate::modules::request::Outcome::Op(outcome) = outcome else {
                return Err(format!("{}: the table cannot be read", list.name()));
            };
            self.take_list(list, outcome)?;
        }
        Ok(())
    }

    fn list_request(&self, list: List) -> Option<SqlRequest> {
        let settings = &self.env().settings;
        let query = list.query(settings)?;
        let (_, url) = settings.db_urls.iter().find(|(n, _)| *n == list.database())?;
        Some(SqlRequest { url: url.clone(), query: query.as_str().into(), params: Vec::new(), then: Vec::new() })
    }

    /// Takes over what a database says; how many rows.
    fn take_list(&self, list: List, outcome: ops::Outcome) -> Result<usize, String> {
        let name = list.name();
        let rows = match outcome {
            ops::Outcome::Sql(SqlResult { rows, .. }) => rows,
            ops::Outcome::Failed(failure) => return Err(format!("{name}: the table cannot be read: {failure}")),
            _ => return Err(format!("{name}: the table cannot be read")),
        };
        let read = list.read(&rows);
        let store = self.env().store.as_ref().ok_or("there is no shared store")?;
        store.set_list(name.as_bytes(), &read.data).map_err(|e| format!("{name}: {e}"))?;
        if read.bad > 0 {
            emit(1, "lists", &format!("{name}: {} rows cannot be used and were left out", read.bad));
        }
        emit(3, "lists", &format!("{name}: {} rows", read.rows));
        Ok(read.rows)
    }

    /// `permissions.addressReload` and the like; `None`: the answer comes when the table has been read.
    pub(super) fn reload_list(&mut self, id: u64, list: List) -> Option<Result<Value, CallError>> {
        let Some(request) = self.list_request(list) else {
            let why = format!("{}: nothing is kept of a database", list.name());
            return Some(Err(CallError::not_found(why)));
        };
        let op = self.start_operation(ops::Request::Sql(request), Some(LIMIT), None, Time::NEVER);
        self.reloads.insert(op, (id, list));
        None
    }

    /// Whether a finished operation was one of these; if so, it is answered.
    pub(super) fn list_reloaded(&mut self, op: ops::OpId, outcome: &ops::Outcome) -> bool {
        let Some((id, list)) = self.reloads.remove(&op) else { return false };
        let taken = self.take_list(list, outcome.clone());
        let result = match taken {
            Ok(rows) => Ok(json!({ "rows": rows }).to_string()),
            Err(message) => Err(CallError { code: -32000, message }),
        };
        self.tell_main(&ToMain::Answer { id, result });
        true
    }

    /// `permissions.addressDump`, `subnetDump`, `domainDump`, `trustedDump`, `domain.dump`
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
            "permissions.addressDump" => Ok(addresses(is_host)),
            "permissions.subnetDump" => {
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
