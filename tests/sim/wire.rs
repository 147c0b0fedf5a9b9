//! The network between the agents and the proxy: it loses, repeats, delays, reorders and damages.

use crate::rng::Rng;

/// How bad it is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Per cent of the datagrams that are lost.
    pub loss: u64,
    /// Per cent that arrive twice.
    pub repeat: u64,
    /// Per cent that take long, so that others overtake them.
    pub late: u64,
    /// Per cent of which a damaged copy arrives too.
    pub damage: u64,
}

impl Weather {
    pub fn of(rng: &mut Rng) -> Weather {
        match rng.below(4) {
            0 => Weather { loss: 0, repeat: 0, late: 0, damage: 0 },
            1 => Weather { loss: 3, repeat: 3, late: 5, damage: 0 },
            2 => Weather { loss: 15, repeat: 10, late: 20, damage: 0 },
            _ => Weather { loss: 5, repeat: 5, late: 10, damage: 8 },
        }
    }

    /// When the copies of a datagram arrive, in milliseconds from now, and whether each is damaged.
    pub fn copies(&self, rng: &mut Rng) -> Vec<(u64, bool)> {
        let mut out = Vec::new();
        let n = 1 + u64::from(rng.percent(self.repeat));
        for _ in 0..n {
            if !rng.percent(self.loss) {
                out.push((self.delay(rng), false));
            }
        }
        if rng.percent(self.damage) {
            out.push((self.delay(rng), true));
        }
        out
    }

    fn delay(&self, rng: &mut Rng) -> u64 {
        if rng.percent(self.late) { rng.below(1500) } else { 1 + rng.below(20) }
    }
}

/// A copy with bits turned over, or cut off.
pub fn damaged(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if rng.percent(30) {
        out.truncate(rng.below(bytes.len() as u64) as usize);
        return out;
    }
    for _ in 0..=rng.below(3) {
        let at = rng.below(out.len() as u64) as usize;
        if let Some(b) = out.get_mut(at) {
            *b ^= 1 << rng.below(8);
        }
    }
    out
}
