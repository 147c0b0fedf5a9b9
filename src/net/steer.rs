//! Which worker a message belongs to, for the worker that received it and for the kernel.
//!
//! The sockets of one address form a group (`SO_REUSEPORT`); by itself the kernel chooses one by the
//! datagram's addresses, so all that comes from one port lands on one worker, and what belongs to
//! another one costs a trip over the bus: a copy, a system call and a wake-up. [`attach`] gives the
//! kernel a program (classic BPF, no rights needed) that looks for what decides the owner. It is a
//! hint and nothing else: whoever receives a message asks [`owner`] himself. What the program does
//! not understand (`i:` for `Call-ID:`, a folded line, a head longer than it reads) is spread by its
//! addresses as before.
//!
//! The owner of a request is a hash of its Call-ID. It need not be strong: whoever wants to load one
//! worker only can use one Call-ID all the time.

use nix::sys::socket::{setsockopt, sockopt};
use std::os::fd::OwnedFd;

/// Bytes of a Call-ID that take part.
const HASHED: usize = 48;
/// How far into a request the Call-ID is looked for.
const REQUEST_REACH: u32 = 896;
/// How far into a reply our Via is looked for.
const REPLY_REACH: u32 = 256;
const PRIME: u32 = 0x0100_0193;
const MIX: u32 = 0x2c1b_3c6d;

/// The number of the worker, below `workers`, that owns the requests with this Call-ID. `seed` is
/// the same in all processes of a server.
pub fn owner(seed: u32, call_id: &[u8], workers: usize) -> usize {
    let text = call_id.iter().take(HASHED).take_while(|b| **b > b' ');
    let mut h = text.fold(seed, |h, b| (h ^ u32::from(*b)).wrapping_mul(PRIME));
    h = (h ^ h >> 15).wrapping_mul(MIX);
    h ^= h >> 13;
    h as usize % workers.max(1)
}

/// Tells the kernel how to choose among the sockets of one address, one per worker in their order.
///
/// # Errors
/// What the kernel says; the sockets work without, too.
pub fn attach(sockets: &[OwnedFd], seed: u32) -> nix::Result<()> {
    let [first, _, ..] = sockets else { return Ok(()) };
    let mut code = program(seed, sockets.len() as u32);
    let len = u16::try_from(code.len()).map_err(|_| nix::errno::Errno::E2BIG)?;
    setsockopt(first, sockopt::AttachReusePortCbpf, &libc::sock_fprog { len, filter: code.as_mut_ptr() })
}

/// Answer of the program that makes the kernel choose by itself: no socket has this number.
const NOBODY: u32 = u32::MAX;

// Classes, sizes and modes of instructions (linux/bpf_common.h).
const LD_WORD: u16 = 0x20;
const LD_WORD_X: u16 = 0x40;
const LD_BYTE_X: u16 = 0x50;
const LD_LEN: u16 = 0x80;
const LD_MEM: u16 = 0x60;
const LDX_IMM: u16 = 0x01;
const LDX_MEM: u16 = 0x61;
const LD_IMM: u16 = 0x00;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ADD: u16 = 0x04;
const SUB: u16 = 0x14;
const MUL: u16 = 0x24;
const OR: u16 = 0x44;
const OR_X: u16 = 0x4c;
const AND: u16 = 0x54;
const LSH: u16 = 0x64;
const RSH: u16 = 0x74;
const MOD: u16 = 0x94;
const XOR_X: u16 = 0xac;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;

/// A program in the making.
#[derive(Default)]
struct Program(Vec<libc::sock_filter>);

impl Program {
    fn op(&mut self, code: u16, k: u32) {
        self.jump(code, k, 0, 0);
    }

    /// A comparison with the number of instructions to skip when it holds, and when not.
    fn jump(&mut self, code: u16, k: u32, holds: u8, else_: u8) {
        self.0.push(libc::sock_filter { code, jt: holds, jf: else_, k });
    }

    /// `ret NOBODY` unless the comparison holds.
    fn require(&mut self, code: u16, k: u32) {
        self.jump(code, k, 1, 0);
        self.op(RET_K, NOBODY);
    }

    /// A jump forward whose length is told later to [`Program::land`].
    fn leap(&mut self) -> usize {
        self.op(JA, 0);
        self.0.len() - 1
    }

    /// Makes a jump end here.
    fn land(&mut self, from: usize) {
        let here = self.0.len();
        if let Some(i) = self.0.get_mut(from) {
            i.k = (here - from - 1) as u32;
        }
    }

    /// Goes on behind it with X = where `pattern` (lower case, at least 9 bytes) begins, if that is
    /// between `from` and `to`; letter case does not matter. Every fourth
    /// byte a word is compared with the four words one of which the pattern has there.
    fn search(&mut self, pattern: &[u8; 9], from: u32, to: u32) {
        const STEPS: u32 = 8;
        let folded: Vec<u8> = pattern.iter().map(|b| b | 0x20).collect();
        let word = |at: usize| folded.iter().skip(at).take(4).fold(0u32, |w, b| w << 8 | u32::from(*b));
        let mut found: [Vec<usize>; 4] = Default::default();
        let mut at = from;
        while at < to {
            self.op(LD_LEN, 0);
            self.require(JGE, at + 4 * STEPS + pattern.len() as u32);
            for step in 0..STEPS {
                // Behind the last step of the block stand the four ways out and the way on.
                let left = (STEPS - 1 - step) as u8 * 7;
                self.op(LDX_IMM, at + 4 * step);
                self.op(LD_WORD, at + 4 * step);
                self.op(OR, 0x2020_2020);
                for alignment in 0..4u8 {
                    self.jump(JEQ, word(usize::from(alignment)), left + (3 - alignment) + 1 + alignment, 0);
                }
            }
            let on = self.leap();
            for ways in &mut found {
                ways.push(self.leap());
            }
            self.land(on);
            at += 4 * STEPS;
        }
        self.op(RET_K, NOBODY);
        // From the word that was found back to the pattern's beginning.
        let mut ends = Vec::new();
        for (ways, alignment) in found.iter().zip(0u32..) {
            for way in ways {
                self.land(*way);
            }
            self.op(TXA, 0);
            self.op(SUB, alignment);
            self.op(TAX, 0);
            ends.push(self.leap());
        }
        for end in ends {
            self.land(end);
        }
        // Is it the whole of it?
        for at in [0, 4] {
            self.op(LD_WORD_X, at);
            self.op(OR, 0x2020_2020);
            self.require(JEQ, word(at as usize));
        }
        self.op(LD_BYTE_X, 8);
        self.op(OR, 0x20);
        self.require(JEQ, u32::from(folded[8]));
    }

    /// A <- the value of the base32 character at X + `at`.
    fn base32(&mut self, at: u32) {
        self.op(LD_BYTE_X, at);
        self.op(OR, 0x20);
        self.jump(JGE, u32::from(b'a'), 0, 2);
        self.op(SUB, u32::from(b'a'));
        self.op(JA, 1);
        self.op(SUB, u32::from(b'2') - 26);
    }
}

/// The program: the number of the worker that owns a datagram, or [`NOBODY`].
fn program(seed: u32, workers: u32) -> Vec<libc::sock_filter> {
    const HASH: u32 = 0;
    const AT: u32 = 1;
    let mut p = Program::default();
    p.op(LD_LEN, 0);
    p.require(JGE, 40);
    p.op(LD_WORD, 0);
    p.jump(JEQ, u32::from_be_bytes(*b"SIP/"), 1, 0);
    let requests = p.leap();

    // A reply: our own branch parameter names the worker (transaction/branch_id.rs): 16 bits in the
    // first 3 1/5 characters, of which the lower 10 matter here.
    p.search(b"z9hg4bkrp", 16, REPLY_REACH);
    p.base32(9 + 3);
    p.op(RSH, 4);
    p.op(ST, HASH);
    p.base32(9 + 1);
    p.op(AND, 0x0f);
    p.op(LSH, 5);
    p.op(ST, AT);
    p.base32(9 + 2);
    p.op(LDX_MEM, AT);
    p.op(OR_X, 0);
    p.op(LSH, 1);
    p.op(LDX_MEM, HASH);
    p.op(OR_X, 0);
    p.op(RET_A, 0);

    p.land(requests);
    p.search(b"\ncall-id:", 16, REQUEST_REACH);
    p.op(TXA, 0);
    p.op(ADD, 9);
    p.op(TAX, 0);
    // One space, as nearly everybody writes it.
    p.op(LD_BYTE_X, 0);
    p.jump(JEQ, u32::from(b' '), 0, 3);
    p.op(TXA, 0);
    p.op(ADD, 1);
    p.op(TAX, 0);
    p.op(STX, AT);
    p.op(LD_IMM, seed);
    p.op(ST, HASH);
    let mut ends = Vec::new();
    for i in 0..HASHED as u32 {
        p.op(LD_BYTE_X, i);
        p.jump(JGT, u32::from(b' '), 1, 0);
        ends.push(p.leap());
        p.op(TAX, 0);
        p.op(LD_MEM, HASH);
        p.op(XOR_X, 0);
        p.op(MUL, PRIME);
        p.op(ST, HASH);
        p.op(LDX_MEM, AT);
    }
    for end in ends {
        p.land(end);
    }
    p.op(LD_MEM, HASH);
    for (shift, factor) in [(15, MIX), (13, 1)] {
        p.op(TAX, 0);
        p.op(RSH, shift);
        p.op(XOR_X, 0);
        p.op(MUL, factor);
    }
    p.op(MOD, workers.max(1));
    p.op(RET_A, 0);
    p.0
}

#[cfg(test)]
mod tests;
