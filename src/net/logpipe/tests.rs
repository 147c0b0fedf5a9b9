use super::sink::stamp;
use super::*;

fn record(severity: u8, text: &str) -> String {
    let mut line = Vec::new();
    line.extend_from_slice(format!("<{severity}>1732144795123456 {text}").as_bytes());
    String::from_utf8(line).unwrap()
}

#[test]
fn a_slow_reader_costs_lines_and_not_time() {
    let (reader, write) = pipe().unwrap();
    let mut child = ChildPipe::new(write);
    let text = vec![b'x'; 1000];
    let started = std::time::Instant::now();
    let taken = (0..5000).filter(|_| child.line(6, 1, &text)).count();
    assert!(started.elapsed().as_secs() < 5);
    assert!((300..5000).contains(&taken), "{taken}");
    let mut all = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        match nix::unistd::read(reader.fd.as_fd(), &mut buffer) {
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(_) if child.waiting.is_empty() => break,
            Err(_) => child.flush(),
        }
    }
    assert_eq!(all.iter().filter(|b| **b == b'\n').count(), taken);
    assert!(child.line(6, 2, b"after"));
    let n = nix::unistd::read(reader.fd.as_fd(), &mut buffer).unwrap();
    let rest = String::from_utf8_lossy(&buffer[..n]);
    assert!(rest.starts_with(&format!("<4>2 {} log lines were lost", 5000 - taken)), "{rest}");
    assert!(rest.ends_with("\n<6>2 after\n"), "{rest}");
}

#[test]
fn a_reader_that_is_gone_harms_nobody() {
    let (reader, write) = pipe().unwrap();
    drop(reader);
    let mut child = ChildPipe::new(write);
    assert!(child.line(3, 1, b"x"));
    assert!(child.waiting.is_empty());
}

#[test]
fn records_are_read_back() {
    assert_eq!(parse_record(record(4, "two words").as_bytes()), (4, 1_732_144_795_123_456, &b"two words"[..]));
    assert_eq!(parse_record(b"<x>1 x").2, b"<x>1 x");
    assert_eq!(parse_record(b"stray").2, b"stray");
    assert_eq!(parse_record(b"<3>").2, b"<3>");
    // With a facility of its own (19: local3).
    assert_eq!(parse_record(b"<158>5 x"), (158, 5, &b"x"[..]));
    assert_eq!(parse_record(b"<192>5 x").2, b"<192>5 x");
    assert_eq!(parse_record(b"<1580>5 x").2, b"<1580>5 x");
}

#[test]
fn times_and_levels() {
    let at = |micros| {
        let mut s = String::new();
        stamp(&mut s, micros);
        s
    };
    assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
    assert_eq!(at(951_827_696_000_001), "2000-02-29T12:34:56.000001Z");
    assert_eq!(at(1_732_144_795_123_456), "2024-11-20T23:19:55.123456Z");
    assert_eq!(facility("LOG_LOCAL0"), Some(16));
    assert_eq!(facility("daemon"), Some(3));
    assert_eq!(facility("nope"), None);
    assert_eq!([-3, -2, -1, 1, 2, 3, 4].map(severity), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn text_is_bounded_and_clean() {
    let mut text = String::new();
    let _ = write!(Bounded(&mut text), "{}more", "é".repeat(MAX_TEXT));
    assert!(text.len() <= MAX_TEXT + 3 && text.ends_with("..."));
    assert_eq!(clean("a\tb\r"), "a\tb");
    assert_eq!(clean("\x1b[31mred"), "\\x1b[31mred");
}

#[test]
fn lines_look_as_asked_and_each_output_has_its_level() {
    use super::sink::Sink;
    let all = |format, level| LogSettings {
        prefix: "edge1: ".into(),
        stderr: false,
        stderr_lines: Lines { format, level },
        ..LogSettings::default()
    };
    let mut sink = Sink::open(&all(Format::Json, 1));
    let mut lines = sink.collected(&[(5, "a notice"), (4, "a \"warning\" \u{1}"), (3, "an error")]);
    let first: serde_json::Value = serde_json::from_str(&lines.remove(0)).unwrap();
    assert_eq!(first["message"], "edge1: a \"warning\" \u{1}");
    assert_eq!((&first["level"], &first["pid"]), (&"WARN".into(), &7.into()));
    assert_eq!(first["time"], "2024-11-20T23:06:35.123456Z");
    assert_eq!(lines.len(), 1);
    let lines = Sink::open(&all(Format::JsonCee, i8::MAX)).collected(&[(7, "x")]);
    assert!(lines[0].starts_with("@cee: {"), "{lines:?}");
    let lines = Sink::open(&all(Format::Plain, i8::MAX)).collected(&[(6, "x")]);
    assert_eq!(lines, ["2024-11-20T23:06:35.123456Z INFO [7] edge1: x"]);
    let lines = Sink::open(&all(Format::Plain, i8::MAX)).collected(&[(158, "of local3")]);
    assert_eq!(lines, ["2024-11-20T23:06:35.123456Z INFO [7] edge1: of local3"]);
}
