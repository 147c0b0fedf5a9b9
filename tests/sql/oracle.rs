//! Our client and `mysql_async` are asked the same questions, over the text and over the binary protocol; the answers
//! must agree.

use crate::lp::{AMPLE, Loop, alone, rows};
use crate::support::mariadb::{MariaDb, NATIVE};
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

/// A table with a column of every type, and rows of extremes, of nothing, and of dates that are none.
const EVERY_TYPE: &str = "
CREATE TABLE every_type (
  id INT PRIMARY KEY,
  t TINYINT, ut TINYINT UNSIGNED, s SMALLINT, us SMALLINT UNSIGNED, m MEDIUMINT, um MEDIUMINT UNSIGNED, i INT, ui INT UNSIGNED,
  b BIGINT, ub BIGINT UNSIGNED, zero_filled INT(8) ZEROFILL, boolean BOOLEAN, y YEAR,
  bit1 BIT(1), bit9 BIT(9), bit64 BIT(64),
  dec10 DECIMAL(10,2), dec65 DECIMAL(65,30), udec DECIMAL(20,0) UNSIGNED,
  f FLOAT, d DOUBLE, f62 FLOAT(6,2), d103 DOUBLE(10,3),
  day DATE, at DATETIME, at6 DATETIME(6), at3 DATETIME(3), stamp TIMESTAMP NULL, stamp6 TIMESTAMP(6) NULL,
  tm TIME, tm6 TIME(6), tm1 TIME(1),
  c CHAR(10), vc VARCHAR(200), latin VARCHAR(50) CHARACTER SET latin1, bin BINARY(6), vbin VARBINARY(300),
  tt TINYTEXT, tx TEXT, mt MEDIUMTEXT, lt LONGTEXT, tb TINYBLOB, bl BLOB, mb MEDIUMBLOB, lb LONGBLOB,
  en ENUM('one', 'two', 'drei ☎'), st SET('a', 'b', 'c'), js JSON, pt POINT, ip INET6, uu UUID) CHARACTER SET utf8mb4;
SET SESSION sql_mode = 'ALLOW_INVALID_DATES';
INSERT INTO every_type VALUES (1,
  -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295,
  -9223372036854775808, 18446744073709551615, 42, TRUE, 1901,
  b'1', b'100000001', 18446744073709551615,
  -99999999.99, 12345678901234567890123456789012345.123456789012345678901234567890, 99999999999999999999,
  -3.402823e38, 1.7976931348623157e308, -9999.99, 1234567.891,
  '9999-12-31', '9999-12-31 23:59:59', '9999-12-31 23:59:59.999999', '2024-02-29 12:34:56.789', '2038-01-19 03:14:07', '2024-02-29 12:34:56.000001',
  '838:59:59', '-838:59:59.999999', '00:00:00.5',
  'Zoë ☎', REPEAT('ü', 200), 'Zoë', x'00ff00ff00ff', REPEAT(x'00ff27', 100),
  REPEAT('t', 255), REPEAT('x', 65535), REPEAT('m', 70000), REPEAT('l', 1000000), x'00', x'ff', REPEAT(x'fe', 251), REPEAT(x'fb', 65536),
  'drei ☎', 'a,c', '{\"a\": [1, 2.5, null, \"ü\"]}', POINT(1.5, -2), '2001:db8::1', '123e4567-e89b-12d3-a456-426655440000');
INSERT INTO every_type (id) VALUES (2);
INSERT INTO every_type VALUES (3,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, FALSE, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', '1970-01-01 00:00:01', '1970-01-01 00:00:01',
  0, 0, 0, '', '', '', '', '', '', '', '', '', '', '', '', '', 'one', '', '[]', POINT(0, 0), '::', '00000000-0000-0000-0000-000000000000');
INSERT INTO every_type (id, t, b, day, at, at6, at3, tm, tm6, f, d, y, bit64) VALUES
  (4, -1, -1, '2024-02-00', '2024-00-00 00:00:00', '2024-02-00 01:02:03.000004', '2024-02-31 01:02:03.5', '-00:00:01', '01:02:03.000004', 0.1, 0.1, 2155, 1),
  (5, 127, 9223372036854775807, '0001-01-01', '1000-01-01 00:00:00', '1000-01-01 00:00:00.000001', '1969-12-31 23:59:59.999', '24:00:00', '-00:00:00.000001', 16777216, 1e-300, 2000, 9223372036854775808),
  (6, 1, 1, '1969-12-31', '1969-12-31 23:59:59', '1970-01-01 00:00:00', '1970-01-01 00:00:00', '00:00:01', '00:00:00', 1e-30, 123456789012345680, 1970, 0),
  (7, 2, 2, '2000-02-29', '2000-02-29 00:00:01', '2000-02-29 00:00:00.100000', '2000-02-29 00:00:00.100', '100:00:00', '100:00:00.1', -0.0, -0.0, 1999, 255);
";

/// What `mysql_async` gives over the binary protocol, as the mapping of types wants it, written a second time.
fn expected_binary(value: &Value, column: &mysql_async::Column) -> Option<SqlValue> {
    use mysql_async::consts::ColumnType::*;
    Some(match value {
        Value::NULL => SqlValue::Null,
        Value::Int(n) => SqlValue::Int(*n),
        Value::UInt(n) => i64::try_from(*n).map_or_else(|_| SqlValue::Text(n.to_string().into()), SqlValue::Int),
        Value::Date(0, 0, 0, ..) => SqlValue::Time(0),
        Value::Date(y, mo, d, h, mi, s, _) => {
            let text = format!("{y:04}-{mo:02}-{d:02} {h:02}:{mi:02}:{s:02}");
            let real = *mo > 0 && *d > 0 && *d <= 28 + u8::from(*mo != 2) * 3;
            let leap = *mo == 2 && *d == 29;
            return (real || leap).then(|| SqlValue::Time(days(&text) * 86400 + seconds(&text)));
        }
        Value::Bytes(b) if column.column_type() == MYSQL_TYPE_BIT => {
            SqlValue::Int(b.iter().fold(0u64, |n, b| n << 8 | u64::from(*b)) as i64)
        }
        Value::Bytes(b) => SqlValue::Text(b.clone().into()),
        // How these are written the text protocol says.
        Value::Float(_) | Value::Double(_) | Value::Time(..) => return None,
    })
}

#[test]
fn every_type_over_both_protocols() {
    let _alone = alone();
    let db = MariaDb::shared();
    let name = db.fresh_database();
    db.sql(&format!("USE {name}; {EVERY_TYPE}"));
    let url = db.url_for(NATIVE, &name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = mysql_async::Opts::from_url(&url).unwrap();
    let mut oracle = runtime.block_on(mysql_async::Conn::new(options)).unwrap();
    let mut l = Loop::new();
    let all = "SELECT * FROM every_type WHERE id < ? ORDER BY id";
    let theirs: Vec<Row> = runtime.block_on(oracle.exec(all, (100,))).unwrap();
    let id = l.start_with(&url, all, vec![SqlValue::Int(100)], AMPLE);
    let binary = rows(l.wait(id));
    let text = l.ok(&url, &all.replace('?', "100"));
    assert_eq!(binary.columns, text.columns);
    assert_eq!((binary.rows.len(), text.rows.len(), theirs.len()), (7, 7, 7));
    let texts: Vec<Row> = runtime.block_on(oracle.query(all.replace('?', "100"))).unwrap();
    for (n, their) in theirs.iter().enumerate() {
        for (i, column) in their.columns_ref().iter().enumerate() {
            let what = format!("row {}, column {}", n + 1, column.name_str());
            assert_eq!(binary.rows[n][i], text.rows[n][i], "{what}: both protocols");
            if let Some(want) = expected_binary(their.as_ref(i).unwrap(), column) {
                assert_eq!(binary.rows[n][i], want, "{what}");
            }
            // What is text here is what the server wrote.
            if let (SqlValue::Text(ours), Value::Bytes(b)) = (&text.rows[n][i], texts[n].as_ref(i).unwrap()) {
                assert_eq!(&ours[..], &b[..], "{what}");
            }
        }
    }
    runtime.block_on(oracle.disconnect()).unwrap();
}

#[test]
fn values_come_back_as_they_were_sent() {
    let _alone = alone();
    let db = MariaDb::shared();
    let mut l = Loop::new();
    let text = |t: &[u8]| SqlValue::Text(t.into());
    for value in [
        SqlValue::Null,
        SqlValue::Int(0),
        SqlValue::Int(i64::MIN),
        SqlValue::Int(i64::MAX),
        text(b""),
        text(b"'; DROP TABLE users; --"),
        text("Zoë ☎ 漢字 🎉".as_bytes()),
        text(&[b'x'; 250]),
        text(&[b'x'; 251]),
        text(&[b'x'; 65_535]),
        text(&[b'x'; 65_536]),
        text(&[b'x'; 3_000_000]),
    ] {
        let id = l.start_with(&db.url(), "SELECT ?, ? IS NULL", vec![value.clone(), value.clone()], AMPLE);
        let r = rows(l.wait(id));
        assert_eq!(r.rows[0], [value.clone(), SqlValue::Int(i64::from(value == SqlValue::Null))]);
    }
    let bytes: Vec<u8> = (0..=255).collect();
    let id =
        l.start_with(&db.url(), "SELECT HEX(CAST(? AS BINARY)), LENGTH(?)", vec![text(&bytes), text(&bytes)], AMPLE);
    let hex: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
    assert_eq!(rows(l.wait(id)).rows[0], [text(hex.as_bytes()), SqlValue::Int(256)]);
    // As many values as columns: more than 250 of each.
    let marks = vec!["?"; 1000].join(", ");
    let many: Vec<SqlValue> = (0..1000).map(|n| if n % 3 == 0 { SqlValue::Null } else { SqlValue::Int(n) }).collect();
    let id = l.start_with(&db.url(), &format!("SELECT {marks}"), many.clone(), AMPLE);
    assert_eq!(rows(l.wait(id)).rows, [many]);
    let columns: Vec<String> = (0..300).map(|n| format!("{n} AS c{n}")).collect();
    let r = l.ok(&db.url(), &format!("SELECT {}", columns.join(", ")));
    assert_eq!((r.columns.len(), &r.rows[0][299]), (300, &SqlValue::Int(299)));
    // Longer than a packet: refused before anything is sent, and the connection is as good as before.
    for (query, params) in [
        (format!("SELECT '{}'", "x".repeat(17 << 20)), vec![]),
        ("SELECT ?".to_string(), vec![text(&[b'x'; 17 << 20])]),
    ] {
        let id = l.start_with(&db.url(), &query, params, AMPLE);
        let Outcome::Failed(f) = l.wait(id) else { panic!() };
        assert!(f.detail.contains("longer than 16 MB"), "{f}");
    }
    assert_eq!(l.driver.mysql().connections(), (1, 1));
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
