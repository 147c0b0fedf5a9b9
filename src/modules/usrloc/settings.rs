//! The parameters of `usrloc`.

use super::keepalive::KeepAlive;
use super::sql::Columns;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec};
use crate::script::value::Value;
use std::time::Duration;

/// Where bindings are kept (`db_mode`, `working_mode_preset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the shared store alone.
    #[default]
    Memory,
    /// In the database too: a change is there before it is answered.
    WriteThrough,
    /// In the database too: changes get there from time to time.
    WriteBack,
    /// In the database alone.
    Database,
    /// In the shared store, which begins with what the database holds.
    Loaded,
}

impl Mode {
    /// Whether the shared store begins with what the database holds.
    pub fn loads(self) -> bool {
        matches!(self, Mode::WriteThrough | Mode::WriteBack | Mode::Loaded)
    }

    /// Whether what changes in the shared store must get into the database.
    pub fn writes(self) -> bool {
        matches!(self, Mode::WriteThrough | Mode::WriteBack)
    }
}

/// What makes two contacts the same binding (`matching_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// The URI.
    #[default]
    Contact,
    /// URI and Call-ID.
    ContactAndCallId,
    /// URI and Path.
    ContactAndPath,
    /// The Call-ID.
    CallId,
}

/// The module's parameters.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `db_mode`
    pub mode: Mode,
    /// `use_domain`: an address of record has a domain.
    pub use_domain: bool,
    /// `matching_mode`
    pub matching: Matching,
    /// `cseq_delay`: seconds for which the same CSeq again is a repetition.
    pub cseq_delay: i64,
    /// `desc_time_order`
    pub newest_first: bool,
    /// `timer_interval`
    pub interval: Duration,
    /// `preload`: tables that are loaded beside those that the script names.
    pub preload: Vec<Str>,
    /// `fetch_rows`
    pub fetch_rows: usize,
    /// `*_column`, `expires_type`
    pub columns: Columns,
    /// `nat_bflag`
    pub nat_bflag: Option<Str>,
    /// `ka_*`
    pub keepalive: KeepAlive,
    /// `handle_lost_tcp`: a contact ends with the connection it was registered over.
    pub lost_tcp: bool,
    /// `close_expired_tcp`: the connection ends with the contact.
    pub close_tcp: bool,
}

/// The number that the database has among the server's.
pub const DATABASE: i64 = -2_000;

/// The database where none is named.
pub const DEFAULT_URL: &str = "mysql://kamailio:kamailiorw@localhost/kamailio";

impl Settings {
    /// What holds where nothing is configured.
    pub fn of(dialect: Dialect) -> Settings {
        Settings {
            mode: Mode::default(),
            use_domain: dialect == Dialect::OpenSips,
            matching: Matching::default(),
            cseq_delay: 20,
            newest_first: false,
            interval: Duration::from_secs(60),
            preload: Vec::new(),
            fetch_rows: 2000,
            columns: Columns::of(dialect),
            nat_bflag: None,
            keepalive: KeepAlive::default(),
            lost_tcp: false,
            close_tcp: false,
        }
    }

    /// Whether it matters which connection a contact came over.
    pub fn follows_connections(&self) -> bool {
        self.lost_tcp || self.close_tcp
    }

    /// What parameters say that do not go together.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<(), String> {
        let ka = &self.keepalive;
        let interval = i64::try_from(self.interval.as_secs()).unwrap_or(i64::MAX);
        if ka.on && ka.timeout > 0 && ka.timeout <= interval {
            return Err(format!(
                "ka_timeout ({} s) is not longer than timer_interval ({interval} s): contacts would end before they are asked",
                ka.timeout
            ));
        }
        Ok(())
    }

    /// Whether parameters are set that only contacts in memory have a use for.
    pub fn asks_in_vain(&self) -> bool {
        self.mode == Mode::Database && (self.keepalive.on || self.follows_connections())
    }

    /// Takes over a parameter.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let number = value.to_int();
        let text = value.to_text().unwrap_or_default();
        let yes = number.is_some_and(|n| n != 0);
        let range = |least: i64, most: i64| {
            let fits = number.filter(|n| (least..=most).contains(n));
            fits.ok_or_else(|| format!("{param} is a number from {least} to {most}"))
        };
        match param {
            "db_mode" => {
                self.mode = match range(0, 4)? {
                    0 => Mode::Memory,
                    1 => Mode::WriteThrough,
                    2 => Mode::WriteBack,
                    3 => Mode::Database,
                    _ => Mode::Loaded,
                }
            }
            "working_mode_preset" => {
                self.mode = match &text[..] {
                    b"single-instance-no-db" => Mode::Memory,
                    b"single-instance-sql-write-through" => Mode::WriteThrough,
                    b"single-instance-sql-write-back" => Mode::WriteBack,
                    b"sql-only" => Mode::Database,
                    _ => {
                        return Err(format!(
                            "working_mode_preset `{}` is not there: `single-instance-no-db`, \
                             `single-instance-sql-write-through`, `single-instance-sql-write-back` and `sql-only` are",
                            text.to_lossy()
                        ));
                    }
                }
            }
            "use_domain" => self.use_domain = yes,
            "matching_mode" => {
                self.matching = match range(0, 3)? {
                    0 => Matching::Contact,
                    1 => Matching::ContactAndCallId,
                    2 => Matching::ContactAndPath,
                    _ => Matching::CallId,
                }
            }
            "cseq_delay" => self.cseq_delay = range(0, 86_400)?,
            "desc_time_order" => self.newest_first = yes,
            "timer_interval" => self.interval = Duration::from_secs(range(1, 86_400)?.unsigned_abs()),
            "preload" => self.preload.push(table(&text)?),
            "fetch_rows" => self.fetch_rows = usize::try_from(range(1, 100_000)?).unwrap_or(2000),
            "expires_type" => self.columns.number_ends = range(0, 1)? == 1,
            "nat_bflag" => self.nat_bflag = Some(text).filter(|t| !t.is_empty()),
            "handle_lost_tcp" => self.lost_tcp = yes,
            "close_expired_tcp" => self.close_tcp = yes,
            param => {
                if let Some(set) = self.keepalive.set(param, value) {
                    return set;
                }
                if let Some(set) = self.columns.set(param, value) {
                    set?;
                }
            }
        }
        self.columns.without_domain = !self.use_domain;
        Ok(())
    }
}

fn table(name: &[u8]) -> Result<Str, String> {
    if super::sql::is_table_name(name) {
        Ok(Str::from(name))
    } else {
        Err(format!("`{}` is no name of a table", String::from_utf8_lossy(name)))
    }
}

const fn param(name: &'static str, kind: ModParamKind, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind, ignored: false, doc }
}

const fn number(name: &'static str, doc: &'static str) -> ModParamSpec {
    param(name, ModParamKind::Int, doc)
}

const fn column(name: &'static str) -> ModParamSpec {
    param(name, ModParamKind::Str, "name of a column")
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

/// The parameters.
pub const PARAMS: &[ModParamSpec] = &[
    number(
        "db_mode",
        "0: bindings are kept in memory; 1: in the database too, before a REGISTER is answered; 2: in the database too, \
         each timer_interval; 3: in the database alone; 4: in memory, which begins with what the database holds; default 0",
    ),
    param(
        "working_mode_preset",
        ModParamKind::Str,
        "the same by words: `single-instance-no-db`, `single-instance-sql-write-through`, \
         `single-instance-sql-write-back`, `sql-only`",
    ),
    param("db_url", ModParamKind::Str, "the database; default mysql://kamailio:kamailiorw@localhost/kamailio"),
    number("use_domain", "1: an address of record is user@domain, 0: the user alone; default 0 (OpenSIPS: 1)"),
    number(
        "matching_mode",
        "what makes a contact the same as one that is there: 0 its URI, 1 URI and Call-ID, 2 URI and Path, 3 the \
         Call-ID; default 0",
    ),
    number("cseq_delay", "seconds for which a REGISTER with the same Call-ID and CSeq is a repetition; default 20"),
    number("desc_time_order", "1: the contact that was saved last is tried first, 0: by q; default 0"),
    number("timer_interval", "seconds between two looks for contacts that have ended, and two writes; default 60"),
    param("preload", ModParamKind::Str, "a table that is loaded at the start though the script does not name it"),
    number("fetch_rows", "rows that are read at a time at the start; default 2000"),
    number("expires_type", "1: the column of the ends is a number of seconds since 1970, 0: a date; default 0"),
    param("nat_bflag", ModParamKind::Any, "branch flag of contacts behind a NAT"),
    column("ruid_column"),
    column("contact_id_column"),
    column("user_column"),
    column("username_column"),
    column("domain_column"),
    column("contact_column"),
    column("received_column"),
    column("path_column"),
    column("expires_column"),
    column("q_column"),
    column("callid_column"),
    column("cseq_column"),
    column("last_modified_column"),
    column("flags_column"),
    column("cflags_column"),
    column("user_agent_column"),
    column("socket_column"),
    column("methods_column"),
    column("instance_column"),
    column("sip_instance_column"),
    column("reg_id_column"),
    column("attr_column"),
    ignored("server_id_column", "the column keeps its default"),
    ignored("connection_id_column", "the column keeps its default"),
    ignored("keepalive_column", "the column keeps its default"),
    ignored("partition_column", "the column keeps its default"),
    ignored("kv_store_column", "the column keeps its default"),
    ignored("hash_size", "the store needs no size"),
    ignored("timer_procs", "one worker looks for contacts that have ended, and waits for nothing"),
    ignored("db_load", "db_mode decides"),
    ignored("db_check_update", "a row that is missing is written anew"),
    ignored("db_update_as_insert", "rows are updated"),
    ignored("db_insert_update", "rows are written whether they are there or not"),
    ignored("db_insert_null", "empty fields are NULL"),
    ignored("db_ops_ruid", "rows are found by their ruid"),
    ignored("db_raw_fetch_type", "rows are read by pages"),
    ignored("db_timer_clean", "rows that have ended are removed with their contacts"),
    ignored("db_clean_tcp", "a contact lives as long as it was registered for"),
    ignored("max_contact_delete", "rows are removed some at a time"),
    ignored("version_table", "the table's version is not looked at"),
    ignored("load_rank", "tables are loaded before the startup route runs"),
    number("handle_lost_tcp", "1: a contact ends with the connection that it was registered over; default 0"),
    number("close_expired_tcp", "1: the connection that a contact was registered over ends with it; default 0"),
    ignored("rm_expired_delay", "a contact that has ended is removed at the next look"),
    ignored("skip_remote_socket", "a socket that is not ours is not used"),
    ignored("server_id_filter", "all rows are this server's"),
    ignored("user_agent_len", "it is cut at 255 bytes"),
    ignored("xavp_contact", "contacts have no attributes of the script's"),
    ignored("ul_xavp_contact_clone", "contacts have no attributes of the script's"),
    number(
        "ka_mode",
        "contacts are sent requests each timer_interval, for their answers: a sum of 1 all, 2 those with the flag of nat_bflag, 4 those over UDP; 0: none; default 0",
    ),
    param("ka_method", ModParamKind::Str, "method of these requests; default OPTIONS"),
    param("ka_from", ModParamKind::Str, "URI of their From; default sip:server@kamailio.org"),
    param(
        "ka_domain",
        ModParamKind::Str,
        "host of their To where addresses have none (use_domain 0); default kamailio.org",
    ),
    number("ka_timeout", "seconds without an answer behind which a contact ends; 0: it does not; default 0"),
    number("ka_loglevel", "level of a line for each answer, from -5 to 3; 255: none; default 255"),
    param(
        "ka_logmsg",
        ModParamKind::Str,
        "end of that line, with variables of the answer; default \" to-uri: [$tu] remote-addr: [$sas]\"",
    ),
    ignored("ka_interval", "timer_interval decides"),
    ignored("ka_filter", "all contacts are this server's"),
    ignored("contact_refresh_timer", "no event is raised before a contact ends"),
    ignored("mi_dump_kv_store", "contacts have no further data"),
    ignored("latency_event_min_us", "contacts are not sent keep-alive requests by this module"),
    ignored("latency_event_min_us_delta", "contacts are not sent keep-alive requests by this module"),
    ignored("pinging_mode", "contacts are not sent keep-alive requests by this module"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let mut s = Settings::of(Dialect::Kamailio);
        assert!(s.columns.set("user_column", &Value::from("u")).is_some());
        s.set("db_mode", &Value::Int(2)).unwrap();
        s.set("matching_mode", &Value::Int(1)).unwrap();
        s.set("preload", &Value::from("aliases")).unwrap();
        assert_eq!((s.mode, s.matching, s.columns.without_domain), (Mode::WriteBack, Matching::ContactAndCallId, true));
        s.set("use_domain", &Value::Int(1)).unwrap();
        assert!(!s.columns.without_domain);
        s.set("ka_mode", &Value::Int(1)).unwrap();
        s.set("ka_timeout", &Value::Int(60)).unwrap();
        assert!(s.check().is_err(), "as long as timer_interval");
        s.set("ka_timeout", &Value::Int(180)).unwrap();
        assert_eq!(s.check(), Ok(()));
        s.set("working_mode_preset", &Value::from("sql-only")).unwrap();
        assert!(s.asks_in_vain());
        assert_eq!(s.mode, Mode::Database);
        let bad = [
            ("db_mode", Value::Int(5)),
            ("db_mode", Value::from("x")),
            ("matching_mode", Value::Int(-1)),
            ("timer_interval", Value::Int(0)),
            ("preload", Value::from("a;b")),
            ("working_mode_preset", Value::from("full-sharing-cluster")),
            ("path_column", Value::from("")),
            ("ka_mode", Value::Int(9)),
        ];
        for (param, value) in bad {
            assert!(s.set(param, &value).is_err(), "{param}");
        }
    }
}
