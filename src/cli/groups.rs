//! Core parameters about task groups (kamailio.md section 2.1), and whether what the script hands over to groups has
//! somebody to take it.

use super::settings::ServerConfig;
use crate::base::Str;
use crate::base::names::suggest;
use crate::modules::async_module::groups::{DEFAULT, Group, MOST_WORKERS};
use crate::modules::env::Settings;
use crate::modules::host::SipHost;
use crate::script::ast::{Config, Global, GlobalValue, Item, RouteKind};
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::ir::ArgPlan;
use crate::script::program::Program;
use crate::script::source::Span;
use std::time::Duration;

/// The event route that key/value tasks run unless `async_tkv_evcb` names another.
const TKV_EVENT: &str = "core:tkv";
/// The group that key/value tasks go to, if there is one of this name and `async_tkv_gname` is not set.
const TKV_GROUP: &str = "tkv";

/// Reads the parameters in the order in which they stand.
pub(super) fn read(config: &Config, out: &mut ServerConfig, diags: &mut Diagnostics) {
    let groups = &mut out.settings.groups;
    let mut tkv: Option<(String, Span)> = None;
    let mut event = TKV_EVENT.to_string();
    for item in &config.items {
        let Item::Global(g) = item else { continue };
        match g.name.text.as_str() {
            "async_workers" => workers(groups, int(g), g.span, diags),
            "async_nonblock" => {
                if let Some(group) = default(groups, g, diags) {
                    group.nonblock = int(g) != 0;
                }
            }
            "async_usleep" => {
                if let Some(group) = default(groups, g, diags) {
                    group.pause = Duration::from_micros(u64::try_from(int(g)).unwrap_or(0));
                }
            }
            "async_workers_group" => match Group::parse(&text(g)) {
                Ok(group) => add(groups, group, g.span, diags),
                Err(why) => diags.push(
                    Diagnostic::error("E0503", g.span, why).help("write async_workers_group=\"name=abc;workers=4\""),
                ),
            },
            "async_tkv_gname" => tkv = Some((text(g), g.span)).filter(|(name, _)| !name.is_empty()),
            "async_tkv_evcb" => event = text(g),
            _ => {}
        }
    }
    let all: usize = groups.iter().map(|g| g.workers).sum();
    if let Some(last) = last(config).filter(|_| all > MOST_WORKERS) {
        let d = Diagnostic::error("E0503", last, format!("{all} task workers are too many"));
        diags.push(d.label(format!("all groups together may have {MOST_WORKERS}")));
    }
    let number = |name: &str| groups.iter().position(|g| *g.name == *name.as_bytes());
    let group = match &tkv {
        Some((name, span)) => {
            let found = number(name);
            if found.is_none() {
                diags.push(unknown(name, groups, *span));
            }
            found
        }
        None => number(TKV_GROUP),
    };
    out.settings.tkv_group = group.and_then(|n| u16::try_from(n).ok());
    out.settings.tkv_event = Str::from(event);
}

fn int(g: &Global) -> i64 {
    match &g.value {
        GlobalValue::Int(n, _) => *n,
        _ => 0,
    }
}

fn text(g: &Global) -> String {
    match &g.value {
        GlobalValue::Str(s) => String::from_utf8_lossy(&s.text).into_owned(),
        GlobalValue::Ident(i) => i.text.clone(),
        GlobalValue::Int(n, _) => n.to_string(),
        _ => String::new(),
    }
}

/// The last parameter that makes a group.
fn last(config: &Config) -> Option<Span> {
    let makes = |item: &Item| match item {
        Item::Global(g) if g.name.text.starts_with("async_workers") => Some(g.span),
        _ => None,
    };
    config.items.iter().rev().find_map(makes)
}

/// `async_workers`
fn workers(groups: &mut Vec<Group>, wanted: i64, span: Span, diags: &mut Diagnostics) {
    match usize::try_from(wanted) {
        Ok(0) => {}
        Ok(n) if n <= MOST_WORKERS => add(groups, Group::new(DEFAULT, n), span, diags),
        _ => {
            let d = Diagnostic::error("E0503", span, format!("`async_workers` cannot be {wanted}"));
            diags.push(d.label(format!("0 to {MOST_WORKERS}")));
        }
    }
}

/// Adds a group; the first one that is not `default` makes that as well.
fn add(groups: &mut Vec<Group>, group: Group, span: Span, diags: &mut Diagnostics) {
    if let Some(there) = groups.iter().find(|g| g.name == group.name) {
        if *there.name != *DEFAULT.as_bytes() {
            let d = Diagnostic::error("E0503", span, format!("there are two task groups `{}`", there.name.to_lossy()));
            return diags.push(d);
        }
        let what = format!("the task group `{DEFAULT}` is there already and keeps {} workers", there.workers);
        let d = Diagnostic::warning("W0404", span, what);
        return diags.push(d.label("it is set twice, or an earlier group made it: write `async_workers` first"));
    }
    if groups.is_empty() && *group.name != *DEFAULT.as_bytes() {
        groups.push(Group::new(DEFAULT, 1));
    }
    groups.push(group);
}

/// The default group, for a parameter that stands behind what makes it.
fn default<'g>(groups: &'g mut [Group], g: &Global, diags: &mut Diagnostics) -> Option<&'g mut Group> {
    let found = groups.iter_mut().find(|group| *group.name == *DEFAULT.as_bytes());
    if found.is_none() {
        let d = Diagnostic::warning("W0404", g.span, format!("`{}` has no effect here", g.name.text));
        diags.push(d.label("it is about the group `default`: write it behind `async_workers`"));
    }
    found
}

fn unknown(name: &str, groups: &[Group], span: Span) -> Diagnostic {
    let d = Diagnostic::error("E0302", span, format!("there is no task group `{name}`"));
    let names: Vec<String> = groups.iter().map(|g| g.name.to_lossy().into_owned()).collect();
    match suggest(name, names.iter().map(String::as_str)) {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d.help(format!("define it with async_workers_group=\"name={name};workers=1\"")),
    }
}

/// Which argument of a function that hands something over names the group, if it has so many.
fn group_argument(name: &str, arguments: usize) -> Option<Option<usize>> {
    Some(match name {
        "async_task_route" | "async_task_group_route" | "async_task_group_data" => Some(1),
        "async_task_data" if arguments > 2 => Some(1),
        "async_task_data" => None,
        _ => return None,
    })
}

/// Reports calls that hand something over to a group that does not exist.
pub(super) fn check(program: &Program<SipHost>, settings: &Settings, diags: &mut Diagnostics) {
    for site in &program.sites {
        let given = site.args.iter().filter(|a| !matches!(a, ArgPlan::None)).count();
        let Some(argument) = group_argument(&site.name, given) else { continue };
        if settings.groups.is_empty() {
            let d = Diagnostic::error("E0405", site.span, format!("`{}` needs a task group", site.name));
            diags.push(d.label("there is none").help("add `async_workers=1`"));
            continue;
        }
        let literal = argument.and_then(|n| site.args.get(n)).and_then(|plan| match plan {
            ArgPlan::Const(n) => program.consts.get(*n as usize).and_then(|v| v.to_text()),
            _ => None,
        });
        if let Some(name) = literal
            && !settings.groups.iter().any(|g| g.name == name)
        {
            diags.push(unknown(&name.to_lossy(), &settings.groups, site.span));
        }
    }
    let calls_tkv = program.sites.iter().find(|s| &*s.name == "async_tkv_emit");
    let event = settings.tkv_event.to_lossy();
    if let Some(site) = calls_tkv
        && program.find_route(RouteKind::Event, Some(&event)).is_none()
    {
        let d = Diagnostic::warning("W0403", site.span, "`async_tkv_emit` gives -1 here");
        diags.push(d.label(format!("there is no `event_route[{event}]`")));
    } else if let Some(site) = calls_tkv
        && settings.tkv_group.is_none()
    {
        let d = Diagnostic::warning("W0403", site.span, "`async_tkv_emit` gives -1 here");
        diags.push(d.label("no task group is named by `async_tkv_gname`"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::load_text;
    use crate::script::ast::Dialect;
    use crate::script::render::render;

    fn findings(globals: &str, script: &str) -> (String, Vec<(String, usize)>) {
        let text = format!(
            "#!KAMAILIO\nlisten=udp:127.0.0.1:5060\n{globals}\nloadmodule \"tm.so\"\nloadmodule \"tmx.so\"\n\
             loadmodule \"async.so\"\nloadmodule \"xlog.so\"\nrequest_route {{\n{script}\n}}\nroute[R] {{ exit; }}\n"
        );
        let loaded = load_text("groups.cfg", &text, Some(Dialect::Kamailio));
        let groups = loaded.server.map(|(_, config)| config.settings.groups).unwrap_or_default();
        let shown = groups.iter().map(|g| (g.name.to_lossy().into_owned(), g.workers)).collect();
        let none = loaded.diags.list().is_empty();
        (if none { String::new() } else { render(&loaded.map, &loaded.diags, false) }, shown)
    }

    fn owned(list: &[(&str, usize)]) -> Vec<(String, usize)> {
        list.iter().map(|(n, c)| ((*n).to_string(), *c)).collect()
    }

    #[test]
    fn groups_are_made_as_in_kamailio() {
        assert_eq!(findings("async_workers=8", ""), (String::new(), owned(&[("default", 8)])));
        assert_eq!(findings("async_workers=0", ""), (String::new(), vec![]));
        let one = "async_workers_group=\"name=abc;workers=4;nonblock=0;usleep=0\"";
        assert_eq!(findings(one, ""), (String::new(), owned(&[("default", 1), ("abc", 4)])));
        assert_eq!(findings("async_workers_group=\"name=default;workers=3\"", "").1, owned(&[("default", 3)]));
        // Too late: the group is there.
        let (text, groups) = findings(&format!("{one}\nasync_workers=5"), "");
        assert!(text.contains("W0404") && text.contains("keeps 1 workers"), "{text}");
        assert_eq!(groups, owned(&[("default", 1), ("abc", 4)]));
        assert!(findings("async_usleep=5\nasync_workers=2", "").0.contains("W0404"));
        assert_eq!(findings("async_workers=2\nasync_usleep=5\nasync_nonblock=1", "").0, "");
    }

    #[test]
    fn bad_groups_are_errors() {
        for (globals, why) in [
            ("async_workers=-1", "E0503"),
            ("async_workers=100000", "0 to 1000"),
            ("async_workers_group=\"workers=4\"", "needs a name"),
            ("async_workers_group=\"name=a\"", "needs `workers=N`"),
            ("async_workers_group=\"name=a;workers=0\"", "1 to 1000"),
            ("async_workers_group=\"name=a;workers=1;x=2\"", "no attribute `x`"),
            ("async_workers_group=\"name=a;workers=1\"\nasync_workers_group=\"name=a;workers=2\"", "two task groups"),
            ("async_workers=600\nasync_workers_group=\"name=a;workers=600\"", "too many"),
            ("async_workers=1\nasync_tkv_gname=\"defalt\"", "did you mean `default`"),
        ] {
            let (text, groups) = findings(globals, "");
            assert!(text.contains(why) && groups.is_empty(), "{globals}: {text}");
        }
    }

    #[test]
    fn what_is_handed_over_needs_a_group() {
        for (globals, script, why) in [
            ("", "async_task_route(\"R\");", "E0405"),
            ("", "async_task_data(\"R\", \"x\");", "E0405"),
            ("async_workers=1", "async_task_group_route(\"R\", \"defaut\");", "did you mean `default`"),
            ("async_workers=1", "async_task_route(\"R\", \"abc\");", "no task group `abc`"),
            ("async_workers=1", "async_task_data(\"R\", \"abc\", \"text\");", "no task group `abc`"),
            ("async_workers=1", "async_task_route(\"NONE\");", "E0205"),
            ("async_workers=1", "async_tkv_emit(\"1\", \"a\", \"b\");", "W0403"),
        ] {
            let (text, _) = findings(globals, script);
            assert!(text.contains(why), "{script}: {text}");
        }
        for script in [
            "async_task_route(\"R\");",
            "async_task_route(\"R\", \"default\");",
            "async_task_group_route(\"R\", \"$var(x)\");",
            "async_task_data(\"R\", \"caller: $fU\");",
            "async_task_data(\"R\", \"default\", \"caller: $fU\");",
        ] {
            assert_eq!(findings("async_workers=1", script).0, "", "{script}");
        }
    }
}
