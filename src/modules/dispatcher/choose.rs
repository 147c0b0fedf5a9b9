//! Which destination of a set a request goes to, and which ones follow should it fail. Pure: what is counted on by all
//! processes and what is drawn by lot comes from [`Lots`].

use super::list::{Destination, Set};
use super::state::State;

/// Turns and lots.
pub trait Lots {
    /// The next of the numbers of this name.
    fn turn(&mut self, name: Counter) -> u64;
    /// A number below `n`.
    fn draw(&mut self, n: u64) -> u64;
}

/// What is counted for a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// Round robin.
    Round = 0,
    /// By weight.
    Weight = 1,
    /// By relative weight.
    Relative = 2,
    /// By latency.
    Latency = 3,
}

/// How a destination is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By a hash: the same text, the same destination.
    Hash(u64),
    /// By a hash, each destination as often as its weight says.
    WeightedHash(u64),
    /// One after the other.
    Round,
    /// By lot.
    Random,
    /// In the order of priorities.
    Priority,
    /// By `weight`: parts of a hundred.
    Weight,
    /// By `weight`, of whatever the sum is.
    WeightSum,
    /// The one with the fewest calls.
    Load,
    /// By `rweight` among those that are usable.
    Relative,
    /// All.
    All,
    /// The fastest of the highest priority.
    Latency,
    /// One after the other, with some spared.
    Spared,
}

/// A choice to be made.
pub struct Choice<'a> {
    /// The set.
    pub set: &'a Set,
    /// How its destinations stand, in its order.
    pub states: &'a [State],
    /// Calls of its destinations, in its order (only for [`Way::Load`]).
    pub loads: &'a [u64],
    /// Whether an inactive last destination is better than none.
    pub last_resort: bool,
}

impl Choice<'_> {
    fn usable(&self, i: usize) -> bool {
        self.states.get(i).is_some_and(State::usable)
    }

    fn destination(&self, i: usize) -> Option<&Destination> {
        self.set.list.get(i)
    }

    /// The usable ones, from number `first` on and around.
    fn from(&self, first: usize) -> Vec<usize> {
        let n = self.set.list.len();
        let mut order: Vec<usize> = (0..n).map(|i| (first + i) % n).filter(|i| self.usable(*i)).collect();
        if order.is_empty() && self.last_resort {
            order.extend(n.checked_sub(1));
        }
        order
    }

    /// Numbers of the destinations in the order in which they are to be tried; none if none is usable.
    pub fn order(&self, way: Way, lots: &mut dyn Lots) -> Vec<usize> {
        let n = self.set.list.len();
        if n == 0 {
            return Vec::new();
        }
        let of = |number: u64| (number % n as u64) as usize;
        match way {
            Way::Hash(hash) => self.from(of(hash)),
            Way::WeightedHash(hash) => {
                let weights = self.weights(|d| d.attrs.weight, |_| true);
                let total: u64 = weights.iter().sum();
                self.from(if total == 0 { of(hash) } else { part(&weights, hash % total) })
            }
            Way::Round => self.from(of(lots.turn(Counter::Round))),
            Way::Random => self.from(of(lots.draw(n as u64))),
            Way::Priority | Way::All => self.from(0),
            Way::Weight => {
                let mut weights = self.weights(|d| d.attrs.weight, |_| true);
                let sum: u64 = weights.iter().sum();
                // What is missing to a hundred is the last one's; without any weight the first is taken.
                if let Some(last) = weights.last_mut().filter(|_| sum > 0) {
                    *last += 100u64.saturating_sub(sum);
                }
                self.from(by_turn(&weights, lots.turn(Counter::Weight)))
            }
            Way::WeightSum => {
                let weights = self.weights(|d| d.attrs.weight, |_| true);
                if weights.iter().all(|w| *w == 0) {
                    return self.from(of(lots.turn(Counter::Round)));
                }
                self.from(by_turn(&weights, lots.turn(Counter::Weight)))
            }
            Way::Relative => {
                let weights = self.weights(|d| d.attrs.rweight, |i| self.usable(i));
                self.from(by_turn(&weights, lots.turn(Counter::Relative)))
            }
            Way::Load => self.least_loaded(),
            Way::Latency => self.fastest(lots),
            Way::Spared => self.spared(lots),
        }
    }

    fn weights(&self, weight: impl Fn(&Destination) -> u32, counts: impl Fn(usize) -> bool) -> Vec<u64> {
        let one = |(i, d)| if counts(i) { u64::from(weight(d)) } else { 0 };
        self.set.list.iter().enumerate().map(one).collect()
    }

    fn least_loaded(&self) -> Vec<usize> {
        let load = |i: usize| self.loads.get(i).copied().unwrap_or(0);
        let takes = |i: &usize| {
            let most = self.destination(*i).map_or(0, |d| u64::from(d.attrs.maxload));
            most == 0 || load(*i) < most
        };
        let mut order: Vec<usize> = self.from(0).into_iter().filter(takes).collect();
        order.sort_by_key(|i| load(*i));
        order
    }

    /// The priority as it is lowered by latency: by one for each time that the latency is as high as the priority.
    fn adjusted(&self, i: usize) -> i64 {
        let (Some(d), Some(state)) = (self.destination(i), self.states.get(i)) else { return i64::MIN };
        let l = &state.latency;
        let ms = match (d.attrs.congestion, l.count) {
            (_, 0) => d.attrs.latency as f32,
            (true, _) => (l.estimate - l.mean).max(0.0),
            (false, _) => l.estimate,
        };
        if d.priority > 0 { d.priority - (ms as i64) / d.priority } else { d.priority }
    }

    fn fastest(&self, lots: &mut dyn Lots) -> Vec<usize> {
        let mut order = self.from(0);
        order.sort_by_key(|i| std::cmp::Reverse(self.adjusted(*i)));
        let best = order.first().map(|i| self.adjusted(*i));
        let equal = order.iter().take_while(|i| Some(self.adjusted(**i)) == best).count();
        if equal > 1 {
            let by = (lots.turn(Counter::Latency) % equal as u64) as usize;
            if let Some(best) = order.get_mut(..equal) {
                best.rotate_left(by);
            }
        }
        order
    }

    fn spared(&self, lots: &mut dyn Lots) -> Vec<usize> {
        let n = self.set.list.len() as u64;
        let order = self.from((lots.turn(Counter::Round) % n) as usize);
        let takes = |i: &usize| {
            let listed = self.destination(*i).map_or(0, |d| d.attrs.spared);
            let rate = self.states.get(*i).and_then(|s| s.spared).map_or(listed, u32::from);
            rate == 0 || lots.draw(100) >= u64::from(rate)
        };
        order.into_iter().filter(takes).collect()
    }
}

/// The destination that has this part of the sum of weights.
fn part(weights: &[u64], at: u64) -> usize {
    let mut end = 0;
    let found = weights.iter().position(|w| {
        end += w;
        at < end
    });
    found.unwrap_or(0)
}

/// Whose turn it is: in as many turns as the sum of the weights is, each has just as many as its weight, and they are
/// spread evenly.
fn by_turn(weights: &[u64], turn: u64) -> usize {
    let total: u64 = weights.iter().sum();
    if total == 0 {
        return 0;
    }
    part(weights, (u128::from(turn) * u128::from(stride(total)) % u128::from(total)) as u64)
}

/// A step near the golden section of `total` that meets every number below it.
fn stride(total: u64) -> u64 {
    let golden = (total as f64 * 0.618_033_988_75) as u64;
    (golden.max(1)..).find(|s| gcd(*s, total) == 1).unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::list::List;
    use super::super::state::{DISABLED, INACTIVE, TRYING};
    use super::*;
    use std::time::Duration;

    #[derive(Default)]
    struct Counts {
        turns: [u64; 4],
        drawn: u64,
    }

    impl Lots for Counts {
        fn turn(&mut self, name: Counter) -> u64 {
            let n = self.turns[name as usize];
            self.turns[name as usize] += 1;
            n
        }
        fn draw(&mut self, n: u64) -> u64 {
            self.drawn = self.drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.drawn >> 33) % n
        }
    }

    fn set(attrs: &[&str]) -> (Set, Vec<State>) {
        let lines: Vec<String> = attrs.iter().rev().map(|a| format!("1 sip:10.0.0.1 0 0 {a}")).collect();
        let list = List::parse(&lines.join("\n")).unwrap();
        let states = vec![State::default(); attrs.len()];
        (list.sets[0].clone(), states)
    }

    fn choice<'a>(set: &'a Set, states: &'a [State], loads: &'a [u64]) -> Choice<'a> {
        Choice { set, states, loads, last_resort: false }
    }

    /// How often each destination is chosen.
    fn counts(set: &Set, states: &[State], way: impl Fn(u64) -> Way, times: u64) -> Vec<u64> {
        let mut lots = Counts::default();
        let mut counts = vec![0; set.list.len()];
        for n in 0..times {
            if let Some(first) = choice(set, states, &[]).order(way(n), &mut lots).first() {
                counts[*first] += 1;
            }
        }
        counts
    }

    #[test]
    fn ten_thousand_choices_are_distributed_exactly() {
        let (s, states) = set(&["", "", "", ""]);
        assert_eq!(counts(&s, &states, |_| Way::Round, 10_000), [2500; 4]);
        assert_eq!(counts(&s, &states, Way::Hash, 10_000), [2500; 4]);
        let (s, states) = set(&["weight=50", "weight=30", "weight=20"]);
        assert_eq!(counts(&s, &states, |_| Way::Weight, 10_000), [5000, 3000, 2000]);
        assert_eq!(counts(&s, &states, Way::WeightedHash, 10_000), [5000, 3000, 2000]);
        // What is missing to a hundred is the last one's.
        let (s, states) = set(&["weight=10", "weight=15", "weight=5"]);
        assert_eq!(counts(&s, &states, |_| Way::Weight, 10_000), [1000, 1500, 7500]);
        assert_eq!(counts(&s, &states, |_| Way::WeightSum, 9_000), [3000, 4500, 1500]);
        let (s, states) = set(&["rweight=1", "rweight=1", "rweight=3"]);
        assert_eq!(counts(&s, &states, |_| Way::Relative, 10_000), [2000, 2000, 6000]);
        let (s, states) = set(&["", "", "", ""]);
        let drawn = counts(&s, &states, |_| Way::Random, 10_000);
        assert!(drawn.iter().all(|n| (2300..2700).contains(n)), "{drawn:?}");
    }

    #[test]
    fn shares_are_spread_evenly() {
        let (s, states) = set(&["rweight=50", "rweight=30", "rweight=20"]);
        // In any ten turns in a row, each has about a tenth of its weight.
        let mut lots = Counts::default();
        let all: Vec<usize> = (0..100).map(|_| choice(&s, &states, &[]).order(Way::Relative, &mut lots)[0]).collect();
        for ten in all.windows(10) {
            let of = |i| ten.iter().filter(|n| **n == i).count();
            assert!((4..=6).contains(&of(0)) && (2..=4).contains(&of(1)) && (1..=3).contains(&of(2)), "{ten:?}");
        }
    }

    #[test]
    fn those_that_are_not_usable_are_passed_by() {
        let (s, mut states) = set(&["rweight=1", "rweight=1", "rweight=2"]);
        states[1].flags = INACTIVE;
        assert_eq!(counts(&s, &states, |_| Way::Relative, 9_000), [3000, 0, 6000]);
        let order = |way, states: &[State]| choice(&s, states, &[]).order(way, &mut Counts::default());
        assert_eq!(order(Way::Hash(1), &states), [2, 0]);
        assert_eq!(order(Way::Priority, &states), [0, 2]);
        states[2].flags = DISABLED;
        assert_eq!(order(Way::Hash(1), &states), [0]);
        states[0].flags = TRYING;
        assert_eq!(order(Way::Hash(2), &states), [0]);
        states[0].flags = INACTIVE;
        assert!(order(Way::Round, &states).is_empty());
        let last = Choice { last_resort: true, ..choice(&s, &states, &[]) };
        assert_eq!(last.order(Way::Round, &mut Counts::default()), [2]);
        assert!(choice(&Set::default(), &[], &[]).order(Way::Round, &mut Counts::default()).is_empty());
    }

    #[test]
    fn the_least_loaded_first() {
        let (s, states) = set(&["duid=a;maxload=2", "duid=b;maxload=5", "duid=c"]);
        let order = |loads: &[u64]| choice(&s, &states, loads).order(Way::Load, &mut Counts::default());
        assert_eq!(order(&[0, 0, 0]), [0, 1, 2]);
        assert_eq!(order(&[1, 0, 3]), [1, 0, 2]);
        assert_eq!(order(&[2, 5, 100]), [2]);
        let (s, states) = set(&["maxload=1"]);
        assert!(choice(&s, &states, &[1]).order(Way::Load, &mut Counts::default()).is_empty());
    }

    #[test]
    fn latency_lowers_priorities() {
        let list = List::parse("1 sip:10.0.0.3 0 29\n1 sip:10.0.0.2 0 30\n1 sip:10.0.0.1 0 30").unwrap();
        let set = &list.sets[0];
        let mut states = vec![State::default(); 3];
        let first = |states: &[State], lots: &mut Counts| choice(set, states, &[]).order(Way::Latency, lots)[0];
        let mut lots = Counts::default();
        assert_eq!([0; 4].map(|_| first(&states, &mut lots)), [0, 1, 0, 1]);
        // 61 ms are twice as high as a priority of 30.
        states[0].latency.note(Duration::from_millis(61), 0.9);
        assert_eq!([0; 2].map(|_| first(&states, &mut lots)), [1, 1]);
        states[1].latency.note(Duration::from_millis(61), 0.9);
        assert_eq!(first(&states, &mut lots), 2);
    }

    #[test]
    fn some_requests_are_spared() {
        let (s, mut states) = set(&["ocrate=100", ""]);
        assert_eq!(counts(&s, &states, |_| Way::Spared, 1000), [0, 1000]);
        states[0].spared = Some(50);
        let shared = counts(&s, &states, |_| Way::Spared, 10_000);
        assert!((2200..2800).contains(&shared[0]), "{shared:?}");
        states[0].spared = Some(100);
        states[1].flags = INACTIVE;
        assert_eq!(counts(&s, &states, |_| Way::Spared, 1000), [0, 0]);
    }
}
