//! Wall-clock time as scripts see it: `$Ts`, `$Tf`, `$time(fmt)`, `$ctime(part)`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where scripts read the time: the system's clock, or that of a simulation.
#[derive(Clone, Debug, Default)]
pub struct WallClock(Option<Rc<Cell<i64>>>);

impl WallClock {
    /// A clock that shows this time, in microseconds since 1970, until it is set; copies show the same.
    pub fn simulated(micros: i64) -> WallClock {
        WallClock(Some(Rc::new(Cell::new(micros))))
    }

    /// Microseconds since 1970.
    pub fn micros(&self) -> i64 {
        self.0.as_ref().map_or_else(wall_micros, |c| c.get())
    }

    /// Sets a simulated clock; the system's is left alone.
    pub fn set(&self, micros: i64) {
        if let Some(clock) = &self.0 {
            clock.set(micros);
        }
    }
}

/// Microseconds since 1970. A read of the vDSO clock, no system call.
pub fn wall_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}

/// Broken-down time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, such as 2026.
    pub year: i64,
    /// 1..=12
    pub month: u32,
    /// 1..=31
    pub day: u32,
    /// 0..=23
    pub hour: u32,
    /// 0..=59
    pub minute: u32,
    /// 0..=59
    pub second: u32,
    /// 0 = Sunday
    pub weekday: u32,
    /// 0..=365
    pub yearday: u32,
}

/// Civil time of `seconds` since 1970 (proleptic Gregorian calendar, UTC).
pub fn civil(seconds: i64) -> Civil {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400) as u32;
    // Days since 0000-03-01, in eras of 400 years.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    let year = yoe + era * 400 + i64::from(month <= 2);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let yearday = BEFORE[month as usize - 1] + day - 1 + u32::from(leap && month > 2);
    Civil {
        year,
        month,
        day,
        hour: rest / 3600,
        minute: rest / 60 % 60,
        second: rest % 60,
        weekday: (days + 4).rem_euclid(7) as u32,
        yearday,
    }
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// `Thu Jan  1 00:00:00 1970`
pub fn ctime(seconds: i64) -> String {
    format("%a %b %e %H:%M:%S %Y", seconds)
}

/// `strftime` with the conversions scripts use; an unknown one stays as written.
pub fn format(pattern: &str, seconds: i64) -> String {
    let c = civil(seconds);
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(ch) = chars.next() {
        if ch != '%' {
            out.push(ch);
            continue;
        }
        match chars.next() {
            Some('Y') => out.push_str(&c.year.to_string()),
            Some('y') => out.push_str(&format!("{:02}", c.year.rem_euclid(100))),
            Some('m') => out.push_str(&format!("{:02}", c.month)),
            Some('d') => out.push_str(&format!("{:02}", c.day)),
            Some('e') => out.push_str(&format!("{:2}", c.day)),
            Some('H') => out.push_str(&format!("{:02}", c.hour)),
            Some('I') => out.push_str(&format!("{:02}", (c.hour + 11) % 12 + 1)),
            Some('M') => out.push_str(&format!("{:02}", c.minute)),
            Some('S') => out.push_str(&format!("{:02}", c.second)),
            Some('p') => out.push_str(if c.hour < 12 { "AM" } else { "PM" }),
            Some('j') => out.push_str(&format!("{:03}", c.yearday + 1)),
            Some('w') => out.push_str(&c.weekday.to_string()),
            Some('u') => out.push_str(&((c.weekday + 6) % 7 + 1).to_string()),
            Some('a') => out.push_str(&WEEKDAYS[c.weekday as usize][..3]),
            Some('A') => out.push_str(WEEKDAYS[c.weekday as usize]),
            Some('b' | 'h') => out.push_str(&MONTHS[c.month as usize - 1][..3]),
            Some('B') => out.push_str(MONTHS[c.month as usize - 1]),
            Some('s') => out.push_str(&seconds.to_string()),
            Some('z') => out.push_str("+0000"),
            Some('Z') => out.push_str("UTC"),
            Some('F') => out.push_str(&format("%Y-%m-%d", seconds)),
            Some('T') => out.push_str(&format("%H:%M:%S", seconds)),
            Some('R') => out.push_str(&format("%H:%M", seconds)),
            Some('D') => out.push_str(&format("%m/%d/%y", seconds)),
            Some('c') => out.push_str(&ctime(seconds)),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('%') => out.push('%'),
            Some(other) => {
                out.push('%');
                out.push(other);
            }
            None => out.push('%'),
        }
    }
    out
}

/// Seconds since 1970 of a Date header (RFC 3261 section 20.17): `Sat, 13 Nov 2010 23:29:00 GMT`.
pub fn parse_date(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let rest = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = rest.split_ascii_whitespace();
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month =
        MONTHS.iter().position(|m| name.len() == 3 && m.get(..3).is_some_and(|m| m.eq_ignore_ascii_case(name)))?;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|n| n.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let fits = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && words.next().is_none_or(|zone| matches!(zone, "GMT" | "UTC"));
    // Years begin in March here: the day that comes and goes is the last one.
    if !fits {
        return None;
    }
    let month = month as i64;
    let (year, shifted) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * shifted + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// A field of `$ctime(name)`.
pub fn part(name: &str, seconds: i64) -> Option<i64> {
    let c = civil(seconds);
    Some(match name {
        "sec" => i64::from(c.second),
        "min" => i64::from(c.minute),
        "hour" => i64::from(c.hour),
        "mday" => i64::from(c.day),
        "mon" => i64::from(c.month),
        "year" => c.year,
        "wday" => i64::from(c.weekday) + 1,
        "yday" => i64::from(c.yearday) + 1,
        "isdst" => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(ctime(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(ctime(946_684_800), "Sat Jan  1 00:00:00 2000");
        assert_eq!(format("%F %T %j %A", 1_709_164_800 + 3661), "2024-02-29 01:01:01 060 Thursday");
        assert_eq!(format("%F", -1), "1969-12-31");
        assert_eq!(part("wday", 946_684_800), Some(7));
    }

    #[test]
    fn dates_are_read() {
        for day in (0..40_000).step_by(7) {
            let seconds = day * 86_400 + 3_723;
            let text = format("%a, %d %b %Y %H:%M:%S GMT", seconds);
            assert_eq!(parse_date(text.as_bytes()), Some(seconds), "{text}");
        }
        for bad in ["", "Sat, 13 Foo 2010 23:29:00 GMT", "Sat, 32 Nov 2010 23:29:00 GMT", "13 Nov 2010 24:00:00", "Sat"]
        {
            assert_eq!(parse_date(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_date(b"Sat, 13 Nov 2010 23:29:00 CET"), None);
    }
}
