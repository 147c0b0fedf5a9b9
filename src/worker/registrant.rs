//! Registrations of this server's own at others' registrars (`uac`): one worker sends the REGISTERs of accounts whose time has
//! come. What is known of an account lies in the shared store, so whoever has that job goes on where another has stopped.

use super::local::{Asker, OwnRequest};
use super::state::Worker;
use crate::base::{Str, Time};
use crate::modules::emit;
use crate::modules::request::Outcome;
use crate::modules::uac::account::{Attempt, Verdict, judge};
use crate::modules::uac::accounts::{BATCH, MOST};
use crate::modules::uac::registrant::keep_state;
use crate::modules::uac::registrations::{PAGE, accounts, are_active, is_paged, now, one, page, policy, put, read_row};
use crate::ops::{self, OpId, SqlResult, SqlValue};
use crate::sip::Message;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Seconds that a database may take for some rows.
const LIMIT: f64 = 8.0;
/// REGISTERs under way at a time: so many that those a registrar does not answer hold up no other's.
const IN_FLIGHT: usize = 2000;
/// When there is more to be done: others have a turn between, and registrars are not flooded.
const AGAIN: Duration = Duration::from_millis(50);
/// How often accounts are looked at.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// What a worker has under way.
#[derive(Default)]
pub struct Registrant {
    /// The numbers of the attempts under way, by account.
    flying: HashMap<Str, u64>,
    /// What another has begun was looked for.
    looked: bool,
    /// Queries for accounts, and what asked for them.
    reloads: HashMap<OpId, Reload>,
}

/// A control request that waits for a database.
enum Reload {
    /// Whether an account is disabled is kept.
    State { control: u64 },
    /// All of them, from behind the last that was read on.
    All { control: u64, walk: Box<Walk> },
    /// One.
    One { control: u64, uuid: Str },
}

/// A walk over the table.
#[derive(Default)]
struct Walk {
    after: Str,
    seen: HashSet<Str>,
    bad: usize,
    left_out: usize,
}

impl Worker {
    /// Whether this server registers itself anywhere.
    pub(super) fn registers(&self) -> bool {
        accounts(self.env()).is_ok()
    }

    /// Others may have had the job, and died: what they have begun is looked for.
    pub(super) fn look_for_attempts(&mut self) {
        self.registrant.looked = false;
    }

    /// Sends what is due: when to look again, if not after the usual time.
    pub(super) fn look_after_registrations(&mut self) -> Option<Duration> {
        let env = self.env().clone();
        let accounts = accounts(&env).ok()?;
        if self.drain.is_some() {
            return None;
        }
        let now = now(&env);
        if !std::mem::replace(&mut self.registrant.looked, true) {
            for lost in self.or_none(accounts.attempts()) {
                let uuid = &lost.profile.uuid;
                if self.registrant.flying.get(uuid) != Some(&lost.attempt) {
                    self.or_none(accounts.change(uuid, now, |a| a.due = now));
                }
            }
        }
        if !are_active(&env) {
            return None;
        }
        let room = IN_FLIGHT.saturating_sub(self.registrant.flying.len()).min(BATCH);
        if room == 0 {
            return None;
        }
        let due = self.or_none(accounts.due(now, room));
        for uuid in &due {
            let begun = accounts.change(uuid, now, |a| a.begin(now, &policy(&env)));
            match self.or_none(begun).flatten() {
                Some(attempt) => self.register(attempt),
                None => {
                    self.registrant.flying.remove(uuid);
                }
            }
        }
        (due.len() == room).then_some(AGAIN)
    }

    /// What the store gave, or nothing, with a line in the log.
    fn or_none<T: Default>(&self, done: crate::store::shared::Result<T>) -> T {
        done.unwrap_or_else(|why| {
            emit(-1, "uac", &why.to_string());
            T::default()
        })
    }

    /// Sends a REGISTER.
    fn register(&mut self, mut of: Attempt) {
        let env = self.env().clone();
        let Ok(accounts) = accounts(&env) else { return };
        let found = self.or_none(accounts.get(&of.uuid));
        let Some(profile) = found.filter(|a| a.attempt == of.number).map(|a| a.profile) else {
            return self.landed(&of);
        };
        if of.call_id.is_empty() {
            self.made = self.made.wrapping_add(1);
            let unique = format!("{:x}-{:x}", self.now.as_micros(), self.hash(&self.made.to_be_bytes()));
            let host = env.listeners.first().map(|l| l.via_host()).unwrap_or_default();
            of.tag = Str::from(format!("{:x}", self.hash(unique.as_bytes())));
            of.call_id = Str::from(format!("{unique}@{host}"));
        }
        let time = now(&env);
        let goes = accounts.change(&of.uuid, time, |a| a.goes_on(&of, time, &policy(&env)));
        if self.or_none(goes) != Some(true) {
            return self.landed(&of);
        }
        self.registrant.flying.insert(of.uuid.clone(), of.number);
        let contact = profile.contact_uri(&env.settings.uac.registrations.contact);
        let params = profile.whole.as_ref().map(|w| w.params.clone()).unwrap_or_default();
        let mut headers = Vec::with_capacity(512);
        let mut line = |name: &str, parts: &[&[u8]]| {
            headers.extend_from_slice(&[name.as_bytes(), b": ", &parts.concat(), b"\r\n"].concat());
        };
        line("From", &[b"<", &profile.from(), b">;tag=", &of.tag]);
        line("Call-ID", &[&of.call_id]);
        line("CSeq", &[of.cseq.to_string().as_bytes(), b" REGISTER"]);
        line("Contact", &[b"<", &contact, b">", &params]);
        line("Expires", &[of.expires.to_string().as_bytes()]);
        for answer in of.answers.iter().flatten() {
            headers.extend_from_slice(answer);
        }
        let socket = Some(profile.socket.clone()).filter(|s| !s.is_empty());
        let order = OwnRequest {
            method: Str::from("REGISTER"),
            ruri: profile.registrar(),
            to: profile.aor(),
            headers: Str::from(headers),
            next_hop: Some(profile.proxy.clone()).filter(|uri| !uri.is_empty()),
            socket: socket.or_else(|| env.settings.uac.socket.clone()),
            asker: Asker::Registration(Box::new(of.clone())),
            ..OwnRequest::default()
        };
        if let Err(why) = self.new_request(order) {
            self.registration_unsent(&of, why);
        }
    }

    /// A REGISTER could not be sent.
    pub(super) fn registration_unsent(&mut self, of: &Attempt, why: &str) {
        self.registration_ended(of, &Verdict::Failed(format!("cannot be sent: {why}"), 0));
    }

    /// A REGISTER has its final reply, or none.
    pub(super) fn registration_answered(&mut self, of: &Attempt, reply: Option<&Message>) {
        let env = self.env().clone();
        let Ok(accounts) = accounts(&env) else { return };
        let found = self.or_none(accounts.get(&of.uuid));
        let Some(account) = found.filter(|a| a.attempt == of.number) else { return self.landed(of) };
        let profile = account.profile;
        let contact = profile.contact_uri(&env.settings.uac.registrations.contact);
        let salt = self.hash(&[&self.now.as_micros().to_be_bytes()[..], &of.call_id, &of.cseq.to_be_bytes()].concat());
        match judge(&profile, &contact, of, reply, salt) {
            Verdict::Again(again) => self.register(*again),
            verdict => self.registration_ended(of, &verdict),
        }
    }

    /// An attempt is not under way any more.
    fn landed(&mut self, of: &Attempt) {
        if self.registrant.flying.get(&of.uuid) == Some(&of.number) {
            self.registrant.flying.remove(&of.uuid);
        }
    }

    fn registration_ended(&mut self, of: &Attempt, verdict: &Verdict) {
        let env = self.env().clone();
        self.landed(of);
        let Ok(accounts) = accounts(&env) else { return };
        let (time, policy) = (now(&env), policy(&env));
        let done = accounts.change(&of.uuid, time, |a| a.ended(of, verdict, time, &policy));
        if self.or_none(done) != Some(true) {
            return;
        }
        let name = of.uuid.to_lossy();
        match verdict {
            Verdict::Registered(seconds) => emit(3, "uac", &format!("account {name} is registered for {seconds} s")),
            Verdict::Gone => emit(3, "uac", &format!("account {name} is not registered any more")),
            Verdict::Failed(why, _) if of.removes => {
                emit(1, "uac", &format!("account {name} cannot be taken back: {why}"));
            }
            Verdict::Failed(why, _) if policy.retry == 0 => {
                let what = "it is disabled until `uac.reg_enable` (reg_retry_interval would try again)";
                emit(-1, "uac", &format!("account {name} cannot be registered: {why}; {what}"));
            }
            Verdict::Failed(why, _) => emit(1, "uac", &format!("account {name} cannot be registered: {why}")),
            Verdict::Again(_) => {}
        }
    }

    /// Reads the accounts before there is traffic; the error ends the start.
    pub(super) fn load_registrations(&mut self) -> Result<(), String> {
        let env = self.env().clone();
        // A simulation has no database at this time.
        let shared = env.store.as_ref().is_some_and(|s| s.is_shared());
        if !self.registers() || !env.settings.uac.registrations.database || !shared {
            return Ok(());
        }
        let mut walk = Walk::default();
        loop {
            let request = ops::Request::Sql(page(&env, &walk.after).map_err(|why| format!("uac: {why}"))?);
            let id = self.start_operation(request, Some(LIMIT), None, Time::NEVER);
            let (_, outcome) = self.block_on(&[id]);
            self.writing.remove(&id);
            let Outcome::Op(outcome) = outcome else { return Err("uac: the accounts cannot be read".to_string()) };
            if !self.take_accounts(&mut walk, outcome).map_err(|why| format!("uac: {why}"))? {
                return Ok(());
            }
        }
    }

    /// Takes over some rows; whether there may be more.
    fn take_accounts(&mut self, walk: &mut Walk, outcome: ops::Outcome) -> Result<bool, String> {
        let (columns, rows) = match outcome {
            ops::Outcome::Sql(SqlResult { columns, rows, .. }) => (columns, rows),
            ops::Outcome::Failed(failure) => return Err(format!("the accounts cannot be read: {failure}")),
            _ => return Err("the accounts cannot be read".to_string()),
        };
        let env = self.env().clone();
        let mut profiles = Vec::with_capacity(rows.len());
        for row in &rows {
            match read_row(&env, &columns, row) {
                Ok(profile) => {
                    walk.seen.insert(profile.uuid.clone());
                    profiles.push(profile);
                }
                Err(why) => {
                    walk.bad += 1;
                    emit(1, "uac", &format!("an account is left out: {why}"));
                }
            }
        }
        walk.left_out += put(&env, profiles, false)?;
        let last = rows.last().and_then(|row| row.first());
        let next = last.and_then(|v| if let SqlValue::Text(t) = v { Some(t.clone()) } else { None });
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let full = is_paged(&env) && rows.len() >= PAGE && walk.seen.len() < most;
        if let Some(next) = next.filter(|next| full && *next != walk.after) {
            walk.after = next;
            return Ok(true);
        }
        emit(3, "uac", &format!("{} accounts", walk.seen.len()));
        if walk.left_out > 0 || walk.seen.len() >= most {
            emit(-1, "uac", &format!("there are too many accounts: {most} are kept, the others left out"));
        }
        Ok(false)
    }

    /// Reads the accounts again (`uac.reg_reload`).
    ///
    /// # Errors
    /// There is no database.
    pub(super) fn reload_accounts(&mut self, control: u64) -> Result<(), String> {
        self.ask_for_accounts(control, Box::default())
    }

    fn ask_for_accounts(&mut self, control: u64, walk: Box<Walk>) -> Result<(), String> {
        let request = page(self.env(), &walk.after)?;
        let op = self.start_operation(ops::Request::Sql(request), Some(LIMIT), None, Time::NEVER);
        self.registrant.reloads.insert(op, Reload::All { control, walk });
        Ok(())
    }

    /// Reads one account again (`uac.reg_refresh`).
    ///
    /// # Errors
    /// There is no database.
    pub(super) fn reload_account(&mut self, control: u64, uuid: Str) -> Result<(), String> {
        let request = one(self.env(), &uuid)?;
        let op = self.start_operation(ops::Request::Sql(request), Some(LIMIT), None, Time::NEVER);
        self.registrant.reloads.insert(op, Reload::One { control, uuid });
        Ok(())
    }

    /// Keeps whether an account is disabled.
    ///
    /// # Errors
    /// There is no database.
    pub(super) fn keep_account_state(&mut self, control: u64, name: &Str, disabled: bool) -> Result<(), String> {
        let request = keep_state(self.env(), name, disabled)?;
        let op = self.start_operation(ops::Request::Sql(request), Some(LIMIT), None, Time::NEVER);
        self.registrant.reloads.insert(op, Reload::State { control });
        Ok(())
    }

    /// Whether a finished operation was one of these; if so, what follows from it is done.
    pub(super) fn accounts_read(&mut self, op: OpId, outcome: &ops::Outcome) -> bool {
        let Some(reload) = self.registrant.reloads.remove(&op) else { return false };
        let (control, done) = match reload {
            Reload::State { control } => {
                let done = match outcome {
                    ops::Outcome::Failed(failure) => Err(format!("done, but the database does not say so: {failure}")),
                    _ => Ok(json!("OK")),
                };
                (control, done)
            }
            Reload::One { control, uuid } => (control, self.take_account(&uuid, outcome)),
            Reload::All { control, mut walk } => {
                let more = self.take_accounts(&mut walk, outcome.clone());
                let done = match more {
                    Ok(true) => match self.ask_for_accounts(control, walk) {
                        Ok(()) => return true,
                        Err(why) => Err(why),
                    },
                    Ok(false) => self.forget_accounts(&walk),
                    Err(why) => Err(why),
                };
                (control, done)
            }
        };
        self.answer_control(control, done);
        true
    }

    fn take_account(&mut self, uuid: &Str, outcome: &ops::Outcome) -> Result<Value, String> {
        let (columns, row) = match outcome {
            ops::Outcome::Sql(result) => (&result.columns, result.rows.first()),
            ops::Outcome::Failed(failure) => return Err(format!("the account cannot be read: {failure}")),
            _ => return Err("the account cannot be read".to_string()),
        };
        let row = row.ok_or_else(|| format!("the table has no account `{}`", uuid.to_lossy()))?;
        let profile = read_row(self.env(), columns, row)?;
        match put(self.env(), vec![profile], true)? {
            0 => Ok(json!("OK")),
            _ => Err("there are too many accounts".to_string()),
        }
    }

    /// Accounts that the table has no more go: what is registered of them is taken back.
    fn forget_accounts(&mut self, walk: &Walk) -> Result<Value, String> {
        let env = self.env().clone();
        let (accounts, now) = (accounts(&env)?, now(&env));
        let gone = accounts.others(&walk.seen).map_err(|e| e.to_string())?;
        for uuid in &gone {
            accounts.change(uuid, now, |a| a.leave(now)).map_err(|e| e.to_string())?;
        }
        Ok(json!({ "accounts": walk.seen.len(), "removed": gone.len(), "left_out": walk.bad + walk.left_out }))
    }
}
