//! The examples of the manual's page about asynchronous statements, of the announcement that
//! proposed them and of the workshop's slides, as they stand there: only the braces that those
//! texts lost are restored.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::mariadb::{MariaDb, NATIVE};
use crate::support::nginx::Nginx;
use crate::support::process;
use crate::support::reprise::run;
use crate::waits_common::{SECOND, Site, head, site, site_with};

/// The manual's first example: the statements of its request route.
const CREDIT: &str = r#"
    /* preparation code */
    async(avp_db_query("SELECT credit FROM users WHERE uid='$avp(uid)'", "$avp(credit)"), resume_credit);
    /* script execution is paused right away! */
"#;

/// Its resume route.
const RESUME_CREDIT: &str = r#"
route [resume_credit] {
    if ($rc < 0) {
        xlog("error $rc in avp_db_query()\n");
    }

    xlog("Credit of user $avp(uid) is $avp(credit)\n");
}
"#;

/// The announcement's example: the block form.
const BLOCK: &str = r#"
route {
     # other non I/O operations
     async(my_resume_route) {
         avp_db_query("SELECT setid from subscribers where username = 
'$fU'", "$avp(setid)");
     }
     # we never get here.
}

route[my_resume_route] {
     xlog("The set used by the callee is $avp(setid)\n");
     # continue message processing
}
"#;

/// The manual's two external commands.
const CURL: &str = r#"async(exec("curl my_host", "$var(response_body)"), resume_route);"#;
const MYSQL: &str = r#"async(exec("mysql-query 'SELECT * FROM subscriber...'", "$var(result_row)"), resume_route);"#;

fn database(url: &str) -> String {
    format!("modparam(\"avpops\", \"db_url\", \"{url}\")\n")
}

/// A directory with a program in it, for PATH.
fn program(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn path_with(dir: &Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

#[test]
fn the_credit_query_with_its_resume_route() {
    let db = MariaDb::shared();
    let site = site(
        &["avpops"],
        &format!(
            "{}route {{\n$avp(uid) = $fU;\n{CREDIT}\nxlog(\"behind async\\n\");\n}}\n{RESUME_CREDIT}",
            database(&db.url())
        ),
    );
    let client = site.client();
    // The example answers nothing: the caller hears 500 instead of nothing, and the log says why.
    let answer = client.ask(&client.request("OPTIONS", &site.uri()));
    assert_eq!(answer.status(), 500, "{}", answer.raw);
    site.server.wait_log("Credit of user alice is 100$", SECOND);
    site.server.wait_log("resume route ended without relaying or replying", SECOND);
    client.ask(&client.request("OPTIONS", &site.uri()).caller("carol"));
    site.server.wait_log("Credit of user carol is -5$", SECOND);
    // No row: -2, and the variable stays NULL.
    client.ask(&client.request("OPTIONS", &site.uri()).caller("nobody"));
    site.server.wait_log(r"error -2 in avp_db_query\(\)$", SECOND);
    site.server.wait_log("Credit of user nobody is <null>$", SECOND);
    assert_eq!(site.server.log_count(r"\] behind async"), 0, "what stands behind async() is not run");
    site.assert_idle();
}

#[test]
fn the_credit_query_when_the_database_does_not_answer() {
    let refused = crate::support::free_port();
    let url = format!("mysql://reprise:secret@127.0.0.1:{refused}/reprise");
    let site =
        site(&["avpops"], &format!("{}route {{\n$avp(uid) = $fU;\n{CREDIT}\n}}\n{RESUME_CREDIT}", database(&url)));
    assert_eq!(site.ask().status(), 500);
    site.server.wait_log(r"error -1 in avp_db_query\(\)$", SECOND);
    site.server.wait_log("Credit of user alice is <null>$", SECOND);
    site.assert_idle();
}

#[test]
fn the_block_form_of_the_announcement() {
    let db = MariaDb::shared();
    let name = db.fresh_database();
    db.sql(&format!(
        "CREATE TABLE {name}.subscribers (username VARCHAR(64), setid INT);
         INSERT INTO {name}.subscribers VALUES ('alice', 7), ('bob', 8)"
    ));
    let site = site(&["avpops"], &format!("{}{BLOCK}", database(&db.url_for(NATIVE, &name))));
    let client = site.client();
    assert_eq!(client.ask(&client.request("OPTIONS", &site.uri())).status(), 500);
    site.server.wait_log("The set used by the callee is 7$", SECOND);
    client.ask(&client.request("OPTIONS", &site.uri()).caller("bob"));
    site.server.wait_log("The set used by the callee is 8$", SECOND);
    site.assert_idle();
}

/// `curl my_host` and `mysql-query '...'` with their outputs in the second argument.
fn commands() -> (tempfile::TempDir, Site) {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let dir = process::directory("commands");
    program(
        dir.path(),
        "mysql-query",
        &format!(
            "#!/bin/sh\nexec mariadb --no-defaults --batch --skip-column-names --protocol=TCP --host=127.0.0.1 \
             --port={} --user={} --password={} --skip-ssl reprise -e \"${{1%...}}\"\n",
            db.port, NATIVE.0, NATIVE.1
        ),
    );
    // curl's own configuration: my_host is the web server of this test.
    fs::write(dir.path().join(".curlrc"), format!("silent\nconnect-to = \"my_host:80:127.0.0.1:{}\"\n", web.port))
        .unwrap();
    let home = dir.path().to_string_lossy().into_owned();
    let script = format!(
        "route {{
            xlog(\"before $var(response_body)$var(result_row)\\n\");
            if ($rU == \"curl\") {{
                {CURL}
            }} else {{
                {MYSQL}
            }}
            xlog(\"behind async\\n\");
        }}
        route[resume_route] {{
            xlog(\"rc $rc status $exec_status body <$var(response_body)> row <$var(result_row)>\\n\");
            sl_send_reply(200, \"OK\");
        }}"
    );
    let site =
        site_with(&["exec"], &script, &[("PATH", &path_with(dir.path())), ("CURL_HOME", &home), ("HOME", &home)]);
    (dir, site)
}

#[test]
fn external_commands_with_their_output_in_the_second_argument() {
    let (_dir, site) = commands();
    let uri = |user: &str| format!("sip:{user}@127.0.0.1:{}", site.port);
    let client = site.client();
    assert_eq!(client.options(&uri("curl")).status(), 200);
    let line = site.server.wait_log("status 0 body <", SECOND);
    assert!(line.contains("rc 1 "), "{line}");
    site.server.wait_log("nginx", SECOND);
    let mark = site.server.log_mark();
    assert_eq!(client.options(&uri("mysql")).status(), 200);
    site.server.wait_log_after(mark, "rc 1 status 0 body <<null>> row <1\talice\t127.0.0.1\twonderland\t", SECOND);
    site.server.wait_log_after(mark, "2\tbob\t127.0.0.1\tbuilder\t", SECOND);
    assert_eq!(site.server.log_count(r"\] behind async"), 0);
    site.assert_idle();
}

#[test]
fn each_kind_of_function_of_the_slides() {
    let (db, web) = (MariaDb::shared(), Nginx::shared());
    let script = format!(
        "{}route {{
            $avp(uid) = $fU;
            if ($rU == \"db\") async(avp_db_query(\"SELECT credit FROM users WHERE uid='$avp(uid)'\", \"$avp(out)\"), resume_route);
            if ($rU == \"web\") async(rest_get(\"{}\", $avp(out)), resume_route);
            if ($rU == \"command\") async(exec(\"echo ran\", , $avp(out)), resume_route);
            sl_send_reply(500, \"async came back\");
        }}
        route[resume_route] {{
            sl_send_reply(200, \"$rU $rc $avp(out) of $avp(uid)\");
        }}",
        database(&db.url()),
        web.url("/slow")
    );
    let site = site(&["avpops", "rest_client", "exec"], &script);
    assert_eq!(site.show("db"), "db 1 100 of alice");
    assert_eq!(site.show("web"), "web 1 slow of alice");
    assert_eq!(site.show("command"), "command 1 ran of alice");
    site.assert_idle();
}

#[test]
fn a_function_that_never_waits_is_run_in_place_and_resumes() {
    let site = site(
        &["maxfwd", "cfgutils", "sipmsgops"],
        r#"
        route {
            $avp(kept) = "kept";
            $var(lost) = "lost";
            if ($rU == "block") {
                async(after) { mf_process_maxfwd_header(10); }
            } else if ($rU == "fails") {
                async(is_method("INVITE"), after);
            } else {
                async(xlog("in place\n"), after);
            }
            sl_send_reply(500, "async came back");
        }
        route[after] {
            sl_send_reply(200, "rc $rc $avp(kept) $var(lost)");
        }
        "#,
    );
    assert_eq!(site.show("block"), "rc 1 kept <null>");
    assert_eq!(site.show("fails"), "rc -1 kept <null>");
    assert_eq!(site.show("log"), "rc 1 kept <null>");
    site.server.wait_log("in place", SECOND);
    assert_eq!(site.waits(), 0);
}

#[test]
fn a_script_that_waits_without_tm_is_a_load_error() {
    let dir = process::directory("without-tm");
    let file = dir.path().join("reprise.cfg");
    let check = |script: &str, modules: &[&str]| {
        fs::write(&file, format!("{}{script}", head(5060, modules))).unwrap();
        let path = file.to_string_lossy().into_owned();
        let done = run(&["-c", "-f", &path], SECOND * 20);
        (done.code, done.stderr.replace(&path, "reprise.cfg"))
    };
    let script = "route {\n    async(sleep(1), after);\n}\nroute[after] {\n    exit;\n}\n";
    let (code, text) = check(script, &["cfgutils"]);
    assert_eq!(code, 1);
    assert_eq!(
        text,
        "error[E0403]: `async` needs module `tm`, which is not loaded
 --> reprise.cfg:6:11
  |
6 |     async(sleep(1), after);
  |           ^^^^^ a suspended message is kept in a transaction
  |
  = help: add `loadmodule \"tm.so\"`

1 error
"
    );
    let (code, text) = check("route {\n    sleep(1);\n}\n", &["cfgutils"]);
    assert_eq!(code, 1);
    assert!(text.contains("error[E0403]: `sleep`, which waits, needs module `tm`, which is not loaded"), "{text}");
    // With it, all is well; and what waits where there is no message needs none.
    assert_eq!(check(script, &["cfgutils", "tm"]), (0, "the configuration is good\n".to_owned()));
    assert_eq!(check("route { exit; }\ntimer_route[t, 5] {\n    sleep(1);\n}\n", &["cfgutils"]).0, 0);
}
