//! The best of several negative replies (RFC 3261 §16.7 step 6, with the order of preference
//! that OpenSIPS documents for its tm module).

/// Rank of a status among candidates; the smallest wins, the earlier branch on a tie.
pub fn rank(status: u16, cancelled: bool) -> u16 {
    match status {
        487 if cancelled => 0,
        600.. => 1,
        300..=399 => 2,
        401 => 3,
        407 => 4,
        415 => 5,
        420 => 6,
        484 => 7,
        408 => 9000,
        503 => 9001,
        // What the peers answer when they cannot send: no reply of anybody (§16.9).
        473 | 476..=479 => 9002,
        400..=499 => status,
        500..=599 => 1000 + status,
        _ => 9003,
    }
}

/// The best of some (branch, status) pairs.
pub fn best<B>(candidates: impl IntoIterator<Item = (B, u16)>, cancelled: bool) -> Option<(B, u16)> {
    candidates.into_iter().min_by_key(|(_, status)| rank(*status, cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_preference() {
        let order = [603, 302, 401, 407, 415, 420, 484, 400, 404, 486, 500, 504, 408, 503, 477];
        for (i, better) in order.iter().enumerate() {
            for worse in &order[i + 1..] {
                assert_eq!(best([(0, *worse), (1, *better)], false), Some((1, *better)));
                assert_eq!(best([(0, *better), (1, *worse)], false), Some((0, *better)));
            }
        }
        assert_eq!(best([(0, 603), (1, 487)], true), Some((1, 487)));
        assert_eq!(best([(0, 486), (1, 486)], false), Some((0, 486)));
    }
}
