//! Digest authentication with real parts: Kamailio's table in MariaDB, SQLite, SIPp, several workers, a database that is
//! down, and Kamailio beside the server with the same credentials.

use std::fs;
use std::path::Path;

use crate::common::{SECOND, address, stat};
use crate::kamailio::Kamailio;
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::reprise::Reprise;
use crate::support::sip::{Request, SipClient, SipMessage};
use crate::support::sipp::Sipp;
use crate::support::{eventually, free_port};
use reprise::sip::digest::{Algorithm, Credentials};

/// Modules of both servers.
const MODULES: [&str; 9] = ["tm", "sl", "rr", "pv", "xlog", "textops", "siputils", "auth", "auth_db"];

/// A configuration that both servers understand.
fn config(port: u16, db: &str, params: &str, routes: &str) -> String {
    let modules: String = MODULES.iter().map(|m| format!("loadmodule \"{m}.so\"\n")).collect();
    format!(
        "#!KAMAILIO\ndebug=2\nlog_stderror=yes\nchildren=2\ndisable_tcp=yes\nauto_aliases=no\nlisten=udp:127.0.0.1:{port}\n\
         loadmodule \"db_mysql.so\"\n{modules}modparam(\"auth_db\", \"db_url\", \"{db}\")\n{params}\n{routes}\n"
    )
}

/// The database with Kamailio's own table of users, as its package makes it.
fn users(db: &MariaDb) -> String {
    let name = db.fresh_database();
    let file = ["/usr/share/kamailio/mysql/auth_db-create.sql", "/usr/share/kamailio/mysql/standard-create.sql"];
    let read = |f: &&str| fs::read_to_string(f).unwrap_or_else(|e| panic!("{f}: {e}"));
    db.sql(&format!("USE {name}; DROP TABLE subscriber; {} {}", read(&file[1]), read(&file[0])));
    db.sql(&format!(
        "USE {name}; INSERT INTO subscriber (username, domain, password, ha1, ha1b) VALUES \
         ('alice', '127.0.0.1', 'wonderland', MD5('alice:127.0.0.1:wonderland'), MD5('alice@127.0.0.1:127.0.0.1:wonderland')), \
         ('bob', '127.0.0.1', 'builder', MD5('bob:127.0.0.1:builder'), MD5('bob@127.0.0.1:127.0.0.1:builder'))"
    ));
    db.url_for(NATIVE, &name)
}

const HASHES: &str = "modparam(\"auth_db\", \"load_credentials\", \"\")";
const CLEAR: &str = "modparam(\"auth_db\", \"load_credentials\", \"\")\nmodparam(\"auth_db\", \"calculate_ha1\", yes)\n\
                     modparam(\"auth_db\", \"password_column\", \"password\")";

/// Answers with the code of the check; without credentials, with a challenge.
const CODES: &str = r#"
request_route {
    if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
    $var(realm) = "127.0.0.1";
    if (!has_credentials("$var(realm)")) {
        auth_challenge("$var(realm)", "0");
        exit;
    }
    $var(flags) = $(hdr(X-Flags){s.int});
    auth_check("$var(realm)", "subscriber", "$var(flags)");
    $var(rc) = $rc;
    if (consume_credentials()) { $var(c) = 1; } else { $var(c) = -1; }
    sl_send_reply("200", "is $var(rc) $var(c) $au");
    exit;
}
"#;

/// How a client answers a challenge.
#[derive(Clone)]
struct Answer {
    user: &'static str,
    password: &'static str,
    qop: Option<&'static str>,
    count: u32,
    /// Changes what is sent.
    spoil: fn(String) -> String,
}

fn right() -> Answer {
    Answer { user: "alice", password: "wonderland", qop: None, count: 1, spoil: |s| s }
}

fn field<'a>(challenge: &'a str, name: &str) -> &'a str {
    let (_, rest) = challenge.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name}: {challenge}"));
    rest.split_once('"').unwrap().0
}

impl Answer {
    fn to(&self, request: &Request, challenge: &SipMessage) -> Request {
        let (name, value) = match challenge.status() {
            407 => ("Proxy-Authorization", challenge.header("Proxy-Authenticate").unwrap()),
            _ => ("Authorization", challenge.header("WWW-Authenticate").unwrap()),
        };
        let (realm, nonce) = (field(value, "realm"), field(value, "nonce"));
        let counted = self.qop.map_or(String::new(), |q| format!(", qop={q}, nc={:08x}, cnonce=\"0a4f\"", self.count));
        let half = format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{}\"{counted}, response=\"",
            self.user, request.uri
        );
        let draft = format!("{half}{}\"", "0".repeat(32));
        let ha1 = Algorithm::Md5.ha1(self.user.as_bytes(), realm.as_bytes(), self.password.as_bytes());
        let credentials = Credentials::parse(draft.as_bytes()).unwrap();
        let response =
            credentials.expected(Algorithm::Md5, ha1.as_bytes(), request.method.as_bytes(), request.body.as_bytes());
        let line = (self.spoil)(format!("{name}: {half}{response}\""));
        let mut next = again(request);
        next.headers.push(line);
        next
    }
}

/// The request once more, as a new one.
fn again(request: &Request) -> Request {
    let mut next = request.clone();
    next.cseq += 1;
    let sent_by = request.via.split(';').next().unwrap().to_owned();
    next.via = format!("{sent_by};rport;branch={}", crate::support::sip::unique("z9hG4bK-t-"));
    next
}

fn register(client: &SipClient, flags: u32) -> Request {
    let mut request = client.request("REGISTER", "sip:127.0.0.1").header(&format!("X-Flags: {flags}"));
    request.to = "<sip:alice@127.0.0.1>".into();
    request
}

/// Status and phrase of the answer.
fn said(client: &SipClient, request: &Request) -> String {
    let reply = client.ask(request);
    if request.method == "INVITE" && reply.status() >= 300 {
        client.send_request(&request.ack(&reply));
    }
    format!("{} {}", reply.status(), reply.reason())
}

#[test]
fn users_of_kamailios_table_through_several_workers() {
    let db = MariaDb::start();
    let url = users(&db);
    for params in [HASHES, CLEAR] {
        let port = free_port();
        let server = Reprise::start(&config(port, &url, params, CODES), &["-n", "3"]);
        let client = SipClient::new(port);
        let challenge = client.ask(&register(&client, 1));
        assert_eq!(challenge.status(), 401);
        // Each with a Call-ID of its own, so with any worker: the nonce of one is good for all.
        for _ in 0..30 {
            assert_eq!(said(&client, &right().to(&register(&client, 1), &challenge)), "200 is 1 1 alice");
        }
        let domain = Answer { user: "alice@127.0.0.1", ..right() };
        assert_eq!(said(&client, &domain.to(&register(&client, 1), &challenge)), "200 is 1 1 alice");
        for (answer, code) in [
            (Answer { password: "x", ..right() }, "-2 1 alice"),
            (Answer { user: "nobody", ..right() }, "-3 1 nobody"),
            (Answer { user: "bob", password: "builder", ..right() }, "-8 1 bob"),
            (Answer { spoil: |s| s.replace("nonce=\"", "nonce=\"x"), ..right() }, "-1 1 alice"),
        ] {
            assert_eq!(said(&client, &answer.to(&register(&client, 1), &challenge)), format!("200 is {code}"));
        }
        drop(server);
    }
}

#[test]
fn a_nonce_is_used_once_whichever_worker_sees_it() {
    let db = MariaDb::start();
    let url = users(&db);
    let port = free_port();
    let once = format!("{HASHES}\nmodparam(\"auth\", \"one_time_nonce\", 1)\nmodparam(\"auth\", \"nonce_expire\", 2)");
    let mut server = Reprise::start(&config(port, &url, &once, CODES), &["-n", "3"]);
    let client = SipClient::new(port);
    for _ in 0..10 {
        let challenge = client.ask(&register(&client, 1));
        let answers: Vec<String> =
            (0..4).map(|_| said(&client, &right().to(&register(&client, 1), &challenge))).collect();
        assert_eq!(answers, ["200 is 1 1 alice", "200 is -6 1 alice", "200 is -6 1 alice", "200 is -6 1 alice"]);
    }
    // It grows old on every worker.
    let challenge = client.ask(&register(&client, 1));
    eventually("it is too old", SECOND * 20, || {
        let answer = Answer { password: "wrong", ..right() };
        said(&client, &answer.to(&register(&client, 1), &challenge)).starts_with("200 is -4")
    });
    assert_eq!(server.term(), 0);
}

#[test]
fn sipps_users_register_and_call() {
    let db = MariaDb::start();
    let url = users(&db);
    let port = free_port();
    let uas = Sipp::uas("uas-invite", &[]);
    let routes = format!(
        r#"
request_route {{
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (has_totag()) {{ if (loose_route()) {{ t_relay(); }} exit; }}
    if (!auth_check("127.0.0.1", "subscriber", "1")) {{ auth_challenge("127.0.0.1", "1"); exit; }}
    if (is_method("REGISTER")) {{ sl_send_reply("200", "OK"); exit; }}
    consume_credentials();
    record_route();
    $du = "sip:{}";
    t_relay();
}}
"#,
        uas.addr
    );
    let mut server = Reprise::start(&config(port, &url, HASHES, &routes), &["-n", "2"]);
    let login = ["-au", "alice", "-ap", "wonderland"];
    Sipp::uac("uac-register-auth status=200", address(port), 300, 200, &login).wait(SECOND * 60).assert_all(300);
    Sipp::uac("uac-register-auth status=401", address(port), 100, 100, &["-au", "alice", "-ap", "x"])
        .wait(SECOND * 60)
        .assert_all(100);
    Sipp::uac("uac-auth-call", address(port), 300, 100, &login).wait(SECOND * 60).assert_all(300);
    assert_eq!(uas.stop().failed, 0);
    eventually("nothing is left", SECOND * 10, || stat(&server, "async:waits") == 0);
    assert_eq!(server.term(), 0);
}

#[test]
fn without_a_database_it_is_an_error_and_others_are_served() {
    let db = MariaDb::start();
    let url = users(&db);
    let port = free_port();
    let routes = CODES.replace(
        "$var(rc) = $rc;",
        "$var(rc) = $rc;\n    if ($var(rc) == -1 || $var(rc) == -11) { sl_send_reply(\"500\", \"$var(rc)\"); exit; }",
    );
    let params = format!("backend_max_failures = 0\n{HASHES}");
    let server = Reprise::start(&config(port, &url, &params, &routes), &["-n", "2"]);
    let client = SipClient::new(port);
    let challenge = client.ask(&register(&client, 1));
    assert_eq!(said(&client, &right().to(&register(&client, 1), &challenge)), "200 is 1 1 alice");
    db.pause();
    // It hangs: nobody else does.
    let waits = SipClient::new(port);
    waits.send_request(&right().to(&register(&waits, 1), &challenge));
    eventually("it waits", SECOND * 10, || stat(&server, "async:waits") == 1);
    for _ in 0..20 {
        assert_eq!(client.options("sip:127.0.0.1").status(), 200);
        assert_eq!(client.ask(&register(&client, 1)).status(), 401);
    }
    db.resume();
    assert_eq!(waits.expect_status(200, SECOND * 30).reason(), "is 1 1 alice");
    db.stop();
    for _ in 0..5 {
        assert_eq!(said(&client, &right().to(&register(&client, 1), &challenge)), "500 -1");
    }
    assert_eq!(client.options("sip:127.0.0.1").status(), 200);
    db.restart();
    eventually("it is back", SECOND * 30, || {
        said(&client, &right().to(&register(&client, 1), &challenge)) == "200 is 1 1 alice"
    });
}

#[test]
fn users_in_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.db");
    let url = format!("sqlite:///{}", file.display());
    sqlite(
        &file,
        "CREATE TABLE subscriber (username TEXT, domain TEXT, ha1 TEXT, ha1b TEXT, note TEXT);\
         INSERT INTO subscriber VALUES ('alice', '127.0.0.1', '8d4b52a6ed2b3ad0d8ed3d5f6d21ff1b', '', 'gold');",
        &Algorithm::Md5.ha1(b"alice", b"127.0.0.1", b"wonderland"),
    );
    let port = free_port();
    let params =
        "modparam(\"auth_db\", \"load_credentials\", \"$avp(note)=note\")\nmodparam(\"auth_db\", \"use_domain\", 1)";
    let routes = CODES.replace("$var(c) $au", "$var(c) $avp(note)");
    let text = config(port, &url, params, &routes).replace("db_mysql", "db_sqlite");
    let server = Reprise::start(&text, &["-n", "2"]);
    let client = SipClient::new(port);
    let challenge = client.ask(&register(&client, 1));
    assert_eq!(said(&client, &right().to(&register(&client, 1), &challenge)), "200 is 1 1 gold");
    let wrong = Answer { password: "x", ..right() };
    assert_eq!(said(&client, &wrong.to(&register(&client, 1), &challenge)), "200 is -2 1 <null>");
    drop(server);
}

fn sqlite(file: &Path, statements: &str, ha1: &str) {
    let db = rusqlite::Connection::open(file).unwrap();
    db.execute_batch(&statements.replace("8d4b52a6ed2b3ad0d8ed3d5f6d21ff1b", ha1)).unwrap();
}

/// What is sent to both servers, by name.
fn variants() -> Vec<(&'static str, &'static str, u32, Answer)> {
    let all = [
        ("right", right()),
        ("a From of another domain", right()),
        ("wrong password", Answer { password: "x", ..right() }),
        ("unknown user", Answer { user: "nobody", ..right() }),
        ("empty user", Answer { spoil: |s| s.replace("username=\"alice\"", "username=\"\""), ..right() }),
        ("another user", Answer { user: "bob", password: "builder", ..right() }),
        ("with its domain", Answer { user: "alice@127.0.0.1", ..right() }),
        ("with another domain", Answer { user: "alice@elsewhere.org", ..right() }),
        ("qop=auth", Answer { qop: Some("auth"), ..right() }),
        ("qop=auth-int", Answer { qop: Some("auth-int"), ..right() }),
        ("qop=auth, wrong", Answer { qop: Some("auth"), password: "x", ..right() }),
        ("a foreign nonce", Answer { spoil: |s| s.replace("nonce=\"", "nonce=\"A"), ..right() }),
        ("no nonce at all", Answer { spoil: |s| s.replace("nonce=\"", "once=\""), ..right() }),
        ("no response", Answer { spoil: |s| s.replace("response=\"", "esponse=\""), ..right() }),
        ("no uri", Answer { spoil: |s| s.replace("uri=\"", "ri=\""), ..right() }),
        ("a short response", Answer { spoil: |s| s[..s.len() - 9].to_string() + "\"", ..right() }),
        ("another algorithm", Answer { spoil: |s| s + ", algorithm=SHA-512-256", ..right() }),
        ("MD5 by name", Answer { spoil: |s| s + ", algorithm=MD5", ..right() }),
        ("another realm", Answer { spoil: |s| s.replace("realm=\"127.0.0.1\"", "realm=\"127.0.0.2\""), ..right() }),
        ("capitals", Answer { spoil: |s| s.replace("Digest username", "digest USERNAME"), ..right() }),
        ("more parameters", Answer { spoil: |s| s + ", more=1, other=\"a, b\"", ..right() }),
    ];
    let mut out = Vec::new();
    for method in ["REGISTER", "INVITE", "SUBSCRIBE"] {
        for flags in [0, 1, 3] {
            out.extend(all.iter().map(|(name, answer)| (*name, method, flags, answer.clone())));
        }
    }
    out
}

/// Where this server means to differ.
fn differs(name: &str) -> bool {
    // There is nobody without a name; the body is part of the proof; the algorithm that is named is the one that counts.
    ["empty user", "qop=auth-int", "another algorithm"].contains(&name)
}

fn answers(port: u16) -> Vec<String> {
    let client = SipClient::new(port);
    let mut out = Vec::new();
    for (name, method, flags, answer) in variants() {
        let mut request = client.request(method, "sip:127.0.0.1").header(&format!("X-Flags: {flags}"));
        request.to = "<sip:alice@127.0.0.1>".into();
        if name == "a From of another domain" {
            request.from = request.from.replace("@127.0.0.1", "@elsewhere.org");
        }
        let challenge = client.ask(&request);
        assert!(matches!(challenge.status(), 401 | 407), "{}", challenge.raw);
        if method == "INVITE" {
            client.send_request(&request.ack(&challenge));
        }
        out.push(said(&client, &answer.to(&request, &challenge)));
    }
    out
}

/// The same credentials are accepted and refused, with the same codes.
#[test]
fn kamailio_judges_the_same() {
    let db = MariaDb::start();
    let url = users(&db);
    for params in [HASHES, CLEAR] {
        let theirs = {
            let port = free_port();
            let server = Kamailio::start(&config(port, &url, params, CODES));
            let client = SipClient::new(port);
            eventually(&format!("Kamailio answers\n{}", server.log()), SECOND * 20, || {
                client.send_request(&client.request("OPTIONS", "sip:127.0.0.1"));
                client.recv(SECOND / 5).is_some()
            });
            answers(port)
        };
        let port = free_port();
        let server = Reprise::start(&config(port, &url, params, CODES), &["-n", "2"]);
        let ours = answers(port);
        drop(server);
        let mut wrong = Vec::new();
        for (((name, method, flags, _), theirs), ours) in variants().iter().zip(&theirs).zip(&ours) {
            if (theirs == ours) == differs(name) {
                wrong.push(format!("{method} {flags} {name}\n    Kamailio: {theirs}\n    reprise:  {ours}"));
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), theirs.len(), wrong.join("\n"));
    }
}
