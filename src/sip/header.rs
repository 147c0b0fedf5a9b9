//! Header names: a one-byte id for each known one, and one header line of a message.

use super::bytes::unfold;
use super::list::{List, split_list};
use super::range::Range;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

macro_rules! headers {
    ($($id:ident $name:literal $($compact:literal)?;)*) => {
        /// A header name known here; all others are [`HeaderId::Other`].
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum HeaderId {
            /// A name that is not in the list.
            Other,
            $(#[doc = concat!("`", $name, "`")] $id,)*
        }

        const IDS: &[HeaderId] = &[HeaderId::Other, $(HeaderId::$id,)*];
        const NAMES: &[&str] = &["", $($name,)*];
        const COMPACT: &[(u8, HeaderId)] = &[$($(($compact, HeaderId::$id),)?)*];
    };
}

headers! {
    Accept "Accept";
    AcceptContact "Accept-Contact" b'a';
    AcceptEncoding "Accept-Encoding";
    AcceptLanguage "Accept-Language";
    AcceptResourcePriority "Accept-Resource-Priority";
    AlertInfo "Alert-Info";
    Allow "Allow";
    AllowEvents "Allow-Events" b'u';
    AnswerMode "Answer-Mode";
    AuthenticationInfo "Authentication-Info";
    Authorization "Authorization";
    CallId "Call-ID" b'i';
    CallInfo "Call-Info";
    Contact "Contact" b'm';
    ContentDisposition "Content-Disposition";
    ContentEncoding "Content-Encoding" b'e';
    ContentLanguage "Content-Language";
    ContentLength "Content-Length" b'l';
    ContentType "Content-Type" b'c';
    CSeq "CSeq";
    Date "Date";
    Diversion "Diversion";
    ErrorInfo "Error-Info";
    Event "Event" b'o';
    Expires "Expires";
    FeatureCaps "Feature-Caps";
    FlowTimer "Flow-Timer";
    From "From" b'f';
    Geolocation "Geolocation";
    HistoryInfo "History-Info";
    Identity "Identity" b'y';
    IdentityInfo "Identity-Info" b'n';
    InReplyTo "In-Reply-To";
    InfoPackage "Info-Package";
    Join "Join";
    MaxBreadth "Max-Breadth";
    MaxForwards "Max-Forwards";
    MimeVersion "MIME-Version";
    MinExpires "Min-Expires";
    MinSe "Min-SE";
    Organization "Organization";
    PAccessNetworkInfo "P-Access-Network-Info";
    PAssertedIdentity "P-Asserted-Identity";
    PAssociatedUri "P-Associated-URI";
    PCalledPartyId "P-Called-Party-ID";
    PChargingVector "P-Charging-Vector";
    PPreferredIdentity "P-Preferred-Identity";
    PVisitedNetworkId "P-Visited-Network-ID";
    Path "Path";
    Priority "Priority";
    Privacy "Privacy";
    ProxyAuthenticate "Proxy-Authenticate";
    ProxyAuthorization "Proxy-Authorization";
    ProxyRequire "Proxy-Require";
    RAck "RAck";
    Reason "Reason";
    RecordRoute "Record-Route";
    RecvInfo "Recv-Info";
    ReferSub "Refer-Sub";
    ReferTo "Refer-To" b'r';
    ReferredBy "Referred-By" b'b';
    RejectContact "Reject-Contact" b'j';
    RemotePartyId "Remote-Party-ID";
    Replaces "Replaces";
    ReplyTo "Reply-To";
    RequestDisposition "Request-Disposition" b'd';
    Require "Require";
    ResourcePriority "Resource-Priority";
    RetryAfter "Retry-After";
    Route "Route";
    RSeq "RSeq";
    SecurityClient "Security-Client";
    SecurityServer "Security-Server";
    SecurityVerify "Security-Verify";
    Server "Server";
    ServiceRoute "Service-Route";
    SessionExpires "Session-Expires" b'x';
    SipEtag "SIP-ETag";
    SipIfMatch "SIP-If-Match";
    Subject "Subject" b's';
    SubscriptionState "Subscription-State";
    Supported "Supported" b'k';
    TargetDialog "Target-Dialog";
    Timestamp "Timestamp";
    To "To" b't';
    Unsupported "Unsupported";
    UserAgent "User-Agent";
    UserToUser "User-to-User";
    Via "Via" b'v';
    Warning "Warning";
    WwwAuthenticate "WWW-Authenticate";
}

const SLOTS: usize = 512;
const TABLE: [u8; SLOTS] = table();
const COMPACT_TABLE: [u8; 26] = compact_table();

/// Spreads names by length, second, middle and last letter; letter case does not matter.
const fn hash(name: &[u8]) -> usize {
    let n = name.len();
    if n < 2 {
        return 0;
    }
    let first = (name[0] | 0x20) as usize;
    let middle = (name[n / 2] | 0x20) as usize;
    let last = (name[n - 1] | 0x20) as usize;
    (n * 7 + first * 3 + middle * 37 + last * 11) % SLOTS
}

const fn table() -> [u8; SLOTS] {
    let mut t = [0u8; SLOTS];
    let mut i = 1;
    while i < NAMES.len() {
        let mut at = hash(NAMES[i].as_bytes());
        while t[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        t[at] = i as u8;
        i += 1;
    }
    t
}

const fn compact_table() -> [u8; 26] {
    let mut t = [0u8; 26];
    let mut i = 0;
    while i < COMPACT.len() {
        t[(COMPACT[i].0 - b'a') as usize] = COMPACT[i].1 as u8;
        i += 1;
    }
    t
}

impl HeaderId {
    /// The id of a name in any letter case, or of a compact form (RFC 3261 §7.3.3).
    pub fn from_name(name: &[u8]) -> HeaderId {
        if let [letter] = name {
            let at = (letter | 0x20).wrapping_sub(b'a') as usize;
            return COMPACT_TABLE.get(at).and_then(|&i| IDS.get(i as usize)).copied().unwrap_or(HeaderId::Other);
        }
        let mut at = hash(name);
        while let Some(&i) = TABLE.get(at)
            && i != 0
        {
            let known = NAMES.get(i as usize).copied().unwrap_or_default().as_bytes();
            // The usual spelling is the usual case, and quicker to compare.
            if known == name || known.eq_ignore_ascii_case(name) {
                return IDS.get(i as usize).copied().unwrap_or(HeaderId::Other);
            }
            at = (at + 1) % SLOTS;
        }
        HeaderId::Other
    }

    /// The usual spelling of the name; empty for [`HeaderId::Other`].
    pub fn name(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or_default()
    }

    /// The one-letter form, if there is one.
    pub fn compact(self) -> Option<u8> {
        COMPACT.iter().find(|(_, id)| *id == self).map(|(letter, _)| *letter)
    }

    /// Every known id.
    pub fn all() -> impl Iterator<Item = HeaderId> {
        IDS.iter().copied().skip(1)
    }
}

/// Whether two header names mean the same header: letter case and compact forms do not matter.
pub fn same_name(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b) || {
        let id = HeaderId::from_name(a);
        id != HeaderId::Other && id == HeaderId::from_name(b)
    }
}

/// One header line of a message (a folded header is one line here).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Which header.
    pub id: HeaderId,
    /// The name as written.
    pub name: &'a [u8],
    /// The value without white space at its ends; it may hold folds.
    pub value: &'a [u8],
    /// Its first byte in the message.
    pub start: u32,
    /// The value in the message.
    pub value_range: Range,
    /// The message.
    pub(super) message: &'a [u8],
}

impl<'a> Header<'a> {
    /// The whole line in the message, its line end included.
    pub fn line(&self) -> Range {
        let mut at = self.value_range.end as usize;
        // Behind the value only line ends and empty continuation lines follow.
        while let Some(newline) = self.message.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            at += newline + 1;
            if !matches!(self.message.get(at), Some(b' ' | b'\t')) {
                return Range::new(self.start, at as u32);
            }
        }
        Range::new(self.start, self.message.len() as u32)
    }

    /// The value with each fold replaced by a space.
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        unfold(self.value)
    }

    /// The parts of a comma separated value (commas in quotes and angle brackets do not count).
    pub fn values(&self) -> List<'a> {
        split_list(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_compact_form_is_found() {
        for id in HeaderId::all() {
            let name = id.name().as_bytes();
            assert_eq!(HeaderId::from_name(name), id);
            assert_eq!(HeaderId::from_name(&name.to_ascii_uppercase()), id);
            assert_eq!(HeaderId::from_name(&name.to_ascii_lowercase()), id);
            if let Some(c) = id.compact() {
                assert_eq!(HeaderId::from_name(&[c]), id);
                assert_eq!(HeaderId::from_name(&[c.to_ascii_uppercase()]), id);
            }
        }
        for other in ["X-Foo", "", "z", "Vias", "Too", "g", "\u{e4}", "@"] {
            assert_eq!(HeaderId::from_name(other.as_bytes()), HeaderId::Other, "{other}");
        }
    }

    #[test]
    fn probe_chains_are_short() {
        let taken = TABLE.iter().filter(|i| **i != 0).count();
        assert_eq!(taken, NAMES.len() - 1);
        let longest = TABLE.split(|i| *i == 0).map(<[u8]>::len).max();
        assert!(longest < Some(12), "{longest:?}");
    }

    #[test]
    fn compact_and_long_names_are_the_same() {
        assert!(same_name(b"v", b"VIA"));
        assert!(same_name(b"X-a", b"x-A"));
        assert!(!same_name(b"X-a", b"X-b"));
        assert!(!same_name(b"v", b"t"));
    }
}
