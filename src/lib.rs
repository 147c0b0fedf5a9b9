//! **reprise**: a SIP server whose routing script never blocks a worker.
//!
//! The layers, in order; a module imports only modules that stand earlier in this list
//! (`tests/layering.rs` enforces it). Start reading at `worker/run.rs`, then
//! `worker/receive.rs` and `worker/resume.rs`.

#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod base;
pub mod cli;
pub mod control;
pub mod modules;
pub mod net;
pub mod ops;
pub mod script;
pub mod sip;
pub mod store;
pub mod supervisor;
pub mod transaction;
pub mod worker;
