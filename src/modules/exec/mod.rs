//! `exec`: run a command (opensips.md section 3.2, with the differences of docs/differences.md:
//! it always waits for the child's exit, and `$exec_status` holds its status).

mod older;

use super::host::SipHost;
use super::request::{Outcome, Request};
use crate::base::Str;
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
            doc: "1: the child's environment gets SIP_METHOD, SIP_RURI, SIP_HF_CALLID and the like",
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
          writable variable that is NULL, the output goes there. Nothing is quoted: put untrusted text in \
          `'...'` after removing quotes from it.",
    returns: &[
        (1, "the command ran; its exit status is in $exec_status"),
        (-1, "it could not be started, was killed at the deadline, or the shell could not run it (126, 127)"),
        (-11, "not tried: the program has failed too often in a row"),
    ],
    example: r#"async(exec("/usr/bin/lookup '$rU'", , $var(out)), got_it);"#,
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
        request.env.extend(message_env(call.host));
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

/// Variables about the message, as `setvars` exports them.
fn message_env(host: &SipHost) -> Vec<(Str, Str)> {
    let mut out = vec![
        (Str::from("SIP_METHOD"), Str::from(host.msg.method_bytes())),
        (Str::from("SIP_RURI"), Str::from(host.current_ruri())),
        (Str::from("SIP_SRCIP"), Str::from(host.source.ip().to_string())),
        (Str::from("SIP_SRCPORT"), Str::from(host.source.port().to_string())),
    ];
    for header in host.msg.headers().take(100) {
        let mut name = b"SIP_HF_".to_vec();
        name.extend(header.name.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase));
        out.push((Str::from(name), Str::from(header.value)));
    }
    out
}
