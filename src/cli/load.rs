//! From a configuration file to everything the server needs: tree, checked program, settings.
//! `-c` stops here; a start goes on from here. Both see the same findings.

use super::settings::{ServerConfig, read_settings};
use crate::modules::host::SipHost;
use crate::script::ast::{Config, Dialect};
use crate::script::diagnostics::Diagnostics;
use crate::script::lower;
use crate::script::parse::{self, Options};
use crate::script::program::Program;
use crate::script::source::SourceMap;
use std::path::Path;

/// A configuration as far as it could be understood.
pub struct Loaded {
    /// Its texts.
    pub map: SourceMap,
    /// What is wrong with it.
    pub diags: Diagnostics,
    /// Its language.
    pub dialect: Dialect,
    /// Its tree.
    pub config: Config,
    /// The program and the settings; `None` if anything is wrong.
    pub server: Option<(Program<SipHost>, ServerConfig)>,
}

/// Reads, checks and compiles a configuration.
pub fn load(path: &Path, options: impl Into<Options>) -> Loaded {
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let (dialect, config) = parse::parse_file_as(path, &options.into(), &mut map, &mut diags);
    check(dialect, config, map, diags)
}

/// The same for a text that calls itself `name`; includes are looked up as for a file of that name.
pub fn load_text(name: &str, text: &str, options: impl Into<Options>) -> Loaded {
    let (mut map, mut diags) = (SourceMap::default(), Diagnostics::default());
    let (dialect, config) = parse::parse_text_as(name, text, &options.into(), &mut map, &mut diags);
    check(dialect, config, map, diags)
}

fn check(dialect: Dialect, config: Config, map: SourceMap, mut diags: Diagnostics) -> Loaded {
    let program = lower::compile::<SipHost>(dialect, &config, &map, &mut diags);
    let params = program.as_ref().map(|p| p.modparams.clone()).unwrap_or_default();
    let mut settings = read_settings(dialect, &config, &params, &mut diags);
    let loaded = |module: &str| program.as_ref().is_some_and(|p| p.modules.contains(&module));
    settings.settings.dialogs.loaded = loaded("dlgs");
    settings.settings.dispatcher.loaded = loaded("dispatcher");
    settings.settings.uac.loaded = loaded("uac");
    settings.settings.uac.bare_names = dialect == Dialect::Kamailio;
    super::lists::read(&mut settings.settings, &params, &map, program.as_ref(), &mut diags);
    if loaded("uac_registrant") && settings.settings.uac.registrations.columns.is_none() {
        settings.settings.uac.registrations = crate::modules::uac::registrations::Settings::of_opensips();
    }
    super::counters::read(&mut settings.settings, &params, program.as_ref(), &mut diags);
    if dialect == Dialect::Kamailio {
        super::http_client::read(&mut settings.settings, &params, &map, program.as_ref(), &mut diags);
    }
    if let Some(program) = &program {
        super::needs::check(&config, program, &settings.settings, &mut diags);
        super::groups::check(program, &settings.settings, &mut diags);
        super::transactions::check(program, &params, &settings.settings, &mut diags);
        super::named_routes::check(&params, program, &mut diags);
    }
    let server = match (program, diags.has_errors()) {
        (Some(program), false) => Some((program, settings)),
        _ => None,
    };
    super::equivalents::add(dialect, &mut diags);
    diags.tell_once(&map);
    Loaded { map, diags, dialect, config, server }
}
