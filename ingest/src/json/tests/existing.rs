//! Values for columns that exist.

use super::*;

/// One value for one column: its text, or the error.
fn value(sql_type: &str, json: &str) -> String {
    let all = decode(table(&[&format!("v {sql_type}")]), JsonFormat::Lines, format!("{{\"v\":{json}}}").as_bytes(), 99);
    let [decoded] = all.as_slice() else { panic!("one batch") };
    match decoded.dead_letters.first() {
        None => text_of(decoded.batch.column(0), decoded.batch.schema().field(0), 0),
        Some(letter) => {
            assert_eq!(letter.column.as_deref(), Some("v"), "{json}");
            format!("{} {}", letter.error.code, letter.error.message)
        }
    }
}

#[test]
fn values_as_json_populate_record_converts_them() {
    // (type, JSON, text or SQLSTATE and message): as PostgreSQL's json_populate_record answers.
    let cases: &[(&str, &str, &str)] = &[
        ("integer", "12", "12"),
        ("integer", "-0", "0"),
        ("integer", "\"12\"", "12"),
        ("integer", "\" 12 \"", "12"),
        ("integer", "null", "∅"),
        ("integer", "1.0", "22P02 invalid input syntax for type integer: \"1.0\""),
        ("integer", "1e2", "22P02 invalid input syntax for type integer: \"1e2\""),
        ("integer", "2147483648", "22003 value \"2147483648\" is out of range for type integer"),
        ("integer", "true", "22P02 invalid input syntax for type integer: \"true\""),
        ("integer", "{\"a\": 1}", "22P02 invalid input syntax for type integer: \"{\"a\": 1}\""),
        ("smallint", "-32768", "-32768"),
        ("smallint", "32768", "22003 value \"32768\" is out of range for type smallint"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("bigint", "-9223372036854775808", "-9223372036854775808"),
        ("bigint", "9223372036854775808", "22003 value \"9223372036854775808\" is out of range for type bigint"),
        ("double precision", "0.1", "0.1"),
        ("double precision", "-0", "-0"),
        ("double precision", "-0.0", "-0"),
        ("double precision", "123456789.125", "123456789.125"),
        ("double precision", "1e-7", "1e-07"),
        ("double precision", "0.30000000000000004", "0.30000000000000004"),
        ("double precision", "123456789012345678901234567890", "1.2345678901234568e+29"),
        ("double precision", "1e400", "22003 \"1e400\" is out of range for type double precision"),
        ("double precision", "\"NaN\"", "NaN"),
        ("double precision", "\"Infinity\"", "Infinity"),
        ("real", "0.1", "0.1"),
        ("real", "16777217", "1.6777216e+07"),
        ("real", "1e39", "22003 \"1e39\" is out of range for type real"),
        ("numeric", "12345678901234567890.0123456789", "12345678901234567890.0123456789"),
        ("numeric(5,2)", "1.005", "1.01"),
        ("numeric(5,2)", "1e2", "100.00"),
        ("numeric(5,2)", "1000", "22003 numeric field overflow"),
        ("boolean", "true", "t"),
        ("boolean", "\"yes\"", "t"),
        ("boolean", "1", "t"),
        ("boolean", "2", "22P02 invalid input syntax for type boolean: \"2\""),
        ("text", "\"a\\u00e9\\n\\\"\\ud83d\\ude00\"", "aé\n\"😀"),
        ("text", "\"\"", ""),
        ("text", "12.50", "12.50"),
        ("text", "true", "true"),
        ("text", "{\"b\": [1,  2]}", "{\"b\": [1,  2]}"),
        ("text", "[1, \"x\"]", "[1, \"x\"]"),
        ("character varying(3)", "\"äöü\"", "äöü"),
        ("character varying(3)", "\"abc  \"", "abc"),
        ("character varying(3)", "\"abcd\"", "22001 value too long for type character varying(3)"),
        ("character varying(3)", "1234", "22001 value too long for type character varying(3)"),
        ("character(3)", "\"a\"", "a  "),
        ("date", "\"2024-02-29\"", "2024-02-29"),
        ("date", "\"2023-02-29\"", "22008 date/time field value out of range: \"2023-02-29\""),
        ("timestamp", "\"2024-01-02T03:04:05\"", "2024-01-02 03:04:05"),
        ("timestamptz", "\"2024-01-02T03:04:05.5+02:00\"", "2024-01-02 01:04:05.5+00"),
        (
            "timestamptz",
            "\"yesterday evening\"",
            "22007 invalid input syntax for type timestamp with time zone: \"yesterday evening\"",
        ),
        ("timestamptz", "1704164645", "22008 date/time field value out of range: \"1704164645\""),
        ("time", "\"03:04:05\"", "03:04:05"),
        ("interval", "\"1 day 2 hours\"", "1 day 02:00:00"),
        ("uuid", "\"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11\"", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("uuid", "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("uuid", "\"x\"", "22P02 invalid input syntax for type uuid: \"x\""),
        ("bytea", "\"\\\\x00ff\"", "\\x00ff"),
        ("json", "{\"b\":1,  \"a\":[ ]}", "{\"b\":1,  \"a\":[ ]}"),
        ("json", "\"x\"", "\"x\""),
        ("json", "1.50", "1.50"),
        ("jsonb", "{\"bb\":1,  \"a\":[ ], \"bb\":2}", "{\"a\": [], \"bb\": 2}"),
        ("jsonb", "\"x\\ny\"", "\"x\\ny\""),
        ("jsonb", "true", "true"),
        ("jsonb", "1e2", "100"),
        ("jsonb", "null", "∅"),
        ("integer[]", "[1, null, \"3\"]", "{1,NULL,3}"),
        ("integer[]", "[]", "{}"),
        ("integer[]", "\"{4,5}\"", "{4,5}"),
        ("integer[]", "1", "22P02 expected JSON array"),
        ("integer[]", "{\"a\":1}", "22P02 expected JSON array"),
        ("integer[]", "[1, \"x\"]", "22P02 invalid input syntax for type integer: \"x\""),
        ("integer[]", "[[1]]", "0A000 a value of type integer[] cannot have more dimensions than its declaration"),
        ("integer[][]", "[[1, 2], [3, 4]]", "{{1,2},{3,4}}"),
        ("integer[][]", "[[1, 2], [3]]", "22P02 malformed JSON array"),
        ("integer[][]", "[[1, 2], 3]", "22P02 expected JSON array"),
        ("integer[][]", "\"{{1,2},{3,4}}\"", "{{1,2},{3,4}}"),
        ("text[]", "[\"a\", \"b,c\", \"\", \"q\\\"\", 1, true]", "{a,\"b,c\",\"\",\"q\\\"\",1,true}"),
        ("jsonb[]", "[{\"a\": 1}, 2, \"x\"]", "{\"{\\\"a\\\": 1}\",2,\"\\\"x\\\"\"}"),
        ("timestamptz[]", "[\"2024-01-02T03:04:05Z\"]", "{\"2024-01-02 03:04:05+00\"}"),
    ];
    for (sql_type, json, expected) in cases {
        assert_eq!(&value(sql_type, json), expected, "{json} as {sql_type}");
    }
}

#[test]
fn rows_and_their_columns() {
    let t = table(&["id bigint not null", "name text", "at timestamptz not null default", "n integer default"]);
    // What no row mentions is not shown, and gets its default.
    check(&t, "{\"id\":1}", "id=1");
    let all = decode(t.clone(), JsonFormat::Lines, b"{\"id\":1}\n{\"id\":2}", 99);
    let defaults: Vec<_> = all[0].defaults.iter().map(|d| (d.column, d.rows.count_set_bits())).collect();
    assert_eq!((defaults, all[0].mentioned.as_slice()), (vec![(2, 2), (3, 2)], &[true, false, false, false][..]));
    check(&t, r#"{"id":1,"name":"a"}"#, "id=1 name=a");
    check(
        &t,
        r#"{"id":1,"n":5}
           {"id":2,"at":"2024-01-01T00:00:00Z"}
           {"n":null,"id":3}
           {"name":"x","id":4,"n":7}"#,
        "id=1 name=∅ at=default n=5
         id=2 name=∅ at=2024-01-01 00:00:00+00 n=default
         id=3 name=∅ at=default n=∅
         id=4 name=x at=default n=7",
    );
    check(
        &t,
        "{\"name\":\"x\"}",
        "! 23502 id: null value in column \"id\" of relation \"t\" violates not-null constraint",
    );
    check(
        &t,
        "{\"id\":null}",
        "! 23502 id: null value in column \"id\" of relation \"t\" violates not-null constraint",
    );
    check(
        &t,
        "{\"id\":1,\"at\":null}",
        "! 23502 at: null value in column \"at\" of relation \"t\" violates not-null constraint",
    );
    // A bad value takes its row only, and nothing of it stays.
    check(
        &t,
        r#"{"id":1,"name":"a","n":1}
           {"id":2,"name":"b","n":"x"}
           {"id":3,"name":"c","n":3}"#,
        "id=1 name=a n=1
         id=3 name=c n=3
         ! 22P02 n: invalid input syntax for type integer: \"x\"",
    );
}

#[test]
fn names_of_existing_columns() {
    let t = table(&["a integer", "B integer", "long_name text"]);
    check(&t, r#"{"A":1,"B":2,"Long_Name":"x"}"#, "a=1 B=2 long_name=x");
    check(&t, r#"{"\u0061":1}"#, "a=1");
    // An exact name wins over one that only folds to it.
    check(&t, r#"{"b":2}"#, "! 42703 b: column \"b\" of relation \"t\" does not exist");
    check(&t, r#"{"A":1,"a":2}"#, "! 42703 A: column \"a\" of relation \"t\" does not exist");
    let rest = table(&["a integer", "_rest jsonb"]);
    check(&rest, r#"{"A":1,"a":2,"c":{"x":[1,2]}}"#, r#"a=2 _rest={"A": 1, "c": {"x": [1, 2]}}"#);
    check(&rest, r#"{"_rest":{"b":1},"a":1}"#, r#"a=1 _rest={"_rest": {"b": 1}}"#);
    // The last of equal keys wins, as in jsonb.
    check(&rest, r#"{"a":1,"a":"x","a":3}"#, "! 22P02 a: invalid input syntax for type integer: \"x\"");
    check(&rest, r#"{"a":1,"z":1,"a":3,"z":2}"#, r#"a=3 _rest={"z": 2}"#);
}
