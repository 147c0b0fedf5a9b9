//! The order among servers: priorities and weights (RFC 2782).

use std::net::IpAddr;

/// One SRV record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Server<'a> {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: &'a str,
}

/// Numbers that a seed decides (SplitMix64): the same seed, the same numbers.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        // The bias for n below 2^24 is beyond notice.
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// Begins a list of addresses elsewhere, version by version: names with several addresses share the
    /// load as with a name server that rotates its answers.
    pub(super) fn rotate(&mut self, ips: &mut [IpAddr]) {
        let v4 = ips.iter().take_while(|ip| ip.is_ipv4()).count();
        let (first, second) = ips.split_at_mut(v4);
        for part in [first, second] {
            if part.len() > 1 {
                let by = self.below(part.len() as u64) as usize;
                part.rotate_left(by);
            }
        }
    }
}

/// The servers in the order to try them: by priority; among one priority drawn by weight, each time from
/// those that are left.
pub(super) fn arrange<'a>(mut servers: Vec<Server<'a>>, dice: &mut Dice) -> Vec<Server<'a>> {
    // Those without weight come first, so that they have their very small chance; the rest of the key makes the
    // outcome independent of the order in which the name server lists them.
    servers.sort_by_key(|s| (s.priority, s.weight != 0, s.target, s.port));
    let mut out = Vec::with_capacity(servers.len());
    while let Some(priority) = servers.first().map(|s| s.priority) {
        let group = servers.iter().take_while(|s| s.priority == priority).count();
        let sum: u64 = servers.iter().take(group).map(|s| u64::from(s.weight)).sum();
        let at = if sum == 0 {
            dice.below(group as u64) as usize
        } else {
            let drawn = dice.below(sum + 1);
            let mut running = 0;
            servers
                .iter()
                .take(group)
                .position(|s| {
                    running += u64::from(s.weight);
                    running >= drawn
                })
                .unwrap_or(0)
        };
        out.push(servers.remove(at));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn server(priority: u16, weight: u16, target: &str) -> Server<'_> {
        Server { priority, weight, port: 5060, target }
    }

    /// How often each comes first, of `n` draws with one generator.
    fn firsts<'a>(servers: &[Server<'a>], n: u32) -> HashMap<&'a str, u32> {
        let mut dice = Dice::new(42);
        let mut count = HashMap::new();
        for _ in 0..n {
            *count.entry(arrange(servers.to_vec(), &mut dice)[0].target).or_default() += 1;
        }
        count
    }

    #[test]
    fn priorities_come_before_weights() {
        let mut dice = Dice::new(1);
        for _ in 0..200 {
            let servers = vec![server(20, 65535, "c"), server(10, 0, "a"), server(10, 60000, "b"), server(30, 0, "d")];
            let order: String = arrange(servers, &mut dice).iter().map(|s| s.target).collect();
            assert!(order == "abcd" || order == "bacd", "{order}");
        }
    }

    #[test]
    fn weights_are_shares() {
        let n = 60_000;
        let count = firsts(&[server(1, 10, "a"), server(1, 20, "b"), server(1, 30, "c")], n);
        for (name, share) in [("a", 1.0 / 6.0), ("b", 2.0 / 6.0), ("c", 3.0 / 6.0)] {
            let got = f64::from(count[name]) / f64::from(n);
            // RFC 2782 draws from 0 to the sum inclusive, which favours the first a little.
            assert!((got - share).abs() < 0.02, "{name}: {got} instead of {share}");
        }
        // The second place is drawn by weight from those that are left, too.
        let mut dice = Dice::new(7);
        let servers = vec![server(1, 100, "a"), server(1, 10, "b"), server(1, 30, "c")];
        let second_c = (0..n)
            .map(|_| arrange(servers.clone(), &mut dice))
            .filter(|o| o[0].target == "a")
            .fold((0, 0), |(all, c), o| (all + 1, c + u32::from(o[1].target == "c")));
        let got = f64::from(second_c.1) / f64::from(second_c.0);
        assert!((got - 0.75).abs() < 0.03, "{got}");
    }

    #[test]
    fn without_weights_all_are_equal() {
        let n = 30_000;
        let count = firsts(&[server(1, 0, "a"), server(1, 0, "b"), server(1, 0, "c")], n);
        for name in ["a", "b", "c"] {
            let got = f64::from(count[name]) / f64::from(n);
            assert!((got - 1.0 / 3.0).abs() < 0.02, "{name}: {got}");
        }
        // One without weight among others: rarely, but not never.
        let count = firsts(&[server(1, 0, "a"), server(1, 50, "b"), server(1, 50, "c")], n);
        let got = f64::from(count["a"]) / f64::from(n);
        assert!(got > 0.0 && got < 0.03, "{got}");
    }

    #[test]
    fn a_seed_decides_whatever_the_order_of_the_answer() {
        let forth = vec![server(1, 5, "a"), server(1, 5, "b"), server(1, 5, "c"), server(2, 0, "d")];
        let back: Vec<_> = forth.iter().rev().copied().collect();
        for seed in 0..100 {
            assert_eq!(arrange(forth.clone(), &mut Dice::new(seed)), arrange(back.clone(), &mut Dice::new(seed)));
        }
    }

    #[test]
    fn addresses_rotate_within_their_version() {
        let ips: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1", "::2"].map(|i| i.parse().unwrap()).into();
        let mut dice = Dice::new(3);
        let mut seen = HashMap::new();
        for _ in 0..600 {
            let mut list = ips.clone();
            dice.rotate(&mut list);
            assert!(list[..3].iter().all(IpAddr::is_ipv4) && list[3..].iter().all(IpAddr::is_ipv6));
            let first = (0..3).find(|i| ips[*i] == list[0]).unwrap();
            assert_eq!(list[1], ips[(first + 1) % 3]);
            *seen.entry(first).or_insert(0) += 1;
        }
        assert!(seen.len() == 3 && seen.values().all(|n| *n > 150), "{seen:?}");
    }
}
