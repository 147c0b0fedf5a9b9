//! Building blocks that know neither SIP nor I/O.

pub mod bytestr;
pub mod hash;
pub mod late;
pub mod names;
pub mod seldom;
pub mod slab;
pub mod time;
pub mod wheel;

pub use bytestr::Str;
pub use late::Late;
pub use seldom::Seldom;
pub use slab::{Key, Slab};
pub use time::Time;
pub use wheel::{TimerKey, Wheel};
