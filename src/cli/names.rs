//! The files that names are looked up in (`/etc/hosts`, `/etc/resolv.conf`): main looks once a second whether
//! they have changed, reads them then, and tells the workers, who never touch a file.

use crate::net::resolver::ResolverOptions;
use crate::net::resolver::config::read;
use crate::worker::seat::ToChild;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A larger file is read at the start only: it would take a worker too long to look through.
const MAX: u64 = 1 << 20;

/// What tells one version of a file from another.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let m = fs::metadata(path).ok()?;
    Some((m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.len()))
}

/// What main asks once a second.
pub(super) fn watch(options: &ResolverOptions) -> Box<dyn FnMut() -> Option<ToChild>> {
    let files: [PathBuf; 2] = [options.resolv_conf.clone(), options.hosts.clone()];
    let mut seen: [Stamp; 2] = [stamp(&files[0]), stamp(&files[1])];
    Box::new(move || {
        let now = [stamp(&files[0]), stamp(&files[1])];
        if now == seen {
            return None;
        }
        seen = now;
        if seen.iter().flatten().any(|s| s.4 > MAX) {
            log::warn!("{} or {} is larger than 1 MiB: not read anew", files[0].display(), files[1].display());
            return None;
        }
        log::info!("{} or {} has changed: read anew", files[0].display(), files[1].display());
        Some(ToChild::Names { resolv: read(&files[0]), hosts: read(&files[1]) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("hosts"), "10.0.0.1 a\n").unwrap();
        let options =
            ResolverOptions { resolv_conf: path("resolv"), hosts: path("hosts"), ..ResolverOptions::default() };
        let mut watch = watch(&options);
        assert_eq!(watch(), None);
        fs::write(path("hosts"), "10.0.0.1 a\n10.0.0.2 b\n").unwrap();
        let Some(ToChild::Names { resolv, hosts }) = watch() else { panic!("no news") };
        assert_eq!((resolv.as_str(), hosts.as_str()), ("", "10.0.0.1 a\n10.0.0.2 b\n"));
        assert_eq!(watch(), None);
        fs::write(path("resolv"), "nameserver 10.0.0.9\n").unwrap();
        assert!(watch().is_some());
        fs::remove_file(path("hosts")).unwrap();
        assert_eq!(watch(), Some(ToChild::Names { resolv: "nameserver 10.0.0.9\n".into(), hosts: String::new() }));
        fs::write(path("hosts"), vec![b'#'; 2 << 20]).unwrap();
        assert_eq!((watch(), watch()), (None, None));
    }
}
