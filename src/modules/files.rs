//! Files that are read again while the server runs: lists of destinations, addresses, rules. A worker never opens one,
//! since a disk may take its time. Main reads them before it forks; later a child process does (`cat`), which is an
//! operation like any other: it has a deadline, and is killed if it is not done by then.

use crate::base::Str;
use crate::ops::{ExecRequest, Outcome, Request};
use nix::fcntl::OFlag;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Largest file, bytes.
pub const LARGEST: usize = 16 << 20;
/// Seconds that a file may take.
pub const LIMIT: f64 = 8.0;

/// Status of the child for a file that is not there.
const MISSING: i32 = 44;

/// Reads a file at the start, while nobody is served yet; `None`: it is not there.
///
/// # Errors
/// Why it cannot be read.
pub fn read_now(path: &Path) -> Result<Option<String>, String> {
    let failed = |e: std::io::Error| format!("{} cannot be read: {e}", path.display());
    // A FIFO would wait for somebody who writes.
    let file = std::fs::OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = match file {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    let mut text = Vec::new();
    file.take(LARGEST as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    checked(&path.display().to_string(), text).map(Some)
}

/// The operation that reads a file while the server runs.
pub fn reading(path: &str) -> Request {
    let path = format!("'{}'", path.replace('\'', r"'\''"));
    Request::Exec(ExecRequest {
        command: Str::from(format!("[ -e {path} ] || exit {MISSING}; exec cat -- {path}")),
        env: vec![(Str::from("LC_ALL"), Str::from("C"))],
        stdout: true,
        stderr: true,
        most: LARGEST + 1,
        ..ExecRequest::default()
    })
}

/// What it has brought; `None`: the file is not there.
///
/// # Errors
/// Why it could not be read.
pub fn read(path: &str, outcome: Outcome) -> Result<Option<String>, String> {
    match outcome {
        Outcome::Exec(ended) if ended.status == 0 => checked(path, ended.stdout).map(Some),
        Outcome::Exec(ended) if ended.status == MISSING => Ok(None),
        Outcome::Exec(ended) => {
            let said = String::from_utf8_lossy(&ended.stderr);
            let said = said.lines().next().unwrap_or("no word why").trim();
            Err(format!("{path} cannot be read (status {}): {said}", ended.status))
        }
        Outcome::Failed(failure) => Err(format!("{path} cannot be read: {failure}")),
        _ => Err(format!("{path} cannot be read")),
    }
}

fn checked(path: &str, bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > LARGEST {
        return Err(format!("{path} is larger than {} MiB", LARGEST >> 20));
    }
    String::from_utf8(bytes).map_err(|_| format!("{path} is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{ExecOutcome, Failure, Phase, Why};

    #[test]
    fn files_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        assert_eq!(read_now(&path), Ok(None));
        std::fs::write(&path, "1 sip:a\n").unwrap();
        assert_eq!(read_now(&path), Ok(Some("1 sip:a\n".to_string())));
        std::fs::write(&path, [b'a', 0xff]).unwrap();
        assert!(read_now(&path).unwrap_err().contains("no text"));
        assert!(read_now(dir.path()).unwrap_err().contains("is no file"));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read_now(&fifo).unwrap_err().contains("is no file"), "nobody waits for who writes it");
    }

    #[test]
    fn what_the_child_says() {
        let ended = |status, stdout: &str, stderr: &str| {
            Outcome::Exec(ExecOutcome { status, stdout: stdout.into(), stderr: stderr.into(), truncated: false })
        };
        assert_eq!(read("f", ended(0, "text", "")), Ok(Some("text".to_string())));
        assert_eq!(read("f", ended(MISSING, "", "")), Ok(None));
        let denied = read("f", ended(1, "", "cat: f: Permission denied\n")).unwrap_err();
        assert!(denied.contains("f cannot be read (status 1): cat: f: Permission denied"), "{denied}");
        let late = Outcome::Failed(Failure::new(Why::Timeout, Phase::Wait, ""));
        assert!(read("f", late).unwrap_err().contains("timeout"));
        let large = Outcome::Exec(ExecOutcome { stdout: vec![b'x'; LARGEST + 1], ..ExecOutcome::default() });
        assert!(read("f", large).unwrap_err().contains("larger than 16 MiB"));
    }

    #[test]
    fn names_are_quoted() {
        let Request::Exec(exec) = reading("/a b'; rm x") else { panic!() };
        let command = exec.command.to_lossy().into_owned();
        assert_eq!(command, r"[ -e '/a b'\''; rm x' ] || exit 44; exec cat -- '/a b'\''; rm x'");
    }
}
