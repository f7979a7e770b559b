//! Types of columns from the values in a file: each value narrows what its column can be, and the narrowest type that
//! holds all of them wins. What is in doubt is text.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::DataType;

/// What all values of a column seen so far can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// No value yet but NULLs.
    #[default]
    Nothing,
    /// `true`, `false`.
    Bool,
    /// Fits 64 bits.
    Integer,
    /// Up to 38 digits.
    Long,
    /// With a fraction or exponent.
    Float,
    /// A day.
    Date,
    /// A day and a time.
    Timestamp,
    /// With a zone.
    TimestampTz,
    /// Anything.
    Text,
    /// JSON objects, arrays, or values of several kinds.
    Json,
}

impl Kind {
    /// The kind of one text.
    pub(super) fn of(text: &str) -> Self {
        if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            return Self::Bool;
        }
        number(text).or_else(|| moment(text)).unwrap_or(Self::Text)
    }

    /// The kind of a JSON value.
    pub(super) fn of_json(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) => Self::of(&number.to_string()),
            // Numbers and booleans in quotes were meant as text.
            Value::String(text) => moment(text).unwrap_or(Self::Text),
            Value::Array(_) | Value::Object(_) => Self::Json,
        }
    }

    /// The narrowest kind that holds both; `mixed` for what nothing but text holds.
    pub(super) fn join(self, other: Self, mixed: Self) -> Self {
        use Kind::{Date, Float, Integer, Json, Long, Nothing, Text, Timestamp, TimestampTz};
        match (self, other) {
            (a, b) if a == b => a,
            (Nothing, kind) | (kind, Nothing) => kind,
            (Integer, Long) | (Long, Integer) => Long,
            (Integer | Long, Float) | (Float, Integer | Long) => Float,
            (Date, Timestamp) | (Timestamp, Date) => Timestamp,
            (Date | Timestamp, TimestampTz) | (TimestampTz, Date | Timestamp) => TimestampTz,
            (Date | Timestamp | TimestampTz, Text) | (Text, Date | Timestamp | TimestampTz) => Text,
            (Json, _) | (_, Json) => Json,
            _ => mixed,
        }
    }

    /// The SQL type.
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Nothing | Self::Text => "text",
            Self::Bool => "boolean",
            Self::Integer => "bigint",
            Self::Long => "numeric(38,0)",
            Self::Float => "double precision",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::Json => "jsonb",
        }
    }
}

/// Numbers, as people write them. Leading zeros (postcodes, phone numbers) and signs like `+49` are text.
fn number(text: &str) -> Option<Kind> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit() {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match (text.parse::<i64>(), digits.len()) {
            (Ok(_), _) => Some(Kind::Integer),
            (Err(_), ..=38) => Some(Kind::Long),
            (Err(_), _) => None,
        };
    }
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    (plain && text.parse::<f64>().is_ok_and(f64::is_finite)).then_some(Kind::Float)
}

/// ISO 8601 dates and times.
fn moment(text: &str) -> Option<Kind> {
    let (day, rest) = (text.get(..10)?, text.get(10..)?);
    chrono::NaiveDate::parse_from_str(day, "%Y-%m-%d").ok().filter(|_| day.as_bytes()[4] == b'-')?;
    if rest.is_empty() {
        return Some(Kind::Date);
    }
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let zone = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = (time[..zone].trim_end(), &time[zone..]);
    let valid = ["%H:%M", "%H:%M:%S", "%H:%M:%S%.f"]
        .iter()
        .any(|format| chrono::NaiveTime::parse_from_str(time, format).is_ok());
    if !valid {
        return None;
    }
    match zone {
        "" => Some(Kind::Timestamp),
        "Z" | "z" => Some(Kind::TimestampTz),
        offset => {
            let digits: String = offset[1..].chars().filter(|c| *c != ':').collect();
            let plain = matches!(digits.len(), 2 | 4) && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then_some(Kind::TimestampTz)
        }
    }
}

/// How a CSV file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Csv {
    /// Between values.
    pub(super) delimiter: u8,
    /// True if the first line names the columns.
    pub(super) header: bool,
    /// Names and types.
    pub(super) columns: Vec<(String, Kind)>,
}

impl Csv {
    /// What a file is, from its beginning. A last record that `text` cuts off is left out by the caller.
    pub(super) fn infer(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let delimiter = delimiter(text);
        let mut records = Records { text, delimiter };
        let first = records.next()?;
        let mut kinds = vec![Kind::Nothing; first.len()];
        let mut narrow = |record: &[Field]| {
            for (kind, field) in kinds.iter_mut().zip(record) {
                // An empty field without quotes is NULL.
                if !field.text.is_empty() || field.quoted {
                    *kind = kind.join(Kind::of(&field.text), Kind::Text);
                }
            }
        };
        records.by_ref().for_each(|record| narrow(&record));
        let header = is_header(&first);
        if !header {
            narrow(&first);
        }
        let names =
            if header { first.into_iter().map(|field| field.text).collect() } else { vec![String::new(); kinds.len()] };
        Some(Self { delimiter, header, columns: names_of(names).into_iter().zip(kinds).collect() })
    }
}

/// A header names things: every field is a text, none is empty, none comes twice.
fn is_header(first: &[Field]) -> bool {
    let distinct: BTreeSet<_> = first.iter().map(|field| field.text.as_str()).collect();
    distinct.len() == first.len()
        && first.iter().all(|field| !field.text.is_empty() && Kind::of(&field.text) == Kind::Text)
}

/// Of the usual delimiters the one that the first line has most of.
fn delimiter(text: &[u8]) -> u8 {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| {
        let mut quoted = false;
        line.iter()
            .filter(|byte| {
                quoted ^= **byte == b'"';
                **byte == delimiter && !quoted
            })
            .count()
    };
    // The first of equals: a comma if there is none at all.
    [b',', b';', b'\t', b'|'].into_iter().rev().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

#[derive(Debug)]
struct Field {
    text: String,
    quoted: bool,
}

/// Records of a CSV text; quoted fields may hold delimiters, quotes and line breaks.
struct Records<'a> {
    text: &'a [u8],
    delimiter: u8,
}

impl Iterator for Records<'_> {
    type Item = Vec<Field>;

    fn next(&mut self) -> Option<Vec<Field>> {
        if self.text.is_empty() {
            return None;
        }
        let mut record = Vec::new();
        let (mut field, mut quoted, mut inside) = (Vec::new(), false, false);
        let mut at = 0;
        while at < self.text.len() {
            let byte = self.text[at];
            at += 1;
            match byte {
                b'"' if inside && self.text.get(at) == Some(&b'"') => {
                    field.push(b'"');
                    at += 1;
                }
                b'"' => {
                    inside = !inside;
                    quoted = true;
                }
                b'\n' if !inside => break,
                byte if byte == self.delimiter && !inside => {
                    let text = String::from_utf8_lossy(&std::mem::take(&mut field)).into_owned();
                    record.push(Field { text, quoted: std::mem::take(&mut quoted) });
                }
                byte => field.push(byte),
            }
        }
        if field.last() == Some(&b'\r') {
            field.pop();
        }
        record.push(Field { text: String::from_utf8_lossy(&field).into_owned(), quoted });
        self.text = &self.text[at..];
        Some(record)
    }
}

/// Names that can be columns: a missing one is made up, a repeated one numbered.
pub(super) fn names_of(names: Vec<String>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut result = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let name = identifier(&name).unwrap_or_else(|| format!("column_{}", number + 1));
        let mut unique = name.clone();
        let mut copy = 2;
        while !taken.insert(unique.clone()) {
            unique = format!("{name}_{copy}");
            copy += 1;
        }
        result.push(unique);
    }
    result
}

/// An identifier that needs no quotes: lower case letters, digits and underscores, at most 63 bytes. `None` if nothing is
/// left.
pub(super) fn identifier(name: &str) -> Option<String> {
    let mut result = String::new();
    for c in name.trim().chars() {
        match c {
            c if c.is_ascii_alphanumeric() => result.push(c.to_ascii_lowercase()),
            _ if result.ends_with('_') => {}
            _ => result.push('_'),
        }
    }
    let result = result.trim_matches('_');
    let digit = result.starts_with(|c: char| c.is_ascii_digit());
    let mut result = if digit { format!("t_{result}") } else { result.to_owned() };
    result.truncate(60);
    (!result.is_empty()).then_some(result)
}

/// The SQL type for a column of a Parquet file; `None` for structs and maps, which COPY does not take.
pub(super) fn sql_type(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::UInt64 => "numeric(20,0)",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            return Some(format!("numeric({precision},{scale})"));
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            "numeric"
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::Dictionary(_, value) => return sql_type(value),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::FixedSizeList(item, _)
            if !item.data_type().is_nested() =>
        {
            return sql_type(item.data_type()).map(|item| format!("{item}[]"));
        }
        nested if nested.is_nested() => return None,
        _ => "text",
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_texts() {
        for (text, kind) in [
            ("true", Kind::Bool),
            ("FALSE", Kind::Bool),
            ("0", Kind::Integer),
            ("-42", Kind::Integer),
            ("9223372036854775807", Kind::Integer),
            ("9223372036854775808", Kind::Long),
            ("12345678901234567890123456789012345678", Kind::Long),
            ("123456789012345678901234567890123456789", Kind::Text),
            ("1.5", Kind::Float),
            ("-1e-7", Kind::Float),
            ("1e999", Kind::Text),
            ("007", Kind::Text),
            ("+49", Kind::Text),
            ("1.2.3", Kind::Text),
            ("12-34", Kind::Text),
            ("nan", Kind::Text),
            (".5", Kind::Text),
            ("2024-02-29", Kind::Date),
            ("2023-02-29", Kind::Text),
            ("2024-02-29 10:11", Kind::Timestamp),
            ("2024-02-29T10:11:12.123456", Kind::Timestamp),
            ("2024-02-29T10:11:12Z", Kind::TimestampTz),
            ("2024-02-29 10:11:12.5+02:00", Kind::TimestampTz),
            ("2024-02-29 10:11:12-0530", Kind::TimestampTz),
            ("2024-02-29 25:00", Kind::Text),
            ("2024-02-29x", Kind::Text),
            ("hello", Kind::Text),
            ("", Kind::Text),
            ("日本語テキスト長い", Kind::Text),
        ] {
            assert_eq!(Kind::of(text), kind, "{text:?}");
        }
    }

    #[test]
    fn kinds_join() {
        use Kind::{Bool, Date, Float, Integer, Json, Long, Nothing, Text, Timestamp, TimestampTz};
        for (a, b, joined) in [
            (Nothing, Integer, Integer),
            (Integer, Float, Float),
            (Integer, Long, Long),
            (Long, Float, Float),
            (Date, Timestamp, Timestamp),
            (Date, TimestampTz, TimestampTz),
            (Bool, Integer, Text),
            (Integer, Date, Text),
            (Text, Float, Text),
            (Json, Text, Json),
        ] {
            assert_eq!(a.join(b, Text), joined, "{a:?} {b:?}");
            assert_eq!(b.join(a, Text), joined, "{b:?} {a:?}");
        }
    }

    fn csv(text: &str) -> (char, bool, Vec<String>) {
        let csv = Csv::infer(text.as_bytes()).unwrap();
        let columns = csv.columns.iter().map(|(name, kind)| format!("{name} {}", kind.sql())).collect();
        (char::from(csv.delimiter), csv.header, columns)
    }

    #[test]
    fn csv_files() {
        let file = "id,Name,at,amount,ok\n1,Ann,2024-01-01 00:00,1.5,true\r\n2,\"B, \"\"b\"\"\",,3,false\n";
        let columns = ["id bigint", "name text", "at timestamp", "amount double precision", "ok boolean"];
        assert_eq!(csv(file), (',', true, columns.map(String::from).to_vec()));
        // No header: names are made up, the first line counts.
        assert_eq!(csv("1;x\n2.5;y\n"), (';', false, vec!["column_1 double precision".into(), "column_2 text".into()]));
        // Names repeated, odd or empty.
        let (_, header, columns) = csv("Größe (m)\t2nd\tid\tID\n1\t2\t3\t4\n");
        assert!(header);
        assert_eq!(columns, ["gr_e_m bigint", "t_2nd bigint", "id bigint", "id_2 bigint"]);
        // A line break within quotes; an empty quoted value is a text, without quotes it is NULL.
        assert_eq!(csv("a,b,c\n\"x\ny\",\"\",\n").2, ["a text", "b text", "c text"]);
        assert_eq!(csv("a,b\n,1\n,2\n").2, ["a text", "b bigint"]);
        // A byte order mark is not part of the name.
        assert_eq!(csv("\u{feff}id\n1\n").2, ["id bigint"]);
        assert_eq!(Csv::infer(b""), None);
    }

    #[test]
    fn json_values() {
        let kind = |text: &str| Kind::of_json(&serde_json::from_str(text).unwrap());
        assert_eq!(kind("1"), Kind::Integer);
        assert_eq!(kind("1.5"), Kind::Float);
        assert_eq!(kind("\"1\""), Kind::Text);
        assert_eq!(kind("\"2024-01-01T00:00:00Z\""), Kind::TimestampTz);
        assert_eq!(kind("[1]"), Kind::Json);
        assert_eq!(kind("null"), Kind::Nothing);
        assert_eq!(Kind::Integer.join(Kind::Text, Kind::Json), Kind::Json);
        assert_eq!(Kind::Date.join(Kind::Text, Kind::Json), Kind::Text);
    }

    #[test]
    fn identifiers() {
        for (name, expected) in [
            ("readings", Some("readings")),
            ("My File (2024)", Some("my_file_2024")),
            ("2024-01", Some("t_2024_01")),
            ("___", None),
            ("", None),
        ] {
            assert_eq!(identifier(name).as_deref(), expected, "{name:?}");
        }
        assert_eq!(identifier(&"x".repeat(100)).unwrap().len(), 60);
    }

    #[test]
    fn parquet_types() {
        use datafusion::arrow::datatypes::{Field, TimeUnit};
        let list = DataType::List(Field::new_list_field(DataType::Utf8, true).into());
        let nested = DataType::Struct(vec![Field::new("a", DataType::Int8, true)].into());
        for (data_type, expected) in [
            (DataType::UInt64, Some("numeric(20,0)")),
            (DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()), Some("text")),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), Some("timestamp")),
            (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), Some("timestamptz")),
            (DataType::Decimal128(10, 2), Some("numeric(10,2)")),
            (list, Some("text[]")),
            (nested, None),
        ] {
            assert_eq!(sql_type(&data_type).as_deref(), expected, "{data_type}");
        }
    }
}
