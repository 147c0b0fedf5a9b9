//! The supervisor: main's part of the server. Opens the sockets, forks the children, replaces those
//! that die, answers the control socket, and ends the whole in order. It never runs a script and
//! never parses a packet: what could crash is in its children.
//!
//! Start reading at [`run::run`], then `main_loop.rs`.

pub mod facts;
pub mod plan;
pub mod run;

mod asked;
mod backoff;
mod calls;
mod children;
mod core_methods;
mod fork;
mod main_loop;
mod methods;
mod orphans;
mod pidfile;
mod privileges;
mod statistics;
mod sys;
mod systemd;
mod vacancy;
mod watch;

pub use plan::{ControlPlan, GroupPlan, HelperPlan, Plan};
pub use run::{run, run_to_code};
