//! The functions that OpenSIPS had until 2.x and that Kamailio still has (opensips.md section 3.2,
//! kamailio.md section 4.4): what the command is for is in the name. They wait like `exec`; other than
//! there a non-zero exit status is a failure.

use super::{SipHost, environment};
use crate::base::Str;
use crate::modules::host::Target;
use crate::modules::pv_set::MAX_BRANCHES;
use crate::modules::request::{Outcome, Request};
use crate::ops;
use crate::script::registry::{Arg, Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::transform::shell_word;
use crate::script::value::Value;
use crate::sip::uri::Uri;

const FAILED: (i32, &str) = (-1, "it could not be run, was killed at the deadline, or its exit status is not 0");

/// `exec_msg`
pub const EXEC_MSG: FnSpec<SipHost> = FnSpec {
    opensips: Some("exec_msg"),
    kamailio: Some("exec_msg"),
    params: &[Param::req("command", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RFOL"),
    waits: true,
    doc: "Runs `/bin/sh -c COMMAND` with the message, as it came, on its standard input. What it writes is discarded.",
    returns: &[(1, "it ended with exit status 0"), FAILED],
    example: r#"exec_msg("logger -t sip");"#,
    run: |call| {
        let Some(command) = call.text(0) else { return null() };
        let stdin = Some(call.host.msg.bytes_str().clone());
        start(call, ops::ExecRequest { command, stdin, ..ops::ExecRequest::default() })
    },
    finish: Some(|call, outcome| Step::Done(if ended_well(call, outcome).is_some() { 1 } else { -1 })),
};

/// `exec_cmd`
pub const EXEC_CMD: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("exec_cmd"),
    doc: "Runs `/bin/sh -c COMMAND`. What it writes is discarded.",
    example: r#"exec_cmd("logger a call for $(rU{s.escape.shell})");"#,
    run: |call| {
        let Some(command) = call.text(0) else { return null() };
        start(call, ops::ExecRequest { command, ..ops::ExecRequest::default() })
    },
    ..EXEC_MSG
};

/// `exec_dset`
pub const EXEC_DSET: FnSpec<SipHost> = FnSpec {
    opensips: Some("exec_dset"),
    kamailio: Some("exec_dset"),
    params: &[Param::req("command", Kind::Str)],
    routes: RouteSet::letters("RF"),
    doc: "Runs `/bin/sh -c COMMAND` with the R-URI as its last argument, quoted. Each line of its output is a URI; the \
          first becomes the R-URI, the others become branches, in place of those there were.",
    returns: &[(1, "the destinations are replaced"), (-1, "as exec_msg; or a line is not a URI, or there is none")],
    example: r#"if (exec_dset("/usr/bin/route-call")) t_relay();"#,
    run: |call| {
        let Some(command) = call.text(0) else { return null() };
        let mut line = command.to_vec();
        line.push(b' ');
        line.extend_from_slice(&shell_word(call.host.current_ruri()));
        start(call, ops::ExecRequest { command: Str::from(line), stdout: true, ..ops::ExecRequest::default() })
    },
    finish: Some(destinations),
    ..EXEC_MSG
};

/// `exec_avp`
pub const EXEC_AVP: FnSpec<SipHost> = FnSpec {
    opensips: Some("exec_avp"),
    kamailio: Some("exec_avp"),
    params: &[Param::req("command", Kind::Str), Param::opt("variables", Kind::OutList)],
    doc: "Runs `/bin/sh -c COMMAND` and puts the first line of its output into the first variable, the second into the \
          second, and so on. Without a list the variables are $avp(1), $avp(2) ...",
    returns: &[(1, "it ended with exit status 0"), FAILED],
    example: r#"exec_avp("/usr/bin/lookup -- $(rU{s.escape.shell})", "$avp(name);$avp(next_hop)");"#,
    run: |call| {
        let Some(command) = call.text(0) else { return null() };
        start(call, ops::ExecRequest { command, stdout: true, ..ops::ExecRequest::default() })
    },
    finish: Some(variables),
    ..EXEC_MSG
};

/// `exec_getenv`
pub const EXEC_GETENV: FnSpec<SipHost> = FnSpec {
    opensips: Some("exec_getenv"),
    kamailio: None,
    params: &[Param::req("name", Kind::Str), Param::opt("variable", Kind::Out)],
    routes: RouteSet::ALL,
    waits: false,
    doc: "Reads a variable of the server's environment, into $avp(1) if no other is given.",
    returns: &[(1, "it is set"), (-1, "it is not")],
    example: r#"exec_getenv("HOSTNAME", "$avp(host)");"#,
    run: |call| {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let name = call.text(0).unwrap_or_default();
        let bad = name.is_empty() || name.iter().any(|b| matches!(b, b'=' | 0));
        let value = if bad { None } else { std::env::var_os(std::ffi::OsStr::from_bytes(&name)) };
        let Some(value) = value.map(OsStringExt::into_vec) else { return Step::Done(-1) };
        if call.given(1) {
            call.assign(1, Value::text(value.as_slice()));
        } else {
            call.vm().push_avp(b"1", Value::text(value.as_slice()));
        }
        Step::Done(1)
    },
    finish: None,
    ..EXEC_MSG
};

fn null() -> Step<SipHost> {
    Step::Fail("the command is NULL".to_string())
}

fn start(call: &mut Call<'_, SipHost>, mut request: ops::ExecRequest) -> Step<SipHost> {
    if call.host.env().settings.exec_setvars {
        request.env = environment::of(call.host);
    }
    let limit = call.host.env().settings.exec_limit.as_secs_f64();
    Step::Wait(Request::Op { op: ops::Request::Exec(request), limit: Some(limit).filter(|s| *s > 0.0) })
}

/// The output of a command that ended with exit status 0.
fn ended_well(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Option<Vec<u8>> {
    let Outcome::Op(ops::Outcome::Exec(done)) = outcome else {
        call.host.exec_status = None;
        return None;
    };
    call.host.exec_status = Some(done.status);
    (done.status == 0).then_some(done.stdout)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l)).filter(|l| !l.is_empty())
}

fn destinations(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let Some(text) = ended_well(call, outcome) else { return Step::Done(-1) };
    let uris: Vec<&[u8]> = lines(&text).map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).collect();
    if let Some(bad) = uris.iter().find(|u| Uri::parse(u).is_err()) {
        return Step::Fail(format!("the command's answer is not a URI: {}", String::from_utf8_lossy(bad)));
    }
    let Some((first, others)) = uris.split_first() else { return Step::Done(-1) };
    if others.len() > MAX_BRANCHES {
        return Step::Fail(format!("the command names {} destinations, at most {MAX_BRANCHES} can be", uris.len()));
    }
    let host = &mut call.host;
    host.ruri = Some(Str::from(*first));
    host.du = None;
    host.branches =
        others.iter().map(|u| Target { uri: Str::from(*u), ..Target::default() }).collect::<Vec<_>>().into();
    Step::Done(1)
}

fn variables(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let Some(text) = ended_well(call, outcome) else { return Step::Done(-1) };
    let list = match call.args.get(1) {
        Some(Arg::Outs(list)) => Some(list.clone()),
        _ => None,
    };
    for (i, line) in lines(&text).enumerate().take(1000) {
        match &list {
            Some(list) => {
                let Some(out) = list.get(i) else { break };
                call.assign_to(out, Value::text(line));
            }
            None => call.vm().push_avp((i + 1).to_string().as_bytes(), Value::text(line)),
        }
    }
    Step::Done(1)
}
