//! `allow_routing`, `allow_register`, `allow_uri`: files of rules ([`super::rules`]) say who may call, or register, whom.

use super::Settings;
use super::rules::Rules;
use crate::base::Str;
use crate::modules::host::SipHost;
use crate::modules::lists;
use crate::script::registry::{Call, FnSpec, Kind, Param, RouteSet, Step};
use crate::sip::HeaderId;
use crate::sip::nameaddr::NameAddr;
use crate::sip::uri::Uri;

/// Functions that are about files of rules.
pub const FUNCTIONS: [&str; 3] = ["allow_routing", "allow_register", "allow_uri"];

const ROUTES: RouteSet = RouteSet::letters("RFL");

pub(super) const ROUTING: FnSpec<SipHost> = FnSpec {
    opensips: Some("allow_routing"),
    kamailio: Some("allow_routing"),
    params: &[Param::opt("allow file", Kind::Raw), Param::opt("deny file", Kind::Raw)],
    variadic: false,
    routes: ROUTES,
    waits: false,
    doc: "Whether the From URI may call the R-URI and, with check_all_branches, those of the further branches: a rule of \
          the allow file fits each of them, or no rule of the deny file fits any. Without an argument the default files; \
          one argument is the beginning of both names, to which allow_suffix and deny_suffix are added. The From URI is \
          compared as it is, the others as `sip:user@host`.",
    returns: &[(1, "yes"), (-1, "no")],
    example: r#"if (!allow_routing("rules")) { sl_send_reply(403, "Forbidden"); exit; }"#,
    run: routing,
    finish: None,
};

pub(super) const REGISTER: FnSpec<SipHost> = FnSpec {
    opensips: Some("allow_register"),
    kamailio: Some("allow_register"),
    params: &[Param::req("allow file", Kind::Raw), Param::opt("deny file", Kind::Raw)],
    doc: "Whether the To URI may register the URIs of all its Contacts: a rule of the allow file fits, or none of the deny \
          file does. The To URI is compared as it is, the others as `sip:user@host`. The arguments are those of allow_routing.",
    example: r#"if (!allow_register("register")) { sl_send_reply(403, "Forbidden"); exit; }"#,
    run: register,
    ..ROUTING
};

pub(super) const URI: FnSpec<SipHost> = FnSpec {
    opensips: Some("allow_uri"),
    kamailio: Some("allow_uri"),
    params: &[Param::req("basename", Kind::Raw), Param::req("uri", Kind::Str)],
    doc: "Whether the From URI may call this URI: a rule of the allow file fits, or none of the deny file does. The files \
          are those of allow_routing with one argument. The URI is compared as it is.",
    example: r#"if (!allow_uri("refer", "$rt")) exit;"#,
    run: uri,
    ..ROUTING
};

/// The files of a call of one of the functions: those with what may be, and those with what may not.
pub fn files(s: &Settings, args: [Option<Str>; 2]) -> [String; 2] {
    let place = |name: &str| s.place(name);
    match args {
        [None, _] => s.default_files.each_ref().map(|name| place(&name.to_lossy())),
        [Some(base), None] => {
            let base = base.to_lossy();
            s.suffixes.each_ref().map(|suffix| place(&format!("{base}{}", suffix.to_lossy())))
        }
        [Some(allow), Some(deny)] => [place(&allow.to_lossy()), place(&deny.to_lossy())],
    }
}

/// What a pair of files says about a pair of URIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A rule allows it.
    Allowed,
    /// A rule denies it.
    Denied,
    /// There is no rule about it.
    Open,
}

/// Asks both files.
pub fn verdict(rules: &Rules, [allow, deny]: &[String; 2], from: &[u8], to: &[u8]) -> Verdict {
    if rules.fit(allow, from, to) {
        Verdict::Allowed
    } else if rules.fit(deny, from, to) {
        Verdict::Denied
    } else {
        Verdict::Open
    }
}

/// A URI without everything but user and host.
fn plain(uri: &[u8]) -> Option<Vec<u8>> {
    let uri = Uri::parse(uri).ok()?;
    let user = uri.user.map(|user| [user, b"@"].concat()).unwrap_or_default();
    Some([b"sip:", &user[..], uri.host].concat())
}

/// Whether one may call, or register, all of these.
fn all_may(call: &Call<'_, SipHost>, files: &[String; 2], from: &[u8], to: &[Vec<u8>]) -> Step<SipHost> {
    let rules = lists::rules(call.host.env());
    let denied = to.iter().any(|to| verdict(&rules, files, from, to) == Verdict::Denied);
    Step::Done(if denied { -1 } else { 1 })
}

fn arguments(call: &Call<'_, SipHost>) -> [String; 2] {
    files(&call.host.env().settings.permissions, [0, 1].map(|n| call.text(n).filter(|t| !t.is_empty())))
}

fn routing(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let files = arguments(call);
    let h = &*call.host;
    let mut uris = vec![h.current_ruri().to_vec()];
    if h.env().settings.permissions.all_branches {
        uris.extend(h.branches.iter().map(|b| b.uri.to_vec()));
    }
    let to: Option<Vec<Vec<u8>>> = uris.iter().map(|u| plain(u)).collect();
    let Some(to) = to else { return Step::Fail("a URI cannot be read".to_string()) };
    all_may(call, &files, h.msg.from().uri, &to)
}

fn register(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let files = arguments(call);
    let h = &*call.host;
    let mut to = Vec::new();
    for value in h.msg.values_of(HeaderId::Contact) {
        let contact = NameAddr::parse(value).ok();
        match contact.as_ref().map(|c| (c.is_star(), plain(c.uri))) {
            Some((true, _)) => {}
            Some((false, Some(uri))) => to.push(uri),
            _ => return Step::Fail("a Contact cannot be read".to_string()),
        }
    }
    all_may(call, &files, h.msg.to().uri, &to)
}

fn uri(call: &mut Call<'_, SipHost>) -> Step<SipHost> {
    let base = call.text(0).filter(|t| !t.is_empty());
    let files = files(&call.host.env().settings.permissions, [base, None]);
    let uri = call.text(1).unwrap_or_default();
    all_may(call, &files, call.host.msg.from().uri, &[uri.to_vec()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::permissions::rules::RuleFile;

    #[test]
    fn names_of_files() {
        let mut s = Settings::default();
        s.directory = "/etc/sip".to_string();
        let of = |a: Option<&str>, b: Option<&str>| files(&s, [a.map(Str::from), b.map(Str::from)]);
        assert_eq!(of(None, None), ["/etc/sip/permissions.allow", "/etc/sip/permissions.deny"]);
        assert_eq!(of(Some("rules"), None), ["/etc/sip/rules.allow", "/etc/sip/rules.deny"]);
        assert_eq!(of(Some("a"), Some("/b")), ["/etc/sip/a", "/b"]);
    }

    #[test]
    fn uris_are_stripped() {
        let p = |uri: &str| plain(uri.as_bytes()).map(|p| String::from_utf8(p).unwrap());
        assert_eq!(p("sips:bob:pw@example.org:5070;x=1?y=2").as_deref(), Some("sip:bob@example.org"));
        assert_eq!(p("sip:example.org").as_deref(), Some("sip:example.org"));
        assert_eq!(p("nonsense"), None);
    }

    #[test]
    fn what_is_allowed_is_not_denied() {
        let file = |path: &str, text: &str| RuleFile::parse(path, text).unwrap();
        let rules = Rules::new(vec![file("a", "ALL : \"^sip:1\""), file("d", "ALL : \"^sip:\"")]);
        let files = ["a", "d"].map(str::to_string);
        let of = |to: &str| verdict(&rules, &files, b"sip:x@y", to.as_bytes());
        assert_eq!([of("sip:1"), of("sip:2"), of("tel:2")], [Verdict::Allowed, Verdict::Denied, Verdict::Open]);
    }
}
