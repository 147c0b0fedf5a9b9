//! What main tells operators about the start, in the words of Kamailio's `core.*` methods.

use crate::net::listen::Listener;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is known when the server starts and does not change.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Modules that the configuration loads.
    pub modules: Vec<String>,
    /// Further names of ours: host and port.
    pub aliases: Vec<(String, Option<u16>)>,
    /// The preprocessor's defines.
    pub defines: Vec<(String, Option<String>)>,
    /// Most stream connections.
    pub max_connections: usize,
    /// Directory of the shared store, and to how many bytes it may grow.
    pub store: Option<(PathBuf, usize)>,
}

impl Facts {
    /// `core.modules`, `core.ppdefines`, `core.ppdefines_full`, `core.aliases_list`, `core.shmmem`, `core.arg`, `core.pwd`;
    /// `None`: none of these.
    pub(super) fn answer(&self, method: &str) -> Option<Value> {
        Some(match method {
            "core.modules" => json!(self.modules),
            "core.ppdefines" => self.defines.iter().map(|(n, _)| json!(n)).collect(),
            "core.ppdefines_full" => {
                self.defines.iter().map(|(n, v)| json!({ "name": n, "value": v.clone().unwrap_or_default() })).collect()
            }
            "core.aliases_list" => {
                let entry = |(host, port): &(String, Option<u16>)| json!({ "proto": "*", "address": host, "port": port.map_or_else(|| "*".to_string(), |p| p.to_string()) });
                json!({ "myself_callbacks": "no", "alias": self.aliases.iter().map(entry).collect::<Vec<_>>() })
            }
            "core.shmmem" => self.memory(),
            "core.arg" => std::env::args_os().map(|a| json!(a.to_string_lossy())).collect(),
            "core.pwd" => json!(std::env::current_dir().unwrap_or_default().display().to_string()),
            _ => return None,
        })
    }

    /// The shared store as memory: a file of pages, of which as many exist as were ever used.
    fn memory(&self) -> Value {
        let total = self.store.as_ref().map_or(0, |(_, size)| *size as u64);
        let used = self.store.as_ref().map_or(0, |(dir, _)| used(dir));
        json!({
            "total": total, "free": total.saturating_sub(used), "used": used, "real_used": used, "max_used": used,
            "fragments": 0,
        })
    }
}

/// Bytes that the files of a directory take.
fn used(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|f| f.metadata().ok()).map(|m| m.blocks().saturating_mul(512)).sum()
}

/// `core.sockets_list`
pub(super) fn sockets(listeners: &[Rc<Listener>]) -> Value {
    let entry = |l: &Rc<Listener>| {
        json!({
            "proto": l.transport.name(), "address": l.addr.ip().to_string(), "ipaddress": l.addr.ip().to_string(),
            "port": l.addr.port().to_string(), "mcast": "no", "mhomed": "no",
            "advertise": l.advertised.as_ref().map_or_else(|| "-".to_string(), |(h, p)| format!("{h}:{p}")),
            "name": l.tag.clone().unwrap_or_default(),
        })
    };
    json!({ "socket": listeners.iter().map(entry).collect::<Vec<_>>() })
}
