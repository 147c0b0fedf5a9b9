//! Files with lists: destinations, addresses, rules. They lie beside the configuration; main reads them here, before it forks,
//! so that no worker ever has to ([`crate::modules::files`]).

use crate::base::Str;
use crate::modules::env::Settings;
use crate::modules::files::read_now;
use crate::modules::host::SipHost;
use crate::modules::lists::{File, rules_in};
use crate::modules::permissions::{self, allow};
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::ir::ArgPlan;
use crate::script::program::{ModParam, Program};
use crate::script::source::{SourceMap, Span};
use std::path::Path;
use std::rc::Rc;

/// Functions of OpenSIPS that look into the table of addresses.
const ABOUT_ADDRESSES: [&str; 3] = ["check_address", "check_source_address", "get_source_group"];

/// Reads all of them.
pub(super) fn read(
    settings: &mut Settings,
    params: &[ModParam],
    map: &SourceMap,
    program: Option<&Program<SipHost>>,
    diags: &mut Diagnostics,
) {
    let main = map.files().first().map_or("", |f| f.path.as_str());
    // The server may change its working directory later.
    let beside = Path::new(main).with_file_name("");
    let beside = if beside.as_os_str().is_empty() { Path::new(".") } else { beside.as_path() };
    let directory = std::path::absolute(beside).unwrap_or_default();
    let dispatcher = &mut settings.dispatcher;
    let file = directory.join(dispatcher.file.as_deref().unwrap_or("dispatcher.list"));
    if dispatcher.loaded && !dispatcher.database {
        dispatcher.text = Some(read_now(&file).map(|text| text.map(Rc::from)));
    }
    dispatcher.file = file.to_str().map(str::to_string);
    settings.permissions.directory = directory.to_string_lossy().into_owned();
    for p in params.iter().filter(|p| p.module == "permissions" && p.param == "address_file") {
        let name = p.value.to_text().unwrap_or_default();
        if let Err(why) = addresses(settings, &name) {
            diags.push(Diagnostic::error("E0505", p.span, why));
        }
    }
    let Some(program) = program else { return };
    if let Err((span, why)) = rules(settings, program) {
        diags.push(Diagnostic::error("E0505", span, why));
    }
    let calls = |names: &[&str]| program.sites.iter().any(|s| names.contains(&&*s.name));
    settings.domain.wants_attributes = calls(&["lookup_domain"]);
    if settings.permissions.by_default && !calls(&ABOUT_ADDRESSES) {
        settings.db_urls.retain(|(n, _)| *n != permissions::DATABASE);
    }
}

fn addresses(settings: &mut Settings, name: &Str) -> Result<(), String> {
    let path = settings.permissions.place(&name.to_lossy());
    let text = read_now(Path::new(&path))?.ok_or_else(|| format!("{path} is not there"))?;
    let list = permissions::Settings::addresses_in(&path, &text)?;
    settings.permissions.file = Some((path, Rc::new(list)));
    Ok(())
}

/// The files that the script's calls name.
fn rules(settings: &mut Settings, program: &Program<SipHost>) -> Result<(), (Span, String)> {
    let mut files: Vec<File> = Vec::new();
    let s = &settings.permissions;
    for site in program.sites.iter().filter(|s| allow::FUNCTIONS.contains(&&*s.name)) {
        let literal = |n: usize| match site.args.get(n) {
            Some(ArgPlan::Const(c)) => program.consts.get(*c as usize).and_then(|v| v.to_text()),
            _ => None,
        };
        let given = |n: usize| literal(n).filter(|t| !t.is_empty());
        // The second argument of allow_uri is no file.
        let second = given(1).filter(|_| &*site.name != "allow_uri");
        let first = given(0);
        let of_default = first.is_none();
        for (n, path) in allow::files(s, [first, second]).into_iter().enumerate() {
            let wanted = !of_default || s.wants(if n == 0 { 4 } else { 8 });
            if files.iter().any(|(known, _)| *known == path) {
                continue;
            }
            let text = if wanted { read_now(Path::new(&path)).map_err(|why| (site.span, why))? } else { None };
            // One that is wrong is told of where it is named.
            rules_in(&[(path.clone(), text.clone())]).map_err(|why| (site.span, why))?;
            if wanted {
                files.push((path, text));
            }
        }
    }
    settings.permissions.rules = Rc::new(rules_in(&files).unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::load::load;
    use crate::script::ast::Dialect;
    use crate::script::render::render;
    use std::fs;

    /// The findings about a configuration in a directory with these files, and which files of rules it has.
    fn findings(files: &[(&str, &str)], modparams: &str, script: &str) -> (String, Vec<(String, usize)>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let path = dir.path().join("test.cfg");
        let text = format!(
            "#!KAMAILIO\nlisten=udp:127.0.0.1:5060\nloadmodule \"sl.so\"\nloadmodule \"permissions.so\"\n{modparams}\n\
             request_route {{\n{script}\n}}\n"
        );
        fs::write(&path, text).unwrap();
        let loaded = load(&path, Some(Dialect::Kamailio));
        let said =
            if loaded.diags.list().is_empty() { String::new() } else { render(&loaded.map, &loaded.diags, false) };
        let rules = loaded.server.map(|(_, c)| c.settings.permissions.rules).unwrap_or_default();
        let name = |p: &str| p.rsplit('/').next().unwrap_or_default().to_string();
        (said, rules.iter().map(|f| (name(&f.path.to_lossy()), f.rules.len())).collect())
    }

    #[test]
    fn files_of_rules_are_those_that_the_script_names() {
        let files = [("permissions.deny", "ALL : \"^sip:9\"\n"), ("r.allow", "ALL : ALL\nALL : ALL\n")];
        let script = "allow_routing(); allow_register(\"r\"); allow_uri(\"r\", \"$rt\"); allow_routing(\"a\", \"b\");";
        let (said, rules) = findings(&files, "", script);
        assert_eq!(said, "");
        let names: Vec<(&str, usize)> = rules.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        assert_eq!(
            names,
            [("permissions.allow", 0), ("permissions.deny", 1), ("r.allow", 2), ("r.deny", 0), ("a", 0), ("b", 0)]
        );
        let params = "modparam(\"permissions\", \"load_backends\", 4)\n\
                      modparam(\"permissions\", \"default_allow_file\", \"x\")\n\
                      modparam(\"permissions\", \"deny_suffix\", \"-no\")";
        let (said, rules) = findings(&files, params, "allow_routing(); allow_routing(\"r\");");
        assert_eq!(said, "");
        assert_eq!(rules.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["x", "r.allow", "r-no"]);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_found_by_the_check() {
        let (said, _) = findings(&[("permissions.allow", "ALL : ALL\nALL : nothing\n")], "", "allow_routing();");
        assert!(said.contains("permissions.allow:2: `nothing`"), "{said}");
        let params = "modparam(\"permissions\", \"address_file\", \"list\")";
        let (said, _) = findings(&[("list", "1 10.0.0.1\nx\n")], params, "exit;");
        assert!(said.contains("list:2:"), "{said}");
        let (said, _) = findings(&[], params, "exit;");
        assert!(said.contains("list is not there"), "{said}");
    }
}
