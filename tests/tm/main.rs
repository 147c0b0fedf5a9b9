//! Transactions as scripts use them: each function of tm with its codes, variables, parameters, on the
//! simulated worker.

#![allow(clippy::unwrap_used)]

mod auth;
mod bed;
mod contacts;
mod control;
mod forking;
mod hooks;
mod inject;
mod kamailio;
mod own;
mod registrant;
mod relay;
mod routes;
mod variables;
