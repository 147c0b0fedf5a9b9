//! `permissions`: who may do what by its address, or by rules in files (kamailio.md section 5.5, opensips.md 4.17). Its
//! tables and files are kept by every worker ([`super::lists`]).

pub mod address;
pub mod allow;
mod opensips;
pub mod rules;
mod settings;
pub mod trusted;

pub use opensips::OPENSIPS;
pub use settings::Settings;

use super::env::Env;
use super::host::SipHost;
use super::lists;
use super::log_line;
use super::request::Outcome;
use super::sqlops::statement_on;
use crate::base::Str;
use crate::ops::{self, SqlValue};
use crate::script::ast::{Dialect, RouteKind};
use crate::script::registry::{Call, FnSpec, Kind, ModParamKind, ModParamSpec, ModuleSpec, Param, RouteSet, Step};
use crate::script::value::Value;
use trusted::{Asked, Trusted};

/// Number of the module's database.
pub const DATABASE: i64 = i64::MIN + (1 << 40);

const fn text(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Str, ignored: false, doc }
}

const fn int(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Int, ignored: false, doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> ModParamSpec {
    ModParamSpec { name, kind: ModParamKind::Any, ignored: true, doc }
}

const ALLOW_FILE: ModParamSpec = text(
    "default_allow_file",
    "the file with what allow_routing() allows; default permissions.allow beside the configuration",
);
const DENY_FILE: ModParamSpec =
    text("default_deny_file", "the file with what it denies; default permissions.deny beside the configuration");
const ALLOW_SUFFIX: ModParamSpec =
    text("allow_suffix", "what makes the name of a file of allowed calls of a basename; default .allow");
const DENY_SUFFIX: ModParamSpec = text("deny_suffix", "the same of denied calls; default .deny");
const ALL_BRANCHES: ModParamSpec =
    int("check_all_branches", "0: allow_routing looks at the R-URI alone, not at further branches; default 1");

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "permissions",
    dialects: &[Dialect::Kamailio],
    functions: &[ADDRESS, SOURCE, SOURCE_GROUP, ADDRESS_GROUP, TRUSTED, allow::ROUTING, allow::REGISTER, allow::URI],
    params: &[
        text("db_url", "the database of both tables"),
        int("db_mode", "1: trusted peers are kept in memory; 0: the database is asked each time; default 0"),
        int(
            "load_backends",
            "sum of 1: addresses, 2: trusted peers, 4: default_allow_file, 8: default_deny_file; default all",
        ),
        text("address_file", "file of addresses, instead of the table: lines of group, address, mask, port, tag"),
        text("address_table", "default address"),
        text("trusted_table", "default trusted"),
        text("grp_col", "default grp"),
        text("ip_addr_col", "default ip_addr"),
        text("mask_col", "default mask"),
        text("port_col", "default port"),
        text("source_col", "default src_ip"),
        text("proto_col", "default proto"),
        text("from_col", "default from_pattern"),
        text("ruri_col", "default ruri_pattern"),
        text("tag_col", "default tag"),
        text("priority_col", "default priority"),
        text("peer_tag_avp", "AVP that gets the tag of what matches; default none"),
        int("peer_tag_mode", "1: allow_trusted takes all matches, and returns their number; default 0"),
        ignored("max_subnets", "any number of networks"),
        ignored("reload_delta", "a reload is done whenever it is asked for"),
        ignored("trusted_cleanup_interval", "nothing is left over"),
        ignored("perm_hash_size", "not needed"),
        ALLOW_FILE,
        DENY_FILE,
        ALLOW_SUFFIX,
        DENY_SUFFIX,
        ALL_BRANCHES,
    ],
    any_param: false,
    needs: &[],
};

const ROUTES: RouteSet = RouteSet::of(&[RouteKind::Request, RouteKind::Failure, RouteKind::Event]);

/// Looks an address up; marks what matches.
fn find(call: &mut Call<'_, SipHost>, group: Option<i64>, address: &str, port: u16) -> Option<i64> {
    let all = lists::addresses(call.host.env());
    let found = all.find(group, address, port)?;
    mark(call, found.tag.as_ref());
    Some(found.group)
}

fn mark(call: &mut Call<'_, SipHost>, tag: Option<&Str>) {
    let avp = call.host.env().settings.permissions.tag_avp.clone();
    if let (Some(avp), Some(tag)) = (avp, tag) {
        call.vm().push_avp(&avp, Value::Str(tag.clone()));
    }
}

fn source(call: &Call<'_, SipHost>) -> (String, u16) {
    (call.host.source.ip().to_string(), call.host.source.port())
}

fn verdict(found: Option<i64>) -> Step<SipHost> {
    Step::Done(if found.is_some() { 1 } else { -1 })
}

fn group_code(found: Option<i64>) -> Step<SipHost> {
    Step::Done(found.and_then(|g| i32::try_from(g).ok()).unwrap_or(-1))
}

const ADDRESS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("allow_address"),
    params: &[Param::req("group", Kind::Int), Param::req("address", Kind::Str), Param::req("port", Kind::Int)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Whether an address and port are in a group: a host, a network, or a name, which is compared as it is. Port 0 of \
          an entry is any. The entry's tag goes to `peer_tag_avp`.",
    returns: &[(1, "yes"), (-1, "no, or no number")],
    example: r#"if (!allow_address("2", "$rd", "$rp")) exit;"#,
    run: |call| {
        let (group, port) = (call.int(0), call.int(2).and_then(|p| u16::try_from(p).ok()));
        let address = call.text(1).unwrap_or_default().to_lossy().into_owned();
        let (Some(group), Some(port)) = (group, port) else { return Step::Done(-1) };
        verdict(find(call, Some(group), &address, port))
    },
    finish: None,
};

const SOURCE: FnSpec<SipHost> = FnSpec {
    kamailio: Some("allow_source_address"),
    params: &[Param::opt("group", Kind::Int)],
    doc: "Whether the source address and port of the message are in a group; 1 if none is given.",
    returns: &[(1, "yes"), (-1, "no")],
    example: "if (!allow_source_address()) exit;",
    run: |call| {
        let group = if call.given(0) { call.int(0) } else { Some(1) };
        let Some(group) = group else { return Step::Done(-1) };
        let (address, port) = source(call);
        verdict(find(call, Some(group), &address, port))
    },
    ..ADDRESS
};

const SOURCE_GROUP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("allow_source_address_group"),
    params: &[],
    doc: "The group that the source address and port of the message are in.",
    returns: &[(1, "the number itself"), (-1, "none")],
    example: r#"$var(group) = allow_source_address_group();"#,
    run: |call| {
        let (address, port) = source(call);
        group_code(find(call, None, &address, port))
    },
    ..ADDRESS
};

const ADDRESS_GROUP: FnSpec<SipHost> = FnSpec {
    kamailio: Some("allow_address_group"),
    params: &[Param::req("address", Kind::Str), Param::req("port", Kind::Int)],
    routes: RouteSet::ALL,
    doc: "The group that an address and port are in.",
    returns: &[(1, "the number itself"), (-1, "none")],
    example: r#"$var(group) = allow_address_group("$si", "$sp");"#,
    run: |call| {
        let address = call.text(0).unwrap_or_default().to_lossy().into_owned();
        let Some(port) = call.int(1).and_then(|p| u16::try_from(p).ok()) else { return Step::Done(-1) };
        group_code(find(call, None, &address, port))
    },
    ..ADDRESS
};

/// What `allow_trusted` is asked about.
fn asked(call: &Call<'_, SipHost>) -> [Str; 4] {
    let h = &*call.host;
    let given = |n: usize, own: &dyn Fn() -> Str| if call.given(n) { call.text(n).unwrap_or_default() } else { own() };
    let transport = || {
        let listener = h.env().listeners.get(usize::from(h.listener));
        Str::from(listener.map_or("udp", |l| l.transport.as_param()))
    };
    [
        given(0, &|| Str::from(h.source.ip().to_string())),
        given(1, &transport),
        given(2, &|| Str::from(h.msg.from().uri)),
        Str::from(h.current_ruri()),
    ]
}

/// Takes the rules that hold.
fn judge<'a>(call: &mut Call<'_, SipHost>, rules: impl Iterator<Item = &'a Trusted>) -> Step<SipHost> {
    let [source, proto, from, ruri] = asked(call);
    let asked = Asked { source: &source, proto: &proto, from: &from, ruri: &ruri };
    let mut matches = 0;
    for rule in rules {
        let holds = rule.holds(&asked, &mut |pattern, text| call.vm().pattern(pattern).is_ok_and(|r| r.is_match(text)));
        if !holds {
            continue;
        }
        matches += 1;
        mark(call, rule.tag.as_ref());
        if !call.host.env().settings.permissions.all_tags {
            break;
        }
    }
    Step::Done(if matches == 0 { -1 } else { matches })
}

const TRUSTED: FnSpec<SipHost> = FnSpec {
    kamailio: Some("allow_trusted"),
    params: &[Param::opt("source", Kind::Str), Param::opt("protocol", Kind::Str), Param::opt("From URI", Kind::Str)],
    waits: true,
    doc: "Whether a rule of the table of trusted peers holds for the message, or for what is given: the source address is \
          that of the rule, the protocol too (`any` is any), and From URI and R-URI fit its patterns. The tag of the rule \
          goes to `peer_tag_avp`. Without `db_mode` 1 the database is asked, and the script waits.",
    returns: &[(1, "yes; with peer_tag_mode 1 the number of rules"), (-1, "no, or the database cannot be asked")],
    example: "if (allow_trusted()) t_relay();",
    run: |call| {
        let settings = &call.host.env().settings.permissions;
        if !settings.wants(2) {
            return Step::Done(-1);
        }
        if settings.keeps_trusted {
            let rules = lists::trusted(call.host.env());
            return judge(call, rules.iter());
        }
        if !has_database(call.host.env()) {
            log_line(call.host, -1, "permissions: trusted peers need db_url");
            return Step::Done(-1);
        }
        let source = settings.trusted_columns.first().map(Str::to_lossy).unwrap_or_default();
        let query = format!(
            "{} WHERE {source} = ? ORDER BY {} DESC",
            settings.select_trusted(),
            settings.priority_column.to_lossy()
        );
        let [address, ..] = asked(call);
        statement_on(call, DATABASE, Str::from(query), vec![SqlValue::Text(address)])
    },
    finish: Some(|call, outcome| match outcome {
        Outcome::Op(ops::Outcome::Sql(result)) => {
            let rules: Vec<Trusted> = result.rows.iter().filter_map(|r| Trusted::of_row(r)).collect();
            judge(call, rules.iter())
        }
        failed => Step::Done(failed.failure_code()),
    }),
    ..ADDRESS
};

fn has_database(env: &Env) -> bool {
    env.settings.db_urls.iter().any(|(n, _)| *n == DATABASE)
}
