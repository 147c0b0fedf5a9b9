//! Sockets and what carries bytes: the reactor, UDP batches, the bus, name resolution.

pub mod reactor;
pub mod resolver;
pub mod stream;
pub mod sys;
pub mod tls;
