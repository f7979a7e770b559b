//! Values both ways, against literal results of PostgreSQL 15.

use std::fmt::Write;

use super::*;

mod random;
mod tables;

/// The text of the value that a text is, or the error: `!22P02 message|detail|hint`.
fn through(type_name: &str, text: &str, settings: &TextSettings) -> String {
    let result = SqlType::parse(type_name).and_then(|sql_type| {
        let mut parser = ColumnParser::new(&sql_type, settings)?;
        parser.push(text.as_bytes())?;
        let encoder = ColumnEncoder::new(&parser.finish(), &sql_type, settings)?;
        let mut out = vec![];
        encoder.write_text(0, &mut out);
        // What is printed must read as the same value, in binary too.
        let mut binary = vec![];
        encoder.check_binary()?;
        encoder.write_binary(0, &mut binary);
        let mut again = ColumnParser::new(&sql_type, settings)?;
        again.push_binary(&binary)?;
        let again = ColumnEncoder::new(&again.finish(), &sql_type, settings)?;
        let mut second = vec![];
        again.write_text(0, &mut second);
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&second), "{type_name} {text:?} in binary");
        Ok(String::from_utf8(out).unwrap())
    });
    result.unwrap_or_else(|error| {
        let mut shown = format!("!{} {}", error.code, error.message);
        for more in [error.detail, error.hint] {
            write!(shown, "|{}", more.unwrap_or_default()).unwrap();
        }
        shown.trim_end_matches('|').to_owned()
    })
}

/// Settings by name, as SET spells them.
fn set(settings: &mut TextSettings, name: &str, value: &str) {
    match name {
        "timezone" => settings.time_zone = zone_by_name(value).unwrap(),
        "datestyle" => {
            for word in value.split(',').map(|word| word.trim().to_ascii_lowercase()) {
                match word.as_str() {
                    "iso" => settings.date_output = DateOutput::Iso,
                    "sql" => settings.date_output = DateOutput::Sql,
                    "postgres" => settings.date_output = DateOutput::Postgres,
                    "german" => settings.date_output = DateOutput::German,
                    "mdy" => settings.date_order = DateOrder::Mdy,
                    "dmy" => settings.date_order = DateOrder::Dmy,
                    "ymd" => settings.date_order = DateOrder::Ymd,
                    other => panic!("{other}"),
                }
            }
        }
        "intervalstyle" => {
            settings.interval_style = match value {
                "postgres" => IntervalStyle::Postgres,
                "postgres_verbose" => IntervalStyle::PostgresVerbose,
                "sql_standard" => IntervalStyle::SqlStandard,
                "iso_8601" => IntervalStyle::Iso8601,
                other => panic!("{other}"),
            }
        }
        "extra_float_digits" => settings.extra_float_digits = value.parse().unwrap(),
        "bytea_output" => settings.bytea_escape = value == "escape",
        other => panic!("{other}"),
    }
}

/// For `udfs/tests/oracle/compare.py`: writes what `through` gives for each line `type, text` of a JSON array file.
fn write_answers(path: &str) {
    let cases: Vec<Vec<String>> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut settings = TextSettings::default();
    let results: Vec<String> = cases
        .iter()
        .map(|case| match case.as_slice() {
            [set_word, name, value] if set_word == "set" => {
                set(&mut settings, name, value);
                String::new()
            }
            case => through(&case[0], &case[1], &settings),
        })
        .collect();
    std::fs::write(format!("{path}.out"), serde_json::to_string(&results).unwrap()).unwrap();
}
