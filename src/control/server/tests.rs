use super::*;
use serde_json::json;
use std::io::BufRead;
use std::os::unix::net::UnixStream as Std;

fn token(key: Key) -> Token {
    Token(1 + key.index as usize + ((key.generation as usize) << 32))
}

struct Bench {
    server: ControlServer,
    poll: mio::Poll,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let mut server = ControlServer::bind(&dir.path().join("ctl.sock"), 0o600, token).unwrap();
        let poll = mio::Poll::new().unwrap();
        server.register(poll.registry(), Token(0)).unwrap();
        Bench { server, poll, _dir: dir }
    }

    fn connect(&self) -> Std {
        Std::connect(self.server.path()).unwrap()
    }

    /// Serves until nothing happens any more; answers with the method's name and parameters.
    fn serve(&mut self) -> usize {
        let mut events = mio::Events::with_capacity(64);
        let mut served = 0;
        loop {
            self.poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
            if events.is_empty() {
                return served;
            }
            let mut todo = Vec::new();
            for ev in &events {
                match ev.token().0 {
                    0 => self.server.accept(self.poll.registry(), Time::ZERO),
                    t => {
                        let key = Key { index: t as u32 - 1, generation: (t >> 32) as u32 };
                        self.server.ready(key, self.poll.registry(), Time::ZERO, &mut todo);
                    }
                }
            }
            while let Some(incoming) = todo.pop() {
                served += 1;
                let result = match incoming.request.method.as_str() {
                    "large" => Ok(json!("x".repeat(300_000))),
                    "none" => Err(RpcError::no_method("none")),
                    m => Ok(json!([m, incoming.request.params])),
                };
                self.server.reply(incoming.reply_to, result, self.poll.registry(), Time::ZERO, &mut todo);
            }
        }
    }
}

fn line(stream: &Std) -> Value {
    let mut text = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    std::io::BufReader::new(stream).read_line(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn answers_requests_batches_and_errors() {
    let mut b = Bench::new();
    let mut c = b.connect();
    c.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"ps\",\"id\":1}\n").unwrap();
    b.serve();
    assert_eq!(line(&c), json!({"jsonrpc":"2.0","id":1,"result":["ps",null]}));
    c.write_all(b"nonsense\n").unwrap();
    b.serve();
    assert_eq!(line(&c)["error"]["code"], json!(-32700));
    c.write_all(b"[{\"jsonrpc\":\"2.0\",\"method\":\"none\",\"id\":1},{\"jsonrpc\":\"2.0\",\"method\":\"note\"},3]\n")
        .unwrap();
    b.serve();
    let all = line(&c);
    let mut codes: Vec<i64> = all.as_array().unwrap().iter().filter_map(|a| a["error"]["code"].as_i64()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [-32601, -32600]);
    // A notification gets no answer.
    c.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"note\"}\n{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":2}").unwrap();
    c.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(b.serve(), 2);
    assert_eq!(line(&c)["id"], json!(2));
    assert_eq!(b.server.clients.len(), 0);
}

#[test]
fn an_endless_line_is_refused() {
    let mut b = Bench::new();
    let c = b.connect();
    c.set_nonblocking(true).unwrap();
    let chunk = vec![b'x'; 1 << 16];
    for _ in 0..40 {
        let _ = (&c).write(&chunk);
        b.serve();
        if b.server.clients.is_empty() {
            break;
        }
    }
    c.set_nonblocking(false).unwrap();
    assert_eq!(line(&c)["error"]["code"], json!(-32600));
    assert_eq!(b.server.clients.len(), 0);
}

#[test]
fn a_client_that_does_not_read_is_paused_and_dropped() {
    let mut b = Bench::new();
    let c = b.connect();
    c.set_nonblocking(true).unwrap();
    let mut sent = 0;
    for _ in 0..200 {
        if (&c).write(b"{\"jsonrpc\":\"2.0\",\"method\":\"large\",\"id\":1}\n").is_ok() {
            sent += 1;
        }
    }
    let served = b.serve();
    assert!(served < sent, "{served} of {sent}");
    let held: usize = b.server.clients.iter().map(|(_, c)| c.output.len()).sum();
    assert!(held < 40 << 20, "{held}");
    b.server.expire(b.poll.registry(), Time::ZERO + Duration::from_secs(31));
    assert_eq!(b.server.clients.len(), 0);
}

#[test]
fn a_stale_file_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/ctl.sock");
    let first = ControlServer::bind(&path, 0o660, token).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(matches!(ControlServer::bind(&path, 0o660, token), Err(BindError::Taken(_))));
    drop(first);
    let second = ControlServer::bind(&path, 0o660, token).unwrap();
    second.remove_file();
    assert!(!path.exists());
    fs::write(&path, "x").unwrap();
    assert!(matches!(ControlServer::bind(&path, 0o660, token), Err(BindError::NotASocket(_))));
}
