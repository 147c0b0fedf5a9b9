//! `pike`: sources that send too many requests (kamailio.md section 5.6, opensips.md 4.17). They are counted in a table
//! that all workers share, so the limit is the server's.

use super::env::Env;
use super::host::SipHost;
use super::log_line;
use super::request::Request;
use crate::base::Str;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
pub use crate::store::floods::Verdict;
use crate::store::floods::{Limit, MOST};
use std::net::IpAddr;
use std::time::Duration;

/// The module's parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// What is too much.
    pub limit: Limit,
    /// Level of the line about a new flooder, on the OpenSIPS scale.
    pub log_level: i32,
    /// `check_route`: everything that comes in is counted, but for what this route drops.
    pub check_route: Option<Str>,
}

impl Default for Settings {
    fn default() -> Self {
        let limit = Limit { unit: Duration::from_secs(2), most: 30, keep: Duration::from_secs(120) };
        Settings { limit, log_level: 1, check_route: None }
    }
}

impl Settings {
    /// Takes over a parameter of the module.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn set(&mut self, dialect: Dialect, param: &str, value: &Value) -> Result<(), String> {
        if param == "check_route" {
            self.check_route = value.to_text().filter(|t| !t.is_empty());
            return Ok(());
        }
        let number = value.to_int().ok_or_else(|| format!("{param} is a number"))?;
        let seconds = u64::try_from(number).ok().filter(|n| (1..=86_400).contains(n)).map(Duration::from_secs);
        let seconds = seconds.ok_or_else(|| format!("{param} is a number of seconds from 1 to 86400"));
        match param {
            "sampling_time_unit" => self.limit.unit = seconds?,
            "remove_latency" => self.limit.keep = seconds?,
            "reqs_density_per_unit" => {
                let most = u16::try_from(number).ok().filter(|n| (1..=MOST).contains(n));
                self.limit.most = most.ok_or_else(|| format!("{param} is a number from 1 to {MOST}"))?;
            }
            // Kamailio has no level between errors and warnings.
            "pike_log_level" if dialect == Dialect::Kamailio && number >= 0 => {
                self.log_level = i32::try_from(number).unwrap_or(3).min(3) + 1;
            }
            "pike_log_level" => self.log_level = number.clamp(-3, 4) as i32,
            _ => {}
        }
        Ok(())
    }
}

const fn int(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored: false, doc }
}

const PARAMS: [ModParamSpec; 4] = [
    int("sampling_time_unit", "seconds in which the requests of a source are counted; default 2"),
    int("reqs_density_per_unit", "requests that a source may send in that time; default 30"),
    int("remove_latency", "seconds that a source is remembered after its last request; default 120"),
    int("pike_log_level", "level of the line about a new flooder; default: a warning"),
];

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "pike",
    dialects: &[Dialect::Kamailio],
    functions: &[CHECK_REQ, CHECK_IP],
    params: &PARAMS,
    any_param: false,
    needs: &[],
};

/// The module of OpenSIPS.
pub static OPENSIPS: ModuleSpec<SipHost> = ModuleSpec {
    name: "pike",
    dialects: &[Dialect::OpenSips],
    functions: &[CHECK_REQ],
    params: &[
        PARAMS[0],
        PARAMS[1],
        PARAMS[2],
        PARAMS[3],
        ModParamSpec {
            name: "check_route",
            kind: ModParamKind::Str,
            ignored: false,
            doc: "a route that is run for everything that comes in: what it does not `drop` is counted, and is not read if \
                  its source is a flooder; default none",
        },
    ],
    any_param: false,
    needs: &[],
};

const CHECK_REQ: FnSpec<SipHost> = FnSpec {
    opensips: Some("pike_check_req"),
    kamailio: Some("pike_check_req"),
    params: &[],
    variadic: false,
    routes: RouteSet::letters("R"),
    waits: false,
    doc: "Counts a request of its source, for all workers together. A source that sends more than reqs_density_per_unit \
          requests in a sampling_time_unit is a flooder until it has kept below that for a whole unit.",
    returns: &[(1, "below the limit"), (-1, "a flooder already"), (-2, "this request has made it one")],
    example: r#"if (!pike_check_req()) exit;"#,
    run: |call| {
        let ip = call.host.source.ip();
        check(call, ip)
    },
    finish: Some(|call, _outcome| Step::Done(if call.state.step == 1 { -2 } else { 1 })),
};

const CHECK_IP: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("pike_check_ip"),
    params: &[Param::req("address", Kind::Str)],
    routes: RouteSet::ALL,
    doc: "The same for any address.",
    returns: &[(1, "below the limit"), (-1, "a flooder already, or no address"), (-2, "this call has made it one")],
    example: r#"if (!pike_check_ip("$si")) exit;"#,
    run: |call| {
        let text = call.text(0).unwrap_or_default();
        match crate::sip::uri::host_ip(&text) {
            Some(ip) => check(call, ip),
            None => Step::Fail(format!("\"{}\" is no address", text.to_lossy())),
        }
    },
    ..CHECK_REQ
};

/// Counts something that a source has sent.
pub fn count(env: &Env, ip: IpAddr) -> Verdict {
    let Some(floods) = &env.floods else { return Verdict::Below };
    floods.count(ip, env.clock.micros(), &env.settings.pike.limit)
}

/// The event about a new flooder.
pub const EVENT: &str = "E_PIKE_BLOCKED";

/// What it says.
pub fn event_params(ip: IpAddr) -> Vec<(Str, Str)> {
    vec![(Str::from("ip"), Str::from(ip.to_string()))]
}

/// The line about a new flooder.
pub fn blocked_line(env: &Env, ip: IpAddr) -> String {
    let Limit { most, unit, .. } = env.settings.pike.limit;
    format!("pike: {ip} is blocked: more than {most} requests in {} s", unit.as_secs())
}

fn check(call: &mut Call<'_, SipHost>, ip: IpAddr) -> Step<SipHost> {
    match count(call.host.env(), ip) {
        Verdict::Below => Step::Done(1),
        Verdict::Flooder => Step::Done(-1),
        Verdict::Over => {
            let level = call.host.env().settings.pike.log_level;
            log_line(call.host, level, &blocked_line(call.host.env(), ip));
            // Who wants to know is told, and then the script goes on.
            call.state.step = 1;
            Step::Wait(Request::RaiseEvent { name: Str::from(EVENT), params: event_params(ip) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let mut s = Settings::default();
        for (param, value) in [("sampling_time_unit", 5), ("reqs_density_per_unit", 7), ("remove_latency", 9)] {
            s.set(Dialect::Kamailio, param, &Value::Int(value)).unwrap();
        }
        assert_eq!((s.limit.unit.as_secs(), s.limit.most, s.limit.keep.as_secs()), (5, 7, 9));
        s.set(Dialect::Kamailio, "pike_log_level", &Value::Int(3)).unwrap();
        assert_eq!(s.log_level, 4);
        s.set(Dialect::OpenSips, "pike_log_level", &Value::Int(3)).unwrap();
        assert_eq!(s.log_level, 3);
        for (param, value) in [("sampling_time_unit", 0), ("reqs_density_per_unit", 70_000), ("remove_latency", -1)] {
            assert!(s.set(Dialect::Kamailio, param, &Value::Int(value)).is_err(), "{param}");
        }
    }
}
