//! One line being read word by word, with errors that say what was expected where.

use super::syntax::Parsed;
use super::text::{Mistake, Word};

/// The words of a line, and how far it has been read.
pub struct Line {
    words: Vec<Word>,
    at: usize,
    number: usize,
    /// Column behind the last character.
    end: usize,
    text: String,
}

impl Line {
    /// A line from its beginning.
    pub fn new(words: Vec<Word>, number: usize, text: &str) -> Line {
        let end = text.trim_end().chars().count() + 1;
        Line { words, at: 0, number, end, text: text.to_string() }
    }

    /// Whether no word is left.
    pub fn is_over(&self) -> bool {
        self.at >= self.words.len()
    }

    /// The next word, if it stands outside of quotes.
    pub fn peek(&self) -> Option<&str> {
        self.words.get(self.at).filter(|w| !w.quoted).map(|w| w.text.as_str())
    }

    /// Takes the next word.
    pub fn skip(&mut self) {
        self.at += 1;
    }

    /// Takes the next word if it is this one.
    pub fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    /// The next word must be this one.
    pub fn keyword(&mut self, word: &str) -> Parsed<()> {
        if self.take(word) { Ok(()) } else { Err(self.wrong(&format!("`{word}`"))) }
    }

    /// The next word, outside of quotes or in them.
    pub fn word(&mut self, what: &str) -> Parsed<String> {
        match self.words.get(self.at) {
            Some(w) => {
                self.at += 1;
                Ok(w.text.clone())
            }
            None => Err(self.wrong(what)),
        }
    }

    /// The next word if it stands in quotes.
    pub fn quoted(&mut self) -> Option<String> {
        let found = self.words.get(self.at).filter(|w| w.quoted).map(|w| w.text.clone());
        self.at += usize::from(found.is_some());
        found
    }

    /// A number that is not negative.
    pub fn number(&mut self, what: &str) -> Parsed<u64> {
        let text = self.word(what)?;
        text.parse().map_err(|_| self.wrong_before(what))
    }

    /// A number up to 65535.
    pub fn small(&mut self, what: &str) -> Parsed<u16> {
        let text = self.word(what)?;
        text.parse().map_err(|_| self.wrong_before(&format!("{what} from 0 to 65535")))
    }

    /// Everything up to the end of the line or a comment, as it stands there.
    pub fn rest(&mut self, what: &str) -> Parsed<String> {
        let Some(first) = self.words.get(self.at) else { return Err(self.wrong(what)) };
        let until = self.words.last().map_or(first.end, |w| w.end);
        let text: String = self.text.chars().take(until - 1).skip(first.column - 1).collect();
        self.at = self.words.len();
        Ok(text)
    }

    /// Takes `WORD VALUE` from the end of the line.
    pub fn take_last_pair(&mut self, word: &str) -> Option<String> {
        let at = self.words.len().checked_sub(2).filter(|at| *at >= self.at)?;
        if self.words.get(at)?.text != word {
            return None;
        }
        let value = self.words.pop()?.text;
        self.words.pop();
        Some(value)
    }

    /// Nothing may be left.
    pub fn end(&self) -> Parsed<()> {
        if self.is_over() { Ok(()) } else { Err(self.wrong("the end of the line")) }
    }

    /// The next word is not what was expected.
    pub fn wrong(&self, what: &str) -> Mistake {
        self.mistake(self.at, what)
    }

    /// The word before is not what was expected.
    pub fn wrong_before(&self, what: &str) -> Mistake {
        self.mistake(self.at.saturating_sub(1), what)
    }

    /// Something is missing that belongs to this column.
    pub fn wrong_at(&self, column: usize, what: &str) -> Mistake {
        Mistake { line: self.number, column, message: format!("expected {what}") }
    }

    fn mistake(&self, at: usize, what: &str) -> Mistake {
        let (column, found) = match self.words.get(at) {
            Some(w) => (w.column, format!("\"{}\"", w.text)),
            None => (self.end, "the end of the line".into()),
        };
        Mistake { line: self.number, column, message: format!("expected {what}, found {found}") }
    }
}
