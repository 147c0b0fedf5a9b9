//! What main asks a worker: its waits, and to end one.

use super::seat::{CallError, ToChild, ToMain};
use super::state::{Parked, Waiting, Worker};
use crate::base::Key;
use crate::modules::emit;
use crate::modules::lists::List;
use crate::net::bus::Bus;
use crate::net::channel::{ChannelError, MAX_MESSAGE};
use crate::net::connections::Why;
use crate::net::connections::conn::State;
use crate::ops::{CancelReason, OpId};
use crate::script::vm::WaitInfo;
use serde_json::{Value, json};

impl Worker {
    /// Sends to main; a full channel is flushed in a later turn. Whoever asked for more than main is told at once hears
    /// that instead.
    pub(super) fn tell_main(&mut self, message: &ToMain) {
        let sent = match (self.main.send(message), message) {
            (Err(why @ (ChannelError::TooLarge | ChannelError::Full)), ToMain::Answer { id, .. }) => {
                emit(0, "worker", &format!("an answer to a control request is dropped: {why}"));
                let message = format!("the answer is more than {} MiB: ask for a part", MAX_MESSAGE >> 20);
                let short = CallError { code: -32000, message };
                self.main.send(&ToMain::Answer { id: *id, result: Err(short) })
            }
            (sent, _) => sent,
        };
        if let Err(why) = sent {
            emit(-1, "worker", &format!("main does not take messages any more: {why}"));
            self.quit = true;
        }
    }

    /// What main has sent.
    pub(super) fn main_readable(&mut self) {
        loop {
            match self.main.recv() {
                Ok(Some(message)) => self.order(message),
                Ok(None) => return,
                // Main is dead, and so is the server.
                Err(_) => {
                    self.quit = true;
                    return;
                }
            }
        }
    }

    fn order(&mut self, message: ToChild) {
        match message {
            ToChild::StartVars(bytes) => {
                self.begin_with(&bytes);
            }
            ToChild::StartTraffic => self.start_traffic(),
            ToChild::Drain { timeout_ms } => self.begin_drain(timeout_ms),
            ToChild::Quit => self.quit = true,
            ToChild::SaveAndQuit => (self.save, self.quit) = (true, true),
            ToChild::Call { id, method, params } => {
                let result = if method.starts_with("dispatcher") || method.starts_with("ds_") {
                    self.dispatcher_call(id, &method, &params)
                } else if method.starts_with("uac") || method.starts_with("reg_") {
                    self.registrations_call(id, &method, &params)
                } else if matches!(method.as_str(), "htable.reload" | "htable.store") {
                    Some(self.table_order(&params, method == "htable.store"))
                } else if let Some(done) = self.store_call(&method, &params) {
                    Some(done)
                } else if let Some(done) = self.contacts_call(&method, &params) {
                    Some(done)
                } else if let Some(list) = List::reloaded_by(&method) {
                    self.reload_list(id, list)
                } else if method.starts_with("t_") || method.starts_with("tm") {
                    self.transaction_call(id, &method, &params)
                } else {
                    Some(self.call(&method, &params))
                };
                if let Some(result) = result {
                    self.tell_main(&ToMain::Answer { id, result: result.map(|v| v.to_string()) });
                }
            }
            ToChild::Told { ticket, text } => self.told(ticket, text),
            ToChild::LogLevel(level) => {
                self.log.change_level(level);
                self.env().level.set(Some(i32::from(level)));
            }
            ToChild::Names { resolv, hosts } => {
                self.driver.configure_resolver(self.blueprint.resolver.apply(&resolv, &hosts));
            }
            ToChild::SeatVacant { index } => {
                self.seat_vacant(index);
                let tenant = self.bus.peer(index).map_or(0, |p| p.incarnation);
                self.groups.vacant(index, tenant);
            }
            ToChild::AdoptSockets { index } => self.adopt(index),
            ToChild::PeerDied { index, incarnation } => {
                self.worker_died(index, incarnation);
                self.group_member_died(index, incarnation);
                self.owner_died(index, incarnation);
                self.locks_of_dead(index, incarnation);
                self.asks_of_dead(index, incarnation);
                self.look_for_attempts();
                self.look_after_queues();
            }
            ToChild::PeerRespawned { index, incarnation } => {
                self.groups.revived(index, incarnation);
                self.seat_taken(index);
                self.look_for_attempts();
            }
            ToChild::ClearStale => {
                self.env().store.iter().for_each(|s| {
                    s.clear_stale();
                });
            }
        }
    }

    fn call(&mut self, method: &str, params: &str) -> Result<Value, CallError> {
        match method {
            "waits" => Ok(self.waits()),
            "permissions.testUri" | "permissions.allowUri" | "permissions:allow_uri" | "allow_uri" => {
                self.test_uri(params)
            }
            "kill-wait" => self.kill_wait(params),
            "tcp-list" | "core.tcp_list" => Ok(self.list_streams()),
            "tcp-close" => self.close_stream(params),
            "httpclient.listcon" => {
                let line = |c: &crate::modules::http::settings::Connection| {
                    json!({
                        "connection": c.name.to_lossy(),
                        "url": c.base.to_lossy(),
                        "username": c.manner.user.to_lossy(),
                        "failover": c.failover.as_ref().map(|f| f.to_lossy().into_owned()),
                        "timeout_ms": c.manner.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
                        "maxdatasize": c.manner.kept,
                        "httpredirect": u8::from(c.manner.options.redirects > 0),
                    })
                };
                Ok(self.env().settings.http_client.connections.iter().map(line).collect())
            }
            "transactions" => Ok(json!({
                "count": self.tm.len(), "timers": self.tm.timers(), "states": self.tm.states(),
                "parked": self.parked.len(), "operations": self.driver.len(), "jobs": self.jobs.len() + self.ways.len(),
                "lookups": self.lookups.len(), "echoes": self.tm.echoes(), "blacklist": self.blacklist.len(), "reactor_timers": self.reactor.timers(),
                "empty_seats": self.owners.vacancies(), "locks": self.locks.len(), "suspended": self.aside,
                "asks": self.asks.len(),
                "away": self.groups.away.len(),
            })),
            _ => Err(CallError::no_such_method()),
        }
    }

    /// Every run that waits, and for what; several operations of one run have a line each.
    fn waits(&self) -> Value {
        let mut list = Vec::new();
        for (key, p) in self.parked.iter() {
            match &p.waiting {
                Waiting::Several(several) => {
                    let word = p.run.describe().function;
                    for (member, id) in several.in_flight() {
                        let Some(info) = p.run.describe_member(*member) else { continue };
                        let mut line = self.wait(key, p, &info, Some(*id));
                        if let Some(line) = line.as_object_mut() {
                            line.insert("id".into(), json!(format!("{}.{member}", self.wait_id(key))));
                            line.insert("within".into(), json!(word));
                        }
                        list.push(line);
                    }
                }
                Waiting::Op(id) => list.push(self.wait(key, p, &p.run.describe(), Some(*id))),
                _ => list.push(self.wait(key, p, &p.run.describe(), None)),
            }
        }
        self.list_suspended(&mut list);
        json!(list)
    }

    fn wait_id(&self, key: Key) -> String {
        format!("{}.{}.{}", self.me, key.index, key.generation)
    }

    fn wait(&self, key: Key, p: &Parked, info: &WaitInfo, op: Option<OpId>) -> Value {
        let op = op.and_then(|id| self.driver.info(id));
        let (kind, backend, phase) = match &op {
            Some(op) => (op.kind.as_str(), op.backend.clone(), op.phase.as_str()),
            None => {
                let name = match &p.waiting {
                    Waiting::Lock(name) => name.to_lossy().into_owned(),
                    _ => String::new(),
                };
                (p.waiting.as_str(), name, "wait")
            }
        };
        let (backend, phase, since) = match &p.role.away {
            Some(away) if matches!(p.waiting, Waiting::Away) => {
                let phase = if away.at.is_some() { "wait" } else { "queue" };
                (self.groups.name(away.group).to_lossy().into_owned(), phase, away.since)
            }
            _ => (backend, phase, p.since),
        };
        let msg = &p.run.host().msg;
        json!({
            "id": self.wait_id(key),
            "kind": kind,
            "backend": backend,
            "phase": phase,
            "age_ms": u64::try_from(self.now.since(since).as_millis()).unwrap_or(u64::MAX),
            "function": info.function,
            "route": info.route,
            "file": info.file,
            "line": info.line,
            "call_id": if p.run.host().phony { Value::Null } else { json!(String::from_utf8_lossy(msg.call_id())) },
        })
    }

    /// Every connection of this worker.
    fn list_streams(&self) -> Value {
        let age = |since| u64::try_from(self.now.since(since).as_millis()).unwrap_or(u64::MAX);
        let list: Vec<Value> = self
            .streams
            .iter()
            .map(|(key, c)| {
                json!({
                    "id": self.streams.id(key).to_string(),
                    "protocol": c.transport.name(),
                    "state": match c.state {
                        State::Connecting => "connecting",
                        State::Open => "open",
                        State::Closing => "closing",
                    },
                    "direction": if c.accepted { "in" } else { "out" },
                    "local": c.local().map(|a| a.to_string()),
                    "remote": c.remote.to_string(),
                    "aliases": c.keys.iter().skip(1).map(|k| k.addr.port()).collect::<Vec<_>>(),
                    "age_ms": age(c.opened),
                    "idle_ms": age(c.used),
                    "received": c.received,
                    "sent": c.sent,
                    "queued": c.queued(),
                })
            })
            .collect();
        json!(list)
    }

    /// Closes a connection, named by its id or its peer's address.
    fn close_stream(&mut self, params: &str) -> Result<Value, CallError> {
        let params: Value =
            serde_json::from_str(params).map_err(|_| CallError::bad_params("the parameters are not JSON"))?;
        let name = match &params {
            Value::Array(list) => list.first().and_then(Value::as_str),
            Value::Object(map) => map.get("id").and_then(Value::as_str),
            _ => None,
        }
        .ok_or_else(|| {
            CallError::bad_params("the id of a connection is expected, or its remote address, as `tcp-list` shows them")
        })?;
        let found =
            self.streams.iter().find(|(k, c)| self.streams.id(*k).to_string() == name || c.remote.to_string() == name);
        let Some((key, _)) = found else { return Err(CallError::not_found("no such connection")) };
        self.streams.end(key, Why::Ordered);
        Ok(json!({ "closed": name }))
    }

    fn kill_wait(&mut self, params: &str) -> Result<Value, CallError> {
        let params: Value =
            serde_json::from_str(params).map_err(|_| CallError::bad_params("the parameters are not JSON"))?;
        let id = match &params {
            Value::Array(list) => list.first().and_then(Value::as_str),
            Value::Object(map) => map.get("id").and_then(Value::as_str),
            _ => None,
        }
        .ok_or_else(|| CallError::bad_params("the id of a wait is expected, as `waits` shows it"))?;
        if let Some(transaction) = id.strip_prefix('t') {
            return match self.end_suspended(transaction) {
                true => Ok(json!({ "killed": id })),
                false => Err(CallError::not_found("no such wait")),
            };
        }
        let parts: Vec<u32> = id.split('.').filter_map(|p| p.parse().ok()).collect();
        let (worker, key, member) = match parts[..] {
            [worker, index, generation] => (worker, Key { index, generation }, None),
            [worker, index, generation, member] => (worker, Key { index, generation }, Some(member)),
            _ => return Err(CallError::bad_params("an id looks like 0.12.3, or 0.12.3.1 for one of several")),
        };
        if worker as usize != self.me {
            return Err(CallError::not_found("no such wait"));
        }
        let operations = match (self.parked.get(key).map(|p| &p.waiting), member) {
            (Some(Waiting::Op(op)), None) => vec![*op],
            // All of them, or the one that is named.
            (Some(Waiting::Several(several)), None) => several.operations(),
            (Some(Waiting::Several(several)), Some(member)) => {
                several.in_flight().iter().filter(|(m, _)| *m == member).map(|(_, id)| *id).collect()
            }
            (Some(_), None) => return Err(CallError::bad_params("this wait is no operation; it cannot be killed")),
            _ => Vec::new(),
        };
        if operations.is_empty() {
            return Err(CallError::not_found("no such wait"));
        }
        for op in operations {
            let io = self.reactor.io(self.now);
            self.driver.cancel(op, CancelReason::Operator, io);
        }
        Ok(json!({ "killed": id }))
    }
}
