//! The user's own files: CSV and NDJSON by COPY over the wire, Parquet by COPY on the server. The table is named after the
//! file, its columns and types are inferred.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use indicatif::ProgressBar;
use tokio_postgres::Client;

use super::infer::{self, Csv, Kind};
use super::{COMPLETE, Found, LOADING, fill, find, not_ours, progress, say};

/// How much of a CSV file its types are first guessed from. If the rest does not fit them, all of it is read.
const SAMPLE_BYTES: u64 = 16 << 20;
/// Bytes sent at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Loads a file; the name of its table. A table that was loaded before is kept.
pub(super) async fn load(client: &Client, path: &Path) -> anyhow::Result<String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let table = infer::identifier(&stem).context("its name has no letter to name a table after")?;
    File::open(path)?;
    match find(client, &table).await? {
        Found::Other => bail!(not_ours(&table)),
        Found::Ours => say(&format!("Table \"{table}\" is there already.")),
        Found::Missing => {
            let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            let rows = match extension.as_str() {
                "csv" | "tsv" | "txt" => csv(client, &table, path).await?,
                "ndjson" | "jsonl" | "json" => ndjson(client, &table, path).await?,
                "parquet" | "pq" => parquet(client, &table, path).await?,
                other => bail!("\".{other}\" is not a kind of file the demo knows: CSV, NDJSON and Parquet are"),
            };
            say(&format!("Table \"{table}\": {rows} rows from {}", path.display()));
        }
    }
    Ok(table)
}

async fn csv(client: &Client, table: &str, path: &Path) -> anyhow::Result<u64> {
    match csv_by_sample(client, table, path, SAMPLE_BYTES).await {
        // Data errors, class 22: the beginning of the file promised other values than came later.
        Err(error) if is_data_error(&error) && path.metadata()?.len() > SAMPLE_BYTES => {
            client.batch_execute(&format!("DROP TABLE IF EXISTS public.{table}")).await?;
            csv_by_sample(client, table, path, u64::MAX).await
        }
        result => result,
    }
}

fn is_data_error(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    code.is_some_and(|code| code.code().starts_with("22"))
}

async fn csv_by_sample(client: &Client, table: &str, path: &Path, sample: u64) -> anyhow::Result<u64> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut text = Vec::new();
    (&mut file).take(sample).read_to_end(&mut text)?;
    if u64::try_from(text.len())? < length {
        // The sample ends within a line: a value cut in two may look like another type.
        text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    }
    let bom = text.starts_with(b"\xef\xbb\xbf");
    let csv = Csv::infer(&text).context("it is empty")?;
    drop(text);
    file.seek(std::io::SeekFrom::Start(if bom { 3 } else { 0 }))?;
    let delimiter = char::from(csv.delimiter);
    let options = format!(" (FORMAT csv, HEADER {}, DELIMITER '{delimiter}')", csv.header);
    let bar = progress(length, "bytes")?;
    bar.set_message(table.to_owned());
    let rows = fill(client, table, &columns(&csv.columns), &options, chunks(file), &bar).await?;
    bar.finish_and_clear();
    Ok(rows)
}

/// A file in chunks; progress counts bytes.
fn chunks(mut file: File) -> impl Iterator<Item = anyhow::Result<(Bytes, u64)>> {
    std::iter::from_fn(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        match file.read(&mut chunk) {
            Ok(0) => None,
            Ok(count) => {
                chunk.truncate(count);
                Some(Ok((chunk.into(), count as u64)))
            }
            Err(error) => Some(Err(error.into())),
        }
    })
}

fn columns(columns: &[(String, Kind)]) -> String {
    columns.iter().map(|(name, kind)| format!("\"{name}\" {}", kind.sql())).collect::<Vec<_>>().join(", ")
}

async fn ndjson(client: &Client, table: &str, path: &Path) -> anyhow::Result<u64> {
    // Two passes: the first finds keys and types, so that no line can surprise the second.
    let mut keys: Vec<String> = Vec::new();
    let mut kinds: Vec<Kind> = Vec::new();
    for object in objects(path)? {
        for (key, value) in object? {
            let at = keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                keys.push(key);
                kinds.push(Kind::Nothing);
                keys.len() - 1
            });
            kinds[at] = kinds[at].join(Kind::of_json(&value), Kind::Json);
        }
    }
    if keys.is_empty() {
        bail!("it has no JSON objects");
    }
    let named: Vec<_> = infer::names_of(keys.clone()).into_iter().zip(kinds.iter().copied()).collect();
    let bar: ProgressBar = progress(path.metadata()?.len(), "bytes")?;
    bar.set_message(table.to_owned());
    let rows = objects(path)?.map(move |object| {
        let object = object?;
        let mut line = String::new();
        for (at, (key, kind)) in keys.iter().zip(&kinds).enumerate() {
            if at > 0 {
                line.push('\t');
            }
            copy_value(&mut line, object.get(key).unwrap_or(&serde_json::Value::Null), *kind);
        }
        line.push('\n');
        let length = line.len() as u64;
        Ok((Bytes::from(line), length))
    });
    let rows = fill(client, table, &columns(&named), "", batched(rows), &bar).await?;
    bar.finish_and_clear();
    Ok(rows)
}

type Object = serde_json::Map<String, serde_json::Value>;

/// The objects of a file, one per line; empty lines are skipped.
fn objects(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Object>>> {
    let lines = BufReader::new(File::open(path)?).lines().zip(1_u64..);
    Ok(lines.filter_map(|(line, number)| match line {
        Ok(line) if line.trim().is_empty() => None,
        Ok(line) => Some(serde_json::from_str(&line).with_context(|| format!("line {number} is not a JSON object"))),
        Err(error) => Some(Err(error.into())),
    }))
}

/// A JSON value as COPY's text format has it.
fn copy_value(line: &mut String, value: &serde_json::Value, kind: Kind) {
    use serde_json::Value;
    let text = match value {
        Value::Null => return line.push_str("\\N"),
        Value::String(text) if kind != Kind::Json => text.clone(),
        value => value.to_string(),
    };
    for c in text.chars() {
        match c {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c => line.push(c),
        }
    }
}

/// Small pieces joined to chunks.
fn batched(
    mut pieces: impl Iterator<Item = anyhow::Result<(Bytes, u64)>>,
) -> impl Iterator<Item = anyhow::Result<(Bytes, u64)>> {
    std::iter::from_fn(move || {
        let (mut chunk, mut total) = (Vec::new(), 0);
        while chunk.len() < CHUNK_BYTES {
            match pieces.next() {
                Some(Ok((bytes, count))) => {
                    chunk.extend_from_slice(&bytes);
                    total += count;
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (!chunk.is_empty()).then(|| Ok((chunk.into(), total)))
    })
}

/// Parquet says itself what it holds; the server reads it, without a detour over the wire.
async fn parquet(client: &Client, table: &str, path: &Path) -> anyhow::Result<u64> {
    let path = std::path::absolute(path)?;
    let schema = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?.schema().as_ref().clone();
    let (mut names, mut columns) = (Vec::new(), Vec::new());
    for field in schema.fields() {
        let name = format!("\"{}\"", field.name().replace('"', "\"\""));
        match infer::sql_type(field.data_type()) {
            Some(sql_type) => {
                columns.push(format!("{name} {sql_type}"));
                names.push(name);
            }
            None => say(&format!("  column {name} is left out: its type is {}", field.data_type())),
        }
    }
    client.batch_execute(&format!("CREATE TABLE public.{table} ({})", columns.join(", "))).await?;
    client.batch_execute(&format!("COMMENT ON TABLE public.{table} IS '{LOADING}'")).await?;
    let literal = path.display().to_string().replace('\'', "''");
    let rows = client
        .execute(&format!("COPY public.{table} ({}) FROM '{literal}' (FORMAT parquet)", names.join(", ")), &[])
        .await?;
    client.batch_execute(&format!("COMMENT ON TABLE public.{table} IS '{COMPLETE}'")).await?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_values_for_copy() {
        let text = |json: &str, kind: Kind| {
            let mut line = String::new();
            copy_value(&mut line, &serde_json::from_str(json).unwrap(), kind);
            line
        };
        assert_eq!(text("null", Kind::Text), "\\N");
        assert_eq!(text("\"a\\tb\\\\c\\n\"", Kind::Text), "a\\tb\\\\c\\n");
        assert_eq!(text("\"x\"", Kind::Json), "\"x\"");
        assert_eq!(text("{\"a\": [1, \"\\n\"]}", Kind::Json), "{\"a\":[1,\"\\\\n\"]}");
        assert_eq!(text("12345678901234567890.5", Kind::Float), "12345678901234567890.5");
    }

    #[test]
    fn pieces_are_joined() {
        let pieces = (0..3).map(|_| Ok((Bytes::from(vec![b'x'; CHUNK_BYTES / 2]), 1)));
        let sizes: Vec<_> =
            batched(pieces).map(|chunk| chunk.map(|(bytes, count)| (bytes.len(), count)).unwrap()).collect();
        assert_eq!(sizes, [(CHUNK_BYTES, 2), (CHUNK_BYTES / 2, 1)]);
    }
}
