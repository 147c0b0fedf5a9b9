//! `avpops` (OpenSIPS 2.2; opensips.md section 3.4): AVPs in memory and in a table. Names are given
//! as text, `"$avp(x)"`, with flags and further parts behind slashes; `a` means every AVP (2.2's `s`
//! and `i`, all with a text or a number as name, mean the same, since all names are texts).
//! `avp_print` is a core function.

mod check;
mod db;
mod memory;
pub mod name;
mod operate;
mod push;

pub use check::from_glob;

use super::host::SipHost;
use super::sqlops;
use crate::script::ast::Dialect;
use crate::script::registry::{ModuleSpec, RouteSet};

/// Routes of the functions that touch memory alone.
const ROUTES: RouteSet = RouteSet::ALL;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "avpops",
    dialects: &[Dialect::OpenSips],
    functions: &[
        db::AVP_DB_QUERY,
        db::AVP_DB_LOAD,
        db::AVP_DB_STORE,
        db::AVP_DB_DELETE,
        memory::AVP_DELETE,
        memory::AVP_COPY,
        memory::AVP_INSERT,
        memory::IS_AVP_SET,
        check::AVP_CHECK,
        operate::AVP_OP,
        operate::AVP_SUBST,
        push::AVP_PUSHTO,
    ],
    params: sqlops::PARAMS,
    any_param: false,
    needs: &[],
};

#[cfg(test)]
mod tests;
