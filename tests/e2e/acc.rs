//! Accounting with real parts: Kamailio's tables in MariaDB, a thousand calls of SIPp, a database that goes away, and
//! Kamailio beside the server with the same calls.

use std::fs;
use std::net::UdpSocket;

use crate::common::{SECOND, address, stat};
use crate::kamailio::Kamailio;
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::sipp::Sipp;
use crate::support::uas::{Answer, Uas};
use crate::support::{eventually, free_port};

const MODULES: [&str; 8] = ["tm", "sl", "rr", "pv", "xlog", "textops", "siputils", "acc"];

/// Flags 1 to 5: log, log of missed calls, database, database of missed calls, failures too.
const FLAGS: &str = r#"
modparam("acc", "log_flag", 1)
modparam("acc", "log_missed_flag", 2)
modparam("acc", "db_flag", 3)
modparam("acc", "db_missed_flag", 4)
modparam("acc", "failed_transaction_flag", 5)
modparam("acc", "log_extra", "src_user=$fU;dst_user=$rU;ua=$ua;none=$avp(none);mine=$avp(mine)")
modparam("acc", "db_extra", "src_user=$fU;src_ip=$si")
"#;

fn config(port: u16, db: &str, params: &str, routes: &str) -> String {
    let modules: String = MODULES.iter().map(|m| format!("loadmodule \"{m}.so\"\n")).collect();
    format!(
        "#!KAMAILIO\ndebug=2\nlog_stderror=yes\nchildren=2\ndisable_tcp=yes\nauto_aliases=no\nlisten=udp:127.0.0.1:{port}\n\
         loadmodule \"db_mysql.so\"\n{modules}modparam(\"acc\", \"db_url\", \"{db}\")\nmodparam(\"tm\", \"fr_timer\", 1500)\n\
         {params}\n{routes}\n"
    )
}

/// The database with Kamailio's own tables, as its package makes them, and the columns of the extra fields.
fn tables(db: &MariaDb) -> String {
    let name = db.fresh_database();
    let read = |f: &str| {
        let file = format!("/usr/share/kamailio/mysql/{f}-create.sql");
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"))
    };
    db.sql(&format!("USE {name}; {} {}", read("standard"), read("acc")));
    for table in ["acc", "missed_calls"] {
        db.sql(&format!(
            "USE {name}; ALTER TABLE {table} ADD COLUMN src_user VARCHAR(64) NOT NULL DEFAULT '', \
             ADD COLUMN src_ip VARCHAR(64) NOT NULL DEFAULT ''"
        ));
    }
    name
}

/// Calls for `ok`, `busy`, ... go to the address behind the name; everything is accounted.
fn routes(targets: &[(&str, std::net::SocketAddr)]) -> String {
    let cases: String =
        targets.iter().map(|(name, to)| format!("        case \"{name}\": $du = \"sip:{to}\"; break;\n")).collect();
    format!(
        r#"
request_route {{
    if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    setflag(1); setflag(3); setflag(5);
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); }} else if (is_method("ACK") && t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    setflag(2); setflag(4);
    $avp(mine) = "yes";
    if ($rU == "local") {{
        t_newtran();
        t_reply("404", "Not Found");
        exit;
    }}
    record_route();
    switch ($rU) {{
{cases}    }}
    t_on_failure("next");
    t_relay();
}}
failure_route[next] {{
    if (t_is_canceled()) {{ exit; }}
    if ($rU == "again" && t_check_status("486")) {{
        $du = $avp(second);
        t_relay();
    }}
}}
"#
    )
}

#[test]
fn a_thousand_calls_are_counted_exactly() {
    let db = MariaDb::start();
    let name = tables(&db);
    let (takes, refuses, rings) =
        (Sipp::uas("uas-invite", &[]), Sipp::uas("uas-refuse code=486", &[]), Sipp::uas("uas-cancel", &[]));
    let port = free_port();
    let targets = [("ok", takes.addr), ("busy", refuses.addr), ("gone", rings.addr)];
    let mut server = Reprise::start(&config(port, &db.url_for(NATIVE, &name), FLAGS, &routes(&targets)), &["-n", "2"]);
    let call =
        |scenario: &str, service: &str, calls: u64| Sipp::uac(scenario, address(port), calls, 60, &["-s", service]);
    let running = [
        (call("uac-invite", "ok", 600), 600),
        (call("uac-refused code=486", "busy", 200), 200),
        (call("uac-cancel", "gone", 200), 200),
    ];
    for (sipp, calls) in running {
        sipp.wait(SECOND * 120).assert_all(calls);
    }
    let count = |what: &str| db.number(&format!("SELECT COUNT(*) FROM {name}.{what}"));
    eventually("every row is written", SECOND * 30, || stat(&server, "acc:rows") == 2000);
    for (what, wanted) in [
        ("acc WHERE method = 'INVITE' AND sip_code = '200' AND sip_reason = 'OK'", 600),
        ("acc WHERE method = 'BYE' AND sip_code = '200'", 600),
        ("acc WHERE method = 'INVITE' AND sip_code = '486' AND sip_reason = 'Refused'", 200),
        ("acc WHERE method = 'INVITE' AND sip_code = '487'", 200),
        ("acc", 1600),
        ("missed_calls WHERE sip_code = '486'", 200),
        ("missed_calls WHERE sip_code = '487'", 200),
        ("missed_calls", 400),
        ("acc WHERE from_tag = '' OR to_tag = '' OR callid = '' OR src_user <> 'alice' OR src_ip <> '127.0.0.1'", 0),
        ("acc WHERE ABS(TIMESTAMPDIFF(SECOND, time, NOW())) > 600", 0),
    ] {
        assert_eq!(count(what), wanted, "{what}\n{}", db.sql(&format!("SELECT * FROM {name}.{what} LIMIT 3")));
    }
    assert_eq!(db.number(&format!("SELECT COUNT(DISTINCT callid) FROM {name}.acc")), 1000, "each call");
    assert_eq!((stat(&server, "acc:rows_lost"), stat(&server, "acc:rows_waiting")), (0, 0));
    assert_eq!(stat(&server, "acc:lines"), 2000);
    drop((takes, refuses, rings));
    assert_eq!(server.term(), 0);
}

#[test]
fn rows_wait_for_a_database_that_is_away() {
    let db = MariaDb::start();
    let name = tables(&db);
    let uas = Uas::start(|request| match request.method() {
        "INVITE" => vec![Answer::new(486, "Busy Here")],
        _ => vec![Answer::new(200, "OK")],
    });
    let port = free_port();
    let params = format!("{FLAGS}\nmodparam(\"acc\", \"queue_size\", 20)\nbackend_max_failures = 0");
    let mut server = Reprise::start(
        &config(port, &db.url_for(NATIVE, &name), &params, &routes(&[("busy", uas.addr)])),
        &["-n", "1"],
    );
    let client = SipClient::new(port);
    let busy = || {
        let request = client.invite(&format!("sip:busy@127.0.0.1:{port}"));
        client.send_request(&request);
        let reply = client.expect_status(486, SECOND * 10);
        client.send_request(&request.ack(&reply));
    };
    busy();
    eventually("two rows", SECOND * 20, || stat(&server, "acc:rows") == 2);
    db.stop();
    // Callers hear nothing of it; what does not fit is counted and in the log.
    (0..15).for_each(|_| busy());
    eventually("what does not fit is lost", SECOND * 20, || stat(&server, "acc:rows_lost") > 0);
    let lost = stat(&server, "acc:rows_lost");
    assert!(server.log().contains("a row is lost: too many rows wait"), "{}", server.log());
    db.restart();
    eventually("the others are written", SECOND * 60, || {
        busy_rows(&db, &name) as u64 == 2 + 30 - lost && stat(&server, "acc:rows_waiting") == 0
    });
    // At the end of the server the rows that wait are written first.
    busy();
    assert_eq!(server.term(), 0);
    assert_eq!(busy_rows(&db, &name) as u64, 4 + 30 - lost);
}

fn busy_rows(db: &MariaDb, name: &str) -> usize {
    db.number(&format!("SELECT (SELECT COUNT(*) FROM {name}.acc) + (SELECT COUNT(*) FROM {name}.missed_calls)"))
}

#[test]
fn functions_write_at_once() {
    let db = MariaDb::start();
    let name = tables(&db);
    let port = free_port();
    let body = r#"
request_route {
    if ($rU == "log") { acc_log_request("403 Not allowed"); sl_send_reply("200", "$rc"); exit; }
    if ($rU == "db") { acc_db_request("404 Nobody", "missed_calls"); sl_send_reply("200", "$rc"); exit; }
    if ($rU == "none") { acc_db_request("404 Nobody", "no_such_table"); sl_send_reply("200", "$rc"); exit; }
    acc_request("Only words", "acc");
    sl_send_reply("200", "$rc");
}"#;
    let server = Reprise::start(&config(port, &db.url_for(NATIVE, &name), FLAGS, body), &["-n", "1"]);
    let client = SipClient::new(port);
    let ask = |user: &str| client.options(&format!("sip:{user}@127.0.0.1")).reason().to_owned();
    assert_eq!([ask("log"), ask("db"), ask("none"), ask("both")], ["1", "1", "-1", "1"]);
    let row = |table: &str| db.sql(&format!("SELECT method, sip_code, sip_reason, src_user FROM {name}.{table}"));
    assert_eq!(row("missed_calls"), "OPTIONS\t404\tNobody\talice");
    assert_eq!(row("acc"), "OPTIONS\t0\tOnly words\talice");
    let log = server.log();
    assert!(
        log.contains("ACC: request accounted: timestamp=")
            && log.contains("code=403;reason=Not allowed;src_user=alice"),
        "{log}"
    );
}

/// The calls that both servers get.
fn calls(port: u16, uas: &Uas) {
    let client = SipClient::new(port);
    let _ = uas;
    for user in ["ok", "media", "busy", "moved", "again", "local", "silent", "gone"] {
        let request = client.invite(&format!("sip:{user}@127.0.0.1:{port}")).header("User-Agent: tester");
        client.send_request(&request);
        if user == "gone" {
            client.expect_status(180, SECOND * 10);
            client.send_request(&request.cancel());
        }
        let reply = client.expect("a final reply", SECOND * 20, |m| m.status() >= 200 && m.method() == "INVITE");
        client.send_request(&request.ack(&reply));
        if reply.status() == 200 {
            let bye = request.in_dialog("BYE", &reply);
            client.send_request(&bye);
            client.expect("200 to BYE", SECOND * 10, |m| m.status() == 200 && m.method() == "BYE");
        }
    }
}

fn callee() -> Uas {
    Uas::start(|request| match (request.method(), crate::support::sip::uri_in(request.uri())) {
        ("INVITE", uri) if uri.contains("busy") => vec![Answer::new(486, "Busy Here").header("Reason: Q.850;cause=17")],
        ("INVITE", uri) if uri.contains("moved") => vec![Answer::new(302, "Moved")],
        ("INVITE", uri) if uri.contains("gone") => vec![Answer::new(180, "Ringing")],
        ("INVITE", uri) if uri.contains("again") && !request.raw.contains("X-Second") => {
            vec![Answer::new(486, "Busy Here")]
        }
        ("INVITE", uri) if uri.contains("media") => {
            let mut early = Answer::new(183, "Session Progress").header("Content-Type: application/sdp");
            early.body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n".into();
            vec![Answer::new(180, "Ringing"), early, Answer::new(200, "OK").after(SECOND / 5)]
        }
        _ => vec![Answer::new(200, "OK")],
    })
}

/// A line without what differs from run to run.
fn plain(line: &str) -> String {
    let fields = line.trim().split(';').map(|f| match f.split_once('=') {
        Some((name, value)) if name.ends_with("timestamp") => format!("{name}={}", value.len()),
        Some((name @ ("from_tag" | "to_tag" | "call_id" | "usecs"), value)) => {
            format!("{name}={}", if value.is_empty() { "" } else { "x" })
        }
        _ => f.to_string(),
    });
    fields.collect::<Vec<_>>().join(";")
}

fn lines(log: &str) -> Vec<String> {
    let mut all: Vec<String> =
        log.lines().filter_map(|l| l.find("ACC: ").map(|at| plain(l.get(at..).unwrap_or_default()))).collect();
    all.sort();
    all
}

fn rows(db: &MariaDb, name: &str) -> String {
    ["acc", "missed_calls"]
        .map(|table| {
            db.sql(&format!(
                "SELECT '{table}', method, from_tag <> '', to_tag <> '', callid <> '', sip_code, sip_reason, \
                 ABS(TIMESTAMPDIFF(SECOND, time, NOW())) < 100, src_user, src_ip FROM {name}.{table} ORDER BY 2, 3, 4, 5, 6, 7"
            ))
        })
        .join("\n")
}

/// The same calls leave the same lines and rows.
#[test]
fn kamailio_accounts_the_same() {
    let db = MariaDb::start();
    for params in [
        "",
        "modparam(\"acc\", \"early_media\", 1)\nmodparam(\"acc\", \"report_ack\", 1)\nmodparam(\"acc\", \"report_cancels\", 1)\nmodparam(\"acc\", \"reason_from_hf\", 1)\nmodparam(\"acc\", \"time_mode\", 1)\nmodparam(\"acc\", \"time_attr\", \"secs\")\nmodparam(\"acc\", \"time_exten\", \"usecs\")",
    ] {
        let uas = callee();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut targets: Vec<_> =
            ["ok", "media", "busy", "moved", "again", "gone"].iter().map(|name| (*name, uas.addr)).collect();
        targets.push(("silent", silent.local_addr().unwrap()));
        let text = routes(&targets)
            .replace("$du = $avp(second);", &format!("append_hf(\"X-Second: 1\\r\\n\"); $du = \"sip:{}\";", uas.addr));
        let make = || {
            let name = tables(&db);
            for table in ["acc", "missed_calls"] {
                db.sql(&format!("USE {name}; ALTER TABLE {table} ADD COLUMN secs INT, ADD COLUMN usecs INT"));
            }
            name
        };
        let params = format!("{FLAGS}{params}");
        let (theirs, their_rows) = {
            let (port, name) = (free_port(), make());
            let server = Kamailio::start(&config(port, &db.url_for(NATIVE, &name), &params, &text));
            let client = SipClient::new(port);
            eventually(&format!("Kamailio answers\n{}", server.log()), SECOND * 20, || {
                client.send_request(&client.request("OPTIONS", "sip:127.0.0.1"));
                client.recv(SECOND / 5).is_some()
            });
            calls(port, &uas);
            eventually("the last call is accounted", SECOND * 20, || {
                let last = |l: &String| l.contains("answered") && l.contains("code=487");
                lines(&server.log()).iter().any(last) && rows(&db, &name).matches("487").count() == 2
            });
            (lines(&server.log()), rows(&db, &name))
        };
        let (port, name) = (free_port(), make());
        let server = Reprise::start(&config(port, &db.url_for(NATIVE, &name), &params, &text), &["-n", "1"]);
        calls(port, &uas);
        let count = theirs.len() as u64;
        eventually(&format!("{count} lines and rows"), SECOND * 20, || {
            stat(&server, "acc:rows") >= count && lines(&server.log()).len() as u64 >= count
        });
        let (ours, our_rows) = (lines(&server.log()), rows(&db, &name));
        let differ = |ours: &[String], theirs: &[String]| {
            let only = |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>();
            format!("only ours: {:#?}\nonly theirs: {:#?}", only(ours, theirs), only(theirs, ours))
        };
        assert!(ours == theirs, "lines: {}", differ(&ours, &theirs));
        let split = |rows: &str| rows.lines().map(str::to_owned).collect::<Vec<_>>();
        assert!(our_rows == their_rows, "rows: {}", differ(&split(&our_rows), &split(&their_rows)));
    }
}
