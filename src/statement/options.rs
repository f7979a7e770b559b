//! Table options: `WITH (tidemill.…)`, their defaults and their checks.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::DataType;
use tidemill_catalog::record::{ColumnDef, TableOptions};
use tidemill_catalog::table::keys::is_version;

use crate::error::SqlState;
use crate::{Error, Result};

/// Hot rows become files after this long: what external readers lag behind at most.
const FLUSH_INTERVAL_MS: u64 = 30_000;
/// Hot bytes that make a file worth writing: about 20 MB of Parquet.
const FLUSH_BYTES: u64 = 96 << 20;

/// Objects within objects that are taken apart: deeper ones are rather data than structure.
const FLATTEN_DEPTH: u32 = 4;

/// Options that PostgreSQL's tools send and that mean nothing here.
const IGNORED: &[&str] =
    &["fillfactor", "autovacuum_enabled", "toast_tuple_target", "parallel_workers", "oids", "user_catalog_table"];

/// The options in force, from those given and the columns.
///
/// # Errors
/// 22023 for an unknown option, a bad value or a column that does not fit; 42703, 42P16.
pub(super) fn resolve(
    given: &BTreeMap<String, String>,
    columns: &[ColumnDef],
    primary_key: &[String],
) -> Result<TableOptions> {
    for name in given.keys() {
        let known = matches!(
            name.as_str(),
            "tidemill.time_column"
                | "tidemill.sort_key"
                | "tidemill.partition_by"
                | "tidemill.flush_interval"
                | "tidemill.flush_bytes"
                | "tidemill.evolve"
                | "tidemill.nested"
                | "tidemill.upsert"
        );
        if !known && !IGNORED.contains(&name.as_str()) && !name.starts_with("autovacuum_") {
            return Err(invalid(format!("unrecognized parameter \"{name}\"")).hint(
                "Table options are tidemill.time_column, tidemill.sort_key, tidemill.partition_by, \
                 tidemill.flush_interval, tidemill.flush_bytes, tidemill.evolve, tidemill.nested and tidemill.upsert.",
            ));
        }
    }
    let get = |name: &str| given.get(&format!("tidemill.{name}")).map(String::as_str);
    let time_column = match get("time_column") {
        Some("" | "none") => None,
        Some(name) => {
            let column = find(columns, name, "time_column")?;
            if !is_time(&column.data_type) {
                return Err(invalid(format!("column \"{name}\" cannot be the time column"))
                    .detail(format!("Its type is {}.", column.sql_type))
                    .hint("The time column is a timestamp, a date or an integer."));
            }
            Some(column.name.clone())
        }
        None => columns
            .iter()
            .find(|column| matches!(column.data_type, DataType::Timestamp(..)))
            .map(|column| column.name.clone()),
    };
    let list = |name: &'static str| -> Result<Option<Vec<String>>> {
        let Some(text) = get(name) else { return Ok(None) };
        let names = crate::session::settings::split_identifiers(text);
        for name_of_column in &names {
            let column = find(columns, name_of_column, name)?;
            let unfit = matches!(column.data_type, DataType::List(_) | DataType::Interval(_))
                || (name == "partition_by"
                    && matches!(
                        column.data_type,
                        DataType::Float32 | DataType::Float64 | DataType::BinaryView | DataType::Time64(_)
                    ));
            if unfit {
                return Err(invalid(format!(
                    "column \"{name_of_column}\" of type {} cannot be in tidemill.{name}",
                    column.sql_type
                )));
            }
        }
        Ok(Some(names))
    };
    let partition_by = list("partition_by")?.unwrap_or_default();
    if !partition_by.is_empty() && partition_by.len() >= columns.len() {
        return Err(invalid("a table cannot be partitioned by all of its columns".into()));
    }
    let sort_key = list("sort_key")?.unwrap_or_else(|| time_column.iter().cloned().collect());
    Ok(TableOptions {
        time_column,
        sort_key,
        partition_by,
        flush_interval_ms: get("flush_interval").map_or(Ok(FLUSH_INTERVAL_MS), interval_ms)?,
        flush_bytes: get("flush_bytes").map_or(Ok(FLUSH_BYTES), bytes)?,
        evolve: match get("evolve") {
            None | Some("off") => false,
            Some("add_columns" | "widen") => true,
            Some(other) => {
                return Err(invalid(format!("invalid value for parameter \"tidemill.evolve\": \"{other}\""))
                    .hint("Available values: off, add_columns, widen."));
            }
        },
        widen: get("evolve") == Some("widen"),
        upsert: get("upsert").map(|name| version_column(columns, primary_key, name)).transpose()?,
        flatten: match get("nested") {
            None | Some("jsonb") => None,
            Some("flatten") => Some(FLATTEN_DEPTH),
            Some(other) => {
                return Err(invalid(format!("invalid value for parameter \"tidemill.nested\": \"{other}\""))
                    .hint("Available values: jsonb, flatten."));
            }
        },
    })
}

/// The column of `tidemill.upsert`.
fn version_column(columns: &[ColumnDef], primary_key: &[String], name: &str) -> Result<String> {
    if primary_key.is_empty() {
        return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, "tidemill.upsert needs a primary key")
            .hint("Of the rows with one key that with the greatest value in the named column counts."));
    }
    let column = find(columns, name, "upsert")?;
    if !is_version(&column.data_type) {
        return Err(invalid(format!("column \"{name}\" cannot be in tidemill.upsert"))
            .detail(format!("Its type is {}.", column.sql_type))
            .hint("Versions are numbers, dates or times."));
    }
    Ok(column.name.clone())
}

fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Int16 | DataType::Int32 | DataType::Int64
    )
}

fn find<'c>(columns: &'c [ColumnDef], name: &str, option: &str) -> Result<&'c ColumnDef> {
    columns.iter().find(|column| column.name == name).ok_or_else(|| {
        Error::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{name}\" named in option \"tidemill.{option}\" does not exist"),
        )
    })
}

fn invalid(message: String) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// A duration in milliseconds; a number without a unit is seconds.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    scaled(text, &[("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("", 1000)])
}

fn interval_ms(text: &str) -> Result<u64> {
    duration_ms(text).filter(|ms| (100..=86_400_000).contains(ms)).ok_or_else(|| {
        invalid(format!("invalid value for parameter \"tidemill.flush_interval\": \"{text}\""))
            .hint("Give a duration from 100ms to 1d, for example '10s'.")
    })
}

fn bytes(text: &str) -> Result<u64> {
    scaled(text, &[("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("", 1)])
        .filter(|bytes| (64 << 10..=16 << 30).contains(bytes))
        .ok_or_else(|| {
            invalid(format!("invalid value for parameter \"tidemill.flush_bytes\": \"{text}\""))
                .hint("Give a size from 64kB to 16GB, for example '128MB'.")
        })
}

/// A number with one of the units; words of an interval (`10 seconds`) count as its short units.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    let unit = match text[split..].trim() {
        "second" | "seconds" | "sec" | "secs" => "s",
        "minute" | "minutes" | "m" => "min",
        "hour" | "hours" => "h",
        "day" | "days" => "d",
        "milliseconds" => "ms",
        "KB" => "kB",
        other => other,
    };
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    #[expect(clippy::cast_precision_loss, reason = "factors are small")]
    let result = number * factor as f64;
    if (0.0..9e15).contains(&result) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, checked just above")]
        Some(result as u64)
    } else {
        None
    }
}
