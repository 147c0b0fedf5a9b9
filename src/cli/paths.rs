//! Where the relative paths of a configuration stand: the control socket in the runtime directory, database
//! files in the state directory that systemd made for the service; without systemd both in the working
//! directory. So one configuration serves a checkout and an installed server.

use super::settings::ServerConfig;
use crate::base::Str;
use crate::ops::sql::url::{DbUrl, SqliteUrl};
use std::env;
use std::path::{Path, PathBuf};

/// The directories of one start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directories {
    /// Sockets.
    pub runtime: PathBuf,
    /// Databases.
    pub state: PathBuf,
}

impl Directories {
    /// Those of this process; `workdir` is where it will work (`-w`, `wdir`), if it is to change there.
    pub fn find(workdir: Option<&Path>) -> Directories {
        let here = env::current_dir().unwrap_or_default();
        let work = workdir.map_or_else(|| here.clone(), |w| here.join(w));
        let of = |name: &str| {
            // systemd separates several by colons; the first one is the service's own.
            let list = env::var(name).ok()?;
            list.split(':').next().filter(|d| d.starts_with('/')).map(PathBuf::from)
        };
        Directories {
            runtime: of("RUNTIME_DIRECTORY").unwrap_or_else(|| work.clone()),
            state: of("STATE_DIRECTORY").unwrap_or(work),
        }
    }

    /// Makes the relative paths of a configuration absolute. Returns the database files that are to be
    /// made, with data to try things with, if they are not there (`sqlite://FILE?demo=yes`).
    pub fn settle(&self, config: &mut ServerConfig) -> Vec<PathBuf> {
        if let Some(path) = &mut config.control_socket {
            *path = self.runtime.join(&path);
        }
        let mut demos = Vec::new();
        for (_, url) in &mut config.settings.db_urls {
            let Ok(DbUrl::Sqlite(file)) = DbUrl::parse(url) else { continue };
            let path = self.state.join(&file.path);
            *url = url_of(&path);
            if file.demo && !demos.contains(&path) {
                demos.push(path);
            }
        }
        demos
    }
}

/// The URL of a database file, as [`DbUrl::parse`] reads it.
fn url_of(path: &Path) -> Str {
    Str::from(SqliteUrl::of(path).to_string().replace('%', "%25").replace('?', "%3F"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_get_their_places() {
        let dirs = Directories { runtime: "/run/reprise".into(), state: "/var/lib/100%".into() };
        let mut config = ServerConfig { control_socket: Some("ctl.sock".into()), ..ServerConfig::default() };
        let urls = ["sqlite://a.db?demo=yes", "sqlite:///srv/b.db", "mysql://u:p@h/d", "sqlite://a.db"];
        config.settings.db_urls = (0..).zip(urls.map(Str::from)).collect();
        assert_eq!(dirs.settle(&mut config), [PathBuf::from("/var/lib/100%/a.db")]);
        assert_eq!(config.control_socket, Some("/run/reprise/ctl.sock".into()));
        let paths: Vec<_> = config
            .settings
            .db_urls
            .iter()
            .map(|(_, u)| match DbUrl::parse(u) {
                Ok(DbUrl::Sqlite(f)) => f.path.display().to_string(),
                _ => u.to_lossy().into_owned(),
            })
            .collect();
        assert_eq!(paths, ["/var/lib/100%/a.db", "/srv/b.db", "mysql://u:p@h/d", "/var/lib/100%/a.db"]);
    }

    #[test]
    fn the_working_directory_is_the_last_resort() {
        let dirs = Directories::find(Some(Path::new("/srv/w")));
        if env::var_os("STATE_DIRECTORY").is_none() {
            assert_eq!(dirs.state, Path::new("/srv/w"));
        }
    }
}
