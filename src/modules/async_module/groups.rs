//! Task groups: processes that run what scripts hand over to them (kamailio.md section 2.1).

use crate::base::Str;
use std::time::Duration;

/// The group that `async_workers` makes.
pub const DEFAULT: &str = "default";

/// Most processes of all groups together.
pub const MOST_WORKERS: usize = 1000;

/// A task group, as the configuration defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Str,
    /// How many processes it has.
    pub workers: usize,
    /// Who hands something over while all of them are behind hears so at once, instead of waiting.
    pub nonblock: bool,
    /// Time between two things that one of its processes takes on; zero: none.
    pub pause: Duration,
}

impl Group {
    /// A group with so many processes, everything else as by default.
    pub fn new(name: &str, workers: usize) -> Group {
        Group { name: Str::from(name), workers, nonblock: false, pause: Duration::ZERO }
    }

    /// Reads `name=X;workers=N;nonblock=0/1;usleep=N`.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(text: &str) -> Result<Group, String> {
        let (mut name, mut workers) = (None, None);
        let (mut nonblock, mut pause) = (false, Duration::ZERO);
        for attribute in text.split(';').map(str::trim).filter(|a| !a.is_empty()) {
            let (key, value) = attribute.split_once('=').ok_or_else(|| format!("`{attribute}` has no value"))?;
            let (key, value) = (key.trim(), value.trim());
            let number = || value.parse::<u64>().map_err(|_| format!("`{key}` is a number, not `{value}`"));
            match key {
                "name" if value.is_empty() => return Err("a task group needs a name".into()),
                "name" => name = Some(value),
                "workers" => workers = Some(number()?),
                "nonblock" => nonblock = number()? != 0,
                "usleep" => pause = Duration::from_micros(number()?),
                other => {
                    return Err(format!(
                        "a task group has no attribute `{other}`; there are name, workers, nonblock and usleep"
                    ));
                }
            }
        }
        let name = name.ok_or("a task group needs a name: `name=X;workers=N`")?;
        let workers = workers.ok_or_else(|| format!("the task group `{name}` needs `workers=N`"))?;
        match usize::try_from(workers) {
            Ok(n) if (1..=MOST_WORKERS).contains(&n) => Ok(Group { nonblock, pause, ..Group::new(name, n) }),
            _ => Err(format!("a task group has 1 to {MOST_WORKERS} workers, not {workers}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_read() {
        let g = Group::parse("name=abc;workers=4;nonblock=0;usleep=0").unwrap();
        assert_eq!(g, Group::new("abc", 4));
        let g = Group::parse(" name = x ; workers = 1 ; nonblock = 1 ; usleep = 250; ").unwrap();
        assert_eq!((g.nonblock, g.pause), (true, Duration::from_micros(250)));
        for (bad, why) in [
            ("", "needs a name"),
            ("workers=4", "needs a name"),
            ("name=;workers=4", "needs a name"),
            ("name=abc", "needs `workers=N`"),
            ("name=abc;workers=0", "1 to 1000 workers"),
            ("name=abc;workers=5000", "1 to 1000 workers"),
            ("name=abc;workers=x", "is a number"),
            ("name=abc;workers=1;color=red", "no attribute `color`"),
            ("name=abc;workers", "has no value"),
        ] {
            assert!(Group::parse(bad).unwrap_err().contains(why), "{bad}");
        }
    }
}
