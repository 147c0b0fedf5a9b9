//! Parameters of aaa_radius: the client's configuration is read here, by main, before any worker is born.

use crate::base::names::suggest;
use crate::modules::env::Settings;
use crate::ops::radius::config::Config;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::format::named_list;
use crate::script::program::ModParam;
use std::path::Path;
use std::rc::Rc;

/// Takes over the parameters; reports sets that are malformed and attributes that are in no dictionary.
pub(super) fn read(settings: &mut Settings, params: &[ModParam], diags: &mut Diagnostics) {
    let ours = || params.iter().filter(|p| p.module == "aaa_radius");
    let mut named = false;
    for p in ours() {
        match p.param.as_str() {
            "radius_config" => {
                named = true;
                let path = p.value.to_text().unwrap_or_default().to_lossy().into_owned();
                let mut read = |path: &Path| std::fs::read_to_string(path).map_err(|e| e.to_string());
                match Config::load(Path::new(&path), &mut read) {
                    Ok(config) => settings.radius = Some(Rc::new(config)),
                    Err(why) => diags.push(Diagnostic::error("E0505", p.span, why)),
                }
            }
            "fetch_all_values" => settings.radius_fetch_all = p.value.to_int().is_some_and(|n| n != 0),
            _ => {}
        }
    }
    for p in ours().filter(|p| p.param == "sets") {
        let list = match named_list(&p.value.to_text().unwrap_or_default()) {
            Ok(list) => list,
            Err(why) => {
                diags.push(Diagnostic::error("E0505", p.span, why));
                continue;
            }
        };
        let Some(config) = &settings.radius else {
            if !named {
                let text = "sets of attributes are of no use without `radius_config`";
                diags.push(Diagnostic::error("E0505", p.span, text));
            }
            continue;
        };
        for (name, _) in list.items.iter().filter(|(n, _)| config.dictionary.find(n).is_none()) {
            let mut d = Diagnostic::error("E0505", p.span, format!("attribute `{name}` is in no dictionary"));
            if let Some(s) = suggest(name, config.dictionary.names()) {
                d = d.help(format!("did you mean `{s}`?"));
            }
            diags.push(d);
        }
    }
}
