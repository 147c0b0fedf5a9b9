//! A SIP worker: one process, one thread, one poll. Read [`run`] first (the loop), then
//! [`receive`] (what comes in) and [`resume`] (what goes on).
//!
//! The life of one request: [`receive`] parses it, finds its owner, matches it against the
//! transactions and starts a run of the request route. [`drive`] executes the run; whatever it
//! asks for is carried out by [`perform`] (or [`relay`]), at once or by parking the run. When
//! what it waits for is done, [`resume`] gives the run its outcome and drives it on. All that
//! leaves goes through [`outputs`].

pub mod run;
pub mod seat;
pub mod sim;

mod accounting;
mod asks;
mod away;
mod beside;
mod blacklist;
mod block;
mod branch_failure;
mod build;
mod conn_events;
mod control;
mod control_cfg;
mod control_location;
mod control_pike;
mod control_store;
mod control_tm;
mod control_uac;
mod courier;
mod dialogs;
mod dispatcher;
mod drain;
mod drive;
mod expiry;
mod faults;
mod finish;
mod forward;
mod groups;
mod guests;
mod hooks;
mod inject;
mod keepalive;
mod load_lists;
mod load_location;
mod load_tables;
mod local;
mod locate;
mod location;
mod lock_table;
mod locks;
mod loops;
mod lost_contacts;
mod memory;
mod natping;
mod neighbours;
mod outputs;
mod owners;
mod perform;
mod queues;
mod receive;
mod registrant;
mod relay;
mod replies;
mod resume;
mod saved_queues;
mod several;
mod state;
mod statistics;
mod streams;
mod suspend;
mod tables;
mod timers;
mod uac;
mod unreachable;
mod unroutable;
mod view;

pub use saved_queues::SAVING;
pub use state::{Blueprint, Worker};
