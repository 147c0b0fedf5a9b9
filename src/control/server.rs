//! The connections of the control socket: non-blocking, in main's loop, every buffer bounded.
//!
//! A client may send several requests without waiting; they are answered as they get done. A client
//! that does not read its answers is not read from any more, and is closed when nothing moved for
//! half a minute.

use crate::base::{Key, Slab, Time};
use crate::control::jsonrpc::{self, Message, Read as Parsed, Request, RpcError, response};
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAX_CLIENTS: usize = 64;
const MAX_LINE: usize = 1 << 20;
const MAX_IN_WORK: usize = 64;
/// Above this much unread output no further request is read.
const OUT_PAUSE: usize = 1 << 20;
/// Above this much unread output the client is closed.
const OUT_MAX: usize = 64 << 20;
const STALLED: Duration = Duration::from_secs(30);

/// Where an answer has to go.
#[derive(Debug)]
pub struct ReplyTo {
    client: Key,
    id: Option<Value>,
    batch: Option<Key>,
}

/// A request that waits for [`ControlServer::reply`].
#[derive(Debug)]
pub struct Incoming {
    /// To be handed to [`ControlServer::reply`].
    pub reply_to: ReplyTo,
    /// What is asked.
    pub request: Request,
}

struct Batch {
    left: usize,
    answers: Vec<Value>,
}

struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    in_work: usize,
    ended: bool,
    moved: Time,
}

impl Client {
    fn paused(&self) -> bool {
        self.in_work >= MAX_IN_WORK || self.output.len() > OUT_PAUSE
    }
}

/// Why the control socket could not be opened.
#[derive(Debug)]
pub enum BindError {
    /// Another server answers there.
    Taken(PathBuf),
    /// Something that is not a socket is in the way.
    NotASocket(PathBuf),
    /// The system refused.
    Io(PathBuf, io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Taken(p) => write!(f, "control socket {}: another server answers there", p.display()),
            BindError::NotASocket(p) => write!(f, "control socket {}: a file of that name exists", p.display()),
            BindError::Io(p, e) => write!(f, "control socket {}: {e}", p.display()),
        }
    }
}

impl std::error::Error for BindError {}

/// The socket and its clients.
pub struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
    created_dir: Option<PathBuf>,
    clients: Slab<Client>,
    batches: Slab<Batch>,
    token: fn(Key) -> Token,
}

impl fmt::Debug for ControlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlServer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ControlServer {
    /// Binds `path`, with access rights `mode` (octal, as for chmod). A socket file that nobody answers
    /// at is replaced. `token` makes a client's event token.
    pub fn bind(path: &Path, mode: u32, token: fn(Key) -> Token) -> Result<ControlServer, BindError> {
        let failed = |e| BindError::Io(path.to_owned(), e);
        let mut created_dir = None;
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Ok(_) => return Err(BindError::Taken(path.to_owned())),
                Err(e) => return Err(failed(e)),
            },
            Err(_) => {
                if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
                    fs::create_dir(parent).map_err(failed)?;
                    created_dir = Some(parent.to_owned());
                }
            }
        }
        // Nobody may connect before the rights are set.
        let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        nix::sys::stat::umask(old);
        let listener = bound.map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok(ControlServer {
            listener,
            path: path.to_owned(),
            created_dir,
            clients: Slab::new(),
            batches: Slab::new(),
            token,
        })
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that had to be made for it.
    pub fn created_dir(&self) -> Option<&Path> {
        self.created_dir.as_deref()
    }

    /// The listening fd.
    pub fn raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// Watches the listening socket.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.listener, token, Interest::READABLE)
    }

    /// Accepts who waits.
    pub fn accept(&mut self, registry: &Registry, now: Time) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if self.clients.len() >= MAX_CLIENTS {
                let full = response(&Value::Null, Err(RpcError::failed("too many clients")));
                let _ = stream.write(format!("{full}\n").as_bytes());
                continue;
            }
            let key = self.clients.insert(Client {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                in_work: 0,
                ended: false,
                moved: now,
            });
            let token = (self.token)(key);
            let registered = self
                .clients
                .get_mut(key)
                .map(|c| registry.register(&mut c.stream, token, Interest::READABLE | Interest::WRITABLE));
            if !matches!(registered, Some(Ok(()))) {
                self.clients.remove(key);
            }
        }
    }

    /// Reads and writes what `key`'s socket allows; requests are appended to `out`.
    pub fn ready(&mut self, key: Key, registry: &Registry, now: Time, out: &mut Vec<Incoming>) {
        self.write(key, now);
        loop {
            self.take_lines(key, out);
            let Some(client) = self.clients.get_mut(key) else { return };
            if client.ended {
                break;
            }
            if client.paused() {
                self.write(key, now);
                if self.clients.get(key).is_some_and(|c| !c.paused()) {
                    continue;
                }
                break;
            }
            let mut buffer = [0; 16 << 10];
            match client.stream.read(&mut buffer) {
                Ok(0) => client.ended = true,
                Ok(n) => {
                    client.input.extend_from_slice(buffer.get(..n).unwrap_or_default());
                    client.moved = now;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.close(key, registry);
                    return;
                }
            }
        }
        self.write(key, now);
        self.close_if_done(key, registry);
    }

    /// Answers a request.
    pub fn reply(
        &mut self,
        to: ReplyTo,
        result: Result<Value, RpcError>,
        registry: &Registry,
        now: Time,
        more: &mut Vec<Incoming>,
    ) {
        let key = to.client;
        self.put(to, result);
        // A pause may be over: what was read or waits in the kernel is looked at again.
        self.ready(key, registry, now, more);
    }

    fn put(&mut self, to: ReplyTo, result: Result<Value, RpcError>) {
        let answer = to.id.as_ref().map(|id| response(id, result));
        let whole = match to.batch {
            None => answer,
            Some(batch) => {
                let Some(b) = self.batches.get_mut(batch) else { return };
                b.answers.extend(answer);
                b.left = b.left.saturating_sub(1);
                if b.left > 0 {
                    None
                } else {
                    let done = self.batches.remove(batch);
                    done.map(|b| b.answers).filter(|a| !a.is_empty()).map(Value::Array)
                }
            }
        };
        let Some(client) = self.clients.get_mut(to.client) else { return };
        client.in_work = client.in_work.saturating_sub(1);
        if let Some(whole) = whole {
            client.output.extend_from_slice(whole.to_string().as_bytes());
            client.output.push(b'\n');
        }
    }

    /// Closes clients that have not moved for long although there is something for them.
    pub fn expire(&mut self, registry: &Registry, now: Time) {
        let late: Vec<Key> = self
            .clients
            .iter()
            .filter(|(_, c)| !c.output.is_empty() && now.since(c.moved) > STALLED)
            .map(|(key, _)| key)
            .collect();
        for key in late {
            self.close(key, registry);
        }
    }

    fn take_lines(&mut self, key: Key, out: &mut Vec<Incoming>) {
        loop {
            let Some(client) = self.clients.get_mut(key) else { return };
            if client.paused() {
                return;
            }
            let line: Vec<u8> = match memchr::memchr(b'\n', &client.input) {
                Some(end) => {
                    let mut line: Vec<u8> = client.input.drain(..=end).collect();
                    line.pop();
                    line
                }
                // The last line may lack its end.
                None if client.ended && !client.input.is_empty() => std::mem::take(&mut client.input),
                None if client.input.len() > MAX_LINE => {
                    client.input = Vec::new();
                    client.ended = true;
                    client.in_work += 1;
                    let to = ReplyTo { client: key, id: Some(Value::Null), batch: None };
                    self.put(to, Err(RpcError::invalid(format!("a request of more than {MAX_LINE} bytes"))));
                    return;
                }
                None => return,
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match jsonrpc::parse(&line) {
                Message::One(one) => self.take_request(key, one, None, out),
                Message::Batch(all) => {
                    let batch = self.batches.insert(Batch { left: all.len(), answers: Vec::new() });
                    for one in all {
                        self.take_request(key, one, Some(batch), out);
                    }
                }
            }
        }
    }

    fn take_request(&mut self, client: Key, read: Parsed, batch: Option<Key>, out: &mut Vec<Incoming>) {
        if let Some(c) = self.clients.get_mut(client) {
            c.in_work += 1;
        }
        match read {
            Ok(request) => {
                out.push(Incoming { reply_to: ReplyTo { client, id: request.id.clone(), batch }, request });
            }
            Err((id, e)) => self.put(ReplyTo { client, id: Some(id), batch }, Err(e)),
        }
    }

    fn write(&mut self, key: Key, now: Time) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let mut done = 0;
        while let Some(rest) = client.output.get(done..).filter(|r| !r.is_empty()) {
            match client.stream.write(rest) {
                Ok(0) => break,
                Ok(n) => {
                    done += n;
                    client.moved = now;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // Gone; what is still in work for it is answered into nothing.
                    client.output.clear();
                    client.input.clear();
                    client.ended = true;
                    client.in_work = 0;
                    return;
                }
            }
        }
        client.output.drain(..done.min(client.output.len()));
    }

    fn close_if_done(&mut self, key: Key, registry: &Registry) {
        let Some(client) = self.clients.get(key) else { return };
        let done = client.ended && client.in_work == 0 && client.output.is_empty() && client.input.is_empty();
        if done || client.output.len() > OUT_MAX {
            self.close(key, registry);
        }
    }

    fn close(&mut self, key: Key, registry: &Registry) {
        if let Some(mut client) = self.clients.remove(key) {
            let _ = registry.deregister(&mut client.stream);
        }
    }

    /// Removes the socket file.
    pub fn remove_file(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
