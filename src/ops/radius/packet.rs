//! RADIUS packets (RFC 2865, 2866, 2869, 3579): bytes in, bytes out.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// Access-Request
pub const ACCESS_REQUEST: u8 = 1;
/// Access-Accept
pub const ACCESS_ACCEPT: u8 = 2;
/// Access-Reject
pub const ACCESS_REJECT: u8 = 3;
/// Accounting-Request
pub const ACCOUNTING_REQUEST: u8 = 4;
/// Accounting-Response
pub const ACCOUNTING_RESPONSE: u8 = 5;
/// Access-Challenge
pub const ACCESS_CHALLENGE: u8 = 11;

/// User-Password, whose value is hidden on the way (RFC 2865 section 5.2).
pub const USER_PASSWORD: u8 = 2;
/// Vendor-Specific (RFC 2865 section 5.26)
pub const VENDOR_SPECIFIC: u8 = 26;
/// Message-Authenticator (RFC 2869 section 5.14)
pub const MESSAGE_AUTHENTICATOR: u8 = 80;

/// Length of code, identifier, length and authenticator.
const HEAD: usize = 20;
/// Largest packet (RFC 2865 section 3).
pub const MAX_PACKET: usize = 4096;
/// Longest value of an attribute.
pub const MAX_VALUE: usize = 253;

/// One attribute as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// SMI number of the vendor; 0: an attribute of the standard.
    pub vendor: u32,
    /// Its number.
    pub code: u8,
    /// Its value.
    pub value: Vec<u8>,
}

impl Attribute {
    /// An attribute of the standard.
    pub fn new(code: u8, value: impl Into<Vec<u8>>) -> Attribute {
        Attribute { vendor: 0, code, value: value.into() }
    }
}

/// Why a packet cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmade {
    /// A value is longer than an attribute can be.
    Value,
    /// All attributes together are larger than a packet can be.
    Packet,
}

/// A packet with the secret's traces in place, to be sent as it is, again and again.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What goes on the wire.
    pub bytes: Vec<u8>,
    /// The authenticator that answers must be computed with.
    pub authenticator: [u8; 16],
}

/// Encodes an Access-Request. `random` becomes its authenticator: it must be unpredictable and new for
/// each request. The Message-Authenticator comes first, so that nobody can put a prefix before it.
pub fn access_request(
    identifier: u8,
    random: [u8; 16],
    secret: &[u8],
    attributes: &[Attribute],
) -> Result<Encoded, Unmade> {
    let mut bytes = head(ACCESS_REQUEST, identifier, random);
    let at = bytes.len() + 2;
    bytes.extend_from_slice(&[MESSAGE_AUTHENTICATOR, 18]);
    bytes.extend_from_slice(&[0; 16]);
    for a in attributes {
        if a.vendor == 0 && a.code == USER_PASSWORD {
            push(&mut bytes, &Attribute::new(USER_PASSWORD, hide(&a.value, secret, &random)))?;
        } else {
            push(&mut bytes, a)?;
        }
    }
    finish(&mut bytes)?;
    let sum = sign(secret, &[&bytes]);
    if let Some(place) = bytes.get_mut(at..at + 16) {
        place.copy_from_slice(&sum);
    }
    Ok(Encoded { bytes, authenticator: random })
}

/// Encodes an Accounting-Request (RFC 2866 section 3).
pub fn accounting_request(identifier: u8, secret: &[u8], attributes: &[Attribute]) -> Result<Encoded, Unmade> {
    let mut bytes = head(ACCOUNTING_REQUEST, identifier, [0; 16]);
    for a in attributes {
        push(&mut bytes, a)?;
    }
    finish(&mut bytes)?;
    let authenticator = digest(&[&bytes, secret]);
    if let Some(place) = bytes.get_mut(4..HEAD) {
        place.copy_from_slice(&authenticator);
    }
    Ok(Encoded { bytes, authenticator })
}

fn head(code: u8, identifier: u8, authenticator: [u8; 16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&[code, identifier, 0, 0]);
    bytes.extend_from_slice(&authenticator);
    bytes
}

fn push(bytes: &mut Vec<u8>, a: &Attribute) -> Result<(), Unmade> {
    let short = |n: usize| u8::try_from(n).map_err(|_| Unmade::Value);
    let inner = short(a.value.len() + 2)?;
    if a.vendor == 0 {
        bytes.extend_from_slice(&[a.code, inner]);
    } else {
        let outer = short(a.value.len() + 8)?;
        bytes.extend_from_slice(&[VENDOR_SPECIFIC, outer]);
        bytes.extend_from_slice(&a.vendor.to_be_bytes());
        bytes.extend_from_slice(&[a.code, inner]);
    }
    bytes.extend_from_slice(&a.value);
    if bytes.len() > MAX_PACKET { Err(Unmade::Packet) } else { Ok(()) }
}

fn finish(bytes: &mut [u8]) -> Result<(), Unmade> {
    let length = u16::try_from(bytes.len()).map_err(|_| Unmade::Packet)?;
    if let Some(place) = bytes.get_mut(2..4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut md5 = Md5::new();
    for p in parts {
        md5.update(p);
    }
    md5.finalize().into()
}

fn sign(secret: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(secret) else { return [0; 16] };
    for p in parts {
        mac.update(p);
    }
    mac.finalize().into_bytes().into()
}

/// Hides a password (RFC 2865 section 5.2). What is longer than 128 bytes is cut off there.
fn hide(password: &[u8], secret: &[u8], authenticator: &[u8; 16]) -> Vec<u8> {
    let mut clear = password.get(..128).unwrap_or(password).to_vec();
    clear.resize(clear.len().next_multiple_of(16).max(16), 0);
    let mut last = *authenticator;
    for block in clear.chunks_exact_mut(16) {
        let mask = digest(&[secret, &last]);
        for (byte, m) in block.iter_mut().zip(mask) {
            *byte ^= m;
        }
        last.copy_from_slice(block);
    }
    clear
}

/// An answer that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its code.
    pub code: u8,
    /// Its attributes, in order.
    pub attributes: Vec<Attribute>,
}

/// Why a datagram is no answer to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// Not a RADIUS packet, or lengths that contradict each other.
    Malformed,
    /// Not signed with the secret, or the answer to something else.
    Unsigned,
}

/// The identifier of a datagram, for finding the request that it answers.
pub fn identifier(bytes: &[u8]) -> Option<u8> {
    (bytes.len() >= HEAD).then(|| bytes.get(1).copied()).flatten()
}

/// Checks and decodes an answer to the request with this authenticator. An answer to an Access-Request
/// must carry a valid Message-Authenticator if `signed` says so; one that is there must be valid in any case.
pub fn answer(bytes: &[u8], request: &[u8; 16], secret: &[u8], signed: bool) -> Result<Answer, Foreign> {
    let head = bytes.get(..HEAD).ok_or(Foreign::Malformed)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    // What lies behind the length is padding (RFC 2865 section 3).
    let bytes = bytes.get(..length).filter(|b| (HEAD..=MAX_PACKET).contains(&b.len())).ok_or(Foreign::Malformed)?;
    let (code, rest) = (head[0], &bytes[HEAD..]);
    let authenticator = digest(&[&head[..4], request, rest, secret]);
    if !same(&authenticator, &head[4..HEAD]) {
        return Err(Foreign::Unsigned);
    }
    let (attributes, signature) = attributes(rest)?;
    match signature {
        None if signed => return Err(Foreign::Unsigned),
        None => {}
        Some(at) => {
            let place = HEAD + at;
            let (before, after) = (bytes.get(HEAD..place), bytes.get(place + 16..));
            let (Some(before), Some(after), Some(sum)) = (before, after, bytes.get(place..place + 16)) else {
                return Err(Foreign::Malformed);
            };
            if !same(&sign(secret, &[&head[..4], request, before, &[0; 16], after]), sum) {
                return Err(Foreign::Unsigned);
            }
        }
    }
    Ok(Answer { code, attributes })
}

/// The attributes, and where the value of the Message-Authenticator stands.
fn attributes(mut rest: &[u8]) -> Result<(Vec<Attribute>, Option<usize>), Foreign> {
    let (mut out, mut signature, whole) = (Vec::new(), None, rest.len());
    while let Some((value, code, tail)) = split(rest)? {
        let at = whole - rest.len() + 2;
        rest = tail;
        match code {
            MESSAGE_AUTHENTICATOR if value.len() == 16 && signature.is_none() => signature = Some(at),
            MESSAGE_AUTHENTICATOR => return Err(Foreign::Malformed),
            VENDOR_SPECIFIC if value.len() > 4 => vendor(value, &mut out),
            code => out.push(Attribute::new(code, value)),
        }
    }
    Ok((out, signature))
}

/// Takes apart what a vendor put into its attribute, where it kept to the recommended form; else it
/// stays as it is.
fn vendor(value: &[u8], out: &mut Vec<Attribute>) {
    let number = u32::from_be_bytes([value[0], value[1], value[2], value[3]]);
    let mut rest = &value[4..];
    let before = out.len();
    loop {
        match split(rest) {
            Ok(Some((value, code, tail))) => {
                out.push(Attribute { vendor: number, code, value: value.to_vec() });
                rest = tail;
            }
            Ok(None) => return,
            Err(_) => {
                out.truncate(before);
                return out.push(Attribute::new(VENDOR_SPECIFIC, value));
            }
        }
    }
}

type Split<'a> = Option<(&'a [u8], u8, &'a [u8])>;

/// Value, number and what comes behind.
fn split(rest: &[u8]) -> Result<Split<'_>, Foreign> {
    let (code, length) = match rest {
        [] => return Ok(None),
        [code, length, ..] => (*code, usize::from(*length)),
        _ => return Err(Foreign::Malformed),
    };
    let value = rest.get(2..length).ok_or(Foreign::Malformed)?;
    Ok(Some((value, code, &rest[length..])))
}

/// Compares without telling by its duration where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 2865 section 7.1, without what was not there yet.
    #[test]
    fn passwords_are_hidden_as_the_standard_shows() {
        let authenticator =
            [0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a];
        let hidden = hide(b"arctangent", b"xyzzy5461", &authenticator);
        let expected = [0x0d, 0xbe, 0x70, 0x8d, 0x93, 0xd4, 0x13, 0xce, 0x31, 0x96, 0xe4, 0x3f, 0x78, 0x2a, 0x0a, 0xee];
        assert_eq!(hidden, expected);
        assert_eq!(hide(b"", b"s", &authenticator).len(), 16);
        assert_eq!(hide(&[b'x'; 17], b"s", &authenticator).len(), 32);
        assert_eq!(hide(&[b'x'; 500], b"s", &authenticator).len(), 128);
    }

    /// What a server does with a request: the answer with a valid authenticator.
    fn answer_of(request: &Encoded, code: u8, secret: &[u8], attributes: &[Attribute], signed: bool) -> Vec<u8> {
        let mut bytes = head(code, request.bytes[1], request.authenticator);
        if signed {
            bytes.extend_from_slice(&[MESSAGE_AUTHENTICATOR, 18]);
            bytes.extend_from_slice(&[0; 16]);
        }
        for a in attributes {
            push(&mut bytes, a).unwrap();
        }
        finish(&mut bytes).unwrap();
        if signed {
            let sum = sign(secret, &[&bytes]);
            bytes[22..38].copy_from_slice(&sum);
        }
        let sum = digest(&[&bytes, secret]);
        bytes[4..HEAD].copy_from_slice(&sum);
        bytes
    }

    #[test]
    fn answers_are_believed_only_if_they_are_signed() {
        let attributes =
            vec![Attribute::new(18, *b"welcome"), Attribute { vendor: 9, code: 1, value: b"sip:next".to_vec() }];
        let request = access_request(7, [3; 16], b"secret", &[Attribute::new(1, *b"alice")]).unwrap();
        for signed in [true, false] {
            let good = answer_of(&request, ACCESS_ACCEPT, b"secret", &attributes, signed);
            assert_eq!(identifier(&good), Some(7));
            let read = answer(&good, &request.authenticator, b"secret", false).unwrap();
            assert_eq!(read, Answer { code: ACCESS_ACCEPT, attributes: attributes.clone() });
            assert_eq!(answer(&good, &request.authenticator, b"secret", true).is_ok(), signed);
            assert_eq!(answer(&good, &request.authenticator, b"other", false), Err(Foreign::Unsigned));
            assert_eq!(answer(&good, &[4; 16], b"secret", false), Err(Foreign::Unsigned));
            let mut padded = good.clone();
            padded.extend_from_slice(b"padding");
            assert!(answer(&padded, &request.authenticator, b"secret", false).is_ok());
            for n in 0..good.len() {
                let mut bad = good.clone();
                bad[n] ^= 1;
                // The identifier is compared before.
                assert!(answer(&bad, &request.authenticator, b"secret", false).is_err() || n == 1, "byte {n}");
                assert!(answer(&good[..n], &request.authenticator, b"secret", false).is_err());
            }
        }
    }

    #[test]
    fn accounting_is_signed_with_its_digest() {
        let request = accounting_request(9, b"secret", &[Attribute::new(40, 1u32.to_be_bytes())]).unwrap();
        let mut zeroed = request.bytes.clone();
        zeroed[4..HEAD].fill(0);
        assert_eq!(request.authenticator, digest(&[&zeroed, b"secret"]));
        assert_eq!(request.bytes[4..HEAD], request.authenticator);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = Attribute::new(1, vec![0; 254]);
        assert_eq!(access_request(1, [0; 16], b"s", &[long]).unwrap_err(), Unmade::Value);
        let vendor = Attribute { vendor: 9, code: 1, value: vec![0; 248] };
        assert_eq!(access_request(1, [0; 16], b"s", &[vendor]).unwrap_err(), Unmade::Value);
        let many = vec![Attribute::new(1, vec![0; 253]); 20];
        assert_eq!(accounting_request(1, b"s", &many).unwrap_err(), Unmade::Packet);
    }

    #[test]
    fn odd_vendor_attributes_stay_whole() {
        let mut out = Vec::new();
        vendor(&[0, 0, 0, 9, 1, 200, 5], &mut out);
        assert_eq!(out, [Attribute::new(VENDOR_SPECIFIC, [0, 0, 0, 9, 1, 200, 5])]);
    }
}
