//! Packets of the MySQL protocol: cutting them out of the byte stream, reading and writing their
//! fields. Nothing here trusts a length that the server sent.

/// Length of a packet header: three bytes payload length, one byte sequence number.
const HEADER: usize = 4;
/// A payload of this length is continued in the next packet; such packets are refused.
pub const MAX_PAYLOAD: usize = 0x00ff_ffff;

/// Collects bytes and yields whole packets.
#[derive(Default)]
pub struct Framer {
    buf: Vec<u8>,
    at: usize,
}

/// What a [`Framer`] has.
#[derive(PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// Not yet a whole packet.
    Partial,
    /// A packet: sequence number and payload.
    Packet(u8, &'a [u8]),
    /// The packet at the head is announced as larger than the limit.
    TooLarge(usize),
}

impl Framer {
    /// Appends what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 && (self.at == self.buf.len() || self.at > 64 * 1024) {
            self.buf.drain(..self.at);
            self.at = 0;
        }
        self.buf.extend_from_slice(bytes);
    }

    /// Takes the next packet, if it is whole and its payload not larger than `limit`.
    pub fn next(&mut self, limit: usize) -> Frame<'_> {
        let Some(&[a, b, c, sequence]) = self.buf.get(self.at..).and_then(|rest| rest.first_chunk::<HEADER>()) else {
            return Frame::Partial;
        };
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        if length > limit || length >= MAX_PAYLOAD {
            return Frame::TooLarge(length);
        }
        let start = self.at + HEADER;
        match self.buf.get(start..start + length) {
            Some(payload) => {
                self.at = start + length;
                Frame::Packet(sequence, payload)
            }
            None => Frame::Partial,
        }
    }

    /// Whether no byte is left over.
    pub fn is_empty(&self) -> bool {
        self.at >= self.buf.len()
    }

    /// Gives back the memory that a large answer needed.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.buf.clear();
            self.at = 0;
            self.buf.shrink_to(16 * 1024);
        }
    }
}

/// Appends one packet. The payload must be shorter than [`MAX_PAYLOAD`]; the caller has checked.
pub fn put_packet(out: &mut Vec<u8>, sequence: u8, payload: &[u8]) {
    let length = (payload.len() as u32).to_le_bytes();
    out.extend_from_slice(&length[..3]);
    out.push(sequence);
    out.extend_from_slice(payload);
}

/// Appends a length-encoded integer.
pub fn put_lenenc(out: &mut Vec<u8>, n: u64) {
    let bytes = n.to_le_bytes();
    match n {
        0..=250 => out.push(bytes[0]),
        251..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Appends a length-encoded string.
pub fn put_lenenc_str(out: &mut Vec<u8>, text: &[u8]) {
    put_lenenc(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Reads fields off the front of a payload; every read is checked.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// A length-encoded integer; `None` also for the NULL mark.
    pub fn lenenc(&mut self) -> Option<u64> {
        match self.u8()? {
            n @ 0..=250 => Some(u64::from(n)),
            0xfc => self.u16().map(u64::from),
            0xfd => self.array().map(|[a, b, c]| u64::from(u32::from_le_bytes([a, b, c, 0]))),
            0xfe => self.array().map(u64::from_le_bytes),
            _ => None,
        }
    }

    /// A length-encoded string.
    pub fn lenenc_str(&mut self) -> Option<&'a [u8]> {
        let n = self.lenenc()?;
        self.take(usize::try_from(n).ok()?)
    }

    /// A text field of a row: `Some(None)` is SQL NULL.
    pub fn field(&mut self) -> Option<Option<&'a [u8]>> {
        if self.0.first() == Some(&0xfb) {
            self.take(1)?;
            return Some(None);
        }
        self.lenenc_str().map(Some)
    }

    /// Up to a zero byte, which is taken, too; or all that is left.
    pub fn until_nul(&mut self) -> &'a [u8] {
        match memchr::memchr(0, self.0) {
            Some(at) => {
                let head = self.0.get(..at).unwrap_or_default();
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                head
            }
            None => std::mem::take(&mut self.0),
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_packets_at_any_boundary() {
        let mut wire = Vec::new();
        put_packet(&mut wire, 0, b"one");
        put_packet(&mut wire, 1, b"");
        put_packet(&mut wire, 2, &[7; 300]);
        for chunk in 1..wire.len() {
            let mut framer = Framer::default();
            let mut got = Vec::new();
            for part in wire.chunks(chunk) {
                framer.push(part);
                while let Frame::Packet(seq, payload) = framer.next(1000) {
                    got.push((seq, payload.to_vec()));
                }
            }
            assert_eq!(got, [(0, b"one".to_vec()), (1, vec![]), (2, vec![7; 300])]);
            assert!(framer.is_empty());
        }
    }

    #[test]
    fn refuses_the_oversized_before_it_arrives() {
        let mut framer = Framer::default();
        framer.push(&[0xff, 0xff, 0xff, 0]);
        assert_eq!(framer.next(usize::MAX), Frame::TooLarge(0xff_ffff));
        let mut framer = Framer::default();
        framer.push(&[11, 0, 0, 0]);
        assert_eq!(framer.next(10), Frame::TooLarge(11));
    }

    #[test]
    fn length_encoded_integers_come_back() {
        for n in [0, 1, 250, 251, 252, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_lenenc(&mut out, n);
            let mut r = Reader(&out);
            assert_eq!(r.lenenc(), Some(n));
            assert!(r.is_empty());
        }
        assert_eq!(Reader(&[0xfb]).lenenc(), None);
        assert_eq!(Reader(&[0xfb]).field(), Some(None));
        assert_eq!(Reader(&[5, b'a']).lenenc_str(), None);
        assert_eq!(Reader(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255]).lenenc_str(), None);
    }
}
