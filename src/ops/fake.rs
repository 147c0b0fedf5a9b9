//! The stand-in for databases, web servers and commands in a simulation: it notes what was asked and
//! waits until somebody answers ([`super::driver::Driver::answer`]). Deadlines and cancellation
//! are the driver's, as ever.

use super::driver::OpKind;
use super::request::SqlValue;
use super::{CancelReason, Failure, OpId, Outcome, Phase, Request, Why};
use crate::base::Time;
use std::collections::VecDeque;

/// Cancelled operations that are remembered.
const REMEMBERED: usize = 10_000;

/// An operation in flight.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its name.
    pub id: OpId,
    /// Which engine would have it.
    pub kind: OpKind,
    /// Whom it would ask: `host/database`, `host:port`, `sh`.
    pub backend: String,
    /// What it asks: the query (behind it, in parentheses, the values for its placeholders), `GET http://...`, the
    /// command.
    pub text: String,
    /// All of it.
    pub request: Request,
    /// Since when.
    pub since: Time,
    /// The phase it hangs in: what a failure will name.
    pub phase: Phase,
}

/// An operation that was ended from outside.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What it was.
    pub asked: Asked,
    /// Why it was ended.
    pub reason: CancelReason,
}

/// All operations in flight.
#[derive(Debug, Default)]
pub struct Fake {
    pending: Vec<Asked>,
    ended: VecDeque<Ended>,
}

impl Fake {
    /// Operations in flight, the oldest first.
    pub fn pending(&self) -> &[Asked] {
        &self.pending
    }

    /// One of them.
    pub fn get_mut(&mut self, id: OpId) -> Option<&mut Asked> {
        self.pending.iter_mut().find(|a| a.id == id)
    }

    /// The next operation that was ended from outside.
    pub fn poll_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    pub(super) fn start(&mut self, id: OpId, kind: OpKind, request: Request, since: Time) {
        let (backend, text) = describe(&request);
        self.pending.push(Asked { id, kind, backend, text, request, since, phase: Phase::Wait });
    }

    pub(super) fn answered(&mut self, id: OpId) -> bool {
        let found = self.pending.iter().position(|a| a.id == id);
        found.map(|at| self.pending.remove(at)).is_some()
    }

    pub(super) fn cancel(&mut self, id: OpId, reason: CancelReason) -> Option<Outcome> {
        let at = self.pending.iter().position(|a| a.id == id)?;
        let asked = self.pending.remove(at);
        let why = if reason == CancelReason::Deadline { Why::Timeout } else { Why::Cancelled };
        let outcome = Outcome::Failed(Failure::new(why, asked.phase, ""));
        if self.ended.len() >= REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended { asked, reason });
        Some(outcome)
    }

    pub(super) fn describe(&self, id: OpId) -> Option<(String, Phase)> {
        self.pending.iter().find(|a| a.id == id).map(|a| (a.backend.clone(), a.phase))
    }
}

/// Backend and text of a request.
fn describe(request: &Request) -> (String, String) {
    match request {
        Request::Sleep(d) => ("timer".into(), format!("{d:?}")),
        Request::Exec(r) => ("sh".into(), r.command.to_lossy().into_owned()),
        Request::Http(r) => {
            let method = format!("{:?}", r.method).to_ascii_uppercase();
            (authority(&r.url), format!("{method} {}", r.url.to_lossy()))
        }
        Request::Dns(r) => ("dns".into(), format!("{:?} {}", r.want, r.name.to_lossy())),
        Request::Radius(r) => ("radius".into(), format!("{:?}, {} attributes", r.kind, r.attributes.len())),
        Request::Sql(r) => {
            let mut text = r.query.to_lossy().into_owned();
            if !r.params.is_empty() {
                let values: Vec<String> = r.params.iter().map(shown).collect();
                text.push_str(&format!(" ({})", values.join(", ")));
            }
            (authority(&r.url), text)
        }
    }
}

/// A value beside a query.
fn shown(value: &SqlValue) -> String {
    match value {
        SqlValue::Null => "NULL".into(),
        SqlValue::Int(n) | SqlValue::Time(n) => n.to_string(),
        SqlValue::Text(t) => format!("\"{}\"", t.to_lossy()),
    }
}

/// What stands behind `scheme://` and a login, without a query.
fn authority(url: &[u8]) -> String {
    let text = String::from_utf8_lossy(url);
    let rest = text.split_once("://").map_or(&*text, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    rest.rsplit_once('@').map_or(rest, |(_, host)| host).trim_end_matches('/').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_have_no_passwords() {
        assert_eq!(authority(b"mysql://u:p@w@db.example:3306/x?a=b"), "db.example:3306/x");
        assert_eq!(authority(b"http://h:8080/path/"), "h:8080/path");
        assert_eq!(authority(b"sqlite:///var/x.db"), "/var/x.db");
    }
}
