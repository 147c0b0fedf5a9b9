//! `$xavp` of this module: settings of one call (`xavp_cfg`), and what is told of contacts (`xavp_rcd`).

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::log_line;
use crate::modules::usrloc::{self, Binding};
use crate::script::registry::Call;
use crate::script::value::Value;
use crate::script::xavp::{Family, Fields, Node};

/// What the script has set in the `$xavp` that `xavp_cfg` names.
pub fn configured(call: &mut Call<'_, SipHost>, field: &[u8]) -> Option<Value> {
    let name = call.host.env().settings.registrar.xavp_cfg.clone()?;
    call.vm().xavps()?.field(Family::Xavp, &name, field).cloned()
}

/// Puts what is known of a contact into the `$xavp` that `xavp_rcd` names, in front of others.
pub fn tell(call: &mut Call<'_, SipHost>, b: &Binding) {
    let Some(name) = call.host.env().settings.registrar.xavp_rcd.clone() else { return };
    let left = b.left(usrloc::now(call.host.env()));
    let text = |t: &Option<Str>| t.clone().map(Value::Str);
    let fields = [
        ("ruid", Some(Value::Str(b.ruid.clone()))),
        ("contact", Some(Value::Str(b.contact.clone()))),
        ("expires", Some(Value::Int(left))),
        ("received", text(&b.received)),
        ("path", text(&b.path)),
    ];
    let fields: Vec<(&str, Value)> = fields.into_iter().filter_map(|(n, v)| Some((n, v?))).collect();
    let (xavps, limits) = call.vm().xavps_mut();
    if xavps.push(Family::Xavp, &name, Node::Fields(Fields::in_order(fields.into_iter())), &limits).is_err() {
        log_line(call.host, -1, "registrar: there is no room for xavp_rcd");
    }
}
