//! The parameter `htable`: which tables there are.

use crate::base::Str;
use crate::store::shared::tables::Ends;

/// A table, as its definition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: Str,
    /// Seconds that an item lives; 0: for ever.
    pub expire: i64,
    /// What an item without a value is; `None`: NULL.
    pub first: Option<i64>,
    /// Whether a write makes an item live on from then.
    pub renew: bool,
    /// Number of slots it says, as `htable.listTables` shows it. The store needs none.
    pub slots: i64,
}

/// Seconds as microseconds from `now` on; 0 stays 0, which is never.
pub fn end_after(seconds: i64, now: i64) -> i64 {
    if seconds <= 0 { 0 } else { now.saturating_add(seconds.saturating_mul(1_000_000)) }
}

impl Table {
    /// Reads `name=>size=4;autoexpire=60;...`; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Table, String> {
        let (name, attributes) = text.split_once("=>").unwrap_or((text, ""));
        let name = name.trim();
        if name.is_empty() || name.len() > crate::store::shared::LONGEST_OWNER {
            return Err("a table is defined by `name=>attribute=value;...`".into());
        }
        let mut table = Table { name: Str::from(name), expire: 0, first: None, renew: true, slots: 16 };
        for attribute in attributes.split(';').map(str::trim).filter(|a| !a.is_empty()) {
            let (key, value) = attribute.split_once('=').ok_or_else(|| format!("`{attribute}` has no value"))?;
            let value = value.trim();
            let number = || value.parse::<i64>().map_err(|_| format!("`{key}` is a number, not `{value}`"));
            match key.trim() {
                "size" => {
                    table.slots = match number()? {
                        n if n < 2 => 1 << 3,
                        n if n > 31 => 1 << 14,
                        n => 1 << n,
                    }
                }
                "autoexpire" => table.expire = number()?.max(0),
                "initval" => table.first = Some(number()?),
                "updateexpire" => table.renew = number()? != 0,
                // Nothing is sent to other machines.
                "dmqreplicate" if number()? == 0 => {}
                // Only with `dbtable`.
                "cols" | "coldelim" | "colnull" | "dbmode" => {}
                "dmqreplicate" => return Err("tables are not replicated to other machines".into()),
                "dbtable" | "reloadat" => return Err("tables are not loaded from a database".into()),
                other => return Err(format!("a table has no attribute `{other}`")),
            }
        }
        Ok(table)
    }

    /// When an item ends that is written now.
    pub fn ends(&self, now: i64) -> Ends {
        let at = end_after(self.expire, now);
        if self.renew { Ends::At(at) } else { Ends::IfNew(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_read() {
        let t = Table::parse("ipban=>size=8;autoexpire=300;").unwrap();
        assert_eq!((&t.name[..], t.expire, t.first, t.renew, t.slots), (&b"ipban"[..], 300, None, true, 256));
        let t = Table::parse("a=>initval=0;updateexpire=0;size=1").unwrap();
        assert_eq!((t.first, t.renew, t.slots), (Some(0), false, 8));
        assert_eq!(Table::parse("a").unwrap().slots, 16);
        for bad in ["=>size=4", "a=>x=1", "a=>size", "a=>size=b", "a=>dbtable=x;", "a=>dmqreplicate=1"] {
            assert!(Table::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Table::parse("a=>autoexpire=2").unwrap().ends(5), Ends::At(2_000_005));
    }
}
