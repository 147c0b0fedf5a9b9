//! The functions of `xlog` (kamailio.md section 5.6).

use crate::base::Str;
use crate::modules::core::logging;
use crate::modules::emit_to;
use crate::modules::host::SipHost;
use crate::modules::pv_kamailio::method_number;
use crate::net::logpipe;
use crate::script::registry::{Call, FnSpec, Kind, Param, Step};
use crate::script::value::Value;

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[
    at::<-3>("xalert", "Writes a line at alert level.", r#"xalert("$si is blocked\n");"#),
    at::<-2>("xbug", "Writes a line at critical level.", r#"xbug("this cannot be: $ru\n");"#),
    at::<-2>("xcrit", "Writes a line at critical level.", r#"xcrit("no gateway is left\n");"#),
    at::<-1>("xerr", "Writes a line at error level.", r#"xerr("no route to $rU\n");"#),
    at::<1>("xwarn", "Writes a line at warning level.", r#"xwarn("old client $ua\n");"#),
    at::<2>("xnotice", "Writes a line at notice level.", r#"xnotice("call to $rU\n");"#),
    at::<3>("xinfo", "Writes a line at info level.", r#"xinfo("new call $ci\n");"#),
    XDBGL,
    XLOGL,
    XLOGM,
];

/// What the module was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `prefix`; empty unless it was set.
    prefix: Str,
    /// Whether there are variables in it.
    expands: bool,
    /// Syslog facility of the lines; `None`: that of the log.
    facility: Option<u8>,
    /// Methods for which `xlogm` writes nothing, by their bits.
    filter: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { prefix: Str::default(), expands: false, facility: None, filter: -1 }
    }
}

impl Settings {
    /// Takes a parameter; others than these are for somebody else.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn set(&mut self, param: &str, value: &Value) -> Result<(), String> {
        let text = value.to_text().unwrap_or_default();
        match param {
            "prefix" => self.prefix = text,
            "prefix_mode" => self.expands = value.to_int() == Some(1),
            "log_facility" => {
                let facility = logpipe::facility(&text.to_lossy());
                self.facility = Some(facility.ok_or("log_facility is a facility of syslog, such as LOG_LOCAL3")?);
            }
            "methods_filter" => self.filter = value.to_int().ok_or("methods_filter is a number")?,
            _ => {}
        }
        Ok(())
    }
}

const TEXT: &[Param] = &[Param::req("text", Kind::Str)];

/// A function whose level is in its name.
const fn at<const LEVEL: i32>(name: &'static str, doc: &'static str, example: &'static str) -> FnSpec<SipHost> {
    FnSpec { opensips: None, kamailio: Some(name), params: TEXT, doc, example, run: write::<LEVEL>, ..logging::XLOG }
}

fn write<const LEVEL: i32>(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let text = call.text(0).unwrap_or_default();
    put(call, LEVEL, None, &text);
    Step::Done(1)
}

/// `xlog`
pub(super) const XLOG: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("xlog"),
    params: &[
        Param::req("facility, level or text", Kind::Str),
        Param::opt("level or text", Kind::Str),
        Param::opt("text", Kind::Str),
    ],
    doc: "Writes a line, optionally at a level (L_ALERT, L_BUG, L_CRIT, L_ERR, L_WARN, L_NOTICE, L_INFO, L_DBG, or a number from \
          -5 to 3; default L_ERR) and to a facility of syslog.",
    example: r#"xlog("LOG_LOCAL3", "L_INFO", "call from $fu\n");"#,
    run: |call| located(call, ""),
    ..logging::XLOG
};

/// `xdbg`
pub(super) const XDBG: FnSpec<SipHost> =
    FnSpec { opensips: None, kamailio: Some("xdbg"), run: write::<4>, ..logging::XDBG };

const XDBGL: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("xdbgl"),
    doc: "Writes a line at debug level, with the file and line of the call in front of it.",
    example: r#"xdbgl("here with $rm\n");"#,
    run: |call| {
        let text = [position(call).as_bytes(), &call.text(0).unwrap_or_default()].concat();
        put(call, 4, None, &text);
        Step::Done(1)
    },
    ..logging::XDBG
};

const XLOGL: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xlogl"),
    doc: "Writes a line as xlog does, with the file and line of the call in front of it.",
    example: r#"xlogl("L_INFO", "here\n");"#,
    run: |call| {
        let front = position(call);
        located(call, &front)
    },
    ..XLOG
};

const XLOGM: FnSpec<SipHost> = FnSpec {
    kamailio: Some("xlogm"),
    params: &[Param::req("level", Kind::Str), Param::req("text", Kind::Str)],
    doc: "Writes a line as xlog does, but not about messages whose method is in `methods_filter`: none at all, unless that is set.",
    example: r#"xlogm("L_INFO", "here\n");"#,
    run: |call| {
        let filter = call.host.env().settings.xlog.filter;
        if filter & method_number(call.host.msg.method_bytes()) == 0 {
            return located(call, "");
        }
        Step::Done(1)
    },
    ..XLOG
};

/// File and line of the call.
fn position(call: &mut Call<'_, SipHost>) -> String {
    let (file, line) = call.vm().position();
    format!("{file}:{line}: ")
}

/// `[[facility,] level,] text`, with something in front.
fn located(call: &mut Call<'_, SipHost>, front: &str) -> Step<SipHost> {
    let count = (0..3).take_while(|i| call.given(*i)).count();
    let facility = match call.text(0).filter(|_| count == 3) {
        None => None,
        Some(name) => match logpipe::facility(&name.to_lossy()) {
            Some(facility) => Some(facility),
            None => return Step::Fail(format!("`{}` is no facility of syslog, such as LOG_LOCAL3", name.to_lossy())),
        },
    };
    let level = count.checked_sub(2).and_then(|i| level(&call.text(i)?));
    let text = call.text(count.saturating_sub(1)).unwrap_or_default();
    let level = level.unwrap_or(call.host.env().settings.xlog_print_level);
    put(call, level, facility, &[front.as_bytes(), &text].concat());
    Step::Done(1)
}

/// The level that a number or an `L_...` word means, on the log's scale; of a word the third character decides.
fn level(text: &[u8]) -> Option<i32> {
    if let Some(n) = std::str::from_utf8(text).ok().and_then(|t| t.trim().parse::<i64>().ok()) {
        return Some(from_kamailio(n));
    }
    Some(match text.get(2)? {
        b'A' => -3,
        b'B' | b'C' => -2,
        b'E' => -1,
        b'W' => 1,
        b'N' => 2,
        b'I' => 3,
        b'D' => 4,
        _ => return None,
    })
}

/// A level of Kamailio's scale (-5 alert to 3 debug) on the log's, which has none between errors and warnings.
pub(super) fn from_kamailio(level: i64) -> i32 {
    match level {
        ..=-5 => -3,
        -4..=-2 => -2,
        -1 => -1,
        0 => 1,
        1 => 2,
        2 => 3,
        _ => 4,
    }
}

/// Writes a line at a level, if the level of the log or that of the run lets it.
fn put(call: &mut Call<'_, SipHost>, level: i32, facility: Option<u8>, text: &[u8]) {
    let env = call.host.env.clone();
    if level > call.host.levels.1.unwrap_or_else(|| env.xlog_level()) {
        return;
    }
    let settings = &env.settings.xlog;
    let prefix = if settings.expands { call.expand(&settings.prefix) } else { settings.prefix.clone() };
    let mut line = [&prefix[..], text].concat();
    line.truncate(env.settings.xlog_size);
    emit_to(facility.or(settings.facility), level, &String::from_utf8_lossy(&line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_and_numbers() {
        for (text, wanted) in [
            ("L_ALERT", Some(-3)),
            ("L_BUG", Some(-2)),
            ("L_CRIT", Some(-2)),
            ("L_ERR", Some(-1)),
            ("L_WARN", Some(1)),
            ("L_NOTICE", Some(2)),
            ("L_INFO", Some(3)),
            ("L_DBG", Some(4)),
            ("2", Some(3)),
            ("-1", Some(-1)),
            ("0", Some(1)),
            ("-9", Some(-3)),
            ("99", Some(4)),
            ("x", None),
            ("L_x", None),
        ] {
            assert_eq!(level(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn parameters() {
        let mut s = Settings::default();
        s.set("log_facility", &Value::from("LOG_LOCAL3")).unwrap();
        assert_eq!(s.facility, Some(19));
        assert!(s.set("log_facility", &Value::from("LOG_NOWHERE")).is_err());
        s.set("methods_filter", &Value::Int(1)).unwrap();
        assert_eq!(s.filter & method_number(b"INVITE"), 1);
        assert_eq!(s.filter & method_number(b"OPTIONS"), 0);
    }
}
