//! The configuration that Kamailio's package installs, unmodified, on the real Kamailio and on this server: the same
//! messages, the same answers. SIPp and a real user agent drive it too.
//!
//! The file is taken from the installed package (`/etc/kamailio/kamailio.cfg`), its tables from the package's SQL files.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod baresip;
mod calls;
mod database;
mod dlgs;
mod exports;
mod flood;
mod forms;
mod load;
mod methods;
mod names;
mod operators;
mod phone;
mod registrant;
mod registrations;
mod requests;
mod schema;
mod server;
mod six;
mod tables;
mod texts;

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Makes two tests of each case: one on Kamailio, one on this server.
#[macro_export]
macro_rules! on_both {
    ($($(#[$attr:meta])* $name:ident)*) => {
        mod kamailio {
            $($(#[$attr])* #[test] fn $name() { super::$name($crate::server::Kind::Kamailio) })*
        }
        mod reprise {
            $($(#[$attr])* #[test] fn $name() { super::$name($crate::server::Kind::Reprise) })*
        }
    };
}
