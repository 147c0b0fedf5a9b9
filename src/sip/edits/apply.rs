//! Writing the changed message: one sweep over the sorted edits.

use super::{Edit, Edits, Place};
use crate::base::Str;
use crate::sip::bytes::push_number;
use crate::sip::error::ParseError;
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::range::Range;
use smallvec::SmallVec;

/// An edit in the form that sorts into output order.
struct Op<'a> {
    key: (u32, u8, u64),
    end: u32,
    /// Whether `start..end` of the original goes.
    cuts: bool,
    text: &'a [u8],
}

type Ops<'a> = SmallVec<[Op<'a>; 16]>;

/// A piece of output.
enum Piece<'a> {
    /// These bytes of the original.
    Copy(Range),
    /// New text at this position.
    Text(u32, &'a [u8]),
}

impl<'a> Op<'a> {
    fn new(order: u32, edit: &'a Edit) -> Op<'a> {
        match edit {
            Edit::Insert { at, place, text } => Op::insert(order, *at, *place, text),
            Edit::Delete(range) => Op::cut(order, *range, b""),
            Edit::Replace(range, text) => Op::cut(order, *range, text),
        }
    }

    fn insert(order: u32, at: u32, place: Place, text: &'a [u8]) -> Op<'a> {
        let (group, rank) = match place {
            Place::After => (0, order),
            Place::Top => (1, u32::MAX - order),
            Place::Before => (2, order),
        };
        Op { key: (at, group, u64::from(rank)), end: at, cuts: false, text }
    }

    /// The larger range first, then the later call: whatever follows inside is void.
    fn cut(order: u32, range: Range, text: &'a [u8]) -> Op<'a> {
        let rank = u64::from(u32::MAX - range.end) << 32 | u64::from(u32::MAX - order);
        Op { key: (range.start, 3, rank), end: range.end, cuts: true, text }
    }

    fn start(&self) -> u32 {
        self.key.0
    }
}

impl Edits {
    /// The changed message.
    pub fn apply(&self, message: &Message) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.bytes().len() + 256);
        self.apply_into(message, &mut out);
        out
    }

    /// The changed message, parsed again.
    pub fn applied(&self, message: &Message) -> Result<Message, ParseError> {
        if self.is_empty() { Ok(message.clone()) } else { Message::parse(Str::from(self.apply(message))) }
    }

    /// Appends the changed message to `out`. Wherever the body was changed, Content-Length is
    /// made right, or added.
    pub fn apply_into(&self, message: &Message, out: &mut Vec<u8>) {
        let bytes = message.bytes();
        if self.is_empty() {
            out.extend_from_slice(bytes);
            return;
        }
        let len = bytes.len() as u32;
        let mut length_text = Vec::new();
        let mut ops: Ops<'_> = self.list.iter().zip(0u32..).map(|(e, i)| Op::new(i, e)).collect();
        ops.sort_unstable_by_key(|op| op.key);
        if self.touches_body(message) {
            let added = self.content_length(message, &ops, &mut length_text);
            ops.extend(added);
            ops.sort_unstable_by_key(|op| op.key);
        }
        sweep(&ops, len, |piece| match piece {
            Piece::Copy(range) => out.extend_from_slice(range.of(bytes)),
            Piece::Text(_, text) => out.extend_from_slice(text),
        });
    }

    /// Whether an edit changes the body.
    pub fn touches_body(&self, message: &Message) -> bool {
        let body = message.body_range();
        self.list.iter().any(|e| match e {
            Edit::Insert { at, .. } => *at >= body.start,
            Edit::Delete(r) | Edit::Replace(r, _) => r.end > body.start || r.start >= body.start,
        })
    }

    /// The edits that make Content-Length say what the changed body's length is.
    fn content_length<'a>(&self, message: &Message, ops: &Ops<'_>, text: &'a mut Vec<u8>) -> SmallVec<[Op<'a>; 1]> {
        let start = message.body_range().start;
        let mut total = 0usize;
        sweep(ops, message.bytes().len() as u32, |piece| match piece {
            Piece::Copy(r) => total += Range::new(r.start.max(start), r.end).len(),
            Piece::Text(at, t) if at >= start => total += t.len(),
            Piece::Text(..) => {}
        });
        let left = |e: &crate::sip::header::Header<'_>| !self.is_deleted(e.value_range);
        let present = message.headers_of(HeaderId::ContentLength).any(|h| left(&h));
        if !present {
            text.extend_from_slice(b"Content-Length: ");
        }
        push_number(text, total as u64);
        if !present {
            text.extend_from_slice(b"\r\n");
            return SmallVec::from_iter([Op::insert(u32::MAX, message.headers_end(), Place::Before, text)]);
        }
        let text: &'a [u8] = text;
        let lengths = message.headers_of(HeaderId::ContentLength).filter(left);
        let set = |range: Range| match range.is_empty() {
            true => Op::insert(u32::MAX, range.start, Place::Before, text),
            false => Op::cut(u32::MAX, range, text),
        };
        lengths.map(|h| set(h.value_range)).collect()
    }
}

/// Walks the sorted edits and hands out what the changed message consists of.
fn sweep<'a>(ops: &[Op<'a>], len: u32, mut emit: impl FnMut(Piece<'a>)) {
    // Everything before this position is done.
    let mut done = 0u32;
    // How far the deletions seen so far reach.
    let mut cut_to: Option<u32> = None;
    // Where an empty range (that of an absent body) was replaced last.
    let mut filled: Option<u32> = None;
    for op in ops {
        let start = op.start().min(len);
        let empty = op.end <= op.start();
        let void = match cut_to {
            Some(reach) if empty => op.start() < reach,
            Some(reach) => op.end <= reach,
            None => false,
        };
        if void || (op.cuts && empty && filled == Some(op.start())) {
            continue;
        }
        if start > done {
            emit(Piece::Copy(Range::new(done, start)));
            done = start;
        }
        if !op.text.is_empty() {
            emit(Piece::Text(start, op.text));
        }
        if op.cuts && empty {
            filled = Some(op.start());
        } else if op.cuts {
            done = done.max(op.end.min(len));
            cut_to = Some(op.end);
        }
    }
    if len > done {
        emit(Piece::Copy(Range::new(done, len)));
    }
}
