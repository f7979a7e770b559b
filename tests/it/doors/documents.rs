//! Random documents: what a careless or hostile sender might send. Each has an id of its own between two `#`, by which it is
//! found again, be it a row or a dead letter.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// One document on its way.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) id: u64,
    /// Its bytes, without a line end.
    pub(super) raw: Vec<u8>,
    /// What it says; `None`: it is malformed and must not be a row.
    pub(super) says: Option<Map<String, Value>>,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.raw);
        write!(f, "{}", &text[..text.floor_char_boundary(1000)])
    }
}

/// The id of the document that the bytes are of.
pub(super) fn id_of(raw: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(raw);
    text.split('#').nth(1)?.parse().ok()
}

const NAMES: &[&str] = &[
    "n",
    "n",
    "f",
    "f",
    "s",
    "b",
    "when",
    "day",
    "uuid",
    "mixed",
    "mixed",
    "Mixed",
    "obj",
    "obj",
    "list",
    "words",
    "",
    "__proto__",
    "constructor",
    "😀",
    "a b",
    "ünïcode",
    "select",
    "q\"uote",
    "_rest",
    "_",
    "a.b",
    "N",
];

/// Malformed in one way each; `ID` is the id.
const MALFORMED: &[&[u8]] = &[
    b"{\"id\":\"#ID#\",broken",
    b"{\"id\":\"#ID#\"",
    b"{\"id\":\"#ID#\",\"n\":NaN}",
    b"{\"id\":\"#ID#\",\"n\":01}",
    b"[\"#ID#\"]",
    b"\"#ID#\"",
    b"{\"id\":\"#ID#\",\"s\":\"half \\ud83d\"}",
    b"{\"id\":\"#ID#\",\"s\":\"latin1 \xe9\"}",
    b"{\"id\":\"#ID#\",\"\xff\":1}",
    b"{\"id\":\"#ID#\"} trailing",
    b"{\"id\":\"#ID#\",}",
    b"{'id':'#ID#'}",
];

impl Document {
    /// A JSON document without line ends.
    pub(super) fn json(random: &mut StdRng, id: u64) -> Self {
        if random.random_bool(0.04) {
            let pattern = MALFORMED[random.random_range(0..MALFORMED.len())];
            return Self { id, raw: replaced(pattern, &id.to_string()), says: None };
        }
        let mut members = vec![format!("\"id\":\"#{id}#\"")];
        let mut names: Vec<String> = vec![];
        for _ in 0..random.random_range(0..7) {
            let name = match random.random_range(0..100) {
                0..60 => NAMES[random.random_range(0..NAMES.len())].to_owned(),
                60..99 => format!("c{}", random.random_range(0..60)),
                // Longer than a column's name may be.
                _ => "long".repeat(20),
            };
            if !names.contains(&name) {
                members.push(format!("{}:{}", Value::from(name.as_str()), value_for(random, &name)));
                names.push(name);
            }
        }
        if random.random_bool(0.05) {
            // The last one counts.
            members.push(format!("\"twice\":{}", random.random_range(0..9)));
            members.push(format!("\"twice\":{}", scalar(random)));
        }
        if random.random_bool(0.5) {
            let last = members.len() - 1;
            members.swap(0, last);
        }
        let raw = format!("{{{}}}", members.join(",")).into_bytes();
        let says = serde_json::from_slice(&raw).ok();
        Self { id, raw, says }
    }

    /// As [`Self::json`], of those that are text for PostgreSQL too.
    pub(super) fn text(random: &mut StdRng, id: u64) -> Self {
        loop {
            let document = Self::json(random, id);
            if std::str::from_utf8(&document.raw).is_ok() {
                return document;
            }
        }
    }

    /// A line of the line protocol.
    pub(super) fn line(random: &mut StdRng, id: u64, measurement: &str) -> Self {
        if random.random_bool(0.04) {
            let patterns: [&[u8]; 4] =
                [b" id=\"#ID#\",v=", b",tag=#ID# ", b" id=\"#ID# ", b" id=\"#ID#\",s=\"\xff\" 1"];
            let pattern = [measurement.as_bytes(), patterns[random.random_range(0..4)]].concat();
            return Self { id, raw: replaced(&pattern, &id.to_string()), says: None };
        }
        let mut says = Map::from_iter([("id".to_owned(), json!(format!("#{id}#")))]);
        let mut line = measurement.to_owned();
        if random.random() {
            let host = random.random_range(0..4);
            line.push_str(&format!(",host=h\\ {host}"));
            says.insert("host".to_owned(), json!(format!("h {host}")));
        }
        line.push_str(&format!(" id=\"#{id}#\""));
        for field in ["lf", "li", "lu", "ls", "lb", "n", "mixed"] {
            if random.random_bool(0.4) {
                let (written, value) = line_value(random, field);
                line.push_str(&format!(",{field}={written}"));
                says.insert(field.to_owned(), value);
            }
        }
        let us = random.random_range(0..2_000_000_000_000_000_i64);
        line.push_str(&format!(" {us}000"));
        let time = chrono::DateTime::from_timestamp_micros(us).expect("a time");
        says.insert("time".to_owned(), json!(time.to_rfc3339()));
        Self { id, raw: line.into_bytes(), says: Some(says) }
    }
}

fn replaced(pattern: &[u8], id: &str) -> Vec<u8> {
    let at = pattern.windows(2).position(|window| window == b"ID").expect("a place for the id");
    [&pattern[..at], id.as_bytes(), &pattern[at + 2..]].concat()
}

fn line_value(random: &mut StdRng, field: &str) -> (String, Value) {
    let kind = match field {
        "lf" => 0,
        "li" | "n" => 1,
        "lu" => 2,
        "ls" => 3,
        "lb" => 4,
        _ => random.random_range(0..5),
    };
    match kind {
        0 => {
            let value = f64::from(random.random_range(-100_000..100_000)) / 64.0;
            (value.to_string(), json!(value))
        }
        1 => {
            let value: i64 = random.random();
            (format!("{value}i"), json!(value))
        }
        2 => {
            let value: u64 = random.random();
            (format!("{value}u"), json!(value))
        }
        3 => {
            let value = string(random);
            (format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")), json!(value))
        }
        _ => {
            let value: bool = random.random();
            (value.to_string(), json!(value))
        }
    }
}

/// JSON text of a value that the field usually has, and sometimes another.
fn value_for(random: &mut StdRng, name: &str) -> String {
    if random.random_bool(0.03) {
        return any(random, 0);
    }
    if random.random_bool(0.05) {
        return "null".to_owned();
    }
    match name {
        "n" | "N" => integer(random),
        "f" => number(random),
        "s" | "" | "😀" => Value::from(string(random)).to_string(),
        "b" => random.random::<bool>().to_string(),
        "when" => {
            let us = random.random_range(0..4_000_000_000_000_000_i64);
            let time = chrono::DateTime::from_timestamp_micros(us).expect("a time");
            format!("\"{}\"", time.to_rfc3339())
        }
        "day" => format!(
            "\"20{:02}-{:02}-{:02}\"",
            random.random_range(0..99),
            random.random_range(1..13),
            random.random_range(1..29)
        ),
        "uuid" => format!("\"{:08x}-0000-4000-8000-{:012x}\"", random.random::<u32>(), random.random::<u32>()),
        "obj" | "__proto__" => object(random, 0),
        "list" => {
            let numbers: Vec<String> = (0..random.random_range(0..5)).map(|_| integer(random)).collect();
            format!("[{}]", numbers.join(","))
        }
        "words" => {
            let words: Vec<String> =
                (0..random.random_range(0..4)).map(|_| Value::from(string(random)).to_string()).collect();
            format!("[{}]", words.join(","))
        }
        "mixed" | "Mixed" => any(random, 0),
        _ => scalar(random),
    }
}

fn any(random: &mut StdRng, depth: usize) -> String {
    match random.random_range(0..10) {
        0 if depth < 7 => object(random, depth),
        1 if depth < 7 => {
            let elements: Vec<String> = (0..random.random_range(0..4)).map(|_| any(random, depth + 1)).collect();
            format!("[{}]", elements.join(", "))
        }
        _ => scalar(random),
    }
}

fn object(random: &mut StdRng, depth: usize) -> String {
    let names = ["x", "y", "X", "z z", "", "deeper"];
    let mut members = vec![];
    for name in names {
        if random.random_bool(0.3) {
            let value = match name {
                "x" => integer(random),
                "deeper" if depth < 7 => object(random, depth + 1),
                _ => any(random, depth + 1),
            };
            members.push(format!("\"{name}\": {value}"));
        }
    }
    format!("{{{}}}", members.join(", "))
}

fn scalar(random: &mut StdRng) -> String {
    match random.random_range(0..5) {
        0 => integer(random),
        1 => number(random),
        2 => random.random::<bool>().to_string(),
        3 => "null".to_owned(),
        _ => Value::from(string(random)).to_string(),
    }
}

fn integer(random: &mut StdRng) -> String {
    match random.random_range(0..20) {
        0 => random.random::<i64>().to_string(),
        1 => format!("-{}", random.random::<u64>()),
        2 => random.random::<u128>().to_string(),
        _ => random.random_range(-40_000..40_000).to_string(),
    }
}

fn number(random: &mut StdRng) -> String {
    match random.random_range(0..20) {
        0 => "1e400".to_owned(),
        1 => "-0.0".to_owned(),
        2 => format!("0.{:020}", random.random::<u64>()),
        3 => format!("{}E-3", random.random_range(-99..99)),
        4 => format!("{:e}", f64::from_bits(random.random::<u64>() & 0x7fe0_0000_ffff_ffff)),
        5 => integer(random),
        _ => (f64::from(random.random_range(-100_000..100_000)) / 100.0).to_string(),
    }
}

fn string(random: &mut StdRng) -> String {
    match random.random_range(0..300) {
        0 => "long ".repeat(60_000),
        1..20 => String::new(),
        20..40 => "tab\there, \\ back, \"quoted\", {braces}, NULL".to_owned(),
        40..60 => "ünïcödé 😀 \u{200d} عربي".to_owned(),
        60..80 => "'; DROP TABLE a; --".to_owned(),
        _ => format!("word{}", random.random_range(0..50)),
    }
}
