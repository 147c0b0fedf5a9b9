//! Counters that a configuration defines, and whether those that the script names are among them.

use crate::base::names::suggest;
use crate::modules::counters::{Defined, GROUP, MAX, full_name};
use crate::modules::env::Settings;
use crate::modules::host::SipHost;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::ir::ArgPlan;
use crate::script::program::{ModParam, Program};
use crate::script::value::Value;
use crate::store::counters::ALL;

/// Functions whose first argument is the name of a counter.
const OF_COUNTERS: [&str; 5] = ["cnt_inc", "cnt_add", "cnt_reset", "update_stat", "reset_stat"];

/// Takes over the parameters of `counters` and `statistics`.
pub(super) fn read(
    settings: &mut Settings,
    params: &[ModParam],
    program: Option<&Program<SipHost>>,
    diags: &mut Diagnostics,
) {
    let text = |p: &ModParam| p.value.to_text().unwrap_or_default().to_lossy().trim().to_string();
    let named = params.iter().filter(|p| p.module == "counters" && p.param == "script_cnt_grp_name");
    settings.counter_group = named.map(text).next_back().filter(|g| !g.is_empty()).unwrap_or_else(|| GROUP.into());
    for p in params {
        let (definition, group) = match (p.module.as_str(), p.param.as_str()) {
            ("counters", "script_counter") => (text(p), settings.counter_group.clone()),
            ("statistics", "variable") => (text(p), GROUP.to_string()),
            _ => continue,
        };
        let (name, description) = match (p.module.as_str(), definition.split_once(char::is_whitespace)) {
            ("counters", Some((name, description))) => (name, description.trim()),
            ("statistics", _) => (definition.split('/').next().unwrap_or_default(), ""),
            _ => (definition.as_str(), ""),
        };
        let name = full_name(name.trim(), &group);
        let sound = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
        if name.ends_with(':') || name.starts_with(':') || !name.bytes().all(sound) {
            let d = Diagnostic::error("E0505", p.span, format!("`{definition}` names no counter"));
            diags.push(d.help("write `NAME` or `GROUP.NAME`, in letters, digits and signs"));
        } else if ALL.iter().any(|c| c.to_string() == name) {
            diags.push(Diagnostic::error("E0505", p.span, format!("`{name}` is a counter of the server's own")));
        } else if settings.counters.len() >= MAX {
            diags.push(Diagnostic::error("E0505", p.span, format!("more than {MAX} counters")));
        } else if !settings.counters.iter().any(|c| c.name == name) {
            settings.counters.push(Defined { name, description: description.to_string() });
        }
    }
    if let Some(program) = program {
        check(settings, program, diags);
    }
}

/// The names of counters that are known before anything runs.
fn check(settings: &Settings, program: &Program<SipHost>, diags: &mut Diagnostics) {
    for site in &program.sites {
        let name = site.function.kamailio.or(site.function.opensips).unwrap_or_default();
        let Some(ArgPlan::Const(n)) = site.args.first().filter(|_| OF_COUNTERS.contains(&name)) else { continue };
        let Some(text) = program.consts.get(*n as usize).and_then(Value::to_text) else { continue };
        let text = text.to_lossy();
        let full = full_name(&text, &settings.counter_group);
        if settings.counters.iter().any(|c| c.name == full) {
            continue;
        }
        let d = Diagnostic::error("E0302", site.span, format!("no counter is named `{text}`"));
        diags.push(match suggest(&full, settings.counters.iter().map(|c| c.name.as_str())) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None if name.starts_with("cnt") => {
                d.help(format!("define it with `modparam(\"counters\", \"script_counter\", \"{text}\")`"))
            }
            None => d.help(format!("define it with `modparam(\"statistics\", \"variable\", \"{text}\")`")),
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::load::load_text;

    fn found(params: &str, body: &str) -> (Vec<String>, String) {
        let text = format!(
            "#!KAMAILIO\nlisten=udp:127.0.0.1:5060\nloadmodule \"counters.so\"\nloadmodule \"statistics.so\"\n{params}\n\
             request_route {{ {body} exit; }}\n"
        );
        let loaded = load_text("c.cfg", &text, crate::script::parse::Options::default());
        let names = loaded.server.map(|(_, s)| s.settings.counters.into_iter().map(|c| c.name).collect());
        let wrong: Vec<String> = loaded.diags.list().iter().map(|d| d.message.clone()).collect();
        (names.unwrap_or_default(), wrong.join("; "))
    }

    #[test]
    fn what_is_defined() {
        let params = "modparam(\"counters\", \"script_cnt_grp_name\", \"my\")\n\
                      modparam(\"counters\", \"script_counter\", \"calls all calls\")\n\
                      modparam(\"counters\", \"script_counter\", \"gw.failed\")\n\
                      modparam(\"statistics\", \"variable\", \"refused/no_reset\")\n";
        let body = "cnt_inc(\"calls\"); cnt_add(\"gw.failed\", \"2\"); update_stat(\"script:refused\", \"+1\");";
        assert_eq!(
            found(params, body),
            (["my:calls", "gw:failed", "script:refused"].map(String::from).to_vec(), String::new())
        );
        assert!(found(params, "cnt_inc(\"call\");").1.contains("no counter is named `call`"));
        assert!(found("modparam(\"counters\", \"script_counter\", \"core.rcv_requests\")", "").1.contains("own"));
        assert!(found("modparam(\"counters\", \"script_counter\", \"\")", "").1.contains("names no counter"));
    }
}
