//! Every form reads back as the value it was made from.

use super::*;

fn utc() -> Option<Arc<str>> {
    Some("UTC".into())
}

fn values() -> Vec<ScalarValue> {
    vec![
        ScalarValue::Boolean(Some(true)),
        ScalarValue::Int16(Some(-3)),
        ScalarValue::Int32(Some(i32::MIN)),
        ScalarValue::Int64(Some(i64::MAX)),
        ScalarValue::UInt32(Some(u32::MAX)),
        ScalarValue::Float32(Some(0.1)),
        ScalarValue::Float64(Some(1e-300)),
        ScalarValue::Float64(Some(f64::INFINITY)),
        ScalarValue::Float64(Some(f64::NEG_INFINITY)),
        ScalarValue::Date32(Some(19000)),
        ScalarValue::Date32(Some(i32::MAX)),
        ScalarValue::Time64Microsecond(Some(86_399_999_999)),
        ScalarValue::TimestampMicrosecond(Some(1_700_000_000_123_456), None),
        ScalarValue::TimestampMicrosecond(Some(-1), utc()),
        ScalarValue::TimestampMicrosecond(Some(i64::MAX), utc()),
        ScalarValue::TimestampMicrosecond(Some(i64::MIN), None),
        ScalarValue::Decimal128(Some(-12_345), 10, 2),
        ScalarValue::Decimal128(Some(5), 38, 16),
        ScalarValue::Utf8View(Some("a b".into())),
    ]
}

#[test]
fn raw_and_partition_forms_read_back() {
    for value in values() {
        let raw = raw_text(&value).unwrap();
        assert_eq!(raw_value(&raw, &value.data_type()), Some(value.clone()), "{raw}");
        let text = partition_text(&value);
        assert_eq!(partition_value(text.as_deref(), &value.data_type()).unwrap(), value, "{text:?}");
    }
}

#[test]
fn delta_spells_values_as_other_readers_expect() {
    let cases = [
        (
            ScalarValue::TimestampMicrosecond(Some(1_700_000_000_123_456), utc()),
            Some("\"2023-11-14T22:13:20.123456Z\""),
        ),
        (ScalarValue::TimestampMicrosecond(Some(1_700_000_000_000_000), None), Some("\"2023-11-14T22:13:20\"")),
        (ScalarValue::TimestampMicrosecond(Some(i64::MAX), None), None),
        (ScalarValue::Date32(Some(0)), Some("\"1970-01-01\"")),
        (ScalarValue::Date32(Some(i32::MAX)), None),
        (ScalarValue::Decimal128(Some(-12_345), 10, 2), Some("-123.45")),
        (
            ScalarValue::Decimal128(Some(99_999_999_999_999_999_999_999_999_999), 38, 2),
            Some("999999999999999999999999999.99"),
        ),
        (ScalarValue::Float64(Some(f64::INFINITY)), None),
        (ScalarValue::Float64(Some(0.1)), Some("0.1")),
    ];
    for (value, expected) in cases {
        assert_eq!(delta_json(&value).map(|json| json.to_string()).as_deref(), expected, "{value:?}");
    }
}

#[test]
fn sql_text_reads() {
    let cases = [
        ("t", ScalarValue::Boolean(Some(true))),
        ("\\x00ff", ScalarValue::BinaryView(Some(vec![0, 255]))),
        ("2020-01-01 00:00:00.5", ScalarValue::TimestampMicrosecond(Some(1_577_836_800_500_000), None)),
        ("2020-01-01 01:00:00+01", ScalarValue::TimestampMicrosecond(Some(1_577_836_800_000_000), utc())),
        ("infinity", ScalarValue::TimestampMicrosecond(Some(i64::MAX), utc())),
        ("-infinity", ScalarValue::Date32(Some(i32::MIN))),
        ("01:02:03.5", ScalarValue::Time64Microsecond(Some(3_723_500_000))),
        ("12.50", ScalarValue::Decimal128(Some(1250), 10, 2)),
        ("NaN", ScalarValue::Float64(Some(f64::NAN))),
        ("7", ScalarValue::UInt32(Some(7))),
        ("text", ScalarValue::Utf8View(Some("text".into()))),
    ];
    for (text, value) in cases {
        let read = sql_value(text, &value.data_type()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{value:?}"), "{text}");
    }
    assert!(sql_value("x", &DataType::Int32).is_err());
    assert!(sql_value("\\xzz", &DataType::BinaryView).is_err());
}

#[test]
fn intervals_read_back() {
    for (months, days, nanoseconds) in
        [(0, 0, 0), (14, 3, 4_000_000_000), (-1, i32::MIN, i64::MIN), (0, 0, 1), (i32::MAX, 0, -1000)]
    {
        let value = IntervalMonthDayNano { months, days, nanoseconds };
        assert_eq!(interval_value(&interval_text(value)), Some(value));
    }
    let value = IntervalMonthDayNano { months: 14, days: -3, nanoseconds: -14_706_500_000_000 };
    assert_eq!(interval_value("1 year 2 mons -3 days -04:05:06.5"), Some(value));
    assert_eq!(interval_value("1 parsec"), None);
}

#[test]
fn lists_read() {
    assert_eq!(list_elements("{}"), Some(vec![]));
    let expected = vec![Some("a".to_owned()), None, Some("NULL".to_owned()), Some("x,\"y\\".to_owned())];
    assert_eq!(list_elements(r#"{a,NULL,"NULL","x,\"y\\"}"#), Some(expected));
    assert_eq!(list_elements("{{1,2},{3}}"), Some(vec![Some("{1,2}".to_owned()), Some("{3}".to_owned())]));
    assert_eq!(list_elements("{a"), None);
    let list = DataType::List(Arc::new(arrow::datatypes::Field::new_list_field(DataType::Int32, true)));
    let ScalarValue::List(array) = sql_value("{1,NULL,3}", &list).unwrap() else { panic!("a list") };
    assert_eq!(format!("{:?}", array.value(0)), "PrimitiveArray<Int32>\n[\n  1,\n  null,\n  3,\n]");
}
