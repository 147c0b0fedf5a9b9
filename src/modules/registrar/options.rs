//! The flags of `save`: a number in Kamailio's language, words or letters in OpenSIPS'.

use super::settings::PathMode;
use crate::modules::usrloc::Matching;

/// What one call of `save` is told beyond the module's parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The bindings do not go into the database.
    pub memory_only: bool,
    /// No reply is sent.
    pub no_reply: bool,
    /// The reply is prepared for `reg_send_reply`.
    pub prepare: bool,
    /// Only the contacts of this request stay.
    pub replace_others: bool,
    /// The time to live does not vary at random.
    pub exact_expires: bool,
    /// Most contacts.
    pub max_contacts: Option<usize>,
    /// Older contacts make room for new ones.
    pub make_room: bool,
    /// What makes a contact the same.
    pub matching: Option<Matching>,
    /// What becomes of Path; `Some(None)`: it is not looked at.
    pub path: Option<Option<PathMode>>,
    /// The first Path says where the contact came from.
    pub path_received: bool,
    /// Only the request's contacts are told in the reply.
    pub own_contacts_only: bool,
    /// A header names the contact's socket.
    pub socket_header: bool,
    /// Shortest life, seconds.
    pub min_expires: Option<u32>,
    /// Longest life, seconds.
    pub max_expires: Option<u32>,
}

impl Options {
    /// Reads flags; empty: none.
    ///
    /// # Errors
    /// Which one is unknown.
    pub fn parse(text: &str) -> Result<Options, String> {
        let text = text.trim();
        let mut o = Options::default();
        match text.as_bytes().first() {
            None => Ok(o),
            Some(b'0'..=b'9') => {
                o.bits(number(text).ok_or_else(|| format!("`{text}` is no number"))?);
                Ok(o)
            }
            _ if text.contains(['-', ',', '=']) => {
                for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
                    o.word(word)?;
                }
                Ok(o)
            }
            _ => o.letters(text).map(|()| o),
        }
    }

    fn bits(&mut self, n: u32) {
        self.memory_only = n & 1 != 0;
        self.no_reply = n & 2 != 0;
        self.replace_others = n & 4 != 0;
        self.exact_expires = n & 8 != 0;
        self.prepare = n & 16 != 0;
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n.trim(), Some(v.trim())));
        let n = || value.and_then(number).ok_or_else(|| format!("`{name}` needs a number: `{name}=60`"));
        match name {
            "memory-only" => self.memory_only = true,
            "no-reply" => self.no_reply = true,
            "max-contacts" => self.max_contacts = Some(n()? as usize),
            "force-registration" => self.make_room = true,
            "matching-mode" => self.matching = Some(matching(value.unwrap_or_default())?),
            "path-off" => self.path = Some(None),
            "path-lazy" => self.path = Some(Some(PathMode::Lazy)),
            "path-strict" => self.path = Some(Some(PathMode::Strict)),
            "path-received" => self.path_received = true,
            "only-request-contacts" => self.own_contacts_only = true,
            "socket-header" => self.socket_header = true,
            "min-expires" => self.min_expires = Some(n()?),
            "max-expires" => self.max_expires = Some(n()?),
            // One letter of the older form may stand alone.
            other if other.len() == 1 => self.letters(other)?,
            other => return Err(format!("`{other}` is no flag of save")),
        }
        Ok(())
    }

    fn letters(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (value, after) = rest.split_at(digits);
            let n = || value.parse::<u32>().map_err(|_| format!("`{letter}` needs a number: `{letter}1`"));
            match letter {
                'm' => self.memory_only = true,
                'r' => self.no_reply = true,
                'c' => self.max_contacts = Some(n()? as usize),
                'f' => self.make_room = true,
                'M' => self.matching = Some(matching(value)?),
                'p' => {
                    self.path = Some(match n()? {
                        0 => None,
                        1 => Some(PathMode::Lazy),
                        2 => Some(PathMode::Strict),
                        _ => return Err("`p` is p0, p1 or p2".to_string()),
                    });
                }
                'v' => self.path_received = true,
                'o' => self.own_contacts_only = true,
                's' => self.socket_header = true,
                'e' => self.min_expires = Some(n()?),
                'E' => self.max_expires = Some(n()?),
                other => return Err(format!("`{other}` is no flag of save")),
            }
            rest = if matches!(letter, 'c' | 'M' | 'p' | 'e' | 'E') { after } else { rest };
        }
        Ok(())
    }
}

fn matching(text: &str) -> Result<Matching, String> {
    Ok(match text {
        "0" => Matching::Contact,
        "1" => Matching::ContactAndCallId,
        other => return Err(format!("matching-mode is 0 or 1, not `{other}`")),
    })
}

/// `4`, `0x04`
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let o = Options::parse("0x06").unwrap();
        assert!(o.no_reply && o.replace_others && !o.memory_only && !o.prepare);
        let o = Options::parse(" 25 ").unwrap();
        assert!(o.memory_only && o.exact_expires && o.prepare);
        assert_eq!(Options::parse("").unwrap(), Options::default());
    }

    #[test]
    fn words_and_letters_mean_the_same() {
        let all = "memory-only, no-reply,max-contacts=5,force-registration,matching-mode=1,path-lazy,path-received,\
                   only-request-contacts,socket-header,min-expires=30,max-expires=600";
        let words = Options::parse(all).unwrap();
        assert_eq!(Options::parse("mrc5fM1p1vose30E600").unwrap(), words);
        assert_eq!(words.path, Some(Some(PathMode::Lazy)));
        assert_eq!(Options::parse("path-off").unwrap(), Options::parse("p0").unwrap());
        assert_eq!(Options::parse("r,m").unwrap(), Options::parse("mr").unwrap());
    }

    #[test]
    fn unknown_ones() {
        for bad in ["x", "c", "p3", "p", "max-contacts", "max-contacts=x", "no-such", "0xg", "1x", "M7", "ü"] {
            assert!(Options::parse(bad).is_err(), "{bad}");
        }
    }
}
