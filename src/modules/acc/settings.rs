//! Parameters of `acc`.

use crate::base::Str;
use crate::modules::sqlops::identifier;
use crate::script::value::Value;

/// A field beside the usual ones: its name and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Name in the line, or of the column.
    pub name: Str,
    /// Variables, as written.
    pub format: Str,
}

/// Names of the usual columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// `acc_method_column`
    pub method: Str,
    /// `acc_from_tag_column`
    pub from_tag: Str,
    /// `acc_to_tag_column`
    pub to_tag: Str,
    /// `acc_callid_column`
    pub call_id: Str,
    /// `acc_sip_code_column`
    pub code: Str,
    /// `acc_sip_reason_column`
    pub reason: Str,
    /// `acc_time_column`
    pub time: Str,
}

/// What is accounted, how, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `log_flag`
    pub log_flag: Option<Str>,
    /// `log_missed_flag`
    pub log_missed_flag: Option<Str>,
    /// `db_flag`
    pub db_flag: Option<Str>,
    /// `db_missed_flag`
    pub db_missed_flag: Option<Str>,
    /// `failed_transaction_flag`
    pub failed_flag: Option<Str>,
    /// `failed_filter`: failures that are not accounted.
    pub failed_filter: Vec<u16>,
    /// `early_media`
    pub early_media: bool,
    /// `report_ack`
    pub report_ack: bool,
    /// `report_cancels`
    pub report_cancels: bool,
    /// `detect_direction`
    pub detect_direction: bool,
    /// `acc_extra_nullable`
    pub nullable: bool,
    /// `reason_from_hf`
    pub reason_from_hf: bool,
    /// `log_level`, on OpenSIPS' scale.
    pub log_level: i32,
    /// `log_extra`
    pub log_extra: Vec<Extra>,
    /// `db_extra`
    pub db_extra: Vec<Extra>,
    /// `db_table_acc`, with variables in it.
    pub table: Str,
    /// `db_table_missed_calls`, with variables in it.
    pub missed_table: Str,
    /// The usual columns.
    pub columns: Columns,
    /// `time_mode`
    pub time_mode: u8,
    /// `time_attr`
    pub time_attr: Str,
    /// `time_exten`
    pub time_exten: Str,
    /// `time_format`
    pub time_format: Str,
    /// `queue_size`: rows of a worker that may wait for the database.
    pub queue: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        let name = |text: &str| Str::from(text);
        Settings {
            log_flag: None,
            log_missed_flag: None,
            db_flag: None,
            db_missed_flag: None,
            failed_flag: None,
            failed_filter: Vec::new(),
            early_media: false,
            report_ack: false,
            report_cancels: false,
            detect_direction: false,
            nullable: false,
            reason_from_hf: false,
            log_level: 2,
            log_extra: Vec::new(),
            db_extra: Vec::new(),
            table: name("acc"),
            missed_table: name("missed_calls"),
            columns: Columns {
                method: name("method"),
                from_tag: name("from_tag"),
                to_tag: name("to_tag"),
                call_id: name("callid"),
                code: name("sip_code"),
                reason: name("sip_reason"),
                time: name("time"),
            },
            time_mode: 0,
            time_attr: Str::default(),
            time_exten: Str::default(),
            time_format: name("%Y-%m-%d %H:%M:%S"),
            queue: 10_000,
        }
    }
}

impl Settings {
    /// Takes over a parameter.
    ///
    /// # Errors
    /// What its value should be.
    pub fn set(&mut self, name: &str, value: &Value, kamailio: bool) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
        let int = value.to_int();
        let yes = int.is_some_and(|n| n != 0);
        let column = || identifier(&text).map(Str::from);
        match name {
            "log_flag" => self.log_flag = flag(value),
            "log_missed_flag" => self.log_missed_flag = flag(value),
            "db_flag" => self.db_flag = flag(value),
            "db_missed_flag" => self.db_missed_flag = flag(value),
            "failed_transaction_flag" => self.failed_flag = flag(value),
            "failed_filter" => self.failed_filter = codes(&text.to_lossy())?,
            "early_media" => self.early_media = yes,
            "report_ack" => self.report_ack = yes,
            "report_cancels" => self.report_cancels = yes,
            "detect_direction" => self.detect_direction = yes,
            "acc_extra_nullable" => self.nullable = yes,
            "reason_from_hf" => self.reason_from_hf = yes,
            // Kamailio counts from 0 for warnings, OpenSIPS from 1.
            "log_level" => {
                let level = int.ok_or("log_level is a number")?;
                let level = if kamailio && level >= 0 { level.saturating_add(1) } else { level };
                self.log_level = level.clamp(-3, 4) as i32;
            }
            "log_extra" => self.log_extra = extras(&text.to_lossy(), false)?,
            "db_extra" => self.db_extra = extras(&text.to_lossy(), true)?,
            "extra_fields" => self.extra_fields(&text.to_lossy())?,
            "db_table_acc" => self.table = table(text)?,
            "db_table_missed_calls" => self.missed_table = table(text)?,
            "acc_method_column" => self.columns.method = column()?,
            "acc_from_tag_column" => self.columns.from_tag = column()?,
            "acc_to_tag_column" => self.columns.to_tag = column()?,
            "acc_callid_column" => self.columns.call_id = column()?,
            "acc_sip_code_column" | "acc_sipcode_column" => self.columns.code = column()?,
            "acc_sip_reason_column" | "acc_sipreason_column" => self.columns.reason = column()?,
            "acc_time_column" => self.columns.time = column()?,
            "time_mode" => {
                let mode = int.and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= 4);
                self.time_mode = mode.ok_or("time_mode is a number from 0 to 4")?;
            }
            "time_attr" => self.time_attr = column()?,
            "time_exten" => self.time_exten = column()?,
            "time_format" => self.time_format = text,
            "queue_size" => {
                let size = int.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=1_000_000).contains(n));
                self.queue = size.ok_or("queue_size is a number from 1 to 1000000")?;
            }
            "cdr_enable" if yes => {
                return Err(
                    "records of whole calls (cdr_enable) need dialogs, which this version does not account".into()
                );
            }
            "multi_leg_info" | "multi_leg_bye_info" | "leg_fields" if !text.is_empty() => {
                return Err(format!("call legs ({name}) are not accounted by this version"));
            }
            _ => {}
        }
        Ok(())
    }

    /// `log:key->name;key`, `db:key->column`: what `$acc_extra(key)` holds becomes a field.
    fn extra_fields(&mut self, text: &str) -> Result<(), String> {
        let (kind, list) = text.split_once(':').ok_or("extra_fields is `log:key->name;key` or `db:key->column`")?;
        let db = match kind.trim() {
            "log" => false,
            "db" => true,
            "aaa" | "evi" => return Ok(()),
            other => return Err(format!("`{other}` is no type of accounting: log and db are")),
        };
        let mut written = String::new();
        for part in list.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, name) = part.split_once("->").unwrap_or((part, part));
            let (key, name) = (key.trim(), name.trim());
            if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
                return Err(format!("`{key}` is no name for $acc_extra"));
            }
            written.push_str(&format!("{name}=$acc_extra({key});"));
        }
        let fields = extras(&written, db)?;
        let all = if db { &mut self.db_extra } else { &mut self.log_extra };
        all.extend(fields);
        Ok(())
    }

    /// What is wrong with parameters together.
    pub fn complete(&self, has_database: bool) -> Result<(), String> {
        if (self.db_flag.is_some() || self.db_missed_flag.is_some()) && !has_database {
            return Err(
                "rows need a database: modparam(\"acc\", \"db_url\", \"mysql://user:password@host/database\")".into()
            );
        }
        let missing = match self.time_mode {
            0 => None,
            _ if self.time_attr.is_empty() => Some("time_attr"),
            1 if self.time_exten.is_empty() => Some("time_exten"),
            _ => None,
        };
        missing.map_or(Ok(()), |name| Err(format!("time_mode {} needs {name}", self.time_mode)))
    }
}

/// A flag's name: -1 is none.
fn flag(value: &Value) -> Option<Str> {
    value.to_text().filter(|t| !t.is_empty() && *t != "-1")
}

fn table(text: Str) -> Result<Str, String> {
    if !text.contains(&b'$') {
        identifier(&text)?;
    }
    Ok(text)
}

/// `404,407`
fn codes(list: &str) -> Result<Vec<u16>, String> {
    let code = |text: &str| text.parse::<u16>().ok().filter(|c| (300..1000).contains(c));
    let parts = list.split(',').map(str::trim).filter(|p| !p.is_empty());
    parts.map(|p| code(p).ok_or_else(|| format!("`{p}` is no status code from 300 to 999"))).collect()
}

/// `name=$variable;name=$variable`
pub fn extras(list: &str, columns: bool) -> Result<Vec<Extra>, String> {
    let mut out: Vec<Extra> = Vec::new();
    for part in list.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, format) = part.split_once('=').ok_or_else(|| format!("`{part}` has no variable: name=$variable"))?;
        let (name, format) = (name.trim(), format.trim());
        if !format.starts_with('$') {
            return Err(format!("`{format}` is no variable: name=$variable"));
        }
        if columns {
            identifier(name.as_bytes())?;
        }
        if name.is_empty() || out.iter().any(|e| *e.name == *name.as_bytes()) {
            return Err(format!("`{name}` is no name for a field, or stands twice"));
        }
        out.push(Extra { name: Str::from(name), format: Str::from(format) });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_or_refused() {
        let mut s = Settings::default();
        for (name, value) in [
            ("log_flag", "1"),
            ("db_missed_flag", "-1"),
            ("failed_filter", "404, 407"),
            ("log_level", "1"),
            ("log_extra", "src_user=$fU; ip = $si ;ua=$hdr(User-Agent)"),
            ("db_table_acc", "acc_$time(year)"),
            ("time_mode", "2"),
            ("time_attr", "time_hires"),
            ("extra_fields", "db: a->col_a; b"),
            ("extra_fields", "log:c"),
        ] {
            assert_eq!(s.set(name, &Value::from(value), true), Ok(()), "{name}");
        }
        assert_eq!((s.log_flag.as_deref(), &s.db_missed_flag, s.log_level), (Some(&b"1"[..]), &None, 2));
        assert_eq!(s.failed_filter, [404, 407]);
        assert_eq!(s.log_extra[1], Extra { name: Str::from("ip"), format: Str::from("$si") });
        assert_eq!(s.db_extra[0], Extra { name: Str::from("col_a"), format: Str::from("$acc_extra(a)") });
        assert_eq!((s.db_extra.len(), s.log_extra.len()), (2, 4));
        for (name, value) in [
            ("extra_fields", "a->b"),
            ("extra_fields", "db:a b"),
            ("extra_fields", "db:a->b c"),
            ("failed_filter", "200"),
            ("log_extra", "a"),
            ("log_extra", "a=b"),
            ("log_extra", "a=$fU;a=$tU"),
            ("db_extra", "a b=$fU"),
            ("db_table_acc", "acc; DROP"),
            ("time_mode", "5"),
            ("cdr_enable", "1"),
            ("multi_leg_info", "a=$avp(b)"),
            ("queue_size", "0"),
        ] {
            assert!(s.set(name, &Value::from(value), true).is_err(), "{name} {value}");
        }
        assert_eq!(s.complete(false), Ok(()));
        s.time_mode = 1;
        assert!(s.complete(true).is_err());
        s.time_mode = 0;
        s.db_flag = flag(&Value::Int(3));
        assert!(s.complete(false).is_err() && s.complete(true).is_ok());
    }
}
