//! Routes that parameters of modules name.

use crate::base::names::suggest;
use crate::modules::host::SipHost;
use crate::script::ast::RouteKind;
use crate::script::diagnostics::{Diagnostic, Diagnostics};
use crate::script::program::{ModParam, Program};

/// Module and parameter.
const PARAMS: [(&str, &str); 2] = [("pike", "check_route"), ("dispatcher", "algo_route")];

/// Reports those that are not there.
pub(super) fn check(params: &[ModParam], program: &Program<SipHost>, diags: &mut Diagnostics) {
    for p in params.iter().filter(|p| PARAMS.contains(&(p.module.as_str(), p.param.as_str()))) {
        let name = p.value.to_text().unwrap_or_default().to_lossy().into_owned();
        if name.is_empty() || program.find_route(RouteKind::Request, Some(&name)).is_some() {
            continue;
        }
        let d = Diagnostic::error("E0205", p.span, format!("{} names `route[{name}]`, which is not there", p.param));
        let known: Vec<String> =
            program.routes_of(RouteKind::Request).filter_map(|(_, r)| r.name.as_deref().map(str::to_owned)).collect();
        diags.push(match suggest(&name, known.iter().map(String::as_str)) {
            Some(s) => d.help(format!("did you mean `{s}`?")),
            None => d.help(format!("add `route[{name}] {{ ... }}`")),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::load_text;
    use crate::script::ast::Dialect;
    use crate::script::render::render;

    #[test]
    fn routes_must_be_there() {
        let findings = |name: &str| {
            let text = format!(
                "socket=udp:127.0.0.1:5060\nloadmodule \"pike.so\"\nmodparam(\"pike\", \"check_route\", \"{name}\")\n\
                 route {{ exit; }}\nroute[floods] {{ drop; }}\n"
            );
            let loaded = load_text("routes.cfg", &text, Some(Dialect::OpenSips));
            if loaded.diags.list().is_empty() { String::new() } else { render(&loaded.map, &loaded.diags, false) }
        };
        assert_eq!(findings("floods"), "");
        let said = findings("flods");
        assert!(said.contains("E0205") && said.contains("did you mean `floods`?"), "{said}");
    }
}
