//! Digest authentication on the simulated worker: every code of the checks, in both languages.

use crate::bed::{PROXY, addr};
use reprise::base::Str;
use reprise::cli::simulate::{ConfigText, simulate};
use reprise::ops::{Outcome, Phase, SqlResult, SqlValue, Why};
use reprise::sip::digest::{Algorithm, Credentials};
use reprise::sip::{HeaderId, Message};
use reprise::worker::sim::{Sim, SimOptions};
use std::time::Duration;

/// A client with a password.
struct Desk {
    sim: Sim,
    sent: u32,
    table: Vec<(String, String)>,
    asked: Vec<String>,
}

/// A request to be sent.
#[derive(Clone)]
struct Ask {
    method: &'static str,
    call: String,
    from: &'static str,
    to: &'static str,
    lines: String,
    body: &'static str,
}

fn ask(method: &'static str) -> Ask {
    Ask { method, call: "c".into(), from: "alice@example.com", to: "alice@example.com", lines: String::new(), body: "" }
}

/// How a client answers a challenge.
#[derive(Clone)]
struct Answer {
    user: &'static str,
    password: &'static str,
    count: u32,
    qop: Option<&'static str>,
    algorithm: Option<Algorithm>,
    realm: &'static str,
}

fn answer() -> Answer {
    Answer { user: "alice", password: "wonderland", count: 1, qop: None, algorithm: None, realm: "example.com" }
}

fn nonce_of(challenge: &str) -> String {
    let (_, rest) = challenge.split_once("nonce=\"").expect("a nonce");
    rest.split_once('"').expect("its end").0.to_string()
}

impl Answer {
    fn line(&self, ask: &Ask, challenge: &str) -> String {
        let algorithm = self.algorithm.unwrap_or(Algorithm::Md5);
        let header = if ask.method == "REGISTER" { "Authorization" } else { "Proxy-Authorization" };
        let named = self.algorithm.map_or(String::new(), |a| format!(", algorithm={}", a.name()));
        let counted = self.qop.map_or(String::new(), |q| format!(", qop={q}, nc={:08x}, cnonce=\"0a4f\"", self.count));
        let half = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"sip:example.com\"{named}{counted}, response=\"",
            self.user,
            self.realm,
            nonce_of(challenge)
        );
        let placeholder = format!("{half}{}\"", "0".repeat(algorithm.digits()));
        let credentials = Credentials::parse(placeholder.as_bytes()).unwrap();
        let ha1 = algorithm.ha1(self.user.as_bytes(), self.realm.as_bytes(), self.password.as_bytes());
        let response = credentials.expected(algorithm, ha1.as_bytes(), ask.method.as_bytes(), ask.body.as_bytes());
        format!("{header}: {half}{response}\"\r\n")
    }
}

impl Desk {
    fn new(script: &str) -> Desk {
        let text = format!("{script}\n");
        let sim = simulate(ConfigText::Text(&text, "auth.cfg"), None, SimOptions::default());
        let sim = sim.unwrap_or_else(|e| panic!("{e}"));
        assert!(sim.is_up());
        let table = vec![("alice".into(), "wonderland".into()), ("bob".into(), "builder".into())];
        Desk { sim, sent: 0, table, asked: Vec::new() }
    }

    fn kamailio(params: &str, body: &str) -> Desk {
        Desk::new(&format!(
            "#!KAMAILIO\nlisten=udp:{PROXY}\nloadmodule \"sl.so\"\nloadmodule \"tm.so\"\nloadmodule \"pv.so\"\n\
             loadmodule \"xlog.so\"\nloadmodule \"textops.so\"\nloadmodule \"siputils.so\"\nloadmodule \"auth.so\"\n\
             loadmodule \"auth_db.so\"\nmodparam(\"auth_db\", \"db_url\", \"mysql://u:p@192.0.2.50/k\")\n\
             modparam(\"auth_db\", \"load_credentials\", \"\")\n{params}\nrequest_route {{\n{body}\n}}\n"
        ))
    }

    /// The replies but for 100; a query is answered from the table.
    fn say(&mut self, ask: &Ask) -> Option<Message> {
        self.send(ask);
        self.answer_queries();
        self.reply()
    }

    fn send(&mut self, ask: &Ask) {
        self.sent += 1;
        let text = format!(
            "{} sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{}\r\nMax-Forwards: 70\r\n\
             From: <sip:{}>;tag=f\r\nTo: <sip:{}>\r\nCall-ID: {}\r\nCSeq: {} {}\r\n{}Content-Length: {}\r\n\r\n{}",
            ask.method,
            self.sent,
            ask.from,
            ask.to,
            ask.call,
            self.sent,
            ask.method,
            ask.lines,
            ask.body.len(),
            ask.body
        );
        assert!(self.sim.receive(addr("a1"), PROXY.parse().unwrap(), text.as_bytes()));
    }

    fn answer_queries(&mut self) {
        for operation in self.sim.operations() {
            self.asked.push(operation.text.clone());
            let row = self.table.iter().find(|(user, _)| operation.text.contains(&format!("(\"{user}\"")));
            let rows = row.map(|(_, password)| vec![SqlValue::Text(Str::from(password.as_str()))]);
            let result =
                SqlResult { columns: vec![Str::from("x")], rows: rows.into_iter().collect(), ..Default::default() };
            assert!(self.sim.answer(operation.id, Outcome::Sql(result)));
        }
    }

    fn reply(&mut self) -> Option<Message> {
        let sent = self.sim.take_sent();
        let mut replies =
            sent.into_iter().map(|s| Message::parse_slice(&s.bytes).unwrap()).filter(|m| m.status() > 100);
        let reply = replies.next();
        assert!(replies.next().is_none(), "one reply");
        reply
    }

    fn challenge(&mut self, ask: &Ask) -> String {
        let reply = self.say(ask).expect("a challenge");
        let (status, id) = match ask.method {
            "REGISTER" => (401, HeaderId::WwwAuthenticate),
            _ => (407, HeaderId::ProxyAuthenticate),
        };
        assert_eq!(reply.status(), status);
        self.ack(ask, &reply);
        String::from_utf8_lossy(reply.value(id)).into_owned()
    }

    fn ack(&mut self, ask: &Ask, reply: &Message) {
        if ask.method == "INVITE" {
            let value = |id| String::from_utf8_lossy(reply.value(id)).into_owned();
            let text = format!(
                "ACK sip:example.com SIP/2.0\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\n\
                 Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                value(HeaderId::Via),
                value(HeaderId::From),
                value(HeaderId::To),
                value(HeaderId::CallId),
                reply.cseq().number
            );
            assert!(self.sim.receive(addr("a1"), PROXY.parse().unwrap(), text.as_bytes()));
        }
    }

    /// The answer to a challenge: status and phrase of what comes.
    fn try_with(&mut self, ask: &Ask, answer: &Answer, challenge: &str) -> String {
        let ask = Ask { lines: format!("{}{}", ask.lines, answer.line(ask, challenge)), ..ask.clone() };
        let reply = self.say(&ask).expect("a reply");
        self.ack(&ask, &reply);
        format!("{} {}", reply.status(), String::from_utf8_lossy(reply.reason()))
    }

    fn end(mut self) {
        self.sim.advance(Duration::from_secs(400));
        assert!(self.sim.live().is_empty(), "{}", self.sim.live());
    }
}

/// Replies with the code of the check; a challenge where there are no credentials or an old nonce.
const DB: &str = r#"
    auth_check("$hdr(X-Realm)", "subscriber", "$hdr(X-Flags)");
    $var(rc) = $rc;
    if ($var(rc) == -5 || $var(rc) == -4) { auth_challenge("$hdr(X-Realm)", "1"); exit; }
    consume_credentials();
    sl_send_reply("200", "$var(rc) $rc $au");
"#;
const CLEAR: &str =
    "modparam(\"auth_db\", \"calculate_ha1\", 1)\nmodparam(\"auth_db\", \"password_column\", \"password\")\n";

fn with_flags(ask: Ask, flags: u32) -> Ask {
    Ask { lines: format!("X-Realm: example.com\r\nX-Flags: {flags}\r\n"), ..ask }
}

#[test]
fn every_code_of_auth_check() {
    let mut d = Desk::kamailio(CLEAR, DB);
    for method in ["REGISTER", "INVITE", "SUBSCRIBE"] {
        let ask = with_flags(ask(method), 1);
        let challenge = d.challenge(&ask);
        assert!(challenge.starts_with("Digest realm=\"example.com\", nonce=\""), "{challenge}");
        assert!(challenge.ends_with("\", qop=\"auth\""), "{challenge}");
        let good = answer();
        assert_eq!(d.try_with(&ask, &good, &challenge), "200 1 1 alice");
        assert_eq!(d.try_with(&ask, &Answer { qop: Some("auth"), ..answer() }, &challenge), "200 1 1 alice");
        assert_eq!(d.try_with(&ask, &Answer { password: "x", ..answer() }, &challenge), "200 -2 1 alice");
        assert_eq!(d.try_with(&ask, &Answer { user: "carol", ..answer() }, &challenge), "200 -3 1 carol");
        // Somebody else's credentials.
        let bob = Answer { user: "bob", password: "builder", ..answer() };
        assert_eq!(d.try_with(&ask, &bob, &challenge), "200 -8 1 bob");
        assert_eq!(d.try_with(&with_flags(ask.clone(), 0), &bob, &challenge), "200 1 1 bob");
        let hidden = if method == "INVITE" { "200 1 1 bob" } else { "200 -8 1 bob" };
        assert_eq!(d.try_with(&with_flags(ask.clone(), 3), &bob, &challenge), hidden, "{method}");
        // Another realm: no credentials.
        let other = Answer { realm: "elsewhere.org", ..answer() };
        assert!(d.try_with(&ask, &other, &challenge).starts_with(if method == "REGISTER" { "401" } else { "407" }));
    }
    assert_eq!(d.asked[0], "SELECT password FROM subscriber WHERE username = ? (\"alice\")");
    d.end();
}

#[test]
fn an_old_nonce_is_stale_and_a_foreign_one_too() {
    let mut d = Desk::kamailio(&format!("{CLEAR}modparam(\"auth\", \"nonce_expire\", 60)"), DB);
    let ask = with_flags(ask("REGISTER"), 0);
    let challenge = d.challenge(&ask);
    d.sim.advance(Duration::from_secs(59));
    assert_eq!(d.try_with(&ask, &answer(), &challenge), "200 1 1 alice");
    d.sim.advance(Duration::from_secs(2));
    let late = Ask { lines: format!("{}{}", ask.lines, answer().line(&ask, &challenge)), ..ask.clone() };
    let again = d.challenge(&late);
    assert!(again.contains("stale=true"), "{again}");
    assert_eq!(d.try_with(&ask, &answer(), &again), "200 1 1 alice");
    let foreign = "nonce=\"AGV0Y2hlcmUAAAAAAAAAAAAAAAAAAAAAAAAAAA\"";
    let bad = Ask { lines: format!("{}{}", ask.lines, answer().line(&ask, foreign)), ..ask.clone() };
    let reply = d.say(&bad).unwrap();
    assert_eq!(reply.reason(), b"-1 1 alice");
    d.end();
}

#[test]
fn a_nonce_for_one_use_and_counts_that_grow() {
    let once = format!("{CLEAR}modparam(\"auth\", \"one_time_nonce\", 1)");
    let mut d = Desk::kamailio(&once, DB);
    let ask = with_flags(ask("INVITE"), 0);
    let challenge = d.challenge(&ask);
    assert_eq!(d.try_with(&ask, &answer(), &challenge), "200 1 1 alice");
    assert_eq!(d.try_with(&ask, &answer(), &challenge), "200 -6 1 alice");
    let counted = |count| Answer { qop: Some("auth"), count, ..answer() };
    assert_eq!(d.try_with(&ask, &counted(2), &challenge), "200 -6 1 alice");
    d.end();

    let count = format!("{CLEAR}modparam(\"auth\", \"nonce_count\", 1)\nmodparam(\"auth\", \"qop\", \"auth\")");
    let mut d = Desk::kamailio(&count, DB);
    let challenge = d.challenge(&ask);
    for (n, wanted) in [(1, "1 1"), (1, "-6 1"), (2, "1 1"), (7, "1 1"), (3, "-6 1"), (8, "1 1")] {
        assert_eq!(d.try_with(&ask, &counted(n), &challenge), format!("200 {wanted} alice"), "count {n}");
    }
    d.end();
}

#[test]
fn nonces_are_bound_to_parts_of_the_request() {
    let bound = format!("{CLEAR}modparam(\"auth\", \"auth_checks_no_dlg\", 2)");
    let mut d = Desk::kamailio(&bound, DB);
    let first = with_flags(ask("MESSAGE"), 0);
    let challenge = d.challenge(&first);
    assert_eq!(d.try_with(&first, &answer(), &challenge), "200 1 1 alice");
    let other = Ask { call: "other".into(), ..first.clone() };
    assert!(d.try_with(&other, &answer(), &challenge).starts_with("407"));
    // A REGISTER is not checked so.
    let register = with_flags(ask("REGISTER"), 0);
    let challenge = d.challenge(&register);
    let other = Ask { call: "other".into(), ..register };
    assert_eq!(d.try_with(&other, &answer(), &challenge), "200 1 1 alice");
    d.end();
}

#[test]
fn algorithms_and_qops() {
    let body = r#"
        if ($hdr(X-Algorithm) != $null) { auth_algorithm("$hdr(X-Algorithm)"); }
        pv_auth_check("example.com", "wonderland", "0", "1");
        $var(rc) = $rc;
        if ($var(rc) == -5) { auth_challenge("example.com", "3"); exit; }
        sl_send_reply("200", "$var(rc)");
    "#;
    let mut d = Desk::kamailio("", body);
    for algorithm in Algorithm::ALL {
        for qop in [None, Some("auth"), Some("auth-int")] {
            let lines = format!("X-Algorithm: {}\r\nContent-Type: text/plain\r\n", algorithm.name());
            let ask = Ask { lines, body: "hello", ..ask("MESSAGE") };
            let challenge = d.challenge(&ask);
            assert!(
                challenge.ends_with(&format!("qop=\"auth,auth-int\", algorithm={}", algorithm.name())),
                "{challenge}"
            );
            let right = Answer { algorithm: Some(algorithm), qop, ..answer() };
            assert_eq!(d.try_with(&ask, &right, &challenge), "200 1", "{algorithm:?} {qop:?}");
            let plain = Answer { algorithm: Some(Algorithm::Md5), qop, ..answer() };
            let weaker = d.try_with(&ask, &plain, &challenge);
            // MD5 where something stronger was asked for proves nothing.
            assert_eq!(weaker, if algorithm.plain() == Algorithm::Md5 { "200 1" } else { "200 -2" }, "{algorithm:?}");
        }
    }
    d.end();
}

#[test]
fn hashes_in_the_database_and_names_with_domains() {
    let params = "modparam(\"auth_db\", \"use_domain\", 1)\nmodparam(\"auth_db\", \"load_credentials\", \"$avp(i:7)=rpid;email\")";
    let body = r#"
        if (!has_credentials("example.com")) { www_challenge("example.com", "0", "SHA-256,MD5"); exit; }
        www_authenticate("example.com", "subscriber");
        sl_send_reply("200", "$rc $avp(i:7) $avp(email)");
    "#;
    let mut d = Desk::kamailio(params, body);
    let ask = ask("REGISTER");
    let first = d.say(&ask).unwrap();
    let challenges: Vec<String> =
        first.headers_of(HeaderId::WwwAuthenticate).map(|h| String::from_utf8_lossy(h.value).into_owned()).collect();
    assert_eq!(challenges.len(), 2, "one for each algorithm");
    assert!(challenges[0].ends_with("algorithm=SHA-256") && challenges[1].ends_with("algorithm=MD5"));
    for (user, algorithm, challenge, query) in [
        (
            "alice",
            None,
            &challenges[1],
            "SELECT ha1, rpid, email FROM subscriber WHERE username = ? AND domain = ? (\"alice\", \"example.com\")",
        ),
        (
            "alice@home",
            None,
            &challenges[1],
            "SELECT ha1b, rpid, email FROM subscriber WHERE username = ? AND domain = ? (\"alice\", \"home\")",
        ),
        (
            "alice",
            Some(Algorithm::Sha256),
            &challenges[0],
            "SELECT ha1, rpid, email FROM subscriber WHERE username = ? AND domain = ? (\"alice\", \"example.com\")",
        ),
    ] {
        let answer = Answer { user, algorithm, ..answer() };
        let ask = Ask { lines: answer.line(&ask, challenge), ..ask.clone() };
        d.send(&ask);
        let operations = d.sim.operations();
        assert_eq!(operations[0].text, query);
        let hash = algorithm.unwrap_or(Algorithm::Md5).ha1(user.as_bytes(), b"example.com", b"wonderland");
        let row = vec![SqlValue::Text(Str::from(hash.as_str())), SqlValue::Null, SqlValue::Text(Str::from("a@b"))];
        let result = SqlResult { columns: vec![Str::from("x"); 3], rows: vec![row], ..Default::default() };
        assert!(d.sim.answer(operations[0].id, Outcome::Sql(result)));
        assert_eq!(d.reply().unwrap().reason(), b"1 <null> a@b", "{user}");
    }
    d.end();
}

#[test]
fn a_database_that_fails_is_an_error_and_others_are_served() {
    let mut d = Desk::kamailio(CLEAR, DB);
    let ask = with_flags(ask("REGISTER"), 0);
    let challenge = d.challenge(&ask);
    let with = Ask { lines: format!("{}{}", ask.lines, answer().line(&ask, &challenge)), ..ask.clone() };
    d.send(&with);
    let hangs = d.sim.operations()[0].id;
    // Meanwhile the worker has time for others.
    d.send(&Ask { call: "d".into(), ..ask.clone() });
    assert_eq!(d.reply().unwrap().status(), 401);
    assert!(d.sim.fail(hangs, Why::Refused, Phase::Connect, "no route"));
    assert_eq!(d.reply().unwrap().reason(), b"-1 1 alice");
    d.send(&with);
    d.sim.advance(Duration::from_secs(31));
    assert_eq!(d.reply().unwrap().reason(), b"-1 1 alice");
    d.end();
}

#[test]
fn credentials_that_cannot_be_read() {
    let mut d = Desk::kamailio(CLEAR, DB);
    for (bad, wanted) in [
        ("Digest", "200 -1 -1"),
        ("Digest username=\"a\", realm=\"example.com\"", "200 -1 1"),
        ("Digest username=alice, username=bob", "200 -1 -1"),
        ("Basic YWxpY2U6eA==", "401 Unauthorized"),
        ("", "401 Unauthorized"),
    ] {
        let ask = with_flags(ask("REGISTER"), 0);
        let ask = Ask { lines: format!("{}Authorization: {bad}\r\n", ask.lines), ..ask };
        let reply = d.say(&ask).unwrap();
        let text = format!("{} {}", reply.status(), String::from_utf8_lossy(reply.reason()));
        assert!(text.starts_with(wanted), "{bad}: {text}");
    }
    d.end();
}

#[test]
fn challenges_for_append_to_reply() {
    let body = r#"
        if (auth_get_www_authenticate("example.com", "2", "$var(line)")) append_to_reply("$var(line)");
        pv_proxy_authenticate("example.com", "x", "20");
        $var(rc) = $rc;
        append_to_reply("$avp(digest_challenge)");
        sl_send_reply("480", "$var(rc)");
    "#;
    let mut d = Desk::kamailio("", body);
    let reply = d.say(&ask("OPTIONS")).unwrap();
    assert_eq!((reply.status(), reply.reason()), (480, &b"-5"[..]));
    let value = |id| String::from_utf8_lossy(reply.value(id)).into_owned();
    assert!(value(HeaderId::WwwAuthenticate).ends_with("qop=\"auth-int\""), "{}", value(HeaderId::WwwAuthenticate));
    let proxy = value(HeaderId::ProxyAuthenticate);
    assert!(proxy.ends_with("qop=\"auth\", stale=true"), "{proxy}");
    d.end();
}

#[test]
fn the_avp_for_challenges_has_the_name_that_the_configuration_says() {
    let body = r#"
        $var(rc) = 0;
        pv_www_authorize("example.com", "wonderland", "4");
        $var(rc) = $rc;
        append_to_reply("$avp(asked)");
        pv_proxy_authorize("example.com", "wonderland", "2");
        sl_send_reply("480", "$var(rc) $rc $avp(digest_challenge)");
    "#;
    let mut d = Desk::kamailio("modparam(\"auth\", \"challenge_attr\", \"$avp(asked)\")", body);
    let reply = d.say(&ask("OPTIONS")).unwrap();
    assert_eq!((reply.status(), reply.reason()), (480, &b"-5 -5 <null>"[..]));
    let value = String::from_utf8_lossy(reply.value(HeaderId::WwwAuthenticate)).into_owned();
    assert!(value.ends_with("qop=\"auth\""), "{value}");
    d.end();
}

#[test]
fn columns_are_loaded_with_a_wrong_password_if_that_is_forced() {
    for (force, seen) in [(0, "-2 <null>"), (1, "-2 gold")] {
        let params = format!(
            "modparam(\"auth_db\", \"calculate_ha1\", 1)\nmodparam(\"auth_db\", \"load_credentials\", \"$avp(plan)=plan\")\n\
             modparam(\"auth_db\", \"force_generate_avps\", {force})"
        );
        let body = r#"
            if (!has_credentials("example.com")) { www_challenge("example.com", "0"); exit; }
            www_authenticate("example.com", "subscriber");
            sl_send_reply("200", "$rc $avp(plan)");
        "#;
        let mut d = Desk::kamailio(&params, body);
        let ask = ask("REGISTER");
        let first = d.say(&ask).unwrap();
        let challenge = String::from_utf8_lossy(first.value(HeaderId::WwwAuthenticate)).into_owned();
        let ask = Ask { lines: answer().line(&ask, &challenge), ..ask.clone() };
        d.send(&ask);
        let operations = d.sim.operations();
        let row = [SqlValue::Text(Str::from("another")), SqlValue::Text(Str::from("gold"))].to_vec();
        let outcome = Outcome::Sql(SqlResult { rows: vec![row], ..SqlResult::default() });
        assert!(d.sim.answer(operations[0].id, outcome));
        let reply = d.reply().unwrap();
        assert_eq!(String::from_utf8_lossy(reply.reason()), seen);
        d.end();
    }
}

const OPENSIPS: &str = r#"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "sipmsgops.so"
loadmodule "auth.so"
loadmodule "auth_db.so"
modparam("auth", "username_spec", "$avp(user)")
modparam("auth", "password_spec", "$avp(password)")
modparam("auth", "calculate_ha1", 1)
modparam("auth_db", "db_url", "mysql://u:p@192.0.2.50/k")
modparam("auth_db", "calculate_ha1", 1)
modparam("auth_db", "password_column", "password")
"#;

#[test]
fn opensips_codes_and_nonces_for_one_use() {
    let script = r#"
route {
    if ($hdr(X-Pv) != NULL) {
        $avp(user) = "alice";
        $avp(password) = "wonderland";
        pv_www_authorize("example.com");
    } else {
        www_authorize("", "subscriber");
    }
    $var(rc) = $rc;
    if ($var(rc) == -4) { www_challenge("", "auth"); exit; }
    if ($var(rc) == 1) consume_credentials();
    sl_send_reply(200, "$var(rc) $hdr(Authorization)");
}"#;
    let mut d = Desk::new(&format!("socket=udp:{PROXY}\n{OPENSIPS}{script}"));
    for lines in ["", "X-Pv: 1\r\n"] {
        let ask = Ask { lines: lines.into(), ..ask("REGISTER") };
        let start = |text: String| text.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let mut fresh = |answer: Answer| {
            let challenge = d.challenge(&ask);
            assert!(challenge.starts_with("Digest realm=\"example.com\""), "{challenge}");
            let first = start(d.try_with(&ask, &answer, &challenge));
            (first, start(d.try_with(&ask, &answer, &challenge)))
        };
        // Once is once.
        assert_eq!(fresh(answer()), ("200 1".into(), "200 -3".into()));
        assert_eq!(fresh(Answer { password: "x", ..answer() }), ("200 -2".into(), "200 -3".into()));
        assert_eq!(fresh(Answer { user: "carol", ..answer() }), ("200 -1".into(), "200 -3".into()));
    }
    d.end();
}

#[test]
fn opensips_questions_about_uris() {
    let script = r#"
route {
    if ($rU == "exists") {
        db_does_uri_exist("sip:alice@example.com", "subscriber");
        sl_send_reply(200, "$rc");
        exit;
    }
    if ($rU == "id") {
        db_get_auth_id("uri", "sip:sales@example.com", $var(id), $var(realm));
        $var(rc) = $rc;
        sl_send_reply(200, "$var(rc) $var(id) $var(realm)");
        exit;
    }
    db_is_to_authorized("uri");
    $var(before) = $rc;
    if (!www_authorize("", "subscriber")) { www_challenge("", "0"); exit; }
    db_is_to_authorized("uri");
    $var(to) = $rc;
    db_is_from_authorized("uri");
    sl_send_reply(200, "$var(before) $var(to) $rc");
}"#;
    let mut d = Desk::new(&format!("socket=udp:{PROXY}\n{OPENSIPS}{script}"));
    let register = ask("REGISTER");
    let challenge = d.challenge(&register);
    // Where there are no accepted credentials nobody is asked.
    assert!(d.asked.is_empty());
    let with = Ask { lines: answer().line(&register, &challenge), ..register };
    d.send(&with);
    d.answer_queries();
    let row = |d: &mut Desk, wanted: &str, row: Option<Vec<&str>>| {
        let operations = d.sim.operations();
        assert_eq!(operations[0].text, wanted);
        let rows = row.map(|r| r.into_iter().map(|t| SqlValue::Text(Str::from(t))).collect());
        let result =
            SqlResult { columns: vec![Str::from("x")], rows: rows.into_iter().collect(), ..Default::default() };
        assert!(d.sim.answer(operations[0].id, Outcome::Sql(result)));
    };
    let uri = "SELECT username FROM uri WHERE username = ? AND domain = ? AND uri_user = ? (\"alice\", \"example.com\", \"alice\")";
    row(&mut d, uri, Some(vec!["alice"]));
    row(&mut d, uri, None);
    assert_eq!(d.reply().unwrap().reason(), b"-1 1 -1");
    let options = |user: &str| format!("OPTIONS sip:{user}@127.0.0.1 SIP/2.0");
    let raw = |d: &mut Desk, user: &str| {
        d.sent += 1;
        let text = format!(
            "{}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKo{}\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=f\r\n\
             To: <sip:a@b>\r\nCall-ID: {user}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            options(user),
            d.sent
        );
        assert!(d.sim.receive(addr("a1"), PROXY.parse().unwrap(), text.as_bytes()));
    };
    raw(&mut d, "exists");
    let exists = "SELECT username FROM subscriber WHERE username = ? AND domain = ? (\"alice\", \"example.com\")";
    row(&mut d, exists, Some(vec!["alice"]));
    assert_eq!(d.reply().unwrap().reason(), b"1");
    raw(&mut d, "id");
    let id = "SELECT username, domain FROM uri WHERE uri_user = ? AND domain = ? (\"sales\", \"example.com\")";
    row(&mut d, id, Some(vec!["bob", "example.com"]));
    assert_eq!(d.reply().unwrap().reason(), b"1 bob example.com");
    d.end();
}
