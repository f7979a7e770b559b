//! Random documents against a naive reader: the same documents are rows, every accepted value reads back equal, and all is
//! the same however the bytes are cut.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value as Json};
use tidemill_udfs::types::{json, parse_scalar};

use super::*;

const SEED: u64 = 20_240_229;

const NAMES: [&str; 14] = ["id", "ID", "a", "A", "b", "name", "Name", "at", "n", "x y", "", "__proto__", "😀", "a_b"];

fn random_string(rng: &mut StdRng) -> String {
    const PIECES: [&str; 16] = [
        "a",
        "Z",
        " ",
        "\"",
        "\\",
        "\n",
        "é",
        "😀",
        "\u{1}",
        "/",
        "2024-01-02",
        "12",
        "true",
        "{\"a\":1}",
        "\u{7f}",
        "\u{2028}",
    ];
    match rng.random_range(0..8) {
        0 => "2024-01-02".into(),
        1 => "2024-01-02T03:04:05Z".into(),
        2 => "0190cafe-0000-7000-8000-0123456789ab".into(),
        _ => (0..rng.random_range(0..6)).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect(),
    }
}

fn random_number(rng: &mut StdRng) -> String {
    match rng.random_range(0..7) {
        0 => rng.random_range(-5..5).to_string(),
        1 => rng.random::<i64>().to_string(),
        2 => format!("{}", rng.random::<f64>()),
        3 => format!("{:e}", f64::from_bits(rng.random::<u64>() & !(1 << 62))),
        4 => format!("{}.{}", rng.random_range(0..1000), rng.random_range(0..100)),
        5 => format!("{}{:018}", rng.random_range(1..100_000_000), rng.random_range(0..1_000_000_000_000_000_000u64)),
        _ => ["1e400", "-0", "-0.0", "1e5", "0.12345678901234567890123", "9007199254740993"][rng.random_range(0..6)]
            .into(),
    }
}

/// Writes a value with random blanks and escapes.
fn write_random(rng: &mut StdRng, depth: usize, out: &mut String) {
    match rng.random_range(0..if depth > 3 { 6 } else { 8 }) {
        0 => out.push_str("null"),
        1 => out.push_str(if rng.random() { "true" } else { "false" }),
        2 | 3 => out.push_str(&random_number(rng)),
        4 | 5 => out.push_str(&serde_json::to_string(&random_string(rng)).unwrap()),
        6 => {
            out.push('[');
            for n in 0..rng.random_range(0..4) {
                out.push_str(if n > 0 { ", " } else { "" });
                write_random(rng, depth + 1, out);
            }
            out.push(']');
        }
        _ => write_object(rng, depth + 1, out),
    }
}

fn write_object(rng: &mut StdRng, depth: usize, out: &mut String) {
    out.push('{');
    for n in 0..rng.random_range(0..6) {
        out.push_str(if n > 0 { "," } else { "" });
        out.push_str(["", " ", "\t"][rng.random_range(0..3)]);
        let name = NAMES[rng.random_range(0..NAMES.len())];
        out.push_str(&serde_json::to_string(name).unwrap());
        out.push_str([":", " : "][rng.random_range(0..2)]);
        write_random(rng, depth, out);
    }
    out.push('}');
}

fn random_document(rng: &mut StdRng) -> Vec<u8> {
    let mut text = String::new();
    write_object(rng, 0, &mut text);
    let mut bytes = text.into_bytes();
    // Some are damaged.
    if rng.random_range(0..10) == 0 {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..3) {
            0 => bytes.truncate(at),
            1 => bytes[at] = rng.random(),
            _ => bytes.insert(at, b"{}[],:\"\\ux"[rng.random_range(0..10)]),
        }
    }
    bytes.retain(|byte| *byte != b'\n');
    if bytes.iter().all(u8::is_ascii_whitespace) { b"{}".to_vec() } else { bytes }
}

/// The text that a JSON value has in a column of that type, by PostgreSQL's rules: the input function of the type on the
/// value's text.
fn naive(value: &Json, raw: &str, sql_type: &SqlType) -> Option<String> {
    let text = match (value, sql_type) {
        (Json::Null, _) => return Some("∅".into()),
        (_, SqlType::Jsonb) => return json::canonical(raw).ok(),
        (Json::Array(elements), SqlType::Array(element)) => {
            let raws: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(raw).ok()?;
            let texts = elements.iter().zip(&raws).map(|(value, raw)| match value {
                Json::Null => Some("NULL".to_owned()),
                Json::Array(_) => None,
                value => {
                    let text = naive(value, raw.get(), element)?;
                    Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
                }
            });
            format!("{{{}}}", texts.collect::<Option<Vec<_>>>()?.join(","))
        }
        (Json::String(text), _) => text.clone(),
        (_, SqlType::Array(_)) => return None,
        _ => raw.to_owned(),
    };
    let settings = TextSettings::default();
    let scalar = parse_scalar(sql_type, &text, &settings).ok()?;
    let array = scalar.to_array().unwrap();
    Some(text_of(&array, &sql_type.field("v", true), 0))
}

/// The raw texts of the members, the last one of each key.
fn members(document: &str) -> Map<String, Json> {
    serde_json::from_str::<Map<String, Json>>(document).unwrap()
}

fn raw_members(document: &str) -> std::collections::HashMap<String, Box<serde_json::value::RawValue>> {
    serde_json::from_str(document).unwrap()
}

/// A document that any reader of JSON takes, and whose strings text can hold.
fn is_valid(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    json::canonical(text).is_ok() && serde_json::from_str::<Map<String, Json>>(text).is_ok()
}

#[test]
fn rows_are_what_a_naive_reader_makes_of_documents() {
    let mut rng = StdRng::seed_from_u64(SEED);
    for round in 0..300 {
        let documents: Vec<_> = (0..rng.random_range(1..30)).map(|_| random_document(&mut rng)).collect();
        let mut t = match round % 4 {
            0 => adding(&[]),
            1 => TableShape { evolve: Evolve::Widen, ..table(&["id integer", "n smallint", "a real", "at date"]) },
            2 => adding(&[
                "id bigint not null",
                "name character varying(5)",
                "n numeric(10,2)",
                "b jsonb",
                "a integer[]",
            ]),
            _ => TableShape { rest: true, ..table(&["id text", "a double precision", "_rest jsonb"]) },
        };
        t.limits.batch_rows = [3, 1000][round % 2];
        t.limits.columns_max = [5, 100][(round / 2) % 2].max(t.columns.len());
        let input = documents.join(&b'\n');
        let all = decode(t.clone(), JsonFormat::Lines, &input, usize::MAX);
        let cut = decode(t.clone(), JsonFormat::Lines, &input, rng.random_range(1..20));
        assert_eq!(shown(&cut), shown(&all), "seed {SEED}, round {round}");
        let valid: Vec<_> = documents.iter().filter(|document| is_valid(document)).cloned().collect();
        let lines = decode(t.clone(), JsonFormat::Lines, &valid.join(&b'\n'), usize::MAX);
        let array = [b"[".to_vec(), valid.join(&b','), b"]".to_vec()].concat();
        let array = decode(t, JsonFormat::Auto, &array, rng.random_range(1..20));
        assert_eq!(shown(&array), shown(&lines), "seed {SEED}, round {round}");
        check_rows(&documents, &all, &format!("seed {SEED}, round {round}"));
    }
}

/// Dead letters and rows come in the order of documents: together they are all of them, and each row has what its document has.
fn check_rows(documents: &[Vec<u8>], all: &[Decoded], context: &str) {
    let mut documents = documents.iter();
    for decoded in all {
        let mut row = 0;
        let mut letters = decoded.dead_letters.iter().peekable();
        for _ in 0..decoded.counts.documents {
            let document = documents.next().expect(context);
            let shown = String::from_utf8_lossy(document);
            if letters.next_if(|letter| letter.raw == *document && !row_matches(decoded, row, document)).is_some() {
                continue;
            }
            assert!(is_valid(document), "{context}: {shown} is a row");
            assert!(
                row_matches(decoded, row, document),
                "{context}: {shown} is {}",
                self::shown(std::slice::from_ref(decoded))
            );
            row += 1;
        }
        assert!(letters.next().is_none(), "{context}: dead letters are documents");
        assert_eq!(row, decoded.batch.num_rows(), "{context}");
    }
    assert!(documents.next().is_none(), "{context}: every document is accounted for");
}

/// Whether every member of the document is in a column of the row, or in `_rest`.
fn row_matches(decoded: &Decoded, row: usize, document: &[u8]) -> bool {
    if row >= decoded.batch.num_rows() || !is_valid(document) {
        return false;
    }
    let text = std::str::from_utf8(document).unwrap();
    let raws = raw_members(text);
    let schema = decoded.batch.schema();
    let mut values: Vec<_> = schema
        .fields()
        .iter()
        .zip(decoded.batch.columns())
        .filter(|(_, array)| !array.is_null(row))
        .map(|(field, array)| (field.name().clone(), SqlType::of_field(field), text_of(array, field, row)))
        .collect();
    let rest = values.iter().position(|(name, ..)| name == "_rest").map(|at| values.remove(at).2);
    let rest = rest.map_or_else(Map::new, |rest| members(&rest));
    let mut taken = vec![false; values.len()];
    let mut rest_used = 0;
    for (key, value) in members(text) {
        if value.is_null() {
            continue;
        }
        let raw = raws[&key].get();
        if let Some(kept) = rest.get(&key) {
            rest_used += 1;
            let kept = json::canonical(&kept.to_string()).unwrap();
            if kept != json::canonical(raw).unwrap() {
                return false;
            }
            continue;
        }
        let stem = if key.is_empty() { "_".to_owned() } else { key.to_ascii_lowercase() };
        let found = values.iter().enumerate().position(|(at, (name, sql_type, text))| {
            !taken[at]
                && name.to_ascii_lowercase().starts_with(&stem)
                && naive(&value, raw, sql_type).as_ref() == Some(text)
        });
        match found {
            Some(at) => taken[at] = true,
            None => return false,
        }
    }
    let rest_values = rest.values().filter(|value| !value.is_null()).count();
    taken.iter().all(|taken| *taken) && rest_used == rest_values
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = StdRng::seed_from_u64(SEED);
    for round in 0..2_000 {
        let alphabet = b"{}[],:\"\\u0019ea-. \n\tntrf\xc3\xa9\xff\xed\xa0\x80";
        let bytes: Vec<u8> =
            (0..rng.random_range(0..60)).map(|_| alphabet[rng.random_range(0..alphabet.len())]).collect();
        for format in [JsonFormat::Auto, JsonFormat::Lines, JsonFormat::Documents] {
            let whole = shown(&decode(flattening(2, &["id bigint"]), format, &bytes, usize::MAX));
            let cut = shown(&decode(flattening(2, &["id bigint"]), format, &bytes, 1));
            assert_eq!(cut, whole, "seed {SEED}, round {round}: {}", String::from_utf8_lossy(&bytes));
        }
    }
}
