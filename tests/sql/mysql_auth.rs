//! Logins that no server here knows: `caching_sha2_password` and `sha256_password`, over plain TCP with the server's
//! RSA key and over TLS. The server is this test's own: it makes its key, sends it, and opens with it
//! what the client has sealed.

use crate::lp::{AMPLE, Loop, alone, failure, rows};
use crate::support::{ca, process};
use reprise::ops::Why;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const PASSWORD: &[u8] = b"p\xc3\xa4ss: word";
const NONCE: &[u8; 20] = b"abcdefghijklmnopqrst";
const TLS: u32 = 0x0800;

/// What the server does about a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plugin {
    /// `caching_sha2_password` that has the password in its cache.
    Cached,
    /// The same without.
    Full,
    /// `sha256_password`
    Sha256,
    /// Greets with another plugin, then asks to switch to `sha256_password`.
    Switch,
}

/// What the login looked like.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The fast answer was right.
    Scramble,
    /// The password came in clear, over TLS.
    Clear,
    /// The password came sealed, and this is what was inside.
    Sealed,
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

fn send(s: &mut dyn Both, sequence: u8, payload: &[u8]) {
    let length = (payload.len() as u32).to_le_bytes();
    s.write_all(&[&length[..3], &[sequence], payload].concat()).unwrap();
    s.flush().unwrap();
}

/// A packet: its sequence number and payload.
fn receive(s: &mut dyn Both) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    s.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
    s.read_exact(&mut payload).ok()?;
    Some((head[3], payload))
}

fn greeting(plugin: &str, tls: bool) -> Vec<u8> {
    let capabilities = if tls { 0x000f_ffffu32 | TLS } else { 0x000f_ffff & !TLS };
    let c = capabilities.to_le_bytes();
    [
        &b"\x0a8.0.36\0"[..],
        &9u32.to_le_bytes(),
        &NONCE[..8],
        &[0, c[0], c[1], 45, 2, 0, c[2], c[3], 21],
        &[0; 10],
        &NONCE[8..],
        &[0],
        plugin.as_bytes(),
        &[0],
    ]
    .concat()
}

struct Server {
    addr: SocketAddr,
    thread: Option<JoinHandle<Result<Seen, String>>>,
}

/// RSA keys: the private one's file, and the public one.
struct Keys {
    _dir: tempfile::TempDir,
    private: PathBuf,
    public: Vec<u8>,
}

fn keys() -> Keys {
    let dir = process::directory("keys");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (private, public) = (path("private"), path("public"));
    let size = ["-pkeyopt", "rsa_keygen_bits:2048"];
    process::run("openssl", &[&["genpkey", "-quiet", "-algorithm", "RSA", "-out", &private][..], &size].concat());
    process::run("openssl", &["pkey", "-in", &private, "-pubout", "-out", &public]);
    Keys { private: private.into(), public: std::fs::read(&public).unwrap(), _dir: dir }
}

impl Server {
    /// Serves one connection: a login, then one query, which is answered with one row changed.
    fn start(plugin: Plugin, tls: bool, keys: &Arc<Keys>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let keys = keys.clone();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().map_err(|e| e.to_string())?;
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            serve(stream, plugin, tls, &keys)
        });
        Server { addr, thread: Some(thread) }
    }

    fn seen(&mut self) -> Result<Seen, String> {
        self.thread.take().unwrap().join().unwrap()
    }
}

fn serve(mut tcp: TcpStream, plugin: Plugin, tls: bool, keys: &Keys) -> Result<Seen, String> {
    let gone = || "the client went away".to_string();
    let name = match plugin {
        Plugin::Cached | Plugin::Full => "caching_sha2_password",
        Plugin::Sha256 => "sha256_password",
        Plugin::Switch => "mysql_native_password",
    };
    send(&mut tcp, 0, &greeting(name, tls));
    let mut secured;
    let stream: &mut dyn Both = if tls {
        let (_, request) = receive(&mut tcp).ok_or_else(gone)?;
        assert_eq!(request.len(), 32, "the request for TLS");
        secured = StreamOwned::new(ServerConnection::new(tls_config()).unwrap(), tcp);
        &mut secured
    } else {
        &mut tcp
    };
    let (mut sequence, response) = receive(stream).ok_or_else(gone)?;
    // Capabilities, largest packet, character set and filler; then the user's name.
    let rest = response[32..].strip_prefix(b"u\0").ok_or("not the user")?;
    let mut answer = rest[1..=usize::from(rest[0])].to_vec();
    if plugin == Plugin::Switch {
        send(stream, sequence + 1, &[b"\xfesha256_password\0", &NONCE[..], &[0]].concat());
        (sequence, answer) = receive(stream).ok_or_else(gone)?;
    }
    let seen = match plugin {
        Plugin::Cached | Plugin::Full => {
            let stage1 = Sha256::digest(PASSWORD);
            let stage2 = Sha256::new().chain_update(Sha256::digest(stage1)).chain_update(NONCE).finalize();
            let scramble: Vec<u8> = stage1.iter().zip(stage2).map(|(a, b)| a ^ b).collect();
            if answer != scramble {
                return denied(stream, sequence);
            }
            if plugin == Plugin::Cached {
                sequence += 1;
                send(stream, sequence, &[1, 3]);
                Seen::Scramble
            } else {
                send(stream, sequence + 1, &[1, 4]);
                (sequence, answer) = receive(stream).ok_or_else(gone)?;
                opened(stream, &mut sequence, answer, 2, tls, keys)?
            }
        }
        Plugin::Sha256 | Plugin::Switch => opened(stream, &mut sequence, answer, 1, tls, keys)?,
    };
    send(stream, sequence + 1, &[0, 0, 0, 2, 0, 0, 0]);
    // The question about the session is refused, the query answered.
    for answer in [&b"\xff\x48\x04#42000no"[..], &[0, 1, 0, 2, 0, 0, 0]] {
        let (sequence, _) = receive(stream).ok_or_else(gone)?;
        send(stream, sequence + 1, answer);
    }
    while receive(stream).is_some() {}
    Ok(seen)
}

/// Reads the password: in clear over TLS, else sealed with the key that the client asks for with this byte.
fn opened(
    stream: &mut dyn Both,
    sequence: &mut u8,
    mut answer: Vec<u8>,
    ask: u8,
    tls: bool,
    keys: &Keys,
) -> Result<Seen, String> {
    if tls {
        let right = answer == [PASSWORD, b"\0"].concat();
        return if right { Ok(Seen::Clear) } else { denied(stream, *sequence) };
    }
    assert_eq!(answer, [ask], "asks for the key");
    send(stream, *sequence + 1, &[&[1], &keys.public[..]].concat());
    (*sequence, answer) = receive(stream).ok_or("the client went away")?;
    let dir = process::directory("seal");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("sealed"), &answer).unwrap();
    let key = keys.private.to_string_lossy();
    let (sealed, plain) = (path("sealed"), path("plain"));
    let padding = ["-pkeyopt", "rsa_padding_mode:oaep"];
    let args = ["pkeyutl", "-decrypt", "-inkey", &key, "-in", &sealed, "-out", &plain];
    process::run("openssl", &[&args[..], &padding].concat());
    let mixed = std::fs::read(plain).unwrap();
    let password: Vec<u8> = mixed.iter().zip(NONCE.iter().cycle()).map(|(a, b)| a ^ b).collect();
    if password == [PASSWORD, b"\0"].concat() { Ok(Seen::Sealed) } else { denied(stream, *sequence) }
}

fn denied(stream: &mut dyn Both, sequence: u8) -> Result<Seen, String> {
    send(stream, sequence + 1, b"\xff\x15\x04#28000Access denied");
    Err("denied".to_string())
}

fn tls_config() -> Arc<ServerConfig> {
    let ca = ca::get();
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(&ca.server.cert).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&ca.server.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(certificates, key).unwrap())
}

fn url(server: &Server, password: &str, tls: bool) -> String {
    let mode = if tls { "?ssl_mode=required" } else { "" };
    format!("mysql://u:{password}@{}/d{mode}", server.addr)
}

#[test]
fn every_way_in() {
    let _alone = alone();
    let keys = Arc::new(keys());
    for (plugin, tls, how) in [
        (Plugin::Cached, false, Seen::Scramble),
        (Plugin::Cached, true, Seen::Scramble),
        (Plugin::Full, false, Seen::Sealed),
        (Plugin::Full, true, Seen::Clear),
        (Plugin::Sha256, false, Seen::Sealed),
        (Plugin::Sha256, true, Seen::Clear),
        (Plugin::Switch, false, Seen::Sealed),
        (Plugin::Switch, true, Seen::Clear),
    ] {
        let mut server = Server::start(plugin, tls, &keys);
        let mut l = Loop::new();
        let r = l.ok(&url(&server, "p%C3%A4ss%3A%20word", tls), "DELETE FROM t");
        assert_eq!(r.affected, 1, "{plugin:?} {tls}");
        drop(l);
        assert_eq!(server.seen(), Ok(how), "{plugin:?} {tls}");
    }
}

#[test]
fn wrong_passwords_are_denied() {
    let _alone = alone();
    let keys = Arc::new(keys());
    for (plugin, tls) in
        [(Plugin::Cached, false), (Plugin::Full, true), (Plugin::Sha256, false), (Plugin::Sha256, true)]
    {
        let mut server = Server::start(plugin, tls, &keys);
        let mut l = Loop::new();
        let id = l.start(&url(&server, "wrong", tls), "SELECT 1", AMPLE);
        let f = failure(l.wait(id));
        assert_eq!(f.why, Why::Denied, "{plugin:?}: {f}");
        assert!(f.detail.contains("1045 (28000): Access denied"), "{f}");
        assert_eq!(server.seen(), Err("denied".to_string()));
    }
    // A key that is none.
    let bad = Keys { public: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_vec(), ..self::keys() };
    let mut server = Server::start(Plugin::Sha256, false, &Arc::new(bad));
    let mut l = Loop::new();
    let id = l.start(&url(&server, "p", false), "SELECT 1", AMPLE);
    let f = failure(l.wait(id));
    assert_eq!(f.why, Why::Garbage, "{f}");
    assert!(f.detail.contains("RSA key"), "{f}");
    drop(l);
    assert!(server.seen().is_err());
    // Somebody who is there after all.
    let mut server = Server::start(Plugin::Cached, false, &Arc::new(self::keys()));
    let mut l = Loop::new();
    let id = l.start(&url(&server, "p%C3%A4ss%3A%20word", false), "INSERT INTO t VALUES (1)", AMPLE);
    assert_eq!(rows(l.wait(id)).affected, 1);
    drop(l);
    assert!(server.seen().is_ok());
}
