//! Sockets and what carries bytes: the reactor, UDP batches, the bus, name resolution.

pub mod bus;
pub mod reactor;
