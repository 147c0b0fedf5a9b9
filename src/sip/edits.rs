//! [`Edits`]: changes to a message, kept apart from its original bytes until it is sent.
//!
//! Positions always mean the original message, however many edits there are. Order at one
//! position: texts inserted *after* what ends there, in order of the calls; then texts inserted
//! on *top*, the last call first; then texts inserted *before* what starts there, in order of
//! the calls; then the text that replaces what starts there.
//!
//! Deletions may overlap; their union goes. A replacement whose range lies wholly inside a larger
//! deleted or replaced range is void, and so is text inserted strictly inside one. Of two
//! replacements (or a replacement and a deletion) of the same range the later call wins.

mod apply;
mod headers;

use super::range::Range;
use crate::base::Str;
use serde::{Deserialize, Serialize};

/// Changes to one message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edits {
    list: Vec<Edit>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Edit {
    Insert { at: u32, place: Place, text: Str },
    Delete(Range),
    Replace(Range, Str),
}

/// On which side of a position text is inserted; the order of the variants is that of output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Place {
    After,
    Top,
    Before,
}

impl Edits {
    /// No changes.
    pub fn new() -> Edits {
        Edits::default()
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes of all new text.
    pub fn text_len(&self) -> usize {
        let texts = self.list.iter().map(|e| match e {
            Edit::Insert { text, .. } | Edit::Replace(_, text) => text.len(),
            Edit::Delete(_) => 0,
        });
        texts.sum()
    }

    /// The text that replaces exactly this range, as of the last call.
    pub fn replacement(&self, range: Range) -> Option<&[u8]> {
        self.list.iter().rev().find_map(|e| match e {
            Edit::Replace(r, text) if *r == range => Some(&text[..]),
            _ => None,
        })
    }

    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// Takes over another list of changes to the same message, as if its calls came now.
    pub fn extend(&mut self, other: &Edits) {
        self.list.extend(other.list.iter().cloned());
    }

    /// Inserts text before the byte at `pos`. Several at one place: first call first.
    pub fn insert_before(&mut self, pos: u32, text: Str) {
        self.insert(pos, Place::Before, text);
    }

    /// Inserts text after what ends at `pos` (`pos` is the end of a range). Several at one
    /// place: first call first.
    pub fn insert_after(&mut self, pos: u32, text: Str) {
        self.insert(pos, Place::After, text);
    }

    /// Inserts text on top of what starts at `pos`. Several at one place: last call first.
    pub fn insert_top(&mut self, pos: u32, text: Str) {
        self.insert(pos, Place::Top, text);
    }

    fn insert(&mut self, at: u32, place: Place, text: Str) {
        if !text.is_empty() {
            self.list.push(Edit::Insert { at, place, text });
        }
    }

    /// Deletes a range.
    pub fn delete(&mut self, range: Range) {
        if !range.is_empty() {
            self.list.push(Edit::Delete(range));
        }
    }

    /// Replaces a range by text. An empty range makes it an insertion before that place.
    pub fn replace(&mut self, range: Range, text: Str) {
        if range.is_empty() {
            self.insert_before(range.start, text);
        } else {
            self.list.push(Edit::Replace(range, text));
        }
    }

    /// Whether every byte of the range is deleted (replaced is not deleted).
    pub fn is_deleted(&self, range: Range) -> bool {
        let mut at = range.start;
        loop {
            let reach = self.list.iter().filter_map(|e| match e {
                Edit::Delete(r) if r.start <= at && at < r.end => Some(r.end),
                _ => None,
            });
            match reach.max() {
                Some(end) if end >= range.end => return true,
                Some(end) => at = end,
                None => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests;
