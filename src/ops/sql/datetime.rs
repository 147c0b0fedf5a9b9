//! Dates and times as databases write them, to and from seconds since 1970 (proleptic Gregorian).

/// Days from 1970-01-01 to the given date; `None` if there is no such date. Years 0 to 9999.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || day < 1 || day > month_length(year, month) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Seconds since 1970 of a date and a time of day.
pub fn seconds_from_parts(date: (i64, i64, i64), time: (i64, i64, i64)) -> Option<i64> {
    let (hour, minute, second) = time;
    if !(0..=23).contains(&hour) || !(0..=59).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    Some(days_from_civil(date.0, date.1, date.2)? * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Reads `YYYY-MM-DD`, `YYYY-MM-DD hh:mm[:ss[.frac]]` (or with `T`, or with a final `Z`) as seconds
/// since 1970, UTC, the fraction cut off. The zero date (`0000-00-00...`) gives 0. `None` if the
/// text is not such a date.
pub fn parse(text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"Z").unwrap_or(text);
    let (date, time) = match text.iter().position(|b| *b == b' ' || *b == b'T') {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, &b"00:00:00"[..]),
    };
    let mut parts = date.split(|b| *b == b'-');
    let date = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() {
        return None;
    }
    let whole = time.split(|b| *b == b'.').next()?;
    let mut parts = whole.split(|b| *b == b':');
    let hour = number(parts.next()?, 2)?;
    let minute = number(parts.next()?, 2)?;
    let second = parts.next().map_or(Some(0), |s| number(s, 2))?;
    if parts.next().is_some() {
        return None;
    }
    if date == (0, 0, 0) {
        return Some(0);
    }
    seconds_from_parts(date, (hour, minute, second))
}

fn number(digits: &[u8], width: usize) -> Option<i64> {
    if digits.len() != width {
        return None;
    }
    digits.iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// Writes seconds since 1970 as `YYYY-MM-DD hh:mm:ss` (UTC); years outside 0 to 9999 are cut to that range.
pub fn format(seconds: i64) -> String {
    let seconds = seconds.clamp(-62_167_219_200, 253_402_300_799);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_databases_write() {
        assert_eq!(parse(b"1970-01-01 00:00:00"), Some(0));
        assert_eq!(parse(b"2026-11-20 23:25:39"), Some(1_795_217_139));
        assert_eq!(parse(b"2026-11-20 23:25:39.123456"), Some(1_795_217_139));
        assert_eq!(parse(b"2026-11-20T23:25:39Z"), Some(1_795_217_139));
        assert_eq!(parse(b"2026-11-20T23:25"), Some(1_795_217_100));
        assert_eq!(parse(b"1969-12-31"), Some(-86_400));
        assert_eq!(parse(b"0000-00-00 00:00:00"), Some(0));
        for bad in ["", "x", "2026-13-01", "2026-02-29", "2026-02-28 24:00:00", "26-02-28", "2026-02-28 ", "1-1-1-1"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for s in
            [0, -1, 86_399, 951_782_400, 951_868_800, 1_795_217_139, 4_102_444_800, -62_135_596_800, 253_402_300_799]
        {
            assert_eq!(parse(format(s).as_bytes()), Some(s), "{}", format(s));
        }
    }
}
