//! The protocol core (RFC 3261): bytes in, bytes out, no socket and no clock.
//!
//! A [`Message`] is the bytes as they were received plus an index of header positions; headers
//! are parsed when somebody asks. Changes are [`Edits`] over the original bytes, so whatever
//! nobody touched leaves byte for byte as it came. Start reading at `message.rs`.

pub mod bytes;
pub mod check;
pub mod cseq;
pub mod digest;
pub mod edits;
pub mod error;
pub mod framer;
pub mod fuzz;
pub mod header;
pub mod list;
mod memo;
pub mod message;
pub mod method;
pub mod nameaddr;
pub mod params;
pub mod range;
pub mod reply;
pub mod request;
mod scan;
pub mod sdp;
pub mod transport;
pub mod uri;
pub mod validate;
pub mod via;

pub use cseq::CSeq;
pub use edits::Edits;
pub use error::{Fault, ParseError};
pub use header::{Header, HeaderId};
pub use message::Message;
pub use method::Method;
pub use nameaddr::NameAddr;
pub use params::{Param, Params};
pub use range::Range;
pub use transport::Transport;
pub use uri::{Scheme, Uri};
pub use validate::validate;
pub use via::Via;
