//! The slow web server of the demonstration: a process of its own, so that nothing of what it takes can be
//! mistaken for the server's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// What a request takes.
const SLOW: Duration = Duration::from_millis(700);

/// Serves until standard input ends; prints its port first.
pub fn main() -> ExitCode {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| Ok((l.local_addr()?.port(), l)));
    let Ok((port, listener)) = port else { return ExitCode::FAILURE };
    println!("{port}");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    // Whoever started it keeps the other end: this process never outlives that one.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}

/// Answers one connection: `/never` with silence, everything else slowly.
fn serve(stream: TcpStream) -> Option<()> {
    let mut from = BufReader::new(stream.try_clone().ok()?.take(64 << 10));
    let mut to = stream;
    let mut head = String::new();
    from.read_line(&mut head).ok()?;
    let mut line = String::new();
    while from.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    if head.contains(" /never ") {
        // Until the other side gives up.
        let _ = from.read_line(&mut line);
        return None;
    }
    std::thread::sleep(SLOW);
    let body = "{\"credit\": 100}";
    let length = body.len();
    write!(
        to,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .ok()
}
