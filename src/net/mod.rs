//! Sockets and what carries bytes: the reactor, UDP batches, the bus, name resolution.

pub mod reactor;
