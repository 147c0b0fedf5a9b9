//! Becoming another user, after everything privileged is done (`-u`, `-g`).

use std::ffi::CString;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, chown, initgroups, setgid, setgroups, setuid};

/// Who to become.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    user: Option<Uid>,
    group: Option<Gid>,
    /// For the supplementary groups.
    name: Option<String>,
}

impl Identity {
    /// Looks the names up (numbers are taken as they are). May read files: in main, at start.
    pub(super) fn find(user: Option<&str>, group: Option<&str>) -> Result<Identity, String> {
        let mut found = Identity { user: None, group: None, name: None };
        if let Some(name) = user {
            let entry = User::from_name(name).map_err(|e| format!("user {name}: {e}"))?;
            let entry = match (entry, name.parse::<u32>()) {
                (Some(entry), _) => Some(entry),
                (None, Ok(id)) => User::from_uid(Uid::from_raw(id)).map_err(|e| format!("user {name}: {e}"))?,
                (None, Err(_)) => return Err(format!("user {name}: there is no such user")),
            };
            match entry {
                Some(entry) => {
                    found.user = Some(entry.uid);
                    found.group = Some(entry.gid);
                    found.name = Some(entry.name);
                }
                // A number that no user has is as good as any.
                None => found.user = name.parse().ok().map(Uid::from_raw),
            }
        }
        if let Some(name) = group {
            let entry = Group::from_name(name).map_err(|e| format!("group {name}: {e}"))?;
            found.group = match (entry, name.parse::<u32>()) {
                (Some(entry), _) => Some(entry.gid),
                (None, Ok(id)) => Some(Gid::from_raw(id)),
                (None, Err(_)) => return Err(format!("group {name}: there is no such group")),
            };
        }
        Ok(found)
    }

    /// Gives a file to whom we are going to be, so that it can be removed later.
    pub(super) fn give(&self, path: &Path) {
        if self.user.is_some() || self.group.is_some() {
            let _ = chown(path, self.user, self.group);
        }
    }

    /// Becomes it; there is no way back.
    pub(super) fn assume(&self) -> Result<(), String> {
        if self.user.is_none() && self.group.is_none() {
            return Ok(());
        }
        let group = self.group.unwrap_or(Gid::effective());
        let is_already = self.user.is_none_or(|u| u == Uid::effective()) && group == Gid::effective();
        if is_already && !Uid::effective().is_root() {
            return Ok(());
        }
        let failed = |what: &str, e: nix::Error| format!("cannot change {what}: {e}");
        match self.name.as_deref().and_then(|n| CString::new(n).ok()) {
            Some(name) => initgroups(&name, group).map_err(|e| failed("the groups", e))?,
            None => setgroups(&[group]).map_err(|e| failed("the groups", e))?,
        }
        setgid(group).map_err(|e| failed("the group", e))?;
        if let Some(user) = self.user {
            setuid(user).map_err(|e| failed("the user", e))?;
            if !user.is_root() && setuid(Uid::from_raw(0)).is_ok() {
                return Err("the privileges could be taken back".into());
            }
        }
        // A change of user switches off core dumps and closes /proc/self to us.
        let _ = nix::sys::prctl::set_dumpable(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        let root = Identity::find(Some("root"), None).unwrap();
        assert_eq!((root.user, root.group), (Some(Uid::from_raw(0)), Some(Gid::from_raw(0))));
        assert_eq!(Identity::find(Some("0"), None).unwrap(), root);
        assert_eq!(Identity::find(None, Some("4711")).unwrap().group, Some(Gid::from_raw(4711)));
        assert!(Identity::find(Some("no-such-user-here"), None).unwrap_err().contains("no such user"));
        assert!(Identity::find(None, Some("no-such-group-here")).is_err());
        assert_eq!(Identity::find(None, None).unwrap().assume(), Ok(()));
    }
}
