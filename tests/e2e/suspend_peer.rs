//! Suspended requests and replies on Kamailio and here: the same script, the same answers, the same codes.

use crate::common::SECOND;
use crate::kamailio::Kamailio;
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::{eventually, free_port};

/// What is suspended depends on the user; MESSAGE continues the last that was, with REST.
fn script(port: u16, callee: &str, own: &str) -> String {
    let modules: String =
        ["tm", "tmx", "sl", "pv", "textops", "siputils"].iter().map(|m| format!("loadmodule \"{m}.so\"\n")).collect();
    format!(
        r##"#!KAMAILIO
listen=udp:127.0.0.1:{port}
{own}
{modules}
modparam("tm", "fr_timer", 2000)
request_route {{
    if (is_method("ACK")) exit;
    if (is_method("OPTIONS")) {{
        sl_send_reply("200", "id $shv(id)");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (is_method("MESSAGE")) {{
        $var(index) = $(shv(id){{s.select,0,:}}{{s.int}});
        $var(label) = $(shv(id){{s.select,1,:}}{{s.int}});
        if (t_continue("$var(index)", "$var(label)", "REST")) sl_send_reply("202", "done");
        else sl_send_reply("202", "not done");
        exit;
    }}
    $avp(who) = $rU;
    if ($rU == "request" || $rU == "again" || $rU == "lapse" || $rU == "lapse-armed") {{
        if ($rU == "lapse-armed") t_on_failure("LAPSED");
        if (!t_suspend()) sl_send_reply("500", "Not suspended");
        $shv(id) = $_s($T(id_index):$T(id_label));
        exit;
    }}
    if ($rU == "reply") t_on_reply("REPLY");
    if ($rU == "failure") t_on_failure("FAILURE");
    $du = "sip:{callee}";
    t_relay();
}}
onreply_route[REPLY] {{
    if ($rs < 200) exit;
    t_suspend();
    $shv(id) = $_s($T(id_index):$T(id_label));
}}
failure_route[FAILURE] {{
    t_suspend();
    $shv(id) = $_s($T(id_index):$T(id_label));
}}
failure_route[LAPSED] {{
    if (t_branch_timeout()) t_reply("480", "Nobody came");
}}
route[REST] {{
    if (t_is_reply_route()) {{
        append_hf("X-Rest: $avp(who) $rs\r\n");
        exit;
    }}
    if ($avp(who) == "again" && $avp(times) != 1) {{
        $avp(times) = 1;
        t_suspend();
        exit;
    }}
    t_reply("488", "Rest");
}}
"##
    )
}

/// What comes of all cases, a line for each.
fn outcomes(port: u16, callee: &SipClient) -> Vec<String> {
    let (caller, asker) = (SipClient::new(port), SipClient::new(port));
    eventually("it answers", SECOND * 20, || {
        asker.send_request(&asker.request("OPTIONS", "sip:look@example.test"));
        asker.recv(SECOND / 4).is_some_and(|m| m.status() == 200)
    });
    while asker.recv(SECOND / 4).is_some() {}
    let mut known = asker.options("sip:look@example.test").reason().to_owned();
    let mut all = Vec::new();
    for (user, code) in [
        ("request", 0),
        ("again", 0),
        ("reply", 200),
        ("reply", 486),
        ("failure", 404),
        ("cancel", 0),
        ("lapse", 0),
        ("lapse-armed", 0),
    ] {
        let invite = caller.invite(&format!("sip:{}@example.test", if user == "cancel" { "request" } else { user }));
        caller.send_request(&invite);
        let of_call = |m: &crate::support::sip::SipMessage| m.call_id() == invite.call_id;
        caller.expect("the 100", SECOND * 5, |m| of_call(m) && m.status() == 100);
        if code > 0 {
            let got = callee.expect("the INVITE", SECOND * 5, |m| m.method() == "INVITE" && of_call(m));
            callee.respond(&got, code, "Said", &[]);
            if code >= 300 {
                callee.expect("the ACK", SECOND * 5, |m| m.uri() != "" && m.method() == "ACK" && of_call(m));
            }
        }
        // Its worker may be another than the one that is asked next.
        let before = known.clone();
        eventually("it is suspended", SECOND * 5, || {
            known = asker.options("sip:look@example.test").reason().to_owned();
            known != before
        });
        if user == "cancel" {
            caller.send_request(&invite.cancel());
            caller.expect("the 200", SECOND * 5, |m| of_call(m) && m.method() == "CANCEL");
        }
        let mut codes = Vec::new();
        // What was cancelled Kamailio 5.6 does not find, later versions and this server do.
        let times = if user.starts_with("lapse") || user == "cancel" { 0 } else { 3 };
        for _ in 0..times {
            codes.push(asker.ask(&asker.request("MESSAGE", "sip:server@example.test")).reason().to_owned());
        }
        let last =
            caller.expect("an answer", SECOND * 10, |m| of_call(m) && m.status() >= 200 && m.method() == "INVITE");
        caller.send_request(&invite.ack(&last));
        let rest = last.header("X-Rest").unwrap_or_default();
        all.push(format!("{user} {code}: {codes:?}, {} {rest}", last.status()));
    }
    all
}

#[test]
fn suspended_on_both_with_the_same_result() {
    let callee = SipClient::new(free_port());
    let address = callee.local.to_string();
    let theirs = {
        let port = free_port();
        let own = "debug=-1\nlog_stderror=yes\nchildren=2\ndisable_tcp=yes\nauto_aliases=no";
        let _server = Kamailio::start(&script(port, &address, own));
        outcomes(port, &callee)
    };
    let port = free_port();
    let server = Reprise::start(&script(port, &address, "debug=2\noverload_age=0"), &["-n", "2"]);
    let ours = outcomes(port, &callee);
    assert_eq!(ours, theirs, "{}", server.log());
}
