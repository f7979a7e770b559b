//! New columns, wider columns, names, `_rest`.

use super::*;
use crate::SchemaChange;

#[test]
fn inference() {
    // (value, type, text of the value in it)
    let cases: &[(&str, &str, &str)] = &[
        ("true", "boolean", "t"),
        ("1", "bigint", "1"),
        ("-0", "bigint", "0"),
        ("9223372036854775807", "bigint", "9223372036854775807"),
        ("9223372036854775808", "numeric", "9223372036854775808"),
        ("-9223372036854775808", "bigint", "-9223372036854775808"),
        ("12345678901234567890123456789012", "jsonb", "12345678901234567890123456789012"),
        ("1.5", "double precision", "1.5"),
        ("1e5", "double precision", "100000"),
        ("0.30000000000000004", "double precision", "0.30000000000000004"),
        ("0.1234567890123456", "double precision", "0.1234567890123456"),
        ("12345.6789012345678901", "numeric", "12345.6789012345678901"),
        ("0.12345678901234567890123", "jsonb", "0.12345678901234567890123"),
        ("1e400", "jsonb", &format!("1{}", "0".repeat(400))),
        ("\"2024-01-02\"", "date", "2024-01-02"),
        ("\"2024-13-02\"", "text", "2024-13-02"),
        ("\"2024-01-02T03:04:05Z\"", "timestamp with time zone", "2024-01-02 03:04:05+00"),
        ("\"2024-01-02 03:04:05.123456+02:00\"", "timestamp with time zone", "2024-01-02 01:04:05.123456+00"),
        ("\"2024-01-02T03:04:05.123456789Z\"", "text", "2024-01-02T03:04:05.123456789Z"),
        ("\"2024-01-02T03:04:05.123000000Z\"", "timestamp with time zone", "2024-01-02 03:04:05.123+00"),
        ("\"2024-01-02T03:04:05\"", "timestamp without time zone", "2024-01-02 03:04:05"),
        ("\"2024-01-02T03:04\"", "text", "2024-01-02T03:04"),
        ("\"0190cafe-0000-7000-8000-0123456789AB\"", "uuid", "0190cafe-0000-7000-8000-0123456789ab"),
        ("\"now\"", "text", "now"),
        ("\"infinity\"", "text", "infinity"),
        ("\"\"", "text", ""),
        ("[1,2]", "bigint[]", "{1,2}"),
        ("[1,null,2.5]", "double precision[]", "{1,NULL,2.5}"),
        ("[9007199254740993,0.5]", "numeric[]", "{9007199254740993,0.5}"),
        ("[\"a\",\"2024-01-02\"]", "text[]", "{a,2024-01-02}"),
        ("[\"2024-01-02\"]", "date[]", "{2024-01-02}"),
        ("[true]", "boolean[]", "{t}"),
        ("[]", "jsonb", "[]"),
        ("[null]", "jsonb", "[null]"),
        ("[1,\"a\"]", "jsonb", "[1, \"a\"]"),
        ("[[1]]", "jsonb", "[[1]]"),
        ("[{\"b\":1}]", "jsonb", "[{\"b\": 1}]"),
        ("[1,1e400]", "jsonb", &format!("[1, 1{}]", "0".repeat(400))),
        ("{\"b\": 1}", "jsonb", "{\"b\": 1}"),
    ];
    for (json, sql_type, text) in cases {
        check(&adding(&["id bigint"]), &format!("{{\"v\":{json}}}"), &format!("+ v {sql_type}\nv={text}"));
    }
    // NULL needs no column.
    check(&adding(&["id bigint"]), r#"{"id":1,"v":null}"#, "id=1");
}

#[test]
fn rows_of_a_batch_that_disagree() {
    let cases: &[(&[&str], &str)] = &[
        // The first decides …
        (&["1", "\"x\""], "+ v bigint\nv=1\n! 22P02 v: invalid input syntax for type bigint: \"x\""),
        (&["1", "true"], "+ v bigint\nv=1\n! 22P02 v: invalid input syntax for type bigint: \"true\""),
        (&["\"x\"", "1", "{\"a\":1}"], "+ v text\nv=x\nv=1\nv={\"a\":1}"),
        // … unless a type holds all of them.
        (&["1", "2.5", "null", "3"], "+ v double precision\nv=1\nv=2.5\nv=∅\nv=3"),
        (&["9007199254740993", "0.5"], "+ v numeric\nv=9007199254740993\nv=0.5"),
        (&["0.5", "9007199254740993"], "+ v numeric\nv=0.5\nv=9007199254740993"),
        (&["1", "9223372036854775808"], "+ v numeric\nv=1\nv=9223372036854775808"),
        (&["1e300", "9007199254740993"], "+ v double precision\nv=1e+300\nv=9.007199254740992e+15"),
        (
            &["\"2024-01-02\"", "\"2024-01-02T03:04:05Z\""],
            "+ v timestamp with time zone\nv=2024-01-02 00:00:00+00\nv=2024-01-02 03:04:05+00",
        ),
        (&["\"2024-01-02\"", "\"beta\"", "\"2024-01-03\""], "+ v text\nv=2024-01-02\nv=beta\nv=2024-01-03"),
        (&["\"2024-01-02T03:04:05Z\"", "null", "\"beta\""], "+ v text\nv=2024-01-02T03:04:05Z\nv=∅\nv=beta"),
        (
            &["\"0190CAFE-0000-7000-8000-0123456789ab\"", "\"x\""],
            "+ v text\nv=0190CAFE-0000-7000-8000-0123456789ab\nv=x",
        ),
        (&["[1]", "[2.5]", "null"], "+ v double precision[]\nv={1}\nv={2.5}\nv=∅"),
    ];
    for (values, expected) in cases {
        let documents: String = values.iter().map(|value| format!("{{\"v\":{value},\"id\":1}}\n")).collect();
        let with_id = expected.lines().map(|line| match line.split_once("v=") {
            Some(("", value)) => format!("id=1 v={value}\n"),
            _ => format!("{line}\n"),
        });
        check(&adding(&["id bigint"]), &documents, &with_id.collect::<String>());
    }
}

#[test]
fn the_next_batch_has_the_columns_of_the_last() {
    let mut t = adding(&["id bigint"]);
    t.limits.batch_rows = 1;
    check(
        &t,
        "{\"v\":1}\n{\"v\":\"x\"}\n{\"v\":2.5}\n{\"v\":2,\"w\":true}\n{\"w\":false}",
        "+ v bigint\nv=1\n! 22P02 v: invalid input syntax for type bigint: \"x\"\n! 22P02 v: invalid input syntax for type bigint: \"2.5\"
         + w boolean\nv=2 w=t\nw=f",
    );
}

#[test]
fn a_refused_row_adds_no_column() {
    check(
        &adding(&["id bigint"]),
        r#"{"v":1,"id":"x"}
           {"v":"text","id":2}"#,
        "+ v text\nid=2 v=text\n! 22P02 id: invalid input syntax for type bigint: \"x\"",
    );
    check(&adding(&["id bigint"]), r#"{"v":1,"v":"text","w":1,"w":null}"#, "+ v text\n+ w bigint\nv=text w=∅");
}

#[test]
fn widening() {
    let t = TableShape {
        evolve: Evolve::Widen,
        ..table(&["a smallint", "b integer", "c bigint", "d real", "e double precision", "f date", "g numeric(4,1)"])
    };
    let cases: &[(&str, &str)] = &[
        (
            r#"{"a":1} {"a":40000} {"a":3000000000} {"a":0.5}"#,
            "~ a smallint → numeric\na=1\na=40000\na=3000000000\na=0.5",
        ),
        (r#"{"b":1} {"b":3000000000}"#, "~ b integer → bigint\nb=1\nb=3000000000"),
        (
            r#"{"c":1} {"c":18446744073709551615} {"c":"x"}"#,
            "~ c bigint → numeric\nc=1\nc=18446744073709551615\n! 22P02 c: invalid input syntax for type numeric: \"x\"",
        ),
        (r#"{"c":1e300}"#, "! 22P02 c: invalid input syntax for type bigint: \"1e300\""),
        (r#"{"d":0.5} {"d":0.1} {"d":0.123456789}"#, "~ d real → double precision\nd=0.5\nd=0.1\nd=0.123456789"),
        (r#"{"e":0.1} {"e":"x"}"#, "e=0.1\n! 22P02 e: invalid input syntax for type double precision: \"x\""),
        (
            r#"{"f":"2024-01-02"} {"f":"2024-01-02T03:04:05Z"}"#,
            "~ f date → timestamp with time zone\nf=2024-01-02 00:00:00+00\nf=2024-01-02 03:04:05+00",
        ),
        (
            r#"{"g":12345}"#,
            "! 22003 g: numeric field overflow (A field with precision 4, scale 1 must round to an absolute value less than 10^3.)",
        ),
        (r#"{"h":1} {"h":2.5}"#, "+ h double precision\nh=1\nh=2.5"),
    ];
    for (documents, expected) in cases {
        check(&t, documents, expected);
    }
}

#[test]
fn names() {
    let cases: &[(&str, &str)] = &[
        (r#"{"userId":1}"#, "+ userid bigint for userId\nuserid=1"),
        (
            r#"{"":1,"__proto__":2,"😀":3,"a b":4,"É":5}"#,
            "+ _ bigint for \"\"\n+ __proto__ bigint\n+ 😀 bigint\n+ a b bigint\n+ É bigint\n_=1 __proto__=2 😀=3 a b=4 É=5",
        ),
        (r#"{"a":1,"A":2} {"A":3} {"a":4}"#, "+ a bigint\n+ A bigint beside a\na=1 A=2\na=∅ A=3\na=4 A=∅"),
        (
            r#"{"A":1,"a":2} {"A":3} {"a":4}"#,
            "+ a bigint for A\n+ a_1 bigint for a beside a\na=1 a_1=2\na=3 a_1=∅\na=∅ a_1=4",
        ),
        (r#"{"A":1} {"a":4}"#, "+ a bigint for A\na=1\na=4"),
        (
            r#"{"aB":1,"Ab":2,"AB":3}"#,
            "+ ab bigint for aB\n+ Ab bigint beside ab\n+ AB bigint beside ab\nab=1 Ab=2 AB=3",
        ),
        (r#"{"ctid":1}"#, "+ ctid_1 bigint for ctid\nctid_1=1"),
        (r#"{"_rest":1}"#, "+ _rest_1 bigint for _rest\n_rest_1=1"),
        (r#"{"a\"b":1,"a\\":2} {"a\\":3,"a\"b":4}"#, "+ a\"b bigint\n+ a\\ bigint\na\"b=1 a\\=2\na\"b=4 a\\=3"),
    ];
    for (documents, expected) in cases {
        check(&adding(&["id bigint"]), documents, expected);
    }
    let long = "n".repeat(64);
    check(
        &adding(&["id bigint"]),
        &format!("{{\"id\":1,\"{long}\":2}}"),
        &format!("+ _rest jsonb for {long}\nid=1 _rest={{\"{long}\": 2}}"),
    );
    let strict = TableShape { rest: false, ..adding(&["id bigint"]) };
    check(
        &strict,
        &format!("{{\"id\":1,\"{long}\":2}}"),
        &format!("! 42622 {long}: the name of field \"{long}\" cannot be one of a column"),
    );
}

#[test]
fn a_column_that_is_known_to_be_another_fields() {
    let column =
        |name: &str, field: &str| ShapeColumn { field: Some(field.into()), ..ShapeColumn::new(name, SqlType::Int8) };
    let t = TableShape {
        columns: vec![column("a", "A"), column("a_1", "a"), column("x_y_1", "x.y")],
        ..flattening(3, &[])
    };
    check(&t, r#"{"A":1,"a":2,"x":{"y":3}} {"a":4}"#, "a=1 a_1=2 x_y_1=3\na=∅ a_1=4 x_y_1=∅");
}

#[test]
fn flattening_objects() {
    let cases: &[(&str, &str)] = &[
        (
            r#"{"a":{"b":1,"c":{"D":"x"}},"e":2}"#,
            "+ a_b bigint for a.b\n+ a_c_d text for a.c.D\n+ e bigint\na_b=1 a_c_d=x e=2",
        ),
        (r#"{"a":{"b":{"c":{"d":1}}}}"#, "+ a_b_c jsonb for a.b.c\na_b_c={\"d\": 1}"),
        (r#"{"a":{"b":1},"a_b":2}"#, "+ a_b bigint for a.b\n+ a_b_1 bigint for a_b beside a_b\na_b=1 a_b_1=2"),
        (r#"{"a_b":2,"a":{"b":1}}"#, "+ a_b bigint\n+ a_b_1 bigint for a.b beside a_b\na_b=2 a_b_1=1"),
        (r#"{"a":1} {"a":{"b":2}}"#, "+ a bigint\n+ a_b bigint for a.b\na=1 a_b=∅\na=∅ a_b=2"),
        (r#"{"a":{}}"#, "+ _rest jsonb for a\n_rest={\"a\": {}}"),
        (r#"{"id":1,"a":{"b":null}}"#, "id=1"),
        (r#"{"j":{"b":1}}"#, "j={\"b\": 1}"),
        (r#"{"a":{"b":1},"a":{"c":2}}"#, "+ a_b bigint for a.b\n+ a_c bigint for a.c\na_b=1 a_c=2"),
    ];
    for (documents, expected) in cases {
        check(&flattening(2, &["id bigint", "j jsonb"]), documents, expected);
    }
}

#[test]
fn fields_beyond_the_limit_go_to_rest() {
    let mut t = flattening(2, &["id bigint"]);
    t.limits.columns_max = 2;
    check(
        &t,
        r#"{"id":1,"a":1,"b":2,"c":{"d":"\"x","e":{"f":null,"g":[1]}},"h":{"i":1.50}}
           {"b":null,"a":2}"#,
        "+ a bigint\n+ _rest jsonb for b
         id=1 a=1 _rest={\"b\": 2, \"c\": {\"d\": \"\\\"x\", \"e\": {\"g\": [1]}}, \"h\": {\"i\": 1.50}}
         id=∅ a=2 _rest=∅",
    );
    let strict = TableShape { rest: false, ..t };
    check(&strict, r#"{"id":1,"a":1,"b":2}"#, "! 54011 b: tables can have at most 2 columns");
}

/// A source with endless names fills neither the table nor the memory, and loses nothing.
#[test]
fn endless_keys() {
    let mut t = adding(&["id bigint"]);
    t.limits.columns_max = 10;
    let mut documents = String::new();
    for n in 0..200 {
        documents.push('{');
        for m in 0..1_000 {
            write!(documents, "\"k{}\":{m},", n * 1_000 + m).unwrap();
        }
        documents.push_str("\"id\":1}\n");
    }
    let all = decode(t, JsonFormat::Lines, documents.as_bytes(), 64 * 1024);
    let (rows, rest) = all.iter().fold((0, 0), |(rows, rest), d| (rows + d.counts.rows, rest + d.counts.rest_values));
    assert_eq!((rows, rest), (200, 200_000 - 9));
    let changes: usize = all.iter().map(|decoded| decoded.changes.len()).sum();
    assert_eq!(changes, 10);
}

/// Two writers decode for the same table; one commits first.
#[test]
fn changes_of_others() {
    let t = TableShape { evolve: Evolve::Widen, ..table(&["id integer", "n integer"]) };
    let all = decode(t, JsonFormat::Lines, b"{\"id\":1,\"v\":1,\"n\":3000000000}", 99);
    let cases: &[(&[&str], Option<&[&str]>)] = &[
        (&["id integer", "n integer"], Some(&["v", "n"])),
        (&["id integer", "n integer", "w text"], Some(&["v", "n"])),
        (&["id integer", "n integer", "v bigint"], Some(&["n"])),
        (&["id integer", "n bigint", "v bigint"], Some(&[])),
        (&["id integer", "n integer", "v text"], None),
        (&["id integer", "n numeric"], None),
        (&["n integer"], None),
        (&["id integer", "n integer", "w text not null"], None),
    ];
    for (columns, expected) in cases {
        let changes = all[0].changes_on(&table(columns));
        let names = changes.as_ref().map(|changes| changes.iter().map(SchemaChange::column).collect::<Vec<_>>());
        assert_eq!(names.as_deref(), *expected, "{columns:?}");
    }
}

#[test]
fn lossless_columns_take_what_they_give_back() {
    // (type of the column, value, what it is there; or the type that would do)
    let cases = [
        ("bigint", "7", Ok("7")),
        ("bigint", "\"7\"", Err("text")),
        ("bigint", "7.0", Err("double precision")),
        ("bigint", "true", Err("boolean")),
        ("integer", "3000000000", Err("bigint")),
        ("double precision", "7", Ok("7")),
        ("double precision", "9007199254740993", Err("bigint")),
        ("double precision", "0.12345678901234567890123", Err("jsonb")),
        ("real", "0.123456789", Err("double precision")),
        ("numeric", "0.1", Ok("0.1")),
        ("numeric(5,2)", "0.123", Err("double precision")),
        ("numeric", "1e400", Err("jsonb")),
        ("text", "007", Err("")),
        ("text", "1.50", Ok("1.50")),
        ("text", "true", Ok("true")),
        ("text", "[1]", Err("bigint[]")),
        ("text", "{}", Err("jsonb")),
        ("boolean", "\"t\"", Err("text")),
        ("date", "\"2024-01-02\"", Ok("2024-01-02")),
        ("date", "\"2024-01-02T00:00:00\"", Err("timestamp without time zone")),
        ("timestamp", "\"2024-01-02\"", Ok("2024-01-02 00:00:00")),
        ("timestamp", "\"2024-01-02T03:04:05Z\"", Err("timestamp with time zone")),
        ("timestamptz", "\"2024-01-02T03:04:05Z\"", Ok("2024-01-02 03:04:05+00")),
        ("timestamptz", "\"now\"", Err("text")),
        ("timestamptz", "1", Err("bigint")),
        ("uuid", "\"0190cafe-0000-7000-8000-0123456789ab\"", Ok("0190cafe-0000-7000-8000-0123456789ab")),
        ("uuid", "\"{0190cafe000070008000-0123456789ab}\"", Err("text")),
        ("bigint[]", "[]", Ok("{}")),
        ("bigint[]", "[1,null]", Ok("{1,NULL}")),
        ("bigint[]", "[1,\"2\"]", Err("jsonb")),
        ("bigint[]", "[[1]]", Err("jsonb")),
        ("bigint[]", "\"{1}\"", Err("text")),
        ("jsonb", "\"x\"", Ok("\"x\"")),
        ("bytea", "\"x\"", Err("text")),
    ];
    for (column, value, expected) in cases {
        let shape = TableShape { evolve: Evolve::Lossless, ..table(&[&format!("v {column}")]) };
        let mut decoder = JsonDecoder::new(JsonFormat::Lines, shape, TextSettings::default());
        decoder.push(format!("{{\"v\":{value}}}\n").as_bytes());
        decoder.finish();
        let decoded = decoder.take_batch().unwrap();
        let found = match decoded.dead_letters.first() {
            None => Ok(text_of(decoded.batch.column(0), decoded.batch.schema().field(0), 0)),
            Some(letter) => Err(letter.value_type.as_ref().map_or(String::new(), SqlType::name)),
        };
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{value} in {column}");
    }
}
