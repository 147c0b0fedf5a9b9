//! The chunked transfer coding (RFC 9112 section 7.1).

use super::answer::{Body, Broken};

/// Longest line of a chunk's size, extensions included.
const MAX_SIZE_LINE: usize = 4096;

/// What one call of [`Chunked::feed`] ended in.
pub enum Chunks<'b> {
    /// All bytes are used; more must come.
    More,
    /// The last chunk and the trailers have come; these bytes follow.
    End(&'b [u8]),
}

#[derive(Debug)]
enum State {
    /// In the line that gives the size.
    Size { size: u64, digits: u32, extension: bool },
    /// In the data, this much is left.
    Data(u64),
    /// Behind the data: the line end.
    DataEnd,
    /// In the trailers; `line`: bytes of the current line, without line end.
    Trailers { line: usize },
}

/// A body that comes in chunks.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    /// Bytes of the current size line.
    line: usize,
    /// Bytes that trailers may still take.
    trailers: usize,
}

impl Chunked {
    /// A body of which nothing arrived yet, and how many bytes of trailers it may bring.
    pub fn new(trailers: usize) -> Chunked {
        Chunked { state: State::Size { size: 0, digits: 0, extension: false }, line: 0, trailers }
    }

    /// Hands what is in the chunks to `body`.
    pub(super) fn feed<'b>(&mut self, mut bytes: &'b [u8], body: &mut Body) -> Result<Chunks<'b>, Broken> {
        loop {
            if let State::Data(left) = &mut self.state {
                let n = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let (now, rest) = bytes.split_at(n);
                body.take(now)?;
                *left -= n as u64;
                bytes = rest;
                if *left > 0 {
                    return Ok(Chunks::More);
                }
                self.state = State::DataEnd;
            }
            let Some((byte, rest)) = bytes.split_first() else { return Ok(Chunks::More) };
            bytes = rest;
            if self.step(*byte, body.room())? {
                return Ok(Chunks::End(bytes));
            }
        }
    }

    /// One byte outside the data. `true`: it was the last of all.
    fn step(&mut self, byte: u8, room: usize) -> Result<bool, Broken> {
        match &mut self.state {
            State::Size { size, digits, extension } => {
                self.line += 1;
                if self.line > MAX_SIZE_LINE {
                    return Err(Broken::TooLarge("a chunk's size line is too long"));
                }
                match char::from(byte).to_digit(16) {
                    Some(d) if !*extension => {
                        // Sixteen digits are the most that fit.
                        *digits += 1;
                        if *digits > 16 {
                            return Err(Broken::Garbage("bad size of a chunk"));
                        }
                        *size = *size << 4 | u64::from(d);
                    }
                    _ if *digits == 0 => return Err(Broken::Garbage("bad size of a chunk")),
                    _ if byte == b'\n' => {
                        self.line = 0;
                        let size = *size;
                        if size == 0 {
                            self.state = State::Trailers { line: 0 };
                        } else if usize::try_from(size).map_or(true, |s| s > room) {
                            return Err(Broken::TooLarge("the body is larger than the limit"));
                        } else {
                            self.state = State::Data(size);
                        }
                    }
                    // RFC 9112 section 7.1.1: unknown extensions are ignored.
                    _ if matches!(byte, b';' | b' ' | b'\t' | b'\r') || *extension => *extension = true,
                    _ => return Err(Broken::Garbage("bad size of a chunk")),
                }
            }
            State::Data(_) => {}
            State::DataEnd => match byte {
                b'\r' if self.line == 0 => self.line = 1,
                b'\n' => {
                    self.line = 0;
                    self.state = State::Size { size: 0, digits: 0, extension: false };
                }
                _ => return Err(Broken::Garbage("a chunk is longer than it says")),
            },
            State::Trailers { line } => {
                self.trailers = self.trailers.checked_sub(1).ok_or(Broken::TooLarge("the trailers are too large"))?;
                match byte {
                    b'\n' if *line == 0 => return Ok(true),
                    b'\n' => *line = 0,
                    b'\r' => {}
                    _ => *line += 1,
                }
            }
        }
        Ok(false)
    }
}
