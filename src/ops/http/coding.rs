//! Content codings of bodies: gzip (RFC 1952) and deflate (RFC 1950, RFC 1951), as RFC 9110 section 8.4.1
//! names them. Bytes in, bytes out, never more than the reader has room for.

use super::answer::Broken;
use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Bytes that come out of one step.
const STEP: usize = 8 * 1024;

/// What a body is coded with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// `gzip`, `x-gzip`
    Gzip,
    /// `deflate`: with or without the frame of zlib, as servers differ.
    Deflate,
}

impl Coding {
    /// The coding a field `Content-Encoding` names, if it names exactly one that is known.
    pub fn named(value: &[u8]) -> Option<Coding> {
        let name = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            Some(Coding::Gzip)
        } else if name.eq_ignore_ascii_case(b"deflate") {
            Some(Coding::Deflate)
        } else {
            None
        }
    }
}

/// Flags of a gzip member's head (RFC 1952 section 2.3.1).
const HEAD_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

#[derive(Debug)]
enum State {
    /// `deflate`: the first byte, if it has come; two of them tell whether zlib's frame is around.
    Guess(Option<u8>),
    /// The ten bytes that every gzip member begins with; this many have come.
    Fixed(usize),
    ExtraLength {
        low: Option<u8>,
    },
    Extra(usize),
    /// A text that ends with a zero.
    Name,
    Comment,
    /// Bytes of the head's checksum, which is not looked at.
    HeadCrc(usize),
    Data,
    /// Behind a gzip member's data: checksum and length.
    Trailer(usize),
    End,
}

/// A coded body while it arrives.
pub struct Decoder {
    coding: Coding,
    state: State,
    flags: u8,
    inflate: Decompress,
    crc: Crc,
    trailer: [u8; 8],
    begun: bool,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("coding", &self.coding).field("state", &self.state).finish_non_exhaustive()
    }
}

const BAD: Broken = Broken::Garbage("the body is not coded as it says");

impl Decoder {
    /// A body of which nothing arrived yet.
    pub fn new(coding: Coding) -> Decoder {
        Decoder {
            coding,
            state: if coding == Coding::Gzip { State::Fixed(0) } else { State::Guess(None) },
            flags: 0,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            trailer: [0; 8],
            begun: false,
        }
    }

    /// Decodes `bytes` to the end of `out`, which must not grow beyond `limit`.
    pub fn feed(&mut self, mut bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.begun |= !bytes.is_empty();
        loop {
            if let State::Data = self.state {
                bytes = self.inflate(bytes, limit, out)?;
                if let State::Data = self.state {
                    return Ok(());
                }
            }
            let Some((byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            if let State::Guess(Some(first)) = self.state {
                self.begin_deflate(first, *byte, limit, out)?;
            } else {
                self.frame(*byte)?;
            }
        }
    }

    /// Nothing more comes. A body without a byte is empty, however it is coded.
    pub fn finish(&self) -> Result<(), Broken> {
        match self.state {
            State::End => Ok(()),
            _ if !self.begun => Ok(()),
            _ => Err(Broken::Garbage("the coded body is cut off")),
        }
    }

    /// RFC 1950 section 2.2: the method is 8, and both bytes together are a multiple of 31.
    fn begin_deflate(&mut self, first: u8, second: u8, limit: usize, out: &mut Vec<u8>) -> Result<(), Broken> {
        let zlib = first & 0x0f == 8 && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31);
        self.inflate = Decompress::new(zlib);
        self.state = State::Data;
        let both = [first, second];
        let rest = self.inflate(&both, limit, out)?;
        if rest.is_empty() { Ok(()) } else { Err(BAD) }
    }

    /// One byte of the frame around the data.
    fn frame(&mut self, byte: u8) -> Result<(), Broken> {
        self.state = match self.state {
            State::Guess(_) => State::Guess(Some(byte)),
            State::Fixed(at) => {
                match (at, byte) {
                    (0, 0x1f) | (1, 0x8b) | (2, 8) => {}
                    (0..=2, _) => return Err(BAD),
                    (3, flags) if flags & RESERVED == 0 => self.flags = flags,
                    (3, _) => return Err(BAD),
                    _ => {}
                }
                if at == 9 { self.behind_fixed() } else { State::Fixed(at + 1) }
            }
            State::ExtraLength { low: None } => State::ExtraLength { low: Some(byte) },
            State::ExtraLength { low: Some(low) } => match usize::from(u16::from_le_bytes([low, byte])) {
                0 => self.behind_extra(),
                n => State::Extra(n),
            },
            State::Extra(1) => self.behind_extra(),
            State::Extra(n) => State::Extra(n.saturating_sub(1)),
            State::Name if byte == 0 => self.behind_name(),
            State::Name => State::Name,
            State::Comment if byte == 0 => self.behind_comment(),
            State::Comment => State::Comment,
            State::HeadCrc(0) => State::HeadCrc(1),
            State::HeadCrc(_) => self.begin_data(),
            State::Trailer(at) => {
                if let Some(place) = self.trailer.get_mut(at) {
                    *place = byte;
                }
                if at == 7 { self.check()? } else { State::Trailer(at + 1) }
            }
            // RFC 1952 section 2.2: members may follow each other.
            State::End if self.coding == Coding::Gzip && byte == 0x1f => State::Fixed(1),
            State::End | State::Data => return Err(BAD),
        };
        Ok(())
    }

    fn behind_fixed(&mut self) -> State {
        if self.flags & EXTRA != 0 { State::ExtraLength { low: None } } else { self.behind_extra() }
    }

    fn behind_extra(&mut self) -> State {
        if self.flags & NAME != 0 { State::Name } else { self.behind_name() }
    }

    fn behind_name(&mut self) -> State {
        if self.flags & COMMENT != 0 { State::Comment } else { self.behind_comment() }
    }

    fn behind_comment(&mut self) -> State {
        if self.flags & HEAD_CRC != 0 { State::HeadCrc(0) } else { self.begin_data() }
    }

    fn begin_data(&mut self) -> State {
        self.inflate.reset(false);
        self.crc.reset();
        State::Data
    }

    /// A gzip member has ended: are they the bytes that were put in?
    fn check(&self) -> Result<State, Broken> {
        let [a, b, c, d, e, f, g, h] = self.trailer;
        let right =
            u32::from_le_bytes([a, b, c, d]) == self.crc.sum() && u32::from_le_bytes([e, f, g, h]) == self.crc.amount();
        if right { Ok(State::End) } else { Err(Broken::Garbage("the coded body is damaged")) }
    }

    /// Takes data as far as it goes; gives back what follows its end.
    fn inflate<'b>(&mut self, mut bytes: &'b [u8], limit: usize, out: &mut Vec<u8>) -> Result<&'b [u8], Broken> {
        let mut step = [0; STEP];
        loop {
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(bytes, &mut step, FlushDecompress::None).map_err(|_| BAD)?;
            let used = usize::try_from(self.inflate.total_in().saturating_sub(read)).unwrap_or(usize::MAX);
            let made = usize::try_from(self.inflate.total_out().saturating_sub(written)).unwrap_or(usize::MAX);
            let made = step.get(..made).unwrap_or_default();
            if made.len() > limit.saturating_sub(out.len()) {
                return Err(Broken::TooLarge("the decoded body is larger than the limit"));
            }
            out.extend_from_slice(made);
            self.crc.update(made);
            bytes = bytes.get(used..).unwrap_or_default();
            if status == Status::StreamEnd {
                self.state = if self.coding == Coding::Gzip { State::Trailer(0) } else { State::End };
                return Ok(bytes);
            }
            if made.len() < STEP {
                if bytes.is_empty() {
                    return Ok(bytes);
                }
                if used == 0 && made.is_empty() {
                    return Err(BAD);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::{DeflateEncoder, ZlibEncoder};
    use flate2::{Compression, GzBuilder};
    use std::io::Write;

    const TEXT: &[u8] = b"what is sent twice is shorter; what is sent twice is shorter";

    fn gzip(text: &[u8], builder: GzBuilder) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Decodes whole and byte by byte; both must agree.
    fn decode(coding: Coding, bytes: &[u8], limit: usize) -> Result<Vec<u8>, Broken> {
        let run = |step: usize| {
            let mut decoder = Decoder::new(coding);
            let mut out = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.feed(piece, limit, &mut out)?;
                assert!(out.len() <= limit);
            }
            decoder.finish().map(|()| out)
        };
        let whole = run(bytes.len().max(1));
        assert_eq!(whole.is_ok(), run(1).is_ok());
        if whole.is_ok() {
            assert_eq!(whole, run(1));
            assert_eq!(whole, run(3));
        }
        whole
    }

    #[test]
    fn every_coding() {
        assert_eq!(decode(Coding::Gzip, &gzip(TEXT, GzBuilder::new()), 1000).unwrap(), TEXT);
        let full = GzBuilder::new().filename("a").comment("b").extra(vec![1, 2, 3]).mtime(7);
        assert_eq!(decode(Coding::Gzip, &gzip(TEXT, full), 1000).unwrap(), TEXT);
        assert_eq!(decode(Coding::Deflate, &zlib(TEXT), 1000).unwrap(), TEXT);
        assert_eq!(decode(Coding::Deflate, &raw(TEXT), 1000).unwrap(), TEXT);
        let two = [gzip(b"one ", GzBuilder::new()), gzip(b"two", GzBuilder::new())].concat();
        assert_eq!(decode(Coding::Gzip, &two, 1000).unwrap(), b"one two");
        for coding in [Coding::Gzip, Coding::Deflate] {
            assert_eq!(decode(coding, b"", 0).unwrap(), b"");
        }
        let large: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        assert!(decode(Coding::Gzip, &gzip(&large, GzBuilder::new()), 400_000).unwrap() == large);
        assert!(decode(Coding::Deflate, &zlib(&large), 400_000).unwrap() == large);
    }

    #[test]
    fn a_head_with_a_checksum() {
        // FHCRC: two bytes between the head and the data.
        let plain = gzip(b"x", GzBuilder::new());
        let mut bytes = plain.clone();
        bytes[3] = HEAD_CRC;
        bytes.splice(10..10, [0xab, 0xcd]);
        assert_eq!(decode(Coding::Gzip, &bytes, 10).unwrap(), b"x");
    }

    #[test]
    fn what_is_damaged_or_cut_off() {
        let good = gzip(TEXT, GzBuilder::new());
        for n in 1..good.len() {
            assert!(decode(Coding::Gzip, &good[..n], 1000).is_err(), "cut to {n}");
        }
        for n in 1..zlib(TEXT).len() {
            assert!(decode(Coding::Deflate, &zlib(TEXT)[..n], 1000).is_err(), "cut to {n}");
        }
        for at in [0, 1, 2, good.len() - 8, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(decode(Coding::Gzip, &bad, 1000).is_err(), "{at}");
        }
        assert!(decode(Coding::Gzip, &[&good[..], b"more"].concat(), 1000).is_err());
        assert!(decode(Coding::Deflate, &[&zlib(TEXT)[..], b"more"].concat(), 1000).is_err());
        assert!(decode(Coding::Gzip, TEXT, 1000).is_err());
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let zeros = vec![0; 10 << 20];
        for (coding, bytes) in [(Coding::Gzip, gzip(&zeros, GzBuilder::new())), (Coding::Deflate, zlib(&zeros))] {
            assert!(bytes.len() < 20_000);
            let mut out = Vec::new();
            let fed = Decoder::new(coding).feed(&bytes, 100_000, &mut out);
            assert!(matches!(fed, Err(Broken::TooLarge(_))) && out.len() <= 100_000);
            assert_eq!(decode(coding, &bytes, 10 << 20).unwrap().len(), 10 << 20);
        }
    }
}
