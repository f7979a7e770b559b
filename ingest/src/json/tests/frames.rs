//! Documents in streams, and what is no document.

use super::*;

const T: &[&str] = &["a integer", "b text"];

#[test]
fn forms_of_input() {
    let t = table(T);
    for documents in [
        "{\"a\":1}\n{\"a\":2}",
        "{\"a\":1}\r\n\r\n  {\"a\":2}\r\n",
        "[{\"a\":1},{\"a\":2}]",
        " [\n {\"a\":\n1} ,\n {\"a\":2}\n ]\n",
        "{\"a\"\n:1}{\"a\":2}",
        "\u{feff}{\"a\":1}\n{\"a\":2}",
        "[{\"a\":1}]\n[{\"a\":2}]",
    ] {
        check(&t, documents, "a=1\na=2");
    }
    check(&t, "{\n  \"a\": 1,\n  \"b\": \"]}\\\"{[\"\n}\n", "a=1 b=]}\"{[");
    check(&t, "", "");
    check(&t, " \n ", "");
    check(&t, "[]", "");
    check(&t, "\n \n\n{\"a\":\"x\"}", "! 22P02 a: invalid input syntax for type integer: \"x\"");
    let late = decode(table(T), JsonFormat::Auto, b"\n \n\n{\"a\":\"x\"}", 1);
    assert_eq!((late[0].dead_letters[0].offset, late[0].dead_letters[0].line), (4, 4));
    let lines = decode(table(T), JsonFormat::Lines, b"{\"a\":1}\n{\"a\":2}", 5);
    assert_eq!(shown(&lines), "a=1\na=2\n");
}

#[test]
fn malformed_documents_are_dead_letters_alone() {
    let t = table(T);
    let cases: &[(&str, &str)] = &[
        // A bad line ends with the line.
        (
            "{\"a\":1}\n{\"a\":}\n{\"a\":2}\n{\"a\":3",
            "a=1\na=2\n! 22P02: invalid input syntax for type json (Expected JSON value, but found \"}\".)
             ! 22P02: invalid input syntax for type json (The input string ended unexpectedly.)",
        ),
        ("{\"a\":1}\nnonsense\n", "a=1\n! 22P02: invalid input syntax for type json (Token \"nonsense\" is invalid.)"),
        ("{\"a\":1}\n[1]\n7\n", "a=1\n! 22023: expected a JSON object\n! 22023: expected a JSON object"),
        ("{\"a\":2}\n{\"a\":1} x\n", "a=2\n! 22P02: invalid input syntax for type json (Token \"x\" is invalid.)"),
        // A bad element ends with its braces, or with the array.
        (
            "[{\"a\":1},{\"a\" 2},{\"a\":3}]",
            "a=1\na=3\n! 22P02: invalid input syntax for type json (Expected \":\", but found \"2\".)",
        ),
        (
            "[{\"a\":1},null,\"x,y\",{\"a\":3}]",
            "a=1\na=3\n! 22023: expected a JSON object\n! 22023: expected a JSON object",
        ),
        (
            "[{\"a\":1},{\"a\":[1},{\"a\":3}]",
            "a=1\na=3\n! 22P02: invalid input syntax for type json (Expected \",\" or \"]\", but found \"}\".)",
        ),
        (
            "[{\"a\":1},{\"a\":2]",
            "a=1\n! 22P02: invalid input syntax for type json (The input string ended unexpectedly.)",
        ),
        (
            "[{\"a\":1},{\"a\":",
            "a=1\n! 22P02: invalid input syntax for type json (The input string ended unexpectedly.)",
        ),
    ];
    for (documents, expected) in cases {
        check(&t, documents, expected);
    }
}

#[test]
fn strict_syntax() {
    for bad in [
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1 \"b\":2}",
        "{\"b\":\"\t\"}",
        "{\"b\":\"\\x\"}",
        "{\"b\":\"\\u12\"}",
        "{\"b\":\"\\ud800\"}",
        "{\"b\":\"\\udc00x\"}",
        "{\"a\":tru}",
        "{\"a\":nullx}",
        "{\"b\":[1,]}",
        "{\"b\":{\"x\":1,}}",
        "{\"b\":[1 2]}",
        "{\"\\ud800\":1}",
        "{\"b\":\"x",
    ] {
        let all = decode(table(&["a integer", "b text"]), JsonFormat::Lines, bad.as_bytes(), 99);
        let [letter] = all[0].dead_letters.as_slice() else { panic!("{bad} is no row") };
        assert_eq!(letter.error.code, "22P02", "{bad}: {}", letter.error.message);
        assert_eq!(letter.raw, bad.as_bytes());
        assert!(letter.error.message.starts_with("invalid input syntax for type json"), "{bad}");
    }
    let nul = decode(table(T), JsonFormat::Lines, b"{\"b\":\"\\u0000\"}", 99);
    assert_eq!(nul[0].dead_letters[0].error.code, "22P05");
}

#[test]
fn dead_letters_say_where() {
    let input = b"{\"a\":1}\n\n{\"a\":\"x\"}\n{\"b\":\"\xff\"}\n{\"a\":2}\n";
    for chunk in [1, 4, 100] {
        let all = decode(table(T), JsonFormat::Auto, input, chunk);
        let letters: Vec<_> = all.iter().flat_map(|decoded| &decoded.dead_letters).collect();
        let places: Vec<_> = letters.iter().map(|l| (l.offset, l.line, l.error.code, l.column.as_deref())).collect();
        assert_eq!(places, [(9, 3, "22P02", Some("a")), (19, 4, "22021", None)]);
        assert_eq!(letters[1].raw, b"{\"b\":\"\xff\"}");
        assert_eq!(letters[1].error.message, "invalid byte sequence for encoding \"UTF8\": 0xff");
        assert_eq!(all.last().unwrap().end.offset, 37);
    }
    let all = decode(table(T), JsonFormat::Auto, b"[\n{\"a\":1},\n\n {\"a\":\"x\"}]", 3);
    assert_eq!((all[0].dead_letters[0].offset, all[0].dead_letters[0].line), (13, 4));
}

#[test]
fn limits() {
    let mut t = table(&["a integer", "b jsonb", "c text"]);
    t.limits.depth_max = 3;
    check(&t, r#"{"b":[[1]]}"#, "b=[[1]]");
    check(
        &t,
        r#"{"b":[[[1]]]}"#,
        "! 54001: stack depth limit exceeded (JSON values are nested more than 3 levels deep.)",
    );
    t.limits.row_bytes_max = 20;
    for format in [JsonFormat::Lines, JsonFormat::Documents] {
        for chunk in [1, 8, 1000] {
            let long = format!("{{\"c\":\"{}\"}}", "x".repeat(30));
            let all = decode(t.clone(), format, format!("{{\"a\":1}}\n{long}\n{{\"a\":2}}").as_bytes(), chunk);
            assert_eq!(shown(&all), "a=1\na=2\n! 54000: document is too large (It has 38 bytes; the limit is 20.)\n");
            assert_eq!((all[0].dead_letters[0].raw.len(), all[0].dead_letters[0].bytes), (20, 38));
        }
    }
}

#[test]
fn bombs_take_linear_time() {
    let t = || flattening(5, &["b jsonb"]);
    let deep = |open: &str, n: usize| open.repeat(n);
    for bomb in [
        format!("{{\"b\":{}", deep("[", 1_000_000)),
        deep("{\"b\":", 300_000),
        deep("[", 1_000_000),
        format!("{}{}", deep("{", 1_000_000), deep("]", 1_000_000)),
        format!("{{\"b\":\"{}", deep("\\u0041", 300_000)),
        format!("{{\"b\":\"{}", deep("\\", 1_000_001)),
        format!("{{{}", deep("\"b\":1,", 200_000)),
        format!("{{\"b\":{}", deep("9", 1_000_000)),
        format!("{{\"c\":{}}}", deep("9", 1_000_000)),
        format!("{{\"c\":\"{}\"}}", deep("x", 10_000_000)),
    ] {
        for format in [JsonFormat::Lines, JsonFormat::Documents] {
            let all = decode(t(), format, bomb.as_bytes(), 64 * 1024);
            let documents: u64 = all.iter().map(|decoded| decoded.counts.documents).sum();
            assert_eq!(documents, 1, "{}", &bomb[..40]);
        }
    }
}

#[test]
fn batches_end_by_rows_and_bytes() {
    let mut t = table(T);
    t.limits.batch_rows = 2;
    let all = decode(t.clone(), JsonFormat::Lines, "{\"a\":1}\n".repeat(5).as_bytes(), 1000);
    assert_eq!(all.iter().map(|decoded| decoded.counts.rows).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(all.iter().map(|decoded| decoded.end.offset).collect::<Vec<_>>(), [16, 32, 40]);
    t.limits.batch_rows = 1000;
    t.limits.batch_bytes = 14;
    let all = decode(t, JsonFormat::Lines, "{\"a\":1}\n".repeat(5).as_bytes(), 1000);
    assert_eq!(all.iter().map(|decoded| decoded.counts.rows).collect::<Vec<_>>(), [2, 2, 1]);
}

/// Whoever commits batches can decode again from the end of any of them.
#[test]
fn decoding_goes_on_from_the_end_of_a_batch() {
    let mut t = table(T);
    t.limits.batch_rows = 1;
    for (format, input) in [
        (JsonFormat::Lines, "{\"a\":1}\n\n{\"a\":\"x\"}\n{\"a\":3}"),
        (JsonFormat::Documents, "[{\"a\":1},\n{\"a\":\"x\"} ,{\n\"a\":3}]{\"a\":4}\n"),
    ] {
        let all = decode(t.clone(), format, input.as_bytes(), 3);
        for (at, batch) in all.iter().enumerate() {
            let mut decoder = JsonDecoder::resume(format, t.clone(), TextSettings::default(), batch.end);
            decoder.push(&input.as_bytes()[usize::try_from(batch.end.offset).unwrap()..]);
            decoder.finish();
            let rest: Vec<_> = std::iter::from_fn(|| decoder.take_batch()).collect();
            assert_eq!(shown(&rest), shown(&all[at + 1..]));
            let places = |all: &[Decoded]| {
                let letters = all.iter().flat_map(|decoded| decoded.dead_letters.clone());
                letters.map(|letter| (letter.offset, letter.line)).collect::<Vec<_>>()
            };
            assert_eq!(places(&rest), places(&all[at + 1..]));
        }
    }
}
