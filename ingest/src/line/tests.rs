//! Lines in, rows of several tables out.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::testing::{adding, check_counts, shown, table};

fn decode(options: LineOptions, shapes: Vec<TableShape>, lines: &[u8], chunk: usize) -> Vec<(String, Decoded)> {
    let shape_of = move |measurement: &str| {
        if measurement == "forbidden" {
            return Err(ValueError::new("42501", "permission denied for schema public"));
        }
        let found = shapes.iter().find(|shape| shape.name == measurement).cloned();
        Ok(found.unwrap_or_else(|| TableShape { name: measurement.into(), ..adding(&[]) }))
    };
    let mut decoder = LineDecoder::new(options, TextSettings::default(), Box::new(shape_of));
    let mut all = vec![];
    for chunk in lines.chunks(chunk) {
        decoder.push(chunk);
        all.extend(std::iter::from_fn(|| decoder.take_batch()));
    }
    decoder.finish();
    all.extend(std::iter::from_fn(|| decoder.take_batch()));
    all.iter().for_each(|(_, decoded)| check_counts(decoded));
    all
}

fn shown_tables(all: Vec<(String, Decoded)>) -> String {
    let mut out = String::new();
    for (measurement, decoded) in all {
        writeln!(out, "[{measurement}]\n{}", shown(&[decoded]).trim_end()).unwrap();
    }
    out
}

fn check_with(options: &LineOptions, lines: &str, expected: &str) {
    let whole = shown_tables(decode(options.clone(), vec![], lines.as_bytes(), usize::MAX));
    let trimmed = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    assert_eq!(whole.trim_end(), trimmed, "of {lines}");
    for chunk in [1, 5, 17] {
        assert_eq!(shown_tables(decode(options.clone(), vec![], lines.as_bytes(), chunk)), whole, "chunks of {chunk}");
    }
}

fn check(lines: &str, expected: &str) {
    check_with(&LineOptions::default(), lines, expected);
}

#[test]
fn types_of_fields() {
    check(
        "cpu,host=a,dc=x load=0.5,n=3i,u=4u,up=true,s=\"a b\" 1700000000123456789\n",
        "[cpu]
         + time timestamp with time zone
         + host text
         + dc text
         + load double precision
         + n bigint
         + u bigint
         + up boolean
         + s text
         time=2023-11-14 22:13:20.123456+00 host=a dc=x load=0.5 n=3 u=4 up=t s=a b",
    );
    let cases: &[(&str, &str, &str)] = &[
        ("1", "double precision", "1"),
        ("-1.5e3", "double precision", "-1500"),
        ("+1.5", "double precision", "1.5"),
        (".5", "double precision", "0.5"),
        ("1.", "double precision", "1"),
        ("-0i", "bigint", "0"),
        ("007i", "bigint", "7"),
        ("9223372036854775807i", "bigint", "9223372036854775807"),
        ("18446744073709551615u", "numeric", "18446744073709551615"),
        ("t", "boolean", "t"),
        ("False", "boolean", "f"),
        ("\"\"", "text", ""),
        ("\"2024-01-02\"", "text", "2024-01-02"),
        ("\"a\\\"b\\\\c\\d,e=f g\"", "text", "a\"b\\c\\d,e=f g"),
        ("\"two\nlines\"", "text", "two\nlines"),
    ];
    for (written, sql_type, text) in cases {
        let all = decode(LineOptions::default(), vec![], format!("m f={written} 0").as_bytes(), 3);
        let out = shown(&[all[0].1.clone()]);
        let expected =
            format!("+ time timestamp with time zone\n+ f {sql_type}\ntime=1970-01-01 00:00:00+00 f={text}\n");
        assert_eq!(out, expected, "{written}");
    }
}

#[test]
fn escapes() {
    check(
        "m\\,1\\ x,t\\=a\\ g\\,=v\\=1\\ 2\\,\\\\ f\\ 1=1i 0",
        "[m,1 x]
         + time timestamp with time zone
         + t=a g, text
         + f 1 bigint
         time=1970-01-01 00:00:00+00 t=a g,=v=1 2,\\\\ f 1=1",
    );
    // A quote means something only at the beginning of a field's value.
    check(
        "m,t=\"x f=1i,a\"b=2i 0\nm,t=y f=2i 0",
        "[m]
         + time timestamp with time zone
         + t text
         + f bigint
         + a\"b bigint
         time=1970-01-01 00:00:00+00 t=\"x f=1 a\"b=2
         time=1970-01-01 00:00:00+00 t=y f=2 a\"b=∅",
    );
}

#[test]
fn times() {
    let now = LineOptions { now_us: 5_000_000, ..LineOptions::default() };
    check_with(
        &now,
        "m f=1",
        "[m]\n+ time timestamp with time zone\n+ f double precision\ntime=1970-01-01 00:00:05+00 f=1",
    );
    for (precision, written, text) in [
        (Precision::Nanoseconds, "-1", "1969-12-31 23:59:59.999999+00"),
        (Precision::Microseconds, "1500000", "1970-01-01 00:00:01.5+00"),
        (Precision::Milliseconds, "1500", "1970-01-01 00:00:01.5+00"),
        (Precision::Seconds, "1700000000", "2023-11-14 22:13:20+00"),
    ] {
        let options = LineOptions { precision, ..LineOptions::default() };
        check_with(
            &options,
            &format!("m f=1 {written}"),
            &format!("[m]\n+ time timestamp with time zone\n+ f double precision\ntime={text} f=1"),
        );
    }
    let seconds = LineOptions { precision: Precision::Seconds, ..LineOptions::default() };
    check_with(&seconds, "m f=1 9223372036854775807", "[m]\n! 22008: timestamp out of range: \"9223372036854775807\"");
}

#[test]
fn bad_lines_are_dead_letters_alone() {
    let head = "[m]\n+ time timestamp with time zone\n+ f bigint\ntime=1970-01-01 00:00:00+00 f=1";
    let cases: &[(&str, &str)] = &[
        ("m", "missing fields"),
        ("m ", "missing fields"),
        ("m,t f=1", "missing tag value"),
        ("m,t= f=1", "missing tag value"),
        ("m,=x f=1", "missing tag key"),
        ("m f", "missing field value"),
        ("m f=", "missing field value"),
        ("m =1", "missing field key"),
        ("m f=1x", "invalid field value \"1x\""),
        ("m f=-1u", "invalid field value \"-1u\""),
        ("m f=NaN", "invalid field value \"NaN\""),
        ("m f=1i now", "invalid timestamp"),
        ("m f=\"x", "unbalanced quotes"),
        ("m f=\"x\"y", "invalid field format"),
    ];
    for (line, reason) in cases {
        check(&format!("m f=1i 0\n{line}"), &format!("{head}\n! 22P04: unable to parse line: {reason}"));
    }
    check("m f=1i 0\nm f=t 0\n", &format!("{head}\n! 22P02 f: invalid input syntax for type bigint: \"true\""));
    check(",t=x f=1", "[]\n! 22P04: unable to parse line: missing measurement");
    check("forbidden f=1", "[]\n! 42501: permission denied for schema public");
    check("# a comment \" with a quote\n\n  # another\r\nm f=1i 0\r\n", head);
    let all = decode(LineOptions::default(), vec![], b"m f=1i 0\nm f=\"\xff\" 0\nm f=2i 0", 4);
    assert_eq!(all[0].1.dead_letters[0].error.code, "22021");
    assert_eq!((all[0].1.dead_letters[0].offset, all[0].1.dead_letters[0].line), (9, 2));
    assert_eq!(all[1].1.batch.num_rows(), 2);
    let long = format!("m f=1i 0\nm f=\"{}\" 0\nm f=2i 0", "x".repeat(50));
    let all = decode(LineOptions { row_bytes_max: 20, ..LineOptions::default() }, vec![], long.as_bytes(), 7);
    assert_eq!(all[0].1.dead_letters[0].error.code, "54000");
    assert_eq!(all[1].1.batch.num_rows(), 2);
}

#[test]
fn tables_that_exist() {
    let cpu = TableShape {
        name: "cpu".into(),
        ..table(&["host character varying(3)", "load real", "time timestamp with time zone not null", "_rest jsonb"])
    };
    let all = decode(
        LineOptions::default(),
        vec![cpu],
        b"cpu,host=a load=1i,x=\"y\" 0\ncpu,host=abcd load=1 0\nmem f=1 0",
        99,
    );
    assert_eq!(
        shown_tables(all),
        "[cpu]
host=a load=1 time=1970-01-01 00:00:00+00 _rest={\"x\": \"y\"}
! 22001 host: value too long for type character varying(3)
[mem]
+ time timestamp with time zone
+ f double precision
time=1970-01-01 00:00:00+00 f=1
"
    );
}

#[test]
fn a_tag_and_a_field_of_one_name() {
    check(
        "m,x=a x=1i 0\nm,x=b x=2i 0",
        "[m]
         + time timestamp with time zone
         + x text
         + x_1 bigint for x beside x
         time=1970-01-01 00:00:00+00 x=a x_1=1
         time=1970-01-01 00:00:00+00 x=b x_1=2",
    );
}

/// An unbalanced quote takes its own line only, not all up to the next quote.
#[test]
fn a_quote_too_many() {
    let head = "[m]\n+ time timestamp with time zone\n+ f text";
    check(
        "m f=\"a 0\nm f=\"b\" 0\nm f=\"c\" 0\nm f=\"d 0",
        &format!(
            "{head}\ntime=1970-01-01 00:00:00+00 f=b\ntime=1970-01-01 00:00:00+00 f=c
             ! 22P04: unable to parse line: unbalanced quotes\n! 22P04: unable to parse line: unbalanced quotes"
        ),
    );
}

#[test]
fn quotes_take_linear_time() {
    for lines in ["m f=\"".to_owned() + &"\n".repeat(100_000), "m f=\"\n\",".repeat(20_000), "\\".repeat(3_000_000)] {
        let all = decode(LineOptions::default(), vec![], lines.as_bytes(), 64 * 1024);
        assert!(all.iter().any(|(_, decoded)| !decoded.dead_letters.is_empty()));
    }
}

/// Whatever the bytes, nothing panics, every line is accounted for, and it does not matter where they are cut.
#[test]
fn random_bytes_never_panic() {
    const SEED: u64 = 20_240_229;
    let mut rng = StdRng::seed_from_u64(SEED);
    for round in 0..3_000 {
        const PIECES: [&[u8]; 22] = [
            b"m",
            b",",
            b" ",
            b"=",
            b"\"",
            b"\\",
            b"\n",
            b"1",
            b"-",
            b"i",
            b"u",
            b"t",
            b"#",
            b"\r",
            b"\xff",
            b"m f=1i 0\n",
            b"m,t=a f=\"x\"",
            b" 12",
            b"time",
            b"\0",
            b".5",
            b"\xc3\xa9",
        ];
        let bytes: Vec<u8> =
            (0..rng.random_range(0..20)).flat_map(|_| PIECES[rng.random_range(0..PIECES.len())].to_vec()).collect();
        let whole = shown_tables(decode(LineOptions::default(), vec![], &bytes, usize::MAX));
        let cut = shown_tables(decode(LineOptions::default(), vec![], &bytes, 1));
        assert_eq!(cut, whole, "seed {SEED}, round {round}: {}", String::from_utf8_lossy(&bytes));
    }
}
