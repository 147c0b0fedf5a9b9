//! HTTP/1.1 client operations (RFC 9110, RFC 9112).

pub mod answer;
mod chunked;
mod encode;
mod url;
