//! What may be asked of the resolver, and what it answers.

use super::message::Record;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

/// What is wanted of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Want {
    /// Addresses of both versions, version 4 first.
    Addresses,
    /// IPv4 addresses only.
    V4,
    /// IPv6 addresses only.
    V6,
    /// The servers of a service (RFC 2782).
    Srv,
    /// The rules that lead to a service (RFC 3403).
    Naptr,
    /// The names of an address, asked for by its name below `in-addr.arpa` or `ip6.arpa`.
    Ptr,
}

impl Want {
    /// Whether addresses are wanted.
    pub fn is_address(self) -> bool {
        !matches!(self, Want::Srv | Want::Naptr | Want::Ptr)
    }

    /// Whether an address is of a version that is wanted.
    pub fn fits(self, ip: &IpAddr) -> bool {
        match self {
            Want::V4 => ip.is_ipv4(),
            Want::V6 => ip.is_ipv6(),
            _ => true,
        }
    }
}

/// A question to the resolver.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Question {
    /// A host name, or the name of a service.
    pub name: String,
    /// What is wanted of it.
    pub want: Want,
}

/// What is known of a name. Never empty.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Found {
    /// Addresses.
    Addresses(Vec<IpAddr>),
    /// SRV, NAPTR or PTR records.
    Records(Rc<[Record]>),
}

/// Why nothing is known of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The name does not exist, or has nothing of what is wanted.
    Absent,
    /// No name server gave an answer, or none that makes sense: it may be otherwise later.
    Unanswered,
    /// It was not even asked: no host name, or too many questions at once.
    Refused,
}

/// The answer to a question that found nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which kind.
    pub fault: Fault,
    /// For the operator, with the name.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
