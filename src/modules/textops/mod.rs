//! `textops`

use super::host::SipHost;
use crate::script::ast::Dialect;
use crate::script::registry::ModuleSpec;

/// The module.
pub static MODULE: ModuleSpec<SipHost> = ModuleSpec {
    name: "textops",
    dialects: &[Dialect::OpenSips],
    functions: &[],
    params: &[],
    any_param: false,
    needs: &[],
};
