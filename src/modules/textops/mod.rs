//! `textops`: searching and changing the message as text (opensips.md section 4.7). Searches see
//! the message as it came; changes are kept apart from it until it is sent, so that a second
//! function does not see what the first one changed. Content-Length follows a changed body.

mod find;
mod literal;
mod replace;
mod search;
pub mod subst;

pub use subst::with_subst;

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::{ModuleSpec, RouteSet};

/// Routes of the functions here.
const ROUTES: RouteSet = RouteSet::letters("RFOBL");

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "textops",
    dialects: &[Dialect::OpenSips],
    functions: &[
        search::SEARCH,
        search::SEARCH_BODY,
        search::SEARCH_APPEND,
        search::SEARCH_APPEND_BODY,
        search::SEARCH_STR,
        search::REGEX_SUBSTRING,
        replace::REPLACE,
        replace::REPLACE_ALL,
        replace::REPLACE_BODY,
        replace::REPLACE_BODY_ALL,
        replace::REPLACE_BODY_ATONCE,
        replace::REPLACE_HDRS,
        literal::REPLACE_STR,
        literal::REPLACE_HDRS_STR,
        literal::REPLACE_BODY_STR,
        subst::SUBST,
        subst::SUBST_BODY,
        subst::SUBST_URI,
        subst::SUBST_USER,
    ],
    params: &[],
    any_param: false,
    needs: &[],
};

#[cfg(test)]
mod tests;
