//! Transactions (RFC 3261 §16, §17, RFC 6026, RFC 4320): bytes and `now` in, actions out.
//!
//! - One file per machine: [`server_invite`], [`server_noninvite`], [`client_invite`],
//!   [`client_noninvite`]. Each is an enum whose states hold only what they may use;
//!   `handle(self, now, ...) -> Self` consumes the old state.
//! - [`key`] finds the server transaction of a request, [`branch_id`] that of a reply.
//! - [`Transactions`] (`table.rs`) is all transactions of one worker; `forking.rs` is what can
//!   be done with branches, `steps.rs` how, [`best`] which reply wins, [`inspect`] looks.
//! - `alarms.rs`: their timers. `awaiting.rs`: transactions that wait for branches which nobody knows yet. `echo.rs`:
//!   what is left of those that have ended, for requests that are still repeated.
//! - [`output`] is what goes in and comes out, [`timing`] the timer values.
//!
//! # The life of a proxied INVITE
//!
//! 1. [`Transactions::match_request`] says `New`. The script runs; at the latest when it waits
//!    or relays, [`Transactions::create_server`]. Retransmissions are absorbed from here on.
//! 2. `t_relay`: [`Transactions::hold_final`]; for each branch [`Transactions::open_branch`],
//!    (branch route, name resolution), [`Transactions::send_branch`]; then
//!    [`Transactions::release_final`].
//! 3. [`Transactions::match_reply`] says `Deliver`. The onreply route runs (it may wait), then
//!    [`Transactions::reply_processed`]. Provisional replies and 2xx have gone upstream now.
//! 4. When all branches have failed, [`Output::FinalChosen`]: the failure route runs (it may
//!    wait, or open branches as in 2), then [`Transactions::release_final`] says what to send;
//!    that goes out with [`Transactions::relay_final`].
//! 5. Timers run out; [`Output::Ended`] gives back what the worker had attached.

mod alarms;
mod awaiting;
pub mod best;
pub mod branch_id;
pub mod client_invite;
pub mod client_noninvite;
mod echo;
mod entry;
mod forking;
pub mod inspect;
pub mod key;
pub mod output;
mod recursion;
pub mod server_invite;
pub mod server_noninvite;
mod steps;
mod table;
#[cfg(test)]
mod tests;
pub mod timing;

pub use branch_id::{BranchId, BranchNo, BranchText};
pub use inspect::{BranchView, TxView};
pub use key::Keys;
pub use output::{
    Ask, BranchError, BranchSpec, CancelScope, CreateError, Decision, Disposition, Matched, Outgoing, Output, Released,
    ReplyError, ReplyMatch, SendKind, TxKey, Verdict,
};
pub use table::{Birth, Stats, Transactions};
pub use timing::{Config, Noninvite408};
