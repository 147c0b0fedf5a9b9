//! Result sets: columns, rows of the text and the binary protocol, and what becomes of each type.
//!
//! TINYINT to BIGINT, YEAR and BIT become integers (an unsigned BIGINT beyond 2^63-1 stays text), DATE,
//! DATETIME and TIMESTAMP become seconds since 1970, NULL stays NULL, everything else is text. Dates
//! are read in the session's time zone, whose offset is asked once at login; the zero date is 0.

use super::packet::Reader;
use crate::base::Str;
use crate::ops::sql::datetime;
use crate::ops::sql::limits::{Limits, VALUE_COST};
use crate::ops::{SqlResult, SqlValue};
use mysql_common::constants::ColumnType;

/// Most columns one result set can have (MySQL's limit for a table is 4096).
const MAX_COLUMNS: u64 = 4096;
/// UNSIGNED in a column's flags.
const UNSIGNED: u16 = 32;

/// Why a result set is given up; the connection with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowError {
    /// Not what the protocol allows.
    Malformed(&'static str),
    /// More rows than the limit.
    Rows,
    /// More bytes than the limit.
    Bytes,
}

/// What becomes of a column's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Column {
    kind: ColumnType,
    unsigned: bool,
    /// Digits behind the point that the text protocol writes; more than 30 = as many as it takes.
    decimals: u8,
}

/// A result set under construction.
#[derive(Default)]
pub struct Answer {
    /// What came so far.
    pub result: SqlResult,
    columns: Vec<Column>,
    expected: usize,
    cost: usize,
    discarded: usize,
}

impl Answer {
    /// Announces a result set of so many columns.
    pub fn begin(&mut self, columns: u64) -> Result<(), RowError> {
        if columns == 0 || columns > MAX_COLUMNS {
            return Err(RowError::Malformed("number of columns"));
        }
        self.expected = columns as usize;
        self.columns.clear();
        self.result.columns.clear();
        self.result.rows.clear();
        Ok(())
    }

    /// A column definition; `true` after the last one.
    pub fn column(&mut self, payload: &[u8], limits: &Limits) -> Result<bool, RowError> {
        let (name, column) = definition(payload).ok_or(RowError::Malformed("column definition"))?;
        self.spend(payload.len() + VALUE_COST, limits)?;
        self.columns.push(column);
        self.result.columns.push(Str::from(name));
        Ok(self.columns.len() >= self.expected)
    }

    /// A row of the text protocol.
    pub fn text_row(&mut self, payload: &[u8], offset: i64, limits: &Limits) -> Result<(), RowError> {
        self.admit(payload.len(), limits)?;
        let mut r = Reader(payload);
        let mut row = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let field = r.field().ok_or(RowError::Malformed("row"))?;
            row.push(field.map_or(SqlValue::Null, |f| column.text_value(f, offset)));
        }
        self.finish(row, r)
    }

    /// A row of the binary protocol.
    pub fn binary_row(&mut self, payload: &[u8], offset: i64, limits: &Limits) -> Result<(), RowError> {
        self.admit(payload.len(), limits)?;
        let malformed = RowError::Malformed("binary row");
        let mut r = Reader(payload);
        if r.u8() != Some(0) {
            return Err(malformed);
        }
        // The bitmap's first two bits are not used.
        let nulls = r.take((self.columns.len() + 9) / 8).ok_or(malformed)?;
        let mut row = Vec::with_capacity(self.columns.len());
        for (i, column) in self.columns.iter().enumerate() {
            let bit = i + 2;
            let null = nulls.get(bit / 8).is_some_and(|b| b >> (bit % 8) & 1 == 1);
            row.push(if null { SqlValue::Null } else { column.binary_value(&mut r, offset).ok_or(malformed)? });
        }
        self.finish(row, r)
    }

    /// Counts a row of a result set that nobody will see.
    pub fn discard_row(&mut self, payload: &[u8], limits: &Limits) -> Result<(), RowError> {
        self.discarded += 1;
        if self.discarded > limits.max_rows {
            return Err(RowError::Rows);
        }
        self.spend(payload.len(), limits)
    }

    fn admit(&mut self, length: usize, limits: &Limits) -> Result<(), RowError> {
        if self.result.rows.len() >= limits.max_rows {
            return Err(RowError::Rows);
        }
        self.spend(length + VALUE_COST * (self.columns.len() + 1), limits)
    }

    fn finish(&mut self, row: Vec<SqlValue>, rest: Reader<'_>) -> Result<(), RowError> {
        if !rest.is_empty() {
            return Err(RowError::Malformed("row longer than its columns"));
        }
        self.result.rows.push(row);
        Ok(())
    }

    fn spend(&mut self, cost: usize, limits: &Limits) -> Result<(), RowError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > limits.max_bytes { Err(RowError::Bytes) } else { Ok(()) }
    }
}

/// Name and type of a `ColumnDefinition41` packet.
fn definition(payload: &[u8]) -> Option<(&[u8], Column)> {
    let mut r = Reader(payload);
    for _catalog_schema_table_orgtable in 0..4 {
        r.lenenc_str()?;
    }
    let name = r.lenenc_str()?;
    let _org_name = r.lenenc_str()?;
    let mut fixed = Reader(r.lenenc_str()?);
    let _charset = fixed.u16()?;
    let _length = fixed.u32()?;
    let kind = fixed.u8()?;
    let flags = fixed.u16()?;
    let decimals = fixed.u8()?;
    let kind = ColumnType::try_from(kind).unwrap_or(ColumnType::MYSQL_TYPE_STRING);
    Some((name, Column { kind, unsigned: flags & UNSIGNED != 0, decimals }))
}

impl Column {
    fn text_value(self, field: &[u8], offset: i64) -> SqlValue {
        use ColumnType::*;
        let value = match self.kind {
            MYSQL_TYPE_TINY | MYSQL_TYPE_SHORT | MYSQL_TYPE_LONG | MYSQL_TYPE_INT24 | MYSQL_TYPE_LONGLONG
            | MYSQL_TYPE_YEAR => integer(field).map(SqlValue::Int),
            MYSQL_TYPE_BIT => bits(field),
            MYSQL_TYPE_DATE | MYSQL_TYPE_NEWDATE | MYSQL_TYPE_DATETIME | MYSQL_TYPE_TIMESTAMP => {
                datetime::parse(field).map(|t| moment(t, offset))
            }
            _ => None,
        };
        value.unwrap_or_else(|| SqlValue::Text(Str::from(field)))
    }

    fn binary_value(self, r: &mut Reader<'_>, offset: i64) -> Option<SqlValue> {
        use ColumnType::*;
        Some(match self.kind {
            MYSQL_TYPE_NULL => SqlValue::Null,
            MYSQL_TYPE_TINY => {
                let n = r.u8()?;
                SqlValue::Int(if self.unsigned { i64::from(n) } else { i64::from(n as i8) })
            }
            MYSQL_TYPE_SHORT | MYSQL_TYPE_YEAR => {
                let n = r.u16()?;
                SqlValue::Int(if self.unsigned { i64::from(n) } else { i64::from(n as i16) })
            }
            MYSQL_TYPE_LONG | MYSQL_TYPE_INT24 => {
                let n = r.u32()?;
                SqlValue::Int(if self.unsigned { i64::from(n) } else { i64::from(n as i32) })
            }
            MYSQL_TYPE_LONGLONG => {
                let n = u64::from_le_bytes(r.array()?);
                match i64::try_from(n) {
                    Err(_) if self.unsigned => SqlValue::Text(Str::from(n.to_string())),
                    _ => SqlValue::Int(n as i64),
                }
            }
            MYSQL_TYPE_FLOAT => SqlValue::Text(single(f32::from_le_bytes(r.array()?), self.decimals)),
            MYSQL_TYPE_DOUBLE => SqlValue::Text(real(f64::from_le_bytes(r.array()?), self.decimals)),
            MYSQL_TYPE_DATE | MYSQL_TYPE_NEWDATE | MYSQL_TYPE_DATETIME | MYSQL_TYPE_TIMESTAMP => {
                self.binary_date(r, offset)?
            }
            MYSQL_TYPE_TIME => SqlValue::Text(Str::from(self.binary_time(r)?)),
            MYSQL_TYPE_BIT => {
                let field = r.lenenc_str()?;
                bits(field).unwrap_or_else(|| SqlValue::Text(Str::from(field)))
            }
            _ => SqlValue::Text(Str::from(r.lenenc_str()?)),
        })
    }
}

fn moment(seconds: i64, offset: i64) -> SqlValue {
    // The zero date is no moment in any zone.
    SqlValue::Time(if seconds == 0 { 0 } else { seconds - offset })
}

fn integer(field: &[u8]) -> Option<i64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// A number as the text protocol writes it: the shortest digits that mean it, very large and very small
/// ones with an exponent.
fn real(number: f64, decimals: u8) -> Str {
    if decimals <= 30 {
        return Str::from(format!("{number:.*}", usize::from(decimals)));
    }
    let size = number.abs();
    let plain = size == 0.0 || !size.is_finite() || (1e-15..1e15).contains(&size);
    Str::from(if plain { number.to_string() } else { format!("{number:e}") })
}

/// A FLOAT: without fixed decimals it has six digits, says the text protocol.
fn single(number: f32, decimals: u8) -> Str {
    let rounded = if decimals > 30 { format!("{number:.5e}").parse().ok() } else { None };
    real(rounded.unwrap_or_else(|| f64::from(number)), decimals)
}

/// BIT: up to eight bytes, the highest first.
fn bits(field: &[u8]) -> Option<SqlValue> {
    if field.is_empty() || field.len() > 8 {
        return None;
    }
    Some(SqlValue::Int(field.iter().fold(0u64, |n, b| n << 8 | u64::from(*b)) as i64))
}

impl Column {
    /// A date of the binary protocol: 0, 4, 7 or 11 bytes. One that is no date of the calendar (`2024-00-00`)
    /// is text, as the text protocol writes it.
    fn binary_date(self, r: &mut Reader<'_>, offset: i64) -> Option<SqlValue> {
        let length = r.u8()?;
        let mut f = Reader(r.take(usize::from(length))?);
        if length == 0 {
            return Some(SqlValue::Time(0));
        }
        let date = (i64::from(f.u16()?), i64::from(f.u8()?), i64::from(f.u8()?));
        let time = match length {
            4 => (0, 0, 0),
            7 | 11 => (i64::from(f.u8()?), i64::from(f.u8()?), i64::from(f.u8()?)),
            _ => return None,
        };
        let micros = if length == 11 { f.u32()? } else { 0 };
        Some(match datetime::seconds_from_parts(date, time) {
            Some(t) => moment(t, offset),
            None if date == (0, 0, 0) => SqlValue::Time(0),
            None => {
                let mut text = format!("{:04}-{:02}-{:02}", date.0, date.1, date.2);
                if !matches!(self.kind, ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE) {
                    text.push_str(&format!(" {:02}:{:02}:{:02}", time.0, time.1, time.2));
                    text.push_str(&self.fraction(micros));
                }
                SqlValue::Text(Str::from(text))
            }
        })
    }

    /// A TIME of the binary protocol (0, 8 or 12 bytes), as the text protocol writes it.
    fn binary_time(self, r: &mut Reader<'_>) -> Option<String> {
        let length = r.u8()?;
        let mut f = Reader(r.take(usize::from(length))?);
        if length == 0 {
            return Some(format!("00:00:00{}", self.fraction(0)));
        }
        let sign = if f.u8()? == 0 { "" } else { "-" };
        let hours = u64::from(f.u32()?) * 24 + u64::from(f.u8()?);
        let (minutes, seconds) = (f.u8()?, f.u8()?);
        let micros = match length {
            8 => 0,
            12 => f.u32()?,
            _ => return None,
        };
        Some(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", self.fraction(micros)))
    }

    /// The fraction of a second, with the digits of the column.
    fn fraction(self, micros: u32) -> String {
        match usize::from(self.decimals) {
            0 => String::new(),
            n if n <= 6 => {
                let digits = format!("{:06}", micros.min(999_999));
                format!(".{}", digits.get(..n).unwrap_or_default())
            }
            _ if micros == 0 => String::new(),
            _ => format!(".{:06}", micros.min(999_999)),
        }
    }
}
