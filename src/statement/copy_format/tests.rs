//! COPY formats, against literal results of PostgreSQL 15. Every input is parsed whole, byte by byte, and cut at random.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringViewArray};
use datafusion::arrow::compute::concat_batches;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill_udfs::types::{ColumnEncoder, SqlType, TextSettings};

use super::*;
use crate::statement::control::CopyValue;
use crate::{Error, Result};

fn options(text: &str, from: bool) -> Result<CopyOptions> {
    let pairs: Vec<(String, CopyValue)> = text
        .split_terminator("; ")
        .map(|pair| {
            let (name, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let list = value.strip_prefix('(').and_then(|list| list.strip_suffix(')'));
            let value = match (value, list) {
                ("", _) => CopyValue::Absent,
                ("*", _) => CopyValue::Star,
                (_, Some(list)) => CopyValue::Columns(list.split(", ").map(str::to_owned).collect()),
                ("''", _) => CopyValue::Text(String::new()),
                (text, _) => CopyValue::Text(text.replace("\\n", "\n").replace("\\t", "\t")),
            };
            (name.to_owned(), value)
        })
        .collect();
    CopyOptions::from_pairs(&pairs, from)
}

fn columns() -> Vec<(String, SqlType)> {
    vec![("a".into(), SqlType::Int4), ("b".into(), SqlType::Text)]
}

/// The rows as `a|b` lines, NULL as `~`.
fn shown(batch: &RecordBatch) -> Vec<String> {
    let encoders: Vec<_> = columns()
        .iter()
        .zip(batch.columns())
        .map(|((_, sql_type), array)| ColumnEncoder::new(array, sql_type, &TextSettings::default()).unwrap())
        .collect();
    let cell = |encoder: &ColumnEncoder, row| {
        let mut out = vec![];
        encoder.write_text(row, &mut out);
        if encoder.is_null(row) { "~".into() } else { String::from_utf8(out).unwrap() }
    };
    let row = |row| encoders.iter().map(|encoder| cell(encoder, row)).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

fn parse(options: &CopyOptions, pieces: &[&[u8]]) -> Result<Vec<String>> {
    let mut parser = CopyParser::new(options, "t", &columns(), &TextSettings::default())?;
    for piece in pieces {
        parser.push(&Bytes::copy_from_slice(piece))?;
    }
    parser.finish()?;
    let mut batches = vec![];
    while let Some(batch) = parser.take_batch() {
        batches.push(batch);
    }
    let rows = shown(&concat_batches(parser.schema(), &batches).unwrap());
    assert_eq!(u64::try_from(rows.len()).unwrap(), parser.rows());
    Ok(rows)
}

/// The rows, or the error, however the input is cut.
fn copy_in(given: &str, input: &[u8]) -> std::result::Result<Vec<String>, String> {
    let options = options(given, true).unwrap();
    let describe = |error: Error| {
        let report = error.report().clone();
        let hint = report.hint.map(|hint| format!("|{hint}")).unwrap_or_default();
        format!("{} {}{hint}|{}", report.code.code(), report.message, report.context.unwrap_or_default())
    };
    let whole = parse(&options, &[input]).map_err(describe);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(parse(&options, &bytes).map_err(describe), whole, "{given} byte by byte");
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..8 {
        let at = rng.random_range(0..=input.len());
        let (first, second) = input.split_at(at);
        assert_eq!(parse(&options, &[first, second]).map_err(describe), whole, "{given} cut at {at}");
    }
    whole
}

#[test]
fn reads() {
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("", b"1\ta\n2\t\\N\n", &["1|a", "2|~"]),
        ("", b"1\ta\r\n2\tb\r\n", &["1|a", "2|b"]),
        ("", b"1\ta\r2\tb", &["1|a", "2|b"]),
        ("", b"1\ta\n\\.\nrubbish\n", &["1|a"]),
        ("", b"1\ta\n\\.", &["1|a"]),
        ("", b"4\tx\\.\n", &["4|x."]),
        ("", b"6\ta\\tb\\q\\x41\\x\\101\\8\\N\n\\N\t\n", &["6|a\tbqAxA8N", "~|"]),
        ("", b"1\ta\\\nb\n", &["1|a\nb"]),
        ("", b"1\t\\\\N\n", &["1|\\N"]),
        ("", b"1\t\\xc3\\xa9\\303\\251\n", &["1|\u{e9}\u{e9}"]),
        ("", b"", &[]),
        ("delimiter |; null x", b"1|x\n2|xx\nx|y", &["1|~", "2|xx", "~|y"]),
        ("header", b"q\tr\n1\ta\n", &["1|a"]),
        ("header match", b"a\tb\n1\ta\n", &["1|a"]),
        ("header off", b"1\ta\n", &["1|a"]),
        ("format csv", b"1,a\r2,b\r", &["1|a", "2|b"]),
        ("format csv", b"1,a\r\n2,\"b\r\nc\"\r\n", &["1|a", "2|b\r\nc"]),
        ("format csv", b"3,\"a\"\"b\"c\\d\"x\"\n2,\"\"\n4,\n", &["3|a\"bc\\dx", "2|", "4|~"]),
        ("format csv; escape \\", b"5,\"a\\\"x\\y\\\\\"\n", &["5|a\"x\\y\\"]),
        ("format csv", b"1,\\.\n2,\\.a\n\\.\nxyz", &["1|\\.", "2|\\.a"]),
        ("format csv", b"1, a \n 2 ,\" b \"\n", &["1| a ", "2| b "]),
        ("format csv; delimiter ;; quote '", b"1;'a;''b'\n", &["1|a;'b"]),
        ("format csv; null N", b"1,N\n2,\"N\"\n3,\nN,x\n", &["1|~", "2|N", "3|", "~|x"]),
        ("format csv; force_not_null (b)", b"1,\n,\n", &["1|", "~|"]),
        ("format csv; force_null (b)", b"1,\"\"\n2,\n", &["1|~", "2|~"]),
        ("format csv; header; quote |", b"a,b\n1,|x,\ny|\n", &["1|x,\ny"]),
        ("format csv", b"1,\"a\nb\"\n2,c", &["1|a\nb", "2|c"]),
        ("format csv", b"\"1\",\"\"\"\"\n", &["1|\""]),
        ("encoding latin1", b"1\t\xe9\xff\n", &["1|\u{e9}\u{ff}"]),
        ("format csv; encoding UTF8", "1,é\n".as_bytes(), &["1|é"]),
    ];
    for (options, input, expected) in cases {
        let rows = copy_in(options, input).unwrap_or_else(|error| panic!("{options}: {error}"));
        assert_eq!(rows, *expected, "{options}");
    }
}

#[test]
fn refuses() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("format csv", b"1,2,3\n", "22P04 extra data after last expected column|COPY t, line 1: \"1,2,3\""),
        ("format csv", b"1\n", "22P04 missing data for column \"b\"|COPY t, line 1: \"1\""),
        (
            "format csv",
            b"1,a\nx,b\n",
            "22P02 invalid input syntax for type integer: \"x\"|COPY t, line 2, column a: \"x\"",
        ),
        ("format csv", b"1,\"a\nb\n", "22P04 unterminated CSV quoted field|COPY t, line 2: \"1,\"a\nb\n\""),
        (
            "format csv",
            b"1,a\n1,c\rb\n",
            "22P04 unquoted carriage return found in data|Use quoted CSV field to represent carriage return.|COPY t, line 2",
        ),
        (
            "format csv",
            b"1,a\r\n1,cb\n",
            "22P04 unquoted newline found in data|Use quoted CSV field to represent newline.|COPY t, line 2",
        ),
        (
            "",
            b"1\ta\n1\tc\rb\n",
            "22P04 literal carriage return found in data|Use \"\\r\" to represent carriage return.|COPY t, line 2",
        ),
        (
            "",
            b"1\ta\r\n1\tcb\n",
            "22P04 literal newline found in data|Use \"\\n\" to represent newline.|COPY t, line 2",
        ),
        ("", b"1\ta\n\\.x\n3\n", "22P04 end-of-copy marker corrupt|COPY t, line 2"),
        ("", b"1\ta\n\\.\r\n", "22P04 end-of-copy marker does not match previous newline style|COPY t, line 2"),
        (
            "format csv; header match",
            b"a,c\n1,2\n",
            "22P04 column name mismatch in header line field 2: got \"c\", expected \"b\"|COPY t, line 1: \"a,c\"",
        ),
        (
            "format csv; header match",
            b"a,b,c\n1,2\n",
            "22P04 wrong number of fields in header line: got 3, expected 2|COPY t, line 1: \"a,b,c\"",
        ),
        (
            "format csv; header match",
            b"a,\n1,2\n",
            "22P04 column name mismatch in header line field 2: got null value (\"\"), expected \"b\"|COPY t, line 1: \"a,\"",
        ),
        ("format csv", b"1,2\n\n1,3\n", "22P04 missing data for column \"b\"|COPY t, line 2: \"\""),
        (
            "",
            b"99999999999\ta\n",
            "22003 value \"99999999999\" is out of range for type integer|COPY t, line 1, column a: \"99999999999\"",
        ),
        (
            "format csv",
            b"1,\"a\nb\"\n2,\"c\nd\"\nz,\"e\nf\"\n",
            "22P02 invalid input syntax for type integer: \"z\"|COPY t, line 6, column a: \"z\"",
        ),
        ("format binary", b"x\n", "22P04 COPY file signature not recognized|COPY t, line 1"),
        (
            "format binary",
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01",
            "22P04 row field count is 1, expected 2|COPY t, line 1",
        ),
        (
            "format binary",
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04abc",
            "22P04 unexpected EOF in COPY data|COPY t, line 1",
        ),
        (
            "format binary",
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x03abc\0\0\0\0",
            "22P03 incorrect binary data format|COPY t, line 1, column a",
        ),
        (
            "format binary",
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xffa",
            "22P04 received copy data after EOF marker|COPY t, line 1",
        ),
    ];
    for (options, input, expected) in cases {
        assert_eq!(copy_in(options, input).unwrap_err(), *expected, "{options}");
    }
    let error = copy_in("", b"1\ta\xff\n").unwrap_err();
    assert!(error.starts_with("22021 invalid byte sequence for encoding \"UTF8\": 0xff"), "{error}");
    let error = copy_in("", format!("{}\tb\n", "x".repeat(200)).as_bytes()).unwrap_err();
    assert!(error.ends_with(&format!("COPY t, line 1, column a: \"{}...\"", "x".repeat(100))), "{error}");
}

#[test]
fn option_errors() {
    let cases = [
        ("format foo", true, "22023", "COPY format \"foo\" not recognized"),
        ("delimiter ab", true, "0A000", "COPY delimiter must be a single one-byte character"),
        ("delimiter ''", true, "0A000", "COPY delimiter must be a single one-byte character"),
        ("delimiter é", true, "0A000", "COPY delimiter must be a single one-byte character"),
        ("delimiter \\n", true, "22023", "COPY delimiter cannot be newline or carriage return"),
        ("delimiter a", true, "22023", "COPY delimiter cannot be \"a\""),
        ("delimiter \\", true, "22023", "COPY delimiter cannot be \"\\\""),
        ("format csv; quote ab", true, "0A000", "COPY quote must be a single one-byte character"),
        ("format csv; escape ab", true, "0A000", "COPY escape must be a single one-byte character"),
        ("quote \"", true, "0A000", "COPY quote available only in CSV mode"),
        ("escape \"", true, "0A000", "COPY escape available only in CSV mode"),
        ("header; format binary", true, "0A000", "cannot specify HEADER in BINARY mode"),
        ("null a\\nb", true, "22023", "COPY null representation cannot use newline or carriage return"),
        ("format csv; delimiter ,; quote ,", true, "22023", "COPY delimiter and quote must be different"),
        ("format csv; null \"", true, "0A000", "CSV quote character must not appear in the NULL specification"),
        ("null \\t", true, "0A000", "COPY delimiter must not appear in the NULL specification"),
        ("format binary; delimiter ,", true, "42601", "cannot specify DELIMITER in BINARY mode"),
        ("format binary; null x", true, "42601", "cannot specify NULL in BINARY mode"),
        ("force_null (a)", true, "0A000", "COPY force null available only in CSV mode"),
        ("force_not_null (a)", true, "0A000", "COPY force not null available only in CSV mode"),
        ("format csv; force_quote (a)", true, "0A000", "COPY force quote only available using COPY TO"),
        ("force_quote (a)", false, "0A000", "COPY force quote available only in CSV mode"),
        ("format csv; force_not_null (a)", false, "0A000", "COPY force not null only available using COPY FROM"),
        ("format csv; force_null (a)", false, "0A000", "COPY force null only available using COPY FROM"),
        ("header foo", true, "42601", "header requires a Boolean value or \"match\""),
        ("header 3", true, "42601", "header requires a Boolean value or \"match\""),
        ("header match", false, "0A000", "cannot use \"match\" with HEADER in COPY TO"),
        ("foo", true, "42601", "option \"foo\" not recognized"),
        ("format csv; format csv", true, "42601", "conflicting or redundant options"),
        ("encoding foo", true, "22023", "argument to option \"encoding\" must be a valid encoding name"),
        ("format csv; force_null a", true, "22023", "argument to option \"force_null\" must be a list of column names"),
        ("delimiter", true, "42601", "delimiter requires a parameter"),
    ];
    for (given, from, code, message) in cases {
        let error = options(given, from).expect_err(given);
        assert_eq!((error.code().code(), error.report().message.as_str()), (code, message), "{given}");
    }
    let unknown = options("format csv; force_null (z)", true).unwrap();
    let error = CopyParser::new(&unknown, "t", &columns(), &TextSettings::default()).err().unwrap();
    assert_eq!(error.report().message, "column \"z\" of relation \"t\" does not exist");
}

fn sample() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4), Some(5)]));
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![
        Some("a\tb\\c\r\n\u{8}\u{b}\u{c}"),
        Some(""),
        None,
        Some("say \"hi\", é"),
        Some("\\N"),
    ]));
    RecordBatch::try_from_iter_with_nullable([("a", numbers, true), ("b", texts, true)]).unwrap()
}

fn copy_out(given: &str, batch: &RecordBatch) -> Result<Vec<u8>> {
    let writer = CopyWriter::new(&options(given, false)?, &columns(), &TextSettings::default())?;
    let mut out = vec![];
    let mut from_row = 0;
    let mut chunks: Vec<_> = writer.header()?.into_iter().collect();
    while from_row < batch.num_rows() {
        let chunk = writer.write(batch, from_row)?;
        from_row += usize::try_from(chunk.rows).unwrap();
        assert_eq!(chunk.row_ends.len(), usize::try_from(chunk.rows).unwrap());
        chunks.push(chunk);
    }
    chunks.extend(writer.trailer());
    for chunk in chunks {
        assert_eq!(chunk.row_ends.last(), Some(&chunk.bytes.len()));
        out.extend_from_slice(&chunk.bytes);
    }
    Ok(out)
}

#[test]
fn writes() {
    let cases: &[(&str, &str)] = &[
        ("", "1\ta\\tb\\\\c\\r\\n\\b\\v\\f\n\\N\t\n3\t\\N\n4\tsay \"hi\", é\n5\t\\\\N\n"),
        ("header; null x; delimiter ,", "a,b\n1,a\\tb\\\\c\\r\\n\\b\\v\\f\nx,\n3,x\n4,say \"hi\"\\, é\n5,\\\\N\n"),
        ("format csv", "1,\"a\tb\\c\r\n\u{8}\u{b}\u{c}\"\n,\"\"\n3,\n4,\"say \"\"hi\"\", é\"\n5,\\N\n"),
        (
            "format csv; force_quote *; null \\N",
            "\"1\",\"a\tb\\c\r\n\u{8}\u{b}\u{c}\"\n\\N,\"\"\n\"3\",\\N\n\"4\",\"say \"\"hi\"\", é\"\n\"5\",\"\\N\"\n",
        ),
        (
            "format csv; header; quote '; escape \\; force_quote (b)",
            "a,b\n1,'a\tb\\\\c\r\n\u{8}\u{b}\u{c}'\n,''\n3,\n4,'say \"hi\", é'\n5,'\\\\N'\n",
        ),
    ];
    for (given, expected) in cases {
        assert_eq!(String::from_utf8(copy_out(given, &sample()).unwrap()).unwrap(), *expected, "{given}");
    }
    assert!(copy_out("encoding latin1", &sample()).unwrap().contains(&0xe9));
    let euro: ArrayRef = Arc::new(StringViewArray::from(vec!["€"]));
    let number: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("a", number), ("b", euro)]).unwrap();
    let error = copy_out("encoding latin1", &batch).unwrap_err();
    assert_eq!(error.code().code(), "22P05");
    assert_eq!(
        error.report().message,
        "character with byte sequence 0xe2 0x82 0xac in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\""
    );
}

#[test]
fn round_trips() {
    for given in ["", "format csv", "format binary", "format csv; delimiter |; quote x; null ~", "delimiter |; null ~"]
    {
        let bytes = copy_out(given, &sample()).unwrap();
        let rows = copy_in(given, &bytes).unwrap();
        assert_eq!(rows, shown(&sample()), "{given}");
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = StdRng::seed_from_u64(1);
    let alphabet = b"01,\t\n\r\"\\.Nxa\xc3\xa9\xff";
    for given in ["", "format csv", "format csv; escape \\", "format csv; header match", "format binary"] {
        let options = options(given, true).unwrap();
        for _ in 0..3_000 {
            let mut bytes: Vec<u8> =
                (0..rng.random_range(0..40)).map(|_| alphabet[rng.random_range(0..alphabet.len())]).collect();
            if given == "format binary" {
                bytes = [binary::SIGNATURE.as_slice(), &[0; 8], &bytes].concat();
            }
            let at = rng.random_range(0..=bytes.len());
            let outcome = |pieces: &[&[u8]]| parse(&options, pieces).map_err(|error| error.to_string());
            assert_eq!(outcome(&[&bytes[..at], &bytes[at..]]), outcome(&[&bytes]), "{given} {bytes:?} at {at}");
        }
    }
}
