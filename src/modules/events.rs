//! Which event routes of Kamailio's language the server runs, and how (kamailio.md section 1.9).

use crate::script::host::EventSort;

/// Run by themselves: these may wait. What ends with `:` is followed by a name.
#[rustfmt::skip]
const RUN: &[&str] = &[
    "core:modinit-before",
    "core:tkv",
    "dispatcher:dst-down",
    "dispatcher:dst-up",
    "htable:mod-init",
    "htable:expired:",
    "htable:reloaded:",
    "mqueue:",
    "sl:filtered-ack",
    "tcp:closed",
    "tcp:reset",
    "tcp:timeout",
    "tm:branch-failure:",
    "tm:local-ack-sent",
    "tm:local-response",
    "uac:reply",
    "usrloc:contact-expired",
];

/// Run in the middle of something else.
const HOOKS: &[&str] = &[
    "core:msg-received",
    "core:pre-routing",
    "core:receive-parse-error",
    "corex:reply-out",
    "network:msg",
    "sl:local-response",
];

/// What becomes of `event_route[name]`.
pub fn sort(name: &str) -> EventSort {
    let fits = |known: &&'static str| match known.strip_suffix(':') {
        Some(_) => name.len() > known.len() && name.starts_with(known),
        None => name == *known,
    };
    if HOOKS.iter().any(fits) {
        EventSort::Hook
    } else if RUN.iter().any(fits) {
        EventSort::Run
    } else {
        EventSort::Never
    }
}
