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
    /// The database table it begins with.
    pub source: Option<Source>,
    /// What stands between several values of a row (`coldelim`).
    pub delimiter: String,
    /// What stands for a NULL among them (`colnull`).
    pub null: String,
    /// It is written to the database's table when the server ends (`dbmode=1`).
    pub write_back: bool,
    /// Seconds between two loads (`reloadat`); 0: at the start only.
    pub reload: u32,
    /// Number of slots it says, as `htable.listTables` shows it. The store needs none.
    pub slots: i64,
}

/// Where a table's first items come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The database's table.
    pub table: String,
    /// Columns of the key and of the values, if it has not the usual ones.
    pub columns: Option<Vec<String>>,
}

/// The columns of a database's table (`key_name_column` and the like).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Name, value, type of the name, type of the value, end.
    names: [String; 5],
    /// `db_expires`: whether ends are read.
    expires: bool,
}

impl Default for Columns {
    fn default() -> Columns {
        let names = ["key_name", "key_value", "key_type", "value_type", "expires"];
        Columns { names: names.map(str::to_string), expires: false }
    }
}

impl Columns {
    /// Takes a module parameter; false if it is none of these.
    pub fn set(&mut self, param: &str, value: &crate::script::value::Value) -> bool {
        const PARAMS: [&str; 5] =
            ["key_name_column", "key_value_column", "key_type_column", "value_type_column", "expires_column"];
        if param == "db_expires" {
            self.expires = value.to_int().is_some_and(|n| n != 0);
            return true;
        }
        let at = PARAMS.iter().position(|p| *p == param);
        let field = at.and_then(|at| self.names.get_mut(at));
        let text = value.to_text().map(|t| t.to_lossy().into_owned()).filter(|t| !t.is_empty());
        match (field, text) {
            (Some(field), Some(text)) => {
                *field = text;
                true
            }
            _ => false,
        }
    }

    /// The query for a table's items: name, value, then types and end where there are such columns.
    pub fn query(&self, table: &Table) -> String {
        let source = table.source.clone().unwrap_or_default();
        match source.columns {
            Some(columns) => format!("SELECT {} FROM {}", columns.join(", "), source.table),
            None => {
                let count = if self.expires { 5 } else { 4 };
                let names = self.names.get(..count).unwrap_or_default().join(", ");
                format!("SELECT {names} FROM {}", source.table)
            }
        }
    }
}

impl Columns {
    /// The columns of an INSERT (name, value, type of the name, type of the value, then the end if there is one) and the
    /// marks of one row.
    pub fn insert(&self) -> (String, String) {
        let count = if self.expires { 5 } else { 4 };
        let names = self.names.get(..count).unwrap_or_default().join(", ");
        (names, format!("({})", vec!["?"; count].join(", ")))
    }

    /// Whether rows have ends.
    pub fn has_ends(&self) -> bool {
        self.expires
    }
}

/// Seconds as microseconds from `now` on; 0 stays 0, which is never.
pub fn end_after(seconds: i64, now: i64) -> i64 {
    if seconds <= 0 { 0 } else { now.saturating_add(seconds.saturating_mul(1_000_000)) }
}

impl Table {
    /// Number of the tables' own database URL among all.
    pub const DATABASE: i64 = i64::MIN;

    /// Reads `name=>size=4;autoexpire=60;...`; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Table, String> {
        let (name, attributes) = text.split_once("=>").unwrap_or((text, ""));
        let name = name.trim();
        if name.is_empty() || name.len() > crate::store::shared::LONGEST_OWNER {
            return Err("a table is defined by `name=>attribute=value;...`".into());
        }
        let mut table = Table {
            name: Str::from(name),
            expire: 0,
            first: None,
            renew: true,
            source: None,
            delimiter: ",".into(),
            null: "*".into(),
            write_back: false,
            reload: 0,
            slots: 16,
        };
        let mut columns = None;
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
                "dbtable" => table.source = Some(Source { table: value.to_string(), columns: None }),
                "cols" => {
                    let list: Vec<&str> = value.trim_matches('\'').split(',').map(str::trim).collect();
                    if list.len() < 2 || list.iter().any(|c| c.is_empty()) {
                        return Err("`cols` names the column of the key and those of the values".into());
                    }
                    columns = Some(list.iter().map(|c| (*c).to_string()).collect::<Vec<_>>());
                }
                "coldelim" => table.delimiter = value.trim_matches('\'').to_string(),
                "colnull" => table.null = value.trim_matches('\'').to_string(),
                "dbmode" => table.write_back = number()? != 0,
                "dmqreplicate" => return Err("tables are not replicated to other machines".into()),
                "reloadat" => table.reload = u32::try_from(number()?.clamp(0, 31_536_000)).unwrap_or(0),
                other => return Err(format!("a table has no attribute `{other}`")),
            }
        }
        if table.write_back && (table.source.is_none() || columns.is_some()) {
            return Err("`dbmode=1` needs `dbtable`, and the usual columns (no `cols`)".into());
        }
        if table.reload > 0 && table.source.is_none() {
            return Err("`reloadat` needs `dbtable`".into());
        }
        if let Some(source) = &mut table.source {
            source.columns = columns;
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
        for bad in [
            "=>size=4",
            "a=>x=1",
            "a=>size",
            "a=>size=b",
            "a=>dbmode=1;",
            "a=>cols='a'",
            "a=>dmqreplicate=1",
            "a=>reloadat=5",
        ] {
            assert!(Table::parse(bad).is_err(), "{bad}");
        }
        let columns = Columns::default();
        let t = Table::parse("a=>dbtable=htable").unwrap();
        assert_eq!(columns.query(&t), "SELECT key_name, key_value, key_type, value_type FROM htable");
        let t = Table::parse("a=>cols='k,v';dbtable=own").unwrap();
        assert_eq!(columns.query(&t), "SELECT k, v FROM own");
        let t = Table::parse("a=>cols='k,v,w';coldelim='|';colnull='-';dbtable=own;reloadat=60").unwrap();
        assert_eq!(columns.query(&t), "SELECT k, v, w FROM own");
        assert_eq!((t.delimiter.as_str(), t.null.as_str(), t.reload), ("|", "-", 60));
        assert!(Table::parse("a=>dbtable=t;dbmode=1").unwrap().write_back);
        assert!(Table::parse("a=>dbtable=t;dbmode=1;cols='k,v'").is_err());
        assert_eq!(columns.insert(), ("key_name, key_value, key_type, value_type".into(), "(?, ?, ?, ?)".into()));
        assert_eq!(Table::parse("a=>autoexpire=2").unwrap().ends(5), Ends::At(2_000_005));
    }
}
