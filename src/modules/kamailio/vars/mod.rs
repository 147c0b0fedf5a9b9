//! Variables of Kamailio's dialect by families: what is in the message's lists of headers, branches, flags, what the server
//! knows of itself (kamailio.md section 6.2). Each family reads and assigns its own.

pub mod branches;
pub mod flags;
pub mod headers;
pub mod names;
mod server;

use crate::base::Time;
use crate::modules::host::SipHost;
use crate::modules::pv::Pv;
use crate::modules::pv_kamailio::Kpv;
use crate::script::host::{Index, PvSpec, SetError, SubName};
use crate::script::value::Value;

macro_rules! vars {
    ($( $variant:ident $sub:ident $write:ident $keys:expr, $doc:literal [ $($name:literal),+ ] )*) => {
        /// One of these variables.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum Var { $( #[doc = $doc] $variant, )* }

        const TABLE: &[(&str, Var, SubName, bool, &[&str])] =
            &[ $( $( ($name, Var::$variant, SubName::$sub, vars!(@ $write), $keys), )+ )* ];
    };
    (@ rw) => { true };
    (@ ro) => { false };
}

vars! {
    Branch Required rw branches::KEYS, "a part of a further branch" ["branch"]
    StaticBranch Required rw branches::STATIC_KEYS, "a part of the branch that sbranch_append adds" ["sbranch"]
    FirstBranch Never rw &[], "URI of the first branch; assigned, a further branch" ["br"]
    AllBranches Never ro &[], "URIs of all branches" ["bR"]
    ListValue Required ro &[], "a value of a header that is a list" ["hfl"]
    ListCount Required ro &[], "how many values a header has" ["hflc"]
    TopVia Required ro headers::VIA_KEYS, "a part of the first Via" ["via0"]
    SecondVia Required ro headers::VIA_KEYS, "a part of the second Via" ["via1"]
    LastVia Required ro headers::VIA_KEYS, "a part of the last Via" ["viaZ"]
    ReplyTarget Required ro headers::REPLY_KEYS, "where a reply goes" ["rpl"]
    DiversionCounter Never ro &[], "counter of Diversion" ["dic"]
    RouteUri Never ro &[], "URI of the first Route" ["route_uri"]
    RecordCount Never ro &[], "how many Record-Routes there are" ["rr_count"]
    RecordTopCount Never ro &[], "how many Record-Routes the first server of the list has written" ["rr_top_count"]
    MessageFlags Never rw &[], "message flags as a number" ["mf"]
    MessageFlagsHex Never rw &[], "message flags as 8 hexadecimal digits" ["mF"]
    MessageFlag Required rw &[], "a message flag: 1 or 0" ["Mf"]
    ScriptFlags Never rw &[], "script flags as a number" ["sf"]
    ScriptFlagsHex Never rw &[], "script flags as 8 hexadecimal digits" ["sF"]
    ScriptFlag Required rw &[], "a script flag: 1 or 0" ["Sf"]
    BranchFlags Never rw &[], "flags of branch 0 as a number" ["bf"]
    BranchFlagsHex Never rw &[], "flags of branch 0 as 8 hexadecimal digits" ["bF"]
    BranchFlag Required rw &[], "a flag of branch 0: 1 or 0" ["Bf"]
    ConnectionId Never ro &[], "number of the connection that the message came over" ["conid"]
    Connection Required ro server::TCP_KEYS, "a part of that connection" ["tcp"]
    ServerId Never ro &[], "server_id" ["sid"]
    BootTime Never ro &[], "seconds since 1970 when the server was started" ["Tb"]
    OwnVersion Required ro server::VERSION_KEYS, "version of the language" ["ksr"]
    CustomParameter Required rw &[], "a parameter of the configuration's own" ["ccp"]
    SocketName Never rw &[], "name of the socket it leaves from" ["fsn"]
    SocketPort Never ro &[], "port of the socket it leaves from, 0 if none is forced" ["fsp"]
    AdvertisedUri Never ro &[], "advertised sip:address:port of the socket the message came in on" ["RAu"]
    AdvertisedUriFull Never ro &[], "the same with its transport" ["RAut"]
    ListenSocket Required ro &[], "a part of a listening socket" ["lsock"]
    AccountUri Never ro &[], "digest user and realm if they were accepted, else user and host of From" ["Au"]
    AccountUser Never ro &[], "digest user if it was accepted, else the From user" ["AU"]
    UpdatedText Never ro &[], "the message with its changes" ["mbu"]
    TextByte Required rw &[], "a character of the message" ["msgbuf"]
    DialogFromTag Never ro &[], "From tag of the request that began the dialog" ["fti"]
    DialogToTag Never ro &[], "To tag of the answer to it" ["tti"]
    Direction Required ro &["id", "name"], "direction of a request in its dialog" ["rdir"]
}

/// Finds a variable by its name; `sub` is the text in parentheses if it is literal. `None` also where that is nothing the
/// variable knows.
pub fn find(name: &str, sub: Option<&str>) -> Option<PvSpec<Pv>> {
    if let Some(pv) = names::find(name) {
        return Some(PvSpec { pv, sub: SubName::Never, writable: true });
    }
    let (_, var, need, writable, keys) = TABLE.iter().find(|(n, ..)| *n == name)?;
    if !keys.is_empty() && sub.is_some_and(|s| !keys.contains(&s)) {
        return None;
    }
    let bad = |s: &str| match var {
        Var::TextByte => s.parse::<i64>().is_err(),
        Var::MessageFlag | Var::ScriptFlag | Var::BranchFlag => s.parse::<u32>().map_or(true, |n| n > 31),
        Var::CustomParameter => !s.contains('.'),
        _ => false,
    };
    if sub.is_some_and(bad) {
        return None;
    }
    Some(PvSpec { pv: Pv::Kamailio(Kpv::Family(*var)), sub: *need, writable: *writable })
}

/// Reads `var`. Never waits.
pub fn get(h: &mut SipHost, var: Var, sub: Option<&Value>, index: Index, now: Time) -> Value {
    match var {
        Var::Branch | Var::StaticBranch | Var::FirstBranch | Var::AllBranches => branches::get(h, var, sub, index),
        Var::ListValue
        | Var::ListCount
        | Var::TopVia
        | Var::SecondVia
        | Var::LastVia
        | Var::ReplyTarget
        | Var::DiversionCounter
        | Var::RouteUri
        | Var::RecordCount
        | Var::RecordTopCount => headers::get(h, var, sub, index),
        Var::MessageFlags
        | Var::MessageFlagsHex
        | Var::MessageFlag
        | Var::ScriptFlags
        | Var::ScriptFlagsHex
        | Var::ScriptFlag
        | Var::BranchFlags
        | Var::BranchFlagsHex
        | Var::BranchFlag => flags::get(h, var, sub),
        Var::DialogFromTag | Var::DialogToTag | Var::Direction => crate::modules::rr::direction::get(h, var, sub),
        _ => server::get(h, var, sub, now),
    }
}

/// Assigns `var`; NULL removes or resets.
///
/// # Errors
/// Why that is not possible.
pub fn set(h: &mut SipHost, var: Var, sub: Option<&Value>, index: Index, value: &Value) -> Result<(), SetError> {
    match var {
        Var::Branch | Var::StaticBranch | Var::FirstBranch => branches::set(h, var, sub, index, value),
        Var::MessageFlags
        | Var::MessageFlagsHex
        | Var::MessageFlag
        | Var::ScriptFlags
        | Var::ScriptFlagsHex
        | Var::ScriptFlag
        | Var::BranchFlags
        | Var::BranchFlagsHex
        | Var::BranchFlag => flags::set(h, var, sub, value),
        _ => server::set(h, var, sub, value),
    }
}
