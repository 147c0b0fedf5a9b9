//! From a configuration to a simulated worker.

use super::load::{Loaded, load, load_text};
use super::server::{Places, blueprint, environment};
use super::settings::ServerConfig;
use crate::modules::time_text::WallClock;
use crate::net::listen::{ListenSpec, Listener};
use crate::script::ast::Dialect;
use crate::script::render::render;
use crate::store::{ConnTable, Shared};
use crate::worker::Blueprint;
use crate::worker::sim::{Sim, SimOptions};
use std::path::Path;
use std::rc::Rc;

/// Where a server without any `socket` line listens in a simulation.
pub const DEFAULT_SOCKET: &str = "udp:127.0.0.1:5060";

/// A configuration's text.
#[derive(Clone, Copy, Debug)]
pub enum ConfigText<'a> {
    /// A file.
    File(&'a Path),
    /// A text, and the file name it goes by (for findings and includes).
    Text(&'a str, &'a str),
}

/// Where the simulated server listens.
#[derive(Clone, Copy, Debug)]
pub enum Sockets<'a> {
    /// As the configuration says.
    Own,
    /// There, as `-l` takes it.
    These(&'a [String]),
}

/// Starts a worker with this configuration in a simulation. The error is the findings as text.
pub fn simulate(config: ConfigText<'_>, dialect: Option<Dialect>, options: SimOptions) -> Result<Sim, String> {
    simulate_with(config, dialect, options, Sockets::Own)
}

/// The same with the sockets of the configuration or others.
pub fn simulate_with(
    config: ConfigText<'_>,
    dialect: Option<Dialect>,
    options: SimOptions,
    sockets: Sockets<'_>,
) -> Result<Sim, String> {
    let blueprint = simulated_blueprint(config, dialect, &options, sockets)?;
    Sim::new(blueprint, options).map_err(|e| e.to_string())
}

/// What a simulated worker is made from; no address of it needs to exist on this machine.
pub fn simulated_blueprint(
    config: ConfigText<'_>,
    dialect: Option<Dialect>,
    options: &SimOptions,
    sockets: Sockets<'_>,
) -> Result<Blueprint, String> {
    let Loaded { map, diags, server, .. } = match config {
        ConfigText::File(path) => load(path, dialect),
        ConfigText::Text(text, name) => load_text(name, text, dialect),
    };
    let Some((program, mut config)) = server else { return Err(render(&map, &diags, false)) };
    if let Sockets::These(list) = sockets {
        let specs = list.iter().map(|text| ListenSpec::parse(text).map_err(|e| e.to_string()));
        config.sockets = specs.collect::<Result<_, _>>()?;
    }
    let listeners = listeners(&config)?;
    let mut env = environment(&config, &listeners, options.seed, WallClock::simulated(options.wall));
    env.store = Some(Shared::in_memory());
    env.nonce_key[..8].copy_from_slice(&options.seed.to_be_bytes());
    let env = Rc::new(env);
    let conns =
        ConnTable::new(1, config.streams.max_connections).map_err(|e| format!("the table of connections: {e}"))?;
    Ok(blueprint(program, env, &config, conns, Places::default()))
}

fn listeners(config: &ServerConfig) -> Result<Vec<Listener>, String> {
    let mut specs = config.sockets.clone();
    if specs.is_empty() {
        specs.push(ListenSpec::parse(DEFAULT_SOCKET).map_err(|e| e.to_string())?);
    }
    let mut listeners = Vec::new();
    for mut spec in specs {
        // All interfaces: a machine with one, so that every simulation is the same.
        if spec.host == "*" {
            spec.host = "127.0.0.1".into();
        }
        for mut listener in spec.resolve().map_err(|e| e.to_string())? {
            listener.index = listeners.len();
            listeners.push(listener);
        }
    }
    Ok(listeners)
}
