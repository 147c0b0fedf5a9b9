//! The functions of Kamailio's `pv` about structured variables: `$xavp`, `$xavu`, `$xavi`
//! ([`crate::script::xavp`]).

mod children;
mod explode;
mod roots;
mod vars;

use crate::modules::host::SipHost;
use crate::script::registry::FnSpec;

/// The functions.
pub const ALL: &[FnSpec<SipHost>] = &[
    super::small::IS_INT,
    super::small::PV_ISSET,
    super::small::PV_UNSET,
    super::small::NOT_EMPTY,
    super::small::TYPEOF,
    explode::XAVP_PARAMS_EXPLODE,
    explode::XAVU_PARAMS_EXPLODE,
    explode::XAVP_PARAMS_IMPLODE,
    explode::XAVU_PARAMS_IMPLODE,
    explode::XAVP_SLIST_EXPLODE,
    children::XAVP_CHILD_SETI,
    children::XAVP_CHILD_SETS,
    children::XAVP_CHILD_RM,
    children::XAVI_CHILD_SETI,
    children::XAVI_CHILD_SETS,
    children::XAVI_CHILD_RM,
    roots::XAVP_RM,
    roots::XAVI_RM,
    roots::XAVP_COPY,
    roots::XAVP_LSHIFT,
    vars::PV_VAR_TO_XAVP,
    vars::PV_XAVP_TO_VAR,
    vars::PV_XAVP_PRINT,
    vars::PV_XAVU_PRINT,
    vars::PV_XAVI_PRINT,
    super::small::PV_EVALX,
    super::vars::branches::SBRANCH_SET_RURI,
    super::vars::branches::SBRANCH_APPEND,
    super::vars::branches::SBRANCH_RESET,
];

/// What is logged when there is no room.
const FULL: &str = "the run holds as many structured variables as it may";

#[cfg(test)]
mod tests;
