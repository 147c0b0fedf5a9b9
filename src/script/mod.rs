//! The script: two front ends, one tree, one machine. Knows no SIP and no I/O: everything a
//! script touches outside of itself goes through the [`host::Host`] trait.
//!
//! Stages, each with a type of its own: text ([`source`]) -> tokens -> tree ([`ast`]) ->
//! checked program ([`ir`]) -> runs ([`vm`]).

pub mod ast;
pub mod diagnostics;
pub mod host;
pub mod registry;
pub mod source;
pub mod value;
