//! Why a REGISTER is refused, and what its sender hears.

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A header is missing or cannot be read.
    Malformed(&'static str),
    /// `*` beside other contacts, or with a time to live.
    Star,
    /// An older request than one that was seen.
    OldCseq,
    /// More contacts than an address may have.
    TooManyContacts,
    /// A contact is to live shorter than is allowed.
    TooBrief,
    /// The client does not know the Path it came with.
    NoPathSupport,
    /// The first hop does not know RFC 5626.
    NoOutbound,
    /// The client does not know RFC 5626, and must.
    NeedsOutbound,
    /// The server could not store it.
    Storage,
}

impl Refusal {
    /// Status and phrase of the reply.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Refusal::Malformed(_) | Refusal::Star | Refusal::OldCseq => (400, "Bad Request"),
            Refusal::TooManyContacts => (503, "Service Unavailable"),
            Refusal::TooBrief => (423, "Interval Too Brief"),
            Refusal::NoPathSupport => (420, "Bad Extension"),
            Refusal::NoOutbound => (439, "First Hop Lacks Outbound Support"),
            Refusal::NeedsOutbound => (421, "Extension Required"),
            Refusal::Storage => (500, "Server Internal Error"),
        }
    }

    /// What `P-Registrar-Error` says.
    pub fn text(self) -> &'static str {
        match self {
            Refusal::Malformed(what) => what,
            Refusal::Star => "Contact * stands alone, with Expires 0",
            Refusal::OldCseq => "CSeq is not higher than in an earlier request",
            Refusal::TooManyContacts => "Too many contacts",
            Refusal::TooBrief => "Time to live is too short",
            Refusal::NoPathSupport => "Path needs the option tag path in Supported",
            Refusal::NoOutbound => "The first hop does not support outbound",
            Refusal::NeedsOutbound => "The client must support outbound",
            Refusal::Storage => "The contacts could not be stored",
        }
    }

    /// What `save` returns.
    pub fn code(self) -> i32 {
        match self {
            Refusal::TooManyContacts => -2,
            _ => -1,
        }
    }
}
