//! What a dead worker's `exec` left behind: its children become main's, and are ended.
//!
//! A program that a script started in the background on purpose becomes main's child as well, while
//! its worker lives. Such children are looked up once a second and left alone.

use std::collections::HashSet;
use std::fs;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid, getpgrp, getpid};

/// Children of main that are not seats.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    known: HashSet<i32>,
}

impl Orphans {
    /// Remembers who is there while all is well.
    pub(super) fn look(&mut self, is_seat: impl Fn(i32) -> bool) {
        self.known = children().into_iter().filter(|pid| !is_seat(*pid)).collect();
    }

    /// Ends those that came with the latest death; how many.
    pub(super) fn end_new(&mut self, is_seat: impl Fn(i32) -> bool) -> usize {
        let own_group = getpgrp();
        let mut ended = 0;
        for pid in children() {
            if is_seat(pid) || self.known.contains(&pid) {
                continue;
            }
            let pid = Pid::from_raw(pid);
            // `exec` gives each command a group of its own; only then may the group be killed.
            let _ = match getpgid(Some(pid)) {
                Ok(group) if group != own_group && group.as_raw() > 1 => killpg(group, Signal::SIGKILL),
                _ => kill(pid, Signal::SIGKILL),
            };
            ended += 1;
        }
        ended
    }
}

/// Process ids of main's children.
fn children() -> Vec<i32> {
    let me = getpid().as_raw();
    if let Ok(text) = fs::read_to_string(format!("/proc/self/task/{me}/children")) {
        return text.split_ascii_whitespace().filter_map(|p| p.parse().ok()).collect();
    }
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    dir.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
            // The name stands in parentheses and may hold anything.
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1));
            parent.and_then(|p| p.parse().ok()) == Some(me)
        })
        .collect()
}
