//! `acc` of OpenSIPS: the script says what is accounted.

use super::{INT, STR, Wanted, Ways, ignored, log_now, param, row_now, row_written};
use crate::modules::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{Call, FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "acc",
    dialects: &[Dialect::OpenSips],
    functions: &[DO_ACCOUNTING, DROP_ACCOUNTING, ACC_LOG_REQUEST, ACC_DB_REQUEST],
    params: &[
        param("early_media", INT, "1: provisional replies with a body are accounted, too; default 0"),
        param("report_cancels", INT, "1: CANCELs are accounted, too; default 0"),
        param(
            "detect_direction",
            INT,
            "1: requests of the callee have the tags of From and To the other way round; default 0",
        ),
        param("log_level", INT, "level of the lines; default 2 (notice)"),
        param("log_extra", STR, "further fields of lines: `name=$variable;name=$variable`"),
        param("db_url", STR, "the database; default: db_default_url of the core"),
        param("db_extra", STR, "further columns: `column=$variable;column=$variable`"),
        param("db_table_acc", STR, "table of transactions, with variables in its name; default acc"),
        param("db_table_missed_calls", STR, "table of missed calls, with variables in its name; default missed_calls"),
        param("acc_method_column", STR, "default method"),
        param("acc_from_tag_column", STR, "default from_tag"),
        param("acc_to_tag_column", STR, "default to_tag"),
        param("acc_callid_column", STR, "default callid"),
        param("acc_sip_code_column", STR, "default sip_code"),
        param("acc_sipcode_column", STR, "the same"),
        param("acc_sip_reason_column", STR, "default sip_reason"),
        param("acc_sipreason_column", STR, "the same"),
        param("acc_time_column", STR, "default time"),
        param(
            "queue_size",
            INT,
            "rows of a worker that may wait for the database; what comes then is lost, and counted; default 10000",
        ),
        param("extra_fields", STR, "further fields: `log:key->name;key`, `db:key->column`: what $acc_extra(key) holds"),
        param("leg_fields", STR, "only empty"),
        param("multi_leg_info", STR, "only empty"),
        param("multi_leg_bye_info", STR, "only empty"),
        ignored("log_facility", "lines go where the log goes"),
        ignored("aaa_url", "radius_send_acct accounts with RADIUS"),
        ignored("service_type", "radius_send_acct accounts with RADIUS"),
    ],
    any_param: false,
    needs: &["tm"],
};

const TYPE: Param = Param::req("type", Kind::Str);
const FLAGS: Param = Param::opt("flags", Kind::Str);

const DO_ACCOUNTING: FnSpec<SipHost> = FnSpec {
    opensips: Some("do_accounting"),
    kamailio: None,
    params: &[TYPE, FLAGS, Param::opt("table", Kind::Str)],
    variadic: false,
    routes: RouteSet::letters("RFBL"),
    waits: false,
    doc: "The request's transaction is accounted when its final reply goes out. Type: `log`, `db`, or both with a `|` between them. Flags, with a `|` between \
          them: `missed` a call that nobody takes, once, `failed` also replies from 300 on. The table is the one of the rows instead of \
          db_table_acc. Calls add up. Before the request is relayed.",
    returns: &[(1, "noted")],
    example: r#"do_accounting("log|db", "missed|failed");"#,
    run: |call| {
        let (log, db) = match types(call) {
            Ok(types) => types,
            Err(why) => return Step::Fail(why),
        };
        let ways = match flags(call) {
            Ok(flags) => Ways { done: true, ..flags },
            Err(why) => return Step::Fail(why),
        };
        let (table, now) = (call.text(2).filter(|t| !t.is_empty()), call.host.env().clock.micros());
        let own: &mut Wanted = call.host.acc.get_or_insert_default();
        own.created.get_or_insert(now);
        for (chosen, target) in [(log, &mut own.log), (db, &mut own.db)] {
            if chosen {
                target.done |= ways.done;
                target.missed |= ways.missed;
                target.failed |= ways.failed;
            }
        }
        own.table = table.or(own.table.take());
        Step::Done(1)
    },
    finish: None,
};

const DROP_ACCOUNTING: FnSpec<SipHost> = FnSpec {
    opensips: Some("drop_accounting"),
    params: &[Param::opt("type", Kind::Str), FLAGS],
    doc: "Takes back what do_accounting has ordered: all of it, a type, or these flags of a type.",
    returns: &[(1, "done"), (-1, "nothing was ordered")],
    example: r#"drop_accounting("log|db", "missed");"#,
    run: |call| {
        let (log, db) = match call.given(0) {
            true => match types(call) {
                Ok(types) => types,
                Err(why) => return Step::Fail(why),
            },
            false => (true, true),
        };
        let ways = match flags(call) {
            Ok(flags) => flags,
            Err(why) => return Step::Fail(why),
        };
        let Some(own) = call.host.acc.as_mut().filter(|own| !own.is_nothing()) else { return Step::Done(-1) };
        for (chosen, target) in [(log, &mut own.log), (db, &mut own.db)] {
            match ways {
                _ if !chosen => {}
                all if all.is_none() => *target = Ways::default(),
                some => {
                    target.missed &= !some.missed;
                    target.failed &= !some.failed;
                }
            }
        }
        Step::Done(1)
    },
    ..DO_ACCOUNTING
};

/// `log`, `db`
fn types(call: &Call<'_, SipHost>) -> Result<(bool, bool), String> {
    let text = call.text(0).unwrap_or_default().to_lossy().to_ascii_lowercase();
    let mut chosen = (false, false);
    for word in text.split('|').map(str::trim) {
        match word {
            "log" => chosen.0 = true,
            "db" => chosen.1 = true,
            "aaa" => return Err("accounting with RADIUS is radius_send_acct's".to_string()),
            other => return Err(format!("`{other}` is no type of accounting: log and db are")),
        }
    }
    Ok(chosen)
}

/// `missed`, `failed`
fn flags(call: &Call<'_, SipHost>) -> Result<Ways, String> {
    let text = call.text(1).unwrap_or_default().to_lossy().to_ascii_lowercase();
    let mut ways = Ways::default();
    for word in text.split('|').map(str::trim).filter(|w| !w.is_empty()) {
        match word {
            "missed" => ways.missed = true,
            "failed" => ways.failed = true,
            "cdr" => return Err("records of whole calls need dialogs, which this version does not account".to_string()),
            other => return Err(format!("`{other}` is no flag of accounting: missed and failed are")),
        }
    }
    Ok(ways)
}

const ACC_LOG_REQUEST: FnSpec<SipHost> = FnSpec {
    opensips: Some("acc_log_request"),
    params: &[Param::req("comment", Kind::Str)],
    routes: RouteSet::letters("RFOBL"),
    doc: "Writes the request to the log. Comment: status and phrase, such as `404 Not found`.",
    returns: &[(1, "written")],
    example: r#"acc_log_request("403 Not allowed");"#,
    run: |call| {
        log_now(call, Dialect::OpenSips);
        Step::Done(1)
    },
    ..DO_ACCOUNTING
};

const ACC_DB_REQUEST: FnSpec<SipHost> = FnSpec {
    opensips: Some("acc_db_request"),
    params: &[Param::req("comment", Kind::Str), Param::req("table", Kind::Str)],
    waits: true,
    doc: "Writes the request to a table, and waits until that is done. Comment: status and phrase, such as `404 Not found`.",
    returns: &[(1, "written"), (-1, "not written (see $async_err)"), crate::modules::sqlops::OPEN],
    example: r#"acc_db_request("403 Not allowed", "acc");"#,
    run: |call| row_now(call, 1, Dialect::OpenSips),
    finish: Some(row_written),
    ..ACC_LOG_REQUEST
};
