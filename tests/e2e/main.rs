//! End-to-end tests: the real binary with real parts. One program, so that the parts that tests
//! share (database, web server, certificates) are started once.
//!
//! A new topic is a file here and a `mod` line below. Tests run in parallel; one that measures
//! time takes `support::exclusive()` first.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod acc;
mod async_examples;
mod auth;
mod backends;
mod calls;
mod common;
mod core_params;
#[path = "../torture/corpus.rs"]
mod corpus;
mod demo;
mod dispatcher;
mod dispatcher_ways;
mod dns;
mod faults;
mod forks;
mod groups;
mod harness;
mod http_kamailio;
mod kamailio;
mod kamailio_modules;
mod kamailio_tm;
mod kamailio_variables;
mod keepalive;
mod lists;
mod location;
mod locks;
mod main_job;
mod malformed;
mod natted;
mod opensips_modules;
mod parts;
mod plain;
mod processes;
mod radius;
mod recovery;
mod registrations;
mod reinvites;
mod saved_queues;
mod seeds;
mod stall;
mod store;
mod suspend;
mod suspend_peer;
mod tcp;
mod tcp_events;
mod tcp_options;
mod torture;
mod unreachable;
mod waits_check;
mod waits_children;
mod waits_common;
mod waits_exec;
mod waits_forms;
mod waits_http;
mod waits_http_ways;
mod waits_many;
mod waits_more;
mod waits_routes;
mod waits_several;
mod waits_sql;
