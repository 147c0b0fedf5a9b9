//! The destinations that were chosen for a request: the one in use and those that are left. They lie in an AVP, so they
//! belong to the transaction and are there in its failure route.

use crate::base::Str;
use crate::modules::host::SipHost;
use crate::script::registry::Call;
use crate::script::value::Value;

/// The AVP.
const NAME: &[u8] = b"_dsdst_";

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
    fn write(&self) -> Value {
        let set = self.set.to_string();
        let fields: [&[u8]; 5] = [set.as_bytes(), &self.uri, &self.socket, &self.attrs, &self.duid];
        Value::text(fields.join(&b"\n"[..]))
    }

    fn read(value: &Value) -> Option<Kept> {
        let text = value.to_text()?;
        let f: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
        let [set, uri, socket, attrs, duid] = f[..] else { return None };
        let set = std::str::from_utf8(set).ok()?.parse().ok()?;
        let part = Str::from;
        Some(Kept { set, uri: part(uri), socket: part(socket), attrs: part(attrs), duid: part(duid) })
    }
}

/// Keeps a list; its first is the one in use.
pub fn keep(call: &mut Call<'_, SipHost>, list: &[Kept]) {
    let vm = call.vm();
    vm.clear_avp(NAME);
    // An AVP is a stack: the first goes in last.
    for kept in list.iter().rev() {
        vm.push_avp(NAME, kept.write());
    }
}

/// The destination in use and what is left behind it.
pub fn all(call: &mut Call<'_, SipHost>) -> Vec<Kept> {
    call.vm().avp(NAME).iter().filter_map(Kept::read).collect()
}

/// The destination in use.
pub fn current(call: &mut Call<'_, SipHost>) -> Option<Kept> {
    call.vm().avp(NAME).first().and_then(Kept::read)
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
            duid: "d".into(),
        };
        assert_eq!(Kept::read(&kept.write()), Some(kept));
        assert_eq!(Kept::read(&Value::from("x")), None);
    }
}
