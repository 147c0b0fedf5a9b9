//! What is written about a request: as a line of the log, as a row of a table.

use super::settings::{Extra, Settings};
use super::wanted;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::sqlops::identifier;
use crate::modules::time_text;
use crate::ops::SqlValue;
use crate::script::ast::Dialect;
use crate::script::value::Value;
use crate::sip::reply::default_reason;
use crate::sip::{HeaderId, Message};

/// Somebody who can read variables: a function of a script, or the worker for a request that has none running.
pub trait Expand {
    /// The value of a text with variables in it; a single variable keeps its type.
    fn value(&mut self, text: &[u8]) -> Value;
    /// The request, and the reply beside it.
    fn host(&self) -> &SipHost;
}

/// What is accounted.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A reply went out: status and reply.
    Answered(u16, Option<Message>),
    /// Nobody took the call: status, best reply, and the tag of To where there is none.
    Missed(u16, Option<Message>, Str),
    /// The end-to-end ACK of a call came; the call's status.
    Acknowledged(u16),
    /// A script says so: status and phrase.
    Request((Str, Str)),
}

impl What {
    fn title(&self) -> &'static str {
        match self {
            What::Answered(..) => "ACC: transaction answered: ",
            What::Missed(..) => "ACC: call missed: ",
            What::Acknowledged(_) => "ACC: request acknowledged: ",
            What::Request(_) => "ACC: request accounted: ",
        }
    }

    fn reply(&self) -> Option<&Message> {
        match self {
            What::Answered(_, reply) | What::Missed(_, reply, _) => reply.as_ref(),
            _ => None,
        }
    }
}

/// Status and phrase of a comment such as `404 Not found`; without a status, 0.
pub fn comment(text: &[u8]) -> (Str, Str) {
    match text.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit)) {
        Some(code) => (Str::from(code), Str::from(text.get(3..).unwrap_or_default().trim_ascii())),
        None => (Str::from("0"), Str::from(text)),
    }
}

/// Everything that is written about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    title: &'static str,
    method: Str,
    from_tag: Str,
    to_tag: Str,
    call_id: Str,
    code: Str,
    reason: Str,
    /// Microseconds since 1970.
    at: i64,
    created: Option<i64>,
    log: Vec<Value>,
    db: Vec<Value>,
}

impl Record {
    /// Reads what is to be written.
    pub fn of(from: &mut dyn Expand, what: &What, dialect: Dialect) -> Record {
        let settings = from.host().env().settings.acc.clone();
        let mut read = |extras: &[Extra]| extras.iter().map(|e| from.value(&e.format)).collect::<Vec<_>>();
        let (log, db) = (read(&settings.log_extra), read(&settings.db_extra));
        let h = from.host();
        let msg = &h.msg;
        let (code, mut reason) = match what {
            What::Answered(status, reply) | What::Missed(status, reply, _) => {
                let phrase =
                    reply.as_ref().map_or_else(|| Str::from(default_reason(*status)), |r| Str::from(r.reason()));
                (Str::from(status.to_string()), phrase)
            }
            What::Acknowledged(status) => (Str::from(status.to_string()), Str::from(default_reason(*status))),
            What::Request((code, reason)) => (code.clone(), reason.clone()),
        };
        if settings.reason_from_hf
            && let Some(header) = what.reply().and_then(|r| r.header(HeaderId::Reason))
        {
            reason = Str::from(&header.unfolded()[..]);
        }
        let tag = |tag: Option<&[u8]>| Str::from(tag.unwrap_or_default());
        let mut from_tag = tag(msg.from_tag());
        let mut to_tag = match what {
            What::Missed(_, None, own) if msg.to_tag().is_none() => own.clone(),
            _ => tag(what.reply().and_then(Message::to_tag).or(msg.to_tag())),
        };
        if settings.detect_direction && msg.to_tag().is_some() && is_upstream(h) {
            std::mem::swap(&mut from_tag, &mut to_tag);
        }
        Record {
            title: what.title(),
            method: Str::from(msg.method_bytes()),
            from_tag,
            to_tag,
            call_id: Str::from(msg.call_id()),
            code,
            reason,
            at: h.env().clock.micros(),
            created: wanted(h).created.filter(|_| dialect == Dialect::OpenSips),
            log,
            db,
        }
    }

    fn seconds(&self) -> i64 {
        self.at.div_euclid(1_000_000)
    }

    /// `time_attr` and `time_exten` with their values.
    fn times(&self, s: &Settings) -> Vec<(Str, SqlValue)> {
        let text = |t: String| SqlValue::Text(Str::from(t));
        let micros = self.at.rem_euclid(1_000_000);
        match s.time_mode {
            1 => vec![
                (s.time_attr.clone(), SqlValue::Int(self.seconds())),
                (s.time_exten.clone(), SqlValue::Int(micros)),
            ],
            2 => vec![(s.time_attr.clone(), text(format!("{}.{:03}", self.seconds(), micros / 1000)))],
            3 | 4 => {
                let shown = time_text::format(&s.time_format.to_lossy(), self.seconds());
                vec![(s.time_attr.clone(), text(shown))]
            }
            _ => Vec::new(),
        }
    }

    /// As a line.
    pub fn line(&self, s: &Settings) -> String {
        let mut out = format!("{}timestamp={}", self.title, self.seconds());
        let mut put = |name: &[u8], value: &[u8]| {
            out.push(';');
            out.push_str(&String::from_utf8_lossy(name));
            out.push('=');
            out.push_str(&String::from_utf8_lossy(value));
        };
        // The line begins with the seconds: only their fraction is new.
        let skip = usize::from(s.time_mode == 1);
        for (name, value) in self.times(s).into_iter().skip(skip) {
            let text = match value {
                SqlValue::Int(n) | SqlValue::Time(n) => Str::from(n.to_string()),
                SqlValue::Text(t) => t,
                SqlValue::Null => Str::default(),
            };
            put(&name, &text);
        }
        if let Some(created) = self.created {
            let created = created.div_euclid(1_000_000);
            put(b"created", created.to_string().as_bytes());
            put(b"setuptime", (self.seconds() - created).to_string().as_bytes());
        }
        for (name, value) in [
            ("method", &self.method),
            ("from_tag", &self.from_tag),
            ("to_tag", &self.to_tag),
            ("call_id", &self.call_id),
            ("code", &self.code),
            ("reason", &self.reason),
        ] {
            put(name.as_bytes(), value);
        }
        for (extra, value) in s.log_extra.iter().zip(&self.log) {
            put(&extra.name, &value.to_text().unwrap_or_default());
        }
        out
    }

    /// As a row of a table: the statement and its values.
    ///
    /// # Errors
    /// The table's name is none.
    pub fn row(&self, s: &Settings, table: &[u8]) -> Result<(String, Vec<SqlValue>), String> {
        let table = identifier(table)?;
        let c = &s.columns;
        let mut columns: Vec<(Str, SqlValue)> = [
            (&c.method, &self.method),
            (&c.from_tag, &self.from_tag),
            (&c.to_tag, &self.to_tag),
            (&c.call_id, &self.call_id),
            (&c.code, &self.code),
            (&c.reason, &self.reason),
        ]
        .into_iter()
        .map(|(name, value)| (name.clone(), SqlValue::Text(value.clone())))
        .collect();
        columns.push((c.time.clone(), SqlValue::Time(self.seconds())));
        if let Some(created) = self.created {
            let created = created.div_euclid(1_000_000);
            columns.push((Str::from("setuptime"), SqlValue::Int(self.seconds() - created)));
            columns.push((Str::from("created"), SqlValue::Time(created)));
        }
        columns.extend(self.times(s));
        for (extra, value) in s.db_extra.iter().zip(&self.db) {
            let field = match value.to_text() {
                None if s.nullable => SqlValue::Null,
                text => SqlValue::Text(text.unwrap_or_default()),
            };
            columns.push((extra.name.clone(), field));
        }
        let names: Vec<_> = columns.iter().map(|(name, _)| name.to_lossy()).collect();
        let marks = vec!["?"; columns.len()].join(", ");
        let text = format!("INSERT INTO {table} ({}) VALUES ({marks})", names.join(", "));
        Ok((text, columns.into_iter().map(|(_, value)| value).collect()))
    }
}

/// Whether a request within a dialog goes against the direction of its first one.
fn is_upstream(h: &SipHost) -> bool {
    let params = h.rr.own_params.as_deref().unwrap_or_default();
    let ftag = params.split(|b| *b == b';').find_map(|part| part.strip_prefix(b"ftag="));
    matches!((ftag, h.msg.from_tag()), (Some(first), Some(own)) if first != own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::env::Env;
    use crate::modules::testing::{Bench, INVITE};
    use crate::modules::time_text::WallClock;

    struct Fixed(SipHost);

    impl Expand for Fixed {
        fn value(&mut self, text: &[u8]) -> Value {
            match text {
                b"$null" => Value::Null,
                text => Value::text(text),
            }
        }

        fn host(&self) -> &SipHost {
            &self.0
        }
    }

    fn record(what: What, change: impl FnOnce(&mut Settings)) -> (Record, Settings) {
        let mut env = Env::unattached();
        env.clock = WallClock::simulated(1_700_000_000_123_456);
        change(&mut env.settings.acc);
        let settings = env.settings.acc.clone();
        let mut from = Fixed(Bench::with(INVITE, env).host);
        (Record::of(&mut from, &what, Dialect::Kamailio), settings)
    }

    #[test]
    fn lines() {
        let reply = "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=tt\r\n\
                     Call-ID: x\r\nCSeq: 1 INVITE\r\nReason: Q.850;cause=17\r\nContent-Length: 0\r\n\r\n";
        let reply = Message::parse(Str::from(reply)).unwrap();
        let (r, s) = record(What::Missed(486, Some(reply.clone()), Str::default()), |s| {
            s.set("log_extra", &Value::from("a=$fU;b=$null"), true).unwrap();
        });
        let want = "ACC: call missed: timestamp=1700000000;method=INVITE;from_tag=1928301774;to_tag=tt;call_id=a84b4c76e66710;code=486;\
                    reason=Busy Here;a=$fU;b=";
        assert_eq!(r.line(&s), want);
        for (mode, part) in [
            (1, "timestamp=1700000000;us=123456;method="),
            (2, "timestamp=1700000000;t=1700000000.123;method="),
            (4, "timestamp=1700000000;t=2023-11-14 22:13:20;method="),
        ] {
            let (r, s) = record(What::Answered(486, Some(reply.clone())), |s| {
                s.reason_from_hf = true;
                (s.time_mode, s.time_attr, s.time_exten) = (mode, Str::from("t"), Str::from("us"));
            });
            let line = r.line(&s);
            assert!(line.contains(part) && line.ends_with("reason=Q.850;cause=17"), "{line}");
        }
        assert_eq!(comment(b"404 Not found"), (Str::from("404"), Str::from("Not found")));
        assert_eq!(comment(b"call"), (Str::from("0"), Str::from("call")));
    }

    #[test]
    fn rows() {
        let (r, s) = record(What::Answered(200, None), |s| {
            s.set("db_extra", &Value::from("src=$si;none=$null"), true).unwrap();
            s.set("acc_callid_column", &Value::from("id"), true).unwrap();
            s.nullable = true;
            (s.time_mode, s.time_attr, s.time_exten) = (1, Str::from("t"), Str::from("us"));
        });
        let (text, params) = r.row(&s, b"acc").unwrap();
        assert_eq!(
            text,
            "INSERT INTO acc (method, from_tag, to_tag, id, sip_code, sip_reason, time, t, us, src, none) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        );
        assert_eq!(
            params[6..10],
            [
                SqlValue::Time(1_700_000_000),
                SqlValue::Int(1_700_000_000),
                SqlValue::Int(123_456),
                SqlValue::Text(Str::from("$si"))
            ]
        );
        assert_eq!(params[10], SqlValue::Null);
        assert!(r.row(&s, b"acc; DROP").is_err());
    }
}
