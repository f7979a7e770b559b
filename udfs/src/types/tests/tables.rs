//! Literal results of PostgreSQL 15, which `udfs/tests/oracle/compare.py` recorded, and what it cannot be asked for.

use super::*;

#[test]
fn as_postgresql() {
    if let Ok(path) = std::env::var("TIDEMILL_ORACLE_CASES") {
        write_answers(&path);
    }
    let mut settings = TextSettings::default();
    let mut wrong = vec![];
    let mut count = 0;
    for line in include_str!("postgres15.txt").lines() {
        let [first, second, third] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if first == "set" {
            set(&mut settings, second, third);
            continue;
        }
        let text: String = serde_json::from_str(second).unwrap();
        let expected: String = serde_json::from_str(third).unwrap();
        let result = through(first, &text, &settings);
        if result != expected {
            wrong.push(format!("{first} {text:?}: {result:?}, PostgreSQL {expected:?}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 500, "the recorded cases are there");
}

/// numeric without precision has fixed limits here.
#[test]
fn unconstrained_numeric() {
    let cases = [
        ("1.50", "1.5"),
        ("100", "100"),
        ("-0.0000000000000001", "-0.0000000000000001"),
        ("9999999999999999999999.9999999999999999", "9999999999999999999999.9999999999999999"),
        ("1e21", "1000000000000000000000"),
        ("0.10000000000000000000", "0.1"),
        ("0", "0"),
        ("-0.0", "0"),
    ];
    for (text, expected) in cases {
        assert_eq!(through("numeric", text, &TextSettings::default()), expected, "{text}");
    }
    for text in ["10000000000000000000000", "0.00000000000000001", "1e22", "1e-17", "-1.23456789012345678"] {
        let result = through("numeric", text, &TextSettings::default());
        assert!(result.starts_with(&format!("!22003 value \"{text}\" does not fit type numeric|")), "{result}");
        assert!(result.ends_with("Declare a precision and scale of up to 38 digits, such as numeric(38,20)."));
    }
}

#[test]
fn relative_to_now() {
    // 2024-03-31 00:30 UTC is 01:30 in Berlin, half an hour before the clock is moved.
    let berlin = zone_by_name("europe/berlin").unwrap();
    let settings = TextSettings { time_zone: berlin, now_us: 1_711_845_000_000_000, ..TextSettings::default() };
    let cases = [
        ("timestamptz", "now", "2024-03-31 01:30:00+01"),
        ("timestamp", "now", "2024-03-31 01:30:00"),
        ("timestamptz", "today", "2024-03-31 00:00:00+01"),
        ("timestamptz", "tomorrow", "2024-04-01 00:00:00+02"),
        ("timestamptz", "yesterday 12:00", "2024-03-30 12:00:00+01"),
        ("timestamptz", "2024-03-31 02:30", "2024-03-31 03:30:00+02"),
        ("timestamptz", "2024-10-27 02:30", "2024-10-27 02:30:00+01"),
        ("date", "tomorrow", "2024-04-01"),
        ("time", "now", "01:30:00"),
    ];
    for (name, text, expected) in cases {
        assert_eq!(through(name, text, &settings), expected, "{name} {text}");
    }
}

/// `send` functions' results.
#[test]
fn binary_forms() {
    let cases = [
        ("bool", "t", "01"),
        ("int2", "-2", "fffe"),
        ("int4", "258", "00000102"),
        ("int8", "-1", "ffffffffffffffff"),
        ("float4", "1.5", "3fc00000"),
        ("float8", "-0.1", "bfb999999999999a"),
        ("oid", "4294967295", "ffffffff"),
        ("numeric(10,2)", "0", "0000000000000002"),
        ("numeric(10,2)", "12345.67", "0003000100000002000109291a2c"),
        ("numeric(10,2)", "-0.05", "0001ffff4000000201f4"),
        ("numeric(20,5)", "10000", "00010001000000050001"),
        (
            "numeric(38,0)",
            "99999999999999999999999999999999999999",
            "000a0009000000000063270f270f270f270f270f270f270f270f270f",
        ),
        ("numeric(38,38)", "0.00000000000000000000000000000000000001", "0001fff6000000260064"),
        ("numeric", "1.50", "000200000000000100011388"),
        ("text", "é", "c3a9"),
        ("char(3)", "a", "612020"),
        ("bytea", "\\x0102", "0102"),
        ("date", "2000-01-02", "00000001"),
        ("date", "infinity", "7fffffff"),
        ("time", "00:00:01", "00000000000f4240"),
        ("timestamp", "2000-01-01 00:00:01", "00000000000f4240"),
        ("timestamptz", "-infinity", "8000000000000000"),
        ("interval", "1 mon 2 days 00:00:01", "00000000000f42400000000200000001"),
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"),
        ("json", "{ }", "7b207d"),
        ("jsonb", "{ }", "017b7d"),
        ("int4[]", "{1,NULL}", "00000001000000010000001700000002000000010000000400000001ffffffff"),
        ("int4[]", "{}", "000000000000000000000017"),
        (
            "int4[][]",
            "{{1},{2}}",
            "0000000200000000000000170000000200000001000000010000000100000004000000010000000400000002",
        ),
        ("int2vector", "1", "0000000100000000000000150000000100000000000000020001"),
    ];
    for (name, text, expected) in cases {
        let sql_type = SqlType::parse(name).unwrap();
        let mut parser = ColumnParser::new(&sql_type, &TextSettings::default()).unwrap();
        parser.push(text.as_bytes()).unwrap();
        let encoder = ColumnEncoder::new(&parser.finish(), &sql_type, &TextSettings::default()).unwrap();
        let mut out = vec![];
        encoder.write_binary(0, &mut out);
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "{name} {text}");
        // Every shorter message is refused or another value, and never a panic.
        for end in 0..out.len() {
            let mut parser = ColumnParser::new(&sql_type, &TextSettings::default()).unwrap();
            let _ = parser.push_binary(&out[..end]);
        }
    }
}

#[test]
fn arrays_of_the_engine() {
    use arrow::array::{Int8Array, StringDictionaryBuilder, TimestampNanosecondArray, UInt64Array};
    let text = |array: ArrayRef| {
        let field = Field::new("x", array.data_type().clone(), true);
        let texts = array_to_text(&array, &field, &TextSettings::default()).unwrap();
        texts.iter().map(|text| text.unwrap_or("NULL").to_owned()).collect::<Vec<_>>()
    };
    let mut dictionary = StringDictionaryBuilder::<arrow::datatypes::Int32Type>::new();
    dictionary.append_value("a");
    dictionary.append_null();
    assert_eq!(text(Arc::new(dictionary.finish())), ["a", "NULL"]);
    assert_eq!(text(Arc::new(Int8Array::from(vec![-1]))), ["-1"]);
    assert_eq!(text(Arc::new(UInt64Array::from(vec![7]))), ["7"]);
    assert_eq!(text(Arc::new(TimestampNanosecondArray::from(vec![1_500_000_000]))), ["1970-01-01 00:00:01.5"]);
    assert_eq!(text(Arc::new(arrow::array::NullArray::new(2))), ["NULL", "NULL"]);
    assert_eq!(text(Arc::new(arrow::array::BooleanArray::from(vec![true]))), ["true"]);
    let large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    let error = ColumnEncoder::new(&large, &SqlType::Int8, &TextSettings::default()).err().unwrap();
    assert_eq!((error.code, error.message.as_str()), ("22003", "bigint out of range"));
    let record = arrow::array::StructArray::from(vec![
        (
            Arc::new(Field::new("a", DataType::Int32, true)),
            Arc::new(arrow::array::Int32Array::from(vec![1])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(arrow::array::StringArray::from(vec!["x \"y"])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("c", DataType::Int32, true)),
            Arc::new(arrow::array::Int32Array::from(vec![None])) as ArrayRef,
        ),
    ]);
    assert_eq!(text(Arc::new(record)), ["(1,\"x \"\"y\",)"]);
}

#[test]
fn text_casts() {
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("7"), None, Some("x")]));
    let error = array_from_text(&texts, &SqlType::Int4, &TextSettings::default()).unwrap_err();
    assert_eq!(error.message, "invalid input syntax for type integer: \"x\"");
    let numbers = array_from_text(&texts.slice(0, 2), &SqlType::Int4, &TextSettings::default()).unwrap();
    assert_eq!(numbers.as_primitive::<arrow::datatypes::Int32Type>().iter().collect::<Vec<_>>(), [Some(7), None]);
    let value = parse_scalar(&SqlType::Bool, "yes", &TextSettings::default()).unwrap();
    assert_eq!(value, ScalarValue::Boolean(Some(true)));
    assert_eq!(truncate_text("äöüß", &SqlType::Varchar(Some(3))), "äöü");
    assert_eq!(truncate_text("a  ", &SqlType::Char(2)), "a");
    assert_eq!(truncate_text("a  ", &SqlType::Text), "a  ");
}
