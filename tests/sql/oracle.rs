//! Our client and `mysql_async` are asked the same questions; the answers must agree.

use crate::lp::{AMPLE, Loop, alone, rows};
use crate::support::mariadb::MariaDb;
use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value};
use reprise::ops::{Outcome, SqlValue};

/// Queries over every type, empty answers, extremes, errors.
const QUERIES: [&str; 38] = [
    "SELECT 1",
    "SELECT -1, 0, 255, 256, 65535, 65536, 2147483647, 2147483648, 9223372036854775807",
    "SELECT 9223372036854775808, 18446744073709551615",
    "SELECT NULL",
    "SELECT NULL, NULL, 1, NULL, '', NULL",
    "SELECT ''",
    "SELECT 'a', \"b\", 'Zoë ☎ 漢字 🎉'",
    "SELECT 1.5, 0.1, 1e10, -2.5e-3, 1/3, PI()",
    "SELECT CAST(1.5 AS FLOAT), CAST(0.1 AS DOUBLE), CAST('12.340' AS DECIMAL(10,3))",
    "SELECT TRUE, FALSE, NOT NULL",
    "SELECT CAST('2024-02-29' AS DATE), CAST('2024-02-29 12:34:56' AS DATETIME)",
    "SELECT CAST('2024-02-29 12:34:56.789' AS DATETIME(3)), CAST('1000-01-01' AS DATE), CAST('9999-12-31' AS DATE)",
    "SELECT CAST('12:34:56' AS TIME), CAST('-838:59:59' AS TIME), CAST('00:00:00' AS TIME)",
    "SELECT CAST('01:02:03.000004' AS TIME(6)), CAST('00:00:00.5' AS TIME(1))",
    "SELECT FROM_UNIXTIME(0), FROM_UNIXTIME(2147483647), FROM_UNIXTIME(1)",
    "SELECT b'1', b'0', b'1111111100000000', x'ff00', 0x41",
    "SELECT CAST(-5 AS SIGNED), CAST(5 AS UNSIGNED), YEAR('2024-01-01')",
    "SELECT REPEAT('x', 250), REPEAT('x', 251), REPEAT('x', 65535), REPEAT('x', 65536)",
    "SELECT REPEAT('x', 1000000)",
    "SELECT * FROM kinds ORDER BY id",
    "SELECT flag, id FROM kinds ORDER BY id",
    "SELECT * FROM users ORDER BY uid",
    "SELECT * FROM subscriber ORDER BY id",
    "SELECT * FROM numbers ORDER BY n",
    "SELECT * FROM numbers WHERE n < 0",
    "SELECT n, text FROM numbers WHERE n % 7 = 0 ORDER BY n DESC LIMIT 10",
    "SELECT * FROM big",
    "SELECT COUNT(*), SUM(n), AVG(n), MIN(text), MAX(text) FROM numbers",
    "SELECT JSON_OBJECT('a', 1, 'b', JSON_ARRAY(1, 2, NULL))",
    "SELECT ST_AsText(POINT(1, 2)), POINT(1, 2)",
    "SELECT COLUMN_NAME, COLUMN_TYPE, COLUMN_DEFAULT FROM information_schema.COLUMNS WHERE TABLE_NAME='kinds' AND TABLE_SCHEMA='reprise' ORDER BY ORDINAL_POSITION",
    "SHOW TABLES",
    "SHOW COLUMNS FROM subscriber",
    "DO 1",
    "SET @x = 5",
    "SELECT nothing FROM nowhere",
    "SELEC",
    "SELECT * FROM kinds WHERE id = (SELECT id FROM kinds)",
];

/// What the mapping of types makes of a value, written a second time.
fn expected(value: &Value, kind: mysql_async::consts::ColumnType, unsigned: bool) -> SqlValue {
    use mysql_async::consts::ColumnType::*;
    let bytes = match value {
        Value::NULL => return SqlValue::Null,
        Value::Bytes(b) => b.clone(),
        other => panic!("the text protocol gives bytes: {other:?}"),
    };
    let words = String::from_utf8_lossy(&bytes).into_owned();
    match kind {
        MYSQL_TYPE_LONGLONG if unsigned && words.parse::<i64>().is_err() => SqlValue::Text(bytes.into()),
        MYSQL_TYPE_TINY | MYSQL_TYPE_SHORT | MYSQL_TYPE_LONG | MYSQL_TYPE_INT24 | MYSQL_TYPE_LONGLONG
        | MYSQL_TYPE_YEAR => SqlValue::Int(words.parse().unwrap()),
        MYSQL_TYPE_BIT => SqlValue::Int(bytes.iter().fold(0, |n, b| n * 256 + i64::from(*b))),
        MYSQL_TYPE_DATE | MYSQL_TYPE_DATETIME | MYSQL_TYPE_TIMESTAMP => {
            // The database itself says what moment that is.
            SqlValue::Time(days(&words) * 86400 + seconds(&words))
        }
        _ => SqlValue::Text(bytes.into()),
    }
}

/// Days since 1970 by counting years and months, slowly and obviously.
fn days(text: &str) -> i64 {
    let n: Vec<i64> = text[..10].split('-').map(|p| p.parse().unwrap()).collect();
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let year = |y: i64| if leap(y) { 366 } else { 365 };
    let years: i64 = if n[0] >= 1970 { (1970..n[0]).map(year).sum() } else { -(n[0]..1970).map(year).sum::<i64>() };
    let months = [31, if leap(n[0]) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    years + months[..n[1] as usize - 1].iter().sum::<i64>() + n[2] - 1
}

fn seconds(text: &str) -> i64 {
    text.get(11..19).map_or(0, |t| t.split(':').fold(0, |n, p| n * 60 + p.parse::<i64>().unwrap()))
}

#[test]
fn agrees_with_mysql_async() {
    let _alone = alone();
    let db = MariaDb::shared();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = mysql_async::Opts::from_url(&db.url()).unwrap();
    let mut oracle = runtime.block_on(mysql_async::Conn::new(options)).unwrap();
    let mut l = Loop::new();
    l.ok(&db.url(), "SET time_zone = '+00:00'");
    for query in QUERIES {
        let theirs: Result<Vec<Row>, _> = runtime.block_on(oracle.query(query));
        let id = l.start(&db.url(), query, AMPLE);
        let ours = l.wait(id);
        let theirs = match theirs {
            Ok(rows) => rows,
            Err(mysql_async::Error::Server(e)) => {
                let Outcome::Failed(f) = ours else { panic!("{query}: {e} but {ours:?}") };
                assert!(f.detail.contains(&format!("{} ({}): {}", e.code, e.state, e.message)), "{query}: {f} / {e}");
                continue;
            }
            Err(e) => panic!("{query}: {e}"),
        };
        let ours = rows(ours);
        assert_eq!(ours.rows.len(), theirs.len(), "{query}");
        for (our, their) in ours.rows.iter().zip(&theirs) {
            assert_eq!(our.len(), their.len(), "{query}");
            for (i, column) in their.columns_ref().iter().enumerate() {
                let unsigned = column.flags().contains(mysql_async::consts::ColumnFlags::UNSIGNED_FLAG);
                let want = expected(their.as_ref(i).unwrap(), column.column_type(), unsigned);
                assert_eq!(our[i], want, "{query}: column {i}");
                assert_eq!(ours.columns[i].as_bytes(), column.name_ref(), "{query}");
            }
        }
        if theirs.is_empty() && ours.columns.is_empty() {
            assert_eq!(ours.affected, oracle.affected_rows(), "{query}");
        }
    }
    runtime.block_on(oracle.disconnect()).unwrap();
}
