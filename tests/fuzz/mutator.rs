//! A small seeded mutator for fuzz tests: the same seed gives the same inputs on every machine.
//! Other fuzz tests include this file with `#[path = "mutator.rs"] mod mutator;`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Longest input it makes.
const MAX_LEN: usize = 8192;

/// A xorshift generator (Marsaglia's xorshift64*).
pub struct Random(u64);

impl Random {
    /// A generator that starts at `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n` (0 if `n` is 0).
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() >> 11) as usize % n }
    }

    /// A random element.
    pub fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> Option<&'a T> {
        all.get(self.below(all.len())).copied()
    }
}

/// Runs `body` over every seed as it is and then over `count` mutated inputs. If it panics, the
/// input is printed as escaped bytes before the test fails.
pub fn run(seeds: &[&[u8]], dictionary: &[&[u8]], count: u64, seed: u64, mut body: impl FnMut(&[u8])) {
    let mut random = Random::new(seed);
    let mut feed = |name: &str, at: u64, input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
            eprintln!("{name} {at} (seed {seed}) fails, {} bytes:\n{}", input.len(), input.escape_ascii());
            resume_unwind(panic);
        }
    };
    for (i, s) in seeds.iter().enumerate() {
        feed("seed", i as u64, s);
    }
    let mut input = Vec::with_capacity(MAX_LEN);
    for i in 0..count {
        input.clear();
        input.extend_from_slice(random.pick(seeds).unwrap_or_default());
        for _ in 0..=random.below(4) {
            mutate(&mut input, seeds, dictionary, &mut random);
        }
        input.truncate(MAX_LEN);
        feed("input", i, &input);
    }
}

/// Makes one change.
fn mutate(input: &mut Vec<u8>, seeds: &[&[u8]], dictionary: &[&[u8]], random: &mut Random) {
    let len = input.len();
    let at = random.below(len + 1);
    match random.below(10) {
        // Flip a bit.
        0 => {
            if let Some(b) = input.get_mut(at) {
                *b ^= 1 << random.below(8);
            }
        }
        // Set a byte.
        1 => {
            if let Some(b) = input.get_mut(at) {
                *b = random.next() as u8;
            }
        }
        // Cut the end off.
        2 if random.below(4) == 0 => input.truncate(at),
        // Delete a slice.
        2 | 3 => {
            let end = at + random.below((len - at).min(40) + 1);
            input.drain(at..end);
        }
        // Duplicate a slice somewhere else.
        4 | 5 => {
            let end = at + random.below((len - at).min(120) + 1);
            let slice = input.get(at..end).unwrap_or_default().to_vec();
            insert(input, random.below(len + 1), &slice);
        }
        // Splice with another seed.
        6 => {
            let other = random.pick(seeds).unwrap_or_default();
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        // Take a slice of another seed.
        7 => {
            let other = random.pick(seeds).unwrap_or_default();
            let from = random.below(other.len() + 1);
            let slice = other.get(from..(from + random.below(80)).min(other.len())).unwrap_or_default();
            insert(input, at, slice);
        }
        // Overwrite with a word.
        8 => {
            let word = random.pick(dictionary).unwrap_or_default();
            let end = (at + word.len()).min(len);
            input.splice(at..end, word.iter().copied());
        }
        // Insert a word.
        _ => insert(input, at, random.pick(dictionary).unwrap_or_default()),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, what: &[u8]) {
    if input.len() + what.len() <= MAX_LEN {
        input.splice(at..at, what.iter().copied());
    }
}
