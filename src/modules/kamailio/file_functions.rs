//! `corex`: `file_read` and `file_write`. A worker opens no files of scripts: what a disk, a network or a FIFO takes its time for is
//! done by a program, as any command is, and the run waits.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::request::{Outcome, Request};
use crate::ops;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::script::transform::shell_word;
use crate::script::value::Value;

/// Most bytes of a file that become a value, and of a value that is written.
const MOST: usize = 65_535;

/// `file_read`
pub const FILE_READ: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("file_read"),
    params: &[Param::req("file", Kind::Str), Param::req("variable", Kind::Out)],
    variadic: false,
    routes: RouteSet::ALL,
    waits: true,
    doc: "Puts the contents of a file, at most 65,535 bytes (and `max_output` of exec), into a variable. A program reads it (`cat`), so \
          the script waits, at most `async_timeout`, and the worker does not.",
    returns: &[
        (1, "done"),
        (-1, "it cannot be read, is larger, or was not read in time; the variable keeps its value"),
        (-11, "not tried: `cat` has failed too often in a row"),
    ],
    example: r#"if (file_read("/etc/motd", "$var(text)")) xlog("$var(text)\n");"#,
    run: |call| {
        let Some(file) = name(call) else { return no_name() };
        start(ops::ExecRequest {
            command: Str::from([b"/bin/cat -- ", &quoted(&file)[..]].concat()),
            stdout: true,
            ..ops::ExecRequest::default()
        })
    },
    finish: Some(|call, outcome| {
        let done = match outcome {
            Outcome::Op(ops::Outcome::Exec(done)) => done,
            failed => return Step::Done(failed.failure_code()),
        };
        if done.status != 0 {
            return Step::Done(-1);
        }
        if done.truncated || done.stdout.len() > MOST {
            return Step::Fail(format!(
                "the file is larger than the {MOST} bytes that a value has, or than max_output of exec"
            ));
        }
        call.assign(1, Value::text(done.stdout));
        Step::Done(1)
    }),
};

/// `file_write`
pub const FILE_WRITE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("file_write"),
    params: &[Param::req("file", Kind::Str), Param::req("content", Kind::Str)],
    doc: "Makes a text the contents of a file, which is made if need be. A program writes it (`cat`), so the script waits, at most \
          `async_timeout`, and the worker does not.",
    returns: &[
        (1, "done"),
        (-1, "it cannot be written, or not in time"),
        (-11, "not tried: it has failed too often in a row"),
    ],
    example: r#"file_write("/var/log/calls.txt", "$fU $rU\n");"#,
    run: |call| {
        let Some(file) = name(call) else { return no_name() };
        let content = call.text(1).unwrap_or_default();
        if content.len() > MOST {
            return Step::Fail(format!("at most {MOST} bytes are written"));
        }
        start(ops::ExecRequest {
            command: Str::from([b"exec /bin/cat > ", &quoted(&file)[..]].concat()),
            stdin: Some(content),
            ..ops::ExecRequest::default()
        })
    },
    finish: Some(|_call, outcome| match outcome {
        Outcome::Op(ops::Outcome::Exec(done)) => Step::Done(if done.status == 0 { 1 } else { -1 }),
        failed => Step::Done(failed.failure_code()),
    }),
    ..FILE_READ
};

/// The name of the file; `None` if it is none.
fn name(call: &Call<'_, SipHost>) -> Option<Str> {
    call.text(0).filter(|n| !n.is_empty() && !n.contains(&0))
}

fn no_name() -> Step<SipHost> {
    Step::Fail("the name of the file is missing".into())
}

/// The name as one word of a command; one that needs no quotes stays as it is, so that no shell is needed.
fn quoted(file: &[u8]) -> Vec<u8> {
    let plain = |c: &u8| c.is_ascii_alphanumeric() || b"/._-".contains(c);
    if file.iter().all(plain) { file.to_vec() } else { shell_word(file) }
}

fn start(request: ops::ExecRequest) -> Step<SipHost> {
    Step::Wait(Request::Op { op: ops::Request::Exec(request), limit: None })
}
