//! Registrations of the server's own at others' registrars: what commands do, on the simulated worker.

use crate::bed::{Bed, Got, PROXY};
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::worker::sim::SimOptions;
use serde_json::{Value, json};
use std::time::Duration;

fn bed(params: &str) -> Bed {
    let text = format!(
        r#"#!KAMAILIO
listen=udp:{PROXY}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "uac.so"
modparam("uac", "reg_contact_addr", "127.0.0.1:5060")
{params}
request_route {{
    sl_send_reply("200", "OK");
}}
event_route[tm:local-request] {{
    if ($rm == "REGISTER") append_hf("X-Local: yes\r\n");
}}
"#
    );
    let sim = simulate(ConfigText::Text(&text, "registrant.cfg"), None, SimOptions::default());
    Bed::of(sim.unwrap_or_else(|e| panic!("{e}")))
}

fn ctl(b: &mut Bed, method: &str, params: Value) -> Value {
    let text = b.sim.call(method, &params.to_string()).unwrap_or_else(|e| panic!("{method}: {e:?}"));
    serde_json::from_str(&text).unwrap()
}

fn add(b: &mut Bed, uuid: &str, delay: u32, expires: u32) {
    let fields = json!([
        uuid,
        "home",
        "home.test",
        format!("r-{uuid}"),
        "192.0.2.11",
        ".",
        "me",
        "word",
        ".",
        ".",
        expires,
        0,
        delay
    ]);
    assert_eq!(ctl(b, "uac.reg_add", fields), "OK");
}

fn flags(b: &mut Bed, uuid: &str) -> u64 {
    ctl(b, "uac.reg_info", json!(["l_uuid", uuid]))["flags"].as_u64().unwrap()
}

/// The REGISTERs that were sent, none of them twice.
fn sent(b: &mut Bed) -> Vec<Got> {
    let mut all: Vec<Got> = b.got().into_iter().filter(|g| g.m.method_bytes() == b"REGISTER").collect();
    let mut seen = std::collections::HashSet::new();
    all.retain(|g| seen.insert(g.text()));
    all
}

fn granted(b: &mut Bed, to: &Got, seconds: u32) {
    let line = format!("Contact: {};expires={seconds}\r\n", to.header("Contact"));
    b.reply(to, 200, &line);
}

#[test]
fn commands_order_registrations() {
    let mut b = bed("modparam(\"uac\", \"reg_timer_interval\", 7)");
    add(&mut b, "a", 0, 100);
    add(&mut b, "later", 5, 100);
    add(&mut b, "never", 0, 0);
    b.wait(1000);
    let first = sent(&mut b);
    assert_eq!(first.iter().map(|g| g.header("To")).collect::<Vec<_>>(), ["<sip:r-a@192.0.2.11>"]);
    assert_eq!(first[0].header("X-Local"), "yes");
    assert_eq!(flags(&mut b, "a"), 2 | 16);
    granted(&mut b, &first[0], 100);
    assert_eq!(flags(&mut b, "a"), 4 | 16);
    b.wait(4000);
    let second = sent(&mut b);
    assert_eq!(second.len(), 1, "after its delay");
    granted(&mut b, &second[0], 100);
    assert_eq!((flags(&mut b, "later"), flags(&mut b, "never")), (4 | 16, 0));
    assert_eq!(ctl(&mut b, "uac.reg_dump", json!([])).as_array().unwrap().len(), 3);
    // Refreshed ten seconds before the end, with a Call-ID of its own.
    b.wait(86_000);
    let again = sent(&mut b);
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].m.call_id(), first[0].m.call_id());
    granted(&mut b, &again[0], 100);
    ctl(&mut b, "uac.reg_disable", json!(["l_username", "home"]));
    b.wait(1000);
    let gone = sent(&mut b);
    assert_eq!(gone.len(), 2);
    for g in &gone {
        assert_eq!(g.header("Expires"), "0", "{}", g.text());
        b.reply(g, 200, "");
    }
    assert_eq!(flags(&mut b, "a"), 1 | 16);
    b.wait(200_000);
    assert_eq!(sent(&mut b).len(), 0);
    // Nothing while it is switched off.
    ctl(&mut b, "uac.reg_active", json!([0]));
    ctl(&mut b, "uac.reg_enable", json!(["l_uuid", "a"]));
    b.wait(200_000);
    assert_eq!((sent(&mut b).len(), flags(&mut b, "a")), (0, 16));
    ctl(&mut b, "uac.reg_active", json!([1]));
    b.wait(1000);
    let on = sent(&mut b);
    assert_eq!(on.len(), 1);
    // Gone while it is under way: taken back afterwards, then forgotten.
    ctl(&mut b, "uac.reg_remove", json!(["a"]));
    granted(&mut b, &on[0], 100);
    b.wait(1000);
    let back = sent(&mut b);
    assert_eq!((back.len(), back[0].header("Expires").as_str()), (1, "0"));
    b.reply(&back[0], 200, "");
    assert!(b.sim.call("uac.reg_info", &json!(["l_uuid", "a"]).to_string()).is_err());
    assert_eq!(ctl(&mut b, "uac.reg_dump", json!([])).as_array().unwrap().len(), 2);
    b.end();
}

#[test]
fn what_fails_is_disabled_unless_it_is_to_be_tried_again() {
    let mut b = bed("modparam(\"uac\", \"reg_active\", 0)");
    add(&mut b, "a", 0, 100);
    b.wait(10_000);
    assert_eq!(sent(&mut b).len(), 0);
    ctl(&mut b, "uac.reg_active", json!([1]));
    b.wait(1000);
    let first = sent(&mut b);
    b.reply(&first[0], 403, "");
    let shown = ctl(&mut b, "uac.reg_info", json!(["r_username", "r-a"]));
    assert_eq!((&shown["flags"], &shown["last"]), (&json!(1 | 16), &json!("403 Because")));
    b.wait(500_000);
    assert_eq!(sent(&mut b).len(), 0);
    b.end();
}

#[test]
fn thousands_begin_some_at_a_time_and_all_come_to_their_end() {
    let mut b = bed("modparam(\"uac\", \"reg_retry_interval\", 600)");
    for n in 0..1000 {
        add(&mut b, &format!("u{n}"), 0, 3600);
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        b.wait(100);
        // What is repeated before its answer is known already.
        let some: Vec<Got> = sent(&mut b).into_iter().filter(|g| seen.insert(g.m.call_id().to_vec())).collect();
        assert!(some.len() <= 300, "{}", some.len());
        for g in &some {
            granted(&mut b, g, 3600);
        }
    }
    assert_eq!(seen.len(), 1000);
    let all = ctl(&mut b, "uac.reg_dump", json!([]));
    assert!(all.as_array().unwrap().iter().all(|a| a["flags"] == 20));
    b.sim.advance(Duration::from_secs(60));
    b.end();
}

#[test]
fn accounts_begin_by_lot() {
    let mut b = bed("modparam(\"uac\", \"reg_random_delay\", 60)");
    for n in 0..60 {
        add(&mut b, &format!("u{n}"), 0, 3600);
    }
    let mut seen = std::collections::HashSet::new();
    let mut times = Vec::new();
    for _ in 0..62 {
        b.wait(1000);
        let some: Vec<Got> = sent(&mut b).into_iter().filter(|g| seen.insert(g.m.call_id().to_vec())).collect();
        times.push(some.len());
        some.iter().for_each(|g| granted(&mut b, g, 3600));
    }
    assert_eq!(seen.len(), 60);
    assert!(times.iter().all(|n| *n < 30), "{times:?}");
    b.end();
}
