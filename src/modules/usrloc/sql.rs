//! The table of bindings in a database: its columns, the statements about it, and bindings from its rows.

use super::binding::{Binding, MEMORY_ONLY, Row, mask, push_q, split_aor, unmask};
use crate::base::Str;
use crate::ops::{SqlRequest, SqlValue};
use crate::script::ast::Dialect;
use crate::script::value::Value;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Ruid,
    User,
    Domain,
    Contact,
    Received,
    Path,
    Expires,
    Q,
    CallId,
    Cseq,
    Modified,
    Flags,
    Bflags,
    UserAgent,
    Socket,
    Methods,
    Instance,
    RegId,
    Attr,
}

/// The columns, and how some of them are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    names: Vec<(Field, Str)>,
    /// Ends are seconds since 1970; else dates.
    pub number_ends: bool,
    /// Branch flags are words; else a mask.
    flag_words: bool,
    /// The bindings' names are numbers.
    pub number_names: bool,
    /// Rows are found by the user alone.
    pub without_domain: bool,
}

/// Parameters that name columns, with what they hold.
const PARAMS: [(&str, Field); 21] = [
    ("ruid_column", Field::Ruid),
    ("contact_id_column", Field::Ruid),
    ("user_column", Field::User),
    ("username_column", Field::User),
    ("domain_column", Field::Domain),
    ("contact_column", Field::Contact),
    ("received_column", Field::Received),
    ("path_column", Field::Path),
    ("expires_column", Field::Expires),
    ("q_column", Field::Q),
    ("callid_column", Field::CallId),
    ("cseq_column", Field::Cseq),
    ("last_modified_column", Field::Modified),
    ("flags_column", Field::Flags),
    ("cflags_column", Field::Bflags),
    ("user_agent_column", Field::UserAgent),
    ("socket_column", Field::Socket),
    ("methods_column", Field::Methods),
    ("instance_column", Field::Instance),
    ("reg_id_column", Field::RegId),
    ("attr_column", Field::Attr),
];

impl Columns {
    /// The columns of the usual table of a dialect.
    pub fn of(dialect: Dialect) -> Columns {
        use Field as F;
        let common = [
            (F::User, "username"),
            (F::Domain, "domain"),
            (F::Contact, "contact"),
            (F::Received, "received"),
            (F::Path, "path"),
            (F::Expires, "expires"),
            (F::Q, "q"),
            (F::CallId, "callid"),
            (F::Cseq, "cseq"),
            (F::Modified, "last_modified"),
            (F::Flags, "flags"),
            (F::Bflags, "cflags"),
            (F::UserAgent, "user_agent"),
            (F::Socket, "socket"),
            (F::Methods, "methods"),
        ];
        let own: &[(Field, &str)] = match dialect {
            Dialect::Kamailio => &[(F::Ruid, "ruid"), (F::Instance, "instance"), (F::RegId, "reg_id")],
            Dialect::OpenSips => &[(F::Ruid, "contact_id"), (F::Instance, "sip_instance"), (F::Attr, "attr")],
        };
        let other = dialect == Dialect::OpenSips;
        Columns {
            names: common.iter().chain(own).map(|(field, name)| (*field, Str::from(*name))).collect(),
            number_ends: other,
            flag_words: other,
            number_names: other,
            without_domain: false,
        }
    }

    /// Takes over a parameter; `None`: it names no column. The error says what is wrong with the name.
    pub fn set(&mut self, param: &str, value: &Value) -> Option<Result<(), String>> {
        // OpenSIPS has another name for it.
        let param = if param == "sip_instance_column" { "instance_column" } else { param };
        let (_, field) = PARAMS.iter().find(|(name, _)| *name == param)?;
        let name = value.to_text().unwrap_or_default();
        let sane = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
        if name.is_empty() || !sane {
            return Some(Err(format!("`{}` is no name of a column", name.to_lossy())));
        }
        if let Some(slot) = self.names.iter_mut().find(|(f, _)| f == field) {
            slot.1 = name;
        }
        Some(Ok(()))
    }

    fn name(&self, field: Field) -> String {
        let found = self.names.iter().find(|(f, _)| *f == field);
        found.map_or_else(String::new, |(_, name)| name.to_lossy().into_owned())
    }

    fn list(&self) -> String {
        self.names.iter().map(|(_, name)| name.to_lossy().into_owned()).collect::<Vec<_>>().join(",")
    }

    fn id(&self, ruid: &[u8]) -> SqlValue {
        if !self.number_names {
            return SqlValue::Text(Str::from(ruid));
        }
        let number = std::str::from_utf8(ruid).ok().and_then(|t| t.parse().ok());
        number.map_or(SqlValue::Null, SqlValue::Int)
    }

    fn time(&self, seconds: i64) -> SqlValue {
        if self.number_ends { SqlValue::Int(seconds) } else { SqlValue::Time(seconds) }
    }

    fn value(&self, field: Field, aor: &[u8], b: &Binding) -> SqlValue {
        let text = |t: &[u8]| SqlValue::Text(Str::from(t));
        let maybe = |t: &Option<Str>| t.as_ref().map_or(SqlValue::Null, |t| SqlValue::Text(t.clone()));
        let (user, domain) = if self.without_domain { (aor, &b""[..]) } else { split_aor(aor) };
        match field {
            Field::Ruid => self.id(&b.ruid),
            Field::User => text(user),
            Field::Domain if domain.is_empty() => SqlValue::Null,
            Field::Domain => text(domain),
            Field::Contact => text(&b.contact),
            Field::Received => maybe(&b.received),
            Field::Path => maybe(&b.path),
            Field::Expires => self.time(b.expires),
            Field::Q => match b.q {
                None => text(b"-1"),
                Some(q) => {
                    let mut out = Vec::new();
                    push_q(&mut out, q);
                    text(&out)
                }
            },
            Field::CallId => text(&b.call_id),
            Field::Cseq => SqlValue::Int(i64::from(b.cseq)),
            Field::Modified => SqlValue::Time(b.modified),
            Field::Flags => SqlValue::Int(i64::from(b.flags)),
            Field::Bflags if self.flag_words => {
                text(&b.bflags.iter().map(Str::as_bytes).collect::<Vec<_>>().join(&b" "[..]))
            }
            Field::Bflags => SqlValue::Int(i64::from(mask(&b.bflags))),
            Field::UserAgent => text(&b.user_agent),
            Field::Socket => maybe(&b.socket),
            Field::Methods => b.methods.map_or(SqlValue::Null, |m| SqlValue::Int(i64::from(m))),
            Field::Instance => maybe(&b.instance),
            Field::RegId => SqlValue::Int(i64::from(b.reg_id)),
            Field::Attr => maybe(&b.attr),
        }
    }
}

/// A database and a table of it.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    /// Its URL.
    pub url: &'a Str,
    /// Its name.
    pub name: &'a [u8],
    /// Its columns.
    pub columns: &'a Columns,
}

/// Whether a text can be the name of a table.
pub fn is_table_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= 64 && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

impl Table<'_> {
    fn request(&self, query: String, params: Vec<SqlValue>) -> SqlRequest {
        SqlRequest { url: self.url.clone(), query: Str::from(query), params, then: Vec::new() }
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(self.name).into_owned()
    }

    /// Where the rows of an address stand.
    fn of_aor(&self, aor: &[u8]) -> (String, Vec<SqlValue>) {
        let c = self.columns;
        let (user, domain) = if c.without_domain { (aor, &b""[..]) } else { split_aor(aor) };
        let mut text = format!("{}=?", c.name(Field::User));
        let mut params = vec![SqlValue::Text(Str::from(user))];
        if !c.without_domain {
            text.push_str(&format!(" AND {}=?", c.name(Field::Domain)));
            params.push(SqlValue::Text(Str::from(domain)));
        }
        (text, params)
    }

    /// The rows of an address.
    pub fn select(&self, aor: &[u8]) -> SqlRequest {
        let (place, params) = self.of_aor(aor);
        self.request(format!("SELECT {} FROM {} WHERE {place}", self.columns.list(), self.name()), params)
    }

    /// The row with this name.
    pub fn select_named(&self, ruid: &[u8]) -> SqlRequest {
        let c = self.columns;
        let query = format!("SELECT {} FROM {} WHERE {}=?", c.list(), self.name(), c.name(Field::Ruid));
        self.request(query, vec![c.id(ruid)])
    }

    /// Some rows, in the order of their names, from behind one on.
    pub fn page(&self, after: &SqlValue, most: usize) -> SqlRequest {
        let c = self.columns;
        let (list, id) = (c.list(), c.name(Field::Ruid));
        let (place, params) = match after {
            SqlValue::Null => (String::new(), Vec::new()),
            after => (format!("WHERE {id}>? "), vec![after.clone()]),
        };
        self.request(format!("SELECT {list} FROM {} {place}ORDER BY {id} LIMIT {most}", self.name()), params)
    }

    /// Writes rows, whether they are there already or not.
    pub fn upsert(&self, rows: &[(&[u8], &Binding)]) -> SqlRequest {
        let c = self.columns;
        let marks = format!("({})", vec!["?"; c.names.len()].join(","));
        let all = vec![marks; rows.len()].join(",");
        let params = rows.iter().flat_map(|(aor, b)| c.names.iter().map(|(field, _)| c.value(*field, aor, b)));
        let lite = self.url.starts_with(b"sqlite");
        let set = c.names.iter().filter(|(field, _)| *field != Field::Ruid).map(|(_, name)| {
            let name = name.to_lossy();
            if lite { format!("{name}=excluded.{name}") } else { format!("{name}=VALUES({name})") }
        });
        let set = set.collect::<Vec<_>>().join(",");
        let conflict = match lite {
            true => format!("ON CONFLICT({}) DO UPDATE SET", c.name(Field::Ruid)),
            false => "ON DUPLICATE KEY UPDATE".to_string(),
        };
        let params = params.collect();
        self.request(format!("INSERT INTO {} ({}) VALUES {all} {conflict} {set}", self.name(), c.list()), params)
    }

    /// Brings a row up to date; it changes nothing if there is none.
    pub fn update(&self, aor: &[u8], b: &Binding) -> SqlRequest {
        let c = self.columns;
        let fields = || c.names.iter().filter(|(field, _)| *field != Field::Ruid);
        let set = fields().map(|(_, name)| format!("{}=?", name.to_lossy())).collect::<Vec<_>>().join(",");
        let mut params: Vec<SqlValue> = fields().map(|(field, _)| c.value(*field, aor, b)).collect();
        params.push(c.id(&b.ruid));
        self.request(format!("UPDATE {} SET {set} WHERE {}=?", self.name(), c.name(Field::Ruid)), params)
    }

    /// Removes rows by their names.
    pub fn remove(&self, ruids: &[Str]) -> SqlRequest {
        let c = self.columns;
        let marks = vec!["?"; ruids.len()].join(",");
        let query = format!("DELETE FROM {} WHERE {} IN ({marks})", self.name(), c.name(Field::Ruid));
        self.request(query, ruids.iter().map(|r| c.id(r)).collect())
    }

    /// Removes the rows of an address.
    pub fn remove_aor(&self, aor: &[u8]) -> SqlRequest {
        let (place, params) = self.of_aor(aor);
        self.request(format!("DELETE FROM {} WHERE {place}", self.name()), params)
    }

    fn ended(&self, now: i64) -> (String, Vec<SqlValue>) {
        let (c, name) = (self.columns, self.columns.name(Field::Expires));
        // What never ends has 0 there.
        (format!("{name}<=? AND {name}>?"), vec![c.time(now), c.time(86_400)])
    }

    /// Some rows that have ended.
    pub fn select_ended(&self, now: i64, most: usize) -> SqlRequest {
        let (place, params) = self.ended(now);
        self.request(format!("SELECT {} FROM {} WHERE {place} LIMIT {most}", self.columns.list(), self.name()), params)
    }

    /// Removes the rows that have ended.
    pub fn remove_ended(&self, now: i64) -> SqlRequest {
        let (place, params) = self.ended(now);
        self.request(format!("DELETE FROM {} WHERE {place}", self.name()), params)
    }

    /// The address and the binding of a row; `None` if it lacks what a binding must have.
    pub fn read(&self, row: &[SqlValue]) -> Option<(Str, Binding)> {
        let c = self.columns;
        let field = |wanted: Field| {
            let at = c.names.iter().position(|(f, _)| *f == wanted)?;
            row.get(at).filter(|v| **v != SqlValue::Null)
        };
        let text = |wanted| field(wanted).map(as_text);
        let some = |wanted| text(wanted).filter(|t: &Str| !t.is_empty());
        let number = |wanted| field(wanted).and_then(as_number);
        let user = some(Field::User)?;
        let aor = match some(Field::Domain) {
            Some(domain) if !c.without_domain => Str::from([&user[..], b"@", &domain[..]].concat()),
            _ => user,
        };
        let bits = |n: i64| u32::try_from(n).unwrap_or_default();
        let contact = some(Field::Contact)?;
        crate::sip::uri::Uri::parse(&contact).ok()?;
        let q = text(Field::Q).and_then(|t| std::str::from_utf8(&t).ok()?.trim().parse::<f64>().ok());
        let binding = Binding {
            ruid: text(Field::Ruid).unwrap_or_default(),
            contact,
            expires: number(Field::Expires)?,
            q: q.filter(|q| (0.0..=1.0).contains(q)).map(|q| (q * 1000.0).round() as u16),
            call_id: text(Field::CallId).unwrap_or_default(),
            cseq: number(Field::Cseq).and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
            received: some(Field::Received),
            path: some(Field::Path),
            flags: number(Field::Flags).map_or(0, bits) & !MEMORY_ONLY,
            bflags: match field(Field::Bflags) {
                Some(v) if c.flag_words => {
                    let words = as_text(v);
                    words.split(|b| *b == b' ').filter(|w| !w.is_empty()).map(Str::from).collect()
                }
                Some(v) => unmask(as_number(v).map_or(0, bits)),
                None => Vec::new(),
            },
            user_agent: text(Field::UserAgent).unwrap_or_default(),
            socket: some(Field::Socket),
            // -1 and all bits are what the peers write for all.
            methods: number(Field::Methods).and_then(|n| u32::try_from(n).ok()).filter(|n| *n < i32::MAX as u32),
            instance: some(Field::Instance),
            reg_id: number(Field::RegId).map_or(0, bits),
            modified: number(Field::Modified).unwrap_or_default(),
            flow: None,
            conn: None,
            alive: 0,
            roundtrip: 0,
            attr: some(Field::Attr),
            row: Row::Same,
        };
        Some((aor, binding))
    }

    /// The name in a row, as it is asked for again.
    pub fn name_of(&self, row: &[SqlValue]) -> SqlValue {
        let at = self.columns.names.iter().position(|(f, _)| *f == Field::Ruid);
        at.and_then(|at| row.get(at)).cloned().unwrap_or(SqlValue::Null)
    }
}

fn as_text(value: &SqlValue) -> Str {
    match value {
        SqlValue::Null => Str::default(),
        SqlValue::Int(n) | SqlValue::Time(n) => Str::from(n.to_string()),
        SqlValue::Text(t) => t.clone(),
    }
}

fn as_number(value: &SqlValue) -> Option<i64> {
    match value {
        SqlValue::Null => None,
        SqlValue::Int(n) | SqlValue::Time(n) => Some(*n),
        SqlValue::Text(t) => std::str::from_utf8(t).ok()?.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            ruid: Str::from("uloc-1"),
            contact: Str::from("sip:bob@192.0.2.2;ob"),
            expires: 1_800_000_000,
            q: Some(500),
            call_id: Str::from("c"),
            cseq: 7,
            received: Some(Str::from("sip:192.0.2.9:5555")),
            path: Some(Str::from("<sip:edge;lr>")),
            flags: 0,
            bflags: vec![Str::from("6")],
            user_agent: Str::from("phone"),
            socket: Some(Str::from("udp:192.0.2.1:5060")),
            methods: Some(0x1fff),
            instance: Some(Str::from("<urn:x>")),
            reg_id: 1,
            modified: 1_700_000_000,
            flow: None,
            conn: None,
            alive: 0,
            roundtrip: 0,
            attr: None,
            row: Row::Same,
        }
    }

    #[test]
    fn a_binding_comes_back_from_its_row() {
        for dialect in [Dialect::Kamailio, Dialect::OpenSips] {
            let columns = Columns::of(dialect);
            let url = Str::from("mysql://h/d");
            let table = Table { url: &url, name: b"location", columns: &columns };
            let mut b = binding();
            if dialect == Dialect::OpenSips {
                b.ruid = Str::from("123456789012");
                b.reg_id = 0;
                b.attr = Some(Str::from("a"));
            }
            let row = table.upsert(&[(b"bob@example.com", &b)]).params;
            assert_eq!(table.read(&row), Some((Str::from("bob@example.com"), b.clone())));
            let plain = Binding { q: None, received: None, path: None, methods: None, instance: None, ..b };
            let row = table.upsert(&[(b"bob", &plain)]).params;
            assert_eq!(table.read(&row), Some((Str::from("bob"), plain)));
        }
    }

    #[test]
    fn rows_that_lack_something_are_none() {
        let columns = Columns::of(Dialect::Kamailio);
        let url = Str::from("sqlite:///x");
        let table = Table { url: &url, name: b"location", columns: &columns };
        let whole = table.upsert(&[(b"bob", &binding())]).params;
        assert!(table.read(&whole).is_some());
        let without = |field: Field| {
            let mut row = whole.clone();
            let at = columns.names.iter().position(|(f, _)| *f == field).unwrap();
            row[at] = SqlValue::Null;
            table.read(&row)
        };
        for needed in [Field::User, Field::Contact, Field::Expires] {
            assert_eq!(without(needed), None);
        }
        for spare in [Field::Cseq, Field::CallId, Field::Q, Field::Modified, Field::Bflags, Field::Socket, Field::Ruid]
        {
            assert!(without(spare).is_some());
        }
        assert_eq!(table.read(&[]), None);
        let mut row = whole.clone();
        row[2] = SqlValue::Text(Str::from("no uri"));
        assert_eq!(table.read(&row), None);
    }

    #[test]
    fn statements() {
        let mut columns = Columns::of(Dialect::Kamailio);
        columns.names.retain(|(f, _)| matches!(f, Field::Ruid | Field::User | Field::Domain | Field::Expires));
        let (my, lite) = (Str::from("mysql://h/d"), Str::from("sqlite:///x"));
        let b = binding();
        let text = |url: &Str, without_domain: bool, make: &dyn Fn(&Table<'_>) -> SqlRequest| {
            let columns = Columns { without_domain, ..columns.clone() };
            let r = make(&Table { url, name: b"location", columns: &columns });
            format!("{} {}", r.query.to_lossy(), r.params.len())
        };
        let select = |t: &Table<'_>| t.select(b"bob@x");
        let list = "username,domain,expires,ruid";
        assert_eq!(text(&my, false, &select), format!("SELECT {list} FROM location WHERE username=? AND domain=? 2"));
        assert_eq!(text(&my, true, &select), format!("SELECT {list} FROM location WHERE username=? 1"));
        let upsert = |t: &Table<'_>| t.upsert(&[(b"bob@x", &b), (b"eve@x", &b)]);
        let head = format!("INSERT INTO location ({list}) VALUES (?,?,?,?),(?,?,?,?)");
        let set = "username=VALUES(username),domain=VALUES(domain),expires=VALUES(expires)";
        assert_eq!(text(&my, false, &upsert), format!("{head} ON DUPLICATE KEY UPDATE {set} 8"));
        let set = "username=excluded.username,domain=excluded.domain,expires=excluded.expires";
        assert_eq!(text(&lite, false, &upsert), format!("{head} ON CONFLICT(ruid) DO UPDATE SET {set} 8"));
        let update = |t: &Table<'_>| t.update(b"bob@x", &b);
        assert_eq!(text(&my, false, &update), "UPDATE location SET username=?,domain=?,expires=? WHERE ruid=? 4");
        let remove = |t: &Table<'_>| t.remove(&[Str::from("1"), Str::from("2")]);
        assert_eq!(text(&my, false, &remove), "DELETE FROM location WHERE ruid IN (?,?) 2");
        let page = |t: &Table<'_>| t.page(&SqlValue::Int(5), 10);
        assert_eq!(
            text(&my, false, &page),
            format!("SELECT {list} FROM location WHERE ruid>? ORDER BY ruid LIMIT 10 1")
        );
    }

    #[test]
    fn names_of_columns() {
        let mut columns = Columns::of(Dialect::Kamailio);
        assert_eq!(columns.set("user_column", &Value::from("u")), Some(Ok(())));
        assert_eq!(columns.name(Field::User), "u");
        assert!(columns.set("user_column", &Value::from("u; DROP TABLE x")).unwrap().is_err());
        assert_eq!(columns.set("timer_interval", &Value::Int(5)), None);
        assert!(is_table_name(b"location") && !is_table_name(b"a b") && !is_table_name(b""));
    }
}
