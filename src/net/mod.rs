//! Sockets and what carries bytes: the reactor, UDP batches, the bus, name resolution.

pub mod batch;
pub mod bus;
pub mod channel;
pub mod connections;
pub mod errqueue;
pub mod handout;
pub mod listen;
pub mod logpipe;
pub mod pipe;
pub mod reactor;
pub mod resolver;
pub mod steer;
pub mod stream;
pub mod sys;
pub mod tls;
pub mod udp;
