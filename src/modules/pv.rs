//! The names of the pseudo-variables and what each may carry. Reading is in [`super::pv_get`],
//! writing in [`super::pv_set`].

use super::pv_kamailio::{self, Kpv};
use crate::script::ast::Dialect;
use crate::script::host::{PvSpec, SubName};

macro_rules! pvs {
    ($( $variant:ident $sub:ident $write:ident $doc:literal [ $($name:literal),+ ] )*) => {
        /// A pseudo-variable of the SIP host.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum Pv {
            $( #[doc = $doc] $variant, )*
            /// One that only the Kamailio dialect has.
            Kamailio(Kpv),
        }

        const TABLE: &[(&str, PvSpec<Pv>)] = &[
            $( $( ($name, PvSpec { pv: Pv::$variant, sub: SubName::$sub, writable: pvs!(@w $write) }), )+ )*
        ];
        const NAMES: &[&str] = &[ $( $( $name, )+ )* ];
    };
    (@w rw) => { true };
    (@w ro) => { false };
}

pvs! {
    Ru Never rw "R-URI" ["ru", "ruri"]
    RUser Never rw "user of the R-URI" ["rU", "ruri.user"]
    RDomain Never rw "host of the R-URI" ["rd", "ruri.domain"]
    RPort Never rw "port of the R-URI" ["rp", "ruri.port"]
    RProto Never ro "protocol of the R-URI" ["rP", "ruri.protocol"]
    RuQ Never rw "q value of the R-URI branch" ["ru_q"]
    OUri Never ro "original R-URI" ["ou", "ouri"]
    OUser Never ro "user of the original R-URI" ["oU", "ouri.user"]
    ODomain Never ro "host of the original R-URI" ["od", "ouri.domain"]
    OPort Never ro "port of the original R-URI" ["op", "ouri.port"]
    OProto Never ro "protocol of the original R-URI" ["oP", "ouri.protocol"]
    Du Never rw "destination URI" ["du", "duri", "dsturi"]
    DDomain Never rw "host of the destination URI" ["dd"]
    DPort Never rw "port of the destination URI" ["dp"]
    DProto Never ro "protocol of the destination URI" ["dP"]
    DestSet Never ro "destination set" ["ds"]
    FUri Never ro "From URI" ["fu", "from"]
    FUser Never ro "user of the From URI" ["fU", "from.user"]
    FDomain Never ro "host of the From URI" ["fd", "from.domain"]
    FName Never ro "display name of From" ["fn"]
    FTag Never ro "tag of From" ["ft"]
    TUri Never ro "To URI" ["tu", "to"]
    TUser Never ro "user of the To URI" ["tU", "to.user"]
    TDomain Never ro "host of the To URI" ["td", "to.domain"]
    TName Never ro "display name of To" ["tn"]
    TTag Never ro "tag of To" ["tt"]
    CallId Never ro "Call-ID" ["ci"]
    CSeqNumber Never ro "CSeq number" ["cs"]
    ContentLength Never ro "Content-Length" ["cl"]
    ContentType Never ro "Content-Type" ["cT"]
    Contact Never ro "Contact" ["ct"]
    ContactField Required ro "parts of Contact" ["ct.fields"]
    Method Never ro "method" ["rm"]
    Status Never ro "status of a reply" ["rs"]
    Reason Never ro "reason of a reply" ["rr"]
    Body Optional ro "body" ["rb"]
    MessageText Never ro "the whole message" ["mb"]
    MessageLength Never ro "length of the message" ["ml"]
    MessageId Never ro "number of the message in this process" ["mi"]
    MessageFlags Never ro "message flags" ["mf"]
    BranchFlags Never ro "flags of branch 0" ["bf"]
    MsgFlag Required rw "a message flag, 0 or 1" ["msg.flag"]
    BranchFlag Required rw "a flag of branch 0, 0 or 1" ["branch.flag"]
    MsgIsRequest Never ro "1 for a request" ["msg.is_request"]
    MsgType Never ro "request or reply" ["msg.type"]
    Branch Optional rw "append a branch; 2.2: with uri, duri, path, q, flags or socket a part of one" ["msg.branch", "branch"]
    BranchUri Never rw "R-URI of a branch" ["msg.branch.uri"]
    BranchDuri Never rw "next hop of a branch" ["msg.branch.duri"]
    BranchPath Never rw "path of a branch" ["msg.branch.path"]
    BranchQ Never rw "q of a branch" ["msg.branch.q"]
    BranchFlagList Never rw "flags of a branch" ["msg.branch.flags"]
    BranchSocket Never rw "socket a branch leaves from" ["msg.branch.socket"]
    BranchFlagOf Required rw "a flag of a branch, 0 or 1" ["msg.branch.flag"]
    BranchAttr Required rw "an attribute of a branch" ["msg.branch.attr"]
    BranchLast Never ro "number of the last branch" ["msg.branch.last_idx"]
    Hdr Required ro "header by name" ["hdr"]
    HdrCount Required ro "number of headers of a name" ["hdrcnt", "hdrc"]
    HdrName Never ro "name of a header by position" ["hdr_name"]
    Ua Never ro "User-Agent" ["ua"]
    Pai Never ro "URI of P-Asserted-Identity" ["ai"]
    PpiUri Never ro "URI of P-Preferred-Identity" ["pu"]
    PpiUser Never ro "user of P-Preferred-Identity" ["pU"]
    PpiDomain Never ro "host of P-Preferred-Identity" ["pd"]
    PpiName Never ro "display name of P-Preferred-Identity" ["pn"]
    RpidUri Never ro "URI of Remote-Party-ID" ["re"]
    ReferTo Never ro "URI of Refer-To" ["rt"]
    Diversion Never ro "URI of Diversion" ["di"]
    DiversionReason Never ro "reason of Diversion" ["dir"]
    DiversionPrivacy Never ro "privacy of Diversion" ["dip"]
    Path Never ro "Path" ["path"]
    AccExtra Required rw "a further field of accounting" ["acc_extra"]
    AuthUri Never ro "digest uri" ["adu"]
    AuthRealm Never ro "digest realm" ["ar"]
    AuthUser Never ro "user part of the digest username" ["au"]
    AuthUsername Never ro "whole digest username" ["aU"]
    AuthDomain Never ro "domain of the digest username" ["ad"]
    AuthNonce Never ro "digest nonce" ["an", "auth.nonce"]
    AuthResponse Never ro "digest response" ["auth.resp"]
    AuthCnonce Never ro "digest cnonce" ["auth.cnonce"]
    AuthOpaque Never ro "digest opaque" ["auth.opaque"]
    AuthAlgorithm Never ro "digest algorithm" ["auth.alg"]
    AuthQop Never ro "digest qop" ["auth.qop"]
    AuthNc Never ro "digest nc" ["auth.nc"]
    AccUser Never ro "digest user, else From user" ["Au"]
    SourceIp Never ro "source address" ["si", "src_ip"]
    SourcePort Never ro "source port" ["sp"]
    RecvIp Never ro "address the message came in on" ["Ri"]
    RecvPort Never ro "port the message came in on" ["Rp"]
    Proto Never ro "protocol the message came in on" ["proto", "pr"]
    Af Never ro "address family the message came in on" ["af"]
    SocketIn Optional ro "socket the message came in on" ["socket_in"]
    SocketOut Optional rw "socket it leaves from" ["socket_out", "fs"]
    ErrClass Never ro "parse error class" ["err.class"]
    ErrLevel Never ro "parse error level" ["err.level"]
    ErrInfo Never ro "parse error" ["err.info"]
    ErrCode Never ro "reply code for the error" ["err.rcode"]
    ErrReason Never ro "reply reason for the error" ["err.rreason"]
    ParamName Required ro "event parameter by name" ["event_param"]
    TimeSeconds Never ro "seconds since 1970" ["Ts"]
    TimeMicros Never ro "microseconds of the second" ["Tsm"]
    TimeStart Never ro "seconds since 1970 when the message came" ["TS"]
    TimeText Never ro "time as text" ["Tf"]
    TimeFormat Required ro "strftime" ["time"]
    TimePart Required ro "a field of the local time" ["ctime"]
    Env Required ro "environment variable" ["env"]
    Random Never ro "a random number" ["RANDOM"]
    Pid Never ro "process id" ["pp"]
    Colour Required ro "terminal colour" ["C"]
    LogLevel Never rw "log_level of this run" ["log_level"]
    XlogLevel Never rw "xlog_level of this run" ["xlog_level"]
    RrParams Never ro "parameters of the own Route" ["rr_params"]
    TBranchIdx Never ro "number of the branch in work" ["T_branch_idx"]
    TReplyCode Never ro "last or winning reply code" ["T_reply_code"]
    TBranchLastReply Never ro "last reply code of the branch in work" ["T_branch_last_reply_code"]
    TReplyReason Never ro "reason of the winning reply" ["T_reply_reason"]
    TReplyLast Never ro "code of the last reply" ["T_reply_last"]
    TReplyRuid Never ro "id of the location record that the branch in work goes to" ["T_reply_ruid"]
    TField Required ro "a field of the transaction" ["T"]
    TBranchField Required ro "flags, uri of the branch in work" ["T_branch"]
    TmBranchUri Never ro "R-URI of a branch of the transaction" ["tm.branch.uri"]
    TmBranchDuri Never ro "next hop of a branch of the transaction" ["tm.branch.duri"]
    TmBranchPath Never ro "path of a branch of the transaction" ["tm.branch.path"]
    TmBranchQ Never ro "q of a branch of the transaction" ["tm.branch.q"]
    TmBranchFlags Never ro "flags of a branch of the transaction" ["tm.branch.flags"]
    TmBranchSocket Never ro "socket of a branch of the transaction" ["tm.branch.socket"]
    TmBranchFlag Required ro "a flag of a branch of the transaction, 0 or 1" ["tm.branch.flag"]
    TmBranchAttr Required ro "an attribute of a branch of the transaction" ["tm.branch.attr"]
    TmBranchLast Never ro "last reply code of a branch of the transaction" ["tm.branch.last_received"]
    TmBranchType Never ro "kind of a branch of the transaction" ["tm.branch.type"]
    Bavp Required rw "AVP of the branch in work" ["bavp"]
    TRuri Never ro "R-URI of the transaction" ["T_ruri"]
    TId Never ro "id of the transaction" ["T_id"]
    TFrTimeout Never rw "fr_timeout of this transaction, seconds" ["T_fr_timeout"]
    TFrInvTimeout Never rw "fr_inv_timeout of this transaction, seconds" ["T_fr_inv_timeout"]
    ExecStatus Never ro "exit status of the last exec" ["exec_status"]
    Shv Required rw "variable of all processes" ["shv"]
    Stat Required ro "a statistic of the server" ["stat"]
    SdpLine Required ro "a line of the SDP" ["sdp.line"]
}

/// Whose message a variable is about: `$(<request>ru)`, `$(<reply>rs)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Context {
    /// The message in work.
    #[default]
    Own,
    /// The request, also in a reply route.
    Request,
    /// The reply, also in a failure route.
    Reply,
}

/// A pseudo-variable with its context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ScopedPv {
    /// The variable.
    pub pv: Pv,
    /// Whose message it is about.
    pub context: Context,
}

/// Finds a variable by its name, with a context such as `<reply>` in front if one was written;
/// `sub` is the text in parentheses if it is literal.
pub fn find(dialect: Dialect, name: &str, sub: Option<&str>) -> Option<PvSpec<ScopedPv>> {
    let (context, bare) = match name.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some(("request", rest)) => (Context::Request, rest),
        Some(("reply", rest)) => (Context::Reply, rest),
        Some(_) => return None,
        None => (Context::Own, name),
    };
    let own = if dialect == Dialect::Kamailio { pv_kamailio::find(bare, sub) } else { None };
    let spec = own.or_else(|| TABLE.iter().find(|(n, _)| *n == bare).map(|(_, s)| *s))?;
    // What these take is known; anything else is an error at load time.
    let known: &[&str] = match spec.pv {
        Pv::TField => super::tm::vars::FIELDS,
        Pv::TBranchField => super::tm::vars::BRANCH_FIELDS,
        Pv::Branch => &["uri", "duri", "path", "q", "flags", "socket"],
        _ => &[],
    };
    if !known.is_empty() && sub.is_some_and(|s| !known.contains(&s)) {
        return None;
    }
    Some(PvSpec {
        pv: ScopedPv { pv: spec.pv, context },
        sub: spec.sub,
        writable: spec.writable && context == Context::Own,
    })
}

/// All names.
pub fn names(dialect: Dialect) -> &'static [&'static str] {
    if dialect == Dialect::Kamailio { pv_kamailio::NAMES } else { NAMES }
}
