//! Items of tables that have ended: taken out from time to time by one worker, which runs
//! `event_route[htable:expired:TABLE]` for each.

use super::state::Worker;
use crate::base::Str;
use crate::modules::emit;
use std::time::Duration;

/// When there may be more at once: others have a turn between.
const AGAIN: Duration = Duration::from_millis(1);

impl Worker {
    /// Takes out some items that have ended; when to look again, if not after the usual time.
    pub(super) fn expire_items(&mut self) -> Option<Duration> {
        let now = self.env().clock.micros();
        let taken = self.env().store.as_ref().map(|store| store.take_expired(now));
        match taken {
            Some(Ok(taken)) if !taken.is_empty() => {
                for expired in taken {
                    let name = [b"htable:expired:", &expired.table[..]].concat();
                    let value = expired.item.value.to_text().unwrap_or_default();
                    let params = vec![(Str::from("key"), expired.item.name), (Str::from("value"), value)];
                    self.raise_event(&Str::from(name), params);
                }
                Some(AGAIN)
            }
            Some(Err(why)) => {
                emit(-1, "htable", &why.to_string());
                None
            }
            _ => None,
        }
    }
}
