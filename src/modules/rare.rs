//! What a run has left behind in modules that few runs use.

use crate::base::Str;
use crate::base::seldom::Vacant;
use serde::{Deserialize, Serialize};

/// One pointer of a [`SipHost`](super::host::SipHost) for all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rare {
    /// Names that the run has looked up.
    pub names: Option<Box<super::ipops::names::Kept>>,
    /// Walks over headers that the run has begun.
    pub walks: Option<Box<super::kamailio::header_walk::Walks>>,
    /// Walks over the lines of a body.
    pub lines: Option<Box<super::kamailio::line_walk::Walks>>,
    /// What HTTP of Kamailio's modules has left, and is asked to do.
    pub web: Option<Box<super::http::Web>>,
    /// What statements of Kamailio's sqlops have left.
    pub sql: Option<Box<super::kamailio::sqlops::Kept>>,
    /// The body of replies made here.
    pub reply_body: Option<Box<ReplyBody>>,
    /// The P-Charging-Vector that was made for the message: its value.
    pub charging: Option<Box<Str>>,
    /// The request that `$uac_req(...)` puts together.
    pub uac: Option<Box<super::uac::request::Draft>>,
    /// The set of destinations that `$dsg(...)` is about.
    pub group: Option<Box<super::dispatcher::group::Fetched>>,
    /// What the last `jsonrpc_exec` was told.
    pub told: Option<Box<super::jsonrpcs::Told>>,
    /// The branch that `$sbranch(...)` puts together.
    pub branch: Option<Box<super::host::Target>>,
    /// The number of the connection that the request is to leave over, and whether it does (`tcp_set_otcpid`).
    pub outbound: Option<(i64, bool)>,
}

impl Vacant for Rare {
    fn vacant() -> &'static Self {
        const {
            &Rare {
                names: None,
                walks: None,
                lines: None,
                web: None,
                sql: None,
                reply_body: None,
                charging: None,
                uac: None,
                group: None,
                told: None,
                branch: None,
                outbound: None,
            }
        }
    }
}

/// What `set_reply_body` has set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyBody {
    /// Content-Type.
    pub kind: Str,
    /// The body.
    pub body: Str,
}
