//! Medians, ranges and ratios of repeated runs.

/// The middle value; the mean of the two middle ones of an even number.
pub fn median<R>(runs: &[R], value: impl Fn(&R) -> f64) -> f64 {
    let mut all: Vec<f64> = runs.iter().map(value).collect();
    all.sort_by(f64::total_cmp);
    let half = all.len() / 2;
    match all.as_slice() {
        [] => 0.0,
        v if v.len() % 2 == 1 => v[half],
        v => f64::midpoint(v[half - 1], v[half]),
    }
}

/// `lowest-highest`
pub fn range<R>(runs: &[R], value: impl Fn(&R) -> f64) -> String {
    let low = runs.iter().map(&value).fold(f64::INFINITY, f64::min);
    let high = runs.iter().map(&value).fold(0.0, f64::max);
    format!("{low:.1}-{high:.1}")
}

/// `value` to `base`, two digits; a dash without a base.
pub fn ratio(value: f64, base: Option<f64>) -> String {
    match base {
        Some(base) if base > 0.0 => format!("{:.2}", value / base),
        _ => "-".to_owned(),
    }
}
