//! Re-INVITEs that wait in a queue, as a post on a mailing list describes it: its script as written (what it leaves out, the rest of a
//! request route and of a configuration, is completed), with the twelve timers that look every 10 ms; and the same with an event
//! route that is woken instead.

use serde_json::Value;

use crate::common::{SECOND, address, held, serve, stat, wait_quiet};
use crate::support::sipp::Sipp;

/// As written, a line for a statement.
const QUEUE: &str = r#"
loadmodule "mqueue.so"
modparam("mqueue", "mqueue", "name=reinvite_q");
"#;

/// As written: twelve of these.
fn timers() -> String {
    let one = |n: usize| {
        format!(
            "modparam(\"rtimer\", \"timer\", \"name=reinvite_q{n};interval=10000u;mode=1;\")\n\
             modparam(\"rtimer\", \"exec\", \"timer=reinvite_q{n};route=REINVITE_DEQUEUE\")\n"
        )
    };
    let all: String = (1..=12).map(one).collect();
    format!("loadmodule \"rtimer.so\"\n{all}")
}

/// As written.
const IN_DIALOG: &str = r#"
    if(has_totag()) {
        if(loose_route()) {
            if(is_method("INVITE")) {
                if(!t_suspend()) {
                    sl_send_reply("500", "Internal Server Error");
                    exit;
                }
                mq_add("reinvite_q", "$T(id_index):$T(id_label)", "");
            } else {
                # Normal in-dialog request handling, t_relay() and that.
                route(IN_DLG_REQ);
            }
        }
    }
"#;

/// As written.
const DEQUEUE: &str = r#"
route[REINVITE_DEQUEUE] {
    while(mq_fetch("reinvite_q")) {
        xlog("L_INFO", "[R-REINVITE-DEQUEUE:$ci] -> Resuming re-invite handling ($TV(Sn)) in PID $pp\n");
        $var(id) = $(mqk(reinvite_q){s.select,0,:}{s.int});
        $var(label) = $(mqk(reinvite_q){s.select,1,:}{s.int});
        xlog("L_INFO", "[R-REINVITE-DEQUEUE:$ci] -> Resuming re-invite handling ($TV(Sn)) in PID $pp\n");
        # Call route[IN_DLG_REQ] to do what we otherwise would have done
        # immediately, were it any other kind of in-dialog request.
        t_continue("$var(id)", "$var(label)", "IN_DLG_REQ");
        return;
    }
}
"#;

/// The consumer that is woken: it takes all there is.
const WOKEN: &str = r#"
event_route[mqueue:reinvite_q] {
    while (mq_fetch("reinvite_q")) {
        xlog("L_INFO", "[R-REINVITE-DEQUEUE:$ci] -> Resuming re-invite handling ($TV(Sn)) in PID $pp\n");
        t_continue("$(mqk(reinvite_q){s.select,0,:})", "$(mqk(reinvite_q){s.select,1,:})", "IN_DLG_REQ");
    }
}
"#;

/// What the post leaves out.
fn complete(port: u16, callee: std::net::SocketAddr, modules: &str, consumer: &str) -> String {
    let own: String = ["tm", "tmx", "sl", "rr", "pv", "xlog", "textops", "siputils", "maxfwd"]
        .iter()
        .map(|m| format!("loadmodule \"{m}.so\"\n"))
        .collect();
    format!(
        r##"#!KAMAILIO
debug=2
overload_age=0
listen=udp:127.0.0.1:{port}
{own}{QUEUE}{modules}
request_route {{
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
{IN_DIALOG}
    if (has_totag()) exit;
    record_route();
    $du = "sip:{callee}";
    if (!t_relay()) sl_reply_error();
}}
{consumer}
route[IN_DLG_REQ] {{
    if (!t_relay()) sl_reply_error();
    exit;
}}
"##
    )
}

/// Calls with a re-INVITE each, through several workers: all succeed, and nothing is left.
fn carries(modules: &str, consumer: &str, calls: u64, rate: u64) {
    let callee = Sipp::uas("uas-reinvite", &[]);
    let (server, port) = serve(|port| complete(port, callee.addr, modules, consumer), &["-n", "3"]);
    let caller = Sipp::uac("uac-reinvite", address(port), calls, rate, &["-d", "20"]);
    caller.wait(SECOND * 240).assert_all(calls);
    let resumed = server.log_count("Resuming re-invite handling");
    assert!(resumed as u64 >= calls, "{resumed} of {calls}");
    // Some were continued in another process than the one that owns them.
    let pids: std::collections::BTreeSet<i32> = server.worker_pids().into_iter().collect();
    assert_eq!(pids.len(), 3);
    assert!(stat(&server, "tm:UAS_transactions") >= 3 * calls);
    assert_eq!(server.ctl("mqueue.get_size", serde_json::json!(["reinvite_q"]))["size"], 0);
    wait_quiet(&server, SECOND * 90);
    for what in ["suspended", "asks", "parked", "operations", "jobs"] {
        assert_eq!(held(&server, what), 0, "{what}");
    }
    assert_eq!(server.ctl("waits", Value::Null), serde_json::json!([]));
}

#[test]
fn twelve_timers_carry_re_invites_as_written() {
    carries(&timers(), DEQUEUE, 1000, 100);
}

#[test]
fn an_event_route_carries_them_as_well() {
    carries("", WOKEN, 2000, 200);
}
