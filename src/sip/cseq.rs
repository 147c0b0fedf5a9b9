//! The CSeq header (RFC 3261 §20.16).

use super::bytes::{is_lws, is_token, parse_u32, trim};
use super::error::ParseError;
use super::method::Method;

/// A sequence number and the method it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CSeq<'a> {
    /// The number.
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The method as written.
    pub method_bytes: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// Parses a header value. Numbers that need more than 32 bits are refused.
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, ParseError> {
        let value = trim(value);
        let gap = value.iter().position(|&b| is_lws(b)).ok_or(ParseError::malformed("Bad CSeq"))?;
        let (number, method) = value.split_at(gap);
        let method = trim(method);
        let number = parse_u32(number).ok_or(ParseError::malformed("Bad CSeq number"))?;
        if !is_token(method) {
            return Err(ParseError::malformed("Bad CSeq method"));
        }
        Ok(CSeq { number, method: Method::from_bytes(method), method_bytes: method })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_and_bad() {
        let c = CSeq::parse(b"0009\r\n  INVITE").unwrap();
        assert_eq!((c.number, c.method), (9, Method::Invite));
        for bad in [&b"INVITE"[..], b"1", b"36893488147419103232 REGISTER", b"-1 BYE", b"1 IN VITE", b""] {
            assert!(CSeq::parse(bad).is_err(), "{:?}", bad.escape_ascii().to_string());
        }
    }
}
