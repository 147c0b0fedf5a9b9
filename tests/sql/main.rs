//! The SQL engines against real databases and against servers that misbehave. A small loop (`lp`)
//! drives reactor and driver as a worker does.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod both;
mod db;
mod hostile;
mod lp;
mod mysql;
mod mysql_auth;
mod mysql_faults;
mod mysql_servers;
mod oracle;
mod sqlite;
