//! Datums written by apache-avro and read here; and datums that are none.

use apache_avro::types::Value;
use apache_avro::{Schema, to_avro_datum};

use super::{Header, Messages};

const ALL: &str = r#"{"type": "record", "name": "all", "namespace": "test.x", "fields": [
    {"name": "b", "type": "boolean"},
    {"name": "i", "type": "int"},
    {"name": "l", "type": ["null", "long"]},
    {"name": "f", "type": "float"},
    {"name": "d", "type": "double"},
    {"name": "bytes", "type": "bytes"},
    {"name": "s", "type": "string"},
    {"name": "e", "type": {"type": "enum", "name": "color", "symbols": ["red", "green"]}},
    {"name": "e2", "type": "color"},
    {"name": "a", "type": {"type": "array", "items": ["null", "int"]}},
    {"name": "m", "type": {"type": "map", "values": "string"}},
    {"name": "r", "type": {"type": "record", "name": "inner", "fields": [{"name": "x", "type": "long"}]}},
    {"name": "u", "type": ["null", "string", "inner"]},
    {"name": "fx", "type": {"type": "fixed", "name": "two", "size": 2}},
    {"name": "dec", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "tm", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "tu", "type": {"type": "long", "logicalType": "time-micros"}},
    {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "lts", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
    {"name": "ns", "type": {"type": "long", "logicalType": "timestamp-nanos"}}
]}"#;

fn messages(schema: &str) -> Messages {
    Messages::new(schema, Header::None).expect("a schema")
}

/// The document that a message is, or code and reason.
fn read(messages: &Messages, message: &[u8]) -> String {
    match messages.document(message) {
        Ok(document) => String::from_utf8(document).expect("JSON"),
        Err(error) => format!("{} {}", error.code().code(), error.report().message),
    }
}

fn all() -> Value {
    let fields: Vec<(&str, Value)> = vec![
        ("b", Value::Boolean(true)),
        ("i", Value::Int(i32::MIN)),
        ("l", Value::Union(1, Box::new(Value::Long(i64::MAX)))),
        ("f", Value::Float(0.1)),
        ("d", Value::Double(1e300)),
        ("bytes", Value::Bytes(vec![0, 255])),
        ("s", Value::String("a\"\n\u{1f600}".into())),
        ("e", Value::Enum(1, "green".into())),
        ("e2", Value::Enum(0, "red".into())),
        ("a", Value::Array(vec![Value::Union(1, Box::new(Value::Int(7))), Value::Union(0, Box::new(Value::Null))])),
        ("m", Value::Map([("k".to_owned(), Value::String("v".into()))].into())),
        ("r", Value::Record(vec![("x".into(), Value::Long(-1))])),
        ("u", Value::Union(2, Box::new(Value::Record(vec![("x".into(), Value::Long(5))])))),
        ("fx", Value::Fixed(2, vec![1, 2])),
        ("dec", Value::Decimal(vec![0xff, 0x85].into())),
        ("id", Value::Uuid("0190cafe-0000-7000-8000-0123456789ab".parse().expect("a UUID"))),
        ("day", Value::Date(-1)),
        ("tm", Value::TimeMillis(3_723_004)),
        ("tu", Value::TimeMicros(1)),
        ("ts", Value::TimestampMillis(1_767_225_600_001)),
        ("lts", Value::LocalTimestampMicros(-1)),
        ("ns", Value::TimestampNanos(1_000_000_001)),
    ];
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[test]
fn all_types() {
    let datum = to_avro_datum(&Schema::parse_str(ALL).expect("a schema"), all()).expect("a datum");
    let expected = concat!(
        r#"{"b":true,"i":-2147483648,"l":9223372036854775807,"f":0.1,"d":1e300,"bytes":"\\x00ff","s":"a\"\n😀","#,
        r#""e":"green","e2":"red","a":[7,null],"m":{"k":"v"},"r":{"x":-1},"u":{"x":5},"fx":"\\x0102","dec":-1.23,"#,
        r#""id":"0190cafe-0000-7000-8000-0123456789ab","day":"1969-12-31","tm":"01:02:03.004","tu":"00:00:00.000001","#,
        r#""ts":"2026-01-01T00:00:00.001Z","lts":"1969-12-31T23:59:59.999999","ns":"1970-01-01T00:00:01.000000001Z"}"#,
    );
    let messages = messages(ALL);
    assert_eq!(read(&messages, &datum), expected);
    // Cut off anywhere, or with something behind, it is no datum: nothing is guessed.
    for length in 0..datum.len() {
        let found = read(&messages, &datum[..length]);
        assert!(found.starts_with("22P03 "), "{length}: {found}");
    }
    let longer = [datum.as_slice(), b"x"].concat();
    assert!(read(&messages, &longer).starts_with("22P03 the message is not one datum of the schema: 1 bytes are left"));
    // Whatever a byte is changed to, the answer is a document or an error.
    for at in 0..datum.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = datum.clone();
            changed[at] = byte;
            let found = read(&messages, &changed);
            let is_json = serde_json::from_str::<serde_json::Value>(&found).is_ok();
            assert!(is_json || found.starts_with("22"), "{at} {byte}: {found}");
        }
    }
}

#[test]
fn announced_types() {
    let types = messages(ALL).types;
    let mut found: Vec<String> = types.iter().map(|(path, sql_type)| format!("{path} {}", sql_type.name())).collect();
    found.sort();
    let expected = [
        "a integer[]",
        "b boolean",
        "bytes bytea",
        "d double precision",
        "day date",
        "dec numeric(12,2)",
        "e text",
        "e2 text",
        "f real",
        "fx bytea",
        "i integer",
        "id uuid",
        "l bigint",
        "lts timestamp without time zone",
        "ns text",
        "r.x bigint",
        "s text",
        "tm time without time zone",
        "ts timestamp with time zone",
        "tu time without time zone",
    ];
    assert_eq!(found, expected);
}

/// A schema of one field.
fn one(sql_type: &str) -> Messages {
    messages(&format!(r#"{{"type": "record", "name": "r", "fields": [{{"name": "v", "type": {sql_type}}}]}}"#))
}

#[test]
fn values() {
    let decimal = r#"{"type": "fixed", "name": "f", "size": 3, "logicalType": "decimal", "precision": 6, "scale": 3}"#;
    let uuid = r#"{"type": "fixed", "name": "f", "size": 16, "logicalType": "uuid"}"#;
    let duration = r#"{"type": "fixed", "name": "f", "size": 12, "logicalType": "duration"}"#;
    let short = r#"{"type": "fixed", "name": "f", "size": 2, "logicalType": "duration"}"#;
    let date = r#"{"type": "int", "logicalType": "date"}"#;
    let time = r#"{"type": "int", "logicalType": "time-millis"}"#;
    let micros = r#"{"type": "long", "logicalType": "timestamp-micros"}"#;
    let big = r#"{"type": "bytes", "logicalType": "big-decimal"}"#;
    let zero_bytes = r#"{"type": "array", "items": "null"}"#;
    let huge = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let cases: &[(&str, &[u8], &str)] = &[
        (decimal, &[0, 0, 1], "0.001"),
        (decimal, &[0x80, 0, 0], "-8388.608"),
        (decimal, &[0, 0, 0], "0.000"),
        (big, &[10, 4, 0x04, 0xd2, 4, 0], "22P03"),
        (big, &[8, 4, 0x04, 0xd2, 4], "12.34"),
        (big, &[6, 2, 1, 3], "100"),
        (uuid, &[0x11; 16], "\"11111111-1111-1111-1111-111111111111\""),
        (duration, &[1, 0, 0, 0, 2, 0, 0, 0, 0xd1, 7, 0, 0], "\"1 mons 2 days 2.001 seconds\""),
        (short, &[1, 2], "\"\\\\x0102\""),
        (date, &[0], "\"1970-01-01\""),
        (date, &[0xfe, 0xff, 0xff, 0xff, 0x0f], "22008"),
        (time, &[0x80, 0xf0, 0xb2, 0x52], "\"24:00:00.000\""),
        (time, &[1], "22008"),
        (micros, huge, "22008"),
        (micros, b"\xfd\xff\xa2\xe4\xfe\xcc\xd4\xe1\x01", "\"0044-03-15T00:00:00.000001Z BC\""),
        ("\"float\"", &[0, 0, 0xc0, 0x7f], "\"NaN\""),
        ("\"float\"", &[0, 0, 0x80, 0xff], "\"-Infinity\""),
        ("\"double\"", &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f], "1.0"),
        ("\"boolean\"", &[2], "22P03"),
        ("\"string\"", &[4, b'a', 0xff], "22021"),
        // A length that is greater than what there is takes no memory.
        ("\"bytes\"", huge, "22P03"),
        ("\"bytes\"", &[1], "22P03"),
        ("\"int\"", huge, "22P03"),
        ("\"long\"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "22P03"),
        ("\"long\"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "22P03"),
        ("[\"null\", \"int\"]", &[4], "22P03"),
        ("[\"null\", \"int\"]", &[1], "22P03"),
        // A block with its length in bytes, then another.
        (r#"{"type": "array", "items": "int"}"#, &[3, 4, 2, 4, 2, 6, 0], "[1,2,3]"),
        (zero_bytes, &[4, 0], "[null,null]"),
        (zero_bytes, &[huge.as_slice(), &[0]].concat(), "54000"),
    ];
    for (sql_type, value, expected) in cases {
        let found = read(&one(sql_type), value);
        let found = found.strip_prefix("{\"v\":").and_then(|rest| rest.strip_suffix('}')).unwrap_or(&found[..5]);
        assert_eq!(found, *expected, "{sql_type} {value:?}");
    }
}

#[test]
fn schemas_that_contain_themselves() {
    let list = r#"{"type": "record", "name": "node", "fields": [
        {"name": "v", "type": "int"}, {"name": "next", "type": ["null", "node"]}]}"#;
    let list = messages(list);
    assert_eq!(read(&list, &[2, 2, 4, 0]), r#"{"v":1,"next":{"v":2,"next":null}}"#);
    assert!(read(&list, &[2, 2].repeat(500)).starts_with("54001 "));
    let endless = messages(r#"{"type": "record", "name": "r", "fields": [{"name": "r", "type": "r"}]}"#);
    assert!(read(&endless, &[]).starts_with("54001 "));
}

#[test]
fn headers() {
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "v", "type": "int"}]}"#;
    let any = Messages::new(schema, Header::Confluent(None)).expect("a schema");
    let seven = Messages::new(schema, Header::Confluent(Some(7))).expect("a schema");
    assert_eq!(read(&any, &[0, 0, 0, 0, 9, 2]), r#"{"v":1}"#);
    assert_eq!(read(&seven, &[0, 0, 0, 0, 7, 2]), r#"{"v":1}"#);
    assert_eq!(read(&seven, &[0, 0, 0, 0, 9, 2]), "22P03 the message has a schema of id 9, not 7");
    assert_eq!(read(&any, &[1, 0, 0, 0, 9, 2]), "22P03 the message does not begin with the header of a schema's id");
    assert_eq!(read(&any, &[0, 0, 0, 9]), "22P03 the message is shorter than the header of a schema's id");
}

#[test]
fn schemas_that_are_none() {
    let cases = [
        ("", "EOF while parsing a value"),
        ("{}", ""),
        ("\"int\"", "It must be a record or a map"),
        ("[\"null\"]", "It must be a record or a map"),
        (r#"{"type": "record", "name": "r", "fields": [{"name": "v", "type": "other"}]}"#, ""),
        (r#"{"type": "record", "name": "r", "fields": [{"name": "v v", "type": "int"}]}"#, ""),
    ];
    for (schema, detail) in cases {
        let error = Messages::new(schema, Header::None).expect_err(schema);
        assert_eq!(error.report().message, "option \"schema\" is not an Avro schema of documents");
        let found = error.report().detail.clone().unwrap_or_default();
        assert!(found.contains(detail), "{schema}: {found}");
    }
}
