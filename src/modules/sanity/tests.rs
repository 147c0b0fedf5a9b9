//! The functions on whole messages; what each check finds is tested in `sip/check`.

use super::*;
use crate::modules::env::Env;
use crate::modules::testing::{Bench, INVITE, OMIT};
use crate::sip::Message;

fn bench(text: &str, settings: Settings) -> Bench {
    let mut env = Env::unattached();
    env.settings.sanity = settings;
    Bench::with(text, env)
}

/// Runs `sanity_check`; the reply that it asks for, with its header lines, and what it returns.
fn check_of(b: &mut Bench, args: &[&str]) -> (Option<(u16, String)>, i32) {
    match b.start(&SANITY_CHECK, args) {
        Step::Done(code) => (None, code),
        Step::Wait(Request::AnyReply(r)) => {
            let shown = format!("{} {}", r.reason.to_lossy(), String::from_utf8_lossy(&b.host.reply_headers));
            match b.finish(&SANITY_CHECK, args, Outcome::Code(1)) {
                Step::Done(code) => (Some((r.code, shown)), code),
                _ => panic!("waits twice"),
            }
        }
        Step::Wait(other) => panic!("asks for {other:?}"),
        Step::Fail(why) => panic!("{why}"),
        Step::Continue(_) | Step::Route(_) | Step::Beside { .. } => panic!("goes on in a route"),
    }
}

fn with(line: &str) -> String {
    INVITE.replacen("X-One: first value", line, 1)
}

#[test]
fn what_is_right_passes() {
    let mut b = bench(INVITE, Settings::default());
    assert_eq!(check_of(&mut b, &[]), (None, 1));
    assert_eq!(check_of(&mut b, &["131071", "15"]), (None, 1));
    assert_eq!(b.call(&SANITY_REPLY, &[]), -1, "nothing to say");
}

#[test]
fn the_answer_names_what_is_unsupported() {
    let text = with("Proxy-Require: one, two\r\nProxy-Require: three");
    let mut b = bench(&text, Settings { autodrop: false, ..Settings::default() });
    b.host.reply_headers = b"X: y\r\n".to_vec().into();
    let want = "Bad Extension X: y\r\nUnsupported: one, two, three\r\n".to_owned();
    assert_eq!(check_of(&mut b, &[]), (Some((420, want)), -1));
    assert_eq!(*b.host.reply_headers, b"X: y\r\n", "the next reply does not have it");
    assert_eq!(b.call(&SANITY_REPLY, &[]), 1, "it was sent");
    assert_eq!(check_of(&mut b, &["4"]), (None, 1), "only what is asked for");
    let mut settings = Settings::default();
    assert!(settings.set("proxy_require", &Value::from(" three , ONE,,")));
    let mut b = bench(&text, settings);
    assert_eq!(
        check_of(&mut b, &[]),
        (Some((420, "Bad Extension Unsupported: two\r\n".to_owned())), 0),
        "the script ends"
    );
}

#[test]
fn replies_can_be_kept_back() {
    let text = with("Expires: never");
    let mut b = bench(&text, Settings { autodrop: false, noreply: true, ..Settings::default() });
    assert_eq!(check_of(&mut b, &["256"]), (None, -1));
    let Step::Wait(Request::AnyReply(reply)) = b.start(&SANITY_REPLY, &[]) else { panic!("no reply") };
    assert_eq!((reply.code, &reply.reason[..]), (400, &b"Bad Expires"[..]));
    assert!(matches!(b.finish(&SANITY_REPLY, &[], Outcome::Code(1)), Step::Done(1)));
    // The third argument is for one call.
    assert!(check_of(&mut b, &["256", OMIT, "0"]).0.is_some());
    let mut b = bench(&text, Settings::default());
    assert_eq!(check_of(&mut b, &["256", "7", "1"]), (None, 0));
}

#[test]
fn acks_and_replies_are_never_answered() {
    let ack = with("Expires: never").replace("INVITE", "ACK");
    let mut b = bench(&ack, Settings::default());
    assert_eq!(check_of(&mut b, &["256"]), (None, 0));
    assert_eq!(b.call(&SANITY_REPLY, &[]), -1);
    let reply =
        with("Expires: never").replacen("INVITE sip:bob@biloxi.com:5070;user=phone SIP/2.0", "SIP/2.0 200 OK", 1);
    assert!(Message::parse_slice(reply.as_bytes()).unwrap().is_reply());
    let mut b = bench(&reply, Settings { autodrop: false, ..Settings::default() });
    assert_eq!(check_of(&mut b, &["256"]), (None, -1));
}

#[test]
fn numbers_that_are_none() {
    let mut b = bench(INVITE, Settings::default());
    assert_eq!(b.call(&SANITY_CHECK, &["-1"]), -1000);
    assert_eq!(b.call(&SANITY_CHECK, &["4", "4294967296"]), -1000);
    let mut s = Settings::default();
    for (param, value) in [("default_checks", 1), ("uri_checks", 15), ("autodrop", 0), ("noreply", 1)] {
        assert!(s.set(param, &Value::Int(value)), "{param}");
    }
    assert_eq!(s, Settings { checks: 1, uris: 15, extensions: vec![], autodrop: false, noreply: true });
    assert!(!s.set("nothing", &Value::Int(1)));
}
