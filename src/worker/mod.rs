//! The worker: one process, one thread, one loop (see docs/architecture.md).

pub mod seat;
