//! A run of the real host survives the journey: encoded where it waits and decoded again, it goes
//! on with the same message, edits, R-URI, flags, AVPs and variables.

use reprise::base::{Str, Time};
use reprise::modules::env::Env;
use reprise::modules::host::SipHost;
use reprise::modules::request::{Outcome, Request};
use reprise::ops;
use reprise::script::ast::{Dialect, RouteKind};
use reprise::script::diagnostics::Diagnostics;
use reprise::script::program::Program;
use reprise::script::source::SourceMap;
use reprise::script::vm::{Finished, Paused, Run, Suspended};
use reprise::script::{lower, parse};
use reprise::sip::Message;
use std::rc::Rc;

const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
Max-Forwards: 70\r\nFrom: \"A\" <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: travel\r\n\
CSeq: 7 INVITE\r\nSubject: hello\r\nContent-Length: 4\r\n\r\nbody";

const SCRIPT: &str = r#"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "sipmsgops.so"
loadmodule "cfgutils.so"
route {
    $var(n) = 1;
    $avp(who) = $fU;
    setflag("SEEN");
    append_hf("X-First: $ci\r\n");
    remove_hf("Subject");
    $rU = "carol";
    $du = "sip:10.0.0.1:5080";
    while ($var(n) < 4) {
        usleep(1000);
        $var(n) = $var(n) + 1;
        route(deeper, $var(n));
    }
    await_all { usleep(10); usleep(20); usleep($var(n)); }
    append_hf("X-Several: $rc $(async_rc[*])\r\n");
    append_hf("X-Result: $var(n) $avp(who) $(avp(list)[0]) $(avp(list)[2]) $rU $du\r\n");
    if (isflagset("SEEN")) append_hf("X-Flag: yes\r\n");
}
route[deeper] {
    usleep(5);
    $avp(list) = $param(1);
}
"#;

/// The same for what only the other language has.
const KAMAILIO: &str = r#"#!KAMAILIO
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "async.so"
request_route {
    $xavp(gw=>uri) = "one";
    $xavp(gw[0]=>n) = 5;
    $xavp(gw=>uri) = "two";
    $xavi(Head=>Line) = "h";
    async_ms_sleep("1");
    $xavu(u=>v) = $xavp(gw[1]=>n) + 1;
    route(DEEPER);
    append_hf("X-Result: $xavp(gw=>uri) $xavp(gw[1]=>uri) $xavp(gw[1]=>n) $xavi(HEAD=>line) $xavu(u=>v) $xavp(in[-1]=>k)\r\n");
}
route[DEEPER] {
    xavp_params_explode("k=1", "in");
    async_ms_sleep("5");
    xavp_params_explode("k=2", "in");
}
"#;

fn program(dialect: Dialect) -> Rc<Program<SipHost>> {
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let text = if dialect == Dialect::Kamailio { KAMAILIO } else { SCRIPT };
    let tree = parse::parse_text("travel.cfg", text, &mut map, &mut diags);
    let program = lower::compile::<SipHost>(dialect, &tree, &map, &mut diags);
    Rc::new(program.unwrap_or_else(|| panic!("{}", diags.brief(&map))))
}

/// Runs the script; every wait ends at once. With `travel` the run is encoded and decoded at each
/// wait, and at every instruction in between.
fn run(dialect: Dialect, travel: bool) -> (Vec<u8>, usize) {
    let program = program(dialect);
    let mut env = Env::unattached();
    env.settings.async_module.millis = true;
    let env = Rc::new(env);
    let route = program.find_route(RouteKind::Request, None).expect("a main route");
    let message = Message::parse(Str::from(INVITE)).expect("a good message");
    let source = "192.0.2.1:5060".parse().expect("an address");
    let mut run = Run::new(program.clone(), route, SipHost::new(env.clone(), message, source, 0));
    let mut waits = 0;
    loop {
        let mut budget = if travel { 1 } else { 1_000_000 };
        match run.go(&mut budget, Time::from_millis(1)) {
            Paused::Finished(Finished { host, .. }) => {
                let mut edits = host.edits.clone();
                if let Some(uri) = &host.ruri {
                    edits.set_request_uri(&host.msg, uri.clone());
                }
                return (edits.apply(&host.msg), waits);
            }
            Paused::Budget(rest) => {
                run = match rest.encode() {
                    Ok(bytes) => Run::decode(&bytes, program.clone(), |h: &mut SipHost| h.env = env.clone())
                        .expect("what was encoded can be decoded"),
                    Err(_) => rest,
                }
            }
            // A wait of the other language makes its transaction first.
            Paused::Wait(suspended, Request::NewTransaction) => run = suspended.resume(Outcome::Code(1)),
            Paused::Wait(suspended, request) => {
                waits += 1;
                assert!(matches!(request, Request::Op { op: ops::Request::Sleep(_), .. }));
                let suspended = if travel {
                    let bytes = suspended.encode().expect("a waiting run can be encoded");
                    assert!(bytes.len() < 4096, "{} bytes", bytes.len());
                    Suspended::decode(&bytes, program.clone(), |h: &mut SipHost| h.env = env.clone())
                        .expect("what was encoded can be decoded")
                } else {
                    suspended
                };
                run = suspended.resume(Outcome::Op(ops::Outcome::Slept));
            }
            Paused::Several(mut suspended, requests) => {
                waits += requests.len();
                let ended = requests.into_iter().map(|(member, _)| (member, Outcome::Op(ops::Outcome::Slept)));
                for one in ended.rev() {
                    if travel {
                        let bytes = suspended.encode().expect("a waiting run can be encoded");
                        suspended = Suspended::decode(&bytes, program.clone(), |h: &mut SipHost| h.env = env.clone())
                            .expect("what was encoded can be decoded");
                    }
                    let _ = suspended.members_ended(vec![one], Time::from_millis(2));
                }
                run = suspended.resume_several();
            }
            Paused::Launch { .. } => panic!("nothing is launched here"),
        }
    }
}

#[test]
fn a_run_that_travels_ends_like_one_that_stays() {
    let (stayed, waits) = run(Dialect::OpenSips, false);
    let (travelled, again) = run(Dialect::OpenSips, true);
    assert_eq!(waits, 9);
    assert_eq!(again, waits);
    assert_eq!(String::from_utf8_lossy(&travelled), String::from_utf8_lossy(&stayed));
    let text = String::from_utf8_lossy(&stayed).into_owned();
    assert!(text.starts_with("INVITE sip:carol@example.com SIP/2.0\r\n"), "{text}");
    assert!(text.contains("X-Result: 4 alice 4 2 carol sip:10.0.0.1:5080\r\n"), "{text}");
    assert!(text.contains("X-Several: 0 1, 1, 1\r\n"), "{text}");
    assert!(text.contains("X-First: travel\r\n") && text.contains("X-Flag: yes\r\n"), "{text}");
    assert!(!text.contains("Subject"), "{text}");
}

#[test]
fn structured_variables_travel() {
    let (stayed, waits) = run(Dialect::Kamailio, false);
    let (travelled, again) = run(Dialect::Kamailio, true);
    assert_eq!((waits, again), (2, 2));
    assert_eq!(String::from_utf8_lossy(&travelled), String::from_utf8_lossy(&stayed));
    let text = String::from_utf8_lossy(&stayed).into_owned();
    assert!(text.contains("X-Result: two one 5 h 6 1\r\n"), "{text}");
}
