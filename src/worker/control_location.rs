//! What the control socket knows of the contacts of users.

use super::control_store::Params;
use super::seat::CallError;
use super::state::Worker;
use crate::base::Str;
use crate::modules::registrar::remove::forget;
use crate::modules::usrloc::binding::{mask, sort, split_aor, unmask};
use crate::modules::usrloc::{self, Binding, Mode, Record, Row};
use crate::sip::uri::Uri;
use serde_json::{Value, json};

/// Most addresses that one answer holds.
const MOST_SHOWN: usize = 10_000;

/// Splits the name of a method from its family; both peers' spellings.
fn word(method: &str) -> Option<&str> {
    method.strip_prefix("ul.").or_else(|| method.strip_prefix("usrloc:")).or_else(|| method.strip_prefix("ul_"))
}

impl Worker {
    /// Answers a method about contacts; `None`: it is about something else.
    pub(super) fn contacts_call(&mut self, method: &str, params: &str) -> Option<Result<Value, CallError>> {
        let word = word(method)?;
        Some(Params::parse(params).and_then(|p| self.contacts_method(word, &p)))
    }

    fn contacts_method(&mut self, word: &str, params: &Params) -> Result<Value, CallError> {
        if !usrloc::is_loaded(&self.program()) {
            return Err(CallError::not_found("the script does not load usrloc"));
        }
        if self.env().settings.usrloc.mode == Mode::Database {
            return Err(CallError::not_found("contacts are in the database alone (db_mode 3): ask there"));
        }
        match word {
            "dump" => self.dump_contacts(params),
            "lookup" | "show_contact" => self.show_contacts(params),
            "rm" => self.remove_contacts(params, false),
            "rm_contact" => self.remove_contacts(params, true),
            "add" => self.add_contact(params),
            "flush" | "sync" => {
                self.write_contacts();
                Ok(json!("OK"))
            }
            _ => Err(CallError::no_such_method()),
        }
    }

    /// An address as it was registered.
    fn wanted_address(&self, params: &Params) -> Result<(String, Vec<u8>), CallError> {
        let (table, aor) = (params.text(0, "table")?, params.text(1, "aor")?);
        let settings = &self.env().settings;
        let aor = aor.strip_prefix("sip:").unwrap_or(&aor);
        let (user, domain) = split_aor(aor.as_bytes());
        let user = if settings.registrar.case_sensitive { user.to_vec() } else { user.to_ascii_lowercase() };
        let aor = match settings.usrloc.use_domain && !domain.is_empty() {
            true => [&user[..], b"@", &domain.to_ascii_lowercase()].concat(),
            false => user,
        };
        Ok((table, aor))
    }

    fn dump_contacts(&self, params: &Params) -> Result<Value, CallError> {
        let brief = params.text(0, "brief").is_ok_and(|t| t == "brief");
        let now = usrloc::now(self.env());
        let mut domains = Vec::new();
        let mut left = MOST_SHOWN;
        for table in usrloc::tables(&self.program(), &self.env().settings.usrloc) {
            let records = usrloc::records(self.env(), &table).map_err(CallError::not_found)?;
            let (mut list, mut count) = (Vec::new(), 0);
            records.each(&mut |record| {
                count += 1;
                if left > 0 {
                    left -= 1;
                    list.push(json!({ "Info": shown(&record, now, brief) }));
                }
                true
            })?;
            domains.push(json!({ "Domain": {
                "Domain": table.to_lossy(), "AoRs": list, "Stats": { "Records": count },
            }}));
        }
        Ok(json!({ "Domains": domains }))
    }

    fn show_contacts(&self, params: &Params) -> Result<Value, CallError> {
        let (table, aor) = self.wanted_address(params)?;
        let now = usrloc::now(self.env());
        let records = usrloc::records(self.env(), table.as_bytes()).map_err(CallError::not_found)?;
        let mut record = records.get(&aor)?;
        record.bindings.retain(|b| !b.is_over(now));
        if record.bindings.is_empty() {
            return Err(CallError { code: 404, message: "the address has no contacts".into() });
        }
        Ok(shown(&record, now, false))
    }

    fn remove_contacts(&mut self, params: &Params, one: bool) -> Result<Value, CallError> {
        let (table, aor) = self.wanted_address(params)?;
        let contact = if one { Some(params.text(2, "contact")?) } else { None };
        let contact = contact.as_ref().map(String::as_bytes);
        let removed = forget(self.env(), table.as_bytes(), &aor, contact);
        match removed.map_err(|why| CallError { code: -32000, message: why })? {
            0 => Err(CallError { code: 404, message: "there is no such contact".into() }),
            _ => {
                self.write_contacts();
                Ok(json!("OK"))
            }
        }
    }

    fn add_contact(&mut self, params: &Params) -> Result<Value, CallError> {
        let (table, aor) = self.wanted_address(params)?;
        if !usrloc::sql::is_table_name(table.as_bytes()) {
            return Err(CallError::bad_params("this is no name of a table"));
        }
        let contact = params.text(2, "contact")?;
        if Uri::parse(contact.as_bytes()).is_err() {
            return Err(CallError::bad_params("the contact is no URI"));
        }
        let expires = params.number(3, "expires")?;
        let q = params.text(4, "q").ok().and_then(|t| t.parse::<f64>().ok()).filter(|q| (0.0..=1.0).contains(q));
        let path = params.text(5, "path").ok().filter(|t| !t.is_empty() && t != "0");
        let bits = |at, name| params.number(at, name).ok().and_then(|n| u32::try_from(n).ok());
        let (now, env) = (usrloc::now(self.env()), self.env().clone());
        self.made = self.made.wrapping_add(1);
        let writes = env.settings.usrloc.mode.writes();
        let numbers = env.settings.usrloc.columns.number_names;
        let ruid = match numbers {
            true => ((env.clock.micros() << 4 | (self.made & 15) as i64) & i64::MAX).to_string(),
            false => format!("uloc-{:x}-{:x}-c{:x}", env.clock.micros(), std::process::id(), self.made),
        };
        let new = Binding {
            ruid: Str::from(ruid),
            contact: Str::from(contact.as_str()),
            expires: if expires > 0 { now.saturating_add(expires) } else { 0 },
            q: q.map(|q| (q * 1000.0).round() as u16),
            call_id: Str::from("added-by-hand"),
            cseq: 1,
            path: path.map(Str::from),
            flags: bits(6, "flags").unwrap_or(0) & 1,
            bflags: unmask(bits(7, "cflags").unwrap_or(0)),
            methods: bits(8, "methods").filter(|m| *m != 0),
            user_agent: Str::from("reprise"),
            modified: now,
            row: if writes { Row::Missing } else { Row::Same },
            ..Binding::default()
        };
        let records = usrloc::records(&env, table.as_bytes()).map_err(CallError::not_found)?;
        let newest_first = env.settings.usrloc.newest_first;
        let put = |record: &mut Record| {
            if record.bindings.len() >= crate::modules::registrar::register::MOST_CONTACTS {
                return Err(());
            }
            match record.bindings.iter_mut().find(|b| b.contact == new.contact) {
                Some(old) => {
                    let row = if writes && old.row == Row::Same { Row::Old } else { old.row };
                    *old = Binding { ruid: old.ruid.clone(), row, ..new };
                }
                None => record.bindings.push(new),
            }
            sort(&mut record.bindings, newest_first);
            Ok(())
        };
        if records.change(&aor, put)?.is_err() {
            return Err(CallError::bad_params("the address has as many contacts as it may have"));
        }
        Ok(json!("OK"))
    }
}

fn shown(record: &Record, now: i64, brief: bool) -> Value {
    let contacts: Vec<Value> = record.bindings.iter().map(|b| json!({ "Contact": contact(b, now) })).collect();
    match brief {
        true => json!({ "AoR": record.aor.to_lossy() }),
        false => json!({ "AoR": record.aor.to_lossy(), "Contacts": contacts }),
    }
}

fn contact(b: &Binding, now: i64) -> Value {
    let text = |t: &Option<Str>| t.as_ref().map_or_else(|| "[not set]".to_string(), |t| t.to_lossy().into_owned());
    json!({
        "Address": b.contact.to_lossy(),
        "Expires": match b.expires {
            0 => json!("permanent"),
            _ if b.is_over(now) => json!("expired"),
            _ => json!(b.left(now)),
        },
        "Q": b.q.map_or(-1.0, |q| f64::from(q) / 1000.0),
        "Call-ID": b.call_id.to_lossy(),
        "CSeq": b.cseq,
        "User-Agent": b.user_agent.to_lossy(),
        "Received": text(&b.received),
        "Path": text(&b.path),
        "State": match b.row { Row::Missing => "CS_NEW", Row::Old => "CS_DIRTY", Row::Same => "CS_SYNC" },
        "Flags": b.flags,
        "CFlags": mask(&b.bflags),
        "Socket": text(&b.socket),
        "Methods": b.methods.map_or(-1, i64::from),
        "Ruid": b.ruid.to_lossy(),
        "Instance": text(&b.instance),
        "Reg-Id": b.reg_id,
        "Last-Modified": b.modified,
        "Last-Keepalive": b.alive,
        "KA-Roundtrip": b.roundtrip,
        "Tcpconn-Id": b.conn.map_or_else(|| json!(-1), |c| json!(c.to_string())),
    })
}
