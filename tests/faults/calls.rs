//! What the scripts of the cells call.

use crate::matrix::{Fault, Kind, Phase};
use crate::rig::{RADIUS, Rig};
use crate::support::nginx::Nginx;

impl Rig {
    /// The function that waits in a cell.
    pub fn waiting_call(&self, cell: usize) -> String {
        let Some(what) = self.cells.get(cell) else { return String::new() };
        let pad = "x".repeat(2000);
        // A value holds at most 64 KiB, a text with several of them more.
        let big = "$var(big)".repeat(2);
        let values = ", $var(big)".repeat(16);
        let marks = ["LENGTH(?)"; 16].join(" + ");
        // One that is dripped must have an answer.
        let quick = what.fault == Fault::Drip;
        match self.kind {
            Kind::Mysql => {
                if self.phase == Phase::Write {
                    return format!("sql_query_bind(\"SELECT {marks}\", \"$avp(r)\", {}{values})", cell + 1);
                }
                let query = match self.phase {
                    Phase::FirstByte if quick => format!("SELECT 1 /*{pad}*/"),
                    Phase::FirstByte => format!("SELECT SLEEP(30) /*{pad}*/"),
                    Phase::MidAnswer => "SELECT text FROM big".to_owned(),
                    _ => "SELECT 1".to_owned(),
                };
                format!("sql_query(\"{query}\", \"$avp(r)\", {})", cell + 1)
            }
            Kind::Sqlite => {
                if self.phase == Phase::Write {
                    return format!("sql_query_bind(\"SELECT {marks}\", \"$avp(r)\", {values})");
                }
                let query = match self.phase {
                    Phase::FirstByte => {
                        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 100000000) SELECT count(*) FROM c"
                    }
                    _ => "SELECT 1",
                };
                format!("sql_query(\"{query}\", \"$avp(r)\")")
            }
            Kind::Http | Kind::Https => {
                let base = format!("{}://{}", self.kind, self.authority('c', cell));
                match self.phase {
                    Phase::Write => {
                        // A text has at most 64 KiB: body, type and URL together are more than the way to the server holds.
                        format!("rest_post(\"{base}/echo?{big}\", \"{big}\", \"x/{big}\", $avp(body))")
                    }
                    Phase::FirstByte if quick => format!("rest_get(\"{base}/now?pad={pad}\", $avp(body))"),
                    Phase::FirstByte => format!("rest_get(\"{base}/sleep?t=30&pad={pad}\", $avp(body))"),
                    // More than is accepted, so that no end of the answer helps.
                    Phase::MidAnswer if self.kind == Kind::Http && what.fault == Fault::Endless => {
                        format!("rest_get(\"{base}/huge\", $avp(body))")
                    }
                    Phase::MidAnswer => format!("rest_get(\"{base}/large\", $avp(body))"),
                    _ => format!("rest_get(\"{base}/now\", $avp(body))"),
                }
            }
            Kind::Exec => match (self.phase, what.fault) {
                (Phase::Connect, _) => "exec(\"/no/such/program\")".into(),
                (Phase::FirstByte, Fault::HalfClose) => "exec(\"exec >&- 2>&-; sleep 100\", , $avp(out))".into(),
                (Phase::FirstByte, _) => "exec(\"exec sleep 100\", , $avp(out))".into(),
                (_, Fault::HalfClose) => "exec(\"echo begun; exec >&- 2>&-; sleep 100\", , $avp(out))".into(),
                (_, Fault::Garbage) => "exec(\"head -c 100000 /dev/urandom\", , $avp(out))".into(),
                (_, Fault::Drip) => "exec(\"while :; do printf x; sleep 0.3; done\", , $avp(out))".into(),
                (_, Fault::Endless) => "exec(\"yes\", , $avp(out))".into(),
                _ => "exec(\"echo begun; exec sleep 100\", , $avp(out))".into(),
            },
            Kind::Radius => RADIUS.to_owned(),
            Kind::Dns => format!("rest_get(\"http://$(rU).fault.test:{}/close\", $avp(body))", Nginx::shared().port),
        }
    }

    /// A function that works when nothing is wrong, at the same backend.
    pub fn healthy_call(&self, cell: usize) -> String {
        let refused = self.cells.get(cell).is_some_and(|c| (c.phase, c.fault) == (Phase::Connect, Fault::Refused));
        match self.kind {
            _ if refused && self.kind != Kind::Dns => self.configuration().2,
            Kind::Mysql => format!("sql_query(\"SELECT SLEEP(0.1)\", \"$avp(r)\", {})", cell + 1),
            Kind::Sqlite => "sql_query(\"SELECT 1\", \"$avp(r)\")".into(),
            Kind::Http | Kind::Https => {
                format!("rest_get(\"{}://{}/slow\", $avp(body))", self.kind, self.authority('h', cell))
            }
            Kind::Exec => "exec(\"true\")".into(),
            Kind::Radius => RADIUS.to_owned(),
            Kind::Dns => format!("rest_get(\"http://$(rU).fault.test:{}/close\", $avp(body))", Nginx::shared().port),
        }
    }
}
