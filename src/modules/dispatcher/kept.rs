//! The destinations that were chosen for a request: the one in use and those that are left. They lie in `$xavp(_dsdst_)`,
//! so they belong to the transaction and are there in its failure route; `$xavp(_dsctx_=>cnt)` is their number.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::Call;
use crate::script::value::Value;
use crate::script::xavp::{Family, Fields, Node};

/// A destination that was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its set.
    pub set: i64,
    /// Its URI.
    pub uri: Str,
    /// Its socket.
    pub socket: Str,
    /// Its attributes.
    pub attrs: Str,
    /// Its name for the calls that it has.
    pub duid: Str,
}

impl Kept {
    fn write(&self) -> Node {
        let text = |name: &str, value: &Str| (Str::from(name), Value::Str(value.clone()));
        let optional = [text("attrs", &self.attrs), text("sock", &self.socket), text("dstid", &self.duid)];
        let given = optional.into_iter().filter(|(_, v)| v.to_text().is_some_and(|t| !t.is_empty()));
        let all: Vec<(Str, Value)> =
            [text("uri", &self.uri), (Str::from("grp"), Value::Int(self.set))].into_iter().chain(given).collect();
        Node::Fields(Fields::in_order(all.into_iter()))
    }

    fn read(node: &Node) -> Option<Kept> {
        let Node::Fields(fields) = node else { return None };
        let text = |name: &str| fields.get(name.as_bytes()).and_then(Value::to_text).unwrap_or_default();
        let set = fields.get(b"grp")?.to_int()?;
        Some(Kept { set, uri: text("uri"), socket: text("sock"), attrs: text("attrs"), duid: text("dstid") })
    }
}

fn names(call: &Call<'_, SipHost>) -> (Str, Str) {
    let s = &call.host.env().settings.dispatcher;
    (s.kept.clone(), s.context.clone())
}

/// Keeps a list; its first is the one in use. False if the run holds as many values as it may.
pub fn keep(call: &mut Call<'_, SipHost>, list: &[Kept]) -> bool {
    let (kept, context) = names(call);
    let (xavps, limits) = call.vm().xavps_mut();
    let count = Value::Int(i64::try_from(list.len()).unwrap_or(i64::MAX));
    let number = Node::Fields(Fields::in_order([("cnt", count)].into_iter()));
    let nodes = list.iter().map(Kept::write).collect();
    xavps.replace(Family::Xavp, &kept, nodes, &limits).is_ok()
        && xavps.replace(Family::Xavp, &context, vec![number], &limits).is_ok()
}

/// The destination in use and what is left behind it.
pub fn all(call: &mut Call<'_, SipHost>) -> Vec<Kept> {
    let (kept, _) = names(call);
    let xavps = call.vm().xavps();
    xavps.map(|x| x.named(Family::Xavp, &kept).filter_map(Kept::read).collect()).unwrap_or_default()
}

/// The destination in use.
pub fn current(call: &mut Call<'_, SipHost>) -> Option<Kept> {
    all(call).into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let kept = Kept {
            set: -3,
            uri: "sip:a".into(),
            socket: "udp:1.2.3.4:5".into(),
            attrs: "x=1;y".into(),
            duid: Str::default(),
        };
        assert_eq!(Kept::read(&kept.write()), Some(kept));
        assert_eq!(Kept::read(&Node::Leaf(Value::from("x"))), None);
    }
}
