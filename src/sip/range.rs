//! A range of byte positions inside one message.

use serde::{Deserialize, Serialize};

/// Positions `start..end` in a message's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Range {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Range {
    /// The range `start..end`; an end before the start makes it empty.
    pub fn new(start: u32, end: u32) -> Range {
        Range { start, end: end.max(start) }
    }

    /// From positions that are known to lie inside a message (which is at most 16 MiB long).
    pub(super) fn at(start: usize, end: usize) -> Range {
        Range::new(start as u32, end as u32)
    }

    /// The range of length zero at `pos`.
    pub fn empty_at(pos: u32) -> Range {
        Range { start: pos, end: pos }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether every byte of `other` is in this range.
    pub fn contains(&self, other: Range) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The bytes of `outer` that this range names; empty if it does not fit.
    pub fn of<'a>(&self, outer: &'a [u8]) -> &'a [u8] {
        outer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Where the slice `part` lies inside the slice `outer` it was cut from; `None` if it was
    /// not cut from there.
    pub fn locate(outer: &[u8], part: &[u8]) -> Option<Range> {
        let start = (part.as_ptr() as usize).checked_sub(outer.as_ptr() as usize)?;
        let end = start.checked_add(part.len())?;
        if end > outer.len() {
            return None;
        }
        Some(Range { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locates_only_what_was_cut_from_there() {
        let outer = b"hello world".to_vec();
        let r = Range::locate(&outer, &outer[6..8]).unwrap();
        assert_eq!((r.start, r.end, r.of(&outer)), (6, 8, &b"wo"[..]));
        let other = b"wo".to_vec();
        assert_eq!(Range::locate(&outer[..3], &outer[2..5]), None);
        assert!(Range::locate(&outer, &other).is_none());
        assert_eq!(Range::new(9, 40).of(&outer), b"");
        assert!(Range::new(5, 3).is_empty());
    }
}
