//! `rtimer`: routes that run again and again (kamailio.md section 3.5). They run in the workers' loops, each job in
//! exactly one worker, like any timer route.

use super::host::SipHost;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{ModParamKind, ModParamSpec, ModuleSpec};
use std::time::Duration;

/// Most jobs of one timer.
const MOST_JOBS: i64 = 256;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "rtimer",
    dialects: &[Dialect::Kamailio],
    functions: &[],
    params: &[
        ModParamSpec {
            name: "timer",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "`name=T;interval=N;mode=M`: a timer; N in seconds, or in microseconds with a `u` behind it; M above 0: \
                  that many jobs beside each other",
        },
        ModParamSpec {
            name: "exec",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "`timer=T;route=R`: what a timer runs; several in reverse order",
        },
        ModParamSpec {
            name: "default_interval",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "seconds of a timer without an interval; default 120",
        },
    ],
    any_param: false,
    needs: &[],
};

/// A timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its name.
    pub name: Str,
    /// Time between two runs.
    pub interval: Duration,
    /// How many jobs run its routes beside each other.
    pub jobs: usize,
    /// Names of its routes, in the order in which they run.
    pub routes: Vec<String>,
}

impl Timer {
    /// Reads `name=T;interval=N[u];mode=M`; `default` is the interval of one without.
    pub fn parse(text: &str, default: Duration) -> Result<Timer, String> {
        let mut timer = Timer { name: Str::default(), interval: default, jobs: 1, routes: Vec::new() };
        for attribute in text.split(';').map(str::trim).filter(|a| !a.is_empty()) {
            let (key, value) = attribute.split_once('=').ok_or_else(|| format!("`{attribute}` has no value"))?;
            let value = value.trim();
            let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{key}` is a number, not `{value}`"));
            match key.trim() {
                "name" => timer.name = Str::from(value),
                "interval" => {
                    let interval = match value.strip_suffix('u') {
                        Some(micros) => Duration::from_micros(number(micros)?),
                        None => Duration::from_secs(number(value)?),
                    };
                    if !interval.is_zero() {
                        // The server's clock ticks in milliseconds.
                        timer.interval = interval.max(Duration::from_millis(1));
                    }
                }
                "mode" => {
                    let jobs = value.parse::<i64>().map_err(|_| format!("`mode` is a number, not `{value}`"))?;
                    timer.jobs = jobs.clamp(1, MOST_JOBS) as usize;
                }
                other => return Err(format!("a timer has no attribute `{other}`")),
            }
        }
        if timer.name.is_empty() { Err("a timer needs a name".into()) } else { Ok(timer) }
    }

    /// Reads `timer=T;route=R`.
    pub fn exec(text: &str) -> Result<(Str, String), String> {
        let (mut timer, mut route) = (None, None);
        for attribute in text.split(';').map(str::trim).filter(|a| !a.is_empty()) {
            let (key, value) = attribute.split_once('=').ok_or_else(|| format!("`{attribute}` has no value"))?;
            match key.trim() {
                "timer" => timer = Some(Str::from(value.trim())),
                "route" => route = Some(value.trim().to_string()),
                other => return Err(format!("`exec` has no attribute `{other}`")),
            }
        }
        timer.zip(route).ok_or_else(|| "`exec` is `timer=T;route=R`".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_read() {
        let default = Duration::from_secs(120);
        let t = Timer::parse("name=reinvite_q1;interval=10000u;mode=1;", default).unwrap();
        assert_eq!((&t.name[..], t.interval, t.jobs), (&b"reinvite_q1"[..], Duration::from_millis(10), 1));
        let t = Timer::parse("name=t;interval=5;mode=3", default).unwrap();
        assert_eq!((t.interval, t.jobs), (Duration::from_secs(5), 3));
        for whole in ["name=t", "name=t;interval=0", "name=t;interval=0u"] {
            assert_eq!(Timer::parse(whole, default).unwrap().interval, default, "{whole}");
        }
        assert_eq!(Timer::parse("name=t;interval=20u", default).unwrap().interval, Duration::from_millis(1));
        for bad in ["", "interval=5", "name=t;interval=x", "name=t;interval=u", "name=t;color=red", "name"] {
            assert!(Timer::parse(bad, default).is_err(), "{bad}");
        }
        assert_eq!(Timer::exec("timer=t;route=R;").unwrap(), (Str::from("t"), "R".to_string()));
        assert!(Timer::exec("timer=t").is_err());
    }
}
