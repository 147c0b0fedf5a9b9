//! `exec`: run a command (opensips.md section 3.2, with the differences of docs/differences.md:
//! it always waits for the child's exit, and `$exec_status` holds its status).

mod environment;
mod older;

pub use older::EXEC_CMD;

use super::host::SipHost;
use super::request::{Outcome, Request};
use crate::base::Str;
use crate::modules::log_line;
use crate::ops;
use crate::script::ast::Dialect;
use crate::script::registry::{
    Arg, Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, OutVar, Param, RouteSet, Step,
};
use crate::script::value::Value;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "exec",
    dialects: &[Dialect::OpenSips, Dialect::Kamailio],
    functions: &[EXEC, older::EXEC_MSG, older::EXEC_CMD, older::EXEC_DSET, older::EXEC_AVP, older::EXEC_GETENV],
    params: &[
        ModParamSpec {
            name: "time_to_kill",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "seconds after which the child's process group is killed; 0 = the wait's own deadline",
        },
        ModParamSpec {
            name: "setvars",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "1: the child's environment gets SIP_METHOD, SIP_RURI and SIP_ORURI (the one that came), SIP_USER and \
                  SIP_OUSER, SIP_SRCIP, SIP_SRCPORT, SIP_TID (branch of the topmost Via), SIP_DID (To tag), and for each \
                  header name a SIP_HF_NAME, SIP_HF_CALLID for instance (with `_` for hyphens too: SIP_HF_CALL_ID); values of \
                  several lines have commas between them",
        },
        ModParamSpec {
            name: "max_children",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "commands of one worker that run at a time, 1 to 10000, default 200; up to `backend_queue_size` more wait \
                  for their turn, one more fails at once",
        },
        ModParamSpec {
            name: "max_output",
            kind: ModParamKind::Int,
            ignored: false,
            doc: "bytes kept of each of a command's outputs, 1 to 16777216, default 65536; the rest is read and dropped, \
                  with a line in the log",
        },
        ModParamSpec {
            name: "bash_safety",
            kind: ModParamKind::Int,
            ignored: true,
            doc: "accepted: no shell of today takes functions from such variables",
        },
    ],
    any_param: false,
    needs: &[],
};

const EXEC: FnSpec<SipHost> = FnSpec {
    opensips: Some("exec"),
    kamailio: None,
    params: &[
        Param::req("command", Kind::Str),
        Param::opt("stdin", Kind::StrOrOut),
        Param::opt("stdout", Kind::Out),
        Param::opt("stderr", Kind::Out),
        Param::opt("env", Kind::Out),
    ],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Runs `/bin/sh -c COMMAND` and waits for its exit. A `$var` gets the whole output, an `$avp` one value \
          per line with the last line at index 0. Called with two arguments of which the second is a single \
          writable variable that is NULL, the output goes there. Nothing is quoted: write text from outside as \
          `$(rU{s.escape.shell})`, which makes one word of whatever it holds, or hand it over by *stdin* or *env*. The values of \
          the *env* AVP become OSIPS_EXEC_0, OSIPS_EXEC_1 and so on. At the deadline the command's process group is \
          killed, with all that it has started, except what has left the group (`setsid`).",
    returns: &[
        (1, "the command ran; its exit status is in $exec_status"),
        (-1, "it could not be started, was killed at the deadline, or the shell could not run it (126, 127)"),
        (-11, "not tried: the program has failed too often in a row"),
    ],
    example: r#"async(exec("/usr/bin/lookup -- $(rU{s.escape.shell})", , $var(out)), got_it);"#,
    run,
    finish: Some(finish),
};

fn run(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let Some(command) = call.text(0) else { return Step::Fail("the command is NULL".to_string()) };
    let mut request = ops::ExecRequest { command, ..ops::ExecRequest::default() };
    request.stdout = call.given(2);
    request.stderr = call.given(3);
    match call.args.get(1).cloned() {
        Some(Arg::Out(var)) => match call.scope.read(call.host, &var) {
            // The manual's two-argument form: the output goes there.
            Value::Null if !call.given(2) => request.stdout = true,
            v => request.stdin = v.to_text(),
        },
        Some(Arg::Value(v)) => request.stdin = v.to_text(),
        _ => {}
    }
    if let Some(Arg::Out(var)) = call.args.get(4) {
        let values = call.vm().avp_values(var).unwrap_or_default();
        request.env.extend(
            values.iter().enumerate().filter_map(|(i, v)| Some((Str::from(format!("OSIPS_EXEC_{i}")), v.to_text()?))),
        );
    }
    if call.host.env().settings.exec_setvars {
        request.env.extend(environment::of(call.host));
    }
    let limit = call.host.env().settings.exec_limit;
    Step::Wait(Request::Op { op: ops::Request::Exec(request), limit: Some(limit.as_secs_f64()).filter(|s| *s > 0.0) })
}

fn finish(call: &mut Call<'_, SipHost>, outcome: Outcome) -> Step<SipHost> {
    let done = match outcome {
        Outcome::Op(ops::Outcome::Exec(done)) => done,
        failed => {
            call.host.exec_status = None;
            return Step::Done(failed.failure_code());
        }
    };
    call.host.exec_status = Some(done.status);
    if done.truncated {
        let kept = call.host.env().settings.exec_output;
        let (file, line) = call.scope.plain().position();
        log_line(
            call.host,
            1,
            &format!("exec ({file}:{line}): the command wrote more than {kept} bytes; the rest is dropped"),
        );
    }
    let stdout = match (call.args.get(1), call.args.get(2)) {
        (_, Some(Arg::Out(o))) => Some(o.clone()),
        (Some(Arg::Out(o)), _) => Some(o.clone()),
        _ => None,
    };
    if let Some(var) = stdout {
        deliver(call, &var, &done.stdout);
    }
    if let Some(Arg::Out(var)) = call.args.get(3) {
        let var = var.clone();
        deliver(call, &var, &done.stderr);
    }
    // DESIGN section 3: the shell could not run it.
    Step::Done(if matches!(done.status, 126 | 127) { -1 } else { 1 })
}

/// A `$var` gets the whole text, an `$avp` one value per line, the last line at index 0. Empty
/// output leaves the variable untouched.
fn deliver(call: &mut Call<'_, SipHost>, var: &OutVar, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    if call.vm().avp_values(var).is_none() {
        call.assign_to(var, Value::text(text));
        return;
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for line in text.split(|b| *b == b'\n') {
        call.assign_to(var, Value::text(line));
    }
}
