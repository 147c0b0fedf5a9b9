//! What the processes of one server share: counters and plain memory made before the
//! fork, and a store that they open after it.

pub mod conns;
pub mod counters;
pub mod floods;
pub mod inwork;
pub mod latency;
pub mod shared;
pub mod shm;
pub mod turns;

pub use conns::{ConnId, ConnKey, ConnRows, ConnTable};
pub use counters::{Counter, CounterTable, Counters};
pub use floods::Floods;
pub use inwork::InWork;
pub use shared::Shared;
pub use turns::Turns;
