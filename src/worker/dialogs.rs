//! Calls that `dlgs` follows: replies move them on, one worker forgets them when their time is over, and the control
//! socket shows them.

use super::control_store::{MOST_SHOWN, Params};
use super::seat::CallError;
use super::state::Worker;
use crate::modules::dlgs::{Event, Filter, advance};
use crate::modules::emit;
use crate::sip::{Message, Method};
use crate::store::shared::dialogs::{Dialog, STATES};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// When there may be more to forget at once: others have a turn between.
const AGAIN: Duration = Duration::from_millis(1);

impl Worker {
    /// A reply leaves.
    pub(super) fn follow_reply(&self, bytes: &[u8]) {
        let env = self.env();
        if !env.settings.dialogs.loaded {
            return;
        }
        let (Some(store), Ok(reply)) = (&env.store, Message::parse_slice(bytes)) else { return };
        if reply.cseq().method != Method::Invite {
            return;
        }
        let now = env.clock.micros() / 1_000_000;
        let event = Event::Reply(reply.status(), reply.to_tag().unwrap_or_default());
        let lives = &env.settings.dialogs.lives;
        if let Err(why) = store.dialog_change(reply.call_id(), lives, &|d| advance(d, event, now)) {
            emit(-1, "dlgs", &why.to_string());
        }
    }

    /// Forgets some calls whose time is over; when to look again, if not after the usual time.
    pub(super) fn forget_dialogs(&self) -> Option<Duration> {
        let env = self.env();
        let store = env.store.as_ref()?;
        let now = env.clock.micros() / 1_000_000;
        match store.forget_dialogs(&env.settings.dialogs.lives, now) {
            Ok(0) => None,
            Ok(_) => Some(AGAIN),
            Err(why) => {
                emit(-1, "dlgs", &why.to_string());
                None
            }
        }
    }

    /// `dlgs.list`, `dlgs.briefing`, `dlgs.get`, `dlgs.getall`, `dlgs.count`, `dlgs.stats`
    pub(super) fn dialogs_call(&self, method: &str, params: &str) -> Result<Value, CallError> {
        let params = Params::parse(params)?;
        let store = self.shared()?;
        let filter = || {
            let [field, operator, text] =
                [(0, "field"), (1, "operator"), (2, "data")].map(|(at, name)| params.text(at, name));
            Filter::new(field?.as_bytes(), operator?.as_bytes(), text?.as_bytes()).map_err(CallError::bad_params)
        };
        let list = |wanted: &dyn Fn(&Dialog) -> bool, most: usize, line: &dyn Fn(usize, &Dialog) -> Value| {
            let mut found = Vec::new();
            store.dialogs(&mut |d| {
                if wanted(&d) {
                    found.push(line(found.len() + 1, &d));
                }
                found.len() < most
            })?;
            Ok::<_, CallError>(found)
        };
        match method {
            "dlgs.list" => Ok(json!(list(&|_| true, MOST_SHOWN, &whole)?)),
            "dlgs.briefing" => Ok(json!(list(&|_| true, MOST_SHOWN, &brief)?)),
            "dlgs.getall" => {
                let filter = filter()?;
                Ok(json!(list(&|d| filter.takes_call(d), MOST_SHOWN, &whole)?))
            }
            "dlgs.get" => {
                let filter = filter()?;
                let found = list(&|d| filter.takes_call(d), 1, &whole)?;
                found.into_iter().next().ok_or_else(|| CallError::not_found("no such call is followed"))
            }
            "dlgs.count" => Ok(json!({ "count": filter()?.count(store)? })),
            "dlgs.stats" => {
                let counts = store.dialog_counts()?;
                let shown = |numbers: [u64; 6]| -> Value {
                    let entry = |(state, n): (&crate::store::shared::dialogs::State, u64)| {
                        (state.as_str().to_string(), json!(n))
                    };
                    Value::Object(STATES.iter().zip(numbers).map(entry).collect::<Map<_, _>>())
                };
                Ok(json!({ "final": shown(counts.forgotten), "active": shown(counts.kept) }))
            }
            _ => Err(CallError::no_such_method()),
        }
    }
}

fn whole(n: usize, d: &Dialog) -> Value {
    json!({
        "count": n, "src": d.src.to_lossy(), "dst": d.dst.to_lossy(), "data": d.data.to_lossy(),
        "ruid": d.ruid.to_lossy(), "callid": d.call_id.to_lossy(), "ftag": d.from_tag.to_lossy(),
        "ttag": d.to_tag.to_lossy(), "ts_init": d.begun, "ts_answer": d.answered, "state": d.state as u8,
        "tags": d.tags.iter().map(|t| t.to_lossy().into_owned()).collect::<Vec<_>>(),
    })
}

fn brief(n: usize, d: &Dialog) -> Value {
    json!({
        "count": n, "src": d.src.to_lossy(), "dst": d.dst.to_lossy(), "data": d.data.to_lossy(),
        "ruid": d.ruid.to_lossy(), "ts_init": d.begun, "state": d.state as u8,
    })
}
