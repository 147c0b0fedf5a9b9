//! `acc` of Kamailio: flags say what is accounted.

use super::{ANY, INT, STR, ignored, log_now, param, row_now, row_written};
use crate::modules::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{FnSpec, Kind, ModuleSpec, Param, RouteSet, Step};

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "acc",
    dialects: &[Dialect::Kamailio],
    functions: &[ACC_LOG_REQUEST, ACC_DB_REQUEST, ACC_REQUEST],
    params: &[
        param("log_flag", ANY, "flag of requests whose transactions are written to the log"),
        param(
            "log_missed_flag",
            ANY,
            "flag of INVITEs that are written to the log when nobody takes the call; it is cleared then",
        ),
        param("db_flag", ANY, "flag of requests whose transactions are written to the database"),
        param(
            "db_missed_flag",
            ANY,
            "flag of INVITEs that are written to the database when nobody takes the call; it is cleared then",
        ),
        param("failed_transaction_flag", ANY, "flag of requests whose transactions are accounted also if they fail"),
        param("failed_filter", STR, "status codes with commas between them: failures that are not accounted"),
        param("early_media", INT, "1: provisional replies with a body are accounted, too; default 0"),
        param("report_ack", INT, "1: end-to-end ACKs are accounted, too; default 0"),
        param("report_cancels", INT, "1: CANCELs are accounted, too; default 0"),
        param(
            "detect_direction",
            INT,
            "1: requests of the callee have the tags of From and To the other way round; default 0",
        ),
        param("acc_extra_nullable", INT, "1: fields of db_extra without a value are NULL; default 0: empty"),
        param("reason_from_hf", INT, "1: the reason is the reply's Reason header, if it has one; default 0"),
        param("log_level", INT, "level of the lines; default 1 (notice)"),
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
        param("acc_sip_reason_column", STR, "default sip_reason"),
        param("acc_time_column", STR, "default time"),
        param(
            "time_mode",
            INT,
            "besides: 1 seconds (time_attr) and microseconds (time_exten), 2 seconds with milliseconds, 3 and 4 text (UTC); default 0",
        ),
        param("time_attr", STR, "field and column for that"),
        param("time_exten", STR, "field and column for the microseconds"),
        param("time_format", STR, "form of the text; default `%Y-%m-%d %H:%M:%S`"),
        param(
            "queue_size",
            INT,
            "rows of a worker that may wait for the database; what comes then is lost, and counted; default 10000",
        ),
        param("cdr_enable", INT, "only 0: records of whole calls are not made"),
        param("multi_leg_info", STR, "only empty"),
        ignored("log_facility", "lines go where the log goes"),
        ignored("acc_prepare_flag", "any transaction may be accounted"),
        ignored("acc_prepare_always", "any transaction may be accounted"),
        ignored("acc_extra_size", "there may be any number of fields"),
        ignored("db_insert_mode", "nobody waits for rows"),
        ignored("clone_msg", "requests are not shared"),
        ignored("cdr_log_enable", "records of whole calls are not made"),
        ignored("cdr_start_on_confirmed", "records of whole calls are not made"),
        ignored("cdr_on_failed", "records of whole calls are not made"),
        ignored("cdr_expired_dlg_enable", "records of whole calls are not made"),
        ignored("cdr_facility", "records of whole calls are not made"),
        ignored("cdr_extra", "records of whole calls are not made"),
        ignored("cdr_extra_size", "records of whole calls are not made"),
        ignored("cdr_extra_nullable", "records of whole calls are not made"),
        ignored("cdr_skip", "records of whole calls are not made"),
        ignored("cdr_start_id", "records of whole calls are not made"),
        ignored("cdr_end_id", "records of whole calls are not made"),
        ignored("cdr_duration_id", "records of whole calls are not made"),
        ignored("cdrs_table", "records of whole calls are not made"),
    ],
    any_param: false,
    needs: &["tm"],
};

const COMMENT: Param = Param::req("comment", Kind::Str);
const TABLE: Param = Param::req("table", Kind::Str);

const ACC_LOG_REQUEST: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("acc_log_request"),
    params: &[COMMENT],
    variadic: false,
    routes: RouteSet::ALL,
    waits: false,
    doc: "Writes the request to the log. Comment: status and phrase, such as `404 Not found`.",
    returns: &[(1, "written")],
    example: r#"acc_log_request("403 Not allowed");"#,
    run: |call| {
        log_now(call, Dialect::Kamailio);
        Step::Done(1)
    },
    finish: None,
};

const ACC_DB_REQUEST: FnSpec<SipHost> = FnSpec {
    kamailio: Some("acc_db_request"),
    params: &[COMMENT, TABLE],
    waits: true,
    doc: "Writes the request to a table, and waits until that is done. Comment: status and phrase, such as `404 Not found`.",
    returns: &[(1, "written"), (-1, "not written (see $async_err)"), crate::modules::sqlops::OPEN],
    example: r#"acc_db_request("403 Not allowed", "acc");"#,
    run: |call| row_now(call, 1, Dialect::Kamailio),
    finish: Some(row_written),
    ..ACC_LOG_REQUEST
};

const ACC_REQUEST: FnSpec<SipHost> = FnSpec {
    kamailio: Some("acc_request"),
    doc: "acc_log_request and acc_db_request; without a database only the former.",
    example: r#"acc_request("403 Not allowed", "acc");"#,
    run: |call| {
        log_now(call, Dialect::Kamailio);
        let urls = &call.host.env().settings.db_urls;
        if !urls.iter().any(|(n, _)| *n == super::DATABASE || *n == 0) {
            return Step::Done(1);
        }
        row_now(call, 1, Dialect::Kamailio)
    },
    ..ACC_DB_REQUEST
};
