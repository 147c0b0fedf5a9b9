//! The script machine, black box: scripts in, what they did out. Every script here is also run
//! one instruction at a time, the run encoded and decoded in between.

#[path = "machine/host.rs"]
mod host;

#[path = "machine/check.rs"]
mod check;
#[path = "machine/expressions.rs"]
mod expressions;
#[path = "machine/kamailio.rs"]
mod kamailio;
#[path = "machine/several.rs"]
mod several;
#[path = "machine/statements.rs"]
mod statements;
#[path = "machine/suspension.rs"]
mod suspension;
