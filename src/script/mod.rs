//! The script: two front ends, one tree, one machine. Knows no SIP and no I/O: everything a
//! script touches outside of itself goes through the [`host::Host`] trait.
//!
//! Stages, each with a type of its own: text ([`source`]) -> tokens -> tree ([`ast`]) ->
//! checked program ([`ir`]) -> runs ([`vm`]).

pub mod arith;
pub mod ast;
pub mod avp;
pub mod codes;
pub mod compare;
pub mod diagnostics;
pub mod format;
pub mod host;
pub mod ir;
pub mod lex;
pub mod lower;
pub mod parse;
pub mod pattern;
pub mod preprocess;
pub mod print;
pub mod program;
pub mod pv;
pub mod registry;
pub mod render;
pub mod resolve;
pub mod source;
pub mod transform;
pub mod value;
pub mod vm;
pub mod xavp;
