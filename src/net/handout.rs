//! Bytes for a program outside that reads a FIFO or a Unix socket. Nothing is waited for: a program that does not read, or
//! is behind, does not get them.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Writes into a FIFO.
///
/// # Errors
/// It is none, nobody reads it, or it has no room for all of them.
pub fn to_fifo(name: &[u8], bytes: &[u8]) -> Result<(), String> {
    let said = |e: io::Error| match (e.raw_os_error(), e.kind()) {
        (Some(libc::ENXIO), _) => "nobody reads it".to_string(),
        (_, ErrorKind::WouldBlock) => "its reader is behind: it is full".to_string(),
        _ => e.to_string(),
    };
    let mut file = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path(name)).map_err(said)?;
    // A file on a disk could make the process wait.
    if !file.metadata().map_err(said)?.file_type().is_fifo() {
        return Err("it is no FIFO".to_string());
    }
    loop {
        match file.write(bytes) {
            Ok(n) if n == bytes.len() => return Ok(()),
            Ok(n) => return Err(format!("its reader is behind: it took {n} bytes of {}", bytes.len())),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(said(e)),
        }
    }
}

/// Sends one datagram to a Unix socket.
///
/// # Errors
/// There is none, or it takes nothing now.
pub fn to_socket(name: &[u8], bytes: &[u8]) -> Result<(), String> {
    let said = |e: io::Error| match e.kind() {
        ErrorKind::WouldBlock => "its reader is behind: it is full".to_string(),
        _ => e.to_string(),
    };
    let socket = UnixDatagram::unbound().map_err(said)?;
    socket.set_nonblocking(true).map_err(said)?;
    match socket.send_to(bytes, path(name)).map_err(said)? {
        n if n == bytes.len() => Ok(()),
        n => Err(format!("it took {n} bytes of {}", bytes.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_fifo_is_written_or_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("fifo");
        let name = at.as_os_str().as_bytes();
        assert!(to_fifo(name, b"x").is_err(), "there is none");
        nix::unistd::mkfifo(&at, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(to_fifo(name, b"x").unwrap_err(), "nobody reads it");
        let mut reader =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&at).expect("the FIFO's other end");
        to_fifo(name, b"hello\n").unwrap();
        let mut got = [0; 16];
        let n = reader.read(&mut got).unwrap();
        assert_eq!(&got[..n], b"hello\n");
        let large = vec![b'x'; 1 << 20];
        assert!(to_fifo(name, &large).unwrap_err().starts_with("its reader is behind"));
        let plain = dir.path().join("plain");
        std::fs::write(&plain, b"").unwrap();
        assert_eq!(to_fifo(plain.as_os_str().as_bytes(), b"x").unwrap_err(), "it is no FIFO");
        assert_eq!(std::fs::read(&plain).unwrap(), b"");
    }

    #[test]
    fn a_socket_is_sent_to_or_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("socket");
        let name = at.as_os_str().as_bytes();
        assert!(to_socket(name, b"x").is_err(), "there is none");
        let reader = UnixDatagram::bind(&at).unwrap();
        to_socket(name, b"hello").unwrap();
        let mut got = [0; 16];
        let n = reader.recv(&mut got).unwrap();
        assert_eq!(&got[..n], b"hello");
        let full = (0..10_000).find_map(|_| to_socket(name, b"x").err());
        assert_eq!(full.as_deref(), Some("its reader is behind: it is full"));
    }
}
