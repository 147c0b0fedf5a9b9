//! Serial forking by q, as the other dialect writes it.

use super::send::T_NEWTRAN;
use crate::modules::core::branches::{forget_stored, next_group, store};
use crate::modules::host::SipHost;
use crate::script::registry::{FnSpec, Kind, Param, RouteSet, Step};

/// `t_load_contacts`
pub const T_LOAD_CONTACTS: FnSpec<SipHost> = FnSpec {
    opensips: None,
    kamailio: Some("t_load_contacts"),
    params: &[Param::opt("mode", Kind::IntOrStr)],
    routes: RouteSet::letters("RF"),
    doc: "Puts R-URI and branches away in groups of equal q, highest first, for t_next_contacts. Does nothing if there \
          is only the R-URI. Mode 0 (also without an argument) orders by q; 1 keeps the order.",
    returns: &[(1, "done"), (-1, "no such mode")],
    example: "t_load_contacts();",
    run: |call| {
        let keep_order = match call.int(0) {
            None if call.given(0) => return Step::Done(-1),
            None | Some(0) => false,
            Some(1) => true,
            Some(_) => return Step::Done(-1),
        };
        if !call.host.branches.is_empty() {
            forget_stored(call);
            store(call, keep_order);
        }
        Step::Done(1)
    },
    finish: None,
    ..T_NEWTRAN
};

/// `t_next_contacts`
pub const T_NEXT_CONTACTS: FnSpec<SipHost> = FnSpec {
    kamailio: Some("t_next_contacts"),
    params: &[],
    doc: "Makes the next group of contacts the destination set: its first one the R-URI, the others branches.",
    returns: &[(1, "done"), (-2, "there is none left")],
    example: "if (t_next_contacts()) t_relay();",
    run: |call| Step::Done(if next_group(call).is_some() { 1 } else { -2 }),
    ..T_LOAD_CONTACTS
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Str;
    use crate::modules::host::Target;
    use crate::modules::testing::Bench;

    const REQUEST: &str = "INVITE sip:first@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK1\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

    fn bench(contacts: &[(&str, u16)]) -> Bench {
        let mut bench = Bench::new(REQUEST);
        bench.host.q = Some(500);
        let target = |(uri, q): &(&str, u16)| Target { uri: Str::from(*uri), q: Some(*q), ..Target::default() };
        bench.host.branches = contacts.iter().map(target).collect::<Vec<_>>().into();
        bench
    }

    /// The destination set: the R-URI and the branches.
    fn set(bench: &Bench) -> Vec<String> {
        let uris = [String::from_utf8_lossy(bench.host.current_ruri()).into_owned()];
        let branches = bench.host.branches.iter().map(|b| b.uri.to_lossy().into_owned());
        uris.into_iter().chain(branches).collect()
    }

    #[test]
    fn groups_of_equal_q_come_one_after_the_other() {
        let mut bench = bench(&[("sip:low@10.0.0.2", 100), ("sip:high@10.0.0.3", 900), ("sip:same@10.0.0.4", 500)]);
        assert_eq!(bench.call(&T_LOAD_CONTACTS, &[]), 1);
        assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), 1);
        assert_eq!(set(&bench), ["sip:high@10.0.0.3"]);
        assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), 1);
        let mut middle = set(&bench);
        middle.sort_unstable();
        assert_eq!(middle, ["sip:first@10.0.0.1", "sip:same@10.0.0.4"]);
        assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), 1);
        assert_eq!(set(&bench), ["sip:low@10.0.0.2"]);
        assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), -2);
    }

    #[test]
    fn one_contact_needs_no_order() {
        let mut bench = bench(&[]);
        assert_eq!(bench.call(&T_LOAD_CONTACTS, &[]), 1);
        assert_eq!(bench.call(&T_NEXT_CONTACTS, &[]), -2);
        assert_eq!(set(&bench), ["sip:first@10.0.0.1"]);
        assert_eq!(bench.call(&T_LOAD_CONTACTS, &["2"]), -1, "no such mode");
    }
}
