//! The module's parameters as settings.

use super::state::Thresholds;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::pv;
use crate::script::value::Value;
use std::rc::Rc;
use std::time::Duration;

/// Which replies show that a destination lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies {
    codes: Vec<u16>,
    classes: Vec<u16>,
}

impl Replies {
    /// Whether a status is one of them; 2xx always is.
    pub fn has(&self, status: u16) -> bool {
        self.codes.contains(&status) || self.classes.contains(&(status / 100))
    }

    /// Reads `code=404;class=3`, or `404,480`.
    fn parse(text: &str) -> Result<Replies, String> {
        let mut replies = Replies { codes: Vec::new(), classes: vec![2] };
        for part in text.split([';', ',']).map(str::trim).filter(|p| !p.is_empty()) {
            let (name, number) = part.split_once('=').unwrap_or(("code", part));
            let n = number.trim().parse::<u16>().ok();
            match (name.trim(), n) {
                ("code", Some(n)) if (100..700).contains(&n) => replies.codes.push(n),
                ("class", Some(n)) if (1..7).contains(&n) => replies.classes.push(n),
                _ => return Err(format!("`{part}` is no reply: code=404;class=3")),
            }
        }
        Ok(replies)
    }
}

/// A variable that a parameter names, to be assigned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `$avp(name)`
    Avp(Str),
    /// `$var(name)`
    Var(Str),
}

impl Place {
    fn parse(text: &[u8]) -> Result<Place, ()> {
        if let Some(name) = crate::modules::nathelper::avp_name(text) {
            return Ok(Place::Avp(name));
        }
        let var = pv::parse(text.trim_ascii()).map_err(|_| ())?;
        match (var.name.as_str(), var.sub.as_deref()) {
            ("var", Some([pv::Piece::Text(name)])) if !name.is_empty() => Ok(Place::Var(Str::from(name.as_slice()))),
            _ => Err(()),
        }
    }
}

/// Reads `attribute=column;...`.
fn further(text: &str) -> Result<Vec<(Str, Str)>, String> {
    let word = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let pairs = text.split(';').map(str::trim).filter(|p| !p.is_empty());
    pairs
        .map(|pair| match pair.split_once('=').map(|(a, c)| (a.trim(), c.trim())) {
            Some((attribute, column)) if word(attribute) && word(column) => {
                Ok((Str::from(attribute), Str::from(column)))
            }
            _ => Err(format!("ds_db_extra_attrs: `{pair}` is not of the form attribute=column")),
        })
        .collect()
}

/// The module's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `list_file`
    pub file: Option<String>,
    /// The file as main has read it at the start (`Ok(None)`: it is not there); `None`: nobody has.
    pub text: Option<Result<Option<Rc<str>>, String>>,
    /// `db_url` was given.
    pub database: bool,
    /// Table and columns: set, destination, flags (OpenSIPS: state), priority, attributes, socket, weight.
    pub table: Str,
    /// The columns.
    pub columns: [Str; 7],
    /// `ds_db_extra_attrs`: further attributes, and their columns.
    pub further: Vec<(Str, Str)>,
    /// `flags`: 1
    pub user_only: bool,
    /// `flags`: 2
    pub failover: bool,
    /// `use_default`
    pub last_resort: bool,
    /// `force_dst`
    pub force: bool,
    /// `hash_pvar`
    pub hash: Str,
    /// `setid_pvname`, `setid_pvar`
    pub set_place: Option<Place>,
    /// `attrs_pvname`
    pub attrs_place: Option<Place>,
    /// `pvar_algo_pattern`
    pub load_pattern: Option<Str>,
    /// `algo_route`
    pub algo_route: Option<Str>,
    /// `ds_default_socket`
    pub socket: Option<Str>,
    /// `ds_ping_interval`
    pub interval: Duration,
    /// `ds_ping_method`
    pub method: Str,
    /// `ds_ping_from`
    pub from: Str,
    /// `ds_ping_reply_codes`
    pub replies: Replies,
    /// `ds_probing_mode`
    pub mode: i64,
    /// `ds_probing_threshold`, `ds_inactive_threshold`
    pub thresholds: Thresholds,
    /// `ds_ping_latency_stats`
    pub latencies: bool,
    /// `ds_latency_estimator_alpha`
    pub alpha: f32,
    /// `outbound_proxy`
    pub proxy: Option<Str>,
    /// `ds_probing_sock`
    pub ping_socket: Option<Str>,
    /// `ds_hash_size` is above 0.
    pub counts_calls: bool,
    /// `ds_hash_expire`
    pub call_lasts: Duration,
    /// `ds_hash_initexpire`
    pub call_begins: Duration,
    /// `ds_hash_check_interval`
    pub call_check: Duration,
    /// `xavp_dst`
    pub kept: Str,
    /// `xavp_ctx`
    pub context: Str,
    /// `ds_dns_interval`
    pub names: Duration,
    /// AVPs for the destination, set, count, socket, attributes, and attributes of scripts.
    pub avps: [Option<Str>; 6],
    /// `ds_probing_list`: the sets that are pinged; none: all.
    pub probed_sets: Vec<i64>,
    /// Whose table it is.
    pub dialect: Dialect,
    /// Whether there are destinations at all: the module is loaded.
    pub loaded: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let names = ["setid", "destination", "flags", "priority", "attrs", "socket", "weight"];
        Settings {
            file: None,
            text: None,
            database: false,
            table: Str::from("dispatcher"),
            columns: names.map(Str::from),
            further: Vec::new(),
            user_only: false,
            failover: false,
            last_resort: false,
            force: true,
            hash: Str::default(),
            set_place: None,
            attrs_place: None,
            load_pattern: None,
            algo_route: None,
            socket: None,
            interval: Duration::ZERO,
            method: Str::from("OPTIONS"),
            from: Str::from("sip:dispatcher@localhost"),
            replies: Replies { codes: Vec::new(), classes: vec![2] },
            mode: 0,
            thresholds: Thresholds { failures: 1, answers: 1 },
            latencies: false,
            alpha: 0.9,
            proxy: None,
            ping_socket: None,
            counts_calls: false,
            call_lasts: Duration::from_secs(7200),
            call_begins: Duration::from_secs(7200),
            call_check: Duration::from_secs(30),
            kept: Str::from("_dsdst_"),
            context: Str::from("_dsctx_"),
            names: Duration::from_secs(600),
            avps: Default::default(),
            probed_sets: Vec::new(),
            dialect: Dialect::Kamailio,
            loaded: false,
        }
    }
}

impl Settings {
    /// What holds in this dialect before any parameter is read.
    pub fn prepare(&mut self, dialect: Dialect) {
        self.dialect = dialect;
        if dialect == Dialect::OpenSips {
            self.thresholds.failures = 3;
            self.columns[2] = Str::from("state");
        }
    }

    /// Takes over a parameter of the module.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
        let some = || Some(text.clone()).filter(|t| !t.is_empty());
        let int = value.to_int().unwrap_or(0);
        let seconds = || {
            let n = u64::try_from(int).ok().filter(|n| *n <= 10_000_000);
            n.map(Duration::from_secs).ok_or_else(|| format!("{param} is a number of seconds"))
        };
        let count =
            || u32::try_from(int).ok().filter(|n| *n > 0).ok_or_else(|| format!("{param} is a number from 1 on"));
        const COLUMNS: [&str; 8] = [
            "setid_col",
            "destination_col",
            "flags_col",
            "priority_col",
            "attrs_col",
            "socket_col",
            "weight_col",
            "state_col",
        ];
        if let Some(at) = COLUMNS.iter().position(|c| *c == param) {
            let column = self.columns.get_mut(if at == 7 { 2 } else { at });
            return match (column, some()) {
                (Some(column), Some(name)) => {
                    *column = name;
                    Ok(())
                }
                _ => Err(format!("{param} is the name of a column")),
            };
        }
        const AVPS: [&str; 6] = ["dst_avp", "grp_avp", "cnt_avp", "sock_avp", "attrs_avp", "script_attrs_avp"];
        if let Some(slot) = AVPS.iter().position(|a| *a == param).and_then(|at| self.avps.get_mut(at)) {
            let name = crate::modules::nathelper::avp_name(&text);
            *slot = Some(name.ok_or_else(|| format!("{param} is an AVP: $avp(name)"))?);
            return Ok(());
        }
        match param {
            "list_file" => self.file = some().map(|f| f.to_lossy().into_owned()),
            "db_url" => self.database = some().is_some(),
            "table_name" => self.table = some().ok_or("table_name is the name of a table")?,
            "flags" => (self.user_only, self.failover) = (int & 1 != 0, int & 2 != 0),
            "use_default" => self.last_resort = int != 0,
            "force_dst" => self.force = int != 0,
            "hash_pvar" => self.hash = text,
            "setid_pvname" | "setid_pvar" | "attrs_pvname" => {
                let place = some().map(|t| Place::parse(&t)).transpose();
                let place = place.map_err(|()| format!("{param} is $var(name) or $avp(name)"))?;
                *(if param == "attrs_pvname" { &mut self.attrs_place } else { &mut self.set_place }) = place;
            }
            "pvar_algo_pattern" => {
                if let Some(pattern) = some() {
                    let probe = pattern.to_lossy().replace("%u", "sip:x");
                    pv::pieces(probe.as_bytes()).map_err(|e| format!("{param}: {}", e.message))?;
                }
                self.load_pattern = some();
            }
            "algo_route" => self.algo_route = some(),
            "ds_probing_list" => {
                let text = text.to_lossy().into_owned();
                let sets = text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::parse);
                self.probed_sets =
                    sets.collect::<Result<_, _>>().map_err(|_| "ds_probing_list is numbers of sets: 1,2")?;
            }
            "ds_db_extra_attrs" => self.further = further(&text.to_lossy())?,
            "ds_default_socket" | "ds_default_sockname" => self.socket = some(),
            "ds_ping_interval" => self.interval = seconds()?,
            "ds_ping_method" => self.method = some().ok_or("ds_ping_method is a method")?,
            "ds_ping_from" => self.from = some().ok_or("ds_ping_from is a URI")?,
            "ds_ping_reply_codes" | "options_reply_codes" => self.replies = Replies::parse(&text.to_lossy())?,
            "ds_probing_mode" => {
                if !(0..=3).contains(&int) {
                    return Err("ds_probing_mode is a number from 0 to 3".to_string());
                }
                self.mode = int;
            }
            "ds_probing_threshold" | "ds_probing_threshhold" => self.thresholds.failures = count()?,
            "ds_inactive_threshold" => self.thresholds.answers = count()?,
            "ds_ping_latency_stats" => self.latencies = int != 0,
            "ds_latency_estimator_alpha" => {
                if !(0..=1000).contains(&int) {
                    return Err(format!("{param} is a number from 0 to 1000"));
                }
                self.alpha = int as f32 / 1000.0;
            }
            "outbound_proxy" => self.proxy = some(),
            "ds_probing_sock" => self.ping_socket = some(),
            "ds_hash_size" => self.counts_calls = int > 0,
            "ds_hash_expire" => self.call_lasts = seconds()?,
            "ds_hash_initexpire" => self.call_begins = seconds()?,
            "xavp_dst" => self.kept = some().ok_or("xavp_dst is a name")?,
            "xavp_ctx" => self.context = some().ok_or("xavp_ctx is a name")?,
            "ds_dns_interval" => self.names = seconds()?.max(Duration::from_secs(1)),
            "ds_hash_check_interval" => self.call_check = seconds()?.max(Duration::from_secs(1)),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_codes() {
        let r = Replies::parse("code=404;code=480;class=3").unwrap();
        let has: Vec<u16> = [200, 302, 404, 405, 480, 500].into_iter().filter(|s| r.has(*s)).collect();
        assert_eq!(has, [200, 302, 404, 480]);
        assert!(Replies::parse("404,480").unwrap().has(480));
        for bad in ["code=99", "class=7", "x=1", "abc"] {
            assert!(Replies::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_checked() {
        let mut s = Settings::default();
        for (param, value) in [
            ("ds_probing_mode", Value::Int(4)),
            ("ds_probing_threshold", Value::Int(0)),
            ("ds_ping_interval", Value::Int(-1)),
            ("dst_avp", Value::from("x")),
            ("setid_col", Value::from("")),
            ("ds_ping_reply_codes", Value::from("x")),
            ("setid_pvname", Value::from("$ru")),
            ("attrs_pvname", Value::from("x")),
            ("ds_probing_list", Value::from("1,x")),
            ("ds_db_extra_attrs", Value::from("socket")),
            ("ds_db_extra_attrs", Value::from("a=b c")),
            ("pvar_algo_pattern", Value::from("$stat(load_%u")),
        ] {
            assert!(s.set(param, &value).is_err(), "{param}");
        }
        s.set("setid_pvname", &Value::from("$var(set)")).unwrap();
        s.set("attrs_pvname", &Value::from("$avp(attrs)")).unwrap();
        assert_eq!(s.set_place, Some(Place::Var(Str::from("set"))));
        assert_eq!(s.attrs_place, Some(Place::Avp(Str::from("attrs"))));
        s.set("ds_db_extra_attrs", &Value::from("socket=sock;pref=prefix")).unwrap();
        assert_eq!(s.further.len(), 2);
        s.set("flags", &Value::Int(2)).unwrap();
        s.set("dst_avp", &Value::from("$avp(s:d)")).unwrap();
        s.set("state_col", &Value::from("st")).unwrap();
        assert!(s.failover && !s.user_only);
        assert_eq!((s.avps[0].clone(), s.columns[2].clone()), (Some(Str::from("s:d")), Str::from("st")));
    }
}
