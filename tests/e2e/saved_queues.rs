//! Queues that a database keeps while the server is down: mqueue's `dbmode`.

use serde_json::json;

use crate::common::SECOND;
use crate::kamailio::Kamailio;
use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::reprise::Reprise;
use crate::support::sip::SipClient;
use crate::support::{eventually, free_port, process};

/// The table of a queue, as Kamailio's module has it.
fn table(name: &str, counting: &str) -> String {
    format!(
        "CREATE TABLE `{name}` (id INTEGER PRIMARY KEY {counting}, `key` VARCHAR(64) DEFAULT '', val VARCHAR(4096) DEFAULT '');"
    )
}

const ROWS: &str = "INSERT INTO `kept` (`key`, val) VALUES ('a', '1'), ('b', ''), ('c', 'it''s'), ('b', '4');
    INSERT INTO `in` (`key`, val) VALUES ('x', '1'), ('y', '2');
    INSERT INTO `out` (`key`, val) VALUES ('there', 'already');";

/// A request adds what its headers say to a queue, or fetches all of one.
fn config(port: u16, url: &str) -> String {
    script(port, url, "debug=3\noverload_age=0\nloadmodule \"db_sqlite.so\"")
}

fn script(port: u16, url: &str, own: &str) -> String {
    let modules: String = ["tm", "sl", "pv", "xlog", "textops", "siputils", "db_mysql", "mqueue"]
        .iter()
        .map(|m| format!("loadmodule \"{m}.so\"\n"))
        .collect();
    format!(
        r##"#!KAMAILIO
listen=udp:127.0.0.1:{port}
{own}
{modules}
modparam("mqueue", "db_url", "{url}")
modparam("mqueue", "mqueue", "name=kept;dbmode=1")
modparam("mqueue", "mqueue", "name=in;dbmode=2")
modparam("mqueue", "mqueue", "name=out;dbmode=3")
modparam("mqueue", "mqueue", "name=plain")
request_route {{
    if ($rU == "add") mq_add("$hdr(X-Queue)", "$hdr(X-Key)", "$hdr(X-Value)");
    if ($rU == "fetch") {{
        $var(all) = "";
        $var(queue) = $hdr(X-Queue);
        while (mq_fetch("$var(queue)")) $var(all) = $var(all) + $mqk($var(queue)) + "=" + $mqv($var(queue)) + " ";
        sl_send_reply("200", "all: $var(all)");
        exit;
    }}
    sl_send_reply("200", "$mq_size(kept) $mq_size(in) $mq_size(out) $mq_size(plain)");
}}
"##
    )
}

struct Asking(SipClient);

impl Asking {
    fn sizes(&self) -> String {
        self.0.options("sip:look@example.test").reason().to_owned()
    }

    fn fetch(&self, queue: &str) -> String {
        let request = self.0.request("OPTIONS", "sip:fetch@example.test").header(&format!("X-Queue: {queue}"));
        self.0.ask(&request).reason().to_owned()
    }

    fn add(&self, queue: &str, key: &str, value: &str) {
        let request = self.0.request("OPTIONS", "sip:add@example.test");
        let request = request.header(&format!("X-Queue: {queue}")).header(&format!("X-Key: {key}"));
        self.0.ask(&request.header(&format!("X-Value: {value}")));
    }
}

/// The same on one kind of database; `rows` shows a table's keys and values in their order.
fn keeps(url: &str, rows: &dyn Fn(&str) -> String) {
    let port = free_port();
    let config = config(port, url);
    let mut server = Reprise::start(&config, &["-n", "3"]);
    let client = Asking(SipClient::new(port));
    assert_eq!(client.sizes(), "4 2 0 0", "{url}");
    assert_eq!(rows("kept"), "", "what is loaded is deleted");
    assert_eq!(rows("in"), "");
    assert_eq!(rows("out"), "there=already");
    for n in 0..250 {
        client.add("out", &format!("key{n}"), "it's; --");
    }
    client.add("kept", "late", "5");
    client.add("in", "late", "5");
    client.add("plain", "late", "5");
    // A worker that is replaced does not load anew.
    for worker in server.worker_pids().into_iter().take(1) {
        process::signal(worker, nix::sys::signal::Signal::SIGKILL);
    }
    server.wait_log("was killed by SIGKILL", SECOND * 10);
    assert_eq!(server.ctl("mqueue.get_size", json!(["kept"]))["size"], 5);
    assert_eq!(server.term(), 0);
    assert_eq!(rows("kept"), "a=1 b= c=it's b=4 late=5", "{}", server.log());
    assert_eq!(rows("in"), "");
    let out: Vec<String> = (0..250).map(|n| format!("key{n}=it's; --")).collect();
    assert_eq!(rows("out"), format!("there=already {}", out.join(" ")));
    assert_eq!(server.log_count("queue out: 250 pairs saved"), 1);

    let mut server = Reprise::start(&config, &["-n", "2"]);
    assert_eq!(client.sizes(), "5 0 0 0");
    assert_eq!(client.fetch("kept").trim(), "all: a=1 b= c=it's b=4 late=5");
    assert_eq!(server.term(), 0);
    assert_eq!(rows("kept"), "");
}

#[test]
fn a_queue_survives_in_a_database() {
    let maria = MariaDb::shared();
    let name = maria.fresh_database();
    let tables: String = ["kept", "in", "out"].iter().map(|t| table(t, "AUTO_INCREMENT")).collect();
    maria.sql(&format!("USE {name}; {tables} {ROWS}"));
    let rows = |table: &str| {
        let text = maria.sql(&format!("USE {name}; SELECT CONCAT(`key`, '=', val) FROM `{table}` ORDER BY id"));
        text.lines().collect::<Vec<_>>().join(" ")
    };
    keeps(&maria.url_for(NATIVE, &name), &rows);

    let dir = process::directory("queues");
    let file = dir.path().join("queues.db");
    let db = rusqlite::Connection::open(&file).unwrap();
    let tables: String = ["kept", "in", "out"].iter().map(|t| table(t, "AUTOINCREMENT")).collect();
    db.execute_batch(&format!("{tables} {ROWS}")).unwrap();
    let rows = |table: &str| {
        let mut query = db.prepare(&format!("SELECT `key` || '=' || val FROM `{table}` ORDER BY id")).unwrap();
        let all = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
        all.map(Result::unwrap).collect::<Vec<_>>().join(" ")
    };
    keeps(&format!("sqlite://{}", file.display()), &rows);
}

#[test]
fn what_cannot_be_loaded_or_saved_is_said() {
    let maria = MariaDb::shared();
    let name = maria.fresh_database();
    let url = maria.url_for(NATIVE, &name);
    let port = free_port();
    let start = || Reprise::try_start(&config(port, &url), &["-n", "2"]);
    // There is no such table.
    let ended = start().err().expect("it does not start");
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("mqueue: queue `kept`"), "{}", ended.stderr);
    let tables: String = ["kept", "in", "out"].iter().map(|t| table(t, "AUTO_INCREMENT")).collect();
    maria.sql(&format!("USE {name}; {tables} INSERT INTO kept (`key`, val) VALUES ('a', NULL);"));
    let ended = start().err().expect("it does not start");
    assert!(ended.stderr.contains("a row has NULL as `key` or `val`"), "{}", ended.stderr);
    maria.sql(&format!("USE {name}; DELETE FROM kept;"));
    let mut server = start().unwrap_or_else(|ended| panic!("{}", ended.stderr));
    let client = Asking(SipClient::new(port));
    client.add("kept", "a", "1");
    client.add("kept", "b", "2");
    maria.sql(&format!("USE {name}; DROP TABLE kept;"));
    assert_eq!(server.term(), 0);
    assert!(server.log().contains("queue kept: 2 pairs are lost"), "{}", server.log());
}

/// The table is that of Kamailio's module: each loads what the other has saved.
#[test]
fn kamailio_loads_what_is_saved_here_and_the_other_way_round() {
    let maria = MariaDb::shared();
    let name = maria.fresh_database();
    let tables: String = ["kept", "in", "out"].iter().map(|t| table(t, "AUTO_INCREMENT")).collect();
    maria.sql(&format!("USE {name}; {tables}"));
    let url = maria.url_for(NATIVE, &name);
    let port = free_port();
    let mut ours = Reprise::start(&config(port, &url), &["-n", "2"]);
    let client = Asking(SipClient::new(port));
    for n in 0..30 {
        client.add("kept", &format!("key{n}"), &format!("value{n}"));
    }
    assert_eq!(ours.term(), 0);
    {
        let own = "debug=1\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no";
        let theirs = Kamailio::start(&script(port, &url, own));
        eventually("it answers", SECOND * 20, || {
            client.0.send_request(&client.0.request("OPTIONS", "sip:look@example.test"));
            client.0.recv(SECOND / 4).is_some_and(|m| m.status() == 200)
        });
        while client.0.recv(SECOND / 4).is_some() {}
        let all: Vec<String> = (0..30).map(|n| format!("key{n}=value{n}")).collect();
        assert_eq!(client.fetch("kept").trim(), format!("all: {}", all.join(" ")), "{}", theirs.log());
        client.add("kept", "theirs", "1");
        client.add("kept", "and", "2");
    }
    let _ours = Reprise::start(&config(port, &url), &["-n", "2"]);
    assert_eq!(client.fetch("kept").trim(), "all: theirs=1 and=2");
}
