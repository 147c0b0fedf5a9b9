//! What `dispatcher` needs beside scripts: its list at the start, pings, and the control methods.

use super::control_tm::Params;
use super::forward::LookupFor;
use super::local::{Asker, OwnRequest};
use super::seat::CallError;
use super::state::Worker;
use crate::base::{Str, Time};
use crate::modules::dispatcher::list::{Attrs, Destination, List};
use crate::modules::dispatcher::shared::{self, known};
use crate::modules::dispatcher::state::{Change, DISABLED, INACTIVE, NO_PING, PROBING, State, Word};
use crate::modules::dispatcher::{begin, event_name, event_params, reload, take};
use crate::modules::emit;
use crate::modules::request::Outcome;
use crate::net::resolver::{Failure, Found, Question, Want};
use crate::ops::{self, OpId};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Seconds that a database or a file may take for the list.
const LIMIT: f64 = crate::modules::files::LIMIT;
/// Pings under way at a time, per worker.
const MOST_PINGS: usize = 10_000;

/// Pings and reloads under way.
#[derive(Default)]
pub struct Dispatching {
    /// Destinations whose ping has no answer yet.
    pinged: HashSet<(i64, Str)>,
    /// Which list's names were looked up, and when.
    named: Option<(u64, Time)>,
    /// Operations that bring the list, and the control requests that wait for them.
    pub(super) reloads: HashMap<OpId, u64>,
}

/// A ping.
#[derive(Clone, Debug)]
pub struct Ping {
    set: i64,
    uri: Str,
    sent: Time,
}

impl Worker {
    /// Reads the list before there is traffic; the error ends the start.
    pub(super) fn load_destinations(&mut self) -> Result<(), String> {
        if !self.env().settings.dispatcher.loaded {
            return Ok(());
        }
        let named = |why: String| format!("dispatcher: {why}");
        if self.env().settings.dispatcher.database {
            // A simulation has no database at this time.
            if self.env().store.as_ref().is_none_or(|s| !s.is_shared()) {
                return Ok(());
            }
            let request = reload(self.env()).map_err(named)?;
            let id = self.start_operation(request, Some(LIMIT), None, Time::NEVER);
            let (_, outcome) = self.block_on(&[id]);
            self.writing.remove(&id);
            let Outcome::Op(outcome) = outcome else { return Err(named("the list cannot be loaded".to_string())) };
            take(self.env(), outcome).map_err(named)?;
        } else {
            begin(self.env()).map_err(named)?;
        }
        let list = known(self.env()).map_err(named)?.list;
        emit(3, "dispatcher", &format!("{} destinations in {} sets", list.len(), list.sets.len()));
        Ok(())
    }

    /// Asks destinations whether they live.
    pub(super) fn ping_destinations(&mut self) {
        let env = self.env().clone();
        let s = &env.settings.dispatcher;
        let Ok(known) = known(&env) else { return };
        if self.drain.is_some() || !shared::pings(&env) {
            return;
        }
        let wanted = |state: &State| {
            let asked = match s.mode {
                1 => true,
                2 => state.flags & (INACTIVE | PROBING) != 0,
                _ => state.flags & PROBING != 0,
            };
            asked && state.flags & (DISABLED | NO_PING) == 0
        };
        for (set, n, d) in known.list.all() {
            let name = (set.id, d.uri.clone());
            let mine = s.probed_sets.is_empty() || s.probed_sets.contains(&set.id);
            let due = mine && known.states.get(n).is_some_and(wanted);
            if !due || self.dispatching.pinged.len() >= MOST_PINGS || self.dispatching.pinged.contains(&name) {
                continue;
            }
            let a = &d.attrs;
            let socket = [&a.ping_socket, &a.socket, &s.ping_socket, &s.socket].into_iter().find_map(Clone::clone);
            let ping = Ping { set: set.id, uri: d.uri.clone(), sent: self.now };
            let order = OwnRequest {
                method: s.method.clone(),
                ruri: d.uri.clone(),
                from: a.ping_from.clone().unwrap_or_else(|| s.from.clone()),
                to: d.uri.clone(),
                next_hop: a.proxy.clone().or_else(|| s.proxy.clone()),
                socket,
                asker: Asker::Ping(Box::new(ping.clone())),
                ..OwnRequest::default()
            };
            self.dispatching.pinged.insert(name);
            if let Err(why) = self.new_request(order) {
                emit(3, "dispatcher", &format!("{} cannot be pinged: {why}", d.uri.to_lossy()));
                self.ping_ended(&ping, None);
            }
        }
    }

    /// A ping has its answer: the status, and whether a reply brought it. `None`: it could not be sent.
    pub(super) fn ping_ended(&mut self, ping: &Ping, answer: Option<(u16, bool)>) {
        self.dispatching.pinged.remove(&(ping.set, ping.uri.clone()));
        let env = self.env().clone();
        let s = &env.settings.dispatcher;
        let lives = answer.is_some_and(|(status, _)| s.replies.has(status));
        let came = answer.is_some_and(|(_, came)| came);
        let took = self.now.since(ping.sent);
        let changed = shared::change(&env, ping.set, Some(&ping.uri), |_, state| {
            if state.flags & DISABLED != 0 {
                return (None, state.flags);
            }
            if s.latencies && came {
                state.latency.note(took, s.alpha);
            } else if s.latencies {
                state.latency.timeouts = state.latency.timeouts.saturating_add(1);
            }
            let probed = state.flags & PROBING != 0;
            let change = match lives {
                true => {
                    // Until it is active again it is asked on.
                    let counted = state.flags & INACTIVE != 0 && state.count + 1 < s.thresholds.answers;
                    let stays = s.mode == 1 || (s.mode == 3 && probed) || (counted && probed);
                    state.hear(Word::Active, stays, Some(s.thresholds))
                }
                false => state.hear(Word::Trying, probed || s.mode == 1, Some(s.thresholds)),
            };
            (change, state.flags)
        });
        match changed {
            Ok(list) => {
                for (uri, (change, flags)) in list {
                    if let Some(change) = change {
                        let how = if change == Change::Up { "up" } else { "down" };
                        emit(2, "dispatcher", &format!("set {}: {} is {how}", ping.set, uri.to_lossy()));
                        self.destination_changed(ping.set, uri, change, flags, answer.map(|(status, _)| status));
                    }
                }
            }
            Err(why) => emit(-1, "dispatcher", &why),
        }
    }

    /// Looks up the names of a list that is new, or whose names were looked up long ago.
    pub(super) fn look_up_destinations(&mut self) {
        let Ok(known) = known(self.env()) else { return };
        let every = self.env().settings.dispatcher.names;
        let fresh = |(version, at): (u64, Time)| version == known.version() && self.now.since(at) < every;
        if self.dispatching.named.is_some_and(fresh) {
            return;
        }
        self.dispatching.named = Some((known.version(), self.now));
        let names: HashSet<String> = known.list.all().filter_map(|(_, _, d)| d.name()).collect();
        for name in names {
            let question = Question { name: name.clone(), want: Want::Addresses };
            self.look_up(question, LookupFor::Destination(name));
        }
    }

    /// The addresses of a destination's host; without an answer the old ones are kept.
    pub(super) fn destination_found(&mut self, name: &str, answer: Result<Found, Failure>) {
        match answer {
            Ok(Found::Addresses(list)) => {
                if let Err(why) = shared::set_addresses(self.env(), name, &list) {
                    emit(-1, "dispatcher", &why);
                }
            }
            Ok(Found::Records(_)) => {}
            Err(failure) => emit(1, "dispatcher", &format!("{name} cannot be looked up: {failure}")),
        }
    }

    fn destination_changed(&mut self, set: i64, uri: Str, change: Change, flags: u8, code: Option<u16>) {
        let name = Str::from(event_name(self.env().settings.dispatcher.dialect, change));
        self.raise_event(&name, event_params(set, uri, change, flags, code));
    }

    /// What a control request has had read of the list is there.
    pub(super) fn reloaded(&mut self, control: u64, outcome: ops::Outcome) {
        let done = take(self.env(), outcome);
        self.answer_control(control, done.map(|()| json!("OK")));
    }

    /// The control methods; `None`: it is answered later.
    pub(super) fn dispatcher_call(&mut self, id: u64, method: &str, params: &str) -> Option<Result<Value, CallError>> {
        let params = match Params::parse(params) {
            Ok(params) => params,
            Err(why) => return Some(Err(why)),
        };
        if !self.env().settings.dispatcher.loaded {
            return Some(Err(CallError::not_found("the module dispatcher is not loaded")));
        }
        let failed = |message: String| CallError { code: -32000, message };
        let ok = || json!("OK");
        Some(match method {
            "dispatcher.list" | "dispatcher:list" | "ds_list" => self.list_destinations(),
            "dispatcher.set_state" => self.set_state(&params, (0, 1, 2)),
            "dispatcher:set_state" | "ds_set_state" => self.set_state(&params, (0, 1, 2)),
            "dispatcher.reload" | "dispatcher:reload" | "ds_reload" => match reload(self.env()) {
                Ok(request) => {
                    let op = self.start_operation(request, Some(LIMIT), None, Time::NEVER);
                    self.writing.remove(&op);
                    self.dispatching.reloads.insert(op, id);
                    return None;
                }
                Err(why) => Err(failed(why)),
            },
            "dispatcher.ping_active" => match params.text(0, "state").as_deref() {
                None => Ok(json!({ "OldPingState": i64::from(shared::pings(self.env())) })),
                Some(word @ ("0" | "1")) => {
                    let old = i64::from(shared::pings(self.env()));
                    let set = shared::set_pings(self.env(), word == "1");
                    set.map(|()| json!({ "OldPingState": old, "NewPingState": i64::from(word == "1") })).map_err(failed)
                }
                Some(_) => Err(CallError::bad_params("\"state\" is 0 or 1")),
            },
            "dispatcher.hash" => self.hash_of(&params),
            "dispatcher.add" => self.add_destination(&params).map(|()| ok()),
            "dispatcher.remove" => self.remove_destination(&params).map(|()| ok()),
            _ => Err(CallError::no_such_method()),
        })
    }

    fn list_destinations(&self) -> Result<Value, CallError> {
        let failed = |message: String| CallError { code: -32000, message };
        let known = known(self.env()).map_err(failed)?;
        let s = &self.env().settings.dispatcher;
        let text = |t: &Option<Str>| t.as_ref().map(|t| t.to_lossy().into_owned());
        let line = |d: &Destination, state: &State, load: Option<&u64>| {
            let a = &d.attrs;
            let mut row = json!({ "URI": d.uri.to_lossy(), "FLAGS": state.letters(), "PRIORITY": d.priority });
            if let Some(row) = row.as_object_mut() {
                if !a.text.is_empty() {
                    row.insert(
                        "ATTRS".into(),
                        json!({
                            "BODY": a.text.to_lossy(), "DUID": a.duid.to_lossy(), "MAXLOAD": a.maxload,
                            "WEIGHT": a.weight, "RWEIGHT": a.rweight, "SOCKET": text(&a.socket),
                            "OBPROXY": text(&a.proxy),
                        }),
                    );
                }
                if s.latencies {
                    let l = &state.latency;
                    row.insert(
                        "LATENCY".into(),
                        json!({
                            "AVG": l.mean, "STD": l.deviation(), "EST": l.estimate, "MAX": l.max,
                            "TIMEOUT": l.timeouts,
                        }),
                    );
                }
                if let Some(load) = load {
                    row.insert("RUNTIME".into(), json!({ "DLGLOAD": load }));
                }
            }
            json!({ "DEST": row })
        };
        let mut sets = Vec::new();
        for set in &known.list.sets {
            let loads = if s.counts_calls {
                crate::modules::dispatcher::calls::loads(self.env(), set).unwrap_or_default()
            } else {
                Vec::new()
            };
            let states = known.states_of(set);
            let rows: Vec<Value> =
                set.list.iter().zip(states).enumerate().map(|(i, (d, state))| line(d, state, loads.get(i))).collect();
            sets.push(json!({ "SET": { "ID": set.id, "TARGETS": rows } }));
        }
        Ok(json!({ "NRSETS": sets.len(), "RECORDS": sets }))
    }

    /// `set_state STATE SET URI`
    fn set_state(&mut self, params: &Params, (state, set, uri): (usize, usize, usize)) -> Result<Value, CallError> {
        let word = params.required(state, "state")?;
        let (word, probing) = Word::parse(word.as_bytes())
            .ok_or_else(|| CallError::bad_params("the state is a, i, t or d, with p for probing"))?;
        let set: i64 = params.number(set, "group")?.ok_or_else(|| CallError::bad_params("\"group\" is missing"))?;
        let uri = params.required(uri, "address")?;
        let all = uri.eq_ignore_ascii_case("all");
        let which = if all { None } else { Some(uri.as_bytes()) };
        let changed = shared::change(self.env(), set, which, |_, s| (s.hear(word, probing, None), s.flags));
        let changed = changed.map_err(|message| CallError { code: -32000, message })?;
        if changed.is_empty() {
            return Err(CallError::not_found("there is no such destination"));
        }
        for (uri, (change, flags)) in changed {
            if let Some(change) = change {
                self.destination_changed(set, uri, change, flags, None);
            }
        }
        Ok(json!("OK"))
    }

    /// `hash SLOTS TEXT [TEXT]`: the hash that the algorithms use.
    fn hash_of(&self, params: &Params) -> Result<Value, CallError> {
        let slots: u32 = params.number(0, "nslots")?.unwrap_or(0);
        let one = params.required(1, "val1")?;
        let two = params.text(2, "val2").unwrap_or_default();
        let hash = crate::modules::dispatcher::hash::hash(&[one.as_bytes(), two.as_bytes()]);
        match hash.checked_rem(slots) {
            Some(slot) => Ok(json!({ "hashid": hash, "slot": slot })),
            None => Err(CallError::bad_params("\"nslots\" is a number from 1 on")),
        }
    }

    /// `add SET URI [FLAGS [PRIORITY [ATTRIBUTES]]]`
    fn add_destination(&mut self, params: &Params) -> Result<(), CallError> {
        let set: i64 = params.number(0, "group")?.ok_or_else(|| CallError::bad_params("\"group\" is missing"))?;
        let uri = params.required(1, "address")?;
        let flags = params.number(2, "flags")?.unwrap_or(0);
        let priority = params.number(3, "priority")?.unwrap_or(0);
        let attrs = params.text(4, "attrs").unwrap_or_default();
        Attrs::parse(&attrs).map_err(CallError::bad_params)?;
        let new = Destination::new(&uri, flags, priority, &attrs).map_err(CallError::bad_params)?;
        let done = shared::replace(self.env(), |old| {
            if old.find(set, new.uri.as_bytes()).is_some() {
                return Err("this destination is in the set already".to_string());
            }
            let mut rows = rows_of(old);
            // As one that is listed last.
            rows.insert(0, (set, new.clone()));
            List::of(rows)
        });
        done.map_err(|message| CallError { code: -32000, message })
    }

    /// `remove SET URI`
    fn remove_destination(&mut self, params: &Params) -> Result<(), CallError> {
        let set: i64 = params.number(0, "group")?.ok_or_else(|| CallError::bad_params("\"group\" is missing"))?;
        let uri = params.required(1, "address")?;
        let done = shared::replace(self.env(), |old| {
            let mut rows = rows_of(old);
            let before = rows.len();
            rows.retain(|(id, d)| *id != set || *d.uri != *uri.as_bytes());
            if rows.len() == before { Err("there is no such destination".to_string()) } else { List::of(rows) }
        });
        done.map_err(CallError::not_found)
    }
}

/// A list as what it was made from.
fn rows_of(list: &List) -> Vec<(i64, Destination)> {
    list.all().map(|(set, _, d)| (set.id, d.clone())).collect()
}
