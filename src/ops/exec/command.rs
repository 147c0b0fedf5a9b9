//! How a command becomes a child process.

use super::ExecRequest;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Starts it; `nothing` is `/dev/null`. What cannot be executed as it is becomes the shell's affair: a script without a first line that
/// names its interpreter, or the shell's own message and status 126 or 127.
pub(super) fn start(request: &ExecRequest, nothing: Option<&File>) -> io::Result<Child> {
    match command(request, true, nothing)?.spawn() {
        Err(e) if !no_room(&e) => command(request, false, nothing)?.spawn(),
        other => other,
    }
}

/// The command with its pipes, not started yet: run by the shell, or itself if the shell would do nothing else.
fn command(request: &ExecRequest, directly: bool, nothing: Option<&File>) -> io::Result<Command> {
    let null = || nothing.and_then(|f| f.try_clone().ok()).map_or_else(Stdio::null, Stdio::from);
    let pipe_if = |wanted| if wanted { Stdio::piped() } else { null() };
    let mut command = match plain_words(&request.command).filter(|_| directly) {
        Some(mut words) => {
            let mut command = Command::new(OsStr::from_bytes(words.next().unwrap_or_default()));
            command.args(words.map(OsStr::from_bytes));
            // The shell tells its children where they are.
            if std::env::var_os("PWD").is_none()
                && let Ok(directory) = std::env::current_dir()
            {
                command.env("PWD", directory);
            }
            command
        }
        None => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(OsStr::from_bytes(&request.command));
            command
        }
    };
    command
        .process_group(0)
        .stdin(pipe_if(request.stdin.is_some()))
        .stdout(pipe_if(request.stdout))
        .stderr(pipe_if(request.stderr));
    for (name, value) in &request.env {
        if name.is_empty() || name.contains(&b'=') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "bad name of an environment variable"));
        }
        command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
    }
    Ok(command)
}

/// The words of a command that names its program by an absolute path and holds nothing that a shell would
/// read as anything but words. Starting a shell for it would double its cost.
fn plain_words(command: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let plain = |c: &u8| c.is_ascii_alphanumeric() || b" /._-+:,@%=".contains(c);
    let mut words = command.split(|c| *c == b' ').filter(|w| !w.is_empty()).peekable();
    let program = words.peek()?;
    (command.iter().all(plain) && program.starts_with(b"/") && !program.contains(&b'=')).then_some(words)
}

/// Whether the system lacks what the end of another child gives back: processes, file descriptors, memory.
pub(super) fn no_room(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_shell() {
        let words = |command: &str| {
            plain_words(command.as_bytes())
                .map(|w| w.map(|w| String::from_utf8_lossy(w).into_owned()).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(words("/bin/true").as_deref(), Some("/bin/true"));
        assert_eq!(
            words(" /usr/bin/env  -i A=1 ./b,c:d@e%20+f_g ").as_deref(),
            Some("/usr/bin/env|-i|A=1|./b,c:d@e%20+f_g")
        );
        let shell = [
            "",
            " ",
            "true",
            "./true",
            "A=1 /bin/true",
            "/a=b",
            "/bin/true;",
            "/bin/echo $HOME",
            "/bin/echo 'a b'",
            "/bin/echo ~",
            "/bin/echo *",
            "/bin/true >f",
            "/bin/true\n/bin/false",
            "/bin/echo a\tb",
            "/bin/echo {a,b}",
            "/bin/echo #a",
            "/bin/echo \u{e4}",
            "/bin/echo a!b",
            "/bin/true&",
            "(/bin/true)",
            "/bin/echo `id`",
            "/bin/echo \\a",
            "/bin/echo a?",
        ];
        for command in shell {
            assert_eq!(words(command), None, "{command:?}");
        }
    }
}
