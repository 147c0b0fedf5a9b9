//! SQL: one request type, two engines. MySQL and MariaDB are spoken to directly on the loop; SQLite
//! is executed by a helper process, on whose socket the worker waits like on any backend.

pub mod datetime;
pub mod limits;
pub mod mysql;
pub mod schema;
pub mod sqlite;
pub mod url;

pub use limits::{Kill, Limits};
pub use url::{DbUrl, UrlError};
